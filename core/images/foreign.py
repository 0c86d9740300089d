"""What another program's picture says of how it was made, in our own terms. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.images.notations import Notation
from core.images.samplers import SamplerMatch, match_sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedLora:
    """A LoRA that took part.

    Attributes:
        name: As the program called it: a file's name or a title.
        weight: Its scale; 1 is as trained.
        hash: As the program wrote it, or empty.
        text_weight: The scale of its part in the text encoder; None for ``weight``.
    """

    name: str
    weight: float = 1.0
    hash: str = ""
    text_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedEmbedding:
    """A textual inversion that took part.

    Attributes:
        name: The word for it in the prompts.
        hash: As the program wrote it, or empty.
    """

    name: str
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRefiner:
    """A model that took over in the course of the run.

    Attributes:
        name: As the program called it.
        hash: As the program wrote it, or empty.
        start: Share of the run after which it did; None if that is not said.
    """

    name: str
    hash: str = ""
    start: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedSecondPass:
    """A second pass at a larger size that took part, known as hires fix.

    Attributes:
        scale: Times as large; None if a size is said instead.
        width: In pixels, of the larger picture, if that is said.
        height: Likewise.
        steps: Of its whole run; None for as many as in the first pass.
        strength: Share of the larger picture that was replaced.
        upscaler: What made it larger, by the program's own name.
        upscaler_hash: The beginning of its file's hash, if that is said.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    strength: float | None = None
    upscaler: str = ""
    upscaler_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A file of the user's that seems to be one that a picture was made with.

    Attributes:
        path: Where it lies; of a model, what it is called here.
        family: The architecture it belongs to.
        is_sure: False if it has the name but another hash than the picture says.
    """

    path: str
    family: str
    is_sure: bool

    def named(self, name: str) -> Match:
        """Give the same, called by a name."""
        return replace(self, path=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """The settings of a picture that another program made. What it does not say is None or empty.

    Attributes:
        source: Which form it was read from: ``"a1111"``, ``"comfyui"``, ...
        program: The program, with its version if that is said.
        prompt: As the program has it, with its own marks for weights and LoRAs.
        negative_prompt: Likewise.
        notation: What kind of marks those are.
        steps: Denoising steps.
        sampler: The sampling method by the program's own name.
        schedule: The noise schedule by the program's own name, where it is said apart.
        guidance_scale: Guidance scale.
        guidance_rescale: Share by which guidance was rescaled.
        seed: The picture's own seed, 0 to 2**64 - 1 where the program is sound.
        width: In pixels, of what was sampled.
        height: In pixels, of what was sampled.
        strength: Share of a start picture that was replaced; None for a picture from noise.
        start_picture: Name of the start picture, as far as it is said.
        model: Name of the model.
        model_hash: Hash of the model, in whatever form the program has it.
        vae: Name of a VAE that took the place of the model's own.
        vae_hash: Hash of that VAE, as the program wrote it.
        refiner: The model that took over from it, if one did.
        clip_skip: Layers of the text encoder left out, counted from 1 (none left out).
        loras: The LoRAs that took part.
        embeddings: The textual inversions that took part, where they are said apart.
        second_pass: The second pass at a larger size, if there was one.
        unexpressed: What changed the picture and has no setting here, by the program's names.
        details: What did not change the picture, by the program's names.
        notes: Sentences about what was unclear and how it was understood.
    """

    source: str
    program: str
    prompt: str = ""
    negative_prompt: str = ""
    notation: Notation = Notation.WEB_UI
    steps: int | None = None
    sampler: str = ""
    schedule: str = ""
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    strength: float | None = None
    start_picture: str = ""
    model: str = ""
    model_hash: str = ""
    vae: str = ""
    vae_hash: str = ""
    refiner: UsedRefiner | None = None
    clip_skip: int | None = None
    loras: tuple[UsedLora, ...] = ()
    embeddings: tuple[UsedEmbedding, ...] = ()
    second_pass: UsedSecondPass | None = None
    unexpressed: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def match(self) -> SamplerMatch | None:
        """Our scheduler for its sampler, if there is any."""
        return match_sampler(self.sampler, self.schedule)
