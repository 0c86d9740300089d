"""What a grid can vary, and the words for it: ``guidance=1,3,7.5`` or ``prompt=a cat|a dog``.

Values are parted by ``,`` or, where there is one, by ``|``; prompts by ``|`` alone, since they
have commas of their own. A backslash before either keeps it as it is. ``10..50:10`` counts from 10
up to 50 by tens. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import Any

from core.errors import InvalidRequest
from core.request import ControlUse, LoraUse, Precision, SchedulerName, parse_choice
from core.sampling.prompt_syntax import take_loras

MAX_CELLS = 1000
"""Pictures of one grid at most, as of any other request."""

Settings = Mapping[str, Any]
"""Settings by the request's own names."""

_NUMBER = r"-?\d{1,12}(?:\.\d{1,6})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")
_SIZE = re.compile(r"(\d{1,6})(?:\s*[xX\N{MULTIPLICATION SIGN}]\s*(\d{1,6}))?")


def _number_text(value: float) -> str:
    return f"{value:.12g}"


def _path_text(value: str) -> str:
    return PurePath(value).name or value or "(own)"


def _refiner_text(value: str) -> str:
    return _path_text(value) if value else "(none)"


def _read_size(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError
    return int(found[1]), int(found[2] or found[1])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting that an axis can vary.

    Attributes:
        name: What the command line calls it.
        fields: The request's names of what it sets; none if it changes a part of one.
        read: Gives the value of one of an axis's words, or raises ``ValueError``.
        what: What such a value is, for the sentence that refuses another.
        label: Gives a value's words back, as short as they can be.
        put: Gives what a value makes of the settings so far; without it, the value is the field's.
        is_text: Whether values have commas of their own.
        may_be_empty: Whether no words are a value too.
        reloads: Whether another value is another model to load.
        guides: Whether it does nothing without guidance.
    """

    name: str
    fields: tuple[str, ...]
    read: Callable[[str], Any]
    what: str
    label: Callable[[Any], str] = str
    put: Callable[[Settings, Any], Settings] | None = None
    is_text: bool = False
    may_be_empty: bool = False
    reloads: bool = False
    guides: bool = False

    @property
    def title(self) -> str:
        """What a sheet calls it."""
        words = self.name.replace("-", " ")
        return _TITLES.get(self.name, words.capitalize())

    def changes(self, given: Settings, value: Any) -> Settings:
        """Give the settings that ``value`` stands for, where ``given`` are those without it."""
        return {self.fields[0]: value} if self.put is None else self.put(given, value)


_TITLES = {"vae": "VAE", "lora-weight": "LoRA weight", "control-weight": "ControlNet weight"}


def _choice(name: str, enum: type[StrEnum], *, reloads: bool = False) -> Parameter:
    def read(word: str) -> StrEnum:
        return parse_choice(name, word.lower(), enum)

    field = "precision" if enum is Precision else name
    return Parameter(name, (field,), read, "choice", reloads=reloads)


_whole = partial(Parameter, read=int, what="whole number")
_decimal = partial(Parameter, read=float, what="number", label=_number_text)
_path = partial(Parameter, read=str, what="path", label=_path_text)


def _weigh_loras(given: Settings, weight: float) -> Settings:
    """Give every LoRA of the settings this weight, those that the prompt names included.

    Raises:
        InvalidRequest: There is none, or one has a weight of its own.
    """
    parted = [take_loras(prompt, "prompts") for prompt in given.get("prompts", ())]
    named = tuple(
        LoraUse(path=tag.name, weight=tag.weight, text_weight=tag.text_weight)
        for tag in dict.fromkeys(tag for _, tags in parted for tag in tags)
    )
    loras: tuple[LoraUse, ...] = given.get("loras", ()) + named
    if not loras:
        raise InvalidRequest("lora-weight", "has no LoRA to weigh; name one by --lora.")
    for use in loras:
        if {use.weight, use.text_weight} - {1.0, None}:
            raise InvalidRequest(
                "lora-weight", f"weighs {use.path} too; leave out the weight that is given with it."
            )
    weighed = tuple(replace(use, weight=weight, text_weight=None) for use in loras)
    prompts = {"prompts": tuple(text.strip() for text, _ in parted)} if named else {}
    return {"loras": weighed, **prompts}


def _weigh_controls(given: Settings, weight: float) -> Settings:
    """Give every control of the settings this weight."""
    controls: tuple[ControlUse, ...] = given.get("controls", ())
    if not controls:
        raise InvalidRequest("control-weight", "has no ControlNet to weigh; name one by --control.")
    return {"controls": tuple(replace(use, weight=weight) for use in controls)}


PARAMETERS = (
    Parameter(
        "prompt", ("prompts",), str, "text", is_text=True, put=lambda _, text: {"prompts": (text,)}
    ),
    Parameter(
        "negative",
        ("negative_prompt",),
        str,
        "text",
        label=lambda text: text or "(none)",
        is_text=True,
        may_be_empty=True,
        guides=True,
    ),
    _path("model", ("model",), reloads=True),
    _path("vae", ("vae",), may_be_empty=True, reloads=True),
    _path("refiner", ("refiner",), may_be_empty=True, reloads=True, label=_refiner_text),
    _decimal("refiner-start", ("refiner_start",)),
    _choice("scheduler", SchedulerName),
    _whole("steps", ("steps",)),
    _decimal("guidance", ("guidance_scale",)),
    _decimal("guidance-rescale", ("guidance_rescale",), guides=True),
    _decimal("guidance-start", ("guidance_start",), guides=True),
    _decimal("guidance-end", ("guidance_end",), guides=True),
    _whole("seed", ("seed",)),
    Parameter(
        "size",
        ("width", "height"),
        _read_size,
        "size such as 512x768",
        label=lambda size: f"{size[0]} x {size[1]}",
        put=lambda _, size: {"width": size[0], "height": size[1]},
    ),
    _whole("width", ("width",)),
    _whole("height", ("height",)),
    _path("init", ("init_image",)),
    _decimal("strength", ("strength",)),
    _decimal("lora-weight", (), put=_weigh_loras),
    _decimal("control-weight", (), put=_weigh_controls),
    _choice("dtype", Precision, reloads=True),
)
"""All there are. A new one is a line here, and nothing else needs to know."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting and the values that it takes along one side of the grid.

    Attributes:
        option: Where it was asked for, ``"x"`` or ``"y"``.
        parameter: The setting.
        values: What it takes, one after another; no two are equal.
    """

    option: str
    parameter: Parameter
    values: tuple[Any, ...] = ()

    def __len__(self) -> int:
        """Give how many values there are."""
        return len(self.values)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the axis where something is amiss with what it varies.

        Raises:
            InvalidRequest: Of ``"x guidance"``, as it was raised of the setting within.
        """
        try:
            yield
        except InvalidRequest as error:
            if error.field not in (self.parameter.name, *self.parameter.fields):
                raise
            raise InvalidRequest(f"{self.option} {self.parameter.name}", error.reason) from error

    @property
    def labels(self) -> tuple[str, ...]:
        """The values' words, short unless they could be mistaken for each other."""
        short = tuple(self.parameter.label(value) for value in self.values)
        return short if len(set(short)) == len(short) else self.words

    @property
    def words(self) -> tuple[str, ...]:
        """The values' words, whole."""
        label = str if self.parameter.what == "path" else self.parameter.label
        return tuple(label(value) for value in self.values)


def read_axis(option: str, words: str) -> Axis:
    """Read ``NAME=VALUES``.

    Args:
        option: Where the words stood, ``"x"`` or ``"y"``.
        words: The words.

    Raises:
        InvalidRequest: Of ``option`` if there is no such setting, else of the axis, if a value is
            empty, cannot be read or stands there twice, or there are too many.
    """
    name, equals, rest = words.partition("=")
    parameter = next((p for p in PARAMETERS if p.name == name.strip().lower()), None)
    if parameter is None or not equals:
        names = ", ".join(p.name for p in PARAMETERS)
        raise InvalidRequest(
            option, f"{words!r} is not NAME=V1,V2,... with a NAME that can vary: {names}."
        )
    axis = Axis(option, parameter)
    with axis.named():
        return replace(axis, values=tuple(_values(parameter, rest)))


def naming(*axes: Axis | None) -> ExitStack:
    """Name each of the axes where something is amiss with what it varies; see ``Axis.named``."""
    stack = ExitStack()
    for axis in axes:
        if axis is not None:
            stack.enter_context(axis.named())
    return stack


def _values(parameter: Parameter, words: str) -> list[Any]:
    values: list[Any] = []
    for text in _parted(parameter, words):
        values += _read(parameter, text)
        check_count(len(values))
    for i, value in enumerate(values):
        if value in values[:i]:
            raise InvalidRequest(parameter.name, f"{parameter.label(value)} stands there twice.")
    return values


def check_count(cells: int) -> None:
    """Refuse a grid that is too large.

    Raises:
        InvalidRequest: It would have more than ``MAX_CELLS`` pictures.
    """
    if cells > MAX_CELLS:
        raise InvalidRequest(
            "grid", f"{cells} pictures are too many for one sheet; at most {MAX_CELLS} go."
        )


def _parted(parameter: Parameter, words: str) -> list[str]:
    """Part words into values at the separators that neither braces nor a backslash keep."""
    parts = _cut(words, "|")
    if len(parts) == 1 and not parameter.is_text:
        parts = _cut(words, ",")
    return [re.sub(r"\\([|,])", r"\1", part).strip() for part in parts]


def _cut(words: str, separator: str) -> list[str]:
    parts, depth = [""], 0
    # A brace alone is a plain one, as in prompts.
    braces = words.count("{") == words.count("}")
    for mark in re.split(r"(\\.|[{}|,])", words):
        if braces:
            depth = max(depth + (mark == "{") - (mark == "}"), 0)
        if mark == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += mark
    return parts


def _read(parameter: Parameter, text: str) -> list[Any]:
    """Read one value, or all of a range."""
    if not text and not parameter.may_be_empty:
        raise InvalidRequest(parameter.name, "has an empty value; put something there or leave it.")
    texts = [text]
    if ".." in text and parameter.read in (int, float):
        texts = _counted(parameter.name, text)
    try:
        return [parameter.read(word) for word in texts]
    except ValueError:
        raise InvalidRequest(parameter.name, f"{text!r} is no {parameter.what}.") from None


def _counted(name: str, text: str) -> list[str]:
    """Give the numbers of ``FIRST..LAST`` or ``FIRST..LAST:STEP``, exact in decimals."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise InvalidRequest(name, f"{text!r} is no range; write FIRST..LAST:STEP, as 10..50:10.")
    first, last, step = (Decimal(number or 1) for number in found.groups())
    if step <= 0 or last < first:
        raise InvalidRequest(name, f"{text!r} never ends; count upwards, as in 10..50:10.")
    count = int((last - first) / step) + 1
    check_count(count)
    return [f"{first + i * step:f}" for i in range(count)]
