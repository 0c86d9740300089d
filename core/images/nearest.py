"""From another program's settings to the nearest request that can be made here. Imports no torch.

Nothing is dropped in silence: what has no like here is said, a sentence each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from core.images.foreign import Foreign, Match, UsedEmbedding, UsedLora, UsedSecondPass
from core.images.notations import in_ours
from core.images.readers.a1111 import LORA
from core.request import (
    LATENT_SCALE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    EmbeddingUse,
    Enlarging,
    LoraUse,
    SchedulerName,
    SecondPass,
)
from core.request_parts import LARGEST_ADAPTER_WEIGHT

LONGEST_QUOTED = 60
"""Characters of a value that a sentence quotes."""

MOST_SENTENCES = 16
"""Settings without a like that are said one by one; the rest is counted."""

_MAX_GUIDANCE = 100.0
_LARGEST_SCALE = 8.0

_REFINED, _REFINER = "sdxl", "sdxl-refiner"
"""The families of which one takes over from the other."""

_USUAL_STEPS = 20
"""Steps of a second pass where neither the picture nor the settings say how many."""

_UPSCALERS = {
    "lanczos": Enlarging.LANCZOS,
    "none": Enlarging.LANCZOS,
    "latent": Enlarging.LATENT,
}
"""Ours for what others call the same; no upscaler at all is a Lanczos filter in the web UI."""


class Finder(Protocol):
    """Whoever knows which of the user's files a picture was made with."""

    def lora(self, used: UsedLora) -> Match | None:
        """Find a LoRA."""

    def embedding(self, used: UsedEmbedding) -> Match | None:
        """Find an embedding."""

    def vae(self, name: str, sha256: str) -> Match | None:
        """Find a VAE by its name and its hash."""

    def model(self, name: str, sha256: str) -> Match | None:
        """Find a model by its name and its hash."""

    def upscaler(self, name: str, sha256: str) -> Match | None:
        """Find an upscaler by its name and its hash."""


