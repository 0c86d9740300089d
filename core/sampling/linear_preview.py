"""Latents to colours by one small matrix, fitted to a VAE by least squares."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from core.errors import SaveFailed
from core.files import replace_file
from core.models.components import Components
from core.sampling.vae import Vae, to_pixels, to_signed

FORMAT = 1
FILE_NAME = "preview.json"
"""A fit that a model brings along lies under this name in its folder."""

Decode = Callable[[Tensor], npt.NDArray[np.uint8]]
"""From scaled latents ``(B, 4, H/8, W/8)`` to ``(B, h, w, 3) uint8``."""

_PICTURES = 16
_SIDE = 128
_LARGE_PICTURES = 6
_HELD_OUT = 4
"""Of the pictures, those that only measure."""


@dataclass(frozen=True, slots=True)
class LinearFit:
    """The best linear map from a VAE's latents to colours.

    Attributes:
        matrix: ``(4, 3)``, from scaled latents to RGB in -1..1.
        bias: ``(3,)``.
        psnr: In dB, of pictures not fitted to, against the VAE's own decoding scaled down to the
            size of the latents.
        vae_sha256: Hash of the VAE's weight file.
    """

    matrix: Tensor
    bias: Tensor
    psnr: float
    vae_sha256: str

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Show latents, one pixel each.

        Args:
            latents: ``(B, 4, H/8, W/8)``, scaled.

        Returns:
            ``(B, H/8, W/8, 3) uint8``.
        """
        return to_pixels(_apply(latents, self.matrix, self.bias))


