"""What a job will need of memory, estimated before it starts, and how it is made to fit.

Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import OutOfMemory
from core.models.control_file import FoundControl
from core.models.identify import Identity
from core.models.refiner_file import PREFIX
from core.models.tensor_list import read_tensors
from core.request import MemoryMode, Precision, Request, Tiling, Upscale

LARGEST_BATCH = 8
"""Pictures denoised together at most; above it nothing gets faster."""

BIG_UNET = 100_000_000
"""Parameters from which a single picture keeps a device busy."""

TILED_ABOVE = 1280 * 1280
"""Pixels above which the VAE works in tiles if nothing else was asked for."""

TILE_LATENTS = 80
"""Latents of a tile's side, its margins included; see ``core.sampling.tiled_vae``."""

TIGHT = 0.8
"""Share of the free memory from which it is worth a word."""

_UNET_TENSORS = 40
_VAE_TENSORS = 8
"""Tensors of full size and base width alive at the peak, fitted to Stable Diffusion 1.5 in fp32:
0.4 GB for a guided UNet step at 512 x 512 and 1.1 GB for the VAE's decoding."""

_CONTROL_TENSORS = 8
"""The same of what ControlNets add to the UNet, which is summed up over all of them."""

_BYTES = {Precision.FP32: 4, Precision.FP16: 2, Precision.BF16: 2}
_RESERVE = 200_000_000
"""Bytes left to everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory there is for a job.

    Attributes:
        free: Bytes that it may take.
        held: Bytes of its model's weights that are there already.
        attention_in_full: Whether attention matrices are held in memory, as MPS does.
    """

    free: int
    held: int = 0
    attention_in_full: bool = False


def adapter_bytes(files: Iterable[Path], precision: Precision) -> int:
    """Bytes of LoRAs in a resolved number format, told by their headers.

    Raises:
        CoreError: If one cannot be read; see ``read_tensors``.
    """
    counts = (tensor.count for file in files for tensor in read_tensors(file).tensors.values())
    return sum(counts) * _BYTES[precision]


def control_bytes(files: Iterable[FoundControl], precision: Precision) -> int:
    """Bytes of ControlNets in a resolved number format."""
    return sum(file.parameters for file in files) * _BYTES[precision]


