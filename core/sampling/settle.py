"""Prompts with nothing left to choose: options drawn, LoRAs found. Imports no torch."""

from __future__ import annotations

import dataclasses

from core.errors import InvalidRequest
from core.models.names import Resolver, locate
from core.request import LoraUse, Request
from core.sampling.prompt_syntax import choose, take_loras


def settled(request: Request, find_lora: Resolver) -> Request:
    """Give the request as it is carried out and recorded.

    Each ``{a|b}`` is replaced by the option that the picture's seed draws, so that there may be a
    prompt for each picture afterwards; each ``<lora:name:0.8>`` moves from the prompts to
    ``loras``. Doing it again changes nothing.

    Args:
        request: What is to be made.
        find_lora: What knows LoRAs by name.

    Raises:
        InvalidRequest: If the prompts name different LoRAs, the negative prompt names one, or a
            weight is no number.
        ModelMissing: If a LoRA is not there.
    """
    drawn = tuple(choose(request.prompt_of(i), request.seed_of(i)) for i in range(request.total))
    if drawn != tuple(request.prompt_of(i) for i in range(request.total)):
        request = dataclasses.replace(request, prompts=drawn, count=1)
    negatives = [_without_loras(text) for text in _drawn_negatives(request)]
    parted = [take_loras(prompt, "prompts") for prompt in request.prompts]
    texts = tuple(text.strip() if tags else text for text, tags in parted)
    named = [tags for _, tags in parted]
    if len(set(named)) > 1:
        raise InvalidRequest(
            "prompts", "name different LoRAs; make the pictures of each in a run of their own."
        )
    loras = tuple(
        LoraUse(
            path=str(locate(tag.name, find_lora, "LoRA")),
            weight=tag.weight,
            text_weight=None if tag.text_weight == tag.weight else tag.text_weight,
        )
        for tag in named[0]
    )
    return dataclasses.replace(
        request,
        prompts=texts,
        negative_prompt=negatives[0],
        negative_prompts=() if len(set(negatives)) == 1 else tuple(negatives),
        loras=request.loras + loras,
    )


def _drawn_negatives(request: Request) -> list[str]:
    """Give each picture's negative prompt where each has its own seed, or else the one of all."""
    if not (request.seeds or request.negative_prompts):
        return [choose(request.negative_prompt, request.seed)]
    return [choose(request.negative_of(i), request.seed_of(i)) for i in range(request.total)]


def _without_loras(negative: str) -> str:
    text, tags = take_loras(negative, "negative_prompt")
    if tags:
        raise InvalidRequest(
            "negative_prompt", f"names the LoRA {tags[0].name}; name it in the prompt instead."
        )
    return text
