"""One batch of pictures, from its seeds to its pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.events import Event, ImageReady, Notice, Pixels, PreviewSettings, Step
from core.images.canvas import Canvas
from core.images.scaling import scaled
from core.models.components import Components
from core.models.control import ControlNets
from core.request import Enlarging, ImageToImage, Request, SecondPass, Upscale
from core.sampling.conditioning import BEAUTIFUL, UGLY, Conditioning, with_numbers
from core.sampling.control import Control, Controlled, check_parts
from core.sampling.denoise import Denoised, denoise
from core.sampling.guidance import Denoiser, Guidance, GuidanceSettings
from core.sampling.inpaint import Area, Beginning, Shown, begin_inpainting
from core.sampling.linear_preview import Decode
from core.sampling.noise import generators_of
from core.sampling.preview import PreviewCosts, Previewer
from core.sampling.schedulers import Plan, make_plan
from core.sampling.start import EncodedPicture, from_latents, from_noise, from_picture
from core.sampling.text import TextEmbeddings
from core.sampling.torch_unet import TorchUNet
from core.sampling.vae import Vae
from core.sampling.windows import Windowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the batches of a run have in common.

    Attributes:
        request: With nothing left to choose.
        components: The loaded model.
        scheduler_config: Its scheduler's configuration, as its LoRAs leave it.
        texts: Its prompts, encoded.
        vae: Its VAE, guarded.
        preview: How the run is watched.
        decode: The preview's decoder, or None.
        preview_costs: What previews cost, kept from run to run.
        start: The start picture, encoded, or None.
        canvas: What the pictures are laid over, or None.
        area: The canvas's mask as latents, or None.
        nets: The request's ControlNets.
        maps: What they follow, ``(H, W, 3) uint8`` each, for every pass.
    """

    request: Request
    components: Components
    scheduler_config: Mapping[str, Any]
    texts: TextEmbeddings
    vae: Vae
    preview: PreviewSettings
    decode: Decode | None
    preview_costs: PreviewCosts
    start: EncodedPicture | None
    canvas: Canvas | None = None
    area: Area | None = None
    nets: ControlNets
    maps: tuple[tuple[Pixels, ...], ...]


def check_plans(job: Job) -> None:
    """Refuse before the first batch what its plans would refuse.

    Raises:
        InvalidRequest: If the scheduler cannot take so many steps, or a control would do nothing.
        Unsupported: If the scheduler cannot work with the model.
    """
    plans = (plan_of(job), second_plan_of(job))
    check_parts(job.request.controls, [plan.calls for plan in plans if plan is not None])


def plan_of(job: Job) -> Plan:
    """Plan one batch's run; a plan serves once.

    Raises:
        InvalidRequest: If the scheduler cannot take so many steps.
        Unsupported: If it cannot work with the model.
    """
    request = job.request
    return make_plan(
        request.scheduler,
        job.scheduler_config,
        steps=request.steps,
        strength=request.strength if isinstance(request, ImageToImage) else None,
    )


def make_batch(job: Job, pictures: tuple[int, ...]) -> Generator[Event, None, None]:
    """Make the pictures of these indices together.

    Yields:
        A ``Step`` for each step, ``Notice`` where fp32 had to help (the start picture's encoding
        included), an ``ImageReady`` for each picture at the end.

    Raises:
        ModelInvalid: If the weights give numbers that are not finite.
    """
    request = job.request
    begin = time.perf_counter()
    plan = plan_of(job)
    generators = generators_of([request.seed_of(i) for i in pictures])
    second = second_plan_of(job)
    total = plan.steps + (second.steps if second else 0)
    with TorchUNet(job.components) as unet:
        run = _Run(job, pictures, generators, plan, total=total)
        first_step = time.perf_counter()
        window = request.window if isinstance(request, Upscale) else 0
        latents = yield from run.steps(unet, _beginning(job, plan, generators), window=window)
        if second is not None and request.second_pass is not None:
            latents = _enlarged(job, request.second_pass, second, latents, generators)
            larger = Beginning(latents, None, None)
            gone = time.perf_counter() - first_step
            run = _Run(
                job, pictures, generators, second, total=total, done=plan.steps, seconds=gone
            )
            latents = yield from run.steps(unet, larger, window=request.second_pass.window)
        if unet.fell_back:
            yield Notice(message=_fp32_notice("UNet", job))
    decoded = job.vae.decode(latents)
    if job.vae.fell_back:
        yield Notice(message=_fp32_notice("VAE", job))
    seconds = time.perf_counter() - begin
    for picture, pixels in zip(pictures, decoded, strict=True):
        yield ImageReady(
            request=request,
            picture=picture,
            seed=request.seed_of(picture),
            pixels=pixels if job.canvas is None else job.canvas.finish(pixels),
            seconds=seconds,
            model_sha256=job.components.sha256,
            device=job.components.device.type,
        )


