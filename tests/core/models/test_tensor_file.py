"""Files of tensors go by their bytes, whatever they are called, and nothing of them is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import ModelInvalid, UnsafeFile
from core.models.embeddings import read_embedding
from core.models.load_single_file import original_tensors
from core.models.lora_file import read_lora
from core.models.reading import Readable, check_finite
from core.models.tensor_file import read_tensor_file

STEM = "lora_unet_mid_block_attentions_0_proj_in"
LORA = {f"{STEM}.lora_down.weight": torch.ones(2, 4), f"{STEM}.lora_up.weight": torch.ones(4, 2)}


@pytest.mark.parametrize(("save", "suffix"), [(save_file, ".pt"), (torch.save, ".safetensors")])
def test_a_file_is_read_by_what_it_is_and_not_by_its_name(
    tmp_path: Path, save: Any, suffix: str
) -> None:
    save(LORA, tmp_path / f"lora{suffix}")
    assert read_lora(tmp_path / f"lora{suffix}").tensors == 2
    save({"emb_params": torch.ones(2, 768)}, tmp_path / f"fox{suffix}")
    assert read_embedding(tmp_path / f"fox{suffix}").vectors["text_encoder"].shape == (2, 768)


def test_what_a_pickle_wraps_is_taken_out(tmp_path: Path) -> None:
    torch.save({"state_dict": {"state_dict": LORA}, "epoch": 3}, tmp_path / "lora.ckpt")
    assert read_lora(tmp_path / "lora.ckpt").tensors == 2
    with original_tensors(tmp_path / "lora.ckpt") as tensors:
        assert set(tensors.names) == set(LORA)


class Trap:
    """What a pickle can carry: a call that is made while it is read."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_no_message_passes_on_how_to_run_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{suffix}"
    torch.save(LORA | {"x": Trap()}, path)
    with pytest.raises(UnsafeFile, match=r"which no file of weights needs") as caught:
        read_tensor_file(path)
    assert "weights_only" not in str(caught.value)
    assert not Path("trapped").exists()


def test_only_the_first_line_of_a_librarys_words_is_passed_on(tmp_path: Path) -> None:
    for error, words in ((ValueError("one\ntwo"), r"\(one\)"), (KeyError(), r"\(KeyError\)")):
        with pytest.raises(ModelInvalid, match=words), Readable(tmp_path):
            raise error


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_numbers_of_every_width_are_looked_at(tmp_path: Path, dtype: torch.dtype) -> None:
    def named(last: float) -> list[tuple[str, Tensor]]:
        return [("count", torch.ones(2).long()), ("w", torch.tensor([1.0, last]).to(dtype))]

    check_finite(tmp_path, named(2.0))
    with pytest.raises(ModelInvalid, match="not finite, in w"):
        check_finite(tmp_path, named(float("nan")))
