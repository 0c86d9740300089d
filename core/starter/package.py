"""Writes the trained parts as a plain StableDiffusionPipeline folder, in half precision."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.sampling.linear_preview import FILE_NAME, LinearFit, fit, write
from core.starter import render
from core.starter.clip import MEAN
from core.starter.denoiser import noise_schedule
from core.starter.render import SIDE
from core.starter.world import sample_scene

WEIGHTS = Path(__file__).parent / "weights"
"""The folder that ships."""

CARD = {
    "title": "Stepwise starter",
    "defaults": {"steps": 20, "guidance_scale": 3.0, "scheduler": "ddim"},
}


def text_encoder_of(clip: CLIPModel) -> CLIPTextModel:
    """Give the text tower as Stable Diffusion's text encoder."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def image_encoder_of(clip: CLIPModel) -> CLIPVisionModelWithProjection:
    """Give the image tower with its projection."""
    encoder = CLIPVisionModelWithProjection(clip.config.vision_config)
    encoder.vision_model.load_state_dict(clip.vision_model.state_dict())
    encoder.visual_projection.load_state_dict(clip.visual_projection.state_dict())
    return encoder.eval()


def clip_of(folder: Path) -> CLIPModel:
    """Put the two towers of a model folder together again."""
    single = torch.float32
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=single)
    image = CLIPVisionModelWithProjection.from_pretrained(
        folder / "image_encoder", torch_dtype=single
    )
    joint = load_file(folder / "clip_projection.safetensors")
    clip = CLIPModel(
        CLIPConfig(
            text_config=text.config.to_dict(),
            vision_config=image.config.to_dict(),
            projection_dim=image.config.projection_dim,
        )
    )
    clip.text_model.load_state_dict(text.state_dict())
    clip.vision_model.load_state_dict(image.vision_model.state_dict())
    clip.visual_projection.load_state_dict(image.visual_projection.state_dict())
    with torch.no_grad():
        clip.text_projection.weight.copy_(joint["text_projection.weight"])
        clip.logit_scale.copy_(joint["logit_scale"][0])
    return clip.eval()


def write_preview(folder: Path) -> LinearFit:
    """Fit the linear preview to renders and put it into a model folder."""
    rng = random.Random(3)
    pictures = render.draw_scenes([sample_scene(rng) for _ in range(48)], rng) * 2 - 1
    with tempfile.TemporaryDirectory() as cache:
        components = load(
            identify(folder),
            device=torch.device("cpu"),
            dtype=torch.float32,
            fingerprints=Fingerprints.kept_in(Path(cache)),
        )
    fitted = fit(components, pictures)
    write(fitted, folder / FILE_NAME)
    return fitted


def write_folder(
    folder: Path,
    tokenizer_folder: Path,
    clip: CLIPModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
) -> None:
    """Write the whole model beside ``folder`` and then put it in its place.

    Beyond what a pipeline needs there are two files: ``stepwise.json`` with good defaults, and
    ``clip_projection.safetensors``, which joins the two towers (text projection and logit scale).
    """
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    half = torch.float16
    pipeline = StableDiffusionPipeline(
        vae=vae.to(half),
        text_encoder=text_encoder_of(clip).to(half),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=unet.to(half),
        scheduler=PNDMScheduler.from_config(noise_schedule().config, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_mean=MEAN,
            image_std=MEAN,
        ),
        image_encoder=image_encoder_of(clip).to(half),
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(unfinished, safe_serialization=True)
    for part in ("unet", "vae"):
        _forget_origin(unfinished / part / "config.json")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(tokenizer_folder / name, unfinished / "tokenizer" / name)
    (unfinished / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    joint = {
        "text_projection.weight": clip.text_projection.weight.detach().half().contiguous(),
        "logit_scale": clip.logit_scale.detach().float().reshape(1),
    }
    save_file(joint, unfinished / "clip_projection.safetensors")
    (unfinished / "stepwise.json").write_text(json.dumps(CARD, indent=2) + "\n", encoding="utf-8")
    write_preview(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _forget_origin(path: Path) -> None:
    """Take the folder that a part was loaded from out of its configuration."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
