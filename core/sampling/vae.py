"""Between pictures and latents, with the guard that half precision needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import ModelInvalid
from core.events import Pixels
from core.models.components import Components, change_dtype
from core.sampling import tiled_vae
from core.sampling.start import EncodedPicture


class Vae:
    """A loaded model's VAE.

    Stable Diffusion's VAE is known to overflow in fp16 on some pictures. What is not finite is
    computed again in fp32, by itself each time, so that no picture depends on the one before.

    Attributes:
        fell_back: Whether fp32 ever had to help.
    """

    def __init__(
        self, components: Components, *, tiled: bool = False, one_by_one: bool = False
    ) -> None:
        """Use ``components``' VAE.

        Args:
            components: The loaded model.
            tiled: Whether pictures larger than a tile go through it in tiles.
            one_by_one: Whether the pictures of a batch go through it one after the other.
        """
        self._components = components
        self._tiled = tiled
        self._one_by_one = one_by_one
        self.fell_back = False

    @torch.inference_mode()
    def encode(self, pixels: Pixels) -> EncodedPicture:
        """Encode a picture.

        Args:
            pixels: ``(H, W, 3) uint8``.

        Raises:
            ModelInvalid: If the VAE's answer is not finite in fp32 either.
        """
        return self.encode_signed(to_signed(pixels))

    @torch.inference_mode()
    def encode_signed(self, picture: Tensor) -> EncodedPicture:
        """Encode a picture in the VAE's own range.

        Args:
            picture: ``(1, 3, H, W)``, fp32, -1 to 1.

        Raises:
            ModelInvalid: If the VAE's answer is not finite in fp32 either.
        """
        scale = self._components.identity.vae_scale
        in_tiles = self._tiled and tiled_vae.is_large(picture, scale)

        def encode_in(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            signed = picture.to(self._components.device, dtype)
            if in_tiles:
                distribution = tiled_vae.encode(self._components.vae, signed, scale)
            else:
                distribution = self._components.vae.encode(signed).latent_dist
            return to_cpu(distribution.mean), to_cpu(distribution.std)

        mean, std = self._guarded(encode_in)
        return EncodedPicture(mean, std, self._components.scaling_factor)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Decode latents.

        Args:
            latents: ``(B, 4, H/8, W/8)``, scaled.

        Returns:
            ``(B, H, W, 3) uint8``.

        Raises:
            ModelInvalid: If the VAE's answer is not finite in fp32 either.
        """
        unscaled = latents / self._components.scaling_factor
        in_tiles = self._tiled and tiled_vae.is_large(latents, 1)

        def decode_in(dtype: torch.dtype) -> tuple[Tensor]:
            moved = unscaled.to(self._components.device, dtype)
            if in_tiles:
                scale = self._components.identity.vae_scale
                return (tiled_vae.decode(self._components.vae, moved, scale),)
            parts = moved.split(1) if self._one_by_one else (moved,)
            decoded = [self._components.vae.decode(part, return_dict=False)[0] for part in parts]
            return (torch.cat([to_cpu(pictures) for pictures in decoded]),)

        return to_pixels(self._guarded(decode_in)[0])

    def _guarded(self, compute: Callable[[torch.dtype], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Compute in the model's number format and, if that is not finite, in fp32."""
        dtype = self._components.dtype
        results = compute(dtype)
        if not _are_finite(results) and dtype is not torch.float32:
            self.fell_back = True
            change_dtype(self._components.vae, torch.float32)
            try:
                results = compute(torch.float32)
            finally:
                change_dtype(self._components.vae, dtype)
        if not _are_finite(results):
            raise ModelInvalid(
                f"The VAE of {self._components.identity.path} gives numbers that are not finite; "
                "its weights are damaged, copy them again."
            )
        return results


def to_signed(pixels: Pixels) -> Tensor:
    """Bring a picture to the VAE's range.

    Args:
        pixels: ``(H, W, 3) uint8``.

    Returns:
        ``(1, 3, H, W)``, fp32, -1 to 1.
    """
    unit = torch.from_numpy(pixels.astype(np.float32) / 255.0)
    # Left in the picture's own order of bytes (channels last), as diffusers' pipelines leave it.
    return (2.0 * unit - 1.0)[None].permute(0, 3, 1, 2)


def to_pixels(signed: Tensor) -> npt.NDArray[np.uint8]:
    """Bring the VAE's pictures to bytes.

    Args:
        signed: ``(B, 3, H, W)``, fp32, about -1 to 1; what lies beyond is clipped.

    Returns:
        ``(B, H, W, 3) uint8``, C-contiguous.
    """
    unit = (signed * 0.5 + 0.5).clamp(0, 1)
    pixels: npt.NDArray[np.uint8] = (
        (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    )
    return pixels


def to_cpu(values: Tensor) -> Tensor:
    """Bring a result to fp32 on the CPU."""
    return values.to("cpu", torch.float32)


def _are_finite(results: tuple[Tensor, ...]) -> bool:
    return all(bool(torch.isfinite(values).all()) for values in results)
