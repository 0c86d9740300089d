"""All pictures of a run, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import closing

from core.events import Event, Notice
from core.sampling.batch import Job, make_batch


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
    of its neighbours.
    """
    request, texts = job.request, job.experts[0].texts
    alike = itertools.groupby(
        range(request.total), lambda index: texts.chunks_of(request.prompt_of(index))
    )
    for _, group in alike:
        indices = tuple(group)
        for first in range(0, len(indices), request.batch_size):
            yield indices[first : first + request.batch_size]
