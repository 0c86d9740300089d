"""The torch engine: a request in, an iterator of events out."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from core.device import (
    as_out_of_memory,
    dtype_of,
    free_memory,
    release_cached_memory,
    resolve_device,
    resolve_precision,
)
from core.errors import InvalidRequest, Unsupported
from core.events import (
    Event,
    EventStream,
    Finished,
    ImageReady,
    Loading,
    Notice,
    Pixels,
    PreviewSettings,
)
from core.images.canvas import Canvas, canvas_of
from core.images.reading import read_start_image, sha256_of
from core.models.adapters import Adapters, with_files
from core.models.catalog import refusals_for, resolve
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity, identify
from core.models.load import load
from core.models.names import Resolver, no_names
from core.models.replacement_vae import vae_weights
from core.paths import Profile
from core.request import (
    DeviceName,
    ImageToImage,
    Inpaint,
    Outpaint,
    Precision,
    PreviewDecoder,
    Request,
    Tiling,
)
from core.sampling import memory
from core.sampling.batch import Job, make_batch, plan_of, second_plan_of
from core.sampling.inpaint import Area, area_of
from core.sampling.linear_preview import Decode, is_at_hand
from core.sampling.preview import PreviewCosts, make_decoder
from core.sampling.settle import settled
from core.sampling.text import TextEmbeddings
from core.sampling.vae import Vae

ImageToImageT = TypeVar("ImageToImageT", bound=ImageToImage)


@dataclass(frozen=True, slots=True)
class _ModelKey:
    """What tells models apart, also one that was trained on, or given a part, in the same folder.

    Attributes:
        identity: What it is.
        precision: Resolved.
        vae: Path of the VAE in the place of its own, or empty.
        stamps: Size and time of change of each weight file.
    """

    identity: Identity
    precision: Precision
    vae: str
    stamps: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Loaded:
    """The model in memory and what was learned while it was used.

    Attributes:
        key: What it was loaded from, and how.
        components: Its modules.
        texts: Its prompts, encoded.
        adapters: The LoRAs and embeddings it works with.
        decoders: The preview decoders that were asked for.
        preview_costs: What previews cost with it.
    """

    key: _ModelKey
    components: Components
    texts: TextEmbeddings
    adapters: Adapters
    decoders: dict[PreviewDecoder, Decode | None] = field(default_factory=dict)
    preview_costs: PreviewCosts = field(default_factory=dict)


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
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            device: Where to compute.
            cache: Folder of what can be computed again; None for the user's own.
            find_lora: Gives the file of a LoRA that a request or a prompt names.
            find_embedding: The same of embeddings.
            find_vae: The same of VAEs.
        """
        self._device_name = device
        self._find_lora = find_lora
        self._find_embedding = find_embedding
        self._find_vae = find_vae
        self._cache = Profile.default().cache if cache is None else cache
        self._fingerprints = Fingerprints.kept_in(self._cache)
        self._loaded: _Loaded | None = None

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures; see ``core.events.Engine.generate``."""
        return self._guarded(self._generate(request, preview, only))

    def warm_up(self, model: str) -> EventStream:
        """Load a model in its usual precision; see ``core.events.Engine.warm_up``."""
        return self._guarded(self._warm_up(model))

    def _guarded(self, events: Iterator[Event]) -> Generator[Event, None, None]:
        """Name memory that ran out, and give memory back at the end, however it comes."""
        device = resolve_device(self._device_name)
        try:
            yield from events
        except RuntimeError as error:
            out_of_memory = as_out_of_memory(error)
            if out_of_memory is None:
                raise
            raise out_of_memory from error
        finally:
            release_cached_memory(device)

    def _warm_up(self, name: str) -> Iterator[Event]:
        device = resolve_device(self._device_name)
        precision = resolve_precision(Precision.AUTO, device)
        identity = identify(resolve(name))
        key = _key_of(identity, precision)
        if not self._has(key):
            yield Loading(what=f"the model {name}")
        loaded = self._load(key, device)
        yield from self._prepare_decoder(loaded, PreviewDecoder.LINEAR)
        loaded.texts.of([""])

    def _generate(
        self, request: Request, preview: PreviewSettings, only: int | None
    ) -> Iterator[Event]:
        begin = time.perf_counter()
        if only is not None and not 0 <= only < request.total:
            raise InvalidRequest("only", f"{only} is none of the {request.total} pictures.")
        request, start = _read_start(settled(request, self._find_lora))
        request = with_files(
            request,
            fingerprints=self._fingerprints,
            find_lora=self._find_lora,
            find_embedding=self._find_embedding,
            find_vae=self._find_vae,
        )
        device = resolve_device(self._device_name)
        precision = resolve_precision(request.precision, device)
        identity = identify(resolve(request.model))
        _check_served(request, identity)
        _check_size(request, identity)
        key = _key_of(identity, precision, request.vae)
        if not self._has(key):
            yield Loading(what=f"the model {request.model}")
            self._forget(device)
        request = self._fitted(request, key, device)
        loaded = self._load(key, device)
        if (yield from loaded.adapters.use(request)):
            loaded.texts = TextEmbeddings(loaded.components, loaded.adapters.vectors)
        decode = yield from self._prepare_decoder(loaded, preview.decoder)
        vae = Vae(loaded.components, tiled=request.vae_tiling is Tiling.ON)
        if start is not None:
            yield Loading(what="the start picture")
        canvas = start if isinstance(start, Canvas) else None
        for notice in canvas.notices if canvas else ():
            yield Notice(message=notice)
        start_pixels = start.start() if isinstance(start, Canvas) else start
        job = Job(
            request=request,
            components=loaded.components,
            texts=loaded.texts,
            vae=vae,
            preview=preview,
            decode=decode,
            preview_costs=loaded.preview_costs,
            start=None if start_pixels is None else vae.encode(start_pixels),
            canvas=canvas,
            area=_area_of(canvas, start_pixels, vae, identity),
        )
        # A number of steps that cannot be is refused before the first batch.
        plan_of(job)
        second_plan_of(job)
        yield from _pictures(job, only)
        made = request.total if only is None else 1
        yield Finished(pictures=made, seconds=time.perf_counter() - begin)

    def _has(self, key: _ModelKey) -> bool:
        return self._loaded is not None and self._loaded.key == key

    def _load(self, key: _ModelKey, device: torch.device) -> _Loaded:
        """Give the model, from memory or else from its files in place of the one before."""
        if self._loaded is None or not self._has(key):
            self._forget(device)
            components = load(
                key.identity,
                device=device,
                dtype=dtype_of(key.precision),
                fingerprints=self._fingerprints,
                vae=Path(key.vae) if key.vae else None,
            )
            texts, adapters = TextEmbeddings(components), Adapters(components)
            self._loaded = _Loaded(key, components, texts, adapters)
        return self._loaded

    def _forget(self, device: torch.device) -> None:
        """Give the loaded model's memory back."""
        if self._loaded is not None:
            self._loaded = None
            gc.collect()
            release_cached_memory(device)

    def _fitted(self, request: Request, key: _ModelKey, device: torch.device) -> Request:
        """Settle what the request left open, by the memory there is.

        Raises:
            OutOfMemory: If the job cannot fit.
        """
        identity, precision = key.identity, key.precision
        free = free_memory(device)
        if not self._has(key):
            free -= memory.weight_bytes(identity, precision)
        width, height = request.final_size
        tiling = memory.choose_tiling(request)
        one = memory.activation_bytes(
            identity,
            precision,
            width=width,
            height=height,
            attention_in_full=device.type == "mps",
            window=memory.window_of(request),
            tiled=tiling is Tiling.ON,
        )
        batch_size = memory.choose_batch_size(identity, request, one=one, free=free)
        request = dataclasses.replace(
            request, batch_size=batch_size, precision=precision, vae_tiling=tiling
        )
        memory.check(batch_size * one, free, request)
        return request

    def _prepare_decoder(
        self, loaded: _Loaded, decoder: PreviewDecoder
    ) -> Generator[Event, None, Decode | None]:
        """Give a preview decoder; fitting the linear one takes seconds for a large VAE."""
        if decoder not in loaded.decoders:
            if decoder is PreviewDecoder.LINEAR and not is_at_hand(loaded.components, self._cache):
                yield Loading(what="the preview's colours")
            loaded.decoders[decoder] = make_decoder(decoder, loaded.components, self._cache)
        return loaded.decoders[decoder]


