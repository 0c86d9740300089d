"""One batch of pictures, from its seeds to its pixels."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from core.events import Event, ImageReady, Notice, PreviewSettings, Step
from core.models.components import Components
from core.request import ImageToImage, Request
from core.sampling.denoise import Denoised, denoise
from core.sampling.guidance import Guidance, GuidanceSettings
from core.sampling.linear_preview import Decode
from core.sampling.noise import generators_of
from core.sampling.preview import PreviewCosts, Previewer
from core.sampling.schedulers import Plan, make_plan
from core.sampling.start import EncodedPicture, from_noise, from_picture
from core.sampling.text import TextEmbeddings
from core.sampling.torch_unet import TorchUNet
from core.sampling.vae import Vae


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the batches of a run have in common.

    Attributes:
        request: With nothing left to choose.
        components: The loaded model.
        texts: Its prompts, encoded.
        vae: Its VAE, guarded.
        preview: How the run is watched.
        decode: The preview's decoder, or None.
        preview_costs: What previews cost, kept from run to run.
        start: The start picture, encoded, or None.
    """

    request: Request
    components: Components
    texts: TextEmbeddings
    vae: Vae
    preview: PreviewSettings
    decode: Decode | None
    preview_costs: PreviewCosts
    start: EncodedPicture | None


def plan_of(job: Job) -> Plan:
    """Plan one batch's run; a plan serves once.

    Raises:
        InvalidRequest: If the scheduler cannot take so many steps.
        Unsupported: If it cannot work with the model.
    """
    request = job.request
    return make_plan(
        request.scheduler,
        job.components.scheduler_config,
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
    with TorchUNet(job.components) as unet:
        guidance = _guidance(job, unet, pictures)
        latents = _first_latents(job, plan, generators)
        moments = denoise(latents, plan, guidance, generators)
        # Closed here and not when the garbage collector comes by.
        with closing(moments):
            for moment, step in _watched(job, moments, plan, pictures):
                latents = moment.latents
                yield step
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
            pixels=pixels,
            seconds=seconds,
            model_sha256=job.components.sha256,
            device=job.components.device.type,
        )


def _guidance(job: Job, unet: TorchUNet, pictures: tuple[int, ...]) -> Guidance:
    request = job.request
    settings = GuidanceSettings.of(request)
    prompts = [request.prompt_of(i) for i in pictures]
    texts = [*prompts, request.negative_prompt] if settings.is_used else prompts
    # The UNet takes both halves of the batch at one length.
    chunks = max(job.texts.chunks_of(text) for text in texts)
    positive = job.texts.of(prompts, chunks=chunks)  # (B, T, D)
    negative: Tensor | None = None
    if settings.is_used:
        negative = job.texts.of([request.negative_prompt], chunks=chunks).expand_as(positive)
    return Guidance(unet, settings, positive=positive, negative=negative)


def _first_latents(job: Job, plan: Plan, generators: list[torch.Generator]) -> Tensor:
    if job.start is not None:
        return from_picture(plan, generators, job.start)
    scale = job.components.identity.vae_scale
    return from_noise(
        plan, generators, (4, job.request.height // scale, job.request.width // scale)
    )


def _watched(
    job: Job, moments: Iterator[Denoised], plan: Plan, pictures: tuple[int, ...]
) -> Iterator[tuple[Denoised, Step]]:
    """Time the steps and show them."""
    size = (job.preview.decoder, job.request.width, job.request.height, len(pictures))
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
                index=moment.call.step,
                total=plan.steps,
                pictures=pictures,
                total_pictures=job.request.total,
                seconds=time.perf_counter() - begin,
                previews=previews,
            ),
        )
        lap = time.perf_counter()


def _fp32_notice(part: str, job: Job) -> str:
    return (
        f"The {part} overflowed in {job.request.precision}, so it was computed in fp32, which is "
        "slower; precision fp32 or bf16 avoids this."
    )
