"""Exporting a model: a request in, an iterator of events out. Imports no torch.

The work is done in a child process. A conversion is one call into coremltools that takes minutes
and cannot be interrupted; a process can be ended at any time, and with it goes all the memory that
it took. The parts are made one after the other, the largest first, so that the child's peak is that
of the largest part by itself.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from core.child_process import ChildEnded, ChildProcess
from core.coreml_folder import SUFFIXES, ExportFormat
from core.errors import ExportFailed, OutOfMemory, Unsupported
from core.events import Loading
from core.models.catalog import resolve
from core.models.identify import identify
from core.paths import Profile
from coreml_export.events import ExportEvent, StageBegan
from coreml_export.folder import ExportFolder
from coreml_export.plan import Planned
from coreml_export.progress import Progress
from coreml_export.request import ExportRequest

BEAT = 1.0
"""Seconds between two events, at most."""


def export(request: ExportRequest, profile: Profile) -> Generator[ExportEvent, None, None]:
    """Write a model's parts into a folder.

    An export that was stopped, or was for other parts, is gone on with: a part that was made from
    the same in the same way is kept. Closing the iterator stops at once; finished parts stay, and
    of the one at work nothing is left.

    Args:
        request: What to export.
        profile: The user's files.

    Yields:
        What happens, something at least every second.

    Raises:
        InvalidRequest: If it cannot be made, or the folder holds something else.
        ModelMissing: If the model or a file is not there.
        ModelInvalid: If one is damaged or does not fit.
        Unsupported: If the model, or this system, cannot do what is asked.
        ExportFailed: If a part cannot be converted.
        OutOfMemory: If the system has ended the conversion.
        SaveFailed: If nothing can be written.
    """
    check_tools(request.format)
    identify(resolve(request.model))
    folder = ExportFolder(Path(request.out), SUFFIXES[request.format])
    folder.check()
    with folder.alone(profile.root / "locks"):
        child = ChildProcess(
            partial(_ready, profile),
            killed=OutOfMemory(
                "The conversion was ended by the system, most likely for want of memory; close "
                "other programs and export again, finished parts are kept."
            ),
        )
        with closing(child):
            yield from _followed(child, request)


def _followed(
    child: ChildProcess[Profile], request: ExportRequest
) -> Generator[ExportEvent, None, None]:
    """Pass on what the child tells, and say in between where it stands."""
    progress = Progress(time.monotonic)
    loading, since = Loading(what="the converter"), time.monotonic()
    try:
        events = child.stream(_export, request)
        while True:
            while not events.is_ready(BEAT):
                seconds = time.monotonic() - since
                yield progress.step() or replace(loading, seconds=seconds)
            if (event := next(events, None)) is None:
                return
            progress.note(event)
            if isinstance(event, Loading):
                loading, since = event, time.monotonic()
            if isinstance(event, StageBegan):
                yield from filter(None, [progress.step()])
            elif not isinstance(event, Planned):
                yield event
    except ChildEnded as error:
        raise ExportFailed(f"The conversion has broken off ({error}); export again.") from error


def _ready(profile: Profile) -> Profile:
    """Make the child ready: without the bars that coremltools would show."""
    os.environ["TQDM_DISABLE"] = "1"
    from tqdm import tqdm

    # Its usual lock would be missed by the system when the child is ended at once.
    tqdm.set_lock(threading.RLock())
    return profile


def _export(
    profile: Profile, request: ExportRequest
) -> Iterator[ExportEvent | Planned | StageBegan]:
    """Do it, in the child; what takes long to import belongs to the first event."""
    from core.models.torchvision_import import mend_torchvision

    mend_torchvision()
    from coreml_export.work import export_here

    yield from export_here(profile, request)


def check_tools(kind: ExportFormat) -> None:
    """Refuse a format that no tool here can write.

    Raises:
        Unsupported: If it is one.
    """
    match kind:
        case ExportFormat.COREAI:
            if importlib.util.find_spec("coreai_torch") is None:
                raise Unsupported(
                    "Core AI models are written by Apple's coreai-torch, which is not installed; "
                    "it exists for macOS 26 and later and for Linux on x86-64: "
                    "pip install 'stepwise-diffusion[coreai]'."
                )
        case ExportFormat.COREML:
            if importlib.util.find_spec("coremltools") is None:
                raise Unsupported(
                    "Core ML models are written by coremltools, which is not installed here; there "
                    "is none for Windows. Export on macOS, or on Linux on x86-64."
                )
