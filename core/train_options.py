"""The command line's words for trainings. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.command_words import add_choice, add_command, add_json
from core.request_parts import DeviceName, Precision
from core.training.config import Method
from core.training.config_parts import (
    Crop,
    LossKind,
    OptimiserName,
    Preset,
    RateSchedule,
    Targets,
)

if TYPE_CHECKING:
    from core.command_words import Commands


_ON, _OFF, _LIST = object(), object(), object()
"""What an option without a word sets, and one that may stand several times."""


@dataclass(frozen=True, slots=True)
class _Option:
    """An option that gives a setting.

    Attributes:
        name: With its dashes.
        setting: Where it stands in a training's settings, parted by dots.
        kind: What reads its word.
        metavar: What stands for the word in the help.
        summary: What it does.
    """

    name: str
    setting: str
    kind: Any
    metavar: str
    summary: str


_COMMON = (
    _Option("--model", "model", str, "NAME|PATH", "model to teach (default: starter)"),
    _Option("--data", "data.folder", str, "DIR", "folder of pictures"),
    _Option("--steps", "steps", int, "N", "optimiser steps (500)"),
    _Option("--batch", "batch_size", int, "N", "pictures of one forward pass (1)"),
    _Option("--accumulation", "accumulation", int, "N", "forward passes of one step (1)"),
    _Option("--lr", "optimiser.learning_rate", float, "X", "learning rate (the method's own)"),
    _Option("--seed", "seed", int, "N", "of everything that is left to chance (0)"),
    _Option("--dtype", "precision", Precision, "NAME", "number format (auto)"),
    _Option(
        "--gradient-checkpointing",
        "gradient_checkpointing",
        _ON,
        "",
        "less memory, a third more time",
    ),
    _Option("--save-every", "save_every", int, "N", "steps between checkpoints (100)"),
    _Option("--keep", "keep", int, "N", "checkpoints that are kept (2)"),
)
_SHOWN = (
    _Option("--resolution", "data.resolution", int, "N", "side of a square bucket (the model's)"),
    _Option("--no-buckets", "data.buckets", _OFF, "", "crop all pictures to squares"),
    _Option("--crop", "data.crop", Crop, "NAME", "which part is kept"),
    _Option("--flip", "data.flip", _ON, "", "mirror every other showing"),
    _Option("--background", "data.background", str, "#RRGGBB", "under transparent parts"),
    _Option("--trigger", "data.trigger", str, "TEXT", "words put before every caption"),
    _Option("--caption-dropout", "data.caption_dropout", float, "X", "share without a caption"),
    _Option("--shuffle-tags", "data.shuffle_tags", _ON, "", "shuffle what commas part"),
    _Option("--keep-tags", "data.keep_tags", int, "N", "tags that stay in front (1)"),
    _Option("--masks", "data.use_masks", _ON, "", "learn only where NAME.mask.png is white"),
    _Option("--no-cache", "data.cache", _OFF, "", "keep nothing encoded on the disk"),
)
_HOW = (
    _Option("--loss", "loss.kind", LossKind, "NAME", "the distance"),
    _Option("--huber-delta", "loss.huber_delta", float, "X", "where squares become absolutes"),
    _Option(
        "--min-snr-gamma",
        "loss.min_snr_gamma",
        float,
        "X",
        "weigh easy timesteps down (0: none)",
    ),
    _Option("--offset-noise", "loss.offset_noise", float, "X", "noise that is the same all over"),
    _Option("--optimiser", "optimiser.name", OptimiserName, "NAME", "the optimiser"),
    _Option("--text-lr", "optimiser.text_learning_rate", float, "X", "of text encoders"),
    _Option("--weight-decay", "optimiser.weight_decay", float, "X", "share taken off (0.01)"),
    _Option("--schedule", "optimiser.schedule", RateSchedule, "NAME", "how the rate goes on"),
    _Option("--warm-up", "optimiser.warm_up", int, "N", "steps over which the rate rises (0)"),
    _Option("--clip", "optimiser.clip", float, "X", "largest norm of all gradients (1)"),
)
_SAMPLES = (
    _Option("--sample-every", "samples.every", int, "N", "steps between rows of samples"),
    _Option("--sample-prompt", "samples.prompts", _LIST, "TEXT", "what they show (repeatable)"),
    _Option("--sample-negative", "samples.negative_prompt", str, "TEXT", "what they avoid"),
    _Option("--sample-steps", "samples.steps", int, "N", "denoising steps (the model's own)"),
    _Option("--sample-guidance", "samples.guidance_scale", float, "X", "guidance (the model's)"),
    _Option("--sample-seed", "samples.seed", int, "N", "seed (0)"),
)
_ADAPTER = (
    _Option("--rank", "adapter.rank", int, "N", "width of the small matrices (16)"),
    _Option("--alpha", "adapter.alpha", float, "X", "the change is scaled by alpha/rank (rank)"),
    _Option("--conv-rank", "adapter.conv_rank", int, "N", "on 3x3 convolutions (0: none)"),
    _Option("--dropout", "adapter.dropout", float, "X", "share of inputs left out (0)"),
    _Option("--dora", "adapter.dora", _ON, "", "learn direction and magnitude apart"),
    _Option("--targets", "adapter.targets", Targets, "NAME", "which layers"),
)
_TEXT = _Option("--train-text", "train_text", _ON, "", "text encoders learn too")
_ONE_FILE = _Option("--single-file", "single_file", _ON, "", "write the model as one file too")

_OWN: Mapping[Method, tuple[_Option, ...]] = {
    Method.LORA: (*_ADAPTER, _TEXT),
    Method.TEXTUAL_INVERSION: (
        _Option("--token", "token", str, "TEXT", "the new word"),
        _Option("--init-word", "init_word", str, "TEXT", "what it means to begin with"),
        _Option("--vectors", "vectors", int, "N", "how many vectors it is (1)"),
    ),
    Method.DREAMBOOTH: (
        _Option("--instance-prompt", "instance_prompt", str, "TEXT", "a rare word and a class"),
        _Option("--class-prompt", "class_prompt", str, "TEXT", "the class alone, to preserve it"),
        _Option("--class-images", "class_images", int, "N", "pictures of the class (100)"),
        _Option("--prior-weight", "prior_weight", float, "X", "weight of their loss (1)"),
        *_ADAPTER,
        _TEXT,
        _ONE_FILE,
    ),
    Method.FINETUNE: (
        _TEXT,
        _Option("--ema", "ema", float, "X", "save a moving average of the weights (0: none)"),
        _ONE_FILE,
    ),
}

_SUMMARIES = {
    Method.LORA: "small matrices beside the model's own, a file of megabytes",
    Method.TEXTUAL_INVERSION: "a new word for what the pictures show",
    Method.DREAMBOOTH: "a rare word and a class for one thing; with --rank as a LoRA",
    Method.FINETUNE: "the whole model, on pictures and captions",
}


def add_train(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    """Add ``train``; its methods are parsed to ``method``."""
    parser = add_command(commands, everywhere, "train", "teach a model something new")
    methods = parser.add_subparsers(title="methods", metavar="METHOD", required=True)
    for method, own in _OWN.items():
        added = methods.add_parser(
            str(method),
            help=_SUMMARIES[method],
            description=f"Teach {_SUMMARIES[method]}.",
            parents=[everywhere],
            allow_abbrev=False,
        )
        added.set_defaults(method=method)
        _add(added.add_argument_group("what to learn"), (*_COMMON[:2], *own, *_COMMON[2:]))
        _add(added.add_argument_group("how pictures are shown"), _SHOWN)
        _add(added.add_argument_group("how it learns"), _HOW)
        _add(added.add_argument_group("pictures that show the progress"), _SAMPLES)
        run = added.add_argument_group("the run")
        run.add_argument(
            "--out", type=Path, metavar="DIR", help="where it goes (trainings/ of the data folder)"
        )
        run.add_argument("--config", type=Path, metavar="FILE", help="settings as JSON, as in DIR")
        run.add_argument(
            "--resume", action="store_true", help="go on from the latest checkpoint in DIR"
        )
        add_choice(run, "--preset", Preset, "settings for so much memory")
        add_choice(run, "--device", DeviceName, "where to compute", default=DeviceName.AUTO)
        add_json(run, "print one JSON event a line")


def _add(group: argparse._ActionsContainer, options: tuple[_Option, ...]) -> None:
    for option in options:
        kind = option.kind
        common: dict[str, Any] = {"dest": option.setting, "help": option.summary}
        if kind is _ON or kind is _OFF:
            group.add_argument(option.name, action="store_const", const=kind is _ON, **common)
        elif kind is _LIST:
            group.add_argument(option.name, action="append", metavar=option.metavar, **common)
        elif isinstance(kind, type) and issubclass(kind, StrEnum):
            add_choice(group, option.name, kind, option.summary, dest=option.setting)
        else:
            group.add_argument(option.name, type=kind, metavar=option.metavar, **common)


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the settings that stand on the command line, by where they stand in a training's."""
    options = (*_COMMON, *_SHOWN, *_HOW, *_SAMPLES, *_OWN[arguments.method])
    given = {option.setting: getattr(arguments, option.setting) for option in options}
    return {name: value for name, value in given.items() if value is not None}


def option_names() -> dict[str, str]:
    """Give the options by the settings that they give, under the names that errors have."""
    every = (*_COMMON, *_SHOWN, *_HOW, *_SAMPLES, *(one for own in _OWN.values() for one in own))
    names = {option.setting: option.name for option in every}
    last = {setting.rpartition(".")[2]: name for setting, name in names.items()}
    return last | names | _SHORT


_SHORT = {
    "data": "--data",
    "out": "--out",
    "config": "--config",
    "resume": "--resume",
    "batch": "--batch",
    "loss": "--loss",
    "optimiser": "--optimiser",
    "dtype": "--dtype",
    "adapter": "--rank",
    "sample_prompt": "--sample-prompt",
    "sample_every": "--sample-every",
    "sample_negative": "--sample-negative",
    "sample_steps": "--sample-steps",
    "sample_guidance": "--sample-guidance",
    "sample_seed": "--sample-seed",
    "steps": "--steps",
    "seed": "--seed",
    "preset": "--preset",
}
"""What the checks of values call settings."""
