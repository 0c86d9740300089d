"""What to export: a frozen, validated value that goes to JSON and back. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.coreml_folder import ExportFormat, Layout, PartName
from core.errors import InvalidRequest
from core.request_checks import (
    check_bool,
    check_choice,
    check_int,
    check_side,
    check_text,
    parse_choice,
)
from core.request_parts import EmbeddingUse, LoraUse, check_adapters

CONTROL_PART = "controlnet"
"""What all ControlNets are called together where parts are chosen."""

PARTS = (
    PartName.TEXT_ENCODER,
    PartName.TEXT_ENCODER_2,
    PartName.UNET,
    PartName.VAE_DECODER,
    PartName.VAE_ENCODER,
    CONTROL_PART,
)
"""What may be chosen of a model; the UNet is the same part with ControlNets and in two halves."""

_MIXED = re.compile(r"mixed(?::(\d+(?:\.\d+)?)(db)?)?")


class Packing(StrEnum):
    """How weights are packed.

    ``INT8`` scales each output channel to whole numbers. The palettes give every number the index
    of one of 64 or 16 values of its tensor. ``MIXED`` takes for each layer as few bits as it can
    bear, by what was measured. ``W8A8`` is ``INT8``, and what the layers of the UNet and the
    ControlNets are given is rounded to 8 bits as well, by a scale for each that was measured: the
    Neural Engine from the A17 Pro and the M4 on multiplies such numbers faster
    (https://apple.github.io/coremltools/docs-guides/source/opt-quantization-api.html).
    """

    NONE = "none"
    INT8 = "int8"
    PALETTE6 = "palette6"
    PALETTE4 = "palette4"
    MIXED = "mixed"
    W8A8 = "w8a8"


@dataclass(frozen=True, slots=True)
class Compression:
    """How the weights of the text encoders, the UNet and the ControlNets are packed.

    Attributes:
        packing: How.
        bits: Of ``MIXED``: how many a weight may take on average; None if decibels say it.
        decibels: Of ``MIXED``: the PSNR against unpacked weights that is to be kept.
    """

    packing: Packing = Packing.NONE
    bits: float | None = None
    decibels: float | None = None

    DEFAULT_BITS = 6.0
    BITS = (4, 8)
    DECIBELS = (20, 100)

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Of ``compress``.
        """
        check_choice("compress", self.packing, Packing)
        targets = [value for value in (self.bits, self.decibels) if value is not None]
        if len(targets) != (self.packing is Packing.MIXED):
            raise InvalidRequest(
                "compress", "takes a target for mixed alone, as mixed:4.5 bits or mixed:60db."
            )
        for value, (least, most), unit in (
            (self.bits, self.BITS, "bits"),
            (self.decibels, self.DECIBELS, "dB"),
        ):
            if value is not None and not least <= value <= most:
                told = f"{value:g} {unit} are not from {least} to {most}."
                raise InvalidRequest("compress", told)

    @classmethod
    def parse(cls, word: str) -> Compression:
        """Read ``int8``, ``mixed``, ``mixed:4.5`` (bits a weight) or ``mixed:60db``.

        Raises:
            InvalidRequest: If it is none.
        """
        if not (found := _MIXED.fullmatch(word.lower())):
            if word.lower() not in tuple(Packing):
                names = ", ".join(Packing)
                raise InvalidRequest(
                    "compress", f"{word!r} is none of {names}, mixed:BITS, mixed:NUMBERdb."
                )
            return cls(Packing(word.lower()))
        number, is_decibels = found.groups()
        value = float(number) if number else cls.DEFAULT_BITS
        return cls(Packing.MIXED, **{"decibels" if is_decibels else "bits": value})

    def __str__(self) -> str:
        """Give the word that ``parse`` reads."""
        if self.packing is not Packing.MIXED:
            return str(self.packing)
        return f"mixed:{self.bits:g}" if self.bits is not None else f"mixed:{self.decibels:g}db"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """A model's networks, written for another runtime.

    Attributes:
        model: A name from the library or the path of a model.
        out: The folder to fill: new, empty, or of an earlier export.
        format: What will run it.
        layout: How the UNet is written down.
        sizes: Width and height of the pictures, in pixels, the first for readers that choose none;
            empty for the model's own. Several share their weights and need macOS 15.
        batch: Pictures, or halves of guidance, that the UNet takes at once: 1 or 2.
        compression: How weights are packed.
        loras: Those merged into the weights.
        embeddings: Those whose words the text encoders and the tokenizer's files learn.
        vae: A VAE in the place of the model's own, as of ``TextToImage``; empty for that.
        controls: ControlNets to export beside a UNet that takes what they give: files, folders or
            names in the library.
        parts: Which of ``PARTS``; empty for all there are.
        chunk: Whether the UNet becomes two files, for devices that cannot take it as one.
        check: Whether each part is read back, run and held against torch.
    """

    model: str = "starter"
    out: str
    format: ExportFormat = ExportFormat.COREML
    layout: Layout = Layout.ORIGINAL
    sizes: tuple[tuple[int, int], ...] = ()
    batch: int = 2
    compression: Compression = Compression()
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    vae: str = ""
    controls: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    chunk: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        check_text("model", self.model, empty_ok=False)
        check_text("out", self.out, empty_ok=False)
        check_choice("format", self.format, ExportFormat)
        check_choice("layout", self.layout, Layout)
        for width, height in self.sizes:
            check_side("width", width)
            check_side("height", height)
        if len(set(self.sizes)) < len(self.sizes):
            raise InvalidRequest("sizes", "has a size twice; leave one of them out.")
        check_int("batch", self.batch, 1, 2)
        if not isinstance(self.compression, Compression):
            raise InvalidRequest("compress", f"{self.compression!r} is no way to pack weights.")
        check_adapters("loras", self.loras, LoraUse)
        check_adapters("embeddings", self.embeddings, EmbeddingUse)
        check_text("vae", self.vae, empty_ok=True)
        for control in self.controls:
            check_text("controls", control, empty_ok=False)
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise InvalidRequest("parts", f"{unknown[0]!r} is none of {', '.join(PARTS)}.")
        if CONTROL_PART in self.parts and not self.controls:
            raise InvalidRequest("parts", f"{CONTROL_PART} needs a ControlNet; name one.")
        check_bool("chunk", self.chunk)
        check_bool("check", self.check)
        if self.chunk and self.compression.packing is Packing.W8A8:
            raise InvalidRequest(
                "chunk",
                "does not go with w8a8, as no 8 bits go from one half to the other; choose one of "
                "the two.",
            )
        if self.chunk and len(self.sizes) > 1:
            raise InvalidRequest("chunk", "does not go with several sizes; choose one of the two.")
        if self.format is ExportFormat.COREAI:
            self._check_coreai()

    def _check_coreai(self) -> None:
        """Refuse what is made for Core ML alone."""
        wanted = {
            "layout": self.layout is not Layout.ORIGINAL,
            "compress": self.compression.packing is not Packing.NONE,
            "chunk": self.chunk,
        }
        if field := next((name for name, is_asked in wanted.items() if is_asked), ""):
            raise InvalidRequest(
                field, "is for Core ML alone; leave it out, or choose the format coreml."
            )

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        values = dataclasses.asdict(self)
        plain: dict[str, Any] = json.loads(
            json.dumps(values | {"compression": str(self.compression)})
        )
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExportRequest:
        """Give back the request that ``to_json`` wrote; what is not given is as it is by default.

        Raises:
            InvalidRequest: On an unknown field, a missing one or a value out of range.
        """
        try:
            given = dict(values)
            if unknown := sorted(given.keys() - {field.name for field in dataclasses.fields(cls)}):
                raise InvalidRequest(unknown[0], "is no setting of this version.")
            for name, read in _READERS.items():
                if name in given:
                    given[name] = read(given[name])
            return cls(**given)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest("request", f"cannot be read: {error}") from error


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "format": lambda word: parse_choice("format", word, ExportFormat),
    "layout": lambda word: parse_choice("layout", word, Layout),
    "sizes": lambda sizes: tuple((width, height) for width, height in sizes),
    "compression": Compression.parse,
    "loras": lambda uses: tuple(LoraUse(**use) for use in uses),
    "embeddings": lambda uses: tuple(EmbeddingUse(**use) for use in uses),
    "controls": tuple,
    "parts": tuple,
}
"""What makes a field of its JSON value."""
