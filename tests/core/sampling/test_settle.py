"""Requests with nothing left to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidRequest, ModelMissing
from core.models.names import no_names
from core.request import LoraUse, TextToImage
from core.sampling.settle import settled


def request_of(*prompts: str, **changes: Any) -> TextToImage:
    return TextToImage(prompts=prompts, **changes)


@pytest.fixture
def fox(tmp_path: Path) -> Path:
    path = tmp_path / "fox.safetensors"
    path.touch()
    return path


def test_a_plain_request_is_the_same() -> None:
    request = request_of("a (cat:1.3), [dog]", r"\{a|b\}", count=3, negative_prompt="{x}")
    assert settled(request, no_names) == request


def test_each_picture_draws_by_its_own_seed_and_keeps_number_and_seed() -> None:
    request = request_of("a {red|blue} cat", "a dog", count=20, seed=5, negative_prompt="{x|y}")
    done = settled(request, no_names)
    assert (done.count, done.total) == (1, 40)
    assert {done.prompt_of(i) for i in range(20)} == {"a red cat", "a blue cat"}
    assert [done.prompt_of(i) for i in range(20, 40)] == ["a dog"] * 20
    assert [done.seed_of(i) for i in range(40)] == [request.seed_of(i) for i in range(40)]
    assert done.negative_prompt in ("x", "y")
    assert settled(done, no_names) == done


def test_a_lora_in_the_prompt_becomes_one_of_the_request(fox: Path) -> None:
    given = LoraUse(path="/other.safetensors")
    request = request_of("a <lora:fox:0.5:0.8>cat", loras=(given,))
    done = settled(request, {"fox": fox}.get)
    assert done.prompts == ("a cat",)
    assert done.loras == (given, LoraUse(path=str(fox), weight=0.8, text_weight=0.5))
    assert settled(done, no_names) == done
    by_path = settled(request_of(f"a <lora:{fox}>cat"), no_names)
    assert by_path.loras == (LoraUse(path=str(fox)),)


def test_a_lora_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ModelMissing, match="no LoRA 'fox', neither a file nor a name"):
        settled(request_of("a <lora:fox:1> cat"), no_names)


def test_loras_hold_for_the_whole_request(fox: Path) -> None:
    with pytest.raises(InvalidRequest, match="prompts: name different LoRAs"):
        settled(request_of("<lora:fox:1> a", "b"), {"fox": fox}.get)
    with pytest.raises(InvalidRequest, match="negative_prompt: names the LoRA fox"):
        settled(request_of("a", negative_prompt="<lora:fox:1>"), {"fox": fox}.get)
