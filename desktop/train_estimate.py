"""What a training will take of memory, and settings that fit into so much of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, QTimer, Signal, Slot

from core.errors import CoreError
from core.models import catalog
from core.models.copying import format_size
from core.models.identify import Identity, identify
from core.training.config import TrainConfig
from core.training.config_parts import Preset
from core.training.presets import memory_needed, with_preset
from desktop.train_settings import TrainSettings

_PAUSE_MS = 250
"""Settings are looked at once they have been left alone for so long."""

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

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without settings."""
        super().__init__(parent)
        self._settings = TrainSettings()
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE_MS)
        self._timer.timeout.connect(self._begin)

    def ask(self, settings: TrainSettings) -> None:
        """Tell soon what these settings take."""
        self._settings = settings
        self._timer.start()

    def fit(self, settings: TrainSettings, preset: Preset) -> None:
        """Find settings that fit into so much memory."""
        self._pool.start(lambda: self._fit(settings, preset))

    def close(self) -> None:
        """Look at nothing more."""
        self._timer.stop()
        self._pool.clear()
        self._pool.waitForDone()

    @Slot()
    def _begin(self) -> None:
        settings = self._settings
        self._pool.clear()
        self._pool.start(lambda: self.known.emit(self._text(settings)))

    def _text(self, settings: TrainSettings) -> str:
        try:
            config = sketch(settings)
            needed = memory_needed(config, _identity(catalog.resolve(config.model)))
        except CoreError:
            return ""  # The form, or the training, says what is wrong.
        return self.tr("Takes about {0} of memory").format(format_size(needed.total))

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


@lru_cache(maxsize=16)
def _identity(path: Path) -> Identity:
    return identify(path)
