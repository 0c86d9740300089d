import pytest
import torch

from core.coreml_folder import Layout
from core.sampling.text import TextEmbeddings
from core.sampling.towers import word_table
from coreml_export.interpreter.psnr import psnr
from coreml_export.layouts.words import numbers_of
from coreml_export.parts import parts_of
from tests.fixtures.loaded import loaded

NAMES = ["TextEncoder", "TextEncoder2"]


@pytest.fixture(params=["tiny_model", "tiny_xl_model"])
def components(request, tmp_path):
    return loaded(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def words(components):
    """One of two vectors, and one of a single one."""
    numbers = torch.Generator().manual_seed(5)
    return {
        word: {
            tower.name: torch.randn(
                count, word_table(tower.encoder).embedding_dim, generator=numbers
            )
            for tower in components.text_towers
        }
        for word, count in (("<lamp>", 2), ("<fog>", 1))
    }


def text_parts(components, words):
    names = NAMES[: len(components.text_towers)]
    options = {"layout": Layout.ORIGINAL, "width": 64, "height": 64, "batch": 1, "only": names}
    return list(parts_of(components, words=words, **options))


@torch.no_grad()
def test_learned_words_are_read_as_pictures_are_made_with_them(components, words):
    numbers = numbers_of(components, words)
    known = word_table(components.text_towers[0].encoder).num_embeddings
    assert numbers == {"<lamp>": range(known, known + 2), "<fog>": range(known + 2, known + 3)}
    expected = TextEmbeddings(components, words).of(["a <lamp> moon <fog>"])
    tokenizer = components.text_towers[0].tokenizer
    begin, *rest = tokenizer("", padding="max_length", max_length=77).input_ids
    a, moon = (tokenizer(w, add_special_tokens=False).input_ids for w in ("a", "moon"))
    ids = [begin, *a, *numbers["<lamp>"], *moon, *numbers["<fog>"], *rest][:77]
    read = [part.module(torch.tensor([ids]).float()) for part in text_parts(components, words)]
    assert psnr(expected.text, torch.cat([states for states, _ in read], dim=-1)) > 90
    if expected.pooled is not None:
        assert psnr(expected.pooled, read[-1][1]) > 90


@torch.no_grad()
def test_examples_have_the_learned_words_in_them(components, words):
    learned = {number for row in numbers_of(components, words).values() for number in row}
    for part in text_parts(components, words):
        (ids,) = part.examples()
        assert learned <= set(ids[0].int().tolist())
        for expected, output in zip(part.reference(ids), part.module(ids), strict=True):
            assert psnr(expected, output) > 90


@torch.no_grad()
def test_an_end_that_was_told_as_the_highest_number_is_found_before_learned_ones(components, words):
    """OpenAI's first configurations name a wrong end, and the highest number was taken for it."""
    plain = [part.module(*part.examples())[1] for part in text_parts(components, {})]
    for tower in components.text_towers:
        getattr(tower.encoder, "text_model", tower.encoder).eos_token_id = 2
    parts = text_parts(components, {})
    for part, pooled in zip(parts, plain, strict=True):
        assert torch.equal(part.module(*part.examples())[1], pooled)
        assert psnr(part.reference(*part.examples())[1], pooled) > 90
    for part in text_parts(components, words):
        ids = part.examples()
        assert psnr(part.reference(*ids)[1], part.module(*ids)[1]) > 90


def test_the_model_s_own_encoders_learn_nothing(components, words):
    tables = [word_table(tower.encoder).weight for tower in components.text_towers]
    shapes = [table.shape for table in tables]
    for part, tower in zip(text_parts(components, words), components.text_towers, strict=True):
        own = {weights.data_ptr() for weights in tower.encoder.parameters()}
        added = [weights for weights in part.module.parameters() if weights.data_ptr() not in own]
        assert [len(weights) for weights in added] == [len(word_table(tower.encoder).weight) + 3]
    assert [word_table(tower.encoder).weight.shape for tower in components.text_towers] == shapes
