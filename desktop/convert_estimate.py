"""How large a converted model will be, and what making it takes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil
from PySide6.QtCore import QCoreApplication, QObject, Signal

from core.errors import CoreError
from core.models.control_file import find_control
from core.models.copying import format_size
from core.models.identify import Identity, identify
from core.paths import exists
from coreml_export.events import Stage
from coreml_export.plan import PartPlan, disk_needed, memory_needed, plan, target_of
from coreml_export.request import ExportRequest
from desktop.convert_words import part_name
from desktop.later import Later
from desktop.model_facts import DOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a conversion will make and take.

    Attributes:
        size: In a line, how large the parts will be.
        needs: In a line or two, what it takes of the disk and of memory.
        check: Which share of the time checking the parts takes.
    """

    size: str
    needs: str
    check: float


class ConvertEstimate(QObject):
    """Looks at a model's small files beside the window's thread.

    Signals:
        known(object): The estimate of what was asked about last, or a sentence on why there is
            none.
    """

    known = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a question."""
        super().__init__(parent)
        self._later = Later(self)

    def ask(self, request: ExportRequest, model: Path) -> None:
        """Tell soon what a conversion takes.

        Args:
            request: What is asked for; its ControlNets are paths.
            model: Where the model lies.
        """
        self._later.after_a_pause(lambda: self.known.emit(_estimate_or_reason(request, model)))

    def close(self) -> None:
        """Look at nothing more."""
        self._later.close()


def estimate(request: ExportRequest, model: Path) -> Estimate:
    """Tell what a conversion makes and takes.

    Raises:
        CoreError: If the model or a ControlNet cannot be read, or does not fit.
    """
    identity = _identity(model)
    paths = [Path(control) for control in request.controls]
    nets = {path.stem: find_control(path, identity).parameters for path in paths}
    parts = plan(request, identity, nets, compiles=False)
    disk, free_disk = disk_needed(parts), _free_at(Path(request.out))
    memory, free_memory = memory_needed(parts), psutil.virtual_memory().available
    needs = (
        _amount(_tr("of disk space while it is made"), disk, free_disk),
        _amount(_tr("of memory"), memory, free_memory),
    )
    return Estimate(
        size=_size(request, parts),
        needs="\n".join(needs),
        check=_share_of_check(parts),
    )


def _estimate_or_reason(request: ExportRequest, model: Path) -> Estimate | str:
    try:
        return estimate(request, model)
    except CoreError as error:
        return str(error)


def _size(request: ExportRequest, parts: Sequence[PartPlan]) -> str:
    sizes: Counter[str] = Counter()
    for part in parts:
        # The halves of the VAE are small.
        sizes[_tr("VAE") if part.component == "vae" else part_name(part.name)] += part.bytes
    each = DOT.join(f"{name} {format_size(size)}" for name, size in sizes.items())
    target = target_of(request).removeprefix("macOS")
    total = format_size(sum(sizes.values()))
    return _tr("About {0}, for macOS {1} and later\n{2}").format(total, target, each)


def _amount(what: str, needed: int, free: int) -> str:
    text = _tr("Takes about {0} {1}; {2} are free.")
    if needed > free:
        text = _tr("Takes about {0} {1}, more than the {2} that are free.")
    return text.format(format_size(needed), what, format_size(free))


def _share_of_check(parts: Sequence[PartPlan]) -> float:
    """Give how much longer the check makes it, as a share of the rest."""
    check = sum(part.seconds(Stage.CHECK) for part in parts)
    rest = sum(
        part.seconds(stage) for part in parts for stage in part.stages if stage is not Stage.CHECK
    )
    return check / rest


def _free_at(place: Path) -> int:
    while not exists(place) and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


@lru_cache(maxsize=16)
def _identity(path: Path) -> Identity:
    return identify(path)


def _tr(text: str) -> str:
    return QCoreApplication.translate("ConvertEstimate", text)
