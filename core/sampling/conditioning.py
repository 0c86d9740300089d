"""What a denoiser is told beside the latents and the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.models.identify import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """A batch's prompts, and the numbers that some models want beside them.

    Attributes:
        text: ``(B, T, D)``, the text encoders' hidden states.
        pooled: ``(B, P)``, each text as one vector; None for a UNet that does not read it.
        sizes: ``(B, 6)``, fp32: the height and width that the picture is said to have had, the top
            and left of its crop, and its height and width now, in pixels (Podell et al. 2023,
            arXiv:2307.01952, section 2.2); for SDXL's refiner ``(B, 5)``, with its score in the
            place of the last two; None for a UNet that is not told.
        guidance: ``(B, G)``, fp32, see ``guidance_embedding``; None for a UNet that is not told.
    """

    text: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None
    guidance: Tensor | None = None

    def __len__(self) -> int:
        """Give B."""
        return len(self.text)

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """Do the same to every tensor there is."""
        changed = {
            field.name: change(value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return Conditioning(**changed)

    def expand(self, count: int) -> Conditioning:
        """Repeat a batch of one ``count`` times, without a copy."""
        return self.map(lambda values: values.expand(count, *values.shape[1:]))


def joined(parts: Sequence[Conditioning]) -> Conditioning:
    """Put batches of the same model one after another."""
    together = {}
    for field in dataclasses.fields(Conditioning):
        values = [getattr(part, field.name) for part in parts]
        if values[0] is not None:
            together[field.name] = torch.cat(values)
    return Conditioning(**together)


BEAUTIFUL, UGLY = 6.0, 2.5
"""The scores of what is to be seen in a picture and of what guidance leads away from, of 0 to 10,
with which SDXL's refiner was published."""


def with_numbers(
    texts: Conditioning,
    identity: Identity,
    *,
    size: tuple[int, int],
    guidance_scales: Sequence[float],
    score: float = BEAUTIFUL,
) -> Conditioning:
    """Add the numbers that a model's UNet wants beside its texts.

    Args:
        texts: The texts alone.
        identity: The model.
        size: Width and height of the pictures, in pixels. They are said to be whole pictures of
            this size, as in diffusers' pipelines.
        guidance_scales: Of each picture, as of ``TextToImage``.
        score: How beautiful the pictures are said to be, for a UNet that is told.
    """
    sizes = guidance = None
    if identity.needs_size:
        width, height = size
        now = (score,) if identity.is_scored else (height, width)
        sizes = torch.tensor([[height, width, 0, 0, *now]], dtype=torch.float32)
        sizes = sizes.expand(len(texts), -1)
    if identity.guidance_embedding:
        wide = identity.configs["unet"]["time_cond_proj_dim"]
        guidance = guidance_embedding(guidance_scales, wide)
    return dataclasses.replace(texts, sizes=sizes, guidance=guidance)


def guidance_embedding(guidance_scales: Sequence[float], width: int) -> Tensor:
    """Give the guidance as a distilled UNet reads it.

    Luo et al. 2023, arXiv:2310.04378, section 4.3, after Meng et al. 2022, arXiv:2210.03142: sines
    and cosines of 1000 w. The paper's w is 0 without guidance, where Stable Diffusion's scale is 1.

    Args:
        guidance_scales: Of B pictures, as of ``TextToImage``.
        width: Numbers of the embedding.

    Returns:
        ``(B, width)``, fp32, on the CPU.
    """
    w = torch.tensor([scale - 1.0 for scale in guidance_scales]) * 1000.0
    half = width // 2
    # The arguments go up to 99000, so a bit of a frequency is seen in its sine; this order of
    # operations is that of the models' training code.
    decay = torch.log(torch.tensor(10000.0)) / (half - 1)
    angles = w[:, None] * torch.exp(torch.arange(half, dtype=torch.float32) * -decay)[None]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width - 2 * half))
