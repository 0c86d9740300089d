"""Whatever a file says, reading it ends soon: with settings, with nothing, or with one sentence."""

import contextlib
import json
import re
import struct
import tempfile
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.images.foreign import Foreign
from core.images.jpeg_segments import LONGEST, read_jpeg
from core.images.metadata import read_metadata
from core.images.nearest import nearest
from core.images.texts import read_hidden_texts
from core.request import TextToImage

FUZZ = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

KEYWORDS = (
    "parameters",
    "prompt",
    "workflow",
    "stepwise",
    "invokeai_metadata",
    "sd-metadata",
    "Dream",
    "Comment",
    "Software",
    "Description",
    "fooocus_scheme",
    "steps",
    "seed",
    "XML:com.adobe.xmp",
)
WORDS = re.findall(
    r"\w+",
    """
    prompt uc steps scale seed sampler c size model loras lora weight name image inputs
    class_type KSampler KSamplerAdvanced CLIPTextEncode SaveImage text positive negative
    latent_image base_model resolution version request picture app model_sha256 nodes links
    widgets_values id type v4_prompt caption char_captions strength width height scheduler cfg
    sampler_name 3 4 ckpt_name lora_name lora_1 on hash vae clip_skip generation_mode
    """,
)
SNIPPETS = (
    "Negative prompt:",
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8",
    'Hashes: {"a": [',
    "<lora:a:0.5>",
    "Include in Image: a; Generator: Mochi Diffusion 4",
    "\n",
    "\0",
    '"',
    "9" * 5000,
)

texts = st.one_of(st.text(max_size=40), st.sampled_from(SNIPPETS), st.sampled_from(WORDS))
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.sampled_from([[], {}, 10**400])
)
links = st.tuples(st.sampled_from(["3", "4", "id"]), st.integers(-1, 2)).map(list)
values = st.recursive(
    st.one_of(plain, links),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(WORDS), values, max_size=10)


def nodes(kind: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    inputs = st.dictionaries(st.sampled_from(WORDS), st.one_of(plain, links), max_size=12)
    return st.fixed_dictionaries({"class_type": kind, "inputs": inputs})


kinds = st.sampled_from(["KSampler", "SaveImage", "CLIPTextEncode", "LoraLoader", "Reroute", "x"])
graphs = st.dictionaries(st.sampled_from(["3", "4", "id", "5"]), nodes(kinds), max_size=4)
said = st.one_of(texts, objects.map(json.dumps), graphs.map(json.dumps))


def read(path: Path) -> None:
    """Read a file and use all that it says."""
    with contextlib.suppress(InvalidRequest):
        found = read_metadata(path)
        if isinstance(found, Foreign):
            near = nearest(found)
            TextToImage(**near.settings)
            assert all(len(sentence) < 1000 for sentence in near.lost)
            json.dumps([dict(found.unexpressed), dict(found.details)])


@FUZZ
@given(st.dictionaries(st.sampled_from(KEYWORDS), said, max_size=5))
def test_texts_of_any_content(build, found):
    chunks = [
        build.chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + text.encode(errors="replace"))
        for keyword, text in found.items()
    ]
    read(build.png(*chunks))


@FUZZ
@given(st.sampled_from(KEYWORDS), objects)
def test_json_of_any_shape(build, keyword, found):
    read(build.texts(**{keyword: found}))


@FUZZ
@given(graphs)
def test_graphs_of_any_shape(build, graph):
    read(build.texts(prompt=graph))


@FUZZ
@given(st.binary(max_size=80), st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"comf"]))
def test_chunks_of_any_bytes(build, data, kind):
    read(build.png(build.chunk(kind, b"parameters\0" + data), build.chunk(kind, data)))


@FUZZ
@given(st.lists(st.tuples(st.sampled_from([0xE1, 0xED, 0xFE]), st.binary(max_size=60)), max_size=4))
def test_segments_of_any_bytes(build, segments):
    heads = {0xE1: b"Exif\0\0MM\0*", 0xED: b"Photoshop 3.0\08BIM\x04\x04", 0xFE: b"parameters\0"}
    read(build.jpeg(*(build.segment(mark, heads[mark] + data) for mark, data in segments)))


