"""Texts: each encoded once and by itself, cut where the encoder ends."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import ModelInvalid
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.sampling.text import KEPT, TextEmbeddings


@pytest.fixture(scope="module")
def loaded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Components:
    return load(
        identify(tiny_model),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )


class Counted(torch.nn.Module):
    """A text encoder that writes down what it is given."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.calls: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor | None) -> Any:
        self.calls.append((ids, attention_mask))
        return self.encoder(ids, attention_mask=attention_mask)


@pytest.fixture
def encoder(loaded: Components) -> Counted:
    return Counted(loaded.text_encoder)


@pytest.fixture
def texts(loaded: Components, encoder: Counted) -> TextEmbeddings:
    return TextEmbeddings(dataclasses.replace(loaded, text_encoder=encoder))


def test_embeddings_stand_in_the_order_of_the_texts(texts: TextEmbeddings) -> None:
    both = texts.of(["red", "blue", "red"])
    assert both.shape == (3, 77, 16)
    assert torch.equal(both[0], both[2])
    assert not torch.equal(both[0], both[1])
    assert torch.equal(both[1:2], texts.of(["blue"]))


def test_an_embedding_does_not_depend_on_its_neighbours(loaded: Components) -> None:
    alone = TextEmbeddings(loaded).of(["red"])
    together = TextEmbeddings(loaded).of(["the moon at night", "red"])
    assert torch.equal(together[1:], alone)


def test_a_text_is_encoded_once_while_it_is_kept(texts: TextEmbeddings, encoder: Counted) -> None:
    texts.of(["red", "red"])
    for number in range(KEPT - 1):
        texts.of([str(number)])
        texts.of(["red"])  # What is used stays.
    assert len(encoder.calls) == KEPT
    texts.of(["one too many"])
    texts.of(["red"])
    assert len(encoder.calls) == KEPT + 1
    texts.of(["0"])  # The oldest has gone.
    assert len(encoder.calls) == KEPT + 2


def test_texts_are_padded_and_cut_to_the_encoders_length(
    texts: TextEmbeddings, encoder: Counted
) -> None:
    texts.of([""])
    texts.of(["red " * 200])
    for ids, mask in encoder.calls:
        assert ids.shape == (1, 77)
        assert mask is None
    cut = encoder.calls[1][0][0]
    assert cut[0] != cut[1]
    assert len(set(cut[1:76].tolist())) == 1
    assert cut[76] not in cut[:76]  # The end is kept where the text is cut.


def test_a_mask_is_given_to_an_encoder_that_wants_one(loaded: Components, encoder: Counted) -> None:
    wants = dataclasses.replace(loaded, text_encoder=encoder, text_uses_mask=True)
    TextEmbeddings(wants).of(["red moon"])
    words = len(loaded.tokenizer("red moon").input_ids)
    mask = encoder.calls[0][1]
    assert mask is not None
    assert mask[0].tolist() == [1] * words + [0] * (77 - words)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ""),
        ("red " * 75, ""),
        ("red " * 75 + "blue", "blue"),
        ("red " * 75 + "blue moon", "blue moon"),
        ("red " * 74 + "blue moon", "moon"),
    ],
)
def test_the_end_that_is_cut_is_told(texts: TextEmbeddings, text: str, cut: str) -> None:
    assert texts.cut_from(text) == cut


def test_a_long_text_is_no_matter_for_the_terminal(
    texts: TextEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, line, *a, **k: said.append(line))
    texts.cut_from("red " * 200)
    texts.of(["red " * 200])
    assert said == []


def test_numbers_that_are_not_finite_are_named(loaded: Components) -> None:
    class Broken(torch.nn.Module):
        def forward(self, ids: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor]:
            return (torch.full((1, 77, 16), float("nan")),)

    broken = dataclasses.replace(loaded, text_encoder=Broken())
    with pytest.raises(ModelInvalid, match=r"text encoder of .* not finite"):
        TextEmbeddings(broken).of(["red"])
