"""Which of a Mac's processors run the parts of a Core ML model. Imports no torch.

What is asked for is a text: ``auto``, the name of some units (``cpu-ane``), or such for each part
(``Unet=cpu-ane,VAEDecoder=cpu-gpu``), where ``auto`` may stand for those that are not named.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from enum import StrEnum

from core.coreml_folder import Layout, PartName
from core.errors import InvalidRequest

AUTO = "auto"
FIELD = "compute_units"


class ComputeUnits(StrEnum):
    """The processors that Core ML may use."""

    ALL = "all"
    CPU_GPU = "cpu-gpu"
    CPU_ANE = "cpu-ane"
    CPU = "cpu"


def check_units(text: object) -> None:
    """Refuse what names no units.

    Raises:
        InvalidRequest: Saying what would.
    """
    if not isinstance(text, str):
        raise InvalidRequest(FIELD, f"{text!r} must be a text.")
    _parsed(text)


def usual_units(layout: Layout, *, is_xl: bool, machine: str | None = None) -> ComputeUnits:
    """Give the units that Apple recommends.

    The README of https://github.com/apple/ml-stable-diffusion: the Neural Engine for the layout
    that is made for it, the GPU for the other and for SDXL, which is too large for the former; one
    fixed unit is often faster than all. On Macs with Intel's processors its issue 284 tells of
    pictures that are noise unless the CPU alone makes them.

    Args:
        layout: Of the UNet.
        is_xl: Whether it is SDXL.
        machine: The machine's kind of processor; None for this one's.
    """
    if (platform.machine() if machine is None else machine) == "x86_64":
        return ComputeUnits.CPU
    if is_xl or layout is Layout.ORIGINAL:
        return ComputeUnits.CPU_GPU
    return ComputeUnits.CPU_ANE


def units_of(text: str, usual: Mapping[str, ComputeUnits]) -> dict[str, ComputeUnits]:
    """Say which units each part of a model runs on.

    Args:
        text: As it was asked for.
        usual: What ``auto`` stands for, for each of the model's parts by name.

    Raises:
        InvalidRequest: If it names a part that the model does not have.
    """
    rest, named = _parsed(text)
    if unknown := sorted(set(named) - set(usual)):
        raise InvalidRequest(
            FIELD, f"{unknown[0]} is no part of this model, which has {', '.join(sorted(usual))}."
        )
    return {part: named.get(part, rest) or usual[part] for part in sorted(usual)}


def unit_of(text: str, part: str, usual: ComputeUnits) -> ComputeUnits:
    """Say which units one part runs on; see ``units_of``."""
    rest, named = _parsed(text)
    return named.get(part, rest) or usual


def units_text(units: Mapping[str, ComputeUnits]) -> str:
    """Write down which units each part runs on; ``units_of`` reads it."""
    if len(set(units.values())) == 1:
        return next(iter(units.values())).value
    return ",".join(f"{part}={unit}" for part, unit in sorted(units.items()))


def _parsed(text: str) -> tuple[ComputeUnits | None, dict[str, ComputeUnits | None]]:
    """Read a text: the units of parts that it does not name, and those of the others."""
    rest: ComputeUnits | None = None
    named: dict[str, ComputeUnits | None] = {}
    for item in text.split(","):
        part, equals, unit = item.strip().rpartition("=")
        if unit not in (AUTO, *ComputeUnits) or (equals and part not in tuple(PartName)):
            raise InvalidRequest(
                FIELD,
                f"{text!r} is neither one of {', '.join((AUTO, *ComputeUnits))} nor a list such as "
                "Unet=cpu-ane,VAEDecoder=cpu-gpu.",
            )
        chosen = None if unit == AUTO else ComputeUnits(unit)
        if equals:
            named[part] = chosen
        else:
            rest = chosen
    return rest, named
