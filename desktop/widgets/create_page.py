"""The Create page: controls and results, and how a start picture comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, Slot
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication, QKeyEvent
from PySide6.QtWidgets import QFileDialog, QSplitter, QVBoxLayout, QWidget

from core.commands.upscale import upscaled
from core.errors import CoreError
from core.events import PreviewSettings
from core.models.catalog import ModelCard
from core.models.library import Library
from core.models.listing import Listed
from core.models.matching import Matching
from core.models.verdict import Kind
from core.paths import Profile
from core.request import Request
from desktop.drops import SUFFIXES, has_picture, kept_picture
from desktop.jobs import JobQueue, QueueSnapshot
from desktop.model_facts import family_name, lora_tag
from desktop.prompt_words import named_again, with_embeddings
from desktop.recall import recall
from desktop.studio import Pictures
from desktop.widgets.create_panel import CreatePanel
from desktop.widgets.results import Results

_OF_THE_CONTROLS = (
    "model",
    "prompts",
    "negative_prompt",
    "guidance_scale",
    "scheduler",
    "precision",
    "compute_units",
)
"""What the controls say for a picture that says nothing of itself and is to be larger."""

_MOST_TOLD = 6
"""Sentences about one picture that the banner has room for."""


class CreatePage(QWidget):
    """Where prompts become pictures."""

    def __init__(self, profile: Profile, panel: CreatePanel, jobs: JobQueue) -> None:
        """Build the page around the controls and the queue."""
        super().__init__()
        self._profile = profile
        self._jobs = jobs
        self._library: tuple[Listed, ...] = ()
        self.panel = panel
        self.results = Results(profile, jobs)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self.panel)
        self.splitter.addWidget(self.results)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self.setAcceptDrops(True)
        self._connect()

    def set_library(self, models: tuple[Listed, ...]) -> None:
        """Know the models of the library, as they are now."""
        self._library = models
        self.panel.model.set_library(models)

    @Slot()
    def generate(self) -> None:
        """Put what the controls say at the end of the queue."""
        self.results.banner.hide()
        try:
            request = with_embeddings(self.panel.take_request(), self._embeddings())
        except CoreError as error:
            self.results.show_error(str(error))
            return
        self._enqueue(request)

    @Slot()
    def stop(self) -> None:
        """End the run after its present step."""
        self._jobs.stop_making()
        self.results.show_stopping()

    @Slot()
    def choose_start(self) -> None:
        """Ask for a start picture."""
        endings = " ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        name, _ = QFileDialog.getOpenFileName(
            self, self.tr("Choose a Start Picture"), "", self.tr("Pictures ({0})").format(endings)
        )
        if name:
            self.start_from(Path(name))

    @Slot(object)
    def start_from(self, source: Path | QMimeData) -> None:
        """Start from a picture: a file, or what was dropped or pasted."""
        folder = self._profile.root / "pasted"
        try:
            path = source if isinstance(source, Path) else kept_picture(source, folder)
        except CoreError as error:
            self.results.show_error(str(error))
            return
        if path is None:
            return
        self.panel.start.set_path(str(path))
        if self.panel.start.refusal:
            self.results.show_error(self.panel.start.refusal)
        elif not self.panel.start.isEnabled():
            self.results.show_notice(self.panel.start.toolTip())

    @Slot()
    def paste(self) -> None:
        """Start from the picture on the clipboard."""
        self.start_from(QGuiApplication.clipboard().mimeData())

    @Slot(object)
    def use(self, row: Listed) -> None:
        """Take up what was chosen of the library: a model, or a LoRA or embedding to add."""
        self.results.banner.hide()
        if row.kind is Kind.MODEL:
            self.panel.model.set_model(row.name)
            if self.panel.model.chosen_model == row.name:
                self.panel.set_defaults()
            return
        word = lora_tag(row) if row.kind is Kind.LORA else row.name
        self.panel.prompt.append_word(word)
        self.panel.edit_prompt()
        card = self.panel.model.card
        if card is not None and card.family != row.family:
            message = self.tr(
                "{0} is made for {1} and the model chosen is {2}; choose another one."
            )
            families = family_name(row.family), family_name(card.family)
            self.results.show_notice(message.format(row.name, *families))

    @Slot(object)
    def reuse(self, path: Path) -> None:
        """Bring back the settings that a picture was made with."""
        self.results.banner.hide()
        recalled = recall(path, *self._finding())
        if recalled is None:
            message = self.tr("{0} carries no settings that can be used.").format(path.name)
            self.results.show_notice(message)
            return
        recalled = dataclasses.replace(
            recalled, request=named_again(recalled.request, self._library)
        )
        values = recalled.settings(self.panel.values())
        self.panel.set_values(values)
        sentences = list(recalled.lost)
        if left_out := ", ".join(recalled.left_out()):
            message = self.tr(
                "The window has no controls for {0}; “stepwise generate --from {1}” makes the same "
                "picture again."
            )
            if not recalled.is_ours:
                message = self.tr(
                    "The window has no controls for {0}; “stepwise generate --from {1}” takes them "
                    "over."
                )
            sentences.insert(0, message.format(left_out, path))
        if values.start_image and not self.panel.start.path:
            message = self.tr("The start picture {0} is gone; the rest is set.")
            sentences.insert(0, message.format(values.start_image))
        self._tell(sentences)

    @Slot(object)
    def enlarge(self, path: Path) -> None:
        """Make a picture twice as large, as it was made; by the controls if it does not say how."""
        self.results.banner.hide()
        recalled, values = recall(path, *self._finding()), self.panel.asked()
        try:
            given: dict[str, Any] = {}
            if recalled is None:
                request = dataclasses.replace(values, start_image="").request()
                given = {name: getattr(request, name) for name in _OF_THE_CONTROLS}
            elif not recalled.is_ours:
                near = recalled.settings(values)
                given = {"model": near.model, "compute_units": near.compute_units}
            if recalled is None or not recalled.says("seed"):
                given["seed"] = values.seed
            task = upscaled(path, given, 2.0, self._profile)
            self._enqueue(with_embeddings(task.request, self._embeddings()))
            self._tell(task.notices)
        except CoreError as error:
            self.results.show_error(str(error))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take pictures, but not the one that is shown here."""
        if has_picture(event.mimeData()) and event.source() is not self.results.stage.canvas:
            event.acceptProposedAction()
            self.results.stage.canvas.set_drop_hint(shown=True)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Take the hint away."""
        self.results.stage.canvas.set_drop_hint(shown=False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Start from what was dropped."""
        self.results.stage.canvas.set_drop_hint(shown=False)
        event.acceptProposedAction()
        self.start_from(event.mimeData())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Turn to the next picture by the arrow keys wherever they mean nothing else."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() in steps:
            self.results.strip.step(steps[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def _tell(self, sentences: Sequence[str]) -> None:
        """Say what to know, each on a line of its own; the rest of very many is counted."""
        lines = list(sentences[:_MOST_TOLD])
        if more := len(sentences) - len(lines):
            lines.append(self.tr("{0} more things could not be taken over.").format(more))
        if lines:
            self.results.show_notice("\n".join(lines))

    def _finding(self) -> tuple[Matching, ModelCard | None]:
        """Give what finds the files of other programs' pictures, and the model chosen."""
        return Matching(Library(self._profile)), self.panel.model.card

    def _embeddings(self) -> frozenset[str]:
        """Name the embeddings of the library that are made for the model chosen."""
        card = self.panel.model.card
        return frozenset(
            row.name
            for row in self._library
            if card is not None and row.kind is Kind.EMBEDDING and row.family == card.family
        )

    def _connect(self) -> None:
        panel, results = self.panel, self.results
        panel.generate_requested.connect(self.generate)
        panel.stop_requested.connect(self.stop)
        panel.start.choose_requested.connect(self.choose_start)
        panel.start.dropped.connect(self.start_from)
        panel.prompt.picture_pasted.connect(self.start_from)
        panel.negative.picture_pasted.connect(self.start_from)
        results.stage.empty.chosen.connect(self._on_example)
        results.picture.start_requested.connect(self.start_from)
        results.picture.enlarge_requested.connect(self.enlarge)
        results.picture.reuse_requested.connect(self.reuse)
        results.retry_requested.connect(self._enqueue)
        self._jobs.changed.connect(self._on_jobs)

    @Slot(object)
    def _enqueue(self, request: Request) -> None:
        self.results.follow()
        preview = PreviewSettings(decoder=self.panel.values().preview)
        self._jobs.enqueue(Pictures(request, preview))

    @Slot(str)
    def _on_example(self, prompt: str) -> None:
        self.panel.prompt.set_text(prompt)
        self.generate()

    @Slot(object)
    def _on_jobs(self, snapshot: QueueSnapshot) -> None:
        self.panel.set_running(
            making=snapshot.is_making, queued=not snapshot.is_idle, waiting=snapshot.waiting
        )
