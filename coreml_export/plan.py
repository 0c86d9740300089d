"""What an export will make and take, told from a model's small files. Imports no torch."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.coreml_folder import CONTROL_FOLDER, ExportFormat, PartName
from core.errors import InvalidRequest
from core.models.identify import Identity
from coreml_export.events import Stage
from coreml_export.request import CONTROL_PART, Compression, ExportRequest, Packing

_TOWERS = {
    "text_encoder": PartName.TEXT_ENCODER,
    "text_encoder_2": PartName.TEXT_ENCODER_2,
}

_VAE_HALVES = (PartName.VAE_DECODER, PartName.VAE_ENCODER)

_PACKED_BITS = {
    Packing.NONE: 16.0,
    Packing.INT8: 8.1,
    Packing.W8A8: 8.1,
    Packing.PALETTE6: 6.1,
    Packing.PALETTE4: 4.1,
}
"""Bits a weight, tables and scales included."""

_SPARE_DISK = 2.1
"""How often each size of a part lies on the disk while it is made, at most: once packed and once
not, or once whole and once in halves; what joins several takes no more than one."""

_PEAK = 1.6
"""Memory at the peak as a multiple of the weights in fp32, with ``_BESIDE`` beside, some to spare:
converting the UNet of Stable Diffusion 1.5 took 6.2 GB in all, its weights take 3.4 in fp32; that
of SDXL took 16.4 GB, and its weights take 10.3."""

_BESIDE = 1 << 30
"""Bytes that the libraries take, and the values in between."""

_PACE = {
    # Seconds a billion weights, on one core of a slow machine; their ratios are what counts.
    Stage.LOAD: 10,
    Stage.TRACE: 60,
    Stage.CONVERT: 300,
    Stage.MEASURE: 1500,
    Stage.COMPRESS: 300,
    Stage.CHECK: 250,
    Stage.COMPILE: 60,
}
_LEAST = 4.0
"""Seconds that a stage takes of the smallest part."""


_HALF_IS_SLOW = platform.machine().lower() in ("x86_64", "amd64")
"""Whether Core AI's runtime takes hours for a large part in half precision, which these processors
compute by way of fp32, number by number: 25 times as long as in fp32."""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What is known of a part before it is made.

    Attributes:
        name: A ``PartName``, or ``controlnet/NAME``.
        component: The part of the model that it is made from, ``unet`` for one; empty of a
            ControlNet.
        parameters: Count of its weights.
        compression: How they are packed.
        stages: What is done to make it, in order; of several sizes most of it comes again.
    """

    name: str
    component: str
    parameters: int
    compression: Compression
    stages: tuple[Stage, ...]

    @property
    def sizes(self) -> int:
        """In how many sizes it is made."""
        return self.stages.count(Stage.TRACE)

    @property
    def bytes(self) -> int:
        """Size of its package, about."""
        packing = self.compression.packing
        bits = _PACKED_BITS.get(packing, self.compression.bits or 8.0)
        return math.ceil(self.parameters * bits / 8)

    @property
    def memory(self) -> int:
        """Bytes that making it takes at the peak, about."""
        return math.ceil(self.parameters * 4 * _PEAK) + _BESIDE

    def seconds(self, stage: Stage) -> float:
        """Give how long a stage may take; only what it is to the others' is to be relied on."""
        return _LEAST + _PACE[stage] * self.parameters / 1e9


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be made, told to whoever reckons where an export stands."""

    parts: tuple[PartPlan, ...]


def plan(
    request: ExportRequest, identity: Identity, nets: Mapping[str, int], *, compiles: bool
) -> tuple[PartPlan, ...]:
    """Say which parts an export makes, the largest first: it then has the most memory to itself.

    Args:
        request: What to export.
        identity: The model.
        nets: Count of the weights of each ControlNet, by name.
        compiles: Whether packages are compiled for the Swift readers.

    Raises:
        InvalidRequest: If the model has none of the parts that are asked for.
    """
    unet = PartName.CONTROLLED_UNET if request.controls else PartName.UNET
    half = ("vae", identity.parameters["vae"] // 2)
    every: dict[str, tuple[str, int]] = {
        unet: ("unet", identity.parameters["unet"]),
        **{_TOWERS[name]: (name, identity.parameters[name]) for name in identity.text_encoders},
        **{f"{CONTROL_FOLDER}/{name}": ("", count) for name, count in nets.items()},
        **{str(name): half for name in _VAE_HALVES},
    }
    chosen = {name: what for name, what in every.items() if _is_asked_for(request, name)}
    if not chosen:
        raise InvalidRequest("parts", f"has none of this model's: {', '.join(every)}.")
    parts = [
        PartPlan(
            name=name,
            component=component,
            parameters=count,
            compression=compression_of(request, name),
            stages=_stages(request, compression_of(request, name), component, compiles=compiles),
        )
        for name, (component, count) in chosen.items()
    ]
    return tuple(sorted(parts, key=lambda part: -part.parameters))


def compression_of(request: ExportRequest, part: str) -> Compression:
    """Give how a part is packed.

    The VAE never is, it is small and shows every error. And what text encoders compute stays as it
    is: they run once a picture, and have some numbers that are far beyond all others.
    """
    if part in _VAE_HALVES:
        return Compression()
    if part in _TOWERS.values() and request.compression.packing is Packing.W8A8:
        return Compression(Packing.INT8)
    return request.compression


def target_of(request: ExportRequest) -> str:
    """Give the oldest system that can run what is asked for.

    Core AI is macOS 27's, several functions in a Core ML package are macOS 15's. macOS 13 can read
    packed weights but unpacks all of them when it loads; from macOS 14 on they stay packed in
    memory.
    """
    if request.format is ExportFormat.COREAI:
        return "macOS27"
    if len(request.sizes) > 1:
        return "macOS15"
    return "macOS13" if request.compression.packing is Packing.NONE else "macOS14"


def disk_needed(parts: Sequence[PartPlan]) -> int:
    """Count the bytes that the folder takes while its last part is made."""
    largest = max(part.parameters * 2 * part.sizes for part in parts)
    return sum(part.bytes for part in parts) + math.ceil(largest * _SPARE_DISK)


def memory_needed(parts: Sequence[PartPlan]) -> int:
    """Count the bytes that the largest part takes at its peak."""
    return max(part.memory for part in parts)


def _is_asked_for(request: ExportRequest, name: str) -> bool:
    asked = name
    if name == PartName.CONTROLLED_UNET:
        asked = PartName.UNET
    elif name.startswith(f"{CONTROL_FOLDER}/"):
        asked = CONTROL_PART
    return not request.parts or asked in request.parts


def _stages(
    request: ExportRequest, packed: Compression, component: str, *, compiles: bool
) -> tuple[Stage, ...]:
    is_coreml = request.format is ExportFormat.COREML
    of_a_size = {
        Stage.LOAD: True,
        Stage.MEASURE: packed.packing in (Packing.MIXED, Packing.W8A8),
        Stage.TRACE: True,
        Stage.CONVERT: is_coreml,
        Stage.COMPRESS: packed.packing is not Packing.NONE,
    }
    of_all = {
        # Core AI's converter takes all sizes at once.
        Stage.CONVERT: not is_coreml,
        Stage.CHECK: request.check and (is_coreml or not _HALF_IS_SLOW),
        Stage.COMPILE: compiles and is_coreml,
    }
    each, last = ([stage for stage, is_done in of.items() if is_done] for of in (of_a_size, of_all))
    # Text has no size.
    sizes = 1 if component.startswith("text_encoder") else max(len(request.sizes), 1)
    return (*each * sizes, *last)
