import struct

import pytest

from core.images.jpeg_segments import digest_of, read_jpeg
from core.images.metadata import read_metadata

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def part(digest: str, total: int, offset: int, data: bytes) -> bytes:
    return EXTENSION + digest.encode() + struct.pack(">II", total, offset) + data


def test_each_kind_of_segment_is_found(build):
    path = build.jpeg(
        build.segment(0xFE, b"first"),
        build.segment(0xE1, b"Exif\0\0exif"),
        build.segment(0xE1, XMP + b"packet"),
        b"\xff\xff\xff" + build.segment(0xFE, b"second"),
        build.segment(0xED, b"photo"),
        build.segment(0xED, b"shop"),
        build.segment(0xE1, b"Exif\0\0later"),
    )
    found = read_jpeg(path)
    assert (found.exif, found.xmp, found.photoshop) == (b"exif", b"packet", b"photoshop")
    assert found.comments == [b"first", b"second"]


def test_the_parts_of_a_packet_are_joined_in_any_order(build):
    digest = digest_of(b"abcdef")
    parts = [part(digest, 6, 4, b"ef"), part(digest, 6, 0, b"ab"), part(digest, 6, 2, b"cd")]
    path = build.jpeg(*(build.segment(0xE1, data) for data in parts))
    assert read_jpeg(path).extensions == {digest: b"abcdef"}


@pytest.mark.parametrize(
    "data",
    [
        part("A" * 32, 2**32 - 1, 0, b"x"),
        part("A" * 32, 6, 0, b"ab"),
        part("A" * 32, 6, 2**32 - 1, b"abcdef"),
        EXTENSION,
        EXTENSION + b"A" * 20,
    ],
    ids=["huge", "missing", "outside", "empty", "short"],
)
def test_a_packet_that_is_not_whole_is_none(build, data):
    found = read_jpeg(build.jpeg(build.segment(0xE1, data)))
    assert "A" * 32 not in found.extensions


def test_an_extension_of_another_packet_is_not_read(build):
    record = b'<stepwise:record xmlns:stepwise="urn:stepwise:record#">{}</stepwise:record>'
    digest = digest_of(record)
    path = build.jpeg(
        build.segment(0xE1, XMP + build.packet("")),
        build.segment(0xE1, part(digest, len(record), 0, record)),
    )
    assert read_metadata(path) is None


def test_a_file_cut_anywhere_is_no_error(build):
    path = build.jpeg(build.segment(0xFE, b"comment"), build.segment(0xE1, XMP + b"packet"))
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        read_jpeg(path)


def test_what_is_no_jpeg_has_no_texts(tmp_path):
    (tmp_path / "a").write_bytes(b"\x89PNG")
    assert read_jpeg(tmp_path / "a").comments == []
