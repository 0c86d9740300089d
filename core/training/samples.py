"""Pictures that show what has been learned so far, drawn as any others are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from core.events import Event, ImageReady, PreviewSettings, Sample, TrainingEvent
from core.files import replace_file
from core.images.writing import encode_pixels
from core.models.components import Components
from core.models.control import ControlNets
from core.request import PreviewDecoder, TextToImage
from core.sampling.batch import Job, check_plans
from core.sampling.batches import make_pictures
from core.sampling.expert import Expert
from core.sampling.linear_preview import Decode
from core.sampling.preview import make_decoder
from core.sampling.text import TextEmbeddings
from core.sampling.towers import Vectors
from core.sampling.vae import Vae
from core.training.config import TrainConfig
from core.training.folder import Folder
from core.training.student import Student


def sample_request(config: TrainConfig, components: Components) -> TextToImage | None:
    """Say what the samples of a training are; None if it wants none."""
    samples, identity = config.samples, components.identity
    if not samples.prompts:
        return None
    side = config.data.resolution
    return TextToImage(
        model=config.model,
        prompts=samples.prompts,
        negative_prompt=samples.negative_prompt,
        steps=samples.steps or identity.defaults.steps,
        guidance_scale=samples.guidance_scale or identity.defaults.guidance_scale,
        scheduler=identity.defaults.scheduler,
        width=side or identity.width,
        height=side or identity.height,
        seed=samples.seed,
        batch_size=1,
    )


class Sampler:
    """Draws a model's samples while it learns."""

    def __init__(self, cache: Path) -> None:
        """Draw nothing yet.

        Args:
            cache: Folder in which a preview's fit is kept.
        """
        self._cache = cache
        self._decode: Decode | None = None

    def draw(
        self, request: TextToImage, student: Student, folder: Folder, step: int
    ) -> Iterator[TrainingEvent]:
        """Draw a row of samples with the weights as they are.

        Args:
            request: What they show.
            student: What learns.
            folder: Where they go.
            step: How many steps it has learned.

        Yields:
            ``Step`` with previews, and ``Sample`` for each picture.

        Raises:
            SaveFailed: If one cannot be written.
        """
        for event in self._pictures(request, student, student.vectors):
            if not isinstance(event, ImageReady):
                yield event
                continue
            path = folder.sample(step, event.picture)
            replace_file(path, encode_pixels(event.pixels))
            yield Sample(step=step, prompt=event.picture, path=path, pixels=event.pixels)

    def _pictures(
        self, request: TextToImage, student: Student, vectors: Vectors
    ) -> Iterator[Event]:
        held: Mapping[str, Mapping[str, torch.Tensor]] = {
            word: {name: rows.detach() for name, rows in of.items()} for word, of in vectors.items()
        }
        components = student.components
        if self._decode is None:
            self._decode = make_decoder(PreviewDecoder.LINEAR, components, self._cache)
        job = Job(
            request=request,
            experts=(Expert(components, TextEmbeddings(components, held)),),
            scheduler_config=components.scheduler_config,
            vae=Vae(components),
            preview=PreviewSettings(),
            decode=self._decode,
            preview_costs={},
            start=None,
            nets=ControlNets(components),
            maps=((),),
        )
        check_plans(job)
        # Where half precision overflows, sampling brings the UNet to fp32 and back, what learns in
        # fp32 included.
        half = components.dtype is not torch.float32
        learned = student.learned() if half else {}
        exact = {name: weights.data.clone() for name, weights in learned.items()}
        student.eval()
        try:
            yield from make_pictures(job, range(request.total))
        finally:
            for name, weights in learned.items():
                weights.data = exact[name]
            student.train()
