"""All pictures of a run, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import closing

from core.events import Event, Notice
from core.sampling.batch import Job, make_batch
from core.sampling.guidance import GuidanceSettings


def make_pictures(job: Job, wanted: Collection[int]) -> Iterator[Event]:
    """Make pictures, and say what holds for many batches once.

    Args:
        job: What to make.
        wanted: Indices of the pictures to give. What they are denoised together with is made too,
            so that they come out bit for bit as in the whole run.
    """
    said: set[Notice] = set()
    for pictures in _batches(job):
        if not set(pictures) & set(wanted):
            continue
        # Closed with this generator and not when the garbage collector comes by.
        with closing(make_batch(job, pictures, wanted)) as events:
            for event in events:
                if isinstance(event, Notice):
                    if event in said:
                        continue
                    said.add(event)
                yield event


def _batches(job: Job) -> Iterator[tuple[int, ...]]:
    """Give the indices of the pictures to denoise together.

    Prompts of one batch take as many chunks each, so that none is filled up with empty ones because
    of its neighbours, and so do their negative prompts. All of its pictures are guided, or none.
    """
    request = job.request
    embedded = job.components.identity.guidance_embedding
    chunks_of = job.experts[0].texts.chunks_of

    def shape_of(index: int) -> tuple[int, int]:
        prompt = chunks_of(request.prompt_of(index))
        if not GuidanceSettings.of(request, [index], embedded=embedded).is_used:
            return prompt, 0
        return prompt, max(prompt, chunks_of(request.negative_of(index)))

    for _, group in itertools.groupby(range(request.total), shape_of):
        indices = tuple(group)
        for first in range(0, len(indices), request.batch_size):
            yield indices[first : first + request.batch_size]
