"""Pictures and captions as a model encodes them, computed once where they come again."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.models.components import Components
from core.sampling.conditioning import Conditioning
from core.sampling.vae import Vae
from core.training.cache import TensorCache
from core.training.config_parts import DataSettings
from core.training.showing import Example, View, show
from core.training.texts import encode, most_tokens, tokens_of


class KeptEncodings:
    """Encodes with a loaded model, and keeps what it can in memory and, if wanted, on disk."""

    def __init__(self, components: Components, settings: DataSettings, cache: Path) -> None:
        """Use a model.

        Args:
            components: The model.
            settings: How pictures are shown.
            cache: Folder of what is kept, if the settings want one.
        """
        self._components = components
        self._settings = settings
        self._vae = Vae(components)
        self._pictures = TensorCache(cache / "latents" if settings.cache else None)
        self._texts = TensorCache(cache / "texts" if settings.cache else None)

    @property
    def fell_back(self) -> bool:
        """Whether fp32 had to help the VAE."""
        return self._vae.fell_back

    def picture(self, example: Example, view: View) -> dict[str, Tensor]:
        """Give a picture's latents, unscaled, and its mask if one is used.

        Returns:
            ``mean`` and ``std``, ``(1, 4, H/8, W/8)``, and ``mask``, ``(1, 1, H/8, W/8)``, 0 to 1.

        Raises:
            DatasetInvalid: If the picture has gone or changed.
            ModelInvalid: If the VAE's answer is not finite.
        """
        is_masked = self._settings.use_masks
        key = {
            "picture": example.sha256,
            "mask": (example.mask_sha256 or "alpha") if is_masked else "",
            "scaled": view.fit.scaled,
            "bucket": view.fit.bucket,
            "crop": view.crop,
            "flip": view.flip,
            "background": view.background.lower(),
            "vae": self._components.vae_sha256,
            "dtype": str(self._components.dtype),
        }

        def compute() -> dict[str, Tensor]:
            pixels, greys = show(example, view, masked=is_masked)
            encoded = self._vae.encode(pixels)
            tensors = {"mean": encoded.mean, "std": encoded.std}
            if greys is not None:
                whole = torch.from_numpy(greys).float()[None, None] / 255
                scale = self._components.identity.vae_scale
                tensors["mask"] = F.avg_pool2d(whole, scale)  # (1, 1, H/8, W/8)
            return tensors

        # A crop by chance hardly comes twice.
        if not view.fit.is_fixed(self._settings.crop):
            return compute()
        return self._pictures.get(key, compute)

    def text(self, caption: str) -> Conditioning:
        """Encode a caption by itself, so that it does not depend on its neighbours.

        Returns:
            A batch of one, on the CPU, in the model's number format.

        Raises:
            ModelInvalid: If an encoder's answer is not finite.
        """
        rows = tokens_of(self._components, caption)[: most_tokens(self._components)]
        key = {
            "tokens": rows,
            "model": self._components.sha256,
            "dtype": str(self._components.dtype),
        }

        @torch.no_grad()
        def compute() -> dict[str, Tensor]:
            encoded = encode(self._components, [caption], check=True)
            parts = {"text": encoded.text, "pooled": encoded.pooled}
            return {name: part.cpu() for name, part in parts.items() if part is not None}

        # Tags in another order are another caption, too many to be kept for good.
        on_disk = not self._settings.shuffle_tags
        return Conditioning(**self._texts.get(key, compute, on_disk=on_disk))
