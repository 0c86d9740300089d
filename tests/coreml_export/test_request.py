import json

import pytest

from core.coreml_folder import ExportFormat, Layout
from core.errors import InvalidRequest
from core.request import EmbeddingUse, LoraUse
from coreml_export.request import Compression, ExportRequest, Packing

FULL = ExportRequest(
    model="x",
    out="/out",
    format=ExportFormat.COREML,
    layout=Layout.SPLIT_EINSUM,
    sizes=((512, 768), (768, 512)),
    batch=1,
    compression=Compression.parse("mixed:4.5"),
    loras=(LoraUse(path="a", weight=0.5),),
    embeddings=(EmbeddingUse(path="b", token="c"),),
    vae="v",
    controls=("canny",),
    parts=("Unet", "controlnet"),
    check=False,
)


@pytest.mark.parametrize(
    "request_",
    [FULL, ExportRequest(out="o", chunk=True), ExportRequest(out="o", format=ExportFormat.COREAI)],
)
def test_it_goes_to_json_and_back(request_):
    there = json.loads(json.dumps(request_.to_json()))
    assert there == request_.to_json()
    assert ExportRequest.from_json(there) == request_


@pytest.mark.parametrize(
    ("word", "compression"),
    [
        ("none", Compression()),
        ("INT8", Compression(Packing.INT8)),
        ("palette4", Compression(Packing.PALETTE4)),
        ("w8a8", Compression(Packing.W8A8)),
        ("mixed", Compression(Packing.MIXED, bits=6)),
        ("mixed:4.5", Compression(Packing.MIXED, bits=4.5)),
        ("mixed:60dB", Compression(Packing.MIXED, decibels=60)),
    ],
)
def test_compression_is_read_and_told_alike(word, compression):
    assert Compression.parse(word) == compression
    assert Compression.parse(str(compression)) == compression


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("out", {"out": " "}),
        ("width", {"sizes": ((500, 512),)}),
        ("height", {"sizes": ((512, 0),)}),
        ("sizes", {"sizes": ((512, 512), (512, 512))}),
        ("batch", {"batch": 3}),
        ("parts", {"parts": ("unet",)}),
        ("parts", {"parts": ("controlnet",)}),
        ("chunk", {"chunk": True, "sizes": ((512, 512), (512, 768))}),
        ("layout", {"layout": "sideways"}),
        ("loras", {"loras": (LoraUse(path="a", weight=1000.0),)}),
        ("compress", {"compression": "int8"}),
        ("layout", {"format": ExportFormat.COREAI, "layout": Layout.SPLIT_EINSUM}),
        ("compress", {"format": ExportFormat.COREAI, "compression": Compression(Packing.INT8)}),
        ("chunk", {"format": ExportFormat.COREAI, "chunk": True}),
        ("chunk", {"compression": Compression(Packing.W8A8), "chunk": True}),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(field, given):
    with pytest.raises(InvalidRequest) as caught:
        ExportRequest(**{"out": "o"} | given)
    assert caught.value.field == field


@pytest.mark.parametrize("word", ["int4", "mixed:2", "mixed:9", "mixed:5db", "mixed:", "mixed:x"])
def test_compression_that_there_is_not_is_refused(word):
    with pytest.raises(InvalidRequest, match="compress"):
        Compression.parse(word)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"out": "o", "depth": 1},
        {"out": "o", "sizes": 3},
        {"out": "o", "loras": [{"file": 1}]},
        None,
        "o",
        [1],
    ],
)
def test_json_of_another_kind_is_refused(values):
    with pytest.raises(InvalidRequest):
        ExportRequest.from_json(values)