def second_plan_of(job: Job) -> Plan | None:
    """Plan the second pass of one batch, if there is one; see ``plan_of``."""
    request = job.request
    if request.second_pass is None:
        return None
    return make_plan(
        request.scheduler,
        job.scheduler_config,
        steps=request.second_pass.steps or request.steps,
        strength=request.second_pass.strength,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One way from noise to pictures for a batch; a second pass is a second one.

    Attributes:
        job: What it is for.
        pictures: Their indices.
        generators: One a picture.
        plan: Its course.
        total: Steps of the whole batch.
        done: Steps of the batch before this run.
        seconds: That they took, with what lies between.
    """

    job: Job
    pictures: tuple[int, ...]
    generators: list[torch.Generator]
    plan: Plan
    total: int
    done: int = 0
    seconds: float = 0.0

    def steps(
        self, unet: TorchUNet, beginning: Beginning, *, window: int = 0
    ) -> Generator[Step, None, Tensor]:
        """Denoise, and give the latents at the end: ``(B, 4, H/8, W/8)``, scaled."""
        denoiser: Denoiser = unet
        before = look_at = None
        if self.job.request.controls:
            denoiser = led = self._controlled(unet)
            before, look_at = led.turn_to, led.look_at
        if beginning.shown is not None:
            denoiser = Shown(denoiser, beginning.shown)
        if window:
            side = window // self.job.components.identity.vae_scale
            denoiser = Windowed(denoiser, side, look_at)
        latents = beginning.latents
        guidance = _guidance(self.job, denoiser, self.pictures, self._size, before)
        moments = denoise(latents, self.plan, guidance, self.generators, beginning.known)
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

    def _controlled(self, unet: TorchUNet) -> Controlled:
        job = self.job
        controls = [
            Control.of(job.nets[use.sha256], use, pixels)
            for use, pixels in zip(job.request.controls, job.maps[self.done > 0], strict=True)
        ]
        return Controlled(unet, controls, self.plan, scale=job.components.identity.vae_scale)

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


def _guidance(
    job: Job,
    denoiser: Denoiser,
    pictures: tuple[int, ...],
    size: tuple[int, int],
    before: Callable[[Tensor, float], None] | None,
) -> Guidance:
    request, identity = job.request, job.components.identity
    settings = GuidanceSettings.of(request, embedded=identity.guidance_embedding)
    prompts = [request.prompt_of(i) for i in pictures]
    texts = [*prompts, request.negative_prompt] if settings.is_used else prompts
    # The UNet takes both halves of the batch at one length.
    chunks = max(job.texts.chunks_of(text) for text in texts)
    positive = job.texts.of(prompts, chunks=chunks)
    negative: Conditioning | None = None
    if settings.is_used:
        away = job.texts.negative_of(request.negative_prompt, chunks=chunks)
        negative = away.expand(len(prompts))

    def told(texts: Conditioning, score: float) -> Conditioning:
        return with_numbers(
            texts, identity, size=size, guidance_scale=request.guidance_scale, score=score
        )

    return Guidance(
        denoiser,
        settings,
        positive=told(positive, BEAUTIFUL),
        negative=None if negative is None else told(negative, UGLY),
        before=before,
    )


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
    job: Job,
    second: SecondPass,
    plan: Plan,
    latents: Tensor,
    generators: list[torch.Generator],
) -> Tensor:
    """Give what the second pass starts from."""
    width, height = job.request.final_size
    if second.upscaler is Enlarging.LATENT:
        scale = job.components.identity.vae_scale
        return from_latents(plan, generators, latents, (height // scale, width // scale))
    pictures = [job.vae.encode(scaled(pixels, width, height)) for pixels in job.vae.decode(latents)]
    return torch.cat(
        [
            from_picture(plan, [generator], picture)
            for generator, picture in zip(generators, pictures, strict=True)
        ]
    )


def _fp32_notice(part: str, job: Job) -> str:
    return (
        f"The {part} overflowed in {job.request.precision}, so it was computed in fp32, which is "
        "slower; precision fp32 or bf16 avoids this."
    )
