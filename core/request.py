"""What to make: frozen, validated values, one type per mode. Imports no torch.

Everything that changes the pixels is in the request, the resolved seed included, so that two equal
requests make the same pictures. A request compares by value, goes to JSON and back, and is written
into every picture made from it. How a run is *watched* (previews) is not in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from core.errors import InvalidRequest

MAX_SEED = 2**32 - 1
MAX_SIDE = 4096
MAX_STEPS = 1000
MAX_COUNT = 1000
LATENT_SCALE = 8
"""Pixels a latent covers on a side: Stable Diffusion's VAE halves the picture three times."""

LARGEST_ADAPTER_WEIGHT = 100.0

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class SchedulerName(StrEnum):
    """The sampling methods, by the names used on the command line and in saved pictures."""

    PNDM = "pndm"
    DDIM = "ddim"
    LMS = "lms"
    EULER = "euler"
    EULER_ANCESTRAL = "euler-a"
    HEUN = "heun"
    DPMPP_2M = "dpm++2m"
    DPMPP_2M_KARRAS = "dpm++2m-karras"
    DPMPP_SDE = "dpm++sde"
    UNIPC = "unipc"
    DDPM = "ddpm"
    LCM = "lcm"
    TCD = "tcd"


class Precision(StrEnum):
    """The number format of weights and activations. ``AUTO`` is resolved by the engine."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class DeviceName(StrEnum):
    """Where the engine computes. ``AUTO`` takes CUDA, else MPS, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    MPS = "mps"
    CUDA = "cuda"


