"""What to make: frozen, validated values, one type per mode. Imports no torch.

Everything that changes the pixels is in the request, the resolved seed included, so that two equal
requests make the same pictures. A request compares by value, goes to JSON and back, and is written
into every picture made from it. How a run is *watched* (previews) is not in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

from core.compute_units import AUTO, check_units
from core.errors import InvalidRequest
from core.request_checks import (
    LATENT_SCALE,
    MAX_COUNT,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_prompts,
    check_run,
    check_side,
    check_text,
    check_window,
    parse_choice,
)
from core.request_parts import (
    ControlUse,
    DeviceName,
    EmbeddingUse,
    Enlarging,
    LoraUse,
    MemoryMode,
    Precision,
    Preprocessor,
    PreviewDecoder,
    SchedulerName,
    SecondPass,
    Tiling,
    check_adapters,
    check_controls,
    is_upscaler_file,
)

__all__ = [
    "LATENT_SCALE",
    "MAX_COUNT",
    "MAX_SEED",
    "MAX_SIDE",
    "MAX_STEPS",
    "ControlUse",
    "DeviceName",
    "EmbeddingUse",
    "Enlarging",
    "ImageToImage",
    "Inpaint",
    "LoraUse",
    "MemoryMode",
    "Outpaint",
    "Precision",
    "Preprocessor",
    "PreviewDecoder",
    "Request",
    "SchedulerName",
    "SecondPass",
    "TextToImage",
    "Tiling",
    "Upscale",
    "enlarger_of",
    "is_upscaler_file",
    "parse_choice",
]


ROWS: dict[str, tuple[str, Callable[[str, object], None]]] = {
    "negative_prompts": ("negative_prompt", partial(check_text, empty_ok=True)),
    "guidance_scales": ("guidance_scale", partial(check_float, low=0.0, high=100.0)),
    "seeds": ("seed", partial(check_int, low=0, high=MAX_SEED)),
}
"""The fields that have one value a picture, the plain field of each, and what checks a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToImage:
    """Pictures from prompts.

    Pictures are numbered ``i = 0 .. len(prompts) * count - 1``, all of the first prompt first;
    picture ``i`` draws its noise from seed ``seed + i``. Pictures can be compared, and made
    together, if seed, guidance or negative prompt is given for each of them: ``seeds``,
    ``guidance_scales`` and ``negative_prompts`` are empty, or have one for each of the ``prompts``,
    of which there is one a picture then; the plain field holds the first.

    Attributes:
        model: A name from the library or the path of a model folder.
        prompts: One or more texts, in the notation of ``core.sampling.prompt_syntax``.
        negative_prompt: What guidance leads away from; used only if ``guidance_scale > 1``.
        negative_prompts: See above.
        steps: Denoising steps, 1 to 1000.
        guidance_scale: Classifier-free guidance weight (Ho & Salimans 2022, arXiv:2207.12598, as
            in Stable Diffusion: 1 is the plain conditional prediction), 0 to 100.
        guidance_scales: See above.
        guidance_rescale: Share of the standard-deviation correction of Lin et al. 2023
            (arXiv:2305.08891, equations 15 and 16), 0 to 1.
        guidance_start: Fraction of the run at which guidance begins, 0 to 1.
        guidance_end: Fraction of the run at which it ends (Kynkäänniemi et al. 2024,
            arXiv:2404.07724); outside of the interval only the conditional half is computed.
        scheduler: The sampling method.
        width: In pixels, a multiple of 8.
        height: In pixels, a multiple of 8.
        seed: Of the first picture, 0 to 2**32 - 1.
        seeds: See above.
        count: Pictures for each prompt.
        batch_size: Pictures denoised together. It belongs to the request because float sums differ
            in the last bits between batch sizes; 0 lets the engine choose and record its choice.
        precision: Number format; the engine records what it used.
        loras: The LoRAs, those named in prompts included once the engine has read these.
        embeddings: The embeddings whose words the prompts may use.
        vae: A VAE in the place of the model's own: its file or folder, or its name in the library;
            empty for the model's own.
        vae_sha256: Hash of its weights, 64 hex digits, or empty before the engine has read it; a
            repeated run refuses a VAE that has changed.
        refiner: An SDXL refiner that takes over from the model in the course of the run: its name
            or the path of its folder or file; empty for none.
        refiner_sha256: Hash of its weights, as ``vae_sha256``.
        refiner_start: Share of the noise schedule after which it does, 0 to 1; both models must be
            left a step.
        controls: The ControlNets that lead the pictures, all of them at once.
        vae_tiling: Whether large pictures go through the VAE in tiles, which bounds its memory and
            changes their bits; the engine records what it did.
        memory: How much of it is used; the low mode changes last bits, so the engine records which
            it took.
        compute_units: Which of a Mac's processors run the parts of a Core ML model, as
            ``core.compute_units`` reads it; the engine records its choice.
        second_pass: Makes each picture larger, or None.
    """

    kind: ClassVar[str] = "text-to-image"
    REFINER_START: ClassVar[float] = 0.8

    model: str = "starter"
    prompts: tuple[str, ...]
    negative_prompt: str = ""
    negative_prompts: tuple[str, ...] = ()
    steps: int = 20
    guidance_scale: float = 7.5
    guidance_scales: tuple[float, ...] = ()
    guidance_rescale: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    scheduler: SchedulerName = SchedulerName.DDIM
    width: int = 512
    height: int = 512
    seed: int = 0
    seeds: tuple[int, ...] = ()
    count: int = 1
    batch_size: int = 0
    precision: Precision = Precision.AUTO
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    vae: str = ""
    vae_sha256: str = ""
    refiner: str = ""
    refiner_sha256: str = ""
    refiner_start: float = REFINER_START
    controls: tuple[ControlUse, ...] = ()
    vae_tiling: Tiling = Tiling.AUTO
    memory: MemoryMode = MemoryMode.AUTO
    compute_units: str = AUTO
    second_pass: SecondPass | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        check_prompts(self.prompts)
        check_text("model", self.model, empty_ok=False)
        self._check_rows()
        check_int("steps", self.steps, 1, MAX_STEPS)
        check_float("guidance_rescale", self.guidance_rescale, 0.0, 1.0)
        check_float("guidance_start", self.guidance_start, 0.0, 1.0)
        check_float("guidance_end", self.guidance_end, 0.0, 1.0)
        if self.guidance_end < self.guidance_start:
            raise InvalidRequest("guidance_end", "must not lie before the beginning of guidance.")
        check_side("width", self.width)
        check_side("height", self.height)
        check_int("count", self.count, 1, MAX_COUNT)
        check_int("batch_size", self.batch_size, 0, MAX_COUNT)
        check_choice("scheduler", self.scheduler, SchedulerName)
        check_choice("precision", self.precision, Precision)
        check_adapters("loras", self.loras, LoraUse)
        check_adapters("embeddings", self.embeddings, EmbeddingUse)
        check_text("vae", self.vae, empty_ok=True)
        check_text("vae_sha256", self.vae_sha256, empty_ok=True)
        check_text("refiner", self.refiner, empty_ok=True)
        check_text("refiner_sha256", self.refiner_sha256, empty_ok=True)
        check_float("refiner_start", self.refiner_start, 0.0, 1.0)
        if not self.refiner and self.refiner_start != self.REFINER_START:
            raise InvalidRequest("refiner_start", "needs a refiner; name one.")
        check_controls(self.controls)
        check_choice("vae_tiling", self.vae_tiling, Tiling)
        check_choice("memory", self.memory, MemoryMode)
        check_units(self.compute_units)
        if self.second_pass is not None:
            self._check_second_pass(self.second_pass)
        if self.total > MAX_COUNT:
            raise InvalidRequest(
                "count",
                f"{len(self.prompts)} prompts times {self.count} make {self.total} pictures; "
                f"ask for at most {MAX_COUNT} at once.",
            )
        if self.seed_of(self.total - 1) > MAX_SEED:
            raise InvalidRequest(
                "seed", f"leaves no room for {self.total} pictures below {MAX_SEED}; lower it."
            )

    def _check_rows(self) -> None:
        for name, (first, check) in ROWS.items():
            row = getattr(self, name)
            check(first, getattr(self, first))
            if not isinstance(row, tuple) or len(row) not in (0, len(self.prompts)):
                raise InvalidRequest(name, "must be one for each prompt, or none.")
            if not row:
                continue
            if self.count != 1:
                raise InvalidRequest("count", f"must be 1 where each picture has {name}.")
            if row[0] != getattr(self, first):
                raise InvalidRequest(first, f"must be the first of the {name}.")
            for value in row:
                check(name, value)

    def _check_second_pass(self, second: SecondPass) -> None:
        if not isinstance(second, SecondPass):
            raise InvalidRequest("second_pass", f"{second!r} is no second pass.")
        check_run("second_pass.strength", second.strength, second.steps or self.steps)
        for name, side in zip(("width", "height"), self.final_size, strict=True):
            if side > MAX_SIDE:
                raise InvalidRequest(
                    "second_pass.scale",
                    f"{second.scale:g} makes the {name} {side}; it may be {MAX_SIDE} at most.",
                )

    @property
    def final_size(self) -> tuple[int, int]:
        """Width and height after the last pass, in pixels."""
        if self.second_pass is None:
            return self.width, self.height
        scale = self.second_pass.scale / LATENT_SCALE
        return (
            round(self.width * scale) * LATENT_SCALE,
            round(self.height * scale) * LATENT_SCALE,
        )

    @property
    def total(self) -> int:
        """How many pictures the request makes."""
        return len(self.prompts) * self.count

    def prompt_of(self, index: int) -> str:
        """The prompt of picture ``index``."""
        return self.prompts[index // self.count]

    def negative_of(self, index: int) -> str:
        """The negative prompt of picture ``index``."""
        return self.negative_prompts[index] if self.negative_prompts else self.negative_prompt

    def guidance_of(self, index: int) -> float:
        """The guidance scale of picture ``index``."""
        return self.guidance_scales[index] if self.guidance_scales else self.guidance_scale

    def seed_of(self, index: int) -> int:
        """The seed of picture ``index``."""
        return self.seeds[index] if self.seeds else self.seed + index

    @property
    def texts(self) -> tuple[str, ...]:
        """All prompts, then all negative prompts."""
        return (*self.prompts, *(self.negative_prompts or (self.negative_prompt,)))

    def alone(self, index: int) -> Self:
        """The request of picture ``index`` by itself.

        What it makes may differ in the last bits, as its pictures are denoised by themselves.
        """
        return dataclasses.replace(
            self,
            prompts=(self.prompt_of(index),),
            negative_prompt=self.negative_of(index),
            guidance_scale=self.guidance_of(index),
            seed=self.seed_of(index),
            count=1,
            negative_prompts=(),
            guidance_scales=(),
            seeds=(),
        )


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
        check_text("init_image", self.init_image, empty_ok=False)
        check_text("init_sha256", self.init_sha256, empty_ok=True)
        check_float("strength", self.strength, 0.0, 1.0)
        if self.denoises:
            check_run("strength", self.strength, self.steps)

    @property
    def denoises(self) -> bool:
        """Whether anything of the start picture is replaced."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpaint(ImageToImage):
    """A part of a picture painted anew; every pixel outside of the mask stays as it was.

    The whole picture is fitted to ``width`` x ``height``, which is the result's size; where it is
    less than 8 pixels larger it is cropped, and where it is less than 8 pixels smaller it keeps its
    own size. With ``only_masked`` the result has the size of the picture in its file, and the
    masked part alone is scaled to ``width`` x ``height``.

    Attributes:
        mask_image: Path of the mask, which is scaled to the picture: white is painted anew.
        mask_sha256: Hash of that file, as ``init_sha256``.
        mask_invert: Whether black is painted anew instead.
        mask_blur: Pixels, 0 to 256, over which the new fades into the old. They lie inside of the
            mask.
        only_masked: Whether nothing but the masked part and its padding is looked at.
        padding: Pixels of the picture around the mask that are looked at then, 0 to 4096.
    """

    kind: ClassVar[str] = "inpaint"
    DEFAULT_PADDING: ClassVar[int] = 32

    mask_image: str
    mask_sha256: str = ""
    mask_invert: bool = False
    mask_blur: int = 4
    only_masked: bool = False
    padding: int = DEFAULT_PADDING
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be made; see ``TextToImage``.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        ImageToImage.__post_init__(self)
        check_text("mask_image", self.mask_image, empty_ok=False)
        check_text("mask_sha256", self.mask_sha256, empty_ok=True)
        check_bool("mask_invert", self.mask_invert)
        check_int("mask_blur", self.mask_blur, 0, 256)
        check_bool("only_masked", self.only_masked)
        check_int("padding", self.padding, 0, MAX_SIDE)
        _check_no_second_pass(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outpaint(ImageToImage):
    """A picture painted on beyond its edges.

    ``width`` x ``height`` is the size of the whole; the picture is fitted to what the four sides
    leave of it as in ``Inpaint``. Where it keeps its own size, the whole is as much smaller.

    Attributes:
        left: Pixels added, 0 to 4096.
        top: Likewise.
        right: Likewise.
        bottom: Likewise.
        mask_blur: Pixels, 0 to 256, of the picture along the new parts that are painted anew too,
            over which the new fades into the old; with 0 every pixel of the picture stays as it is.
    """

    kind: ClassVar[str] = "outpaint"

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0
    mask_blur: int = 0
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be made; see ``TextToImage``.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        ImageToImage.__post_init__(self)
        for name in ("left", "top", "right", "bottom"):
            check_int(name, getattr(self, name), 0, MAX_SIDE)
        check_int("mask_blur", self.mask_blur, 0, 256)
        if not self.left + self.top + self.right + self.bottom:
            raise InvalidRequest("left", "no side is added to; give left, top, right or bottom.")
        for name, kept in zip(("width", "height"), self.kept_size, strict=True):
            if kept < LATENT_SCALE:
                raise InvalidRequest(
                    name,
                    f"{getattr(self, name)} leaves less than {LATENT_SCALE} pixels to the picture; "
                    "add less to its sides.",
                )
        _check_no_second_pass(self)

    @property
    def kept_size(self) -> tuple[int, int]:
        """Width and height that the picture has within the whole, in pixels."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale(ImageToImage):
    """A picture made larger, and its details anew.

    ``width`` x ``height`` is the size of the result. The picture is scaled to it, and denoised in
    overlapping windows that agree at every step, so that memory is bounded and no seam is left
    (Bar-Tal et al. 2023, arXiv:2302.08113). With an upscaler's file and a strength of 0 it is not
    denoised, and no model is loaded.

    Attributes:
        window: Side of the windows in pixels, a multiple of 8; 0 for the whole picture at once.
        upscaler: What makes it larger: ``lanczos``, or the file of an ESRGAN-type network or its
            name in the library, behind which the picture is scaled to the size asked for.
        upscaler_sha256: Hash of that file, as of ``LoraUse``.
    """

    kind: ClassVar[str] = "upscale"
    STRENGTH: ClassVar[float] = 0.2
    """Each window is told of the whole: with more, those without the subject paint it again."""

    window: int = 0
    upscaler: str = Enlarging.LANCZOS
    upscaler_sha256: str = ""
    strength: float = STRENGTH

    def __post_init__(self) -> None:
        """Refuse what cannot be made; see ``TextToImage``.

        Raises:
            InvalidRequest: Naming the first field that is wrong and what would be right.
        """
        ImageToImage.__post_init__(self)
        check_window("window", self.window)
        check_text("upscaler", self.upscaler, empty_ok=False)
        check_text("upscaler_sha256", self.upscaler_sha256, empty_ok=True)
        if self.upscaler == Enlarging.LATENT:
            raise InvalidRequest(
                "upscaler", "latent scales what a model has just made; take lanczos or a file here."
            )
        _check_no_second_pass(self)

    @property
    def denoises(self) -> bool:
        """Whether anything of the picture is replaced once it is larger."""
        return self.strength > 0 or not is_upscaler_file(self.upscaler)


Request = TextToImage | ImageToImage | Inpaint | Outpaint | Upscale


def enlarger_of(request: Request) -> Upscale | SecondPass | None:
    """Give the part of a request that says what makes its pictures larger, if anything does."""
    return request if isinstance(request, Upscale) else request.second_pass


def _check_no_second_pass(request: TextToImage) -> None:
    if request.second_pass is not None:
        raise InvalidRequest(
            "second_pass", f"does not go with {request.kind}; leave one of the two out."
        )
