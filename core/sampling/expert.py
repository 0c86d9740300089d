"""A network that has a part of a run's noise, with what it is told.

Most runs have one from beginning to end. SDXL's have two, where a refiner is asked for; see
``core.models.refiner_file``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from core.models.components import Components
from core.request import Request
from core.sampling.conditioning import BEAUTIFUL, UGLY, Conditioning, joined, with_numbers
from core.sampling.guidance import Denoiser, Guidance, GuidanceSettings
from core.sampling.text import TextEmbeddings


@dataclass(frozen=True, slots=True)
class Expert:
    """A loaded model at work in a run.

    Attributes:
        components: Its modules.
        texts: The prompts, as its text encoders read them.
    """

    components: Components
    texts: TextEmbeddings

    def guidance(
        self,
        denoiser: Denoiser,
        request: Request,
        pictures: tuple[int, ...],
        *,
        size: tuple[int, int],
        before: Callable[[Tensor, float], None] | None = None,
    ) -> Guidance:
        """Tell a denoiser what is to be seen in pictures.

        Args:
            denoiser: Predicts by this model's UNet.
            request: What is made.
            pictures: Indices of the pictures, which are denoised together.
            size: Their width and height, in pixels.
            before: See ``Guidance``.
        """
        identity = self.components.identity
        settings = GuidanceSettings.of(request, pictures, embedded=identity.guidance_embedding)
        if identity.exported is not None and identity.exported.of("unet"):
            # It computes as many rows as it was made for, whatever it is given.
            settings = dataclasses.replace(settings, one_by_one=False)
        prompts = [request.prompt_of(i) for i in pictures]
        negatives = [request.negative_of(i) for i in pictures] if settings.is_used else []
        # The UNet takes both halves of the batch at one length.
        chunks = max(self.texts.chunks_of(text) for text in (*prompts, *negatives))
        positive = self.texts.of(prompts, chunks=chunks)
        negative: Conditioning | None = None
        if settings.is_used:
            negative = joined([self.texts.negative_of(text, chunks=chunks) for text in negatives])

        def told(texts: Conditioning, score: float) -> Conditioning:
            scales = [request.guidance_of(i) for i in pictures]
            return with_numbers(texts, identity, size=size, guidance_scales=scales, score=score)

        return Guidance(
            denoiser,
            settings,
            positive=told(positive, BEAUTIFUL),
            negative=None if negative is None else told(negative, UGLY),
            before=before,
        )
