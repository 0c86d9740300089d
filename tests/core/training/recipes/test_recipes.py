"""What learns is what a recipe says and nothing else, and the file holds exactly that."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from core.errors import InvalidRequest
from core.models.families import Family
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load, outline
from core.models.lora import AppliedLoras, Strength, bind
from core.models.lora_file import read_lora
from core.sampling.towers import word_table
from core.training.config import Method
from core.training.config_parts import AdapterSettings, Targets
from core.training.recipe import put_in
from core.training.recipes.choice import recipe_of
from core.training.recipes.textual_inversion import TextualInversionRecipe
from tests.core.training.conftest import training


@pytest.fixture
def loaded(tmp_path):
    """Load a model of its own."""

    def give(path):
        return load(
            identify(path),
            device=torch.device("cpu"),
            dtype=torch.float32,
            fingerprints=Fingerprints.kept_in(tmp_path),
        )

    return give


def recipe(method, **changes):
    config = training(method, model="m", data="d", out="o", **changes)
    return recipe_of(config, Family.CUSTOM)


def shaken(student):
    """Give what learns other values."""
    torch.manual_seed(5)
    values = {n: w.data + 0.05 * torch.randn_like(w) for n, w in student.learned().items()}
    put_in(student, values)
    return values


def predict(components):
    torch.manual_seed(0)
    text = torch.randn(2, 7, components.unet.config.cross_attention_dim)
    with torch.no_grad():
        return components.unet(
            torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), encoder_hidden_states=text
        ).sample


ADAPTERS = [
    AdapterSettings(rank=2),
    AdapterSettings(rank=4, alpha=1, targets=Targets.ATTENTION),
    AdapterSettings(rank=3, alpha=6, conv_rank=2, targets=Targets.ALL),
    AdapterSettings(rank=2, dora=True, conv_rank=1),
]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: f"{a.targets}-{a.conv_rank}-{a.dora}")
def test_a_lora_file_is_what_was_learned(adapter, tiny_model, tmp_path, loaded):
    components = loaded(tiny_model)
    before = predict(components)
    made = recipe(Method.LORA, adapter=adapter)
    student = made.attach(components).student
    assert torch.allclose(predict(components), before, atol=1e-6)
    learned = shaken(student)
    after = predict(components)
    assert (after - before).abs().max() > 1e-3
    path = tmp_path / "final.safetensors"
    made.write(path, components, learned, {"note": "x"})
    fresh = loaded(tiny_model)
    modules = {"unet": fresh.unet, "text_encoder": fresh.text_encoder}
    bound = bind(read_lora(path), modules, fresh.residence.bring)
    AppliedLoras(modules).set([Strength(bound, 1.0, 1.0)])
    assert torch.allclose(predict(fresh), after, atol=1e-5)


def test_a_lora_of_text_encoders_is_what_was_learned(tiny_model, tmp_path, loaded):
    components = loaded(tiny_model)
    made = recipe(Method.LORA, train_text=True)
    learned = shaken(made.attach(components).student)
    ids = torch.tensor([[3, 9, 14]])
    path = tmp_path / "final.safetensors"
    made.write(path, components, learned, {})
    fresh = loaded(tiny_model)
    modules = {"unet": fresh.unet, "text_encoder": fresh.text_encoder}
    with torch.no_grad():
        plain = fresh.text_encoder(ids)[0]
        bound = bind(read_lora(path), modules, fresh.residence.bring)
        AppliedLoras(modules).set([Strength(bound, 1.0, 1.0)])
        found, wanted = fresh.text_encoder(ids)[0], components.text_encoder(ids)[0]
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)


def test_conv_rank_and_targets_choose_layers(tiny_model, loaded):
    counts = []
    for adapter in (
        AdapterSettings(targets=Targets.ATTENTION),
        AdapterSettings(targets=Targets.TRANSFORMER),
        AdapterSettings(targets=Targets.ALL),
        AdapterSettings(targets=Targets.ALL, conv_rank=4),
    ):
        student = recipe(Method.LORA, adapter=adapter).attach(loaded(tiny_model)).student
        counts.append(len(student.learned()))
    assert counts == sorted(set(counts))


def test_a_new_word_leaves_every_other_as_it_was(tiny_model, loaded):
    components = loaded(tiny_model)
    table = word_table(components.text_encoder).weight
    before = table.data.clone()
    made = TextualInversionRecipe(token="<it>", init_word="circle", vectors=3, rate=1.0)
    student = made.attach(components).student
    assert list(student.learned()) == ["words.text_encoder"]
    rows = student.words["text_encoder"]
    number = components.tokenizer("circle", add_special_tokens=False).input_ids[0]
    assert torch.equal(rows[0], before[number])
    assert not torch.equal(rows[0], rows[1])
    lengths = before.norm(dim=1)
    rows.data *= 50
    made.after_step(student)
    assert float(rows.data.norm(dim=1).max()) <= float(lengths.max()) * 1.001
    rows.data *= 0.001
    made.after_step(student)
    assert float(rows.data.norm(dim=1).min()) >= float(lengths.min()) * 0.999
    assert torch.equal(table.data, before)
    assert not table.requires_grad


def test_a_new_word_is_said_in_sentences_that_the_model_knows(tiny_model, loaded):
    made = TextualInversionRecipe(token="<it>", init_word="circle", vectors=1, rate=1.0)
    made.attach(loaded(tiny_model))
    said = {made.caption("whatever", seed) for seed in range(40)}
    # The tiny model has "a" and "the" as words, and "photo" only letter by letter.
    assert said == {"<it>", "a <it>", "the <it>"}
    assert made.caption("a red <it> at night", 1) == "a red <it> at night"
    # Where it stands in another word, or beyond what is read, it would not be learned.
    assert made.caption("two <it>s", 1) in said
    assert made.caption("moon " * 80 + "<it>", 1) in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"init_word": " \n"}, "init_word: .* means nothing to the model"),
        ({"init_word": "a circle"}, "init_word: 'a circle' is 2 tokens .* has room for 1"),
        ({"token": "circle"}, "token: 'circle' is a word that the model knows"),
    ],
)
def test_a_word_that_will_not_do_is_named(change, said, tiny_model):
    settings = {"token": "<it>", "init_word": "circle", "vectors": 1, "rate": 1.0}
    made = TextualInversionRecipe(**settings | change)
    with pytest.raises(InvalidRequest, match=said):
        made.check(outline(identify(tiny_model)))
    TextualInversionRecipe(**settings).check(outline(identify(tiny_model)))


def test_layers_that_a_model_lacks_are_named_before_it_is_read(tiny_model):
    model = outline(identify(tiny_model))
    made = recipe(Method.LORA, adapter=AdapterSettings(targets=Targets.ATTENTION))
    made.check(model)
    assert all(weights.is_meta for weights in model.unet.parameters())
    bare = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(InvalidRequest, match="the model's unet has no layers of the kind att"):
        made.check(dataclasses.replace(model, unet=bare))


@pytest.mark.parametrize("train_text", [False, True])
def test_in_full_the_model_and_nothing_else_learns(train_text, tiny_model, loaded):
    components = loaded(tiny_model)
    student = recipe(Method.FINETUNE, train_text=train_text).attach(components).student
    parts = {name.split(".")[0] for name in student.learned()}
    assert parts == ({"unet", "towers"} if train_text else {"unet"})
