"""One batch of pictures, from its seeds to its pixels."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import InvalidRequest
from core.events import Event, ImageReady, Notice, Pixels, PreviewSettings, Step
from core.images.canvas import Canvas
from core.images.scaling import scaled
from core.models.components import Components
from core.models.control import ControlNets
from core.models.upscaler import Upscaler
from core.request import Enlarging, ImageToImage, Request, Upscale
from core.sampling.control import Control, Controlled, check_parts
from core.sampling.denoise import Denoised, Leg, denoise
from core.sampling.enlarge import Enlargement, tile_count
from core.sampling.expert import Expert
from core.sampling.guidance import Denoiser
from core.sampling.inpaint import Area, Beginning, Shown, begin_inpainting
from core.sampling.linear_preview import Decode
from core.sampling.noise import generators_of
from core.sampling.preview import PreviewCosts, Previewer
from core.sampling.schedulers import Plan, hand_over, make_plan
from core.sampling.start import EncodedPicture, from_latents, from_noise, from_picture
from core.sampling.torch_unet import TorchUNet
from core.sampling.vae import Vae
from core.sampling.windows import Windowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the batches of a run have in common.

    Attributes:
        request: With nothing left to choose.
        experts: The models that share each run by its noise: one, or an SDXL model and its refiner.
        scheduler_config: The first one's scheduler's configuration, as its LoRAs leave it.
        vae: Its VAE, guarded.
        preview: How the run is watched.
        decode: The preview's decoder, or None.
        preview_costs: What previews cost, kept from run to run.
        start: The start picture, encoded, or None.
        canvas: What the pictures are laid over, or None.
        area: The canvas's mask as latents, or None.
        nets: The request's ControlNets.
        maps: What they follow, ``(H, W, 3) uint8`` each, for every pass.
        upscaler: What makes pictures larger for a second pass, or None for the request's filter.
    """

    request: Request
    experts: tuple[Expert, ...]
    scheduler_config: Mapping[str, Any]
    vae: Vae
    preview: PreviewSettings
    decode: Decode | None
    preview_costs: PreviewCosts
    start: EncodedPicture | None
    canvas: Canvas | None = None
    area: Area | None = None
    nets: ControlNets
    maps: tuple[tuple[Pixels, ...], ...]
    upscaler: Upscaler | None = None

    @property
    def components(self) -> Components:
        """The model that begins, and whose VAE and schedule they all have."""
        return self.experts[0].components


Plans = tuple[Plan, ...]
"""The course of a run: a part for each expert."""


def _first(plans: Plans) -> Plan:
    """Give the part that a run begins with."""
    return next(plan for plan in plans if plan.calls)


def check_plans(job: Job) -> None:
    """Refuse before the first batch what its plans would refuse.

    Raises:
        InvalidRequest: If the scheduler cannot take so many steps, or a control or one of the
            experts would do nothing.
        Unsupported: If the scheduler cannot work with the model.
    """
    runs = [[len(part.calls) for part in plans] for plans in plans_of(job)]
    check_parts(job.request.controls, [(calls[0], sum(calls)) for calls in runs])
    for name, *calls in zip(("model", "refiner"), *runs, strict=False):
        if not any(calls):
            change = {"model": "raise it, or take the refiner as the model", "refiner": "lower it"}
            raise InvalidRequest(
                "refiner_start",
                f"{job.request.refiner_start:g} leaves no step to the {name}; {change[name]}.",
            )


def plans_of(job: Job) -> tuple[Plans, ...]:
    """Plan one batch: its run, and that of the second pass if there is one. They serve once.

    Raises:
        InvalidRequest: If the scheduler cannot take so many steps.
        Unsupported: If it cannot work with the model.
    """
    request, second = job.request, job.request.second_pass
    strength = request.strength if isinstance(request, ImageToImage) else None
    first = _plans(job, request.steps, strength)
    if second is None:
        return (first,)
    return first, _plans(job, second.steps or request.steps, second.strength)


def _plans(job: Job, steps: int, strength: float | None) -> Plans:
    request, config = job.request, job.scheduler_config
    plan, *anew = (
        make_plan(request.scheduler, config, steps=steps, strength=strength) for _ in job.experts
    )
    return hand_over(plan, anew[0], request.refiner_start) if anew else (plan,)


