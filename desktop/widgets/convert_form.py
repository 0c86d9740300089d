"""The choices of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.coreml_folder import ExportFormat, Layout, PartName
from core.errors import InvalidRequest
from core.models.listing import Listed
from core.models.verdict import Kind
from core.request_parts import EmbeddingUse, LoraUse
from coreml_export.request import CONTROL_PART, Compression, ExportRequest, Packing
from desktop.convert_estimate import Estimate
from desktop.convert_place import last_stopped
from desktop.convert_words import formats, layouts, part_name, usual_layout
from desktop.theme import mark
from desktop.widgets.availability import set_unavailable
from desktop.widgets.check_list import CheckList, Item
from desktop.widgets.choice import CalmCombo, Choice
from desktop.widgets.compression_choice import CompressionChoice
from desktop.widgets.convert_place_field import ConvertPlaceField
from desktop.widgets.fold import Fold
from desktop.widgets.form import fill_panel, quiet_lines, rows
from desktop.widgets.icon_button import IconButton
from desktop.widgets.size_list import SizeList

LABEL_WIDTH = 92

_VAES_OF = {"sd1": ("sd1",), "sd2": ("sd1", "sd2"), "sdxl": ("sdxl",), "custom": ("custom",)}
"""The families of the VAEs that a family's models can take."""


