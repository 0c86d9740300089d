"""Lets work be done on the library, for the window, and tells what has become of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from core.events import Notice
from core.models.curated import CURATED
from core.models.library import Library
from core.models.library_events import Added, Checked, Progress, Removed
from desktop import library_work
from desktop.library_work import Begun, Read, Refused
from desktop.library_worker import Downloads, Events, LibraryTask, LibraryWorker
from desktop.shelf_messages import Message, MessageKind, of_added, of_checked, of_removed
from desktop.shelf_snapshot import Offer, ShelfSnapshot, Transfer, TransferState, Work
from desktop.worker import Failed, Outcome


class Shelf(QObject):
    """Lets work be done on the library and tells what has become of it.

    Signals:
        changed(ShelfSnapshot): After every change.
        told(Message): A sentence for the person.
        added(str): The name of a model that the person put into the library just now.
    """

    changed = Signal(object)
    told = Signal(object)
    added = Signal(str)

    def __init__(
        self, library: Library, downloads: Downloads, parent: QObject | None = None
    ) -> None:
        """Prepare; ``start`` begins."""
        super().__init__(parent)
        self._library = library
        self._downloads = downloads
        self._snapshot = ShelfSnapshot(offers=tuple(Offer(model) for model in CURATED))
        self._reader, self._worker, self._loader = (LibraryWorker() for _ in range(3))
        self._next_id = 1
        self._reads = 0
        self._problem = ""
        self._pending: list[LibraryTask] = []
        self._transfers: dict[str, LibraryTask] = {}
        self._batch: list[Added | Refused] = []
        self._reader.job_event.connect(self._on_read)
        self._reader.job_ended.connect(self._on_read_ended)
        self._worker.job_event.connect(self._on_work)
        self._worker.job_ended.connect(self._on_work_ended)
        self._loader.job_event.connect(self._on_download)
        self._loader.job_ended.connect(self._on_download_ended)

    @property
    def snapshot(self) -> ShelfSnapshot:
        """The library as it stands."""
        return self._snapshot

    def start(self) -> None:
        """Begin to work, and read what there is."""
        for worker in (self._reader, self._worker, self._loader):
            worker.start()
        self.refresh()

    def close(self, patience_ms: int = 3000) -> None:
        """Stop everything with nothing half done; waits until it has stopped."""
        for worker in (self._reader, self._worker, self._loader):
            worker.close()
        if not self._loader.wait(patience_ms):
            self._downloads.close()
            self._loader.wait()
        self._downloads.close()
        self._worker.wait()
        self._reader.wait()

    def refresh(self) -> None:
        """Read anew what the library holds."""
        # One reading that has not begun sees whatever happened before it does.
        if self._reads < 2:
            self._reads += 1
            self._reader.submit(self._task(partial(library_work.reading, self._library)))

    def add(self, paths: Sequence[Path], *, copy: bool, own: bool = False, name: str = "") -> None:
        """Add files and folders; a name is for one alone. See ``Library.add``."""
        adding, library = library_work.adding, self._library
        self._work_on(partial(adding, library, tuple(paths), copy=copy, own=own, name=name))

    def verify(self, name: str, search: Sequence[Path] = ()) -> None:
        """Hold a model against its hashes; if it is gone, look for it, in ``search`` too."""
        self._work_on(partial(self._library.verify, (name,), search=tuple(search)))

    def remove(self, name: str) -> None:
        """Take a model out of the library."""
        self._work_on(partial(library_work.removing, self._library, name))

    def forget_download(self, model_id: str) -> None:
        """Delete what has arrived of a download."""
        self._work_on(partial(library_work.forgetting, self._library, model_id))

    def stop_work(self) -> None:
        """End the present work on files; nothing of it stays half done."""
        if self._pending:
            self._pending[0].cancelled.set()

    def download(self, model_id: str) -> None:
        """Download a model worth having when those before it are here."""
        if model_id in self._transfers:
            return
        task = self._task(partial(self._downloads.download, model_id))
        self._transfers[model_id] = task
        self._set_transfer(model_id, Transfer(TransferState.WAITING))
        self._begin_next()
        self._loader.submit(task)

    def stop_download(self, model_id: str) -> None:
        """End a download, or let it not begin; what has arrived is kept."""
        task, transfer = self._transfers.get(model_id), self._snapshot.offer(model_id).transfer
        if task is None or transfer is None:
            return
        task.cancelled.set()
        if transfer.state is TransferState.WAITING:
            del self._transfers[model_id]
            self._set_transfer(model_id, None)
        else:
            self._set_transfer(
                model_id, dataclasses.replace(transfer, state=TransferState.STOPPING, note="")
            )

    def _task(self, begin: Callable[[], Events]) -> LibraryTask:
        task = LibraryTask(self._next_id, begin)
        self._next_id += 1
        return task

    def _work_on(self, begin: Callable[[], Events]) -> None:
        task = self._task(begin)
        self._pending.append(task)
        if self._snapshot.work is None:
            self._set(dataclasses.replace(self._snapshot, work=Work()))
        self._worker.submit(task)

    @Slot(int, object)
    def _on_read(self, _task: int, read: Read) -> None:
        there = {row.source.partition("@")[0] for row in read.models if not row.missing}
        offers = tuple(
            dataclasses.replace(
                offer,
                installed=offer.model.repo in there,
                arrived=read.arrived.get(offer.model.id, 0),
            )
            for offer in self._snapshot.offers
        )
        if read.problem and read.problem != self._problem:
            self.told.emit(Message(MessageKind.ERROR, read.problem))
        self._problem = read.problem
        self._set(dataclasses.replace(self._snapshot, models=read.models, offers=offers))

    @Slot(int, object)
    def _on_read_ended(self, _task: int, outcome: Outcome) -> None:
        self._reads -= 1
        self._tell_failure(outcome)

    @Slot(int, object)
    def _on_work(self, _task: int, event: object) -> None:
        work = self._snapshot.work or Work()
        match event:
            case Begun():
                work = Work(begun=event)
            case Progress():
                work = dataclasses.replace(work, progress=event)
            case Added() | Refused():
                self._batch.append(event)
            case Checked():
                self.told.emit(of_checked(event))
            case Removed():
                self.told.emit(of_removed(event))
        if work != self._snapshot.work or isinstance(event, Progress):
            self._set(dataclasses.replace(self._snapshot, work=work))

    @Slot(int, object)
    def _on_work_ended(self, _task: int, outcome: Outcome) -> None:
        self._pending.pop(0)
        work = Work() if self._pending else None
        self._set(dataclasses.replace(self._snapshot, work=work))
        batch, self._batch = tuple(self._batch), []
        if batch:
            self.told.emit(of_added(batch))
        self._tell_failure(outcome)
        self.refresh()
        names = [event.entry.name for event in batch if isinstance(event, Added)]
        if names:
            self.added.emit(names[-1])

    @Slot(int, object)
    def _on_download(self, task_id: int, event: object) -> None:
        model_id = self._transferring(task_id)
        transfer = self._snapshot.offer(model_id).transfer if model_id is not None else None
        if model_id is None or transfer is None:
            return
        stopping = transfer.state is TransferState.STOPPING
        match event:
            case Progress() if event.speed > 0 or not transfer.note:
                self._set_transfer(model_id, dataclasses.replace(transfer, progress=event, note=""))
            case Notice() if not stopping:
                self._set_transfer(model_id, dataclasses.replace(transfer, note=event.message))
            case Added():
                self.told.emit(of_added((event,)))

    @Slot(int, object)
    def _on_download_ended(self, task_id: int, outcome: Outcome) -> None:
        model_id = self._transferring(task_id)
        if model_id is None:
            return  # It was stopped before it began.
        del self._transfers[model_id]
        self._set_transfer(model_id, None)
        self._begin_next()
        self._tell_failure(outcome)
        self.refresh()

    def _begin_next(self) -> None:
        """Say that the first download of those that wait is under way."""
        first = next(iter(self._transfers), None)
        if first is not None:
            transfer = self._snapshot.offer(first).transfer
            if transfer is not None and transfer.state is TransferState.WAITING:
                self._set_transfer(first, Transfer(TransferState.RUNNING))

    def _transferring(self, task_id: int) -> str | None:
        return next((name for name, t in self._transfers.items() if t.id == task_id), None)

    def _tell_failure(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            kind = MessageKind.FAULT if outcome.is_bug else MessageKind.ERROR
            self.told.emit(Message(kind, outcome.message))

    def _set_transfer(self, model_id: str, transfer: Transfer | None) -> None:
        offers = tuple(
            dataclasses.replace(offer, transfer=transfer) if offer.model.id == model_id else offer
            for offer in self._snapshot.offers
        )
        self._set(dataclasses.replace(self._snapshot, offers=offers))

    def _set(self, snapshot: ShelfSnapshot) -> None:
        self._snapshot = snapshot
        self.changed.emit(snapshot)
