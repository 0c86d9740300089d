"""ControlNets among exported parts: found by their names, told what they are, refused in a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from core.compute_units import ComputeUnits
from core.coreml_folder import MANIFEST, ExportFormat, Manifest, PartRecord, Tensor
from core.errors import InvalidRequest, ModelInvalid, ModelMissing
from core.models.control_fit import residual_channels
from core.models.exported_control import (
    ExportedControl,
    exported_control,
    is_exported_control,
    own_first,
)
from core.models.exported_limits import (
    check_limits,
    control_refusal_here,
    control_units,
    settled_for,
)
from core.models.identify import Identity, identify
from core.models.verdict import judge
from core.request import ControlUse, TextToImage
from tests.fixtures.packages import (
    CONTROL_INPUTS,
    STARTER,
    UNET_INPUTS,
    residuals,
    write_foreign,
    write_foreign_control,
    write_ours,
    write_package,
)

OF_SDXL = CONTROL_INPUTS | {
    "encoder_hidden_states": ((2, 2048, 1, 77), "float16"),
    "time_ids": ((2, 6), "float16"),
    "text_embeds": ((2, 1280), "float16"),
}


def request_of(path: object, **changes: Any) -> TextToImage:
    use = ControlUse(path=str(path), image="any.png")
    settings: dict[str, Any] = {"width": 512, "height": 512, "controls": (use,)}
    return TextToImage(prompts=("a cat",), **settings | changes)


def found(path: Path, identity: Identity, **changes: Any) -> ExportedControl:
    return exported_control(path, settled_for(request_of(path, **changes), identity), identity)


@pytest.fixture
def model(tmp_path: Path) -> Identity:
    """A folder of another converter."""
    return identify(write_foreign(tmp_path / "dreamy", UNET_INPUTS))


def write_own(folder: Path, name: str = "CannyEdges", **changes: Any) -> Path:
    """Add a ControlNet to a folder of ``write_ours``, with its line in the manifest."""
    path = folder / "controlnet" / f"{name}.mlpackage"
    write_package(path, name.encode())
    channels = residual_channels(STARTER.configs["unet"])
    record = PartRecord(
        name=f"controlnet/{name}",
        inputs=(
            Tensor("sample", (2, 4, 16, 16), "float16"),
            Tensor("encoder_hidden_states", (2, 128, 1, 77), "float16"),
            Tensor("controlnet_cond", (2, 3, 128, 128), "float16"),
        ),
        outputs=tuple(
            Tensor(f"additional_residual_{i}", (2, width, 1, 1), "float32")
            for i, width in enumerate(channels)
        ),
        bytes=1,
        inputs_sha256="",
        compression="none",
        psnr={},
        seconds=1.0,
    )
    manifest = Manifest.read(folder)
    record = dataclasses.replace(record, **changes)
    manifest = dataclasses.replace(manifest, parts=(*manifest.parts, record))
    (folder / MANIFEST).write_text(manifest.to_json())
    return path


def test_the_models_own_go_by_their_names_before_others(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "model")
    own, other = write_own(folder), tmp_path / "other.safetensors"
    exported = identify(folder).exported
    assert exported is not None
    library = {"canny-edges": other, "depth": other}
    find = own_first(exported, library.get)
    for name in ("CannyEdges", "canny_edges", "canny-edges", "cannyedges"):
        assert find(name) == own
        assert is_exported_control(name, exported)
    assert find("depth") == other
    assert not is_exported_control("depth", exported)
    assert is_exported_control(str(own), exported)
    assert own_first(None, library.get)("canny-edges") == other
    with pytest.raises(ModelMissing, match=r"no ControlNet 'canny'; .+ has CannyEdges, others"):
        find("canny")


def test_one_of_another_converter_is_told_by_what_it_takes(model: Identity) -> None:
    path = write_foreign_control(model.folder)
    net = found(path, model, compute_units="cpu,Unet=cpu-ane")
    assert (net.path, net.format) == (path, ExportFormat.COREML)
    assert (net.units, net.function) == (ComputeUnits.CPU_ANE, "")
    assert set(net.weights) == {"metadata.json", "coremldata.bin", "weights/weight.bin"}
    assert net.parameters > 0


def test_shapes_that_the_converter_leaves_out_are_not_missed(model: Identity) -> None:
    outputs = {name: ((), dtype) for name, (_, dtype) in residuals("float32").items()}
    assert found(write_foreign_control(model.folder, outputs=outputs), model)


def test_our_own_has_the_sizes_of_its_folder(tmp_path: Path) -> None:
    folder = write_ours(tmp_path, sizes=((128, 128), (128, 192)))
    path, identity = write_own(folder), identify(folder)
    assert found(path, identity, width=128, height=128).function == ""
    assert found(path, identity, width=128, height=192).function == "size_128x192"
    with pytest.raises(InvalidRequest, match="the ControlNet CannyEdges leads, which is 128 x 128"):
        found(path, STARTER, width=256, height=128)


def test_it_runs_where_the_unet_does(model: Identity) -> None:
    request = request_of("Canny.mlmodelc", compute_units="cpu-ane")
    assert control_units(request, model) is ComputeUnits.CPU_ANE
    assert control_units(request, STARTER) is ComputeUnits.CPU_ANE
    beside_torch = settled_for(request_of("Canny.mlmodelc"), STARTER).compute_units
    assert beside_torch in (ComputeUnits.CPU_GPU, ComputeUnits.CPU)


def test_a_torch_model_has_compute_units_for_an_exported_control_net_alone() -> None:
    check_limits(request_of("Canny.mlpackage", compute_units="cpu"), STARTER)
    for path, units in (("canny.safetensors", "cpu"), ("Canny.mlpackage", "Unet=cpu")):
        with pytest.raises(InvalidRequest, match="Core ML models alone"):
            check_limits(request_of(path, compute_units=units), STARTER)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs": UNET_INPUTS}, r"is no ControlNet \(it takes sample, timestep"),
        ({"outputs": {"noise_pred": ((2, 4, 64, 64), "float32")}}, "is no ControlNet"),
        ({"inputs": CONTROL_INPUTS | {"controlnet_cond": ((2, 3, 256, 256), "float16")}}, "to 1/4"),
        (
            {"inputs": CONTROL_INPUTS | {"encoder_hidden_states": ((2, 1024, 1, 77), "float16")}},
            r"for Stable Diffusion 2\.x and .+ is Stable Diffusion 1\.x",
        ),
        ({"inputs": OF_SDXL}, "for SDXL and"),
        ({"outputs": dict([*residuals("float32").items()][:-1])}, "a UNet of other blocks"),
        (
            {
                "outputs": residuals("float32")
                | {"additional_residual_4": ((2, 320, 32, 32), "float32")}
            },
            "a UNet of other blocks",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model: Identity, changes: Any, told: str) -> None:
    path = write_foreign_control(model.folder, **changes)
    with pytest.raises(ModelInvalid, match=told) as refused:
        found(path, model)
    assert "\n" not in str(refused.value)


def test_one_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    folder = write_ours(tmp_path)
    path = write_own(folder, bytes=1_000_000)
    with pytest.raises(ModelInvalid, match=r"is damaged: it has \d+ of 1000000 bytes"):
        found(path, identify(folder), width=128, height=128)


def test_a_file_that_is_called_like_a_part_is_refused(model: Identity) -> None:
    path = model.folder / "controlnet" / "Canny.mlpackage"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ModelInvalid, match="is no folder, as exported parts are"):
        found(path, model)


def test_one_of_core_ai_needs_its_manifest(model: Identity) -> None:
    path = model.folder / "Canny.aimodel"
    path.mkdir()
    with pytest.raises(ModelInvalid, match=r"is told by the manifest\.json of the folder"):
        found(path, model)


def test_it_needs_what_its_format_runs_on() -> None:
    net = Path("controlnet/Canny.mlpackage")
    assert control_refusal_here(ExportFormat.COREML, net, "darwin") == ""
    assert control_refusal_here(ExportFormat.COREAI, net, "linux") == ""
    assert control_refusal_here(ExportFormat.COREML, net, "linux") == (
        f"Running {net}, a Core ML ControlNet, needs a Mac; choose the ControlNet that it was made "
        "from."
    )


def test_it_is_no_model(model: Identity) -> None:
    path = write_foreign_control(model.folder)
    for look in (identify, judge):
        with pytest.raises(ModelInvalid, match=r"leads pictures \(--control\)"):
            look(path)