def _key_of(identity: Identity, precision: Precision, vae: str = "") -> _ModelKey:
    files = [*identity.weights.values(), *(vae_weights(Path(vae)).values() if vae else ())]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _ModelKey(identity, precision, vae, stamps)


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
    return request, read_start_image(Path(request.init_image), request.width, request.height)


def _hashed(request: ImageToImageT, name: str, hash_name: str) -> ImageToImageT:
    """Record the hash of a picture that is named, and refuse another one than was recorded."""
    path = Path(getattr(request, name))
    found = sha256_of(path, field=name)
    if getattr(request, hash_name) not in ("", found):
        raise InvalidRequest(
            name,
            f"{path} has changed since this request was made; put the old file back, or start "
            "anew from this one.",
        )
    changes: dict[str, Any] = {hash_name: found}
    return dataclasses.replace(request, **changes)


def _area_of(
    canvas: Canvas | None, start: Pixels | None, vae: Vae, identity: Identity
) -> Area | None:
    if canvas is None or start is None:
        return None
    return area_of(
        vae, start, canvas.area(), scale=identity.vae_scale, inpainting=identity.inpainting
    )


def _check_served(request: Request, identity: Identity) -> None:
    """Refuse a model that cannot make such pictures, and a scheduler that does not serve it."""
    if identity.inpainting and not isinstance(request, Inpaint | Outpaint):
        raise Unsupported(
            f"{identity.path} is an inpainting model; give it a start picture and a mask, or "
            "choose another model."
        )
    kinds = {
        "an SDXL model": identity.needs_size,
        "a model that takes guidance as a number": identity.guidance_embedding,
    }
    for kind, is_it in kinds.items():
        if is_it:
            raise Unsupported(
                f"{identity.path} is {kind}; this version knows it but makes no pictures with it."
            )
    refused = refusals_for(identity)
    if request.scheduler in refused:
        raise Unsupported(
            f"The scheduler {request.scheduler} does not serve this model. "
            f"{refused[request.scheduler]} Choose {identity.defaults.scheduler}."
        )


