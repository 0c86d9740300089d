"""What a job will need of memory, estimated before it starts. Imports no torch."""

from __future__ import annotations

from core.errors import OutOfMemory
from core.models.identify import Identity
from core.request import Precision, Request, Tiling

LARGEST_BATCH = 8
"""Pictures denoised together at most; above it nothing gets faster."""

BIG_UNET = 100_000_000
"""Parameters from which a single picture keeps a device busy."""

TILED_ABOVE = 1280 * 1280
"""Pixels above which the VAE works in tiles if nothing else was asked for."""

TILE_LATENTS = 80
"""Latents of a tile's side, its margins included; see ``core.sampling.tiled_vae``."""

_UNET_TENSORS = 40
_VAE_TENSORS = 8
"""Tensors of full size and base width alive at the peak, fitted to Stable Diffusion 1.5 in fp32:
0.4 GB for a guided UNet step at 512 x 512 and 1.1 GB for the VAE's decoding."""

_BYTES = {Precision.FP32: 4, Precision.FP16: 2, Precision.BF16: 2}
_RESERVE = 200_000_000
"""Bytes left to everything else."""


def weight_bytes(identity: Identity, precision: Precision) -> int:
    """Bytes of a model's weights in a resolved number format."""
    return sum(identity.parameters.values()) * _BYTES[precision]


def activation_bytes(
    identity: Identity,
    precision: Precision,
    *,
    width: int,
    height: int,
    attention_in_full: bool,
    window: int = 0,
    tiled: bool = False,
) -> int:
    """Estimate the bytes that one picture takes beside the weights, at its peak.

    Args:
        identity: The model.
        precision: Resolved.
        width: In pixels.
        height: In pixels.
        attention_in_full: Whether attention matrices are held in memory, as MPS does.
        window: Side of the windows that are denoised each by itself, in pixels; 0 for the whole.
        tiled: Whether the VAE works in tiles.
    """
    size = _BYTES[precision]
    scale = identity.vae_scale
    columns, rows = width // scale, height // scale
    latents = columns * rows
    if window:
        latents = min(columns, window // scale) * min(rows, window // scale)
    # Guidance doubles the batch.
    unet = 2 * latents * identity.unet_channels * size * _UNET_TENSORS
    if attention_in_full:
        unet += 2 * identity.attention_heads * latents**2 * size
    seen = columns * rows
    if tiled:
        # A tile, and the tensors at the latents' own size, which are as wide as eight at full size.
        seen = min(seen, TILE_LATENTS**2 + seen // 8)
    vae = seen * scale**2 * identity.vae_channels * size * _VAE_TENSORS
    return max(unet, vae)


def choose_tiling(request: Request) -> Tiling:
    """Give whether the VAE works in tiles: as asked, or where a picture is large.

    It depends on the size alone and not on this machine, so that one request makes one picture.
    """
    if request.vae_tiling is not Tiling.AUTO:
        return request.vae_tiling
    width, height = request.final_size
    return Tiling.ON if width * height > TILED_ABOVE else Tiling.OFF


def window_of(request: Request) -> int:
    """Give the windows' side in the pass that takes the most memory, in pixels; 0 for none."""
    second = request.second_pass
    if second is None or not second.window:
        return 0
    return max(second.window, request.width, request.height)


def choose_batch_size(identity: Identity, request: Request, *, one: int, free: int) -> int:
    """Give how many pictures to denoise together: as asked, or as many as fit well.

    Args:
        identity: The model.
        request: What is to be made.
        one: Bytes that one picture takes.
        free: Bytes there are beside the weights.
    """
    if request.batch_size > 0:
        return min(request.batch_size, request.total)
    if identity.parameters["unet"] > BIG_UNET:
        return 1
    return max(1, min(LARGEST_BATCH, request.total, free // (2 * one)))


def check(needed: int, free: int, request: Request) -> None:
    """Refuse a job that does not fit.

    Args:
        needed: Bytes that the pictures take.
        free: Bytes there are beside the weights; below 0 if these do not fit.
        request: With its batch size and precision resolved.

    Raises:
        OutOfMemory: Saying how much is missing and what to lower.
    """
    missing = needed + _RESERVE - free
    if missing <= 0:
        return
    ways = [f"a smaller size than {request.width} x {request.height}"]
    if request.batch_size > 1:
        ways.insert(0, "a batch size of 1")
    if request.precision is Precision.FP32:
        ways.append("precision fp16")
    raise OutOfMemory(
        f"This needs {missing / 1e9:.1f} GB more memory than is free; choose {', or '.join(ways)}, "
        "or close other programs."
    )
