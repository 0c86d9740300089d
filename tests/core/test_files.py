import os
import signal
import subprocess
import sys
import threading

import pytest

from core.errors import SaveFailed
from core.files import check_folder, create_file, new_folder, replace_file, replacing

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX limits, rights and signals")


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_a_file_is_written_with_its_folders(tmp_path, write):
    write(tmp_path / "a" / "b" / "file", b"data")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"data"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_replace_takes_the_place_of_an_older_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_create_leaves_an_older_file_alone(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_of_many_that_create_one_file_one_wins(tmp_path):
    won: list[int] = []
    ready = threading.Barrier(8)

    def create(number: int) -> None:
        ready.wait()
        try:
            create_file(tmp_path / "file", bytes([number]))
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "file").read_bytes() == bytes(won)


def test_a_disk_without_hard_links_is_served(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    create_file(tmp_path / "file", b"data")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"other")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"data"]


def test_a_name_that_was_taken_in_vain_is_given_back(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SaveFailed):
        create_file(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


@posix
def test_rights_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    create_file(tmp_path / "ours", b"data")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, write):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(SaveFailed, match="a file where a folder should be"):
        write(tmp_path / "file" / "picture", b"data")
    with pytest.raises(SaveFailed, match="below a file"):
        write(tmp_path / "file" / "folder" / "picture", b"data")
    assert (tmp_path / "file").read_bytes() == b"old"


@posix
@pytest.mark.parametrize("write", [create_file, replace_file])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, write):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(SaveFailed, match="takes no file of that size"):
            write(tmp_path / "file", bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.skipif(os.name != "nt" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SaveFailed, match="may not be written to"):
            check_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_good_folder_is_made_and_left_empty(tmp_path):
    check_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@posix
def test_a_killed_process_leaves_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "file"
    code = (
        "import sys, pathlib; from core.files import replace_file\n"
        "path = pathlib.Path(sys.argv[1]); print('ready', flush=True)\n"
        "while True:\n"
        "    for letter in b'ab': replace_file(path, bytes([letter]) * 3_000_000)\n"
    )
    for milliseconds in (3, 11, 23, 41):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        with process:
            process.stdout.readline()
            threading.Event().wait(milliseconds / 1000)
            process.kill()
        if path.exists():
            content = path.read_bytes()
            assert content in (b"a" * 3_000_000, b"b" * 3_000_000)


def test_a_file_written_in_pieces_appears_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with replacing(tmp_path / "file") as file:
        file.write(b"ne")
        file.flush()
        assert (tmp_path / "file").read_bytes() == b"old"
        file.write(b"w")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_bytes(b"old")

    def fail_in_a_file():
        with replacing(tmp_path / "file") as file:
            file.write(b"new")
            raise ZeroDivisionError

    def fail_in_a_folder():
        with new_folder(tmp_path / "folder") as folder:
            replace_file(folder / "a", b"data")
            raise ZeroDivisionError

    for fail in (fail_in_a_file, fail_in_a_folder):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "folder") as folder:
        replace_file(folder / "a" / "b", b"data")
        assert not (tmp_path / "deep" / "folder").exists()
    assert (tmp_path / "deep" / "folder" / "a" / "b").read_bytes() == b"data"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_folder_takes_no_others_place(tmp_path, when):
    def occupy():
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "old").touch()

    def write():
        with new_folder(tmp_path / "folder") as folder:
            replace_file(folder / "a", b"data")
            occupy()

    if when == "before":
        occupy()
    with pytest.raises(SaveFailed, match=r"folder is there already; choose another name"):
        write()
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["folder", "old"]


def test_a_folder_below_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(SaveFailed, match="below a file"),
        new_folder(tmp_path / "file" / "folder"),
    ):
        pass


@posix
def test_a_killed_process_leaves_no_half_folder(tmp_path):
    code = (
        "import sys, pathlib; from core.files import new_folder, replace_file\n"
        "path = pathlib.Path(sys.argv[1]); print('ready', flush=True); number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    with new_folder(path / str(number)) as folder:\n"
        "        for name in 'abcd': replace_file(folder / name / 'f', bytes(300_000))\n"
    )
    for milliseconds in (7, 19, 43):
        base = tmp_path / str(milliseconds)
        process = subprocess.Popen([sys.executable, "-c", code, str(base)], stdout=subprocess.PIPE)
        with process:
            process.stdout.readline()
            threading.Event().wait(milliseconds / 1000)
            process.kill()
        for folder in base.glob("[0-9]*"):
            sizes = [path.stat().st_size for path in folder.glob("*/f")]
            assert sizes == [300_000] * 4