def unet_bytes(identity: Identity, request: Request, *, attention_in_full: bool = False) -> int:
    """Estimate the bytes that the UNet takes for one picture beside its weights.

    Args:
        identity: The model.
        request: With its precision and memory mode resolved.
        attention_in_full: See ``Room``.
    """
    size, scale = _BYTES[request.precision], identity.vae_scale
    columns, rows = (side // scale for side in request.final_size)
    latents = columns * rows
    if window := window_of(request):
        latents = min(columns, window // scale) * min(rows, window // scale)
    # Guidance doubles the batch unless the halves go one by one.
    halves = 1 if request.memory is MemoryMode.LOW else 2
    tensors = _UNET_TENSORS + (_CONTROL_TENSORS if request.controls else 0)
    taken = halves * latents * identity.unet_channels * size * tensors
    if attention_in_full:
        blocks = enumerate(identity.attention_heads)
        taken += halves * max(heads * (latents // 4**i) ** 2 for i, heads in blocks) * size
    return taken


def vae_bytes(identity: Identity, request: Request) -> int:
    """Estimate the bytes that the VAE takes for one picture beside its weights.

    Args:
        identity: The model.
        request: With its precision and tiling resolved.
    """
    scale = identity.vae_scale
    columns, rows = (side // scale for side in request.final_size)
    seen = columns * rows
    if request.vae_tiling is Tiling.ON:
        # A tile, and the tensors at the latents' own size, which are as wide as eight at full size.
        seen = min(seen, TILE_LATENTS**2 + seen // 8)
    return seen * scale**2 * identity.vae_channels * _BYTES[request.precision] * _VAE_TENSORS


def weight_bytes(
    identity: Identity, precision: Precision, refiner: Identity | None = None
) -> dict[str, int]:
    """Bytes of a model's parts in a resolved number format, by their names.

    Args:
        identity: The model.
        precision: The number format.
        refiner: What is loaded beside it, its VAE excepted.
    """
    counts = dict(identity.parameters)
    if refiner is not None:
        beside = refiner.parameters.items()
        counts |= {PREFIX + name: count for name, count in beside if name != "vae"}
    return {name: count * _BYTES[precision] for name, count in counts.items()}


def needed_bytes(
    identity: Identity,
    request: Request,
    *,
    refiner: Identity | None = None,
    adapters: int = 0,
    attention_in_full: bool = False,
) -> int:
    """Estimate all that a job takes at its peak, the weights included.

    Args:
        identity: The model.
        request: With nothing left to choose.
        refiner: What takes over from the model, or None.
        adapters: Bytes of its LoRAs and ControlNets.
        attention_in_full: See ``Room``.
    """
    weights = weight_bytes(identity, request.precision, refiner)
    models = {"unet": identity} | ({} if refiner is None else {f"{PREFIX}unet": refiner})
    working = {
        name: unet_bytes(model, request, attention_in_full=attention_in_full) * request.batch_size
        for name, model in models.items()
    }
    working["vae"] = vae_bytes(identity, request)
    if request.memory is MemoryMode.LOW:
        return adapters + max(size + working.get(name, 0) for name, size in weights.items())
    working["vae"] *= request.batch_size
    return adapters + sum(weights.values()) + max(working.values())


def fitted(
    request: Request,
    identity: Identity,
    room: Room,
    *,
    adapters: int = 0,
    refiner: Identity | None = None,
) -> tuple[Request, int]:
    """Settle what the request left open, by the memory there is.

    Args:
        request: With its precision resolved.
        identity: The model.
        room: The memory there is.
        adapters: Bytes of the request's LoRAs and ControlNets.
        refiner: What takes over from the model, or None.

    Returns:
        The request as it is carried out, and the bytes that it will take of those free.

    Raises:
        OutOfMemory: If it cannot fit.
    """
    modes: tuple[MemoryMode, ...] = (request.memory,)
    if request.memory is MemoryMode.AUTO:
        modes = (MemoryMode.FULL, MemoryMode.LOW)
    settled, more = request, 0
    for mode in modes:
        settled = _settled(request, mode, identity, room, adapters, refiner)
        whole = needed_bytes(
            identity,
            settled,
            refiner=refiner,
            adapters=adapters,
            attention_in_full=room.attention_in_full,
        )
        more = max(0, whole - room.held)
        if more + _RESERVE <= room.free:
            break
    check(more, room.free, settled)
    return settled, more


def _settled(
    request: Request,
    mode: MemoryMode,
    identity: Identity,
    room: Room,
    adapters: int,
    refiner: Identity | None,
) -> Request:
    """Choose tiling and batch size for a memory mode."""
    request = dataclasses.replace(request, memory=mode)
    request = dataclasses.replace(request, vae_tiling=choose_tiling(request, identity.vae_scale))
    one = max(
        unet_bytes(identity, request, attention_in_full=room.attention_in_full),
        vae_bytes(identity, request),
    )
    weights = sum(weight_bytes(identity, request.precision, refiner).values())
    free = room.free - max(0, weights + adapters - room.held)
    batch_size = choose_batch_size(identity, request, one=one, free=free)
    return dataclasses.replace(request, batch_size=batch_size)


def lower(asked: Request, made: Request, identity: Identity) -> Request | None:
    """Give the job in the next lower mode, or None if there is none.

    Args:
        asked: As it was asked for, its precision resolved.
        made: As it was carried out and ran out of memory.
        identity: The model.
    """
    request = dataclasses.replace(asked, memory=MemoryMode.LOW, batch_size=1)
    tiling = choose_tiling(request, identity.vae_scale)
    request = dataclasses.replace(request, vae_tiling=tiling)
    return None if request == made else request


def choose_tiling(request: Request, scale: int) -> Tiling:
    """Give whether the VAE works in tiles: as asked, or where a picture is large.

    It depends on the size and mode alone and not on this machine, so that one request makes one
    picture.

    Args:
        request: With its memory mode resolved.
        scale: Pixels of a latent's side.
    """
    if request.vae_tiling is not Tiling.AUTO:
        return request.vae_tiling
    width, height = request.final_size
    if request.memory is MemoryMode.LOW:
        return Tiling.ON if max(width, height) > TILE_LATENTS * scale else Tiling.OFF
    return Tiling.ON if width * height > TILED_ABOVE else Tiling.OFF


def window_of(request: Request) -> int:
    """Give the windows' side in the pass that takes the most memory, in pixels; 0 for none."""
    if isinstance(request, Upscale):
        return request.window
    second = request.second_pass
    if second is None or not second.window:
        return 0
    return max(second.window, request.width, request.height)


def choose_batch_size(identity: Identity, request: Request, *, one: int, free: int) -> int:
    """Give how many pictures to denoise together: as asked, or as many as fit well.

    Args:
        identity: The model.
        request: What is to be made, its memory mode resolved.
        one: Bytes that one picture takes.
        free: Bytes there are beside the weights.
    """
    if request.batch_size > 0:
        return min(request.batch_size, request.total)
    if identity.parameters["unet"] > BIG_UNET or request.memory is MemoryMode.LOW:
        return 1
    if identity.exported is not None and identity.exported.of("unet"):
        return 1  # It is given a fixed number of rows at a time whatever is asked for.
    return max(1, min(LARGEST_BATCH, request.total, free // (2 * one)))


def check(needed: int, free: int, request: Request) -> None:
    """Refuse a job that does not fit.

    Args:
        needed: Bytes that it takes of those free.
        free: Bytes there are.
        request: With nothing left to choose.

    Raises:
        OutOfMemory: Saying how much is missing and what to lower.
    """
    missing = needed + _RESERVE - free
    if missing <= 0:
        return
    ways = [f"a smaller size than {request.width} x {request.height}"]
    if request.batch_size > 1:
        ways.insert(0, "a batch size of 1")
    if request.memory is MemoryMode.FULL:
        ways.insert(0, "memory low")
    if request.precision is Precision.FP32:
        ways.append("precision fp16")
    raise OutOfMemory(
        f"This needs {missing / 1e9:.1f} GB more memory than is free; choose {', or '.join(ways)}, "
        "or close other programs."
    )


def notice(asked: Request, request: Request, needed: int, free: int) -> str:
    """Say in a sentence that memory is short, or nothing where there is plenty.

    Args:
        asked: As it was asked for.
        request: As it will be carried out.
        needed: Bytes that it takes of those free.
        free: Bytes there are.
    """
    if asked.memory is MemoryMode.AUTO and request.memory is MemoryMode.LOW:
        return (
            f"There are {free / 1e9:.1f} GB of memory free, too little for the whole model at "
            f"once, so its parts take turns (memory low, about {needed / 1e9:.1f} GB); that is "
            "slower."
        )
    if needed > TIGHT * free:
        return f"This takes about {needed / 1e9:.1f} of {free / 1e9:.1f} GB of free memory."
    return ""
