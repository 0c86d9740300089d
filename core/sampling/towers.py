"""Text encoders as the sampling and the training read them: token numbers in, hidden states out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ModelInvalid
from core.models.components import Components, TextReader, TextTower
from core.sampling.conditioning import Conditioning

Vectors = Mapping[str, Mapping[str, Tensor]]
"""Words that stand for vectors ``(n, D)`` of their own, for each text encoder by its name."""

Place = tuple[int, int, tuple[str, int]]
"""Which text, which of its tokens, and the word and number of the vector that stands there."""

Encoded = tuple[Tensor, Tensor | None]
"""``(B, T, D)``: the last hidden states after the final norm, as Stable Diffusion 1.x and 2.x were
trained on, or those before the last layer, as SDXL was; and there the pooled text ``(B, P)`` of the
encoder that projects it."""


def encode_tokens(
    tower: TextTower, components: Components, rows: Sequence[Sequence[int]]
) -> Encoded:
    """Encode texts with one text encoder.

    Args:
        tower: The encoder.
        components: The model that it is of.
        rows: Each text's token numbers, without those for the begin and the end.
    """
    tokenizer = tower.tokenizer
    frame: Any = tokenizer(
        "", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    # The begin, the end, then padding; the text goes between the first two.
    begin, *rest = frame.input_ids[0].tolist()
    numbers = [[begin, *row, *rest][: tokenizer.model_max_length] for row in rows]
    ids = torch.tensor(numbers, device=components.device)  # (B, T)
    if isinstance(tower.encoder, TextReader):
        return tower.encoder.read(ids)
    mask = None
    if components.text_uses_mask:
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            mask[i, : len(row) + 2] = 1
    if not components.identity.needs_size:
        return tower.encoder(ids, attention_mask=mask)[0], None
    output = tower.encoder(ids, output_hidden_states=True)
    return output.hidden_states[-2], getattr(output, "text_embeds", None)


def check_finite(components: Components, encoded: Sequence[Encoded]) -> None:
    """Refuse numbers that are none.

    Raises:
        ModelInvalid: If there are any.
    """
    for values in (values for pair in encoded for values in pair if values is not None):
        if not torch.isfinite(values).all():
            raise ModelInvalid(
                f"The text encoder of {components.identity.path} gives numbers that are not "
                "finite; choose precision fp32, or copy its weights again."
            )


def side_by_side(components: Components, encoded: Sequence[Encoded]) -> Conditioning:
    """Put what a model's text encoders make of the same texts side by side.

    Returns:
        Their states, and the pooled text of the encoder that gives any, in the model's number
        format.
    """
    states = torch.cat([states for states, _ in encoded], dim=-1)
    pooled = next((pooled for _, pooled in encoded if pooled is not None), None)
    return Conditioning(text=states, pooled=pooled).map(lambda values: values.to(components.dtype))


@contextmanager
def vectors_in_place(tower: TextTower, places: Sequence[Place], vectors: Vectors) -> Iterator[None]:
    """Let an encoder see vectors at their places; its own table is not written to.

    Args:
        tower: The encoder.
        places: Where they stand in the texts that ``encode_tokens`` is given.
        vectors: The vectors.
    """
    if not places:
        yield
        return

    def put(_module: nn.Module, _ids: Any, table_rows: Tensor) -> Tensor:
        rows = table_rows.clone()  # (B, T, D)
        for text, token, (word, number) in places:
            # The first place is the begin's.
            rows[text, 1 + token] = vectors[word][tower.name][number].to(rows.device, rows.dtype)
        return rows

    handle = word_table(tower.encoder).register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def word_table(encoder: nn.Module) -> nn.Embedding:
    """Find the module that turns token numbers into vectors."""
    tables = [
        module for name, module in encoder.named_modules() if name.endswith("token_embedding")
    ]
    assert len(tables) == 1, f"{len(tables)} tables of words"
    assert isinstance(tables[0], nn.Embedding)
    return tables[0]