class ConvertForm(QWidget):
    """All that makes up a conversion, and the button that begins it.

    Signals:
        start_requested(): It is to begin.
        close_requested(): The person thinks better of it.
        changed(): A control was changed.
    """

    start_requested = Signal()
    close_requested = Signal()
    changed = Signal()

    def __init__(self, models: Path, refusals: Mapping[ExportFormat, str]) -> None:
        """Build the controls.

        Args:
            models: The folder in which models are kept.
            refusals: Why a format cannot be written on this system; those left out can.
        """
        super().__init__()
        self._models = models
        self._model: Listed | None = None
        self._wanted: ExportRequest | None = None
        self._library: tuple[Listed, ...] = ()
        self.kind = Choice[ExportFormat](self.tr("Format"), formats())
        usable = [kind for kind in ExportFormat if not refusals.get(kind)]
        self._usable = usable or list(ExportFormat)
        self.kind.offer(self._usable, "", refusals)
        self.layout_choice = Choice[Layout](self.tr("Layout"), layouts())
        self.sizes = SizeList()
        self.compression = CompressionChoice()
        self.place = ConvertPlaceField(models)
        self.about_kind, self.about_layout = quiet_lines(), quiet_lines()
        self.package_size, self.needs, self.lacking = (quiet_lines() for _ in range(3))
        self.loras = CheckList(weighted=True)
        self.words = CheckList()
        self.controls = CheckList()
        self.parts = CheckList(checked=True)
        self.no_baked, self.no_controls = quiet_lines(), quiet_lines()
        self.vae = CalmCombo(self.tr("VAE"))
        self.chunk = QCheckBox(self.tr("The UNet in two halves"))
        self.batch = QCheckBox(self.tr("Both halves of guidance at once"))
        self.check = QCheckBox(self.tr("Check each part against torch"))
        self.start = QPushButton(self.tr("Convert"))
        mark(self.start, "primary")
        self.close_button = IconButton("close", self.tr("Close"))
        mark(self.close_button, "framed")
        self.close_button.setFixedSize(36, 36)
        self.baked = Fold(self.tr("LoRAs and Words to Bake In"), self._baked_block())
        self.more = Fold(self.tr("More"), self._more_block())
        self._tell_tips()
        self._lay_out()
        self._connect()

    def show_model(
        self, model: Listed, library: Sequence[Listed], wanted: ExportRequest | None = None
    ) -> None:
        """Offer what fits a model, everything at its default.

        Args:
            model: The model.
            library: All there are.
            wanted: What to choose, in a new place; None for what a conversion was begun with that
                was stopped, if there is one.
        """
        assert model.card is not None
        self._model, self._wanted = model, wanted
        with QSignalBlocker(self):
            self.kind.set_value(self._usable[0])
            self.layout_choice.set_value(usual_layout(model))
            self.compression.set_value(Compression())
            card = model.card
            self.sizes.set_model_size(card.width, card.height, card.size_multiple)
            # Without guidance there is no second half.
            self.batch.setChecked(card.guidance_scale > 1)
            self.check.setChecked(True)
            self.chunk.setChecked(False)
            self.place.reset()
            for chooser in (self.loras, self.words, self.controls, self.parts):
                chooser.offer(())
            self.parts.offer([Item(name, part_name(name)) for name in _parts_of(model)])
        self.set_library(library)
        stopped = None if wanted else last_stopped(self._models, model.name, self._taken())
        if wanted is not None:
            self._choose(wanted)
        elif stopped is not None and stopped.request.format in self._usable:
            self._choose(stopped.request)
            with QSignalBlocker(self):
                self.place.set_value(stopped.place)
        self._on_change()

    def set_library(self, library: Sequence[Listed]) -> None:
        """Know the library as it is now."""
        self._library = tuple(library)
        if self._model is None:
            return
        loras, words, controls = (
            self._fitting(kind) for kind in (Kind.LORA, Kind.EMBEDDING, Kind.CONTROLNET)
        )
        self.loras.offer(_items(loras))
        self.words.offer(_items(words))
        self.controls.offer(_items(controls))
        title = self._model.name
        self.no_baked.setText(
            self.tr("The library has no LoRA and no word that fits {0}.").format(title)
        )
        self.no_baked.setVisible(not loras and not words)
        self.no_controls.setText(
            self.tr("The library has no ControlNet that fits {0}.").format(title)
        )
        self.no_controls.setVisible(not controls)
        self._offer_vaes()
        self._describe()

    def request(self) -> ExportRequest:
        """Give what the controls ask for.

        Raises:
            InvalidRequest: Naming the first that is wrong.
        """
        assert self._model is not None
        self.sizes.settle()
        chosen = [key for key, _ in self.parts.chosen()]
        controls = tuple(key for key, _ in self.controls.chosen())
        is_whole = len(chosen) == len(self.parts.boxes)
        if controls:
            chosen.append(CONTROL_PART)
        if not chosen:
            raise InvalidRequest("parts", "are all left out; choose one.")
        return ExportRequest(
            model=self._model.name,
            out=str(self.place.value()),
            format=self.kind.value(),
            layout=self.layout_choice.value(),
            sizes=self.sizes.values(),
            batch=2 if self.batch.isChecked() else 1,
            compression=self.compression.value(),
            loras=tuple(LoraUse(path=key, weight=weight) for key, weight in self.loras.chosen()),
            embeddings=tuple(
                EmbeddingUse(path=key, token=self.words.boxes[key].text())
                for key, _ in self.words.chosen()
            ),
            vae=str(self.vae.currentData() or ""),
            controls=controls,
            parts=() if is_whole else tuple(chosen),
            chunk=self.chunk.isChecked(),
            check=self.check.isChecked(),
        )

    def show_estimate(self, found: Estimate | str) -> None:
        """Say what it will make and take, or why that is not known."""
        size = found.size if isinstance(found, Estimate) else ""
        self.package_size.setText(size)
        self.package_size.setVisible(bool(size))
        self.needs.setText(found.needs if isinstance(found, Estimate) else found)
        check = self.tr("Check each part against torch")
        if isinstance(found, Estimate) and self.check.isChecked():
            check = self.tr("Check each part against torch (takes about {0:.0%} longer)").format(
                found.check
            )
        self.check.setText(check)

    def control_at_fault(self, field: str) -> QWidget | None:
        """Find the control that an error is about, and let it be seen."""
        control, fold = {
            "out": (self.place, None),
            "sizes": (self.sizes.first, None),
            "width": (self.sizes.first, None),
            "height": (self.sizes.first, None),
            "compress": (self.compression, None),
            "format": (self.kind, None),
            "loras": (self.baked, self.baked),
            "embeddings": (self.baked, self.baked),
            "vae": (self.vae, self.more),
            "controls": (self.controls, self.more),
            "parts": (self.parts, self.more),
            "chunk": (self.chunk, self.more),
        }.get(field, (None, None))
        if fold is not None:
            fold.set_open(shown=True)
        return control

    def turn_to(self, control: QWidget) -> None:
        """Bring a control into sight, with the focus."""
        control.setFocus()
        self._scroll.ensureWidgetVisible(control)

    def _choose(self, request: ExportRequest) -> None:
        """Set all that is asked for, but for the place."""
        with QSignalBlocker(self):
            self.kind.set_value(request.format)
            self.layout_choice.set_value(request.layout)
            self.sizes.set_values(request.sizes or self.sizes.values())
            self.compression.set_value(request.compression)
            self.batch.setChecked(request.batch == 2)
            self.chunk.setChecked(request.chunk)
            self.check.setChecked(request.check)
            self.loras.choose({use.path: use.weight for use in request.loras})
            self.words.choose(dict.fromkeys((use.path for use in request.embeddings), 1.0))
            self.controls.choose(dict.fromkeys(request.controls, 1.0))
            self.parts.choose(dict.fromkeys(request.parts or self.parts.boxes, 1.0))
            self.vae.setCurrentIndex(max(self.vae.findData(request.vae), 0))
        self.baked.set_open(shown=bool(request.loras or request.embeddings))
        rest = (request.vae, request.controls, request.parts, request.chunk)
        self.more.set_open(shown=any(rest))

    def _lacking(self) -> tuple[str, ...]:
        """Name what is wanted, or went into what was stopped, and is not in the library."""
        stopped = self.place.stopped
        request = self._wanted or (stopped.request if stopped is not None else None)
        if request is None:
            return ()
        loras = [use.path for use in request.loras]
        words = [use.path for use in request.embeddings]
        offered = {*self.loras.boxes, *self.words.boxes, *self.controls.boxes, ""}
        offered |= {str(row.path) for row in self._fitting(Kind.VAE)}
        wanted = (*loras, *words, *request.controls, request.vae)
        return tuple(Path(path).name for path in wanted if path not in offered)

    def _fitting(self, kind: Kind) -> tuple[Listed, ...]:
        assert self._model is not None
        families: tuple[str, ...] = (self._model.family,)
        if kind is Kind.VAE:
            families = _VAES_OF.get(self._model.family, families)
        return tuple(
            row
            for row in self._library
            if row.kind is kind and row.family in families and not row.missing
        )

    def _offer_vaes(self) -> None:
        chosen = self.vae.currentData()
        with QSignalBlocker(self.vae):
            self.vae.clear()
            self.vae.addItem(self.tr("The model's own"), "")
            for row in self._fitting(Kind.VAE):
                self.vae.addItem(row.name, str(row.path))
            self.vae.setCurrentIndex(max(self.vae.findData(chosen or ""), 0))
        reason = self.tr("The library has no other VAE that fits.")
        set_unavailable(self.vae, reason if self.vae.count() == 1 else "")

    def _taken(self) -> set[Path]:
        return {row.path for row in self._library}

    def _on_change(self) -> None:
        if self._model is not None:
            self._describe()
            self.changed.emit()

    def _on_kind(self) -> None:
        """Offer what the format has."""
        is_coreml = self.kind.value() is ExportFormat.COREML
        reason = "" if is_coreml else self.tr("It is for Core ML alone.")
        self.layout_choice.offer(list(Layout) if is_coreml else [Layout.ORIGINAL], reason)
        self.compression.offer(list(Packing) if is_coreml else [Packing.NONE], reason)
        set_unavailable(self.layout_choice, reason)
        if is_coreml and self._model is not None:
            self.layout_choice.set_value(usual_layout(self._model))

    def _describe(self) -> None:
        """Say what the choices mean, and let what they rule out say so."""
        self.about_kind.setText(formats()[self.kind.value()][1])
        is_coreml = self.kind.value() is ExportFormat.COREML
        self.about_layout.setText(layouts()[self.layout_choice.value()][1])
        self.about_layout.setVisible(is_coreml)
        baked = len(self.loras.chosen()) + len(self.words.chosen())
        title = self.tr("LoRAs and Words to Bake In")
        self.baked.set_title(f"{title} ({baked})" if baked else title)
        reason = ""
        if not is_coreml:
            reason = self.tr("It is for Core ML alone.")
        elif len(self.sizes.fields) > 1:
            reason = self.tr("It does not go with several sizes.")
        elif self.compression.packing.value() is Packing.W8A8:
            reason = self.tr("It does not go with 8 bits in between.")
        set_unavailable(self.chunk, reason)
        if reason:
            with QSignalBlocker(self.chunk):
                self.chunk.setChecked(False)
        set_unavailable(
            self.sizes.add,
            self.tr("A UNet in two halves has one size.") if self.chunk.isChecked() else "",
        )
        if self._model is None:
            return
        self.place.show_for(self._model.name, self.kind.value(), self._taken())
        lacking = ", ".join(self._lacking())
        text = self.tr(
            "The library does not have {0}, which is to go into it; add it on the Models page, or "
            "convert without."
        ).format(lacking)
        self.lacking.setText(text if lacking else "")
        self.lacking.setVisible(bool(lacking))

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._on_kind)
        for choice in (self.kind, self.layout_choice):
            choice.currentIndexChanged.connect(self._on_change)
        for chooser in (self.loras, self.words, self.controls, self.parts):
            chooser.changed.connect(self._on_change)
        for field in (self.sizes, self.compression, self.place):
            field.changed.connect(self._on_change)
        for box in (self.chunk, self.batch, self.check):
            box.toggled.connect(self._on_change)
        self.vae.currentIndexChanged.connect(self._on_change)
        self.start.clicked.connect(self.start_requested)
        self.close_button.clicked.connect(self.close_requested)

    def _tell_tips(self) -> None:
        self.kind.setToolTip(self.tr("What will run it"))
        self.layout_choice.setToolTip(self.tr("Which of the Mac's processors it is written for"))
        self.vae.setToolTip(self.tr("What turns latents into pictures"))
        self.chunk.setToolTip(self.tr("For iPhones and iPads, which cannot take it as one file"))
        self.batch.setToolTip(
            self.tr("Faster with guidance; without, the UNet is called twice a step for it")
        )
        self.check.setToolTip(
            self.tr("Each part is read back and run; its distance to torch is kept beside it")
        )
        self.start.setToolTip(self.tr("It can be stopped at any time and goes on later"))

    def _baked_block(self) -> QWidget:
        block = QWidget()
        column = QVBoxLayout(block)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for widget in (self.loras, self.words, self.no_baked):
            column.addWidget(widget)
        return block

    def _more_block(self) -> QWidget:
        nets = QWidget()
        column = QVBoxLayout(nets)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.controls)
        column.addWidget(self.no_controls)
        self.parts.setToolTip(
            self.tr("What is left out is the model's own when pictures are made with this app")
        )
        calls = QWidget()
        column = QVBoxLayout(calls)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.batch)
        column.addWidget(self.chunk)
        block = QWidget()
        block.setLayout(
            rows(
                (
                    (self.tr("VAE"), self.vae),
                    (self.tr("ControlNets"), nets),
                    (self.tr("Parts"), self.parts),
                    (self.tr("UNet"), calls),
                ),
                LABEL_WIDTH,
                tall=True,
            )
        )
        return block

    def _lay_out(self) -> None:
        content = QWidget()
        content.setObjectName("panel")
        column = QVBoxLayout(content)
        column.setContentsMargins(20, 16, 20, 12)
        column.setSpacing(12)
        column.addLayout(
            rows(
                (
                    (self.tr("For"), _with(self.kind, self.about_kind)),
                    (self.tr("Layout"), _with(self.layout_choice, self.about_layout)),
                    (self.tr("Size"), self.sizes),
                    (self.tr("Compression"), _with(self.compression, self.package_size)),
                    (self.tr("Name"), _with(self.place, self.lacking)),
                ),
                LABEL_WIDTH,
                tall=True,
            )
        )
        column.addWidget(self.baked)
        column.addWidget(self.more)
        column.addWidget(self.check)
        column.addWidget(self.needs)
        column.addStretch(1)
        self._scroll = fill_panel(self, content, self.start, self.close_button)


def _with(control: QWidget, *below: QWidget) -> QWidget:
    """Put a control and what belongs to it below each other."""
    block = QWidget()
    column = QVBoxLayout(block)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(4)
    for widget in (control, *below):
        column.addWidget(widget)
    block.setFocusProxy(control)
    return block


def _items(found: Sequence[Listed]) -> list[Item]:
    return [Item(str(row.path), row.name, row.title) for row in found]


def _parts_of(model: Listed) -> tuple[str, ...]:
    """Give the parts that a model has and that may be left out."""
    assert model.card is not None
    second = (PartName.TEXT_ENCODER_2,) if model.card.needs_size else ()
    first = () if model.family == "sdxl-refiner" else (PartName.TEXT_ENCODER,)
    return (PartName.UNET, *first, *second, PartName.VAE_DECODER, PartName.VAE_ENCODER)
