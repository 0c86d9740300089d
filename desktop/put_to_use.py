"""From what a training made to the Create page: into the library first, where prompts find it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from core.models.library_names import slug
from core.models.listing import Listed
from core.training.config import DreamBooth, LoraTraining, TextualInversion, TrainConfig
from desktop.shelf import Shelf
from desktop.shelf_messages import Message, MessageKind
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.training_folder import Usable


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training made and how it is used.

    Attributes:
        config: What was learned.
        usable: What there is of it.
    """

    config: TrainConfig
    usable: Usable

    @property
    def is_model(self) -> bool:
        """Whether it is a whole model."""
        match self.config:
            case LoraTraining() | TextualInversion():
                return False
            case DreamBooth(adapter=adapter):
                return adapter is None
            case _:
                return True

    @property
    def name(self) -> str:
        """What to call it; the word itself if it is one."""
        step = f"-step-{self.usable.step}" if self.usable.step else ""
        if isinstance(self.config, TextualInversion):
            return (slug(self.config.token) or "word") + step
        return Path(self.config.out).name + step

    @property
    def words(self) -> str:
        """What a prompt says to have it, beside its name."""
        if isinstance(self.config, DreamBooth):
            return self.config.instance_prompt
        return self.config.data.trigger if isinstance(self.config, LoraTraining) else ""


class PutToUse(QObject):
    """Brings a LoRA or an embedding into the library and says when it is there.

    Signals:
        ready(Learned, Listed): It can be named in a prompt.
        failed(str): A sentence on why it cannot.
    """

    ready = Signal(object, object)
    failed = Signal(str)

    def __init__(self, shelf: Shelf, parent: QObject | None = None) -> None:
        """Use ``shelf``."""
        super().__init__(parent)
        self._shelf = shelf
        self._learned: Learned | None = None
        self._name = ""
        # Under which name something was brought in since the window was opened.
        self._names: dict[Path, str] = {}
        shelf.added.connect(self._on_added)
        shelf.changed.connect(self._on_changed)
        shelf.told.connect(self._on_told)

    def begin(self, learned: Learned) -> None:
        """Bring in what was learned, unless it is there already."""
        models = self._shelf.snapshot.models
        self._learned, self._name = learned, ""
        path = learned.usable.path
        row = next((row for row in models if path == row.path and not row.missing), None)
        if known := self._names.get(path):
            row = next((row for row in models if row.name == known), row)
        if row is not None:
            self._end(row)
            return
        taken = {row.name.casefold() for row in models}
        name, number = learned.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{learned.name}-{number}"
        # Checkpoints are deleted as a training goes on; what came out in the end stays.
        self._shelf.add((path,), copy=bool(learned.usable.step), name=name)

    @Slot(str)
    def _on_added(self, name: str) -> None:
        if self._learned is not None:
            self._name = name
            self._names[self._learned.usable.path] = name
            self._on_changed(self._shelf.snapshot)

    @Slot(object)
    def _on_changed(self, snapshot: ShelfSnapshot) -> None:
        if self._learned is not None and self._name:
            row = next((row for row in snapshot.models if row.name == self._name), None)
            if row is not None:
                self._end(row)

    @Slot(object)
    def _on_told(self, message: Message) -> None:
        if self._learned is not None and message.kind is not MessageKind.NOTICE:
            self._learned = None
            self.failed.emit(message.text)

    def _end(self, row: Listed) -> None:
        learned, self._learned = self._learned, None
        self.ready.emit(learned, row)
