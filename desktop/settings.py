"""What the window remembers: frozen values, kept as versioned JSON in the profile."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from PySide6.QtCore import QObject, QTimer

from core.compute_units import AUTO
from core.errors import SaveFailed
from core.files import replace_file
from core.request import (
    ImageToImage,
    Precision,
    PreviewDecoder,
    Request,
    SchedulerName,
    TextToImage,
)
from desktop.theme import ThemeMode
from desktop.train_settings import TrainSettings

log = logging.getLogger(__name__)

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: tuple[Migration, ...] = ()
"""Entry ``i`` turns the values of version ``i + 1`` into those of version ``i + 2``."""

AUTOSAVE_MS = 1000
_SettingsT = TypeVar("_SettingsT")


class Placing(StrEnum):
    """Where the files of added models are kept."""

    WHERE_IT_LIES = "where-it-lies"
    COPY = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSettings:
    """What stands in the controls of the Create page.

    Attributes are those of ``core.request`` where they bear its names.

    Attributes:
        seed: The seed shown.
        seed_locked: Whether the next run takes it too.
        start_image: Path of the start picture, or empty.
        preview: How a run is watched.
    """

    prompt: str = ""
    negative_prompt: str = ""
    model: str = "starter"
    scheduler: SchedulerName = SchedulerName.DDIM
    steps: int = 20
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    precision: Precision = Precision.AUTO
    compute_units: str = AUTO
    width: int = 512
    height: int = 512
    seed: int = 0
    seed_locked: bool = False
    count: int = 1
    start_image: str = ""
    strength: float = 0.8
    preview: PreviewDecoder = PreviewDecoder.LINEAR

    def request(self) -> Request:
        """Give the request that these controls ask for.

        Raises:
            InvalidRequest: Naming the first control that is wrong.
        """
        shared: dict[str, Any] = {
            "model": self.model,
            "prompts": (self.prompt,),
            "negative_prompt": self.negative_prompt,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "guidance_rescale": self.guidance_rescale,
            "guidance_start": self.guidance_start,
            "guidance_end": self.guidance_end,
            "scheduler": self.scheduler,
            "width": self.width,
            "height": self.height,
            "seed": self.seed,
            "count": self.count,
            "precision": self.precision,
            "compute_units": self.compute_units,
        }
        if self.start_image:
            return ImageToImage(**shared, init_image=self.start_image, strength=self.strength)
        return TextToImage(**shared)

    def recalled(self, request: Request, picture: int) -> CreateSettings:
        """Give the controls that make one picture of ``request`` again, its seed locked."""
        request = request.alone(picture)
        start = request if isinstance(request, ImageToImage) else None
        return dataclasses.replace(
            self,
            prompt=request.prompts[0],
            negative_prompt=request.negative_prompt,
            model=request.model,
            scheduler=request.scheduler,
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            guidance_rescale=request.guidance_rescale,
            guidance_start=request.guidance_start,
            guidance_end=request.guidance_end,
            precision=request.precision,
            compute_units=request.compute_units,
            width=request.width,
            height=request.height,
            seed=request.seed,
            seed_locked=True,
            count=1,
            start_image=start.init_image if start else "",
            # A picture that was enlarged and no more has a strength of 0, which no start takes.
            strength=(start.strength if start else 0.0) or self.strength,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How the window was left.

    Attributes:
        geometry: Qt's own record of place and size, base64.
        panel: Width of the control panel in pixels.
        theme: The palette chosen.
        advanced_open: Whether the advanced controls are unfolded.
        models: Folders of models that were opened.
        placing: Where the files of added models are kept.
    """

    geometry: str = ""
    panel: int = 340
    theme: ThemeMode = ThemeMode.SYSTEM
    advanced_open: bool = False
    models: tuple[str, ...] = ()
    placing: Placing = Placing.WHERE_IT_LIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that is remembered."""

    create: CreateSettings = CreateSettings()
    train: TrainSettings = field(default_factory=TrainSettings)
    window: WindowSettings = WindowSettings()


class SettingsStore(QObject):
    """Holds the settings and writes them a moment after they change, and on ``flush``.

    Attributes:
        is_new: Whether nothing had been remembered before.
    """

    def __init__(self, path: Path, parent: QObject | None = None) -> None:
        """Read ``path``, or start from the defaults."""
        super().__init__(parent)
        self._path = path
        self.is_new = not path.exists()
        self._settings = read(path)
        self._timer = QTimer(self, singleShot=True, interval=AUTOSAVE_MS)
        self._timer.timeout.connect(self.flush)

    @property
    def settings(self) -> Settings:
        """The settings as they stand."""
        return self._settings

    def set_create(self, create: CreateSettings) -> None:
        """Remember the controls of the Create page."""
        self._replace(dataclasses.replace(self._settings, create=create))

    def set_train(self, train: TrainSettings) -> None:
        """Remember the controls of the Train page."""
        self._replace(dataclasses.replace(self._settings, train=train))

    def set_window(self, window: WindowSettings) -> None:
        """Remember how the window stands."""
        self._replace(dataclasses.replace(self._settings, window=window))

    def flush(self) -> None:
        """Write what has not been written yet. A full disk is logged and does no more harm."""
        self._timer.stop()
        try:
            write(self._path, self._settings)
        except SaveFailed as error:
            log.warning("settings not saved: %s", error)

    def _replace(self, settings: Settings) -> None:
        if settings != self._settings:
            self._settings = settings
            self._timer.start()


def write(path: Path, settings: Settings, *, version: int = len(MIGRATIONS) + 1) -> None:
    """Write settings whole or not at all.

    Raises:
        SaveFailed: If it cannot be written.
    """
    values = {"version": version} | dataclasses.asdict(settings)
    replace_file(path, json.dumps(values, indent=2).encode())


def read(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Settings:
    """Read settings of this version or an older one.

    A file that is no JSON, or of another version, is first copied to ``.bak`` beside it. A value
    that cannot be is logged and its default taken.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        log.warning("settings in %s cannot be read, starting afresh: %s", path, error)
        _back_up(path)
        return Settings()
    version = values.get("version") if isinstance(values, dict) else None
    current = len(migrations) + 1
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        log.warning("settings in %s name no version, starting afresh", path)
        _back_up(path)
        return Settings()
    if version != current:
        _back_up(path)
        for migration in migrations[version - 1 :]:
            values = migration(values)
    return _decoded(Settings, values, "settings")


