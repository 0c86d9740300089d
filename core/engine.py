"""The torch engine: a request in, an iterator of events out."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_never

import numpy as np
import torch

from core import coreai
from core.compute_units import AUTO, units_of
from core.coreml import CoreML
from core.coreml_folder import ExportFormat
from core.device import (
    as_out_of_memory,
    dtype_of,
    free_memory,
    release_cached_memory,
    resolve_device,
    resolve_precision,
)
from core.enlarger import Enlarger, finished, start_of, without_a_choice
from core.errors import InvalidRequest, OutOfMemory, PartNotLoaded, Unsupported
from core.events import (
    Event,
    EventStream,
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Pixels,
    PreviewSettings,
    Stream,
    TrainingEvent,
)
from core.images.canvas import Canvas, canvas_of
from core.images.reading import read_picture, read_start_image, sha256_of
from core.loaded import LoadedModel, ModelKey
from core.models import replacement_vae, single_file
from core.models.adapters import with_files
from core.models.catalog import resolve
from core.models.control_file import Controls, find_controls
from core.models.exported import Exported
from core.models.exported_limits import (
    check_length,
    control_refusal_here,
    refusal_here,
    settled_for,
    usual_units_of,
)
from core.models.exported_source import source_of, stand_in_for
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity, identify
from core.models.load import load
from core.models.load_exported import Open, Way, load_exported
from core.models.names import Resolver, no_names
from core.models.refiner_file import find_refiner
from core.models.taught import Teaching, lora_teaching, model_teaching
from core.models.upscaler_file import find_upscaler
from core.paths import Profile
from core.request import (
    DeviceName,
    ImageToImage,
    Inpaint,
    MemoryMode,
    Outpaint,
    PreviewDecoder,
    Request,
    TextToImage,
    Tiling,
    Upscale,
    enlarger_of,
    is_upscaler_file,
)
from core.request_checks import check_unchanged
from core.sampling import memory
from core.sampling.batch import Job, check_plans
from core.sampling.batches import make_pictures
from core.sampling.inpaint import Area, area_of
from core.sampling.served import base_alone, check_served, ignored, plain_words, unused_words
from core.sampling.settle import settled
from core.sampling.text import TextEmbeddings
from core.sampling.vae import Vae
from core.training.config import TrainConfig

ImageToImageT = TypeVar("ImageToImageT", bound=ImageToImage)


class TorchEngine:
    """Makes pictures with torch, see ``core.events.Engine``; keeps the last model loaded."""

    def __init__(
        self,
        device: DeviceName = DeviceName.AUTO,
        *,
        cache: Path | None = None,
        find_lora: Resolver = no_names,
        find_embedding: Resolver = no_names,
        find_vae: Resolver = no_names,
        find_control: Resolver = no_names,
        find_upscaler: Resolver = no_names,
        open_part: Open | None = None,
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            device: Where to compute.
            cache: Folder of what can be computed again; None for the user's own.
            find_lora: Gives the file of a LoRA that a request or a prompt names.
            find_embedding: The same of embeddings.
            find_vae: The same of VAEs.
            find_control: The same of ControlNets.
            find_upscaler: The same of upscalers.
            open_part: What runs the parts of exported models; None for this system's own.
        """
        self._device_name = device
        self._find_lora = find_lora
        self._find_embedding = find_embedding
        self._find_vae = find_vae
        self._find_control = find_control
        self._find_upscaler = find_upscaler
        self._cache = Profile.default().cache if cache is None else cache
        self._fingerprints = Fingerprints.kept_in(self._cache)
        self._open_part = open_part
        self._loaded: LoadedModel | None = None
        self._enlarger = Enlarger()
        self._in_picture = False

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures; see ``core.events.Engine.generate``."""
        return self._guarded(self._generate(request, preview, only))

    def warm_up(self, model: str) -> EventStream:
        """Load a model in its usual precision, as far as memory allows.

        See ``core.events.Engine.warm_up``.
        """
        return self._guarded(self._warm_up(model))

    def train(self, config: TrainConfig, *, resume: bool = False) -> Stream[TrainingEvent]:
        """Teach a model; see ``core.events.Trainer.train``."""
        return self._train(config, resume=resume)

    def _train(self, config: TrainConfig, *, resume: bool) -> Generator[TrainingEvent, None, None]:
        # Imported here: pictures alone need none of it.
        from core.training.loop import Place, train

        device = resolve_device(self._device_name)
        self._forget(device)
        place = Place(device, self._cache, self, forget=partial(self._forget, device))
        yield from train(config, place, resume=resume)

    def _guarded(self, events: Iterator[Event]) -> Generator[Event, None, None]:
        """Name memory that ran out, and give memory back at the end, however it comes."""
        device = resolve_device(self._device_name)
        self._in_picture = False
        try:
            yield from events
        except (RuntimeError, MemoryError) as error:
            out_of_memory = as_out_of_memory(error, in_picture=self._in_picture)
            if out_of_memory is None:
                raise
            self._forget(device)
            raise out_of_memory from error
        finally:
            release_cached_memory(device)

    def _warm_up(self, name: str) -> Iterator[Event]:
        device = resolve_device(self._device_name)
        identity = identify(resolve(name))
        usual = TextToImage(model=name, prompts=("",), width=identity.width, height=identity.height)
        usual, key = self._with_key(usual, identity, device)
        try:
            request, _ = memory.fitted(usual, identity, self._room(key))
        except OutOfMemory:
            # Nothing was asked for yet; what is missing is told when a picture is.
            return
        if not self._has(key):
            yield Loading(what=f"the model {name}")
        loaded = yield from self._load(key, request)
        yield from loaded.decoder(PreviewDecoder.LINEAR, self._cache)
        loaded.texts.of([""])

    def _generate(
        self, request: Request, preview: PreviewSettings, only: int | None
    ) -> Iterator[Event]:
        """Carry out a request; if its exported model does not start, with the one behind it."""
        try:
            yield from self._carry_out(request, preview, only)
            return
        except PartNotLoaded as error:
            other, why = stand_in_for(request), str(error)
            if not other:
                raise
        yield Notice(message=f"{why} {other}, which it was made from, is taken instead.")
        request = dataclasses.replace(request, model=other, compute_units=AUTO)
        yield from self._carry_out(request, preview, only)

    def _carry_out(
        self, request: Request, preview: PreviewSettings, only: int | None
    ) -> Iterator[Event]:
        begin = time.perf_counter()
        if only is not None and not 0 <= only < request.total:
            raise InvalidRequest("only", f"{only} is none of the {request.total} pictures.")
        device = resolve_device(self._device_name)
        if isinstance(request, Upscale) and not request.denoises:
            yield from self._enlarge(request, device, only)
            return
        request, start = _read_start(settled(request, self._find_lora))
        request = with_files(
            request,
            fingerprints=self._fingerprints,
            find_lora=self._find_lora,
            find_embedding=self._find_embedding,
            find_vae=self._find_vae,
        )
        request, _ = find_upscaler(
            request, fingerprints=self._fingerprints, find=self._find_upscaler
        )
        identity = identify(resolve(request.model))
        check_served(request, identity)
        request, key = self._with_key(request, identity, device)
        for notice in filter(None, (ignored(request, identity), plain_words(request))):
            yield Notice(message=notice)
        if (teaching := _teaching(request, identity)) and (
            doubts := teaching.doubts(request.scheduler)
        ):
            yield Notice(message=doubts)
        request, controls = find_controls(
            request,
            identity,
            start if isinstance(start, Canvas) else None,
            fingerprints=self._fingerprints,
            find=self._find_control,
        )
        self._check_runs_here(controls)
        request, refiner = find_refiner(request, identity, fingerprints=self._fingerprints)
        if notice := base_alone(request):
            yield Notice(message=notice)
        if not self._has(key):
            if request.vae and (doubts := replacement_vae.doubts_of(Path(request.vae), identity)):
                yield Notice(message=doubts)
            if identity.single_file and (doubts := single_file.doubts_of(identity.path)):
                yield Notice(message=doubts)
            yield Loading(what=f"the model {request.model}")
            self._forget(device)
        asked = request
        added = (controls, refiner)
        request = yield from self._fitted(asked, key, *added)
        left = set(range(request.total)) if only is None else {only}
        made = len(left)
        try:
            yield from self._make(request, key, preview, start, *added, left)
        except (RuntimeError, MemoryError) as error:
            lower = memory.lower(asked, request, identity)
            if as_out_of_memory(error) is None or lower is None:
                raise
            request = lower
        # Behind the handler, whose error holds on to what the run had in memory.
        if left:
            self._forget(device)
            yield Notice(
                message="The device ran out of memory; what was not finished is made anew with "
                "memory low, one picture at a time, which is slower and may differ in its last "
                "bits."
            )
            yield Loading(what=f"the model {request.model}")
            yield from self._make(request, key, preview, start, *added, left)
        yield Finished(pictures=made, seconds=time.perf_counter() - begin)

    def _make(
        self,
        request: Request,
        key: ModelKey,
        preview: PreviewSettings,
        start: Pixels | Canvas | None,
        controls: Controls,
        refiner: Identity | None,
        left: set[int],
    ) -> Iterator[Event]:
        """Make pictures of a request that leaves nothing to choose; they are taken out of ``left``.

        Args:
            request: What to make.
            key: The model.
            preview: How it is watched.
            start: What the pictures begin from, if not from noise.
            controls: What leads them.
            refiner: What takes over from the model, or None.
            left: Indices of the pictures.
        """
        upscaler = yield from self._enlarger.use(request, resolve_device(self._device_name))
        self._in_picture = False
        loaded = yield from self._load(key, request)
        _check_lengths(request, loaded.texts, key.identity, led=bool(controls.exported))
        yield from loaded.use(request, controls.files, refiner, self._opening)
        if notice := unused_words(request, loaded.adapters.words):
            yield Notice(message=notice)
        decode = yield from loaded.decoder(preview.decoder, self._cache)
        self._in_picture = True
        vae = Vae(
            loaded.components,
            tiled=request.vae_tiling is Tiling.ON,
            one_by_one=request.memory is MemoryMode.LOW,
        )
        if start is not None:
            yield Loading(what="the start picture")
        canvas = start if isinstance(start, Canvas) else None
        for notice in canvas.notices if canvas else ():
            yield Notice(message=notice)
        teaching = _teaching(request, key.identity)
        config = loaded.components.scheduler_config
        job = Job(
            request=request,
            experts=loaded.experts,
            scheduler_config=teaching.on(config, request) if teaching else config,
            vae=vae,
            preview=preview,
            decode=decode,
            preview_costs=loaded.preview_costs,
            start=None,
            canvas=canvas,
            nets=loaded.nets,
            maps=controls.maps,
            upscaler=upscaler,
        )
        check_plans(job)
        pixels = start.start() if isinstance(start, Canvas) else start
        if isinstance(request, Upscale) and upscaler is not None and pixels is not None:
            pixels = yield from start_of(request, pixels, upscaler, sorted(left))
            yield from upscaler.notices()
        if pixels is not None:
            area = _area_of(canvas, pixels, vae, key.identity)
            job = dataclasses.replace(job, start=vae.encode(pixels), area=area)
        for event in make_pictures(job, frozenset(left)):
            if isinstance(event, ImageReady):
                left.discard(event.picture)
            yield event

    def _enlarge(self, request: Upscale, device: torch.device, only: int | None) -> Iterator[Event]:
        """Make a picture larger by an upscaler alone."""
        request = without_a_choice(request)
        read, picture = _read_start(request)
        found, _ = find_upscaler(read, fingerprints=self._fingerprints, find=self._find_upscaler)
        upscaler = yield from self._enlarger.use(found, device)
        assert isinstance(found, Upscale)
        assert upscaler is not None
        assert isinstance(picture, np.ndarray)
        yield from finished(found, picture, upscaler, device, only)

    def _has(self, key: ModelKey) -> bool:
        return self._loaded is not None and self._loaded.key == key

    def _with_key(
        self, request: Request, identity: Identity, device: torch.device
    ) -> tuple[Request, ModelKey]:
        """Settle in which format and on which processors a request is computed.

        Returns:
            The request, and what its model is loaded from.

        Raises:
            Unsupported: If the device cannot compute so, or this system not run the model.
            CoreError: See ``source_of``.
        """
        exported = identity.exported
        refusal = "" if exported is None or self._open_part else refusal_here(exported)
        if refusal:
            raise Unsupported(refusal)
        request = settled_for(request, identity)
        precision = resolve_precision(request.precision, device)
        request = dataclasses.replace(request, precision=precision)
        source = source_of(identity, vae=request.vae)
        return request, ModelKey.for_request(request, identity, source)

    def _check_runs_here(self, controls: Controls) -> None:
        """Refuse exported ControlNets that this system does not run."""
        for control in () if self._open_part else controls.exported:
            if refusal := control_refusal_here(control.format, control.path):
                raise Unsupported(refusal)

    def _load(self, key: ModelKey, request: Request) -> Generator[Event, None, LoadedModel]:
        """Give the model, from memory or else from its files in place of the one before."""
        low = request.memory is MemoryMode.LOW
        if self._loaded is None or not self._has(key):
            device = self._device_of(key)
            self._forget(device)
            how: dict[str, Any] = {
                "device": device,
                # What is handed from one exported part to the next need not be rounded.
                "dtype": torch.float32 if key.computes_by_itself else dtype_of(key.precision),
                "fingerprints": self._fingerprints,
                "vae": Path(key.vae) if key.vae else None,
                "one_at_a_time": low,
            }
            if key.identity.exported is None:
                components = load(key.identity, **how)
            else:
                way = self._way_of(key, key.identity.exported)
                components = yield from load_exported(key.identity, way, source=key.source, **how)
            self._loaded = LoadedModel.of(key, components)
        self._loaded.components.residence.swap(one_at_a_time=low)
        return self._loaded

    def _way_of(self, key: ModelKey, exported: Exported) -> Way:
        units = units_of(key.units, usual_units_of(key.identity))
        return Way(open=self._opening(exported.format), units=units, function=key.function)

    def _opening(self, kind: ExportFormat) -> Open:
        """Give what runs the parts of exported models, on this system if nothing else is given."""
        if self._open_part is not None:
            return self._open_part
        match kind:
            case ExportFormat.COREML:
                return CoreML(self._cache, self._fingerprints).open
            case ExportFormat.COREAI:
                return coreai.open_part
        assert_never(kind)

    def _device_of(self, key: ModelKey) -> torch.device:
        """Give where torch computes what it computes of a model."""
        name = DeviceName.CPU if key.computes_by_itself else self._device_name
        return resolve_device(name)

    def _forget(self, device: torch.device) -> None:
        """Give the loaded model's memory back, and the upscaler's."""
        self._enlarger.forget()
        if self._loaded is not None:
            self._loaded = None
            gc.collect()
            release_cached_memory(device)

    def _room(self, key: ModelKey) -> memory.Room:
        """Give the memory there is for a job of a model."""
        device = self._device_of(key)
        return memory.Room(
            free=free_memory(device),
            held=self._loaded.held if self._loaded is not None and self._has(key) else 0,
            attention_in_full=device.type == "mps",
        )

    def _fitted(
        self,
        request: Request,
        key: ModelKey,
        controls: Controls,
        refiner: Identity | None,
    ) -> Generator[Event, None, Request]:
        """Settle what the request left open, by the memory there is, and say what it will take.

        Raises:
            OutOfMemory: If the job cannot fit.
        """
        room = self._room(key)
        files = [Path(use.path) for use in request.loras]
        if (part := enlarger_of(request)) is not None and is_upscaler_file(part.upscaler):
            files.append(Path(part.upscaler))
        adapters = memory.adapter_bytes(files, key.precision)
        adapters += memory.control_bytes(controls.files.values(), key.precision)
        fitted, needed = memory.fitted(
            request, key.identity, room, adapters=adapters, refiner=refiner
        )
        yield MemoryEstimate(needed=needed, free=room.free, mode=fitted.memory)
        if sentence := memory.notice(request, fitted, needed, room.free):
            yield Notice(message=sentence)
        return fitted


def _teaching(request: Request, identity: Identity) -> Teaching | None:
    loras = [Path(use.path) for use in request.loras]
    return model_teaching(identity) or lora_teaching(identity.distillation, loras)


def _check_lengths(
    request: Request, texts: TextEmbeddings, identity: Identity, *, led: bool
) -> None:
    """Refuse texts that are longer than a model reads; most read any length."""
    for picture in range(request.total):
        for name, text in (
            ("prompts", request.prompt_of(picture)),
            ("negative_prompt", request.negative_of(picture)),
        ):
            check_length(texts.chunks_of(text), name, identity, led=led)


def _read_start(request: Request) -> tuple[Request, Pixels | Canvas | None]:
    """Read the pictures that a request names and record their hashes.

    Raises:
        InvalidRequest: If one cannot be read or is not the one that the request was made with.
    """
    if not isinstance(request, ImageToImage):
        return request, None
    request = _hashed(request, "init_image", "init_sha256")
    if isinstance(request, Inpaint):
        request = _hashed(request, "mask_image", "mask_sha256")
    if isinstance(request, Inpaint | Outpaint):
        return request, canvas_of(request)
    if isinstance(request, Upscale) and is_upscaler_file(request.upscaler):
        return request, np.array(read_picture(Path(request.init_image), field="init_image"))
    return request, read_start_image(Path(request.init_image), request.width, request.height)


def _hashed(request: ImageToImageT, name: str, hash_name: str) -> ImageToImageT:
    """Record the hash of a picture that is named, and refuse another one than was recorded."""
    path = Path(getattr(request, name))
    found = sha256_of(path, field=name)
    check_unchanged(name, path, getattr(request, hash_name), found)
    changes: dict[str, Any] = {hash_name: found}
    return dataclasses.replace(request, **changes)


def _area_of(canvas: Canvas | None, start: Pixels, vae: Vae, identity: Identity) -> Area | None:
    if canvas is None:
        return None
    return area_of(
        vae, start, canvas.area(), scale=identity.vae_scale, inpainting=identity.inpainting
    )
