"""ControlNets: told apart before they are read, loaded from every form, refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelInvalid, Unsupported
from core.models.control import load_control
from core.models.control_file import ControlFile, config_like, find_controls
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load_single_file import build_empty
from core.models.names import no_names
from core.models.single_file import CONFIGS
from core.request import ControlUse, TextToImage
from tests.conftest import write_tiny_control
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder
from tests.fixtures.original_names import controlnet_name

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def control(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("controls") / "tiny", tiny_model)


def found(path: Path, model: Path, picture: Path, cache: Path) -> ControlFile:
    """Look a ControlNet up as the engine does."""
    use = ControlUse(path=str(path), image=str(picture))
    request, controls = find_controls(
        TextToImage(prompts=("a",), width=64, height=64, controls=(use,)),
        identify(model),
        None,
        fingerprints=Fingerprints.kept_in(cache),
        find=no_names,
    )
    (sha256, file), (known,) = *controls.files.items(), request.controls
    assert (known.sha256, len(sha256), len(known.image_sha256)) == (sha256, 64, 64)
    return file


def weights_of(path: Path, tmp_path: Path, model: Path, picture: Path) -> dict[str, torch.Tensor]:
    net: Any = load_control(found(path, model, picture, tmp_path), torch.float32)
    weights: dict[str, torch.Tensor] = net.state_dict()
    return weights


def as_file(control: Path, path: Path, naming: str) -> Path:
    """Write a folder's weights as one file under other names."""
    weights = load_file(control / WEIGHTS)
    if naming != "diffusers":
        prefix = "" if naming == "original" else "control_model."
        weights = {prefix + controlnet_name(name, 1): t for name, t in weights.items()}
    if naming == "beside its model":
        weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.ones(8, 4, 3, 3)
    if path.suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    return path


@pytest.mark.parametrize("naming", ["diffusers", "original", "prefixed", "beside its model"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_has_the_weights_of_its_folder(
    naming: str, suffix: str, control: Path, tiny_model: Path, start_picture: Path, tmp_path: Path
) -> None:
    expected = diffusers.ControlNetModel.from_pretrained(control).state_dict()
    file = as_file(control, tmp_path / f"control{suffix}", naming)
    made = weights_of(file, tmp_path, tiny_model, start_picture)
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_a_folder(control: Path, tiny_model: Path, start_picture: Path, tmp_path: Path) -> None:
    expected = diffusers.ControlNetModel.from_pretrained(control).state_dict()
    file = found(control, tiny_model, start_picture, tmp_path)
    made = load_control(file, torch.float32).state_dict()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    assert file.parameters == sum(tensor.numel() for tensor in expected.values())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_published_controlnets_are_built_as_their_unets(family: str) -> None:
    unet = json.loads((CONFIGS / f"{family}.json").read_text())["unet"]
    net = build_empty(diffusers.ControlNetModel, config_like(unet), Path("any"))
    built = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert built == {n: info.shape for n, info in layout(f"{family}-controlnet").items()}


@pytest.mark.parametrize("naming", ["", "-original"])
@pytest.mark.parametrize(
    ("made_for", "model", "told"),
    [("sdxl", "sd1", "for SDXL and"), ("sd1", "sd2", r"for Stable Diffusion 1\.x and")],
)
def test_another_familys_is_refused_unread(
    made_for: str, model: str, told: str, naming: str, start_picture: Path, tmp_path: Path
) -> None:
    folder = write_stripped_folder(tmp_path / "model", model)
    path = tmp_path / "control.safetensors"
    write_stripped(path, layout(f"{made_for}-controlnet{naming}"))
    with pytest.raises(ModelInvalid, match=told) as raised:
        found(path, folder, start_picture, tmp_path / "cache")
    assert "\n" not in str(raised.value)
    # Not even its hash was taken.
    assert not (tmp_path / "cache").exists()


def test_something_else_is_refused_by_its_name(
    tiny_model: Path, start_picture: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelInvalid, match=r"is no ControlNet \(.*model\)"):
        found(tiny_model, tiny_model, start_picture, tmp_path)


def test_a_folder_of_nothing_is_told_what_it_lacks(
    tiny_model: Path, start_picture: Path, tmp_path: Path
) -> None:
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(ModelInvalid, match=r"empty.*model_index\.json is missing.*config\.json"):
        found(empty, tiny_model, start_picture, tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"global_pool_conditions": True}, Unsupported, "Shuffle"),
        ({"conditioning_channels": 1}, Unsupported, "1 channels"),
        ({"controlnet_conditioning_channel_order": "grb"}, ModelInvalid, "'grb'"),
        ({"block_out_channels": [8, 32]}, ModelInvalid, "block_out_channels"),
        ({"conditioning_embedding_out_channels": [16, 32]}, ModelInvalid, "1/2 of their size"),
        ({"conditioning_embedding_out_channels": "16"}, ModelInvalid, "'16'"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    change: dict[str, Any],
    error: type[Exception],
    told: str,
    control: Path,
    tiny_model: Path,
    start_picture: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes((control / WEIGHTS).read_bytes())
    config = json.loads((control / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(error, match=told):
        found(folder, tiny_model, start_picture, tmp_path)


@pytest.mark.parametrize("naming", ["diffusers", "original"])
@pytest.mark.parametrize("damage", ["unknown", "missing", "nan"])
def test_every_tensor_is_accounted_for(
    damage: str, naming: str, control: Path, tiny_model: Path, start_picture: Path, tmp_path: Path
) -> None:
    path = as_file(control, tmp_path / "control.safetensors", naming)
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("attn1.to_q.weight"))
    match damage:
        case "unknown":
            weights["mystery"] = torch.zeros(2)
            told = "mystery"
        case "missing":
            del weights[name]
            told = "lacks"
        case _:
            weights[name][0, 0] = float("nan")
            told = "not finite"
    save_file(weights, path)
    file = found(path, tiny_model, start_picture, tmp_path)
    with pytest.raises(ModelInvalid, match=told):
        load_control(file, torch.float32)
