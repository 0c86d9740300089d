import importlib.util
import json
import shutil
import sys
import weakref
from collections import Counter

import pytest
import torch
from torch import nn

from core.coreml import import_coremltools
from core.errors import ModelInvalid, ModelMissing, Unsupported
from coreml_export.interpreter.element_types import ElementType
from coreml_export.interpreter.graph import TensorDescription
from coreml_export.interpreter.program import KERNELS, Arithmetic, Program
from coreml_export.interpreter.psnr import psnr


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 16)

    def forward(self, x):
        return torch.tanh(self.linear(x))


@pytest.fixture(scope="module")
def layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Layers().eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def package(convert, save, layers, x):
    model = convert(layers, {"x": x})
    model.user_defined_metadata["made by"] = "a test"
    return save(model)


@pytest.fixture
def copy(package, tmp_path):
    return shutil.copytree(package, tmp_path / "Copy.mlpackage")


@pytest.fixture
def edit(copy):
    """Change the specification of a copied package, and give the package."""

    def edited(change):
        path = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
        message = import_coremltools("coremltools.proto.Model_pb2").Model()
        message.ParseFromString(path.read_bytes())
        change(message)
        path.write_bytes(message.SerializeToString())
        return copy

    return edited


def operations(message):
    function = message.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def test_a_program_says_what_it_is(package):
    program = Program.read(package)
    assert program.inputs == (TensorDescription("x", (3, 8), ElementType.FP32),)
    (output,) = program.outputs
    assert (output.shape, output.dtype) == ((3, 16), ElementType.FP16)
    assert program.metadata["made by"] == "a test"
    assert program.specification_version == 7
    assert program.op_types == Counter(cast=1, linear=1, tanh=1)
    weights = [item for item in program.constants() if item.shape == (16, 8)]
    assert [(item.operation, item.stored_bytes) for item in weights] == [("const", 256)]


def test_it_computes_what_torch_does_over_fp16_weights(package, layers, x):
    (result,) = Program.read(package).run({"x": x}).values()
    half = layers.linear.weight.half().float(), layers.linear.bias.half().float()
    torch.testing.assert_close(result, torch.tanh(nn.functional.linear(x, *half)))
    assert result.dtype is torch.float32
    assert not result.requires_grad


def test_fp16_rounds_each_result_that_is_declared_so(package, layers, x):
    program = Program.read(package)
    (exact,), (rounded,) = (
        program.run({"x": x}, arithmetic=arithmetic).values() for arithmetic in Arithmetic
    )
    assert torch.equal(rounded, rounded.half().float())
    assert not torch.equal(exact, exact.half().float())
    assert psnr(exact, rounded) > 60


def test_what_overflows_in_fp16_is_named(convert, save):
    class Squares(nn.Module):
        def forward(self, x):
            return (x * x).mean(-1)

    program = Program.read(save(convert(Squares(), {"x": torch.ones(2, 4)})))
    large = {"x": torch.full((2, 4), 300.0)}
    exact = program.execute(large)
    assert exact.first_non_finite is None
    square, _ = (name for name, numbers in exact.ranges.items() if numbers == (90000, 90000))
    rounded = program.execute(large, arithmetic=Arithmetic.FP16)
    assert rounded.first_non_finite == f"mul (which makes {square})"
    assert set(rounded.ranges.values()) == {(300, 300)}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "takes x, and was given nothing"),
        ({"y": torch.ones(3, 8)}, "takes x, and was given y"),
        ({"x": torch.ones(8, 3)}, r"takes x as \(3, 8\) fp32, and was given \(8, 3\) float32"),
        ({"x": torch.ones(3, 8).int()}, r"was given \(3, 8\) int32"),
        ({"x": torch.ones(3, 8) > 0}, r"was given \(3, 8\) bool"),
    ],
)
def test_inputs_that_are_not_what_it_takes_are_refused(package, inputs, said):
    with pytest.raises(Unsupported, match=said):
        Program.read(package).run(inputs)


def test_a_program_with_open_sides_takes_several_sizes(ct, convert, save):
    class Grown(nn.Module):
        def forward(self, x):
            batch, channels, height, width = x.shape
            x = x.reshape(batch, channels, height * width).transpose(1, 2).softmax(1)
            x = x.transpose(1, 2).reshape(batch, channels, height, width)
            return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")

    side = ct.RangeDim(lower_bound=2, upper_bound=8, default=4)
    model = convert(
        Grown(),
        {"x": torch.ones(1, 2, 4, 4)},
        target="iOS17",
        precision="FLOAT32",
        shapes={"x": ct.Shape(shape=(1, 2, side, side))},
    )
    program = Program.read(save(model))
    assert program.inputs[0].shape == (1, 2, None, None)
    for height, width in ((4, 4), (2, 7)):
        x = torch.randn(1, 2, height, width)
        (result,) = program.run({"x": x}).values()
        torch.testing.assert_close(result, Grown()(x))
    with pytest.raises(Unsupported, match=r"\(1, 2, any, any\)"):
        program.run({"x": torch.ones(1, 3, 4, 4)})


def test_a_function_is_chosen_by_name(ct, convert, save, quiet, layers, x, tmp_path):
    class Twice(Layers):
        def forward(self, x):
            return 2 * super().forward(x)

    twice = Twice()
    twice.load_state_dict(layers.state_dict())
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, module in (("once", layers), ("twice", twice)):
        path = save(convert(module, {"x": x}, target="iOS18"))
        descriptor.add_function(str(path), "main", name)
    descriptor.default_function_name = "once"
    path = tmp_path / "Several.mlpackage"
    with quiet():
        ct.utils.save_multifunction(descriptor, str(path))

    (once,) = Program.read(path).run({"x": x}).values()
    (named,) = Program.read(path, "once").run({"x": x}).values()
    (doubled,) = Program.read(path, "twice").run({"x": x}).values()
    assert torch.equal(once, named)
    torch.testing.assert_close(doubled, 2 * once)
    with pytest.raises(Unsupported, match="no function 'thrice', but once, twice"):
        Program.read(path, "thrice")


