"""Our loop against diffusers' pipelines: same weights, seed and settings, same pictures."""

from __future__ import annotations

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
from core.images.reading import read_start_image
from core.request import (
    DeviceName,
    ImageToImage,
    PreviewDecoder,
    Request,
    SchedulerName,
    TextToImage,
)
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
    """diffusers' two pipelines over one model."""

    def __init__(self, folder: Path) -> None:
        self.text_to_image = diffusers.StableDiffusionPipeline.from_pretrained(
            folder, local_files_only=True, safety_checker=None
        )
        self.text_to_image.set_progress_bar_config(disable=True)
        self.image_to_image = diffusers.StableDiffusionImg2ImgPipeline(
            **self.text_to_image.components, requires_safety_checker=False
        )
        self.image_to_image.set_progress_bar_config(disable=True)
        self.config = self.text_to_image.scheduler.config

    def make(self, request: Request) -> tuple[torch.Tensor, np.ndarray]:
        """Give the final latents and the pictures, 0..1."""
        cls, settings = CLASSES[request.scheduler]
        seen: list[torch.Tensor] = []

        def keep(pipe: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            seen.append(values["latents"])
            return values

        pipe, options = self.text_to_image, {"width": request.width, "height": request.height}
        if isinstance(request, ImageToImage):
            pipe = self.image_to_image
            pixels = read_start_image(Path(request.init_image), request.width, request.height)
            options = {"image": Image.fromarray(pixels), "strength": request.strength}
        pipe.scheduler = cls.from_config(self.config, **settings)
        pictures = pipe(
            prompt=request.prompts[0],
            negative_prompt=request.negative_prompt or None,
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


@pytest.fixture(scope="module", autouse=True)
def quadrature() -> Any:
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
    yield
    patch.undo()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def ours(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> Ours:
    return Ours(engine, monkeypatch)


@pytest.fixture(scope="module")
def peer(tiny_model: Path) -> Peer:
    return Peer(tiny_model)


@pytest.fixture(scope="module")
def v_peer(tiny_v_model: Path) -> Peer:
    return Peer(tiny_v_model)


def assert_equal(ours: Ours, peer: Peer, request: Request) -> None:
    latents, pictures = ours.make(request)
    their_latents, their_pictures = peer.make(request)
    assert latents.shape == their_latents.shape
    assert float((latents - their_latents).abs().max()) <= TOLERANCE
    expected = (their_pictures * 255).round()
    # A byte may fall to the other side of one half where the last bits differ.
    assert np.abs(pictures - expected).max() <= (0 if torch.equal(latents, their_latents) else 1)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("guidance", "negative"), [(1.0, ""), (7.5, ""), (7.5, "blue square")], ids=["1", "7.5", "neg"]
)
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_text_to_image(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    steps: int,
    ours: Ours,
    peer: Peer,
    tiny_model: Path,
) -> None:
    request = TextToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        negative_prompt=negative,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        width=64,
        height=64,
        seed=SEED,
        count=count,
    )
    assert_equal(ours, peer, request)


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
@pytest.mark.parametrize(
    ("guidance", "negative", "count", "steps"), [(1.0, "", 1, 5), (7.5, "blue square", 3, 20)]
)
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_image_to_image(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    steps: int,
    strength: float,
    ours: Ours,
    peer: Peer,
    tiny_model: Path,
    start_picture: Path,
) -> None:
    request = ImageToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        negative_prompt=negative,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        width=64,
        height=48,
        seed=SEED,
        count=count,
        init_image=str(start_picture),
        strength=strength,
    )
    assert_equal(ours, peer, request)


@pytest.mark.parametrize("strength", [None, 0.8])
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_velocity_prediction(
    scheduler: SchedulerName,
    strength: float | None,
    ours: Ours,
    v_peer: Peer,
    tiny_v_model: Path,
    start_picture: Path,
) -> None:
    settings: dict[str, Any] = {
        "model": str(tiny_v_model),
        "prompts": (PROMPT,),
        "steps": 20,
        "scheduler": scheduler,
        "width": 64,
        "height": 64,
        "seed": SEED,
        "count": 2,
    }
    request: Request = TextToImage(**settings)
    if strength is not None:
        request = ImageToImage(**settings, init_image=str(start_picture), strength=strength)
    assert_equal(ours, v_peer, request)


def test_guidance_rescale(ours: Ours, peer: Peer, tiny_model: Path) -> None:
    request = TextToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        steps=5,
        width=64,
        height=64,
        guidance_rescale=0.7,
    )
    latents, _ = ours.make(request)
    peer.text_to_image.scheduler = diffusers.DDIMScheduler.from_config(peer.config)
    expected = peer.text_to_image(
        PROMPT,
        width=64,
        height=64,
        num_inference_steps=5,
        guidance_rescale=0.7,
        generator=torch.Generator("cpu").manual_seed(0),
        output_type="latent",
    ).images
    assert float((latents - expected).abs().max()) <= TOLERANCE
