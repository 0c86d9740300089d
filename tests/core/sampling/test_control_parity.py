"""ControlNets against diffusers' pipelines: same weights, seed and settings, same latents."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import MultiControlNetModel
from PIL import Image

from core.engine import TorchEngine
from core.events import PreviewSettings
from core.images.reading import read_start_image
from core.request import (
    ControlUse,
    ImageToImage,
    PreviewDecoder,
    Request,
    SchedulerName,
    TextToImage,
)
from core.sampling.vae import Vae
from tests.conftest import write_tiny_control

PROMPT = "a red circle on the moon"
TOLERANCE = 1e-5
CLASSES = {
    SchedulerName.DDIM: diffusers.DDIMScheduler,
    SchedulerName.PNDM: diffusers.PNDMScheduler,
    SchedulerName.HEUN: diffusers.HeunDiscreteScheduler,
    SchedulerName.EULER_ANCESTRAL: diffusers.EulerAncestralDiscreteScheduler,
}


@pytest.fixture(scope="module")
def controls(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two ControlNets."""
    folder = tmp_path_factory.mktemp("controls")
    return [write_tiny_control(folder / f"{i}", tiny_model, seed=i) for i in range(2)]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two control pictures of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp("maps")
    random = np.random.default_rng(0)
    for i in range(2):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(2)]


@pytest.fixture(scope="module")
def parts(tiny_model: Path) -> dict[str, Any]:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny_model, local_files_only=True, safety_checker=None
    )
    return dict(pipe.components)


def ours(engine: TorchEngine, request: Request, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Give the latents that the engine decodes."""
    seen: list[torch.Tensor] = []
    decode = Vae.decode

    def noted(vae: Vae, latents: torch.Tensor) -> Any:
        seen.append(latents)
        return decode(vae, latents)

    with monkeypatch.context() as patch:
        patch.setattr(Vae, "decode", noted)
        list(engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF)))
    return torch.cat(seen)


def theirs(parts: dict[str, Any], request: Request) -> torch.Tensor:
    nets = [diffusers.ControlNetModel.from_pretrained(use.path) for use in request.controls]
    pictures = [Image.open(use.image) for use in request.controls]
    alone = len(nets) == 1
    options: dict[str, Any] = {"image": pictures[0] if alone else pictures}
    is_xl = "text_encoder_2" in parts
    cls: Any = diffusers.StableDiffusionControlNetPipeline
    if is_xl:
        cls = diffusers.StableDiffusionXLControlNetPipeline
    if isinstance(request, ImageToImage):
        start = read_start_image(Path(request.init_image), request.width, request.height)
        options = {
            "image": Image.fromarray(start),
            "control_image": options["image"],
            "strength": request.strength,
        }
        cls = diffusers.StableDiffusionControlNetImg2ImgPipeline
        if is_xl:
            cls = diffusers.StableDiffusionXLControlNetImg2ImgPipeline
    scheduler = CLASSES[request.scheduler].from_config(parts["scheduler"].config)
    pipe = cls(
        **(parts | {"scheduler": scheduler}),
        controlnet=nets[0] if alone else MultiControlNetModel(nets),
        **({} if is_xl else {"requires_safety_checker": False}),
    )
    pipe.set_progress_bar_config(disable=True)
    weights = [use.weight for use in request.controls]
    made: torch.Tensor = pipe(
        prompt=request.prompts[0],
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=request.count,
        generator=[
            torch.Generator("cpu").manual_seed(request.seed + i) for i in range(request.count)
        ],
        controlnet_conditioning_scale=weights[0] if alone else weights,
        control_guidance_start=[use.start for use in request.controls],
        control_guidance_end=[use.end for use in request.controls],
        output_type="latent",
        **options,
    ).images
    return made


def request_of(model: Path, *controls: ControlUse, **changes: Any) -> TextToImage:
    settings: dict[str, Any] = {
        "model": str(model),
        "prompts": (PROMPT,),
        "steps": 5,
        "width": 64,
        "height": 64,
        "seed": 3,
        "controls": controls,
    }
    kind = ImageToImage if "init_image" in changes else TextToImage
    return kind(**(settings | changes))


def assert_equal(
    engine: TorchEngine, parts: dict[str, Any], request: Request, patch: pytest.MonkeyPatch
) -> None:
    made = ours(engine, request, patch)
    assert float((made - theirs(parts, request)).abs().max()) <= TOLERANCE
    # A comparison that the ControlNets had no part in would prove nothing.
    plain = ours(engine, dataclasses.replace(request, controls=()), patch)
    assert float((made - plain).abs().max()) > 100 * TOLERANCE


@pytest.mark.parametrize("scheduler", CLASSES)
@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize(
    ("weight", "start", "end"), [(1.0, 0.0, 1.0), (0.6, 0.2, 0.8)], ids=["whole", "part"]
)
def test_one_control(
    weight: float,
    start: float,
    end: float,
    guidance: float,
    scheduler: SchedulerName,
    engine: TorchEngine,
    parts: dict[str, Any],
    tiny_model: Path,
    controls: list[Path],
    maps: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use = ControlUse(path=str(controls[0]), image=str(maps[0]), weight=weight, start=start, end=end)
    request = request_of(tiny_model, use, guidance_scale=guidance, scheduler=scheduler)
    assert_equal(engine, parts, request, monkeypatch)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_two_controls(
    kind: str,
    guidance: float,
    engine: TorchEngine,
    parts: dict[str, Any],
    tiny_model: Path,
    controls: list[Path],
    maps: list[Path],
    start_picture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_of(
        tiny_model,
        ControlUse(path=str(controls[0]), image=str(maps[0]), weight=0.7, end=0.6),
        ControlUse(path=str(controls[1]), image=str(maps[1]), weight=1.3, start=0.4),
        guidance_scale=guidance,
        count=2,
        **({"init_image": str(start_picture), "strength": 0.6} if kind == "image" else {}),
    )
    assert_equal(engine, parts, request, monkeypatch)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_controls_of_sdxl(
    kind: str,
    engine: TorchEngine,
    tiny_xl_model: Path,
    maps: list[Path],
    tmp_path: Path,
    start_picture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are told what the UNet is told beside the text: the pooled text and the sizes."""
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny_xl_model, local_files_only=True)
    net = write_tiny_control(tmp_path / "net", tiny_xl_model)
    request = request_of(
        tiny_xl_model,
        ControlUse(path=str(net), image=str(maps[0]), weight=0.8, end=0.8),
        guidance_scale=7.5,
        **({"init_image": str(start_picture), "strength": 0.6} if kind == "image" else {}),
    )
    assert_equal(engine, dict(pipe.components), request, monkeypatch)
