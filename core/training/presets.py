"""Settings for so much memory, and what a training will need of it. Imports no torch.

What learns and what is kept of it is counted; activations are estimated by a formula whose one
constant is measured, see ``ACTIVATIONS``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from core.errors import InvalidRequest
from core.models.families import Family
from core.models.identify import Identity
from core.request_parts import Precision
from core.training.config import DreamBooth, Finetune, TextualInversion, TrainConfig
from core.training.config_parts import (
    AdapterSettings,
    OptimiserName,
    OptimiserSettings,
    Preset,
    Targets,
)

_SIZES = {Preset.GB_8: 8, Preset.GB_16: 16, Preset.GB_24: 24}
"""Gigabytes of each."""

_PER_RANK = {Family.SD1: 6e5, Family.SD2: 6e5, Family.SDXL: 2.9e6}
"""Weights of an adapter on all transformer blocks, for each of its rank."""

_OPTIMISER_BYTES = {
    OptimiserName.ADAMW: 8.0,
    OptimiserName.ADAMW_8BIT: 2.0,
    OptimiserName.ADAFACTOR: 0.1,
    OptimiserName.PRODIGY: 16.0,
}
"""What each keeps of a weight that learns."""

ACTIVATIONS = {True: 260, False: 560}
"""Tensors of the UNet's full size and base width that are kept for the way back, with gradient
checkpointing and without, fitted to Stable Diffusion 1.5's UNet with a LoRA at 512 x 512 in bf16 on
the CPU: peaks of 3.48 and 4.26 GB."""

_LIBRARIES = 450_000_000
"""Bytes that Python and its libraries take."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What a training takes of memory, in bytes.

    Attributes:
        weights: The model's own.
        learning: What learns, its gradients and what the optimiser keeps of it.
        activations: What is kept of a forward pass for the way back.
    """

    weights: int
    learning: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, with the libraries."""
        return self.weights + self.learning + self.activations + _LIBRARIES


def memory_needed(
    config: TrainConfig, identity: Identity, *, auto: Precision = Precision.FP32
) -> Needed:
    """Estimate the memory that a training will take.

    Args:
        config: What is trained.
        identity: The model.
        auto: The number format that the device chooses by itself.
    """
    precision = auto if config.precision is Precision.AUTO else config.precision
    is_half = precision in (Precision.FP16, Precision.BF16)
    adapter = getattr(config, "adapter", None)
    in_full = isinstance(config, Finetune) or (isinstance(config, DreamBooth) and adapter is None)
    each = 4 if in_full or not is_half else 2
    counts = identity.parameters
    learning = _learning(config, identity, adapter)
    kept = 4.0 * (0 if in_full else 1) + 4.0 + _OPTIMISER_BYTES[config.optimiser.name]
    if isinstance(config, Finetune) and config.ema:
        kept += 4.0
    side = config.data.resolution or min(identity.width, identity.height)
    latents = (side / identity.vae_scale) ** 2 * config.batch_size
    if isinstance(config, DreamBooth) and config.class_prompt:
        latents *= 2
    tensors = ACTIVATIONS[config.gradient_checkpointing]
    activations = latents * identity.unet_channels * tensors * (2 if is_half else 4)
    return Needed(int(sum(counts.values()) * each), int(learning * kept), int(activations))


def _learning(config: TrainConfig, identity: Identity, adapter: AdapterSettings | None) -> float:
    """Count the weights that learn."""
    counts = identity.parameters
    text = sum(count for name, count in counts.items() if name.startswith("text_encoder"))
    if isinstance(config, TextualInversion):
        return config.vectors * 2048
    learns_text = config.train_text
    if adapter is None:
        return counts["unet"] + (text if learns_text else 0)
    each = _PER_RANK.get(identity.family, counts["unet"] / 1500)
    share = {Targets.ATTENTION: 0.5, Targets.TRANSFORMER: 1.0, Targets.ALL: 1.3}[adapter.targets]
    text_share = text / counts["unet"] if learns_text else 0.0
    return adapter.rank * each * (share + text_share) + adapter.conv_rank * each


@dataclass(frozen=True, slots=True)
class _Level:
    """A way to train. It says all that presets choose, so that they undo one another."""

    batch_size: int
    gradient_checkpointing: bool = False
    is_half: bool = False
    is_frugal: bool = False

    def of(self, config: TrainConfig, half: Precision) -> TrainConfig:
        """Give a training's settings as they are in this way."""
        return dataclasses.replace(
            config,
            batch_size=self.batch_size,
            gradient_checkpointing=self.gradient_checkpointing,
            precision=half if self.is_half else Precision.AUTO,
            optimiser=self._optimiser(config.optimiser),
        )

    def _optimiser(self, before: OptimiserSettings) -> OptimiserSettings:
        name = before.name
        if self.is_frugal:
            name = OptimiserName.ADAFACTOR
        elif name is OptimiserName.ADAFACTOR:
            name = OptimiserName.ADAMW
        if name is before.name or before.name is not OptimiserName.PRODIGY:
            return dataclasses.replace(before, name=name)
        # Prodigy's rate is a factor, and far too much for any other.
        return dataclasses.replace(before, name=name, learning_rate=0.0)


_LEVELS = (
    _Level(4),
    _Level(2),
    _Level(1),
    _Level(1, gradient_checkpointing=True),
    _Level(1, gradient_checkpointing=True, is_half=True),
    _Level(1, gradient_checkpointing=True, is_half=True, is_frugal=True),
)
"""Each slower or coarser than the one before, and smaller."""

_SHARE = 0.85
"""Of a machine's memory, what a training may have of it."""


def with_preset(
    preset: Preset,
    config: TrainConfig,
    identity: Identity,
    *,
    auto: Precision = Precision.FP32,
    half: Precision = Precision.BF16,
) -> TrainConfig:
    """Give a training's settings for so much memory: the first of a few ways that fits.

    Args:
        preset: How much memory there is.
        config: What is to be trained.
        identity: The model.
        auto: The number format that the device chooses by itself.
        half: The one of half the size that it can learn in, or fp32 if there is none.

    Raises:
        InvalidRequest: If it takes more than that in every way.
    """
    room = _SIZES[preset] * 1e9 * _SHARE
    needed = 0
    for level in _LEVELS:
        changed = level.of(config, half)
        needed = memory_needed(changed, identity, auto=auto).total
        if needed <= room:
            return changed
    raise InvalidRequest(
        "preset",
        f"{identity.path.name} takes about {needed / 1e9:.0f} GB to learn like this, which is more "
        f"than {preset} leaves; choose LoRA, a smaller model, or a smaller resolution.",
    )
