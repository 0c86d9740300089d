"""The choices and parts that requests are made of: frozen values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from core.errors import InvalidRequest
from core.request_checks import (
    MAX_STEPS,
    check_above,
    check_choice,
    check_float,
    check_int,
    check_text,
    check_window,
)

LARGEST_ADAPTER_WEIGHT = 100.0
LARGEST_CONTROL_WEIGHT = 10.0
LARGEST_GRADIENT = 2040
"""Of 8-bit pixels, as ``core.images.canny`` measures it: 4 * 255 in each direction."""


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
    """What makes a picture larger where no upscaler's file does: a filter of pixels, or latents."""

    LANCZOS = "lanczos"
    LATENT = "latent"


def is_upscaler_file(name: str) -> bool:
    """Whether what makes a picture larger is an upscaler's file, or the name of one."""
    return name not in tuple(Enlarging)


class MemoryMode(StrEnum):
    """How a run uses memory; ``AUTO`` is resolved by the engine.

    ``FULL`` holds the whole model on the device. ``LOW`` holds the part at work there, computes the
    two halves of guidance one after the other, and gives the VAE one picture at a time.
    """

    AUTO = "auto"
    FULL = "full"
    LOW = "low"


class Preprocessor(StrEnum):
    """What makes the map that a ControlNet reads: nothing (it is one), or an edge detector."""

    NONE = "none"
    CANNY = "canny"


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
        upscaler: What makes it larger: ``lanczos`` scales the pixels; ``latent`` the latents, which
            wants a strength of about 0.5 or more; anything else is the file of an ESRGAN-type
            network, or its name in the library.
        upscaler_sha256: Hash of that file, as of ``LoraUse``.
        window: Side in pixels of the overlapping windows that are denoised each by itself, a
            multiple of 8; 0 for the whole picture at once.
    """

    scale: float = 2.0
    strength: float = 0.5
    steps: int = 0
    upscaler: str = Enlarging.LANCZOS
    upscaler_sha256: str = ""
    window: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        check_above("second_pass.scale", self.scale, 1.0, 8.0)
        check_float("second_pass.strength", self.strength, 0.0, 1.0)
        check_int("second_pass.steps", self.steps, 0, MAX_STEPS)
        check_text("second_pass.upscaler", self.upscaler, empty_ok=False)
        check_text("second_pass.upscaler_sha256", self.upscaler_sha256, empty_ok=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlUse:
    """A ControlNet (Zhang et al. 2023, arXiv:2302.05543) and the picture that it follows.

    Attributes:
        path: The ControlNet's file or folder, or its name in the library.
        image: Path of the control picture, which is fitted to the pictures that are made.
        sha256: Hash of the ControlNet's weights, as of ``LoraUse``.
        image_sha256: Hash of the control picture's file, likewise.
        preprocessor: What turns the picture into the map that the ControlNet reads.
        low: Of ``canny``: the gradient above which a pixel belongs to an edge that has a strong
            pixel too, 0 to 2040.
        high: Of ``canny``: the gradient above which a pixel is strong, ``low`` to 2040.
        weight: How strongly the ControlNet works, 1 as it was trained, 0 to 10.
        start: Fraction of the run at which it begins to work, 0 up to below ``end``.
        end: Fraction of the run at which it ends, up to 1.
    """

    LOW: ClassVar[int] = 100
    HIGH: ClassVar[int] = 200

    path: str
    image: str
    sha256: str = ""
    image_sha256: str = ""
    preprocessor: Preprocessor = Preprocessor.NONE
    low: int = LOW
    high: int = HIGH
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        check_text("controls.path", self.path, empty_ok=False)
        check_text("controls.image", self.image, empty_ok=False)
        check_text("controls.sha256", self.sha256, empty_ok=True)
        check_text("controls.image_sha256", self.image_sha256, empty_ok=True)
        check_choice("controls.preprocessor", self.preprocessor, Preprocessor)
        check_int("controls.low", self.low, 0, LARGEST_GRADIENT)
        check_int("controls.high", self.high, 0, LARGEST_GRADIENT)
        if self.high < self.low:
            raise InvalidRequest("controls.high", f"{self.high} must not lie below {self.low}.")
        if self.preprocessor is Preprocessor.NONE and (self.low, self.high) != (
            self.LOW,
            self.HIGH,
        ):
            raise InvalidRequest(
                "controls.low", "and high are canny's thresholds; choose canny or leave them out."
            )
        check_float("controls.weight", self.weight, 0.0, LARGEST_CONTROL_WEIGHT)
        check_float("controls.start", self.start, 0.0, 1.0)
        check_float("controls.end", self.end, 0.0, 1.0)
        if self.end <= self.start:
            raise InvalidRequest(
                "controls.end", f"{self.end:g} must lie after the start, {self.start:g}."
            )


def check_controls(uses: object) -> None:
    """Refuse what is no tuple of ControlNets in use."""
    if not isinstance(uses, tuple) or not all(isinstance(use, ControlUse) for use in uses):
        raise InvalidRequest("controls", "must be a tuple of ControlUse.")


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
