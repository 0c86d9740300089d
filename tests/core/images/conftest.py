"""Picture files built byte by byte, as other programs write them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286


class Build:
    """Builds files in a folder; each is a whole picture of 8 x 8 pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    def png(self, *chunks: bytes, late: tuple[bytes, ...] = (), name: str = "a.png") -> Path:
        """Chunks right after IHDR, others behind the pixels."""
        header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"\0" * 8 * (1 + 8 * 3))
        parts = [self.chunk(b"IHDR", header), *chunks, self.chunk(b"IDAT", pixels), *late]
        data = b"\x89PNG\r\n\x1a\n" + b"".join([*parts, self.chunk(b"IEND", b"")])
        return self._written(name, data)

    def text(self, keyword: str, text: str) -> bytes:
        """tEXt in Latin-1 where that is enough, else iTXt: what Pillow's ``add_text`` gives."""
        try:
            return self.chunk(b"tEXt", keyword.encode() + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            return self.itxt(keyword, text)

    def itxt(self, keyword: str, text: str) -> bytes:
        return self.chunk(b"iTXt", keyword.encode() + b"\0\0\0\0\0" + text.encode())

    def texts(self, **texts: object) -> Path:
        """A PNG with texts; what is no text becomes JSON."""
        said = {k: v if isinstance(v, str) else json.dumps(v) for k, v in texts.items()}
        return self.png(*(self.text(k.replace("__", "-"), v) for k, v in said.items()))

    @staticmethod
    def exif(comment: bytes = b"", main: dict[int, bytes] | None = None, order: str = ">") -> bytes:
        """A TIFF block: texts in the first directory, the comment in the second."""
        entries = {tag: (2, value + b"\0") for tag, value in (main or {}).items()}
        count = len(entries) + bool(comment)
        at = 8 + 2 + 12 * count + 4
        body, rows = b"", []
        for tag, (kind, value) in sorted(entries.items()):
            place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", at)
            rows.append(struct.pack(order + "HHI", tag, kind, len(value)) + place)
            if len(value) > 4:
                body += value
                at += len(value)
        if comment:
            rows.append(struct.pack(order + "HHII", EXIF_IFD, 4, 1, at))
            body += struct.pack(order + "HHHII", 1, USER_COMMENT, 7, len(comment), at + 18)
            body += struct.pack(order + "I", 0) + comment
        mark = b"MM\0*" if order == ">" else b"II*\0"
        head = mark + struct.pack(order + "IH", 8, count)
        return head + b"".join(rows) + struct.pack(order + "I", 0) + body

    @staticmethod
    def segment(marker: int, data: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data

    def jpeg(self, *segments: bytes, name: str = "a.jpg") -> Path:
        """Segments between JFIF and the tables of a small grey JPEG."""
        return self._written(name, _GREY_JPEG[:20] + b"".join(segments) + _GREY_JPEG[20:])

    def jpeg_exif(self, block: bytes) -> Path:
        return self.jpeg(self.segment(0xE1, b"Exif\0\0" + block))

    def webp(self, *chunks: tuple[bytes, bytes], name: str = "a.webp") -> Path:
        """Chunks behind the pixels of a small lossless WebP in an extended file."""
        flags = {b"EXIF": 0x08, b"XMP ": 0x04}
        shown = sum({kind: flags.get(kind, 0) for kind, _ in chunks}.values())
        size = (7).to_bytes(3, "little") * 2
        all_chunks = [(b"VP8X", bytes((shown, 0, 0, 0)) + size), (b"VP8L", _VP8L), *chunks]
        body = b"".join(
            kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
            for kind, data in all_chunks
        )
        return self._written(name, b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)

    def packet(self, body: str, attributes: str = "") -> bytes:
        """An XMP packet around a description's properties."""
        return (
            '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" {attributes}>{body}</rdf:Description>'
            '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
        ).encode()

    def _written(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


def _encoded(kind: str, **options: object) -> bytes:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind, **options)
    return buffer.getvalue()


_GREY_JPEG = _encoded("JPEG")
_VP8L = _encoded("WEBP", lossless=True)[20:]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)
