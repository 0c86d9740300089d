import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.images.png_text import LONGEST, SIGNATURE, add_text, read_texts


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def written(folder: Path, *chunks: bytes) -> Path:
    path = folder / "a.png"
    path.write_bytes(SIGNATURE + b"".join(chunks) + chunk(b"IEND", b""))
    return path


TEXTS = [
    "plain",
    "",
    "naïve café",
    "赤い円、猫",
    "😀 🏳️‍🌈",
    "two\nlines\r\nthree",
    'quotes "and" \\ back',
    "x" * 100_000,
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_kind_of_chunk_is_read(tmp_path, text):
    utf8 = text.encode()
    packed = zlib.compress(utf8)
    texts = read_texts(
        written(
            tmp_path,
            chunk(b"iTXt", b"plain\0\0\0en\0\0" + utf8),
            chunk(b"iTXt", b"packed\0\1\0\0\0" + packed),
            chunk(b"zTXt", b"z\0\0" + packed),
            chunk(b"tEXt", b"raw\0" + utf8),
        )
    )
    assert texts == dict.fromkeys(("plain", "packed", "z", "raw"), text)


def test_latin_1_stays_latin_1(tmp_path):
    path = written(tmp_path, chunk(b"tEXt", b"parameters\0" + "café".encode("latin-1")))
    assert read_texts(path) == {"parameters": "café"}


@pytest.mark.parametrize("text", TEXTS)
def test_what_pillow_writes_is_read(tmp_path, text):
    info = PngInfo()
    add_text(info, "ours", text)
    info.add_text("theirs", text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert read_texts(tmp_path / "a.png") == {"ours": text, "theirs": text}


def test_texts_behind_the_pixels_are_found_without_decoding_them(tmp_path):
    path = written(tmp_path, chunk(b"IDAT", b"no pixels"), chunk(b"tEXt", b"late\0here"))
    assert read_texts(path) == {"late": "here"}


def test_of_two_texts_the_first_counts(tmp_path):
    path = written(tmp_path, chunk(b"tEXt", b"a\0first"), chunk(b"tEXt", b"a\0second"))
    assert read_texts(path) == {"a": "first"}


@pytest.mark.parametrize(
    "damaged",
    [
        chunk(b"zTXt", b"bad\0\0no zlib"),
        chunk(b"zTXt", b"bad\0\0" + zlib.compress(bytes(LONGEST + 1))),
        chunk(b"iTXt", b"bad\0"),
        chunk(b"iTXt", b"bad\0\0\0\0"),
        chunk(b"iTXt", b"bad\0\0\0\0\0\xff\xfe"),
        chunk(b"tEXt", b"bad\0" + b"x" * (LONGEST + 1)),
    ],
    ids=["zlib", "bomb", "short", "no-language", "no-utf8", "long"],
)
def test_a_damaged_text_is_passed_over(tmp_path, damaged):
    path = written(tmp_path, damaged, chunk(b"tEXt", b"good\0text"))
    assert read_texts(path) == {"good": "text"}


def test_a_file_that_breaks_off_gives_what_stands_before(tmp_path):
    path = written(tmp_path, chunk(b"tEXt", b"good\0text"), chunk(b"tEXt", b"next\0text"))
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert set(read_texts(path)) <= {"good", "next"}


def test_what_is_no_png_has_no_texts(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    assert read_texts(tmp_path / "a.png") == {}
