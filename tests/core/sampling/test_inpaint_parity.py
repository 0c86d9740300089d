"""Our inpainting against diffusers' pipeline: same weights, seed and settings, same latents."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.engine import TorchEngine
from core.errors import Unsupported
from core.events import ImageReady, PreviewSettings
from core.images.canvas import canvas_of
from core.request import (
    ControlUse,
    Inpaint,
    Outpaint,
    PreviewDecoder,
    SchedulerName,
    TextToImage,
)
from core.sampling.inpaint import cells_of
from core.sampling.vae import Vae
from tests.conftest import write_tiny_control

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
CLASSES: dict[SchedulerName, Any] = {
    SchedulerName.PNDM: diffusers.PNDMScheduler,
    SchedulerName.DDIM: diffusers.DDIMScheduler,
    SchedulerName.EULER_ANCESTRAL: diffusers.EulerAncestralDiscreteScheduler,
    SchedulerName.HEUN: diffusers.HeunDiscreteScheduler,
    SchedulerName.DPMPP_2M: diffusers.DPMSolverMultistepScheduler,
    SchedulerName.UNIPC: diffusers.UniPCMultistepScheduler,
}
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def inpainting_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a UNet of nine channels."""
    folder = tmp_path_factory.mktemp("models") / "tiny-inpaint"
    for part in tiny_model.iterdir():
        if part.name not in ("unet", "model_index.json"):
            folder.mkdir(exist_ok=True)
            (folder / part.name).symlink_to(part, target_is_directory=True)
    index = json.loads((tiny_model / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    config = diffusers.UNet2DConditionModel.load_config(tiny_model / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = diffusers.UNet2DConditionModel.from_config(dict(config) | {"in_channels": 9})
    unet.save_pretrained(folder / "unet")
    return folder


@pytest.fixture
def round_mask(tmp_path: Path) -> Path:
    """A disc that lies across the latents' grid."""
    y, x = np.mgrid[0:80, 0:96]
    path = tmp_path / "mask.png"
    Image.fromarray(np.where((x - 45) ** 2 + (y - 37) ** 2 < 21**2, 255, 0).astype(np.uint8)).save(
        path
    )
    return path


def theirs(folder: Path, request: Inpaint) -> torch.Tensor:
    pipe = diffusers.StableDiffusionInpaintPipeline.from_pretrained(
        folder, local_files_only=True, safety_checker=None
    )
    options: dict[str, Any] = {}
    if request.controls:
        (use,) = request.controls
        net = diffusers.ControlNetModel.from_pretrained(use.path)
        pipe = diffusers.StableDiffusionControlNetInpaintPipeline(
            **pipe.components, controlnet=net, requires_safety_checker=False
        )
        options = {
            "control_image": Image.open(use.image),
            "controlnet_conditioning_scale": use.weight,
        }
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = CLASSES[request.scheduler].from_config(pipe.scheduler.config)
    canvas = canvas_of(request)
    latents: torch.Tensor = pipe(
        request.prompts[0],
        image=Image.fromarray(canvas.start()),
        mask_image=Image.fromarray(np.where(canvas.area(), 255, 0).astype(np.uint8)),
        width=request.width,
        height=request.height,
        strength=request.strength,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type="latent",
        **options,
    ).images
    return latents


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("scheduler", CLASSES)
@pytest.mark.parametrize("kind", ["plain", "inpainting"])
def test_latents_are_diffusers(
    kind: str,
    scheduler: SchedulerName,
    strength: float,
    tiny_model: Path,
    inpainting_model: Path,
    engine: TorchEngine,
    start_picture: Path,
    round_mask: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tiny_model if kind == "plain" else inpainting_model
    request = Inpaint(
        model=str(folder),
        prompts=("a red circle on the moon",),
        steps=6,
        scheduler=scheduler,
        width=96,
        height=80,
        seed=77,
        init_image=str(start_picture),
        mask_image=str(round_mask),
        strength=strength,
    )
    seen: list[torch.Tensor] = []
    decode = Vae.decode
    monkeypatch.setattr(
        Vae, "decode", lambda vae, latents: (seen.append(latents), decode(vae, latents))[1]
    )
    (image,) = [e for e in engine.generate(request, preview=OFF) if isinstance(e, ImageReady)]
    assert float((seen[0] - theirs(folder, request)).abs().max()) <= TOLERANCE
    outside = ~canvas_of(request).mask
    original = np.asarray(Image.open(start_picture).convert("RGB"))
    np.testing.assert_array_equal(image.pixels[outside], original[outside])
    assert not np.array_equal(image.pixels, original)


@pytest.mark.parametrize("kind", ["plain", "inpainting"])
def test_a_control_leads_both_kinds(
    kind: str,
    tiny_model: Path,
    inpainting_model: Path,
    engine: TorchEngine,
    start_picture: Path,
    round_mask: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tiny_model if kind == "plain" else inpainting_model
    control = write_tiny_control(tmp_path / "control", tiny_model)
    request = Inpaint(
        model=str(folder),
        prompts=("a red circle on the moon",),
        steps=4,
        width=96,
        height=80,
        seed=77,
        init_image=str(start_picture),
        mask_image=str(round_mask),
        controls=(ControlUse(path=str(control), image=str(start_picture), weight=0.8),),
    )
    seen: list[torch.Tensor] = []
    decode = Vae.decode
    monkeypatch.setattr(
        Vae, "decode", lambda vae, latents: (seen.append(latents), decode(vae, latents))[1]
    )
    for made in (request, dataclasses.replace(request, controls=())):
        list(engine.generate(made, preview=OFF))
    led, plain = seen
    assert float((led - theirs(folder, request)).abs().max()) <= TOLERANCE
    assert float((led - plain).abs().max()) > 100 * TOLERANCE


def test_each_picture_of_a_batch_is_the_one_of_its_seed(
    tiny_model: Path, engine: TorchEngine, start_picture: Path, round_mask: Path
) -> None:
    def made(**changes: Any) -> list[np.ndarray]:
        settings: dict[str, Any] = {
            "model": str(tiny_model),
            "prompts": ("red",),
            "steps": 4,
            "scheduler": SchedulerName.EULER_ANCESTRAL,
            "width": 96,
            "height": 80,
            "init_image": str(start_picture),
            "mask_image": str(round_mask),
        }
        events = engine.generate(Inpaint(**(settings | changes)), preview=OFF)
        return [event.pixels for event in events if isinstance(event, ImageReady)]

    both = made(seed=5, count=2, batch_size=2)
    (alone,) = made(seed=6)
    assert np.abs(both[1].astype(int) - alone).max() <= 1


def test_an_inpainting_model_wants_a_mask(inpainting_model: Path, engine: TorchEngine) -> None:
    request = TextToImage(model=str(inpainting_model), prompts=("red",), width=64, height=64)
    with pytest.raises(Unsupported, match="inpainting model; give it a start picture and a mask"):
        list(engine.generate(request, preview=OFF))


def test_an_inpainting_model_paints_on_beyond_the_edges(
    inpainting_model: Path, engine: TorchEngine, start_picture: Path
) -> None:
    request = Outpaint(
        model=str(inpainting_model),
        prompts=("red",),
        steps=3,
        width=128,
        height=80,
        right=32,
        init_image=str(start_picture),
    )
    (image,) = [e for e in engine.generate(request, preview=OFF) if isinstance(e, ImageReady)]
    original = np.asarray(Image.open(start_picture).convert("RGB"))
    np.testing.assert_array_equal(image.pixels[:, :96], original)


def test_a_stroke_that_slips_through_the_grid_is_caught() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:13, :] = 1  # Between the first rows, 8 and 16, of its latents.
    assert cells_of(mask, 8)[0, 0].sum(1).tolist() == [0, 4, 0, 0]
    mask[..., 10:30, :] = 1  # The rows of latents that diffusers takes, and no other.
    assert cells_of(mask, 8)[0, 0].sum(1).tolist() == [0, 0, 4, 4]
