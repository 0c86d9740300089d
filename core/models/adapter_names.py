"""Names of tensors by which adapters and embeddings are told, used or not. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unsupported
from core.models.lora_keys import TEXT, TEXT_2, family_of, split_key

ENCODERS = {
    "clip_l": TEXT,
    "clip_g": TEXT_2,
    "text_encoders_0": TEXT,
    "text_encoders_1": TEXT_2,
    "emb_params": TEXT,
    "emp_params": TEXT,  # so spelled by OneTrainer
}
"""What embeddings call their vectors, by the text encoder that these are for."""

OUTPUTS = tuple(f"{name}_out" for name in ENCODERS)
"""The same for the text encoder's output, which is not used."""

_UNSUPPORTED = (
    (re.compile(r"\.(?:oft_|boft_)"), "an OFT or BOFT adapter"),
    (re.compile(r"\.[ab][12]\.weight$"), "a GLoRA adapter"),
    (re.compile(r"\.on_input$|\.ia3_l$"), "an (IA)3 adapter"),
)

NO_WORDS = (".weight", ".bias", ".alpha")
"""Ends of a lone tensor's name that is no word with its vectors."""

_IN_BUNDLES = ENCODERS | {"string_to_param.*": TEXT}
_BUNDLED = re.compile(
    rf"bundle_emb\.(?P<word>.+)\.(?P<vectors>{'|'.join(map(re.escape, _IN_BUNDLES))})(?P<out>_out)?"
)

_NO_ADAPTERS = (
    (r"^(?:control_|input_hint)|\.lora_controlnet", "a ControlNet"),
    (r"^(?:model\.diffusion_model|first_stage_model|cond_stage_model)\.", "a whole model"),
)


@dataclass(frozen=True, slots=True)
class Bundled:
    """A tensor of a word that a LoRA brings along, as OneTrainer saves them.

    Attributes:
        word: The word.
        component: The text encoder that it is for.
        is_output: Whether it is for that encoder's output, which is not used.
    """

    word: str
    component: str
    is_output: bool


def bundled(name: str) -> Bundled | None:
    """Part the name of such a tensor; None if it is none."""
    found = _BUNDLED.fullmatch(name)
    if found is None:
        return None
    return Bundled(found["word"], _IN_BUNDLES[found["vectors"]], found["out"] is not None)


def only_outputs(path: Path, names: Sequence[str]) -> Unsupported:
    """Say that an embedding has nothing but vectors that are not used."""
    return Unsupported(
        f"{path} has vectors for the text encoder's output alone ({names[0]}), which this version "
        "does not use; train the embedding without output embeddings."
    )


def is_words(names: Collection[str]) -> bool:
    """Whether the tensors of an embedding's widths are several words, each with its vectors."""
    return len(names) > 1 and not any("." in name or name in ENCODERS for name in names)


def several_words(path: Path, names: Collection[str]) -> Unsupported:
    """Say that a file holds more than one word."""
    return Unsupported(
        f"{path} looks like an embedding of {len(names)} words ({', '.join(sorted(names)[:3])}); "
        "this version takes one to a file, save each by itself."
    )


def unknown_in_lora(names: Iterable[str]) -> list[str]:
    """Give the names in a LoRA's file that nothing is done with."""
    return [name for name in names if split_key(name) is None and bundled(name) is None]


def unknown_tensors(path: Path, count: int, unknown: Sequence[str]) -> Unsupported:
    """Say that some of a LoRA's tensors are of no known form, and what they look like.

    Args:
        path: The file.
        count: How many tensors it has.
        unknown: Those that are not known, at least one.
    """
    what = unsupported_form(unknown) or next(
        (what for pattern, what in _NO_ADAPTERS if any(re.search(pattern, key) for key in unknown)),
        "",
    )
    if not what and (family := family_of(unknown, ())):
        what = f"those of {family}"
    looks = f" and look like {what}" if what else ""
    return Unsupported(
        f"{path} cannot be applied: {len(unknown)} of its {count} tensors are of no form "
        f"that is known here, such as {min(unknown)}{looks}; choose another file."
    )


def unsupported_form(names: Iterable[str]) -> str | None:
    """Name the form of adapter that some tensors have and that is not applied, or give None."""
    names = tuple(names)
    for pattern, what in _UNSUPPORTED:
        if any(pattern.search(name) for name in names):
            return what
    return None
