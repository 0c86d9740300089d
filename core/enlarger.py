"""Pictures made larger by an upscaler's file: the start of a run, or all that is asked for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.errors import InvalidRequest
from core.events import Event, Finished, ImageReady, Loading, Pixels, Step
from core.images.canvas import fitted
from core.models.upscaler import Upscaler, load_upscaler
from core.request import (
    MemoryMode,
    Precision,
    Request,
    Tiling,
    Upscale,
    enlarger_of,
    is_upscaler_file,
)
from core.sampling.enlarge import LARGEST, Enlargement


class Enlarger:
    """Keeps the last upscaler loaded."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._loaded: Upscaler | None = None

    def use(
        self, request: Request, device: torch.device
    ) -> Generator[Event, None, Upscaler | None]:
        """Give the upscaler that a request names, as ``find_upscaler`` found it, or None.

        Yields:
            ``Loading`` before its file is read.

        Raises:
            InvalidRequest: If the first pass's pictures are too large for it.
            CoreError: See ``load_upscaler``.
        """
        part = enlarger_of(request)
        if part is None or not is_upscaler_file(part.upscaler):
            self.forget()
        elif self._loaded is None or self._loaded.sha256 != part.upscaler_sha256:
            path = Path(part.upscaler)
            yield Loading(what=f"the upscaler {path.name}")
            self._loaded = load_upscaler(path, part.upscaler_sha256, device)
        if self._loaded is not None and not isinstance(request, Upscale):
            size = request.width, request.height
            _check_room("second_pass.upscaler", "The picture", size, self._loaded)
        return self._loaded

    def forget(self) -> None:
        """Give its memory back."""
        self._loaded = None


def start_of(
    request: Upscale, picture: Pixels, upscaler: Upscaler, pictures: Sequence[int]
) -> Generator[Event, None, Pixels]:
    """Make a start picture larger.

    Args:
        request: Says the size that is asked for; what the network makes is scaled to it, or only
            cropped where that takes less than 8 pixels of a side.
        picture: ``(h, w, 3) uint8``.
        upscaler: What makes it larger.
        pictures: Indices of what is made from it.

    Yields:
        A ``Step`` for each tile.

    Returns:
        ``(H, W, 3) uint8`` of the request's size.

    Raises:
        InvalidRequest: If it is too large for the network.
    """
    height, width = picture.shape[:2]
    _check_room("init_image", request.init_image, (width, height), upscaler)
    begin = time.perf_counter()
    enlargement = Enlargement(upscaler, picture)
    for done in enlargement:
        yield Step(
            index=done,
            total=enlargement.tiles,
            pictures=tuple(pictures),
            total_pictures=request.total,
            seconds=time.perf_counter() - begin,
        )
    return np.array(fitted(Image.fromarray(enlargement.result), request.width, request.height))


def finished(
    request: Upscale, picture: Pixels, upscaler: Upscaler, device: torch.device, only: int | None
) -> Generator[Event, None, None]:
    """Make a picture larger and no more; no model takes part.

    Yields:
        A ``Step`` for each tile, at once after the last an ``ImageReady`` for each picture, a
        ``Notice`` where the CPU had to help, and ``Finished``.
    """
    begin = time.perf_counter()
    indices = range(request.total) if only is None else [only]
    pixels = yield from start_of(request, picture, upscaler, indices)
    seconds = time.perf_counter() - begin
    for number, index in enumerate(indices, start=1):
        yield ImageReady(
            request=request,
            picture=index,
            seed=request.seed_of(index),
            pixels=pixels,
            seconds=seconds,
            model_sha256="",
            device=device.type,
            left=len(indices) - number,
        )
    yield from upscaler.notices()
    yield Finished(pictures=len(indices), seconds=time.perf_counter() - begin)


def without_a_choice(request: Upscale) -> Upscale:
    """Settle what a request that is not denoised leaves open; it changes nothing there."""
    return dataclasses.replace(
        request,
        batch_size=1,
        precision=Precision.FP32,
        memory=MemoryMode.FULL,
        vae_tiling=Tiling.OFF,
    )


def _check_room(field: str, what: str, size: tuple[int, int], upscaler: Upscaler) -> None:
    """Refuse a picture of which a network would make more than can be held."""
    width, height = size
    if width * height * upscaler.factor**2 > LARGEST:
        raise InvalidRequest(
            field,
            f"{what} has {width} x {height} pixels, of which {upscaler.path.name} makes "
            f"{upscaler.factor} times as many on a side, more than {LARGEST // 10**6} million in "
            "all; make it smaller first.",
        )
