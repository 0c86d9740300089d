import json
import shutil

import pytest

from core import cli
from core.events import Loading
from core.paths import Profile
from coreml_export import command
from coreml_export.__main__ import main
from coreml_export.options import EXPORT
from coreml_export.request import ExportRequest


def words_of(done):
    """Give the words that ask for an export."""
    request = done.request
    return [
        *("--model", request.model, "--out", request.out, "--profile", str(done.profile.root)),
        *(
            "--lora",
            f"{request.loras[0].path}:2",
            "--embedding",
            f"wolf={request.embeddings[0].path}",
        ),
    ]


def test_program_reads_an_event_a_line_and_nothing_else(copied, capsys):
    done = copied()
    assert main([*words_of(done), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events if event["event"] not in ("loading", "notice")]
    assert kinds == ["part"] * 4 + ["finished"]
    parts = [event for event in events if event["event"] == "part"]
    assert {part["name"] for part in parts} == {"Unet", "TextEncoder", "VAEDecoder", "VAEEncoder"}
    assert all(part["kept"] for part in parts)
    assert all(part["psnr"]["fp32"] > 50 for part in parts)
    assert events[-1]["folder"] == str(done.folder)
    assert events[-1]["target"] == "macOS13"


def test_person_sees_needs_progress_and_what_became_of_each_part(copied, capsys):
    done = copied()
    shutil.rmtree(done.folder / "TextEncoder.mlpackage")
    assert main(words_of(done)) == 0
    out, err = capsys.readouterr()
    assert f"{done.folder / 'TextEncoder.mlpackage'}: " in out
    assert out.count("dB to torch") == 4
    assert out.count(", kept") == 3
    assert "Makes TextEncoder for macOS13 and later; takes about " in err
    assert "converting TextEncoder" in err
    assert f"4 parts in {done.folder} (" in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--width", "64"), "--height: is missing beside the other side; give both."),
        (("--width", "60", "--height", "64"), "--width: 60 must be a multiple of 8"),
        (("--batch", "3"), "--batch: 3 must be a whole number from 1 to 2."),
        (("--parts", "unett"), "--parts: 'unett' is none of TextEncoder, "),
        (("--size", "64x64", "--size", "64x128", "--chunk"), "--chunk: does not go with several"),
        (("--format", "coreai", "--layout", "split-einsum"), "--layout: is for Core ML alone"),
        (("--model", "nowhere"), "There is no model 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_names_the_option(words, line, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out"), "--profile", str(tmp_path)]) == 1
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [(), ("--out", "o", "--compress", "int3"), ("--out", "o", "--size", "64")]
)
def test_wrong_usage_ends_with_2(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_command_is_one_of_the_apps(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"], added=(EXPORT,))
    assert "export-coreml" in capsys.readouterr().out


@pytest.mark.parametrize("to_program", [False, True])
def test_stopped_export_says_what_is_kept(tmp_path, capsys, monkeypatch, to_program):
    def stopped(request, profile):
        yield Loading(what="the converter")
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "export", stopped)
    request = ExportRequest(out=str(tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        command.run(request, Profile(tmp_path / "profile"), to_program=to_program)
    said = capsys.readouterr().err.splitlines()
    stops = [line for line in said if line.startswith("Stopped; finished parts are kept")]
    assert len(stops) == (0 if to_program else 1)