def _check_size(request: Request, identity: Identity) -> None:
    for name, side in zip(("width", "height"), request.final_size, strict=True):
        if side % identity.vae_scale:
            raise InvalidRequest(
                name, f"{side} must be a multiple of {identity.vae_scale} for this model."
            )


def _pictures(job: Job, only: int | None) -> Iterator[Event]:
    """Make all pictures or one, and say what holds for many batches once."""
    said: set[Notice] = set()
    for pictures in _batches(job):
        if only is not None and only not in pictures:
            continue
        # Closed with this generator and not when the garbage collector comes by.
        with closing(make_batch(job, pictures)) as events:
            for event in events:
                match event:
                    case ImageReady() if only not in (None, event.picture):
                        continue
                    case Notice() if event in said:
                        continue
                    case Notice():
                        said.add(event)
                yield event


def _batches(job: Job) -> Iterator[tuple[int, ...]]:
    """Give the indices of the pictures to denoise together.

    Prompts of one batch take as many chunks each, so that none is filled up with empty ones because
    of its neighbours.
    """
    request = job.request
    alike = itertools.groupby(
        range(request.total), lambda index: job.texts.chunks_of(request.prompt_of(index))
    )
    for _, group in alike:
        indices = tuple(group)
        for first in range(0, len(indices), request.batch_size):
            yield indices[first : first + request.batch_size]