class _Nothing:
    """Finds nothing."""

    def lora(self, used: UsedLora) -> Match | None:
        del used
        return None

    def embedding(self, used: UsedEmbedding) -> Match | None:
        del used
        return None

    def vae(self, name: str, sha256: str) -> Match | None:
        del name, sha256
        return None

    def model(self, name: str, sha256: str) -> Match | None:
        del name, sha256
        return None

    def upscaler(self, name: str, sha256: str) -> Match | None:
        del name, sha256
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """What of another program's settings can be asked for here.

    Attributes:
        settings: By the request's names, each within its range; what is not said is not in it.
        lost: A sentence for each thing that could not be taken over as it was.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def nearest(
    found: Foreign,
    *,
    given: Collection[str] = (),
    size_multiple: int = LATENT_SCALE,
    schedulers: Collection[SchedulerName] = tuple(SchedulerName),
    finder: Finder | None = None,
    family: str = "",
) -> Nearest:
    """Find the nearest settings.

    Args:
        found: What the picture says.
        given: Names of settings that are decided already, of which nothing is said or lost; a
            strength is taken over only where ``init_image`` is among them.
        size_multiple: What the model's width and height must be multiples of, in pixels.
        schedulers: Those that work with the model.
        finder: Finds the files that the picture names; without it, none are.
        family: The model's architecture, for which these must be.
    """
    finder = finder or _Nothing()
    way = _Way(found, frozenset(given))
    way.texts()
    way.adapters(finder, family)
    way.refiner(finder, family)
    way.steps()
    way.guidance()
    way.scheduler(schedulers)
    way.seed()
    way.size(size_multiple)
    way.second_pass(finder)
    way.start()
    way.rest()
    return Nearest(settings=way.settings, lost=tuple(way.lost))


class _Way:
    """Goes through the settings one after the other."""

    def __init__(self, found: Foreign, given: frozenset[str]) -> None:
        self._found = found
        self._given = given
        self.settings: dict[str, Any] = {}
        self.lost: list[str] = []

    def texts(self) -> None:
        found = self._found
        prompt, negative = (
            _clean(in_ours(LORA.sub("", text), found.notation))
            for text in (found.prompt, found.negative_prompt)
        )
        self._set("prompts", (prompt,))
        self._set("negative_prompt", negative)

    def adapters(self, finder: Finder, family: str) -> None:
        loras, embeddings = [], []
        for lora in self._found.loras if "loras" not in self._given else ():
            name = f"The LoRA {_quoted(lora.name)} at {lora.weight:g}"
            if match := self._fitting(name, lora.hash, finder.lora(lora), family, "not applied"):
                weights = [self._weight(name, w) for w in (lora.weight, lora.text_weight)]
                loras.append(
                    LoraUse(path=match.path, weight=weights[0] or 0.0, text_weight=weights[1])
                )
        for word in self._found.embeddings if "embeddings" not in self._given else ():
            name = f"The embedding {_quoted(word.name)}"
            found = finder.embedding(word)
            if match := self._fitting(name, word.hash, found, family, "a word like any other"):
                embeddings.append(EmbeddingUse(path=match.path, token=_clean(word.name)))
        if self._found.vae and "vae" not in self._given:
            name, digits = f"The VAE {_quoted(self._found.vae)}", self._found.vae_hash
            found = finder.vae(self._found.vae, digits)
            if found is not None and family in ("sd1", "sd2") and found.family != "sdxl":
                # Stable Diffusion 1.x and 2.x have the same latents.
                found = replace(found, family=family)
            if match := self._fitting(name, digits, found, family, "not used"):
                self._set("vae", match.path)
        if loras:
            self._set("loras", tuple(loras))
        if embeddings:
            self._set("embeddings", tuple(embeddings))

    def refiner(self, finder: Finder, family: str) -> None:
        used = self._found.refiner
        if used is None:
            return
        if "refiner" not in self._given:
            name = f"The refiner {_quoted(used.name)}"
            found = finder.model(used.name, used.hash)
            if family not in ("", _REFINED):
                self.lost.append(f"{name} goes with SDXL base models and is not used.")
            elif found is not None and found.family != _REFINER:
                self.lost.append(f"{name} is no SDXL refiner in the library and is not used.")
            elif match := self._fitting(name, used.hash, found, _REFINER, "not used"):
                self._set("refiner", match.path)
        if used.start is not None and {"refiner"} & (self.settings.keys() | self._given):
            self._set("refiner_start", self._held("refiner_start", used.start, 0.0, 1.0))

    def _fitting(
        self, name: str, digits: str, match: Match | None, family: str, then: str
    ) -> Match | None:
        """Give the file that was found for something if it can be used, and say what is amiss."""
        hashed = f" (hash {_quoted(digits)})" if digits else ""
        if match is None:
            self.lost.append(
                f"{name}{hashed} is not in the library and is {then}; add its file by `stepwise "
                "models add`."
            )
            return None
        if family and match.family != family:
            self.lost.append(
                f"{name}{hashed} is for another kind of model ({match.family}) and is {then}."
            )
            return None
        if not match.is_sure:
            self.lost.append(f"{name}{hashed} is in the library with another hash; that is used.")
        return match

    def _weight(self, name: str, weight: float | None) -> float | None:
        if weight is None:
            return None
        held = min(max(weight, -LARGEST_ADAPTER_WEIGHT), LARGEST_ADAPTER_WEIGHT)
        if held != weight:
            self.lost.append(f"{name}: its weight is beyond ours; {held:g} is used.")
        return held

    def steps(self) -> None:
        steps = self._found.steps
        if steps is not None:
            self._set("steps", self._held("steps", steps, 1, MAX_STEPS))

    def guidance(self) -> None:
        scale = self._found.guidance_scale
        if scale is not None:
            self._set("guidance_scale", self._held("guidance_scale", scale, 0.0, _MAX_GUIDANCE))
        if share := self._found.guidance_rescale:
            self._set("guidance_rescale", self._held("guidance_rescale", share, 0.0, 1.0))

    def scheduler(self, schedulers: Collection[SchedulerName]) -> None:
        sampler, match = self._found.sampler, self._found.match
        if not sampler or "scheduler" in self._given:
            return
        name = _quoted(sampler)
        if match is None:
            self.lost.append(f"The sampler {name} is not known; the model's usual one is used.")
            return
        if match.scheduler not in schedulers:
            self.lost.append(
                f"The sampler {name} does not work with this model; its usual one is used."
            )
            return
        self._set("scheduler", match.scheduler)
        if not match.same_method:
            self.lost.append(
                f"The sampler {name} is not one of ours; {match.scheduler}, the nearest, is used."
            )
        if not match.same_schedule:
            schedule = f"schedule {_quoted(self._found.schedule)}"
            self.lost.append(
                f"The {schedule if self._found.schedule else 'schedule'} of the sampler {name} is "
                f"not one of ours; {match.scheduler} is used with its own."
            )

    def seed(self) -> None:
        seed = self._found.seed
        if seed is None or "seed" in self._given:
            return
        held = seed % (MAX_SEED + 1)
        self._set("seed", held)
        if held != seed:
            self.lost.append(
                f"The seed {seed} is beyond ours; its lowest 32 bits, {held}, are used."
            )

    def size(self, multiple: int) -> None:
        for name in ("width", "height"):
            side: int | None = getattr(self._found, name)
            if side is None or name in self._given:
                continue
            largest = MAX_SIDE - MAX_SIDE % multiple
            fitting = min(max(round(side / multiple) * multiple, multiple), largest)
            self._set(name, fitting)
            if fitting != side:
                self.lost.append(
                    f"The {name} {side} is made {fitting}, a multiple of {multiple} that fits."
                )

    def second_pass(self, finder: Finder) -> None:
        used = self._found.second_pass
        if used is None or "second_pass" in self._given:
            return
        width, height = (self.settings.get(name, 512) for name in ("width", "height"))
        scale = used.scale
        if scale is None or scale <= 0:
            # A size goes before a scale of 0, which is how the web UI says that there is none.
            scale = (used.width or 0) / width or (used.height or 0) / height
        scale = min(scale, 2.0 * MAX_SIDE)
        larger = [round(side * scale / LATENT_SCALE) * LATENT_SCALE for side in (width, height)]
        strength = SecondPass().strength if used.strength is None else used.strength
        sound = 1 < scale <= _LARGEST_SCALE and max(larger) <= MAX_SIDE
        steps = min(max(used.steps or 0, 0), MAX_STEPS)
        of = steps or self.settings.get("steps", _USUAL_STEPS)
        if not sound or not 0 < strength <= 1 or int(of * strength) < 1:
            self.lost.append(
                f"The second pass, {scale:.4g} times as large at strength {strength:.4g}, is "
                "beyond ours and is left out."
            )
            return
        if not steps and not {"steps"} & (self.settings.keys() | self._given):
            steps = of
        self._set(
            "second_pass",
            SecondPass(
                scale=scale,
                strength=strength,
                steps=steps,
                upscaler=self._upscaler(used, finder),
            ),
        )

    def _upscaler(self, used: UsedSecondPass, finder: Finder) -> str:
        name = used.upscaler.strip().casefold()
        if not name or name in _UPSCALERS:
            return _UPSCALERS.get(name, Enlarging.LANCZOS)
        if (match := finder.upscaler(used.upscaler, used.upscaler_hash)) is not None:
            if not match.is_sure:
                self.lost.append(
                    f"The upscaler {_quoted(used.upscaler)} is in the library with another hash; "
                    "that is used."
                )
            return match.path
        near = Enlarging.LATENT if name.startswith("latent") else Enlarging.LANCZOS
        self.lost.append(
            f"The upscaler {_quoted(used.upscaler)} is not one of ours nor in the library; {near}, "
            "the nearest, is used."
        )
        return near

    def start(self) -> None:
        found = self._found
        has_start = found.strength is not None or bool(found.start_picture)
        if not has_start:
            return
        if "init_image" in self._given:
            if found.strength is not None and 0 < found.strength <= 1:
                self._set("strength", found.strength)
            return
        name = f" {_quoted(found.start_picture)}" if found.start_picture else ""
        how = "" if found.strength is None else f" at strength {found.strength:g}"
        self.lost.append(
            f"The picture was made from another one{name}{how}, which is not in the file; this one "
            "begins from noise."
        )

    def rest(self) -> None:
        found = self._found
        others: dict[str, str] = {}
        if found.clip_skip is not None and found.clip_skip > 1:
            others["Clip skip"] = str(found.clip_skip)
        others |= found.unexpressed
        for name, value in list(others.items())[:MOST_SENTENCES]:
            self.lost.append(f"{_quoted(name)}: {_quoted(value)} has no like here and is left out.")
        if len(others) > MOST_SENTENCES:
            self.lost.append(
                f"{len(others) - MOST_SENTENCES} more settings have no like here and are left out."
            )
        self.lost += found.notes

    def _set(self, name: str, value: object) -> None:
        if name not in self._given:
            self.settings[name] = value

    def _held(self, name: str, value: float, low: float, high: float) -> float:
        held = min(max(value, low), high)
        if held != value and name not in self._given:
            what = name.replace("_", " ")
            self.lost.append(f"The {what} {value:.12g} is beyond ours; {held:g} is used.")
        return held


def _clean(text: str) -> str:
    """Give a text as a request takes it: without zero bytes and halves of letters."""
    return text.replace("\0", "").encode(errors="replace").decode().strip()


def _quoted(text: str) -> str:
    """Give the beginning of a text in one line."""
    line = " ".join(_clean(text).split())
    return line if len(line) <= LONGEST_QUOTED else line[:LONGEST_QUOTED].rstrip() + " ..."