def test_an_operation_that_is_not_known_is_named(build, save):
    mb = import_coremltools("coremltools.converters.mil").Builder
    program = Program.read(save(build(lambda x: mb.non_zero(x=x, name="places"), [(2, 2)])))
    assert program.op_types["non_zero"] == 1
    with pytest.raises(Unsupported, match=r"non_zero \(which makes places"):
        program.run({"x": torch.ones(2, 2)})


def test_an_operation_must_give_what_it_declares(edit, x):
    def widen(message):
        (linear,) = (item for item in operations(message) if item.type == "linear")
        linear.outputs[0].type.tensorType.dimensions[1].constant.size = 17

    with pytest.raises(
        ModelInvalid, match=r"linear .* declares \(3, 17\) fp16 and gives \(3, 16\)"
    ):
        Program.read(edit(widen)).run({"x": x})


def test_an_operation_must_give_the_kind_of_number_it_declares(edit, x):
    def whole(message):
        (linear,) = (item for item in operations(message) if item.type == "linear")
        linear.outputs[0].type.tensorType.dataType = 23

    with pytest.raises(ModelInvalid, match=r"declares \(3, 16\) int32 and gives \(3, 16\) float32"):
        Program.read(edit(whole)).run({"x": x})


def test_a_value_that_nothing_makes_is_told(edit):
    def forget(message):
        (linear,) = (item for item in operations(message) if item.type == "linear")
        linear.inputs["x"].arguments[0].name = "nothing"

    with pytest.raises(ModelInvalid, match="uses nothing, which nothing in it makes"):
        Program.read(edit(forget))


def test_a_failure_within_an_operation_tells_where(edit, x):
    def confuse(message):
        (linear,) = (item for item in operations(message) if item.type == "linear")
        linear.inputs["weight"].CopyFrom(linear.inputs["bias"])

    with pytest.raises(RuntimeError) as caught:
        Program.read(edit(confuse)).run({"x": x})
    assert "while computing linear (which makes " in caught.value.__notes__[0]


def test_values_go_when_nothing_needs_them(build, save, monkeypatch):
    mb = import_coremltools("coremltools.converters.mil").Builder

    def body(x):
        for _ in range(5):
            x = mb.exp(x=mb.sin(x=x))
        return x

    program = Program.read(save(build(body, [(4,)])))
    made, alive = [], []
    sin = KERNELS["sin"]

    def watched(given):
        alive.append(sum(reference() is not None for reference in made))
        result = sin(given)
        made.append(weakref.ref(result))
        return result

    monkeypatch.setitem(KERNELS, "sin", watched)
    program.run({"x": torch.ones(4)})
    assert alive == [0] * 5


def test_where_there_is_no_coremltools_reading_is_what_fails(tmp_path, monkeypatch):
    (tmp_path / "Manifest.json").write_text(
        json.dumps({"itemInfoEntries": {"a": {"path": "b"}}, "rootModelIdentifier": "a"})
    )
    # Other tests may have loaded its modules, which are found by their own names then.
    loaded = [name for name in sys.modules if name.startswith("coremltools.")]
    for name in ("coremltools", "google.protobuf.message", *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.find_spec("coreml_export.interpreter.package")
    loaded_anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded_anew)
    with pytest.raises(Unsupported, match="coremltools, which is not installed"):
        loaded_anew.Package(tmp_path)


def test_a_folder_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ModelMissing, match=r"no Core ML package at .*Nothing"):
        Program.read(tmp_path / "Nothing.mlpackage")


def test_a_package_without_a_manifest_is_told(copy):
    (copy / "Manifest.json").unlink()
    with pytest.raises(
        ModelInvalid, match=r"has no Manifest\.json; copy or export the package anew"
    ):
        Program.read(copy)


@pytest.mark.parametrize("text", ["", "[]", '{"itemInfoEntries": {}}', "{"])
def test_a_manifest_that_names_no_model_is_told(copy, text):
    (copy / "Manifest.json").write_text(text)
    with pytest.raises(ModelInvalid, match=r"a Manifest\.json that names no model"):
        Program.read(copy)


@pytest.mark.parametrize("path", ["../../elsewhere.mlmodel", "/etc/elsewhere.mlmodel"])
def test_a_manifest_does_not_lead_out_of_its_package(copy, path):
    manifest = json.loads((copy / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelInvalid, match="names a file outside of it"):
        Program.read(copy)


def test_a_missing_or_damaged_specification_is_told(copy):
    path = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelInvalid, match=r"has a damaged model\.mlmodel"):
        Program.read(copy)
    path.unlink()
    with pytest.raises(ModelInvalid, match=r"lacks model\.mlmodel"):
        Program.read(copy)


def test_weights_that_are_cut_off_are_told(copy, x):
    path = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ModelInvalid, match=r"weight\.bin, are damaged: the file ends"):
        Program.read(copy).run({"x": x})


def test_a_model_that_is_no_program_is_refused(edit):
    with pytest.raises(Unsupported, match="holds no ML program"):
        Program.read(edit(lambda message: message.neuralNetwork.SetInParent()))
