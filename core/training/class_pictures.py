"""Pictures of a class, made by the model before it learns, by which it remembers the class.

Ruiz et al. 2022, arXiv:2208.12242, section 3.2.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from core.errors import InvalidRequest
from core.events import (
    Engine,
    ImageReady,
    Notice,
    Prepared,
    PreviewSettings,
    Saved,
    TrainingEvent,
)
from core.files import replace_file
from core.images.reading import read_picture, sha256_of
from core.images.writing import encode_picture
from core.models.identify import Identity
from core.request import MAX_SEED, TextToImage
from core.training.config import DreamBooth
from core.training.order import derived
from core.training.showing import Example

AT_ONCE = 8
"""Pictures denoised together at most."""


def class_pictures(
    config: DreamBooth, identity: Identity, sha256: str, engine: Engine, cache: Path, side: int
) -> Generator[TrainingEvent, None, tuple[Example, ...]]:
    """Have a model's pictures of the class, those made before included.

    Args:
        config: What is trained.
        identity: The model.
        sha256: Hash of its weights: another model has pictures of its own.
        engine: What makes them.
        cache: Folder in which they are kept, by what they were made with.
        side: Of the pictures, in pixels.

    Yields:
        The engine's events, ``Saved`` for each picture and ``Prepared`` for how far it is.

    Returns:
        The pictures, as many as are asked for.

    Raises:
        CoreError: If one cannot be made or written.
    """
    request = TextToImage(
        model=config.model,
        prompts=(config.class_prompt,),
        steps=identity.defaults.steps,
        guidance_scale=identity.defaults.guidance_scale,
        scheduler=identity.defaults.scheduler,
        width=side,
        height=side,
        seed=derived(config.seed, "class") % (MAX_SEED + 1 - 10_000),
    )
    folder = cache / "class-pictures" / _name(request, sha256)
    paths = [folder / f"{number:05d}.png" for number in range(config.class_images)]
    missing = [number for number, path in enumerate(paths) if not _is_whole(path)]
    if missing:
        count = "1 picture" if len(missing) == 1 else f"{len(missing)} pictures"
        yield Notice(
            message=f"The model draws {count} of {config.class_prompt!r}, to remember what it "
            f"knows of that; kept in {folder}."
        )
    while missing:
        # In rows that follow one another, as the seeds of one request do.
        row = [n for k, n in enumerate(missing[:AT_ONCE]) if n == missing[0] + k]
        some = dataclasses.replace(request, seed=request.seed + row[0], count=len(row))
        with closing(engine.generate(some, preview=PreviewSettings())) as events:
            for event in events:
                yield event
                if isinstance(event, ImageReady):
                    path = paths[row[event.picture]]
                    replace_file(path, encode_picture(event))
                    yield Saved(path=path, image=event)
        missing = missing[len(row) :]
        done = config.class_images - len(missing)
        yield Prepared(what="class pictures", index=done, total=config.class_images)
    # Two that look alike count both: the person asked for so many.
    return tuple(
        Example(
            path=path,
            caption=config.class_prompt,
            width=side,
            height=side,
            sha256=sha256_of(path, field="class_images"),
        )
        for path in paths
    )


def _is_whole(path: Path) -> bool:
    """Whether a picture is there and can be read."""
    try:
        read_picture(path, field="class_images")
    except InvalidRequest:
        return False
    return True


def _name(request: TextToImage, sha256: str) -> str:
    """Name what pictures were made with."""
    words = (
        sha256,
        request.prompts[0],
        request.seed,
        request.steps,
        request.guidance_scale,
        str(request.scheduler),
        request.width,
        request.height,
    )
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
