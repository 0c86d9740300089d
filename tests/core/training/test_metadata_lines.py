import json

import pytest

from core.training.metadata_lines import METADATA, BadLine, Line, read_lines


@pytest.fixture
def lines_of(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").touch()

    def read(raw: bytes):
        (tmp_path / METADATA).write_bytes(raw)
        return list(read_lines(tmp_path))

    return read


def test_no_file_is_no_lines(tmp_path):
    assert list(read_lines(tmp_path)) == []


def test_lines_are_read(lines_of, tmp_path):
    raw = b'\xef\xbb\xbf{"file_name": "a.png", "text": "a \\n star", "more": 1}\r\n\n'
    raw += b'{"file_name": "in/b.png", "text": ""}'
    assert lines_of(raw) == [
        Line(tmp_path / "a.png", "a star"),
        Line(tmp_path / "in" / "b.png", ""),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "has no JSON in line 1."),
        (b"\xff\xfe{}", "has no JSON in line 1."),
        (b"[" * 100_000, "has no JSON in line 1."),
        (b"[]", "has no object with the texts file_name and text in line 1."),
        (b'{"file_name": "a.png"}', "has no object with"),
        (b'{"file_name": 1, "text": "x"}', "has no object with"),
        (b'{"file_name": "", "text": "x"}', "has no object with"),
        (b'{"file_name": "a\\u0000.png", "text": "x"}', "has no object with"),
        (b'{"file_name": "a.png", "text": "\\ud800"}', "has no object with"),
        (b'{"file_name": "\\ud800", "text": "x"}', "has no object with"),
        (b'{"file_name": "c.png", "text": "x"}', "names c.png in line 1, which is not there."),
    ],
)
def test_a_bad_line_is_told(lines_of, line, reason):
    (bad,) = lines_of(line)
    assert isinstance(bad, BadLine)
    assert bad.reason.startswith(reason)


@pytest.mark.parametrize(
    "name", ["../a.png", "in/../../a.png", "/etc/passwd", "C:\\a.png", "..\\a.png", "\\\\host\\a"]
)
def test_a_line_cannot_name_a_file_elsewhere(lines_of, tmp_path, name):
    (tmp_path.parent / "a.png").touch()
    (bad,) = lines_of(json.dumps({"file_name": name, "text": "x"}).encode())
    assert isinstance(bad, BadLine)
    assert bad.reason.startswith("names a file outside of its folder in line 1")


def test_good_lines_are_kept_beside_bad_ones(lines_of):
    kinds = [type(line) for line in lines_of(b'x\n{"file_name": "a.png", "text": "x"}\ny')]
    assert kinds == [BadLine, Line, BadLine]
