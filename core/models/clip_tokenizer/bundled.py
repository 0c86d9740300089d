"""CLIP's byte-pair encoder with the vocabulary that is bundled."""

from __future__ import annotations

from typing import Any

from transformers import CLIPTokenizer

from core.models.clip_tokenizer.vocabulary import END, MAX_LENGTH, START, bundled_vocabulary


def bundled_tokenizer(pad_token: str) -> Any:
    """Build CLIP's tokenizer; Stable Diffusion 1.x pads with the end, OpenCLIP's models with "!".

    Args:
        pad_token: What texts are filled up with.
    """
    vocab, merges = bundled_vocabulary()
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=pad_token,
        model_max_length=MAX_LENGTH,
    )