def _back_up(path: Path) -> None:
    try:
        shutil.copy2(path, path.with_name(path.name + ".bak"))
    except OSError as error:
        log.warning("no copy of %s could be kept: %s", path, error)


def _decoded(cls: type[_SettingsT], values: Mapping[str, Any], where: str) -> _SettingsT:
    """Fill a settings class from JSON values, field by field."""
    given: dict[str, Any] = {}
    for name, kind in get_type_hints(cls).items():
        if name not in values:
            continue
        value, place = values[name], f"{where}.{name}"
        if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
            given[name] = _decoded(kind, value, place)
        elif (plain := _plain(kind, value)) is not None:
            given[name] = plain
        else:
            log.warning("%s cannot be %r, taking the default", place, value)
    return cls(**given)


_LARGEST = 1e300
"""No number above it becomes a float, which controls calculate with."""


def _plain(kind: type, value: object) -> object | None:
    """Give ``value`` as a ``kind``, or None if it is none."""
    if get_origin(kind) is Mapping:
        return value if isinstance(value, dict) else None
    if get_origin(kind) is tuple:
        whole = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return tuple(value) if whole and isinstance(value, list) else None
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, bool) and kind is bool else None
    if issubclass(kind, StrEnum):
        return kind(value) if isinstance(value, str) and value in set(kind) else None
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        return None
    if kind is float and isinstance(value, int | float):
        return float(value)
    return value if isinstance(value, kind) else None
