"""Where the time of a picture goes on this machine: ratios of one run. Imports no torch by itself.

The machine may be busy with other things, so the parts are measured in turn, several times over,
and medians are compared; seconds are told only as a scale for the ratios.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.models.catalog import card, resolve
from core.models.identify import identify
from core.paths import Profile
from core.request import DeviceName, Precision, PreviewDecoder, SchedulerName, TextToImage

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.components import Components

ROUNDS = 5
LONG_ROUND = 15.0
"""Seconds after which one round has to do."""

PROMPT = "a red circle on a blue background"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """Medians of one run.

    Attributes:
        model: Its name.
        machine: What it ran on.
        precision: Of the weights.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        steps: Of the picture.
        scheduler: Of the picture.
        rounds: How often each part was measured.
        picture_seconds: Text, steps and VAE together, without previews.
        step_ms: One guided step.
        loop_ms: What the loop and the scheduler add to a bare UNet call, a step.
        loop_share: The same as a share of a step.
        text_share: Of the picture: prompt and negative prompt, uncached.
        unet_share: Of the picture: the UNet.
        vae_share: Of the picture: decoding.
        previews: Cost of one preview as a share of a step, by decoder.
        linear_psnr: Of the linear preview against the VAE's decoding scaled down, in dB.
    """

    model: str
    machine: str
    precision: Precision
    width: int
    height: int
    steps: int
    scheduler: SchedulerName
    rounds: int
    picture_seconds: float
    step_ms: float
    loop_ms: float
    loop_share: float
    text_share: float
    unet_share: float
    vae_share: float
    previews: dict[PreviewDecoder, float]
    linear_psnr: float


def run(
    model: str, device: DeviceName, *, steps: int = 20, cache: Path | None = None
) -> BenchReport:
    """Measure one picture of a model at its native size.

    Args:
        model: A name or the path of a folder.
        device: Where to compute.
        steps: Of the picture.
        cache: Folder of what can be computed again; None for the user's own.

    Raises:
        CoreError: If the model or the device is not there, or ``steps`` is out of range.
    """
    from core.models.torchvision_import import mend_torchvision

    mend_torchvision()
    from core.device import describe, dtype_of, resolve_device, resolve_precision
    from core.models.fingerprint import Fingerprints
    from core.models.load import load
    from core.sampling.linear_preview import find_or_fit

    model_card = card(model)
    request = TextToImage(
        model=model,
        prompts=(PROMPT,),
        steps=steps,
        guidance_scale=max(model_card.guidance_scale, 2.0),
        scheduler=model_card.scheduler,
        width=model_card.width,
        height=model_card.height,
    )
    place = resolve_device(device)
    precision = resolve_precision(Precision.AUTO, place)
    cache = Profile.default().cache if cache is None else cache
    components = load(
        identify(resolve(model)),
        device=place,
        dtype=dtype_of(precision),
        fingerprints=Fingerprints.kept_in(cache),
    )
    parts = _parts(components, request, model_card.preview_decoders, cache)
    medians, rounds = _measure(parts)
    loop = max(0.0, medians["loop"] / steps)
    unet = medians["unet"] * _calls_per_step(components, request)
    picture = medians["text"] + steps * (unet + loop) + medians["vae"]
    return BenchReport(
        model=model,
        machine=describe(place),
        precision=precision,
        width=request.width,
        height=request.height,
        steps=steps,
        scheduler=request.scheduler,
        rounds=rounds,
        picture_seconds=picture,
        step_ms=(unet + loop) * 1000,
        loop_ms=loop * 1000,
        loop_share=loop / (unet + loop),
        text_share=medians["text"] / picture,
        unet_share=steps * unet / picture,
        vae_share=medians["vae"] / picture,
        previews={
            decoder: medians[decoder] / (unet + loop)
            for decoder in model_card.preview_decoders
            if decoder is not PreviewDecoder.OFF
        },
        linear_psnr=find_or_fit(components, cache).psnr,
    )


def format_report(report: BenchReport) -> str:
    """Write the report as lines for a person."""
    lines = [
        f"{report.model}, {report.width} x {report.height}, {report.steps} steps of "
        f"{report.scheduler}, {report.precision}, medians of {report.rounds}",
        report.machine,
        f"a picture           {report.picture_seconds:9.3f} s",
        f"  text              {report.text_share:9.2%}",
        f"  UNet              {report.unet_share:9.2%}",
        f"  VAE               {report.vae_share:9.2%}",
        f"a step              {report.step_ms:9.2f} ms",
        f"  loop around UNet  {report.loop_ms:9.3f} ms, {report.loop_share:.3%} of the step",
    ]
    lines += [
        f"  preview, {decoder:<8} {share:9.3%} of a step"
        for decoder, share in report.previews.items()
    ]
    lines.append(f"linear preview      {report.linear_psnr:9.1f} dB against the VAE, scaled down")
    return "\n".join(lines)


def to_json(report: BenchReport) -> dict[str, Any]:
    """Give the report as plain JSON values."""
    return dataclasses.asdict(report)


def _parts(
    components: Components,
    request: TextToImage,
    decoders: tuple[PreviewDecoder, ...],
    cache: Path,
) -> dict[str, Callable[[], object]]:
    """Give what is measured, by name, each ready to be called again and again."""
    import torch

    from core.sampling.conditioning import with_numbers
    from core.sampling.guidance import Denoiser
    from core.sampling.inpaint import Shown
    from core.sampling.noise import draw, generators_of
    from core.sampling.preview import make_decoder
    from core.sampling.schedulers import make_plan
    from core.sampling.text import TextEmbeddings
    from core.sampling.torch_unet import TorchUNet
    from core.sampling.vae import Vae

    scale = components.identity.vae_scale
    shape = (4, request.height // scale, request.width // scale)
    latents = draw(generators_of([0]), shape)
    doubled = latents.repeat(2, 1, 1, 1)
    both = with_numbers(
        TextEmbeddings(components).of(["", PROMPT]),
        components.identity,
        size=(request.width, request.height),
        guidance_scales=[request.guidance_scale] * 2,
    )
    unet: Denoiser = TorchUNet(components)
    if components.identity.inpainting:
        # A mask and the surroundings; what they show costs nothing.
        unet = Shown(unet, torch.zeros((1, 5, *shape[1:])))
    plan = make_plan(request.scheduler, components.scheduler_config, steps=request.steps)
    timestep = plan.calls[0].timestep

    @torch.inference_mode()
    def call_unet() -> Tensor:
        return unet(doubled, timestep, both)

    parts: dict[str, Callable[[], object]] = {
        "text": lambda: TextEmbeddings(components).of(["", PROMPT]),
        "unet": call_unet,
        "vae": lambda: Vae(components).decode(latents),
        "loop": lambda: run_loop(components, request, latents),
    }
    for decoder in decoders:
        decode = make_decoder(decoder, components, cache)
        if decode is not None:
            parts[decoder] = partial(decode, latents)
    return parts


def run_loop(components: Components, request: TextToImage, latents: Tensor) -> Tensor:
    """Run the loop with a UNet that costs nothing.

    Args:
        components: The loaded model, for its scheduler's configuration.
        request: Steps, scheduler and guidance.
        latents: ``(B, 4, H/8, W/8)``.

    Returns:
        ``(B, 4, H/8, W/8)``.
    """
    from core.sampling.conditioning import Conditioning
    from core.sampling.denoise import Leg, denoise
    from core.sampling.guidance import Guidance, GuidanceSettings
    from core.sampling.noise import generators_of
    from core.sampling.schedulers import make_plan

    def answer(latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        del timestep, conditioning
        return latents

    text = Conditioning(text=latents.new_zeros((len(latents), 1, 1)))
    plan = make_plan(request.scheduler, components.scheduler_config, steps=request.steps)
    settings = GuidanceSettings.of(
        request, range(len(latents)), embedded=components.identity.guidance_embedding
    )
    guidance = Guidance(answer, settings, positive=text, negative=text)
    for moment in denoise(latents, [Leg(plan, guidance)], generators_of([0] * len(latents))):
        latents = moment.latents
    return latents


def _calls_per_step(components: Components, request: TextToImage) -> float:
    from core.sampling.schedulers import make_plan

    plan = make_plan(request.scheduler, components.scheduler_config, steps=request.steps)
    return len(plan.calls) / plan.steps


def _measure(parts: dict[str, Callable[[], object]]) -> tuple[dict[str, float], int]:
    """Time the parts in turn.

    Returns:
        The median seconds of each, and how many rounds there were after the one that warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    rounds = 0
    for warming_up in (True, *(False for _ in range(ROUNDS))):
        begin = time.perf_counter()
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if not warming_up:
                seconds[name].append(time.perf_counter() - start)
        rounds += not warming_up
        if rounds and time.perf_counter() - begin > LONG_ROUND:
            break
    return {name: statistics.median(values) for name, values in seconds.items()}, rounds
