"""Models in memory as they are after training, and what diffusers draws with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load

Loader = Callable[..., Components]


@pytest.fixture
def opened(tmp_path: Path) -> Loader:
    """Load a model in fp32 on the CPU; a file's configurations are given beside it."""

    def open_model(path: Path, *configs: Path) -> Components:
        return load(
            identify(path, *configs),
            device=torch.device("cpu"),
            dtype=torch.float32,
            fingerprints=Fingerprints.kept_in(tmp_path / "cache"),
        )

    return open_model


@pytest.fixture
def trained(opened: Loader) -> Loader:
    """Load a model and change every weight of its UNet and text encoders."""

    def train(path: Path, *configs: Path) -> Components:
        components = opened(path, *configs)
        numbers = torch.Generator().manual_seed(8)
        modules = [components.unet, *(tower.encoder for tower in components.text_towers)]
        with torch.no_grad():
            for module in modules:
                for weight in module.parameters():
                    # The loaded ones are mapped from the file and may not be written to.
                    noise = 0.02 * torch.randn(weight.shape, generator=numbers)
                    weight.data = weight + noise
        return components

    return train


@pytest.fixture
def states() -> Callable[[Components], dict[str, Tensor]]:
    """Give all weights of a model, by component and name."""

    def gather(components: Components) -> dict[str, Tensor]:
        modules: dict[str, Any] = {t.name: t.encoder for t in components.text_towers}
        modules |= {"unet": components.unet, "vae": components.vae}
        return {
            f"{part}.{name}": tensor
            for part, module in modules.items()
            for name, tensor in module.state_dict().items()
        }

    return gather


@pytest.fixture
def latents_of() -> Callable[[Any], Tensor]:
    """Draw with a pipeline of diffusers and give the latents ``(1, 4, 8, 8)``."""

    def draw(pipe: Any) -> Tensor:
        pipe.set_progress_bar_config(disable=True)
        with torch.no_grad():
            return pipe(
                "a red circle on the moon",
                num_inference_steps=2,
                guidance_scale=2.0,
                generator=torch.Generator().manual_seed(1),
                height=64,
                width=64,
                output_type="latent",
            ).images

    return draw


@pytest.fixture
def pipeline_of() -> Callable[[Components], Any]:
    """Put a model in memory into a pipeline of diffusers, without any file."""

    def build(components: Components) -> Any:
        config = dict(components.scheduler_config)
        parts = {
            "unet": components.unet,
            "vae": components.vae,
            "text_encoder": components.text_encoder,
            "tokenizer": components.tokenizer,
            "scheduler": getattr(diffusers, config["_class_name"]).from_config(config),
        }
        if components.text_encoder_2 is None:
            return diffusers.StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        return diffusers.StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=components.text_encoder_2,
            tokenizer_2=components.tokenizer_2,
        )

    return build
