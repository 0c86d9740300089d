"""The choices and parts that requests are made of: frozen values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidRequest
from core.request_checks import (
    MAX_STEPS,
    check_choice,
    check_float,
    check_int,
    check_text,
    check_window,
)

LARGEST_ADAPTER_WEIGHT = 100.0


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


class Enlarging(StrEnum):
    """What makes a picture larger before its second pass: a filter of pixels, or of latents."""

    LANCZOS = "lanczos"
    LATENT = "latent"


class MemoryMode(StrEnum):
    """How a run uses memory; ``AUTO`` is resolved by the engine.

    ``FULL`` holds the whole model on the device. ``LOW`` holds the part at work there, computes the
    two halves of guidance one after the other, and gives the VAE one picture at a time.
    """

    AUTO = "auto"
    FULL = "full"
    LOW = "low"


class Tiling(StrEnum):
    """Whether the VAE works in tiles. ``AUTO`` is resolved by the engine."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPass:
    """A finished picture made larger and denoised again, known as hires fix.

    Attributes:
        scale: Of width and height, above 1 and up to 8; both are rounded to multiples of 8.
        strength: Share of the larger picture that is replaced, above 0 and up to 1.
        steps: Of a whole run, of which ``strength`` is taken; 0 for as many as in the first pass.
        upscaler: ``lanczos`` scales the pixels and ``latent`` the latents, which wants a strength
            of about 0.5 or more.
        window: Side in pixels of the overlapping windows that are denoised each by itself, a
            multiple of 8; 0 for the whole picture at once.
    """

    scale: float = 2.0
    strength: float = 0.5
    steps: int = 0
    upscaler: Enlarging = Enlarging.LANCZOS
    window: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        check_float("second_pass.scale", self.scale, 1.0, 8.0)
        if self.scale == 1:
            raise InvalidRequest("second_pass.scale", "must be above 1.")
        check_float("second_pass.strength", self.strength, 0.0, 1.0)
        check_int("second_pass.steps", self.steps, 0, MAX_STEPS)
        check_choice("second_pass.upscaler", self.upscaler, Enlarging)
        check_window("second_pass.window", self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraUse:
    """A LoRA to make pictures with.

    Attributes:
        path: Its file, or its name in the library.
        weight: How strongly it works, 1 as it was trained, -100 to 100.
        text_weight: The same of its part in the text encoder; None for ``weight``.
        sha256: Hash of the file's bytes, 64 hex digits, or empty before the engine has read it; a
            repeated run refuses a file that has changed.
        short_hash: What other programs know it by: the first 12 digits of the hash of its tensors;
            recorded by the engine.
    """

    path: str
    weight: float = 1.0
    text_weight: float | None = None
    sha256: str = ""
    short_hash: str = ""


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


def check_adapters(field: str, uses: object, kind: type[LoraUse] | type[EmbeddingUse]) -> None:
    """Refuse what is no tuple of sound LoRAs, or embeddings."""
    if not isinstance(uses, tuple) or not all(isinstance(use, kind) for use in uses):
        raise InvalidRequest(field, f"must be a tuple of {kind.__name__}.")
    for use in uses:
        check_text(field, use.path, empty_ok=False)
        check_text(field, use.sha256, empty_ok=True)
        if isinstance(use, EmbeddingUse):
            check_text(field, use.token, empty_ok=True)
        else:
            check_text(field, use.short_hash, empty_ok=True)
            for weight in (use.weight, 0.0 if use.text_weight is None else use.text_weight):
                check_float(field, weight, -LARGEST_ADAPTER_WEIGHT, LARGEST_ADAPTER_WEIGHT)