def fit(components: Components, pictures: Tensor | None = None) -> LinearFit:
    """Fit the map to a VAE.

    Args:
        components: The loaded model.
        pictures: ``(N, 3, H, W)``, -1 to 1, N at least 5, sides multiples of the VAE's scale: what
            the model will draw, if known; else soft random shapes in all colours.

    Raises:
        ModelInvalid: If the VAE's answer is not finite in fp32 either.
    """
    if pictures is None:
        # Small VAEs (tests, the starter model) take these at once, large ones a few seconds.
        pictures = _usual_pictures(components)
    latents, colours = _pairs(components, pictures)
    held_out = max(1, min(_HELD_OUT, len(pictures) // 4))
    matrix, bias = _least_squares(latents[:-held_out], colours[:-held_out])
    shown = _apply(latents[-held_out:], matrix, bias).clamp(-1, 1)
    psnr = _psnr(shown, colours[-held_out:])
    return LinearFit(matrix, bias, psnr, components.vae_sha256)


def find_or_fit(components: Components, cache: Path) -> LinearFit:
    """Take the fit that the model brings, or the one made before, or make and keep one.

    Args:
        components: The loaded model.
        cache: Folder of fits; one that cannot be written to costs a new fit next time.

    Raises:
        ModelInvalid: If the VAE's answer is not finite in fp32 either.
    """
    kept = kept_at(components, cache)
    for path in (components.identity.folder / FILE_NAME, kept):
        found = read(path, components.vae_sha256)
        if found is not None:
            return found
    made = fit(components)
    with contextlib.suppress(SaveFailed):
        write(made, kept)
    return made


def is_at_hand(components: Components, cache: Path) -> bool:
    """Whether ``find_or_fit`` has nothing to compute."""
    paths = (components.identity.folder / FILE_NAME, kept_at(components, cache))
    return any(read(path, components.vae_sha256) is not None for path in paths)


def can_be_had(components: Components, cache: Path) -> bool:
    """Whether there is a fit or can be one: an exported VAE may be without what reads pictures."""
    exported = components.identity.exported
    reads = exported is None or not exported.of("vae") or exported.vae_encoder is not None
    return reads or is_at_hand(components, cache)


def kept_at(components: Components, cache: Path) -> Path:
    """Give the file in which the fit of a model's VAE is kept."""
    return cache / "previews" / f"{components.vae_sha256[:32]}.json"


def write(made: LinearFit, path: Path) -> None:
    """Write a fit as JSON.

    Raises:
        SaveFailed: If the file cannot be written.
    """
    values = {
        "format": FORMAT,
        "vae_sha256": made.vae_sha256,
        "psnr": made.psnr,
        "matrix": made.matrix.tolist(),
        "bias": made.bias.tolist(),
    }
    replace_file(path, (json.dumps(values, indent=1) + "\n").encode())


def read(path: Path, vae_sha256: str) -> LinearFit | None:
    """Read a fit; one that is damaged or another VAE's is as good as none."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["vae_sha256"] != vae_sha256:
            return None
        matrix = torch.tensor(values["matrix"], dtype=torch.float32)
        bias = torch.tensor(values["bias"], dtype=torch.float32)
        psnr = float(values["psnr"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if matrix.shape != (4, 3) or bias.shape != (3,) or not math.isfinite(psnr):
        return None
    return LinearFit(matrix, bias, psnr, vae_sha256)


def _usual_pictures(components: Components) -> Tensor:
    exported = components.identity.exported
    if exported is None or not exported.of("vae"):
        return random_pictures(_PICTURES, _SIDE, _SIDE)
    # An exported VAE takes one size, which is so large that fewer tell as much.
    width, height = exported.sizes[0]
    return random_pictures(_LARGE_PICTURES, height, width)


def random_pictures(count: int, height: int, width: int) -> Tensor:
    """Make soft colour fields with hard-edged patches, the same ones every time.

    Returns:
        ``(count, 3, height, width)``, fp32, -1 to 1.
    """
    generator = torch.Generator("cpu").manual_seed(0)

    def field(cells: int) -> Tensor:
        coarse = torch.rand((count, 3, cells, cells), generator=generator)
        size = (height, width)
        return functional.interpolate(coarse, size, mode="bilinear", align_corners=False)

    masks = torch.rand((count, 1, 6, 6), generator=generator) > 0.6
    patches = functional.interpolate(masks.float(), (height, width), mode="nearest")
    below = 0.8 * field(2) + 0.2 * field(16)
    return ((below * (1 - patches) + field(6) * patches) * 2 - 1).clamp(-1, 1)


def _pairs(components: Components, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Encode and decode pictures, one at a time, for what memory allows.

    They go through the guarded VAE: a map of what overflowed would be kept for good.

    Returns:
        Scaled latents ``(N, 4, h, w)`` and the colours ``(N, 3, h, w)`` that the VAE makes of them,
        averaged over each latent's area and held to -1..1.
    """
    vae = Vae(components)
    latents, colours = [], []
    for picture in pictures.split(1):
        encoded = vae.encode_signed(picture).mean * components.scaling_factor
        shown = to_signed(vae.decode(encoded)[0])
        size = (encoded.shape[-2], encoded.shape[-1])
        latents.append(encoded)
        colours.append(functional.interpolate(shown, size, mode="area"))
    return torch.cat(latents), torch.cat(colours)


def _least_squares(latents: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Solve colours = latents @ matrix + bias in fp64 on the CPU.

    Returns:
        ``(4, 3)`` and ``(3,)``.
    """
    rows = latents.permute(0, 2, 3, 1).reshape(-1, 4).numpy().astype(np.float64)
    targets = colours.permute(0, 2, 3, 1).reshape(-1, 3).numpy().astype(np.float64)
    design = np.hstack([rows, np.ones((len(rows), 1))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0].astype(np.float32)
    return torch.from_numpy(solution[:4].copy()), torch.from_numpy(solution[4].copy())


def _apply(latents: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """Give ``(B, 3, H/8, W/8)``, about -1 to 1."""
    return torch.einsum("bchw,cr->brhw", latents, matrix) + bias[:, None, None]


def _psnr(shown: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    error = float(((shown - true) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(4 / error)
