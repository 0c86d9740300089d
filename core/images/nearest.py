"""From another program's settings to the nearest request that can be made here. Imports no torch.

Nothing is dropped in silence: what has no like here is said, a sentence each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from core.images.foreign import Foreign
from core.images.readers.a1111 import LORA
from core.request import LATENT_SCALE, MAX_SEED, MAX_SIDE, MAX_STEPS, SchedulerName

LONGEST_QUOTED = 60
"""Characters of a value that a sentence quotes."""

MOST_SENTENCES = 16
"""Settings without a like that are said one by one; the rest is counted."""

_MAX_GUIDANCE = 100.0


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
) -> Nearest:
    """Find the nearest settings.

    Args:
        found: What the picture says.
        given: Names of settings that are decided already, of which nothing is said or lost; a
            strength is taken over only where ``init_image`` is among them.
        size_multiple: What the model's width and height must be multiples of, in pixels.
        schedulers: Those that work with the model.
    """
    finder = _Finder(found, frozenset(given))
    finder.texts()
    finder.steps()
    finder.guidance()
    finder.scheduler(schedulers)
    finder.seed()
    finder.size(size_multiple)
    finder.start()
    finder.rest()
    return Nearest(settings=finder.settings, lost=tuple(finder.lost))


class _Finder:
    """Goes through the settings one after the other."""

    def __init__(self, found: Foreign, given: frozenset[str]) -> None:
        self._found = found
        self._given = given
        self.settings: dict[str, Any] = {}
        self.lost: list[str] = []

    def texts(self) -> None:
        prompt, negative = self._found.prompt, self._found.negative_prompt
        self._set("prompts", (_clean(LORA.sub("", prompt)),))
        self._set("negative_prompt", _clean(LORA.sub("", negative)))
        for lora in self._found.loras:
            name = f"{_quoted(lora.name)} at {lora.weight:g}"
            hashed = f" (hash {_quoted(lora.hash)})" if lora.hash else ""
            self.lost.append(f"The LoRA {name}{hashed} is not applied.")

    def steps(self) -> None:
        steps = self._found.steps
        if steps is not None:
            self._set("steps", self._held("steps", steps, 1, MAX_STEPS))

    def guidance(self) -> None:
        scale = self._found.guidance_scale
        if scale is not None:
            self._set("guidance_scale", self._held("guidance_scale", scale, 0.0, _MAX_GUIDANCE))

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
        others = {"VAE": found.vae} if found.vae and "vae" not in self._given else {}
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
