"""The parts that every training's settings have. Imports no torch.

Every value is checked when it is made; ``InvalidRequest`` names the setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidRequest
from core.request_checks import (
    LATENT_SCALE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_text,
)

MOST_STEPS = 10_000_000
MOST_AT_ONCE = 1024


class Crop(StrEnum):
    """Which part of a picture is kept where its shape is not its bucket's."""

    CENTRE = "centre"
    RANDOM = "random"


class LossKind(StrEnum):
    """How far a prediction is from its target."""

    MSE = "mse"
    HUBER = "huber"


class OptimiserName(StrEnum):
    """What turns gradients into steps."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw-8bit"
    ADAFACTOR = "adafactor"
    PRODIGY = "prodigy"


class RateSchedule(StrEnum):
    """How the learning rate goes on after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Preset(StrEnum):
    """Memory that a training may take; see ``core.training.presets``."""

    GB_8 = "8gb"
    GB_16 = "16gb"
    GB_24 = "24gb"


class Targets(StrEnum):
    """Which of a UNet's layers an adapter is put on.

    ``ATTENTION`` is the projections of its attention layers, ``TRANSFORMER`` everything in its
    transformer blocks, ``ALL`` the residual blocks' linear layers and 1x1 convolutions too. 3x3
    convolutions have a rank of their own.
    """

    ATTENTION = "attention"
    TRANSFORMER = "transformer"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """The pictures to learn from, and how each is shown.

    Attributes:
        folder: Where they lie, with their captions: ``NAME.txt`` beside each, ``metadata.jsonl``
            (``file_name``, ``text``), kohya's folders ``N_subject class``, or else their names.
        resolution: Side in pixels of the square that has as many pixels as each bucket, a multiple
            of 8; 0 for the model's own.
        buckets: Whether a picture keeps about its own shape; else it is cropped to a square.
        crop: Which part is kept.
        flip: Whether every other showing is mirrored.
        background: Colour under transparent parts, ``#rrggbb``.
        trigger: Words put before every caption, unless they stand in it; empty for none.
        caption_dropout: Share of showings without a caption, 0 to 1.
        shuffle_tags: Whether what commas part in a caption is shuffled at every showing.
        keep_tags: How many of them, from the first on, stay in their places.
        use_masks: Whether a picture is learned only where its mask ``NAME.mask.png`` is white, or
            where it is not transparent; see ``core.training.pictures``.
        cache: Whether latents and encoded texts are computed once and kept on disk.
    """

    folder: str
    resolution: int = 0
    buckets: bool = True
    crop: Crop = Crop.CENTRE
    flip: bool = False
    background: str = "#ffffff"
    trigger: str = ""
    caption_dropout: float = 0.0
    shuffle_tags: bool = False
    keep_tags: int = 1
    use_masks: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        check_text("data", self.folder, empty_ok=False)
        check_int("resolution", self.resolution, 0, MAX_SIDE)
        if self.resolution % LATENT_SCALE:
            raise InvalidRequest(
                "resolution", f"{self.resolution} must be a multiple of {LATENT_SCALE}."
            )
        for name in ("buckets", "flip", "shuffle_tags", "use_masks", "cache"):
            check_bool(name, getattr(self, name))
        check_choice("crop", self.crop, Crop)
        check_text("background", self.background, empty_ok=False)
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.background):
            raise InvalidRequest("background", f"{self.background!r} is no colour like #ffffff.")
        check_text("trigger", self.trigger, empty_ok=True)
        check_float("caption_dropout", self.caption_dropout, 0, 1)
        check_int("keep_tags", self.keep_tags, 0, MAX_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """What is made small.

    Attributes:
        kind: The distance.
        huber_delta: Where Huber's distance passes from squares to absolutes, above 0.
        min_snr_gamma: Largest signal-to-noise ratio that counts in full (Hang et al. 2023,
            arXiv:2303.09556); 0 for no weighting.
        offset_noise: Share of noise that is the same all over a channel
            (https://www.crosslabs.org/blog/diffusion-with-offset-noise), 0 to 1.
    """

    kind: LossKind = LossKind.MSE
    huber_delta: float = 0.1
    min_snr_gamma: float = 0.0
    offset_noise: float = 0.0

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        check_choice("loss", self.kind, LossKind)
        check_float("huber_delta", self.huber_delta, 1e-6, 1e3)
        check_float("min_snr_gamma", self.min_snr_gamma, 0, 1e3)
        check_float("offset_noise", self.offset_noise, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSettings:
    """How gradients become steps.

    Attributes:
        name: The optimiser.
        learning_rate: Of the UNet, or of the new words; 0 for what suits the method and the model.
            Prodigy finds its own and takes this as a factor, 1 if 0.
        text_learning_rate: Of text encoders; 0 for half of it.
        weight_decay: Share of each weight taken off, times the learning rate, at each step; none of
            a new word's, whose length is held where the model's own words are.
        schedule: How the rate goes on.
        warm_up: Steps over which it rises from 0.
        clip: Largest norm of all gradients together; 0 for no limit.
    """

    name: OptimiserName = OptimiserName.ADAMW
    learning_rate: float = 0.0
    text_learning_rate: float = 0.0
    weight_decay: float = 0.01
    schedule: RateSchedule = RateSchedule.CONSTANT
    warm_up: int = 0
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        check_choice("optimiser", self.name, OptimiserName)
        check_float("learning_rate", self.learning_rate, 0, 10)
        check_float("text_learning_rate", self.text_learning_rate, 0, 10)
        check_float("weight_decay", self.weight_decay, 0, 1)
        check_choice("schedule", self.schedule, RateSchedule)
        check_int("warm_up", self.warm_up, 0, MOST_STEPS)
        check_float("clip", self.clip, 0, 1e6)
        own = self.learning_rate or 1.0
        if self.name is OptimiserName.PRODIGY and self.text_learning_rate not in (0, own):
            raise InvalidRequest(
                "text_learning_rate", "does not go with prodigy, which finds one rate for all."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """The pictures that show what has been learned so far.

    Attributes:
        prompts: What they show; empty for none.
        every: Steps between them, and one row before the first step and after the last; 0 for these
            two rows alone.
        negative_prompt: What guidance leads away from.
        steps: Denoising steps; 0 for the model's own.
        guidance_scale: 0 for the model's own.
        seed: Of the first prompt; the others count on from it. The same at every row.
    """

    prompts: tuple[str, ...] = ()
    every: int = 0
    negative_prompt: str = ""
    steps: int = 0
    guidance_scale: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        if not isinstance(self.prompts, tuple):
            raise InvalidRequest("sample_prompt", "must be a list of texts.")
        for prompt in self.prompts:
            check_text("sample_prompt", prompt, empty_ok=True)
        check_int("sample_every", self.every, 0, MOST_STEPS)
        check_text("sample_negative", self.negative_prompt, empty_ok=True)
        check_int("sample_steps", self.steps, 0, MAX_STEPS)
        check_float("sample_guidance", self.guidance_scale, 0, 100)
        check_int("sample_seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """A LoRA (Hu et al. 2021, arXiv:2106.09685) or DoRA (Liu et al. 2024, arXiv:2402.09353).

    Attributes:
        rank: Width of the two small matrices.
        alpha: The change is scaled by ``alpha / rank``; 0 for as large as the rank.
        conv_rank: Rank on the 3x3 convolutions of residual blocks and samplers; 0 for none.
        dropout: Share of inputs left out while learning.
        dora: Whether direction and magnitude are learned apart.
        targets: Which layers of the UNet.
    """

    rank: int = 16
    alpha: float = 0.0
    conv_rank: int = 0
    dropout: float = 0.0
    dora: bool = False
    targets: Targets = Targets.TRANSFORMER

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        check_int("rank", self.rank, 1, 1024)
        check_float("alpha", self.alpha, 0, 4096)
        check_int("conv_rank", self.conv_rank, 0, 1024)
        check_float("dropout", self.dropout, 0, 0.99)
        check_bool("dora", self.dora)
        check_choice("targets", self.targets, Targets)
