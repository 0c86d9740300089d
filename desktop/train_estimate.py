"""What a training will take of memory and time, and settings that fit into so much memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil
from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot

from core.errors import CoreError
from core.models import catalog
from core.models.identify import Identity, identify
from core.request import DeviceName, Request
from core.training.config import TrainConfig
from core.training.config_parts import Preset
from core.training.presets import memory_needed, with_preset
from desktop.later import Later
from desktop.train_pace import Paces
from desktop.train_settings import TrainSettings

_UNSAID = {"token": "word", "init_word": "word", "instance_prompt": "a thing"}
"""What stands for texts that are not written yet and change nothing of the memory."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Settings for so much memory.

    Attributes:
        settings: All of the controls.
        preset: For how much.
    """

    settings: TrainSettings
    preset: Preset


class TrainEstimate(QObject):
    """Looks at settings beside the window's thread, as a model's files have to be read for it.

    Signals:
        known(str): What a training by the settings asked about last will take, or an empty text.
        fitted(Fitted): Settings that fit.
        failed(str): A sentence on why none do.
    """

    known = Signal(str)
    fitted = Signal(object)
    failed = Signal(str)

    def __init__(self, paces: Paces, parent: QObject | None = None) -> None:
        """Start without settings; ``paces`` are looked at beside the window's thread alone."""
        super().__init__(parent)
        self._paces = paces
        self._later = Later(self)

    def ask(self, settings: TrainSettings) -> None:
        """Tell soon what these settings take."""
        self._later.after_a_pause(lambda: self.known.emit(self._text(settings)))

    def fit(self, settings: TrainSettings, preset: Preset) -> None:
        """Find settings that fit into so much memory."""
        self._later.now(lambda: self._fit(settings, preset))

    @Slot(object, object, float)
    def note_learning(self, config: TrainConfig, device: DeviceName, seconds: float) -> None:
        """Take down how long a training's step took, and tell anew what the settings take."""

        def note() -> None:
            with suppress(CoreError):
                side = _side(config, _identity(catalog.resolve(config.model)))
                self._paces.note_learning(config, device, side, seconds)

        self._later.now(note)
        self._later.again()

    @Slot(object, float)
    def note_drawing(self, request: Request, seconds: float) -> None:
        """Take down how long a picture's step took, and tell anew what the settings take."""
        self._later.now(lambda: self._paces.note_drawing(request, seconds))
        self._later.again()

    def close(self) -> None:
        """Look at nothing more."""
        self._later.close()

    def _text(self, settings: TrainSettings) -> str:
        try:
            config = sketch(settings)
            identity = _identity(catalog.resolve(config.model))
        except CoreError:
            return ""  # The form, or the training, says what is wrong.
        side = _side(config, identity)
        seconds = self._paces.seconds(config, settings.device, side)
        time = self.tr("How long it takes is known after its first steps.")
        if seconds is not None:
            time = self.tr("Takes about {0} on this machine.").format(about(seconds))
        return f"{self._memory(memory_needed(config, identity).total)}\n{time}"

    def _memory(self, needed: int) -> str:
        free = psutil.virtual_memory().available
        text = self.tr("Takes about {0} of memory; {1} are free.")
        if needed > free:
            text = self.tr("Takes about {0} of memory, more than the {1} that are free.")
        return text.format(_gigabytes(needed), _gigabytes(free))

    def _fit(self, settings: TrainSettings, preset: Preset) -> None:
        try:
            config = sketch(settings)
            changed = with_preset(preset, config, _identity(catalog.resolve(config.model)))
        except CoreError as error:
            self.failed.emit(str(error))
            return
        before, after = TrainSettings.of(config).values, TrainSettings.of(changed).values
        names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        values = {name: value for name, value in settings.values.items() if name not in names}
        values |= {name: after[name] for name in names if name in after}
        self.fitted.emit(Fitted(dataclasses.replace(settings, values=values), preset))


def sketch(settings: TrainSettings) -> TrainConfig:
    """Give the training that settings ask for, whatever is still to be written in them.

    Raises:
        InvalidRequest: If a setting is wrong.
    """
    unsaid = {name: text for name, text in _UNSAID.items() if not settings.value(name)}
    make: Callable[..., TrainSettings] = dataclasses.replace
    whole = make(
        settings,
        folder=settings.folder or "pictures",
        name=settings.name or "sketch",
        values={**settings.values, **unsaid},
    )
    return whole.config(Path("trainings"))


def about(seconds: float) -> str:
    """Give a time no finer than an estimate is: ``12 min``, ``2 h 40 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return _tr("a minute")
    if minutes < 60:
        return _tr("{0} min").format(minutes)
    hours, rest = divmod(round(minutes / 10) * 10, 60)
    return _tr("{0} h {1} min").format(hours, rest)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"


def _side(config: TrainConfig, identity: Identity) -> int:
    return config.data.resolution or min(identity.width, identity.height)


def _tr(text: str) -> str:
    return QCoreApplication.translate("TrainEstimate", text)


@lru_cache(maxsize=16)
def _identity(path: Path) -> Identity:
    return identify(path)
