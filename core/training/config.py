"""What to train: frozen, validated values, one type per method. Imports no torch.

Everything that changes the learned weights is in it. It compares by value, goes to JSON and back,
and is kept beside what was learned, so that a stopped training goes on as it began.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import Any, ClassVar

from core.errors import InvalidRequest
from core.request_checks import (
    MAX_SEED,
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_text,
    parse_choice,
)
from core.request_parts import Precision
from core.training.config_parts import (
    MOST_AT_ONCE,
    MOST_STEPS,
    AdapterSettings,
    DataSettings,
    LossSettings,
    OptimiserSettings,
    SampleSettings,
)
from core.training.needs import NEEDS, check_needs


class Method(StrEnum):
    """The ways to teach a model."""

    LORA = "lora"
    TEXTUAL_INVERSION = "textual-inversion"
    DREAMBOOTH = "dreambooth"
    FINETUNE = "finetune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What all methods have in common.

    Attributes:
        model: A name from the library, or the path of a model.
        out: Folder of what comes out; see ``core.training.folder``.
        data: The pictures.
        steps: Optimiser steps.
        batch_size: Pictures of one forward pass on one device.
        accumulation: Forward passes of one optimiser step.
        seed: Of everything that is left to chance.
        precision: Number format of weights that do not learn, and of the arithmetic.
        gradient_checkpointing: Whether activations are computed twice to keep fewer of them.
        loss: What is made small.
        optimiser: How.
        samples: What shows the progress.
        save_every: Steps between checkpoints; 0 for one at the end, and whenever it is stopped.
        keep: How many of the latest checkpoints are kept, at least 1.
    """

    method: ClassVar[Method]

    model: str = "starter"
    out: str
    data: DataSettings
    steps: int = 500
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 0
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = False
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    samples: SampleSettings = field(default_factory=SampleSettings)
    save_every: int = 100
    keep: int = 2

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        check_text("model", self.model, empty_ok=False)
        check_text("out", self.out, empty_ok=False)
        check_int("steps", self.steps, 1, MOST_STEPS)
        check_int("batch", self.batch_size, 1, MOST_AT_ONCE)
        check_int("accumulation", self.accumulation, 1, MOST_AT_ONCE)
        check_int("seed", self.seed, 0, MAX_SEED)
        check_choice("dtype", self.precision, Precision)
        check_bool("gradient_checkpointing", self.gradient_checkpointing)
        check_int("save_every", self.save_every, 0, MOST_STEPS)
        check_int("keep", self.keep, 1, 1000)
        check_needs(self._changed(NEEDS), lambda name: _part(self, name))

    def _changed(self, names: Iterable[str]) -> Iterator[str]:
        """Give the settings among these that there are and that are not as they are by default."""
        for name in names:
            part, _, last = name.rpartition(".")
            owner = _part(self, part) if part else self
            for one in dataclasses.fields(owner):
                if one.name == last and getattr(owner, last) != one.default:
                    yield name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraTraining(Training):
    """Small matrices beside a model's own, a file of a few megabytes.

    Attributes:
        adapter: Their kind and size.
        train_text: Whether text encoders get some too.
    """

    method: ClassVar[Method] = Method.LORA

    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    train_text: bool = False

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        Training.__post_init__(self)
        check_bool("train_text", self.train_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextualInversion(Training):
    """A new word for what the pictures show (Gal et al. 2022, arXiv:2208.01618).

    Attributes:
        token: The word, which prompts then use.
        init_word: What it means to begin with.
        vectors: How many vectors it stands for.
    """

    method: ClassVar[Method] = Method.TEXTUAL_INVERSION

    token: str
    init_word: str
    vectors: int = 1

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        Training.__post_init__(self)
        check_text("token", self.token, empty_ok=False)
        if self.token != self.token.strip() or len(self.token.split()) != 1:
            raise InvalidRequest("token", f"{self.token!r} must be one word without spaces.")
        if self.data.caption_dropout:
            raise InvalidRequest(
                "caption_dropout",
                "does not go with textual inversion, which learns from the word; set it to 0.",
            )
        if self.optimiser.text_learning_rate:
            raise InvalidRequest(
                "text_learning_rate", "does not go with textual inversion; leave it out."
            )
        if "optimiser.weight_decay" in self._changed(["optimiser.weight_decay"]):
            raise InvalidRequest(
                "weight_decay",
                "does not go with textual inversion, which keeps a word as long as the model's "
                "own; leave it out.",
            )
        if self.data.trigger:
            raise InvalidRequest(
                "trigger",
                f"does not go with textual inversion, which is called by {self.token}; leave it "
                "out.",
            )
        check_text("init_word", self.init_word, empty_ok=False)
        check_int("vectors", self.vectors, 1, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamBooth(Training):
    """A rare word and a class for one thing (Ruiz et al. 2022, arXiv:2208.12242).

    Attributes:
        instance_prompt: What every picture of the thing shows: ``a sks dog``.
        class_prompt: The same without the rare word, ``a dog``, to preserve what the model knows
            of the class; empty for no prior preservation.
        class_images: How many pictures of the class, made by the model itself.
        prior_weight: Weight of their loss.
        adapter: A LoRA to be learned in the place of the whole UNet, or None.
        train_text: Whether text encoders learn too.
        single_file: Whether a whole model is written as one file too.
    """

    method: ClassVar[Method] = Method.DREAMBOOTH

    instance_prompt: str
    class_prompt: str = ""
    class_images: int = 100
    prior_weight: float = 1.0
    adapter: AdapterSettings | None = None
    train_text: bool = False
    single_file: bool = False

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        Training.__post_init__(self)
        check_text("instance_prompt", self.instance_prompt, empty_ok=False)
        check_text("class_prompt", self.class_prompt, empty_ok=True)
        check_int("class_images", self.class_images, 1, 10_000)
        check_float("prior_weight", self.prior_weight, 0, 100)
        check_bool("train_text", self.train_text)
        check_bool("single_file", self.single_file)
        if self.single_file and self.adapter is not None:
            raise InvalidRequest("single_file", "is for a whole model; a LoRA is one file anyway.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune(Training):
    """The whole UNet on pictures and captions.

    Attributes:
        train_text: Whether text encoders learn too.
        ema: Share of an average of the weights that stays at each step, 0 to below 1; the average
            is what is saved. 0 for the weights themselves.
        single_file: Whether the model is written as one file too.
    """

    method: ClassVar[Method] = Method.FINETUNE

    train_text: bool = False
    ema: float = 0.0
    single_file: bool = False

    def __post_init__(self) -> None:
        """Hold every setting to its range."""
        Training.__post_init__(self)
        check_bool("train_text", self.train_text)
        check_float("ema", self.ema, 0, 0.999999)
        check_bool("single_file", self.single_file)


def _part(config: object, name: str) -> Any:
    """Give what stands in a place, parted by dots; None where there is no such place."""
    return reduce(lambda owner, one: getattr(owner, one, None), name.split("."), config)


TrainConfig = LoraTraining | TextualInversion | DreamBooth | Finetune

KINDS: dict[Method, type[TrainConfig]] = {
    Method.LORA: LoraTraining,
    Method.TEXTUAL_INVERSION: TextualInversion,
    Method.DREAMBOOTH: DreamBooth,
    Method.FINETUNE: Finetune,
}
"""The settings of each method."""


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Give a training's settings as plain JSON values, with its method."""
    values = dataclasses.asdict(config)
    values["samples"]["prompts"] = list(config.samples.prompts)
    return {"method": str(config.method)} | values


def leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Give settings and those within them by their places, parted by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Give back the settings that ``to_json`` wrote; what is not given is as it is by default.

    Raises:
        InvalidRequest: On an unknown method or setting, one that is missing or out of range.
    """
    if not isinstance(values, Mapping):
        raise InvalidRequest("config", "must be an object of settings.")
    given = dict(values)
    method = parse_choice("method", given.pop("method", None), Method)
    config: TrainConfig = _read(KINDS[method], given, "")
    return config


def _read(kind: Any, values: object, name: str) -> Any:
    """Read a value of a field's type; names of settings within settings are parted by dots."""
    if isinstance(kind, types.UnionType):
        some = next(one for one in typing.get_args(kind) if one is not types.NoneType)
        return None if values is None else _read(some, values, name)
    if dataclasses.is_dataclass(kind):
        return _read_settings(kind, values, name)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return parse_choice(name, values, kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(values, list | tuple):
            raise InvalidRequest(name, "must be a list.")
        return tuple(values)
    return values


def _read_settings(kind: Any, values: object, name: str) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    before = f"{name}." if name else ""
    if not isinstance(values, Mapping):
        inner = ", ".join(before + one for one in fields)
        raise InvalidRequest("config", f"{name} must be an object of settings: {inner}.")
    if unknown := sorted(str(key) for key in values.keys() - fields.keys()):
        raise InvalidRequest(before + unknown[0], f"is no setting; there are {', '.join(fields)}.")
    for one in fields.values():
        has_default = (one.default, one.default_factory) != (dataclasses.MISSING,) * 2
        if one.name not in values and not has_default:
            raise InvalidRequest(before + one.name, "is missing.")
    return kind(**{key: _read(hints[key], value, before + key) for key, value in values.items()})
