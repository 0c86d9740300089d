"""What stands in the controls of the Train page, and the training that it asks for."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import InvalidRequest
from core.models.library_names import slug
from core.paths import exists
from core.request import DeviceName
from core.training.config import KINDS, Method, TrainConfig, from_json, to_json
from core.training.folder import MAY_CHANGE, Folder
from desktop.caption_draft import CaptionDraft
from desktop.train_say import AS_LORA, unheard

Plain = bool | int | float | str | tuple[str, ...]
"""What a control holds."""

DEVICE = "device"
"""The control that says where to compute, which is no setting of what is learned."""

_APART = {"model", "out", "data.folder"}
"""Settings with controls of their own."""

_TEXT_RATE = "optimiser.text_learning_rate"
"""A setting that all methods have a place for, and only those use that teach text encoders."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting of a training that has no parts.

    Attributes:
        kind: Its type.
        default: What it is unless something else is said.
    """

    kind: type
    default: Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """What stands in the controls of the Train page.

    Attributes:
        method: How the model is taught.
        model: A name or a path.
        folder: Of the pictures, or empty.
        name: What the training is called; empty for a name made of the pictures' folder.
        parent: Folder that holds the training's own; empty for the profile's.
        values: All other settings of all methods that are not as they are by default, by their
            names in a configuration, parted by dots.
        opened: Folder of the training that was in sight, or empty.
        captions: How captions are to be written.
    """

    method: Method = Method.LORA
    model: str = "starter"
    folder: str = ""
    name: str = ""
    parent: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    opened: str = ""
    captions: CaptionDraft = field(default_factory=CaptionDraft)

    def out(self, trainings: Path) -> Path:
        """Give the folder of the training that these controls ask for.

        Args:
            trainings: Where they are kept unless the person says otherwise.
        """
        parent = Path(self.parent) if self.parent else trainings
        return parent / slug(self.name) if slug(self.name) else free_name(parent, self.suggestion())

    def suggestion(self) -> str:
        """Give a name for a training that has none."""
        return slug(Path(self.folder).name) or str(self.method)

    def value(self, name: str) -> Plain:
        """Give a setting, or what it is by default."""
        leaf = all_leaves()[name]
        value = as_plain(leaf.kind, self.values.get(name))
        return leaf.default if value is None else value

    @property
    def device(self) -> DeviceName:
        """Where to compute."""
        return DeviceName(str(self.value(DEVICE)))

    def config(self, trainings: Path) -> TrainConfig:
        """Give the training that these controls ask for.

        Args:
            trainings: Where they are kept unless the person says otherwise.

        Raises:
            InvalidRequest: Naming the first setting that is wrong.
        """
        if not self.folder:
            raise InvalidRequest("data", "none are chosen; drop a folder of them, or choose one.")
        nested: dict[str, Any] = {"method": str(self.method), "model": self.model}
        nested["out"] = str(self.out(trainings))
        nested["data"] = {"folder": self.folder}
        # What stands in a control that has no say is for another time.
        silent = unheard(self.method, self.value)
        for name in leaves(self.method).keys() - silent.keys():
            _put(nested, name, self.value(name))
        return from_json(nested)

    def changed(self, config: TrainConfig) -> TrainConfig:
        """Give a training that was begun with what these controls say and it may have changed.

        Raises:
            InvalidRequest: Naming the first setting that is wrong.
        """
        nested = to_json(config)
        silent = unheard(self.method, self.value)
        for name in leaves(config.method).keys() - silent.keys():
            if may_change(name):
                _put(nested, name, self.value(name))
        return from_json(nested)

    @classmethod
    def of(cls, config: TrainConfig, device: DeviceName = DeviceName.AUTO) -> TrainSettings:
        """Give the controls that ask for a training on a device."""
        flat = dict(_flat(to_json(config)))
        known, out = leaves(config.method), Path(config.out)
        values: dict[str, Any] = {
            name: value
            for name, leaf in known.items()
            if (value := as_plain(leaf.kind, flat.get(name))) is not None and value != leaf.default
        }
        if config.method is Method.DREAMBOOTH:
            values[AS_LORA] = flat.get(AS_LORA, True) is not None
        if device is not DeviceName.AUTO:
            values[DEVICE] = device
        return cls(
            method=config.method,
            model=config.model,
            folder=config.data.folder,
            name=out.name,
            parent=str(out.parent),
            values=values,
        )


def read_settings(path: Path, now: TrainSettings, trainings: Path) -> TrainSettings:
    """Read a file of a training's settings, such as ``config.json`` in its folder.

    Args:
        path: The file.
        now: Gives method, pictures and device where the file leaves them open.
        trainings: Where trainings are kept unless the file says otherwise.

    Raises:
        InvalidRequest: If it cannot be read or is none; the reason names it.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest("config", f"{path} cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise InvalidRequest("config", f"{path} holds no object of settings.")
    own_place = "out" in values
    data = values.get("data", {})
    values = {"method": str(now.method), "out": str(trainings / "settings")} | values
    if isinstance(data, dict):
        values["data"] = {"folder": now.folder or "pictures"} | data
    try:
        settings = TrainSettings.of(from_json(values), now.device)
    except InvalidRequest as error:
        reason = f"{path} holds no settings of a training ({error}); choose another file."
        raise InvalidRequest("config", reason) from error
    # What is learned anew gets a place of its own.
    is_free = own_place and not is_taken(Path(values["out"]))
    given = "folder" in data
    return dataclasses.replace(
        settings,
        folder=settings.folder if given else now.folder,
        name=settings.name if is_free else "",
        parent=settings.parent if own_place else "",
    )


def may_change(name: str) -> bool:
    """Whether a training that goes on may have another value of a setting."""
    return name == DEVICE or any(name == one or name.startswith(f"{one}.") for one in MAY_CHANGE)


def _put(nested: dict[str, Any], name: str, value: Plain) -> None:
    """Put a setting where the dot in its name leads."""
    part, _, last = name.rpartition(".")
    place = nested.setdefault(part, {}) if part else nested
    place[last] = value


@cache
def leaves(method: Method) -> Mapping[str, Leaf]:
    """Give a method's settings by their names, parted by dots; those with own controls left out."""
    known = {name: leaf for name, leaf in _leaves_of(KINDS[method], "") if name not in _APART}
    if "train_text" not in known:
        del known[_TEXT_RATE]
    return known


@cache
def all_leaves() -> Mapping[str, Leaf]:
    """Give the settings of all methods, and what is chosen beside them."""
    known = {name: leaf for method in Method for name, leaf in leaves(method).items()}
    return known | {AS_LORA: Leaf(bool, default=True), DEVICE: Leaf(DeviceName, DeviceName.AUTO)}


def as_plain(kind: type, value: object) -> Plain | None:
    """Give a value as a setting's type wants it, or None if it is none of that type."""
    if kind is tuple:
        whole = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        return tuple(value) if whole and isinstance(value, list | tuple) else None
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, bool) and kind is bool else None
    if issubclass(kind, StrEnum):
        return kind(value) if isinstance(value, str) and value in set(kind) else None
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        return None
    if kind is float and isinstance(value, int | float):
        return float(value)
    return value if isinstance(value, int | str) and isinstance(value, kind) else None


_LARGEST = 1e300
"""No number above it becomes a float, which controls calculate with."""


def is_taken(path: Path) -> bool:
    """Whether a folder holds something that a new training must not be mixed with."""
    folder = Folder(path)
    if not folder.is_begun():
        return exists(path)
    # One that ended before it had learned anything gives its place away.
    return bool(folder.steps()) or any(path.glob("final*"))


def free_name(parent: Path, name: str) -> Path:
    """Give a folder's name that nothing has yet, numbered where that is needed."""
    number, path = 1, parent / name
    while is_taken(path):
        number += 1
        path = parent / f"{name}-{number}"
    return path


def _leaves_of(kind: Any, before: str) -> Iterator[tuple[str, Leaf]]:
    hints = typing.get_type_hints(kind)
    for one in dataclasses.fields(kind):
        type_ = hints[one.name]
        if isinstance(type_, types.UnionType):
            type_ = next(a for a in typing.get_args(type_) if a is not types.NoneType)
        type_ = typing.get_origin(type_) or type_
        if dataclasses.is_dataclass(type_):
            yield from _leaves_of(type_, f"{before}{one.name}.")
        else:
            default = "" if one.default is dataclasses.MISSING else one.default
            yield before + one.name, Leaf(type_, default)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
