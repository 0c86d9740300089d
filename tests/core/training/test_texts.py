import dataclasses

import pytest
import torch

from core.errors import ModelInvalid
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.sampling.text import TextEmbeddings
from core.training.texts import encode, most_tokens, tokens_of

CAPTIONS = ("a red circle on the moon", "", "a star, at night")


def components_of(path, tmp_path_factory):
    return load(
        identify(path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )


@pytest.fixture(scope="module")
def loaded(tiny_model, tmp_path_factory):
    return components_of(tiny_model, tmp_path_factory)


@pytest.fixture(scope="module")
def loaded_xl(tiny_xl_model, tmp_path_factory):
    return components_of(tiny_xl_model, tmp_path_factory)


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_caption_is_read_as_the_prompt_of_a_run(loaded, caption, masked):
    model = dataclasses.replace(loaded, text_uses_mask=masked)
    with torch.no_grad():
        assert torch.equal(encode(model, [caption]).text, TextEmbeddings(model).of([caption]).text)


def test_two_encoders_read_as_in_a_run(loaded_xl):
    with torch.no_grad():
        for caption in CAPTIONS:
            mine = encode(loaded_xl, [caption])
            its = (
                TextEmbeddings(loaded_xl).of([caption])
                if caption
                else TextEmbeddings(loaded_xl).negative_of("", chunks=1)
            )
            assert mine.text.shape == (1, 77, 40)
            assert torch.equal(mine.text, its.text)
            assert mine.pooled is not None
            assert its.pooled is not None
            assert torch.equal(mine.pooled, its.pooled)
        together = encode(loaded_xl, CAPTIONS)
        assert not together.text[1].any()
        assert not together.pooled[1].any()
        for i, caption in enumerate(CAPTIONS):
            torch.testing.assert_close(together.text[i], encode(loaded_xl, [caption]).text[0])


def test_brackets_and_notation_are_letters(loaded):
    caption = "a (red:1.5) [circle] BREAK"
    with torch.no_grad():
        mine = encode(loaded, [caption]).text
        ids = loaded.tokenizer(caption, padding="max_length", max_length=77, return_tensors="pt")
        assert torch.equal(mine, loaded.text_encoder(ids.input_ids)[0])


def test_a_long_caption_is_cut(loaded):
    assert most_tokens(loaded) == 75
    assert len(tokens_of(loaded, "red " * 100)) == 100
    with torch.no_grad():
        long, just = encode(loaded, ["red " * 100]), encode(loaded, ["red " * 75])
        ids = [[*loaded.tokenizer("red " * 75).input_ids]]
        assert torch.equal(long.text, loaded.text_encoder(torch.tensor(ids))[0])
    assert torch.equal(long.text, just.text)
    assert long.text.shape == (1, 77, 16)


def test_gradients_reach_the_encoders(loaded_xl):
    conditioning = encode(loaded_xl, ["a red circle", ""])
    (conditioning.text.sum() + conditioning.pooled.square().sum()).backward()
    for tower in loaded_xl.text_towers:
        grads = [weights.grad for weights in tower.encoder.parameters()]
        assert any(grad is not None and bool(grad.abs().sum() > 0) for grad in grads)
        tower.encoder.zero_grad(set_to_none=True)


def test_numbers_that_are_none_are_refused_where_that_is_asked_for(loaded):
    table = loaded.text_encoder.get_input_embeddings().weight
    red = tokens_of(loaded, "red")[0]
    kept = table.detach().clone()
    with torch.no_grad():
        table[red] = float("nan")
        try:
            assert torch.isnan(encode(loaded, ["red"]).text).any()
            with pytest.raises(ModelInvalid, match="not finite"):
                encode(loaded, ["red"], check=True)
        finally:
            table.copy_(kept)