class PreviewDecoder(StrEnum):
    """How a predicted clean latent becomes a picture to look at while the run goes on."""

    OFF = "off"
    LINEAR = "linear"
    TINY = "tiny"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraUse:
    """A LoRA to make pictures with.

    Attributes:
        path: Its file, or its name in the library.
        weight: How strongly it works, 1 as it was trained, -100 to 100.
        text_weight: The same of its part in the text encoder; None for ``weight``.
        sha256: Hash of the file's bytes, 64 hex digits, or empty before the engine has read it; a
            repeated run refuses a file that has changed.
    """

    path: str
    weight: float = 1.0
    text_weight: float | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingUse:
    """A textual-inversion embedding that prompts may use.

    Attributes:
        path: Its file, or its name in the library.
        token: The word for it in the prompts; empty for the one that the file gives it.
        sha256: As of ``LoraUse``.
    """

    path: str
    token: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToImage:
    """Pictures from prompts.

    Pictures are numbered ``i = 0 .. len(prompts) * count - 1``, all of the first prompt first;
    picture ``i`` draws its noise from seed ``seed + i``, or from ``seed`` itself if all share it.

    Attributes:
        model: A name from the library or the path of a model folder.
        prompts: One or more texts, in the notation of ``core.sampling.prompt_syntax``.
        negative_prompt: What guidance leads away from; used only if ``guidance_scale > 1``.
        steps: Denoising steps, 1 to 1000.
        guidance_scale: Classifier-free guidance weight (Ho & Salimans 2022, arXiv:2207.12598, as
            in Stable Diffusion: 1 is the plain conditional prediction), 0 to 100.
        guidance_rescale: Share of the standard-deviation correction of Lin et al. 2023
            (arXiv:2305.08891, equations 15 and 16), 0 to 1.
        guidance_start: Fraction of the run at which guidance begins, 0 to 1.
        guidance_end: Fraction of the run at which it ends (Kynkäänniemi et al. 2024,
            arXiv:2404.07724); outside of the interval only the conditional half is computed.
        scheduler: The sampling method.
        width: In pixels, a multiple of 8.
        height: In pixels, a multiple of 8.
        seed: Of the first picture, 0 to 2**32 - 1.
        shared_seed: Whether every picture draws the noise of ``seed``, so that prompts can be
            compared; one picture for each prompt then.
        count: Pictures for each prompt.
        batch_size: Pictures denoised together. It belongs to the request because float sums differ
            in the last bits between batch sizes; 0 lets the engine choose and record its choice.
        precision: Number format; the engine records what it used.
        loras: The LoRAs, those named in prompts included once the engine has read these.
        embeddings: The embeddings whose words the prompts may use.
    """

    kind: ClassVar[str] = "text-to-image"

    model: str = "starter"
    prompts: tuple[str, ...]
    negative_prompt: str = ""
    steps: int = 20
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    scheduler: SchedulerName = SchedulerName.DDIM
    width: int = 512
    height: int = 512
    seed: int = 0
    shared_seed: bool = False
    count: int = 1
    batch_size: int = 0
    precision: Precision = Precision.AUTO
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        _check_prompts(self.prompts)
        _check_text("model", self.model, empty_ok=False)
        _check_text("negative_prompt", self.negative_prompt, empty_ok=True)
        _check_int("steps", self.steps, 1, MAX_STEPS)
        _check_float("guidance_scale", self.guidance_scale, 0.0, 100.0)
        _check_float("guidance_rescale", self.guidance_rescale, 0.0, 1.0)
        _check_float("guidance_start", self.guidance_start, 0.0, 1.0)
        _check_float("guidance_end", self.guidance_end, 0.0, 1.0)
        if self.guidance_end < self.guidance_start:
            raise InvalidRequest("guidance_end", "must not lie before guidance_start.")
        _check_side("width", self.width)
        _check_side("height", self.height)
        _check_int("seed", self.seed, 0, MAX_SEED)
        _check_int("count", self.count, 1, MAX_COUNT)
        _check_int("batch_size", self.batch_size, 0, MAX_COUNT)
        _check_choice("scheduler", self.scheduler, SchedulerName)
        _check_choice("precision", self.precision, Precision)
        _check_adapters("loras", self.loras, LoraUse)
        _check_adapters("embeddings", self.embeddings, EmbeddingUse)
        if self.total > MAX_COUNT:
            raise InvalidRequest(
                "count",
                f"{len(self.prompts)} prompts times {self.count} make {self.total} pictures; "
                f"ask for at most {MAX_COUNT} at once.",
            )
        if not isinstance(self.shared_seed, bool):
            raise InvalidRequest("shared_seed", f"{self.shared_seed!r} must be true or false.")
        if self.shared_seed and self.count > 1:
            raise InvalidRequest("count", "must be 1 where the pictures share a seed.")
        if self.seed_of(self.total - 1) > MAX_SEED:
            raise InvalidRequest(
                "seed", f"leaves no room for {self.total} pictures below {MAX_SEED}; lower it."
            )

    @property
    def total(self) -> int:
        """How many pictures the request makes."""
        return len(self.prompts) * self.count

    def prompt_of(self, index: int) -> str:
        """The prompt of picture ``index``."""
        return self.prompts[index // self.count]

    def seed_of(self, index: int) -> int:
        """The seed of picture ``index``."""
        return self.seed if self.shared_seed else self.seed + index


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToImage(TextToImage):
    """Pictures from prompts and a start picture (SDEdit, Meng et al. 2021, arXiv:2108.01073).

    Attributes:
        init_image: Path of the start picture; it is fitted to ``width`` x ``height``.
        init_sha256: Hash of that file's bytes, 64 hex digits, or empty before the engine has read
            it; a repeated run refuses a start picture that has changed.
        strength: How much of it is replaced, above 0 and up to 1: the run starts at that fraction
            of the noise and takes about ``strength * steps`` steps.
    """

    kind: ClassVar[str] = "image-to-image"

    init_image: str
    init_sha256: str = ""
    strength: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what cannot be made; see ``TextToImage``.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        # super() without arguments loses its class cell under dataclass(slots=True).
        TextToImage.__post_init__(self)
        _check_text("init_image", self.init_image, empty_ok=False)
        _check_float("strength", self.strength, 0.0, 1.0)
        if int(self.steps * self.strength) < 1:
            raise InvalidRequest(
                "strength",
                f"{self.strength:g} of {self.steps} steps leaves none to run; "
                f"use at least {math.ceil(1000 / self.steps) / 1000:g}.",
            )


Request = TextToImage | ImageToImage

_KINDS: dict[str, type[TextToImage] | type[ImageToImage]] = {
    kind.kind: kind for kind in (TextToImage, ImageToImage)
}
_ADAPTERS: dict[str, type[LoraUse] | type[EmbeddingUse]] = {
    "loras": LoraUse,
    "embeddings": EmbeddingUse,
}


def to_json(request: Request) -> dict[str, Any]:
    """Give the request as plain JSON values, with its kind."""
    values = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
    values["prompts"] = list(request.prompts)
    for name in _ADAPTERS:
        values[name] = [dataclasses.asdict(use) for use in values[name]]
    return {"kind": request.kind} | {
        name: str(value) if isinstance(value, StrEnum) else value for name, value in values.items()
    }


def from_json(values: Mapping[str, Any]) -> Request:
    """Give back the request that ``to_json`` wrote.

    Raises:
        InvalidRequest: On an unknown kind or field, a missing field or a value out of range.
    """
    given = dict(values)
    kind = given.pop("kind", None)
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise InvalidRequest("kind", f"{kind!r} is none of {', '.join(_KINDS)}.")
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(given) - known):
        raise InvalidRequest(
            unknown[0], "is not a setting of this version; a newer Stepwise may have written it."
        )
    if "prompts" in given:
        if not isinstance(given["prompts"], list):
            raise InvalidRequest("prompts", "must be a list of texts.")
        given["prompts"] = tuple(given["prompts"])
    for name, use in _ADAPTERS.items():
        if name in given:
            given[name] = _read_adapters(name, given[name], use)
    for name, enum in (("scheduler", SchedulerName), ("precision", Precision)):
        if name in given:
            given[name] = parse_choice(name, given[name], enum)
    try:
        return cls(**given)
    except TypeError as error:
        raise InvalidRequest("request", f"a field is missing: {error}") from error


