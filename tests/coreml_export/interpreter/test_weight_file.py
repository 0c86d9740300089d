import numpy as np
import pytest
import torch

from core.coreml import import_coremltools
from core.errors import ModelInvalid
from coreml_export.interpreter.element_types import ElementType
from coreml_export.interpreter.weight_file import WeightFile, decode

WRITTEN = {
    "fp16": (np.array([0.5, -2, 65504, 1e-7], np.float16), "fp16", np.uint16),
    "fp32": (np.array([0.1, -3e38], np.float32), "float", np.float32),
    "uint8": (np.array([0, 255, 7], np.uint8), "uint8", np.uint8),
    "int8": (np.array([-128, 127, 7], np.int8), "int8", np.int8),
    "uint16": (np.array([65535, 3], np.uint16), "uint16", np.uint16),
    "int16": (np.array([-32768, 3], np.int16), "int16", np.int16),
    "uint32": (np.array([2**32 - 1, 3], np.uint32), "uint32", np.uint32),
    "int32": (np.array([-(2**31), 3], np.int32), "int32", np.int32),
    "int4": (np.array([-8, 7, 3, -1, 5], np.int8), "int4", np.int8),
    "uint1": (np.array([1, 0, 0, 1, 1, 1, 0, 1, 1], np.uint8), "uint1", np.uint8),
    "uint2": (np.array([3, 0, 2, 1, 1], np.uint8), "uint2", np.uint8),
    "uint3": (np.array([7, 0, 5, 2, 6, 1, 3], np.uint8), "uint3", np.uint8),
    "uint4": (np.array([15, 0, 9], np.uint8), "uint4", np.uint8),
    "uint6": (np.array([63, 0, 21, 42, 33], np.uint8), "uint6", np.uint8),
}
"""Numbers of each type that coremltools writes, how its writer calls the type, and as what."""


@pytest.fixture(scope="module")
def written(ct, tmp_path_factory):
    """A weight file by coremltools itself, with the place of each type in it."""
    path = tmp_path_factory.mktemp("weights") / "weight.bin"
    writer = import_coremltools("coremltools.libmilstoragepython")._BlobStorageWriter(str(path))
    places = {
        name: getattr(writer, f"write_{call}_data")(numbers.view(form))
        for name, (numbers, call, form) in WRITTEN.items()
    }
    del writer
    return path, places


@pytest.mark.parametrize("name", WRITTEN)
def test_numbers_of_each_type_come_back(written, name):
    path, places = written
    numbers, element_type = WRITTEN[name][0], ElementType(name)
    data = WeightFile(path).read(places[name], element_type, len(numbers))
    decoded = decode(data, element_type, numbers.shape)
    assert decoded.dtype is element_type.computed_as
    assert decoded.tolist() == numbers.tolist()


@pytest.mark.parametrize(
    ("element_type", "stored"),
    [
        (ElementType.BF16, torch.bfloat16),
        (ElementType.FP8_E4M3FN, torch.float8_e4m3fn),
        (ElementType.FP8_E5M2, torch.float8_e5m2),
        (ElementType.FP64, torch.float64),
    ],
)
def test_types_that_coremltools_does_not_write_are_decoded_too(element_type, stored):
    numbers = torch.tensor([[0.5, -2.0], [1.25, 0.0]])
    data = numbers.to(stored).view(torch.uint8).numpy().reshape(-1)
    assert torch.equal(decode(data, element_type, (2, 2)), numbers)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, data: path.write_bytes(data[:200]), "ends within the weight at byte 64"),
        (lambda path, data: path.write_bytes(data[:70]), "ends before byte 64"),
        (lambda path, data: path.write_bytes(b"\0" * len(data)), "has no weight at byte 64"),
        (lambda path, data: path.write_bytes(b""), "cannot be read"),
        (lambda path, data: path.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence(ct, tmp_path, damage, said):
    path = tmp_path / "weight.bin"
    writer = import_coremltools("coremltools.libmilstoragepython")._BlobStorageWriter(str(path))
    assert writer.write_float_data(np.ones(100, np.float32)) == 64
    del writer
    damage(path, path.read_bytes())
    with pytest.raises(ModelInvalid, match=said):
        WeightFile(path).read(64, ElementType.FP32, 100)


def test_a_weight_of_another_type_or_size_is_not_believed(written):
    path, places = written
    file = WeightFile(path)
    with pytest.raises(
        ModelInvalid, match=r"8 bytes of type fp16 .* expects 4 numbers of type int8"
    ):
        file.read(places["fp16"], ElementType.INT8, 4)
    with pytest.raises(ModelInvalid, match="expects 5 numbers"):
        file.read(places["fp16"], ElementType.FP16, 5)
