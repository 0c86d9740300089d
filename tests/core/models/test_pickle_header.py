"""Pickles are looked through by stand-ins: tensors are listed, everything else is refused unrun."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import ModelInvalid, UnsafeFile
from core.models.pickle_header import read_pickle_header
from core.models.safetensors_header import TensorInfo
from core.models.verdict import Kind, judge


class Runs:
    """A pickle of this calls a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_listed_with_type_and_shape(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pt"
    content = {
        "state_dict": collections.OrderedDict(
            half=torch.zeros(2, 3, dtype=torch.float16),
            brain=torch.zeros(4, dtype=torch.bfloat16),
            parameter=torch.nn.Parameter(torch.zeros(5)),
            scalar=torch.tensor(3),
        ),
        "inner": {"deep": {"down": torch.zeros(1, dtype=torch.uint8)}},
        "epoch": 7,
        "name": "cat",
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert read_pickle_header(path).tensors == {
        "half": TensorInfo("F16", (2, 3)),
        "brain": TensorInfo("BF16", (4,)),
        "parameter": TensorInfo("F32", (5,)),
        "scalar": TensorInfo("I64", ()),
        "inner.deep.down": TensorInfo("U8", (1,)),
    }


def as_torch_file(path: Path, content: Any, protocol: int = 2) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol))
        archive.writestr("archive/version", "3\n")
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", ["system", "getcwd", "eval", "import_module"])
def test_what_would_run_is_refused_and_has_not_run(
    tmp_path: Path, name: str, protocol: int
) -> None:
    import importlib

    mark = tmp_path / "ran"
    calls = {
        "system": (os.system, f"touch {mark}"),
        "getcwd": (os.getcwd,),
        "eval": (eval, f"open({str(mark)!r}, 'w')"),
        "import_module": (importlib.import_module, "os"),
    }
    content = {"weight": torch.zeros(2).tolist(), "evil": Runs(*calls[name])}
    path = as_torch_file(tmp_path / "a.ckpt", content, protocol)
    with pytest.raises(UnsafeFile, match="nothing of it was run"):
        judge(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.bin"])
def test_the_first_protocols_are_looked_through_too(
    tmp_path: Path, name: str, protocol: int
) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Runs(os.system, f"touch {mark}"), protocol))
    with pytest.raises(UnsafeFile, match="system, which no file of weights needs"):
        judge(path)
    assert not mark.exists()


def test_a_checkpoint_with_its_trainer_in_it_is_refused_by_name(tmp_path: Path) -> None:
    code = b"\x80\x02cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n."
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", code)
    with pytest.raises(UnsafeFile, match=r"pytorch_lightning.*ModelCheckpoint.*safetensors"):
        judge(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["_RebuildTensor", "OrderedDict.fromkeys", "loads"])
def test_names_near_the_known_ones_are_refused(tmp_path: Path, name: str) -> None:
    modules = {"_RebuildTensor": "core.models.pickle_header", "loads": "pickle"}
    module = modules.get(name, "collections")
    text = b"".join(
        b"\x8c" + len(word).to_bytes(1, "little") + word
        for word in (module.encode(), name.encode())
    )
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + text + b"\x93.")
    with pytest.raises(UnsafeFile):
        judge(tmp_path / "a.ckpt")


def test_the_stand_ins_cannot_be_changed_by_a_file(tmp_path: Path) -> None:
    # GLOBAL, then BUILD with slots {"__call__": 1}: setattr on what the name gave.
    for known in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n",
                  b"ctorch.nn.modules.container\nParameterDict\n"):  # fmt: skip
        code = b"\x80\x02" + known + b"N}X\x06\x00\x00\x00updateK\x01s\x86b."
        with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
            archive.writestr("archive/data.pkl", code)
        with pytest.raises(ModelInvalid, match="damaged"):
            judge(tmp_path / "a.ckpt")


def test_dictionaries_that_hold_each_other_end(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    wide: dict[str, Any] = {}
    for _ in range(40):
        wide = {"left": wide, "right": wide}
    path = as_torch_file(tmp_path / "a.pt", {"loop": loop, "wide": wide})
    assert read_pickle_header(path).tensors == {}


@pytest.mark.parametrize("length", [0, 1, 2, 30, 200, 400])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_cut_short(tmp_path: Path, length: int, zipped: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=zipped)
    path = tmp_path / "a.pt"
    path.write_bytes(buffer.getvalue()[:-1][:length])
    with pytest.raises(ModelInvalid, match="damaged"):
        judge(path)


def test_embeddings_as_the_first_web_ui_saved_them(tmp_path: Path) -> None:
    path = tmp_path / "cat.pt"
    content = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": torch.nn.Parameter(torch.zeros(2, 768))},
        "name": "cat",
        "step": 500,
        "sd_checkpoint": None,
    }
    torch.save(content, path)
    verdict = judge(path)
    assert (verdict.kind, verdict.family) == (Kind.EMBEDDING, "sd1")
    # Torch 1.11 pickled the dictionary of parameters as a module: an object with its fields.
    state = (
        b"}(X\x0b\x00\x00\x00_parameters}X\x01\x00\x00\x00*ctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"M\x00\x06tQK\x00K\x02M\x00\x03\x86M\x00\x03K\x01\x86\x89N"
        b"tRsX\x05\x00\x00\x00_setsc__builtin__\nset\n]\x85Ru"
    )
    code = (
        b"\x80\x02}X\x0f\x00\x00\x00string_to_paramctorch.nn.modules.container\nParameterDict\n"
        b")\x81" + state + b"bs."
    )
    with zipfile.ZipFile(tmp_path / "old.pt", "w") as archive:
        archive.writestr("old/data.pkl", code)
    assert read_pickle_header(tmp_path / "old.pt").tensors == {
        "string_to_param.*": TensorInfo("F32", (2, 768))
    }