def make_batch(
    job: Job, pictures: tuple[int, ...], wanted: Collection[int]
) -> Generator[Event, None, None]:
    """Make the pictures of these indices together, and give those that are wanted.

    Yields:
        A ``Step`` for each step, at once after the last an ``ImageReady`` for each picture, and
        ``Notice`` where fp32 had to help (the start picture's encoding included).

    Raises:
        ModelInvalid: If the weights give numbers that are not finite.
    """
    request = job.request
    begin = time.perf_counter()
    plans, *more = plans_of(job)
    generators = generators_of([request.seed_of(i) for i in pictures])
    enlarging = 0
    if more and job.upscaler is not None:
        enlarging = len(pictures) * tile_count(request.width, request.height)
    total = sum(run[0].steps for run in (plans, *more)) + enlarging
    with ExitStack() as stack:
        unets = [stack.enter_context(TorchUNet(expert.components)) for expert in job.experts]
        run = _Run(job, pictures, generators, plans, total=total)
        first_step = time.perf_counter()
        window = request.window if isinstance(request, Upscale) else 0
        beginning = _beginning(job, _first(plans), generators)
        latents = yield from run.steps(unets, beginning, window=window)
        if more and request.second_pass is not None:
            latents = yield from _enlarged(run, _first(more[0]), latents, first_step)
            larger = Beginning(latents, None, None)
            gone = time.perf_counter() - first_step
            done = plans[0].steps + enlarging
            run = _Run(job, pictures, generators, more[0], total=total, done=done, seconds=gone)
            latents = yield from run.steps(unets, larger, window=request.second_pass.window)
    decoded = job.vae.decode(latents)
    seconds = time.perf_counter() - begin
    finished = dict(zip(pictures, decoded, strict=True))
    given = [picture for picture in pictures if picture in wanted]
    for number, picture in enumerate(given, start=1):
        pixels = finished[picture]
        yield ImageReady(
            request=request,
            picture=picture,
            seed=request.seed_of(picture),
            pixels=pixels if job.canvas is None else job.canvas.finish(pixels),
            seconds=seconds,
            model_sha256=job.components.sha256,
            device=job.components.device.type,
            left=len(given) - number,
            tokens=job.experts[0].texts.count(request.prompt_of(picture)),
        )
    if any(unet.fell_back for unet in unets):
        yield Notice(message=_fp32_notice("UNet", job))
    if job.vae.fell_back:
        yield Notice(message=_fp32_notice("VAE", job))


