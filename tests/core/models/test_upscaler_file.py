"""The upscaler that a request names, before its weights are read; the library need not be there."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import InvalidRequest, ModelInvalid, ModelMissing, Unsupported
from core.models import upscaler_file
from core.models.fingerprint import Fingerprints
from core.models.names import no_names
from core.models.upscaler_file import find_upscaler
from core.request import Enlarging, Request, SecondPass, TextToImage, Upscale


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "4x.safetensors"
    save_file({"body.0.rdb1.conv1.weight": torch.zeros(2, 2, 3, 3)}, path)
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Any module will do: it is looked for and not imported.
    monkeypatch.setattr(upscaler_file, "LIBRARY", "json")


def found(request: Request, tmp_path: Path, find=no_names) -> tuple[Request, Path | None]:
    return find_upscaler(request, fingerprints=Fingerprints.kept_in(tmp_path / "c"), find=find)


def larger(file: object, **changes: str) -> Upscale:
    return Upscale(prompts=("",), init_image="/a.png", upscaler=str(file), **changes)


def twice(file: object) -> TextToImage:
    return TextToImage(prompts=("",), second_pass=SecondPass(upscaler=str(file)))


@pytest.mark.parametrize("make", [larger, twice])
def test_its_place_and_hash_are_recorded(file, tmp_path, installed, make):
    digits = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in (file, "four"):
        request, path = found(make(name), tmp_path, {"four": file}.get)
        part = request if isinstance(request, Upscale) else request.second_pass
        assert path == file
        assert (part.upscaler, part.upscaler_sha256) == (str(file), digits)
        assert found(request, tmp_path) == (request, file)


@pytest.mark.parametrize("filter_", Enlarging)
def test_a_filter_is_no_file(tmp_path, filter_):
    request = twice(filter_)
    assert found(request, tmp_path) == (request, None)
    assert found(TextToImage(prompts=("a",)), tmp_path)[1] is None


def test_a_missing_library_is_said_with_the_command_that_brings_it(file, tmp_path, monkeypatch):
    monkeypatch.setattr(upscaler_file, "LIBRARY", "no_such_library")
    with pytest.raises(Unsupported) as caught:
        found(larger(file), tmp_path)
    said = str(caught.value)
    assert "no_such_library, which is not installed" in said
    assert 'pip install "stepwise-diffusion[upscalers]"' in said
    assert importlib.util.find_spec("no_such_library") is None


def test_another_file_than_was_recorded_is_refused(file, tmp_path, installed):
    with pytest.raises(InvalidRequest, match="has changed") as caught:
        found(larger(file, upscaler_sha256="0" * 64), tmp_path)
    assert caught.value.field == "upscaler"


def test_what_is_no_upscaler_is_named(tmp_path, installed):
    path = tmp_path / "vae.safetensors"
    weights = {f"{part}coder.conv_in.weight": torch.zeros(8, 4, 3, 3) for part in ("en", "de")}
    save_file(weights, path)
    with pytest.raises(ModelInvalid, match="is no upscaler \\(VAE for"):
        found(larger(path), tmp_path)
    with pytest.raises(ModelMissing, match="no upscaler 'best'"):
        found(twice("best"), tmp_path)
