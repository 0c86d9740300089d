"""Our loop and diffusers' pipelines over the same model, to be held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_lms_discrete
from PIL import Image

from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings
from core.images.canvas import canvas_of
from core.images.reading import read_start_image
from core.request import ImageToImage, Inpaint, PreviewDecoder, Request, SchedulerName
from core.sampling.lms import NODES, WEIGHTS
from core.sampling.vae import Vae

DPM = {"algorithm_type": "dpmsolver++", "use_karras_sigmas": False}
CLASSES: dict[SchedulerName, tuple[Any, dict[str, Any]]] = {
    SchedulerName.PNDM: (diffusers.PNDMScheduler, {}),
    SchedulerName.DDIM: (diffusers.DDIMScheduler, {}),
    SchedulerName.LMS: (scheduling_lms_discrete.LMSDiscreteScheduler, {}),
    SchedulerName.EULER: (diffusers.EulerDiscreteScheduler, {}),
    SchedulerName.EULER_ANCESTRAL: (diffusers.EulerAncestralDiscreteScheduler, {}),
    SchedulerName.HEUN: (diffusers.HeunDiscreteScheduler, {}),
    SchedulerName.DPMPP_2M: (diffusers.DPMSolverMultistepScheduler, DPM),
    SchedulerName.DPMPP_2M_KARRAS: (
        diffusers.DPMSolverMultistepScheduler,
        DPM | {"use_karras_sigmas": True},
    ),
    SchedulerName.DPMPP_SDE: (
        diffusers.DPMSolverMultistepScheduler,
        DPM | {"algorithm_type": "sde-dpmsolver++"},
    ),
    SchedulerName.UNIPC: (diffusers.UniPCMultistepScheduler, {}),
    SchedulerName.DDPM: (diffusers.DDPMScheduler, {}),
    SchedulerName.LCM: (diffusers.LCMScheduler, {}),
    SchedulerName.TCD: (diffusers.TCDScheduler, {}),
}
PROMPT = "a red circle on the moon"
SEED = 1234
TOLERANCE = 1e-5


class Peer:
    """diffusers' pipelines over one model."""

    def __init__(self, folder: Path) -> None:
        self.text_to_image = diffusers.AutoPipelineForText2Image.from_pretrained(
            folder, local_files_only=True
        )
        self.config = self.text_to_image.scheduler.config

    def pipeline_for(self, request: Request) -> Any:
        """Give the pipeline for such a request."""
        match request:
            case Inpaint():
                pipe = diffusers.AutoPipelineForInpainting.from_pipe(self.text_to_image)
            case ImageToImage():
                pipe = diffusers.AutoPipelineForImage2Image.from_pipe(self.text_to_image)
            case _:
                pipe = self.text_to_image
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def make(self, request: Request, **options: Any) -> tuple[torch.Tensor, np.ndarray]:
        """Give the final latents and the pictures, 0..1."""
        cls, settings = CLASSES[request.scheduler]
        seen: list[torch.Tensor] = []

        def keep(pipe: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            seen.append(values["latents"])
            return values

        pipe, size = self.pipeline_for(request), {"width": request.width, "height": request.height}
        match request:
            case Inpaint():
                canvas = canvas_of(request)
                options |= size | {
                    "image": Image.fromarray(canvas.start()),
                    "mask_image": Image.fromarray(np.where(canvas.area(), 255, 0).astype(np.uint8)),
                    "strength": request.strength,
                }
            case ImageToImage():
                pixels = read_start_image(Path(request.init_image), request.width, request.height)
                options |= {"image": Image.fromarray(pixels), "strength": request.strength}
            case _:
                options |= size
        if request.negative_prompt:
            options["negative_prompt"] = request.negative_prompt
        pipe.scheduler = cls.from_config(self.config, **settings)
        pictures = pipe(
            prompt=request.prompts[0],
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            num_images_per_prompt=request.count,
            generator=[
                torch.Generator("cpu").manual_seed(request.seed + i) for i in range(request.count)
            ],
            callback_on_step_end=keep,
            output_type="np",
            **options,
        ).images
        return seen[-1], pictures


class Ours:
    """The engine, with the latents that it decodes written down on the way."""

    def __init__(self, engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.latents: list[torch.Tensor] = []
        decode = Vae.decode

        def noted(vae: Vae, latents: torch.Tensor) -> Any:
            self.latents.append(latents)
            return decode(vae, latents)

        monkeypatch.setattr(Vae, "decode", noted)

    def make(self, request: Request) -> tuple[torch.Tensor, np.ndarray]:
        self.latents.clear()
        events = self.engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF))
        pictures = [event.pixels for event in events if isinstance(event, ImageReady)]
        return torch.cat(self.latents), np.stack(pictures)


@contextmanager
def quadrature() -> Iterator[None]:
    """Where SciPy is missing, diffusers' K-LMS lacks its integrator: give it one."""
    patch = pytest.MonkeyPatch()

    def quad(function: Any, start: Any, end: Any, epsrel: float) -> tuple[float]:
        half, middle = (float(end) - float(start)) / 2, (float(end) + float(start)) / 2
        values = [float(function(middle + half * node)) for node in NODES]
        return (half * float(np.dot(WEIGHTS, values)),)

    if not hasattr(scheduling_lms_discrete, "integrate"):
        patch.setattr(
            scheduling_lms_discrete, "integrate", SimpleNamespace(quad=quad), raising=False
        )
    try:
        yield
    finally:
        patch.undo()


def assert_equal(ours: Ours, peer: Peer, request: Request) -> None:
    """Hold the final latents and the pictures against each other."""
    latents, pictures = ours.make(request)
    their_latents, their_pictures = peer.make(request)
    assert latents.shape == their_latents.shape
    assert float((latents - their_latents).abs().max()) <= TOLERANCE
    expected = (their_pictures * 255).round()
    # A byte may fall to the other side of one half where the last bits differ.
    assert np.abs(pictures - expected).max() <= (0 if torch.equal(latents, their_latents) else 1)
