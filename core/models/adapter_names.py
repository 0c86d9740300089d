"""Names of tensors by which adapters and embeddings are told, used or not. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.models.lora_keys import TEXT, TEXT_2

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
    (re.compile(r"bundle_emb\..*_out$"), "a bundled embedding for the text encoder's output"),
)


def unsupported_form(names: Iterable[str]) -> str | None:
    """Name the form of adapter that some tensors have and that is not applied, or give None."""
    names = tuple(names)
    for pattern, what in _UNSUPPORTED:
        if any(pattern.search(name) for name in names):
            return what
    return None