def parse_choice(field: str, value: object, enum: type[ChoiceT]) -> ChoiceT:
    """Read one of ``enum``'s values.

    Raises:
        InvalidRequest: Listing the values there are.
    """
    try:
        return enum(str(value))
    except ValueError:
        names = ", ".join(enum)
        raise InvalidRequest(field, f"{value!r} is none of {names}.") from None


def _read_adapters(
    field: str, values: object, use: type[LoraUse] | type[EmbeddingUse]
) -> tuple[LoraUse | EmbeddingUse, ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidRequest(field, "must be a list of objects.")
    try:
        return tuple(use(**value) for value in values)
    except TypeError as error:
        raise InvalidRequest(field, f"is not as this version writes it: {error}") from error


def _check_adapters(field: str, uses: object, kind: type[LoraUse] | type[EmbeddingUse]) -> None:
    if not isinstance(uses, tuple) or not all(isinstance(use, kind) for use in uses):
        raise InvalidRequest(field, f"must be a tuple of {kind.__name__}.")
    for use in uses:
        _check_text(field, use.path, empty_ok=False)
        _check_text(field, use.sha256, empty_ok=True)
        if isinstance(use, EmbeddingUse):
            _check_text(field, use.token, empty_ok=True)
        else:
            for weight in (use.weight, 0.0 if use.text_weight is None else use.text_weight):
                _check_float(field, weight, -LARGEST_ADAPTER_WEIGHT, LARGEST_ADAPTER_WEIGHT)


def _check_prompts(prompts: object) -> None:
    if not isinstance(prompts, tuple) or not prompts:
        raise InvalidRequest("prompts", "is empty; give at least one prompt.")
    for prompt in prompts:
        _check_text("prompts", prompt, empty_ok=True)


def _check_text(field: str, value: object, *, empty_ok: bool) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(field, f"{value!r} is not text.")
    if not empty_ok and not value.strip():
        raise InvalidRequest(field, "is empty.")
    if "\0" in value:
        raise InvalidRequest(field, "contains a NUL character; remove it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(field, "contains a character that is not valid Unicode.") from None


def _check_int(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(field, f"{value!r} must be a whole number from {low} to {high}.")


def _check_float(field: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequest(field, f"{value!r} must be a number from {low:g} to {high:g}.")


def _check_side(field: str, value: object) -> None:
    _check_int(field, value, LATENT_SCALE, MAX_SIDE)
    assert isinstance(value, int)
    if value % LATENT_SCALE:
        below = max(value - value % LATENT_SCALE, LATENT_SCALE)
        above = below + LATENT_SCALE
        raise InvalidRequest(
            field, f"{value} must be a multiple of {LATENT_SCALE}; {below} or {above} would do."
        )


def _check_choice(field: str, value: object, enum: type[StrEnum]) -> None:
    if not isinstance(value, enum):
        raise InvalidRequest(field, f"{value!r} is none of {', '.join(enum)}.")
