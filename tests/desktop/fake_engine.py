"""An engine that acts out a script, for widget tests and screenshots. Imports no torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np

from core.events import (
    Event,
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Pixels,
    Preview,
    PreviewSettings,
    Step,
    TrainingEvent,
)
from core.request import DeviceName, MemoryMode, PreviewDecoder, Request
from core.training.caption_events import Captioned, CaptionEvent, CaptionsDone
from core.training.caption_request import CaptionRequest
from core.training.captions import caption_path, picture_paths, read_caption, write_caption
from core.training.config import TrainConfig
from tests.desktop.fake_training import FakeTraining


class FakeEngine:
    """Makes a disc out of noise in as many steps as asked.

    Attributes:
        requests: What was asked for, in order.
        trainings: What was to be learned, in order, and whether it was to go on.
        devices: Where it was to be learned.
        warmed: The models that were warmed up.
        closed: How many runs have been closed, finished or not.
        gate: While cleared, a run waits once it has done ``stop_at`` steps: a test can look at it.
        stop_at: See ``gate``.
        steps_done: Steps of the present run, over all its batches.
        batched: Whether the pictures of a request are made together or one after the other.
        error: Raised instead of the next run's first step; used once.
        fault: Raised at the next step; used once.
        notice: Said before the first step, if there is one.
        step_seconds: How long a step takes.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.trainings: list[tuple[TrainConfig, bool]] = []
        self.devices: list[DeviceName] = []
        self.warmed: list[str] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.stop_at = 0
        self.steps_done = 0
        self.batched = True
        self.error: Exception | None = None
        self.fault: Exception | None = None
        self.notice = ""
        self.step_seconds = 0.0
        self.thread: int | None = None

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> Generator[Event, None, None]:
        self.requests.append(request)
        self.steps_done = 0
        self.thread = threading.get_ident()
        try:
            yield from self._run(request, preview)
        finally:
            self.closed += 1

    def warm_up(self, model: str) -> Generator[Event, None, None]:
        yield Loading(what=f"the model {model}")
        self.warmed.append(model)

    def train(
        self, config: TrainConfig, *, resume: bool = False, device: DeviceName = DeviceName.AUTO
    ) -> Generator[TrainingEvent, None, None]:
        self.trainings.append((config, resume))
        self.devices.append(device)
        self.steps_done = 0
        try:
            yield Loading(what=f"the model {config.model}")
            if self.error:
                error, self.error = self.error, None
                raise error
            yield from FakeTraining(config, disc, self._pass_step).run(resume=resume)
        finally:
            self.closed += 1

    def caption(self, request: CaptionRequest) -> Generator[CaptionEvent, None, None]:
        yield Loading(what=f"the captioner {request.model}")
        pictures = picture_paths(request.folder)
        written = 0
        for index, picture in enumerate(pictures, 1):
            kept = None if request.overwrite else read_caption(picture)
            text = kept or request.settings.finished(f"a picture of {picture.stem}")
            if not kept:
                self._pass_step()
                write_caption(picture, text)
                written += 1
            yield Captioned(
                picture=picture,
                path=caption_path(picture),
                caption=text,
                kept=bool(kept),
                index=index,
                total=len(pictures),
                seconds=0.0,
            )
        kept_too = len(pictures) - written
        yield CaptionsDone(written=written, kept=kept_too, passed_over=0, seconds=0.0)

    def _pass_step(self) -> None:
        """Take a step, once the gate lets it through."""
        if self.steps_done >= self.stop_at:
            self.gate.wait(30)
        if self.fault:
            error, self.fault = self.fault, None
            raise error
        self.steps_done += 1
        time.sleep(self.step_seconds)

    def _run(self, request: Request, preview: PreviewSettings) -> Generator[Event, None, None]:
        yield Loading(what=f"the model {request.model}")
        yield MemoryEstimate(needed=42 * 10**6, free=21_600_000_000, mode=MemoryMode.FULL)
        if self.error:
            error, self.error = self.error, None
            raise error
        if self.notice:
            yield Notice(message=self.notice)
        began = time.perf_counter()
        everything = tuple(range(request.total))
        for pictures in (everything,) if self.batched else ((i,) for i in everything):
            yield from self._batch(request, preview, pictures)
        yield Finished(pictures=request.total, seconds=time.perf_counter() - began)

    def _batch(
        self, request: Request, preview: PreviewSettings, pictures: tuple[int, ...]
    ) -> Generator[Event, None, None]:
        began = time.perf_counter()
        for step in range(1, request.steps + 1):
            self._pass_step()
            part = step / request.steps
            yield Step(
                index=step,
                total=request.steps,
                pictures=pictures,
                total_pictures=request.total,
                seconds=time.perf_counter() - began,
                previews=()
                if preview.decoder is PreviewDecoder.OFF
                else tuple(
                    Preview(
                        picture=i,
                        pixels=disc(request.width // 8, request.height // 8, i, part),
                        decoder=preview.decoder,
                    )
                    for i in pictures
                ),
            )
        for left, i in reversed(list(enumerate(reversed(pictures)))):
            yield ImageReady(
                request=request,
                picture=i,
                seed=request.seed_of(i),
                pixels=disc(request.width, request.height, i, 1.0),
                seconds=time.perf_counter() - began,
                model_sha256="0" * 64,
                device="cpu",
                left=left,
            )


COLOURS = (
    ((222, 60, 66), (38, 70, 150)),
    ((240, 196, 60), (40, 44, 52)),
    ((72, 160, 110), (236, 230, 214)),
    ((150, 96, 200), (240, 190, 160)),
)


def disc(width: int, height: int, index: int, part: float) -> Pixels:
    """Give a disc on a ground, ``part`` of the way from noise to clean: ``(H, W, 3) uint8``."""
    front, back = COLOURS[index % len(COLOURS)]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    radius = 0.3 * min(width, height)
    centre = np.hypot(x - width * (0.42 + 0.05 * index), y - height * 0.52)
    inside = np.clip(radius - centre + 0.5, 0, 1)[..., None]
    clean = inside * np.array(front) + (1 - inside) * np.array(back)
    noise = np.random.default_rng(index).normal(128, 60, (height, width, 3))
    return np.clip(part * clean + (1 - part) * noise, 0, 255).astype(np.uint8)


def picture_file(path: Path, index: int = 0) -> Path:
    """Write a picture file without metadata."""
    from PIL import Image

    Image.fromarray(disc(96, 64, index, 1.0)).save(path)
    return path
