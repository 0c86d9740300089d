"""What the command line calls a request's settings, for its error messages. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import CoreError, InvalidRequest
from core.train_options import option_names

PICTURE_OPTIONS: Mapping[str, str] = {
    "prompts": "PROMPT",
    "model": "--model",
    "negative_prompt": "--negative",
    "steps": "--steps",
    "guidance_scale": "--guidance",
    "guidance_rescale": "--guidance-rescale",
    "guidance_start": "--guidance-start",
    "guidance_end": "--guidance-end",
    "scheduler": "--scheduler",
    "width": "--width",
    "height": "--height",
    "seed": "--seed",
    "count": "--count",
    "batch_size": "--batch",
    "precision": "--dtype",
    "loras": "--lora",
    "embeddings": "--embedding",
    "memory": "--memory",
    "compute_units": "--compute-units",
    "controls": "--control",
    "controls.path": "--control",
    "controls.image": "--control-image",
    "controls.preprocessor": "--control-preprocessor",
    "controls.low": "--control-low",
    "controls.high": "--control-high",
    "controls.weight": "--control-weight",
    "controls.start": "--control-start",
    "controls.end": "--control-end",
    "vae": "--vae",
    "refiner": "--refiner",
    "refiner_start": "--refiner-start",
    "vae_tiling": "--vae-tiling",
    "init_image": "--init",
    "strength": "--strength",
    "mask_image": "--mask",
    "mask_invert": "--mask-invert",
    "mask_blur": "--mask-blur",
    "only_masked": "--only-masked",
    "padding": "--only-masked",
    "left": "--outpaint",
    "top": "--outpaint",
    "right": "--outpaint",
    "bottom": "--outpaint",
    "second_pass": "--hires-scale",
    "second_pass.scale": "--hires-scale",
    "second_pass.strength": "--hires-strength",
    "second_pass.steps": "--hires-steps",
    "second_pass.upscaler": "--hires-upscaler",
    "second_pass.window": "--hires-window",
    "from": "--from",
}
"""The options of ``generate`` and ``grid`` by the settings that they give."""

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "generate": PICTURE_OPTIONS,
    "grid": PICTURE_OPTIONS,
    "upscale": {
        **PICTURE_OPTIONS,
        "prompts": "--prompt",
        "init_image": "IMAGE",
        "scale": "--scale",
        "window": "--window",
        "upscaler": "--upscaler",
    },
    "caption": {
        "model": "--model",
        "prefix": "--prefix",
        "beams": "--beams",
        "max_tokens": "--max-tokens",
    },
    "models": {"model": "ID", "name": "--name"},
    "inspect": {"image": "IMAGE"},
    "train": option_names(),
}
"""The same of every command whose messages name settings."""


def told(error: CoreError, command: str, added: Mapping[str, Mapping[str, str]] = {}) -> str:
    """Say an error as a person who typed a command knows its parts.

    Args:
        error: The error.
        command: The command's name.
        added: The options of further commands.
    """
    if not isinstance(error, InvalidRequest):
        return str(error)
    name = {**_OPTIONS, **added}.get(command, {}).get(error.field, error.field)
    if command == "grid" and name.partition(" ")[0] in ("x", "y"):
        name = f"--{name}"
    return f"{name}: {error.reason}"