@dataclass(frozen=True, slots=True)
class _Run:
    """One way from noise to pictures for a batch; a second pass is a second one.

    Attributes:
        job: What it is for.
        pictures: Their indices.
        generators: One a picture.
        plans: Its course.
        total: Steps of the whole batch.
        done: Steps of the batch before this run.
        seconds: That they took, with what lies between.
    """

    job: Job
    pictures: tuple[int, ...]
    generators: list[torch.Generator]
    plans: Plans
    total: int
    done: int = 0
    seconds: float = 0.0

    def steps(
        self, unets: Sequence[TorchUNet], beginning: Beginning, *, window: int = 0
    ) -> Generator[Step, None, Tensor]:
        """Denoise, and give the latents at the end: ``(B, 4, H/8, W/8)``, scaled."""
        parts = zip(self.job.experts, unets, self.plans, strict=True)
        legs = [
            self._leg(expert, unet, plan, beginning, window)
            for expert, unet, plan in parts
            if plan.calls
        ]
        latents = beginning.latents
        moments = denoise(latents, legs, self.generators, beginning.known)
        # Closed here and not when the garbage collector comes by.
        with closing(moments):
            for moment, step in self._watched(moments):
                latents = moment.latents
                yield step
        return latents

    @property
    def _size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels."""
        request = self.job.request
        return request.final_size if self.done else (request.width, request.height)

    def _leg(
        self, expert: Expert, unet: TorchUNet, plan: Plan, beginning: Beginning, window: int
    ) -> Leg:
        """Give an expert its part of the run. Controls are made for the first one's UNet alone."""
        job = self.job
        denoiser: Denoiser = unet
        before = look_at = None
        if job.request.controls and expert is job.experts[0]:
            denoiser = led = self._controlled(unet, plan)
            before, look_at = led.turn_to, led.look_at
        if beginning.shown is not None:
            denoiser = Shown(denoiser, beginning.shown)
        if window:
            denoiser = Windowed(denoiser, window // job.components.identity.vae_scale, look_at)
        guidance = expert.guidance(
            denoiser, job.request, self.pictures, size=self._size, before=before
        )
        return Leg(plan, guidance)

    def _controlled(self, unet: TorchUNet, plan: Plan) -> Controlled:
        job = self.job
        controls = [
            Control.of(job.nets[use.sha256], use, pixels)
            for use, pixels in zip(job.request.controls, job.maps[self.done > 0], strict=True)
        ]
        calls = sum(len(part.calls) for part in self.plans)
        scale = job.components.identity.vae_scale
        return Controlled(unet, controls, plan, calls=calls, scale=scale)

    def _watched(self, moments: Iterator[Denoised]) -> Iterator[tuple[Denoised, Step]]:
        """Time the steps and show them."""
        job, pictures = self.job, self.pictures
        size = (job.preview.decoder, *self._size, len(pictures))
        # What was learned fades: one slow moment must not end the previews of all runs after it.
        cost = job.preview_costs.get(size)
        previewer = Previewer(job.preview, job.decode, None if cost is None else cost / 2)
        begin = lap = time.perf_counter()
        for moment in moments:
            if not moment.call.ends_step:
                continue
            now = time.perf_counter()
            previews = previewer.after_step(moment, pictures, now - lap)
            if previewer.cost is not None:
                job.preview_costs[size] = previewer.cost
            yield (
                moment,
                Step(
                    index=self.done + moment.call.step,
                    total=self.total,
                    pictures=pictures,
                    total_pictures=job.request.total,
                    seconds=self.seconds + time.perf_counter() - begin,
                    previews=previews,
                ),
            )
            lap = time.perf_counter()


def _beginning(job: Job, plan: Plan, generators: list[torch.Generator]) -> Beginning:
    if job.area is not None:
        assert isinstance(job.request, ImageToImage)
        assert job.start is not None
        return begin_inpainting(
            plan, generators, job.start, job.area, strength=job.request.strength
        )
    if job.start is not None:
        return Beginning(from_picture(plan, generators, job.start), None, None)
    scale = job.components.identity.vae_scale
    shape = (4, job.request.height // scale, job.request.width // scale)
    return Beginning(from_noise(plan, generators, shape), None, None)


def _enlarged(
    run: _Run, plan: Plan, latents: Tensor, begin: float
) -> Generator[Event, None, Tensor]:
    """Give what the second pass starts from.

    Args:
        run: The first pass.
        plan: The course of the second.
        latents: ``(B, 4, H/8, W/8)``, scaled, of the first.
        begin: When that began.

    Yields:
        A ``Step`` for each tile that an upscaler computes.
    """
    job, done = run.job, run.plans[0].steps
    second = job.request.second_pass
    assert second is not None
    width, height = job.request.final_size
    if second.upscaler == Enlarging.LATENT:
        scale = job.components.identity.vae_scale
        return from_latents(plan, run.generators, latents, (height // scale, width // scale))
    starts = []
    for pixels, generator in zip(job.vae.decode(latents), run.generators, strict=True):
        larger: Pixels = pixels
        if job.upscaler is not None:
            enlargement = Enlargement(job.upscaler, pixels)
            for _ in enlargement:
                done += 1
                yield Step(
                    index=done,
                    total=run.total,
                    pictures=run.pictures,
                    total_pictures=job.request.total,
                    seconds=time.perf_counter() - begin,
                )
            larger = enlargement.result
        picture = job.vae.encode(scaled(larger, width, height))
        starts.append(from_picture(plan, [generator], picture))
    if job.upscaler is not None:
        yield from job.upscaler.notices()
    return torch.cat(starts)


def _fp32_notice(part: str, job: Job) -> str:
    return (
        f"The {part} overflowed in {job.request.precision}, so it was computed in fp32, which is "
        "slower; precision fp32 or bf16 avoids this."
    )