@FUZZ
@given(st.sampled_from(["png", "jpeg", "webp"]), st.data())
def test_files_with_some_bytes_changed(build, kind, data):
    block = build.exif(b"ASCII\0\0\0{}", main={0x010F: b"prompt:{}", 0x9286: b"{}"})
    packet = build.packet("<a>b</a>")
    if kind == "png":
        path = build.png(build.chunk(b"eXIf", block), build.text("parameters", "a cat"))
    elif kind == "jpeg":
        xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet
        path = build.jpeg(build.segment(0xE1, b"Exif\0\0" + block), build.segment(0xE1, xmp))
    else:
        path = build.webp((b"EXIF", block), (b"XMP ", packet))
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        content[place] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read(path)


@FUZZ
@given(st.binary(max_size=200))
def test_files_of_any_bytes(data):
    with tempfile.TemporaryDirectory() as folder:
        for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"RIFF\0\0\0\0WEBPEXIF"):
            path = Path(folder) / "a"
            path.write_bytes(head + data)
            read(path)
            read_hidden_texts(path)


DEEP = 100_000


@pytest.mark.timeout(30)
@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize(
    "text",
    ["[" * DEEP, '{"a":' * DEEP, '{"image":' * 500 + "1" + "}" * 500, "a: b, " * DEEP, "{" * DEEP],
    ids=["lists", "objects", "nested", "pairs", "braces"],
)
def test_texts_without_end(build, keyword, text):
    read(build.texts(**{keyword: text}))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_texts_that_unpack_without_end(build, kind):
    bomb = zlib.compress(bytes(64 * 2**20))
    head = b"parameters\0\0" if kind == "zTXt" else b"parameters\0\1\0\0\0"
    chunk = build.chunk(kind.encode(), head + bomb)
    small = zlib.compress(b" " * (4 * 2**20))
    many = [build.chunk(b"zTXt", b"k%d\0\0" % i + small) for i in range(300)]
    read(build.png(chunk, *many, build.text("parameters", "a cat")))


@pytest.mark.timeout(30)
def test_chunks_and_segments_without_number(build):
    read(build.png(*[build.chunk(b"tEXt", b"k%d\0v" % i) for i in range(100_000)]))
    read(build.jpeg(*[build.segment(0xFE, b"parameters\0x")] * 100_000))
    read(build.webp(*[(b"XMP ", b"")] * 50_000))


@pytest.mark.timeout(30)
def test_many_texts_that_unpack_without_end(build):
    bomb = build.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(5 * 2**20)))
    begin = time.perf_counter()
    read(build.png(*[bomb] * 2000))
    assert time.perf_counter() - begin < 5


@pytest.mark.timeout(30)
def test_segments_of_full_size_are_kept_to_a_bound(build):
    path = build.jpeg(*[build.segment(0xED, bytes(60_000))] * 200)
    assert len(read_jpeg(path).photoshop) <= LONGEST
    read(path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("line", ["a", "a: ", 'a: "', "a: b, ", "a: [", "<lora:", "; Model: "])
def test_one_line_of_the_longest_size(build, line):
    begin = time.perf_counter()
    read(build.texts(parameters=line * (2**22 // len(line) - 8)))
    read(build.texts(parameters=line * (2**18 // len(line))))
    assert time.perf_counter() - begin < 15


@pytest.mark.timeout(30)
@pytest.mark.parametrize("count", [0xFFFF, 500])
def test_exif_that_counts_without_end(build, count):
    entry = struct.pack(">HHII", 0x010F, 2, 0xFFFFFFFF, 8)
    block = b"MM\0*" + struct.pack(">IH", 8, count) + entry * 500
    loop = b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x8769, 4, 1, 8) + struct.pack(">I", 8)
    read(build.jpeg_exif(block))
    read(build.jpeg_exif(loop))
