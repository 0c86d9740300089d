"""Texts: each encoded once and by itself, in as many chunks as it takes."""

from __future__ import annotations

import copy
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
    both = texts.of(["red", "blue", "red"]).text
    assert both.shape == (3, 77, 16)
    assert torch.equal(both[0], both[2])
    assert not torch.equal(both[0], both[1])
    assert torch.equal(both[1:2], texts.of(["blue"]).text)


def test_an_embedding_does_not_depend_on_its_neighbours(loaded: Components) -> None:
    alone = TextEmbeddings(loaded).of(["red"]).text
    together = TextEmbeddings(loaded).of(["the moon at night", "red"]).text
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


def test_a_text_is_padded_to_the_encoders_length(
    texts: TextEmbeddings, encoder: Counted, loaded: Components
) -> None:
    for text in ("", "red moon", "red " * 75):
        texts.of([text])
        ids, mask = encoder.calls[-1]
        plain = loaded.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt")
        assert torch.equal(ids, plain.input_ids)
        assert mask is None


def test_a_long_text_is_encoded_in_chunks(texts: TextEmbeddings, encoder: Counted) -> None:
    both = texts.of(["red " * 100, "blue"]).text
    assert both.shape == (2, 154, 16)
    assert torch.equal(
        both[:1], torch.cat([texts.of([t]).text for t in ("red " * 75, "red " * 25)], 1)
    )
    assert torch.equal(both[1:], torch.cat([texts.of(["blue"]).text, texts.of([""]).text], 1))
    assert texts.of(["blue"], chunks=3).text.shape == (1, 231, 16)
    assert [texts.chunks_of(text) for text in ("", "red " * 75, "red " * 76)] == [1, 1, 2]
    assert [texts.count(text) for text in ("", "(red:1.2), blue", "red " * 100)] == [0, 3, 100]


def test_weights_multiply_and_leave_the_mean(loaded: Components) -> None:
    encoder = copy.deepcopy(loaded.text_encoder)
    encoder.get_submodule("final_layer_norm").bias.data.fill_(0.2)
    texts = TextEmbeddings(dataclasses.replace(loaded, text_encoder=encoder))
    plain, weighted = texts.of(["a red blue"]).text, texts.of(["a (red:1.5) [blue]"]).text
    expected = plain.clone()
    expected[:, 2] *= 1.5
    expected[:, 3] /= 1.1
    assert float(expected.mean() / plain.mean()) != pytest.approx(1, abs=1e-4)
    expected *= plain.mean() / expected.mean()
    torch.testing.assert_close(weighted, expected)
    assert torch.equal(texts.of(["a (red:1) blue"]).text, plain)


def test_a_mean_of_nothing_is_not_restored(texts: TextEmbeddings) -> None:
    # A norm without a bias leaves a mean of nothing but rounding.
    plain, weighted = texts.of(["a red"]).text, texts.of(["a (red:2)"]).text
    expected = plain.clone()
    expected[:, 2] *= 2
    assert torch.equal(weighted, expected)


def test_an_embedding_takes_the_place_of_its_word(loaded: Components) -> None:
    table = loaded.text_encoder.get_input_embeddings().weight
    before = table.detach().clone()
    words = [loaded.tokenizer(w, add_special_tokens=False).input_ids[0] for w in ("red", "blue")]
    texts = TextEmbeddings(loaded, {"fox": {"text_encoder": table[words].detach().clone()}})
    plain = TextEmbeddings(loaded)
    # Vectors that are those of two words mean what the two words mean.
    assert torch.equal(texts.of(["a fox, at night"]).text, plain.of(["a red blue, at night"]).text)
    assert torch.equal(texts.of(["a (fox:1.2)"]).text, plain.of(["a (red blue:1.2)"]).text)
    assert texts.count("a fox") == 3
    assert torch.equal(texts.of(["a circle"]).text, plain.of(["a circle"]).text)
    assert torch.equal(table, before)


def test_a_mask_is_given_to_an_encoder_that_wants_one(loaded: Components, encoder: Counted) -> None:
    wants = dataclasses.replace(loaded, text_encoder=encoder, text_uses_mask=True)
    TextEmbeddings(wants).of(["red moon"])
    words = len(loaded.tokenizer("red moon").input_ids)
    mask = encoder.calls[0][1]
    assert mask is not None
    assert mask[0].tolist() == [1] * words + [0] * (77 - words)


def test_a_long_text_is_no_matter_for_the_terminal(
    texts: TextEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, line, *a, **k: said.append(line))
    texts.count("red " * 200)
    texts.of(["red " * 200])
    assert said == []


def test_numbers_that_are_not_finite_are_named(loaded: Components) -> None:
    class Broken(torch.nn.Module):
        def forward(self, ids: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor]:
            return (torch.full((1, 77, 16), float("nan")),)

    broken = dataclasses.replace(loaded, text_encoder=Broken())
    with pytest.raises(ModelInvalid, match=r"text encoder of .* not finite"):
        TextEmbeddings(broken).of(["red"])


@pytest.fixture(scope="module")
def xl(tiny_xl_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Components:
    return load(
        identify(tiny_xl_model),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )


def test_two_encoders_stand_side_by_side(xl: Components) -> None:
    texts = TextEmbeddings(xl)
    found = texts.of(["a red circle", "blue"])
    assert found.text.shape == (2, 77, 16 + 24)
    assert found.pooled is not None
    assert found.pooled.shape == (2, 24)
    assert torch.equal(found.pooled[1:], texts.of(["blue"]).pooled)  # type: ignore[arg-type]


def test_weights_multiply_the_states_of_both_and_not_the_pooled_text(xl: Components) -> None:
    plain, weighted = (TextEmbeddings(xl).of([text]) for text in ("a red", "a (red:2)"))
    changed = (plain.text - weighted.text).abs().amax(dim=(0, 1))
    assert bool((changed > 0).all())
    assert torch.equal(plain.pooled, weighted.pooled)  # type: ignore[arg-type]


def test_the_pooled_text_is_that_of_the_first_chunk(xl: Components) -> None:
    texts = TextEmbeddings(xl)
    long, first = texts.of(["a red circle BREAK blue"]), texts.of(["a red circle"], chunks=2)
    assert long.text.shape == first.text.shape == (1, 154, 40)
    assert torch.equal(long.text[:, :77], first.text[:, :77])
    assert torch.equal(long.pooled, first.pooled)  # type: ignore[arg-type]


def test_an_empty_negative_text_is_zeros_where_the_model_says_so(xl: Components) -> None:
    texts = TextEmbeddings(xl)
    nothing = texts.negative_of("", chunks=2)
    assert nothing.text.shape == (1, 154, 40)
    assert not nothing.text.any()
    assert nothing.pooled is not None
    assert not nothing.pooled.any()
    assert torch.equal(texts.negative_of("red", chunks=1).text, texts.of(["red"]).text)
    says_not = dataclasses.replace(xl.identity, zeros_for_empty=False)
    encoded = TextEmbeddings(dataclasses.replace(xl, identity=says_not)).negative_of("", chunks=1)
    assert torch.equal(encoded.text, texts.of([""]).text)
