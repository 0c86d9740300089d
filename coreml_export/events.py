"""What happens while a model is exported: plain, picklable values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.coreml_folder import Manifest, PartRecord
from core.events import Loading, Notice


class Stage(StrEnum):
    """What is being done to a part, in a person's words."""

    LOAD = "loading"
    MEASURE = "measuring layers"
    TRACE = "tracing"
    CONVERT = "converting"
    COMPRESS = "compressing"
    CHECK = "checking"
    COMPILE = "compiling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an export is thought to take, said before it begins.

    Attributes:
        parts: Names of those to be written, in their order.
        disk: Bytes of the finished folder, and beside it while it is written.
        free_disk: Bytes that the folder's disk has.
        memory: Bytes that its largest part takes at its peak.
        free_memory: Bytes there are.
        target: The oldest system that will run it, such as ``macOS13``.
    """

    parts: tuple[str, ...]
    disk: int = field(compare=False)
    free_disk: int = field(compare=False)
    memory: int = field(compare=False)
    free_memory: int = field(compare=False)
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStep:
    """Where the export is; told about once a second.

    Attributes:
        part: Which part is being made.
        stage: What is being done to it.
        share: Of the whole export, 0 to 1.
        seconds_left: Until the whole is done, about; None while nothing is known yet.
    """

    part: str
    stage: Stage
    share: float = field(compare=False)
    seconds_left: float | None = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWritten:
    """A part lies on the disk, whole.

    Attributes:
        path: Its package.
        record: What it is.
        kept: Whether it was there already, made from the same.
    """

    path: Path
    record: PartRecord
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The folder is done.

    Attributes:
        folder: Where it lies.
        manifest: What its manifest says.
        seconds: Time of this run.
    """

    folder: Path
    manifest: Manifest
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBegan:
    """Something else is done to a part now."""

    part: str
    stage: Stage


ExportEvent = Loading | Notice | Needs | ExportStep | PartWritten | Exported
"""What happens while a model is exported."""
