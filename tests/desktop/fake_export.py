"""An exporter that acts out a script, for widget tests and screenshots. Imports no torch."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from core.coreml_folder import Manifest, PartName, PartRecord
from core.events import Loading, Notice
from coreml_export.events import Exported, ExportEvent, ExportStep, Needs, PartWritten, Stage
from coreml_export.request import ExportRequest
from desktop.conversion import Exporter

SIZES = {
    PartName.UNET: 1_719_000_000,
    PartName.TEXT_ENCODER: 246_000_000,
    PartName.VAE_DECODER: 99_000_000,
    PartName.VAE_ENCODER: 68_000_000,
}


class FakeExporter:
    """Writes four parts, one of which it may stop at.

    Attributes:
        requests: What was asked for, in order.
        closed: How many exports have been closed, finished or not.
        gate: While cleared, an export waits in part ``stop_at``: a test can look at it.
        stop_at: Number of a part, from 1; see ``gate``.
        error: Raised instead of the first part; used once.
        notice: Said before the first part, if there is one.
        real: What exports in its place, if anything.
        made: A model's folder of which the export becomes a copy, or None for no files at all.
    """

    def __init__(self) -> None:
        self.requests: list[ExportRequest] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.stop_at = 0
        self.error: Exception | None = None
        self.notice = ""
        self.real: Exporter | None = None
        self.made: Path | None = None
        self._written: dict[str, set[PartName]] = {}

    def __call__(self, request: ExportRequest) -> Iterator[ExportEvent]:
        self.requests.append(request)
        try:
            yield from self.real(request) if self.real is not None else self._events(request)
        finally:
            self.closed += 1

    def _events(self, request: ExportRequest) -> Iterator[ExportEvent]:
        written = self._written.setdefault(request.out, set())
        yield Loading(what=f"the model {request.model}")
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.notice:
            yield Notice(message=self.notice)
        names = tuple(name for name in SIZES if name not in written)
        yield Needs(
            parts=names,
            disk=5_900_000_000,
            free_disk=212_000_000_000,
            memory=7_100_000_000,
            free_memory=11_400_000_000,
            target="macOS13",
        )
        for number, name in enumerate(SIZES, 1):
            if name not in written:
                yield from self._making(number, name)
                written.add(name)
            yield self._part(request, name, kept=name not in names)
        if self.made is not None:
            shutil.copytree(self.made, request.out)
        yield Exported(folder=Path(request.out), manifest=manifest_of(request), seconds=742.0)

    def _making(self, number: int, name: PartName) -> Iterator[ExportEvent]:
        for stage, share in ((Stage.TRACE, 0.1), (Stage.CONVERT, 0.2)):
            done = (number - 1) * 0.35 + share
            yield ExportStep(part=name, stage=stage, share=min(done, 0.99), seconds_left=274.0)
            while number == self.stop_at and share == 0.2 and not self.gate.wait(0.05):
                yield ExportStep(part=name, stage=stage, share=min(done, 0.99), seconds_left=274.0)

    def _part(self, request: ExportRequest, name: PartName, *, kept: bool) -> PartWritten:
        return PartWritten(
            path=Path(request.out, f"{name}.mlpackage"),
            record=PartRecord(
                name=name,
                inputs=(),
                outputs=(),
                bytes=SIZES[name],
                inputs_sha256="",
                compression=str(request.compression),
                psnr={"fp32": 74.2, "fp16": 66.4} if request.check else {},
                seconds=120.0,
            ),
            kept=kept,
        )


def manifest_of(request: ExportRequest, *parts: PartRecord) -> Manifest:
    """What an export leaves beside its parts."""
    return Manifest(
        format=request.format,
        layout=request.layout,
        family="custom",
        source=request.model,
        source_sha256="",
        licence="",
        sizes=request.sizes,
        batch=request.batch,
        target="macOS13",
        compression=str(request.compression),
        loras=(),
        words=(),
        vae=request.vae,
        control=bool(request.controls),
        versions={},
        model={},
        parts=parts,
        request=request.to_json(),
    )
