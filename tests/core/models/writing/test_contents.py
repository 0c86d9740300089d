"""Safetensors files as they are written, against the library that reads them everywhere."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from core.errors import SaveFailed
from core.models.safetensors_header import read_with_metadata
from core.models.writing.contents import Contents


def some_tensors() -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 6, generator=numbers)
    return {
        "z.half": matrix.half(),
        "b.brain": matrix.bfloat16(),
        "ä.double": matrix.double(),
        "a.turned": matrix.T,
        "a.part": matrix[:, 2:4],
        "scalar": torch.tensor(1.5),
        "nothing": torch.zeros(0),
        "many": torch.arange(77)[None],
        "few": torch.arange(3, dtype=torch.int32),
        "learned": torch.nn.Parameter(matrix),
    }


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    tensors, notes = some_tensors(), {"format": "pt", "ss_note": 'quoted "ü"\n'}
    Contents(tensors).write(tmp_path / "a.safetensors", notes)
    found = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == notes
    header = read_with_metadata(tmp_path / "a.safetensors")
    assert header.tensors == Contents(tensors).infos()
    assert header.metadata == notes


def test_the_file_is_the_librarys_byte_for_byte(tmp_path: Path) -> None:
    tensors = {name: tensor.detach().contiguous() for name, tensor in some_tensors().items()}
    # The library orders several notes differently from time to time.
    Contents(tensors).write(tmp_path / "a.safetensors", {"format": "pt"})
    expected = safetensors.torch.save(tensors, {"format": "pt"})
    assert (tmp_path / "a.safetensors").read_bytes() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_floating_point_numbers_become_what_is_asked_for(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = some_tensors()
    Contents(tensors, dtype).write(tmp_path / "a.safetensors", {})
    for name, found in safetensors.torch.load_file(tmp_path / "a.safetensors").items():
        kept = tensors[name].dtype if name in ("many", "few") else dtype
        assert found.dtype == kept
        assert torch.equal(found, tensors[name].to(kept))


def test_hashes_are_those_of_the_bytes() -> None:
    tensors = {"a": torch.randn(300_000), "b": torch.randn(3, 5)}
    whole = safetensors.torch.save(tensors, {"ss_steps": "3"})
    body = whole[8 + int.from_bytes(whole[:8], "little") :]
    assert Contents(tensors).sha256() == hashlib.sha256(body).hexdigest()
    window = whole[0x100000:0x110000]
    assert 0 < len(window) <= 0x10000
    expected = hashlib.sha256(window).hexdigest()[:8]
    assert Contents(tensors).legacy_hash({"ss_steps": "3"}) == expected
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    assert Contents(tensors, torch.float16).sha256() == Contents(halves).sha256()


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(SaveFailed, match="takes no file of that size"):
            Contents({"a": torch.zeros(200), "b": torch.zeros(2000)}).write(path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.safetensors", b"old")]
