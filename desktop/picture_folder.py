"""The pictures to learn from as the window sees them: whole immutable snapshots, never deltas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from core.errors import InvalidRequest
from core.events import Prepared
from core.training.config_parts import DataSettings
from core.training.pictures import Problem
from desktop import picture_work
from desktop.library_worker import Events, LibraryTask, LibraryWorker
from desktop.picture_work import Gathered, Looked
from desktop.shelf_messages import Message, MessageKind
from desktop.worker import Failed, Outcome


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to learn from.

    Attributes:
        path: Its file.
        caption: What it shows.
        repeats: How often an epoch shows it.
        size: Width and height in pixels.
    """

    path: Path
    caption: str
    repeats: int = 1
    size: tuple[int, int] = (1, 1)

    @property
    def tags(self) -> tuple[str, ...]:
        """What commas part in its caption, each once."""
        return _tags_in(self.caption)


@lru_cache(maxsize=65536)
def _tags_in(caption: str) -> tuple[str, ...]:
    parts = (part.strip() for part in caption.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSnapshot:
    """A folder of pictures at one moment.

    Attributes:
        folder: Its path, or empty.
        pictures: Those that can be learned from.
        problems: What was left out.
        notices: What should be known, a sentence each.
        refusal: Why nothing in it can be learned from, or empty.
        work: How far what goes on with its files is, or None.
        is_reading: Whether it is being looked through.
        replaced: How many captions the last replacement of words has changed, as far as it can be
            undone.
    """

    folder: str = ""
    pictures: tuple[Picture, ...] = ()
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    refusal: str = ""
    work: Prepared | None = None
    is_reading: bool = False
    replaced: int = 0


class PictureFolder(QObject):
    """Looks through a folder, keeps captions and tells what it holds.

    Signals:
        changed(FolderSnapshot): After every change.
        told(Message): A sentence for the person.
        gathered(Path): Pictures were copied into that folder.
    """

    changed = Signal(object)
    told = Signal(object)
    gathered = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a folder; the thread begins with the first work."""
        super().__init__(parent)
        self._worker = LibraryWorker()
        self._worker.job_event.connect(self._on_event)
        self._worker.job_ended.connect(self._on_ended)
        self._snapshot = FolderSnapshot()
        self._settings: DataSettings | None = None
        self._resolution = 0
        self._undo: dict[Path, tuple[str, str]] = {}
        self._next_id = 1
        self._reading: LibraryTask | None = None
        self._tasks: dict[int, LibraryTask] = {}

    @property
    def snapshot(self) -> FolderSnapshot:
        """The folder as it stands."""
        return self._snapshot

    def show(self, settings: DataSettings | None, resolution: int) -> None:
        """Look through a folder, unless it was done with the same settings.

        Args:
            settings: Which, and how its pictures are used; None for none.
            resolution: That the pictures are learned at if the settings leave it open.
        """
        if (settings, resolution) != (self._settings, self._resolution):
            self._settings, self._resolution = settings, resolution
            self.refresh()

    def refresh(self) -> None:
        """Look through the folder anew."""
        if self._reading is not None:
            self._reading.cancelled.set()
            self._reading = None
        if self._settings is None:
            self._set(FolderSnapshot())
            return
        folder = self._settings.folder
        if folder != self._snapshot.folder:
            self._snapshot, self._undo = FolderSnapshot(folder=folder), {}
        self._change(is_reading=True)
        work = partial(picture_work.looking, self._settings, self._resolution)
        self._reading = self._submit(work)

    def edit(self, captions: Mapping[Path, str]) -> None:
        """Give pictures other captions, seen at once and written soon."""
        now = {picture.path: picture.caption for picture in self._snapshot.pictures}
        new = {
            path: " ".join(text.split())
            for path, text in captions.items()
            if path in now and " ".join(text.split()) != now[path]
        }
        if new:
            self.know(new)
            self._submit(partial(picture_work.writing, new))
            if self._reading is not None:
                self.refresh()  # What it has read is out of date; these are written first.

    def know(self, captions: Mapping[Path, str]) -> None:
        """Show captions that lie on the disk already."""
        pictures = tuple(
            dataclasses.replace(picture, caption=captions[picture.path])
            if captions.get(picture.path, picture.caption) != picture.caption
            else picture
            for picture in self._snapshot.pictures
        )
        self._change(pictures=pictures)

    def replace(self, old: str, new: str, among: Collection[Path]) -> int:
        """Put other words in the place of some in captions; gives how many have changed.

        Args:
            old: What is looked for.
            new: What takes its place.
            among: The pictures whose captions are looked through.
        """
        wanted = set(among)
        before = {p.path: p.caption for p in self._snapshot.pictures if p.path in wanted}
        before = {path: caption for path, caption in before.items() if old and old in caption}
        self.edit({path: caption.replace(old, new) for path, caption in before.items()})
        now = {picture.path: picture.caption for picture in self._snapshot.pictures}
        self._undo = {path: (caption, now[path]) for path, caption in before.items()}
        self._change(replaced=len(self._undo))
        return len(self._undo)

    def undo_replace(self) -> None:
        """Give captions back that the last replacement changed and nobody has edited since."""
        now = {picture.path: picture.caption for picture in self._snapshot.pictures}
        undo, self._undo = self._undo, {}
        self.edit({path: old for path, (old, new) in undo.items() if now.get(path) == new})
        self._change(replaced=0)

    def gather(self, paths: Sequence[Path], folder: Path) -> None:
        """Copy pictures into a folder."""
        self._submit(partial(picture_work.gathering, tuple(paths), folder))

    def close(self) -> None:
        """Stop with nothing half done: captions on their way are written first."""
        if self._worker.isRunning():
            if self._reading is not None:
                self._reading.cancelled.set()
            self._worker.finish()
            self._worker.wait()

    def _submit(self, begin: Callable[[], Events]) -> LibraryTask:
        if not self._worker.isRunning():
            self._worker.start()
        task = LibraryTask(self._next_id, begin)
        self._next_id += 1
        self._tasks[task.id] = task
        self._worker.submit(task)
        return task

    @Slot(int, object)
    def _on_event(self, task_id: int, event: object) -> None:
        is_old = self._reading is None or task_id < self._reading.id
        match event:
            case Prepared():
                self._change(work=event)
            case Looked() if not is_old:
                found = event.found
                self._change(
                    pictures=tuple(
                        Picture(e.path, e.caption, e.repeats, (e.width, e.height))
                        for e in found.examples
                    ),
                    problems=found.problems,
                    notices=tuple(notice.message for notice in found.notices),
                    refusal="",
                )
            case Gathered():
                self._tell_gathered(event)

    @Slot(int, object)
    def _on_ended(self, task_id: int, outcome: Outcome) -> None:
        task = self._tasks.pop(task_id)
        is_reading = task is self._reading
        if is_reading:
            self._reading = None
        if isinstance(outcome, Failed):
            if is_reading and not outcome.is_bug:
                self._change(pictures=(), problems=(), notices=(), refusal=outcome.message)
            else:
                kind = MessageKind.FAULT if outcome.is_bug else MessageKind.ERROR
                self.told.emit(Message(kind, outcome.message))
                # What the disk holds is what counts.
                if not is_reading:
                    self.refresh()
        self._change(work=None, is_reading=self._reading is not None)

    def _tell_gathered(self, event: Gathered) -> None:
        text = self.tr("{0} pictures were copied to {1}.").format(event.count, event.folder)
        if event.refused:
            text += " " + self.tr("Left out, as no pictures or there already: {0}.").format(
                ", ".join(event.refused[:5])
            )
        kind = MessageKind.NOTICE if event.count else MessageKind.ERROR
        self.told.emit(Message(kind, text))
        if event.count:
            self.gathered.emit(event.folder)

    def _change(self, **changes: object) -> None:
        change: Callable[..., FolderSnapshot] = dataclasses.replace
        self._set(change(self._snapshot, **changes))

    def _set(self, snapshot: FolderSnapshot) -> None:
        if snapshot != self._snapshot or not snapshot.folder:
            self._snapshot = snapshot
            self.changed.emit(snapshot)


def data_settings(folder: str, values: Mapping[str, object]) -> DataSettings | None:
    """Give the settings that a folder is looked through with; None for no folder.

    Args:
        folder: Its path, or empty.
        values: Settings by their names in a training.
    """
    if not folder:
        return None
    names = ("resolution", "background", "use_masks")
    given = {name: values[f"data.{name}"] for name in names if f"data.{name}" in values}
    try:
        make: Callable[..., DataSettings] = DataSettings
        return make(folder=folder, **given)
    except InvalidRequest:
        # The form says so when the training is to begin.
        return DataSettings(folder=folder)
