"""The caption that IPTC's record keeps inside a JPEG. Imports no torch.

Photoshop's image resources (Adobe Photoshop File Formats Specification) hold the record, which is
a row of datasets (IPTC-NAA Information Interchange Model 4.2, 1.5); the caption is dataset 2:120.
"""

from __future__ import annotations

from collections.abc import Iterator

_PHOTOSHOP = b"Photoshop 3.0\0"
_RECORD = 0x0404
_CAPTION = (2, 120)
_EXTENDED = 0x8000


def read_caption(photoshop: bytes) -> str | None:
    """Read ``Caption-Abstract`` from Photoshop's resources.

    Returns:
        None if there is none.
    """
    resources = photoshop.removeprefix(_PHOTOSHOP)
    for number, data in _resources(resources):
        if number == _RECORD:
            for dataset, value in _datasets(data):
                if dataset == _CAPTION:
                    return _decoded(value)
    return None


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 7 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6])
        at += 6 + _even(1 + data[at + 6])  # its name, with the byte that counts it
        length = int.from_bytes(data[at : at + 4])
        yield number, data[at + 4 : at + 4 + length]
        at += 4 + _even(length)


def _datasets(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        dataset = (data[at + 1], data[at + 2])
        length = int.from_bytes(data[at + 3 : at + 5])
        at += 5
        if length & _EXTENDED:
            size = length - _EXTENDED
            length = int.from_bytes(data[at : at + size])
            at += size
        yield dataset, data[at : at + length]
        at += length


def _even(length: int) -> int:
    return length + length % 2


def _decoded(value: bytes) -> str:
    """Read UTF-8, as today's programs write, or else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
