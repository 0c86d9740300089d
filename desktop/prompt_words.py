"""LoRAs and embeddings of the library, used by naming them in a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from core.models.listing import Listed
from core.models.verdict import Kind
from core.request import EmbeddingUse, LoraUse, Request
from core.sampling.chunks import words_used
from core.sampling.prompt_syntax import take_loras


def with_embeddings(request: Request, names: Collection[str]) -> Request:
    """Let a request use the embeddings whose names stand in its prompts.

    Args:
        request: What is to be made.
        names: Those that may be used, unless the request has one of that name.

    Raises:
        InvalidRequest: If a LoRA's weight in a prompt is no number.
    """
    # The name of a LoRA is no word of the prompt.
    texts = [take_loras(prompt, "prompts")[0] for prompt in request.prompts]
    texts.append(take_loras(request.negative_prompt, "negative_prompt")[0])
    # A picture that was made with one names its file already.
    own = {use.token.casefold() for use in request.embeddings}
    used = frozenset().union(*(words_used(text, names) for text in texts))
    new = sorted(name for name in used if name.casefold() not in own)
    uses = tuple(EmbeddingUse(path=name, token=name) for name in new)
    return dataclasses.replace(request, embeddings=request.embeddings + uses)


def named_again(request: Request, library: Sequence[Listed]) -> Request:
    """Name a request's LoRAs in its prompts, as far as the library has them.

    Embeddings of the library are named there already, so that they need no mention beside.

    Args:
        request: What was made.
        library: The models there are.

    Returns:
        What makes the same; ``loras`` and ``embeddings`` keep those that the library has not.
    """
    loras = {str(row.path): row.name for row in library if row.kind is Kind.LORA}
    words = {(str(row.path), row.name) for row in library if row.kind is Kind.EMBEDDING}
    tags = [_tag(loras[use.path], use) for use in request.loras if use.path in loras]
    return dataclasses.replace(
        request,
        prompts=tuple(" ".join(filter(None, (text, *tags))) for text in request.prompts),
        loras=tuple(use for use in request.loras if use.path not in loras),
        embeddings=tuple(use for use in request.embeddings if (use.path, use.token) not in words),
    )


def _tag(name: str, use: LoraUse) -> str:
    weights = [use.weight] if use.text_weight is None else [use.text_weight, use.weight]
    return f"<lora:{name}:{':'.join(f'{weight:.15g}' for weight in weights)}>"
