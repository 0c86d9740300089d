"""``stepwise models``: what a person and a program get to see of the library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core import cli
from core.models import catalog
from core.models.curated import CURATED
from tests.fixtures.adapters import stripped
from tests.fixtures.layouts import write_stripped

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def models(tmp_path, capsys, monkeypatch):
    """Carry out ``models`` in a profile of its own; gives the status, stdout and stderr."""
    monkeypatch.setattr(catalog, "_shelf", None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(["models", *words, "--profile", str(tmp_path / "profile")])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def mine(tiny_model, tmp_path) -> Path:
    # So deep that looking near it does not meet the models of other tests.
    return Path(shutil.copytree(tiny_model, tmp_path / "some" / "where" / "mine"))


def rows(result: tuple[int, str, str]) -> list[dict]:
    status, out, err = result
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def sentence(result: tuple[int, str, str]) -> str:
    status, _, err = result
    assert status == 1
    assert "Traceback" not in err
    return err.splitlines()[-1]


def test_a_model_goes_in_is_seen_and_goes_out(models, mine):
    *progress, added = rows(models("add", str(mine), "--json"))
    assert {event["event"] for event in progress} == {"progress"}
    assert (added["event"], added["outcome"], added["name"]) == ("added", "new", "mine")
    (listed,) = rows(models("list", "--json"))
    assert [row["name"] for row in listed] == ["starter", "mine"]
    assert (listed[1]["owned"], listed[1]["missing"], listed[1]["kind"]) == (False, False, "model")
    (shown,) = rows(models("show", "mine", "--json"))
    assert (shown["width"], shown["path"]) == (64, str(mine))
    assert shown["sha256"] == added["sha256"]
    *_, checked = rows(models("verify", "--json"))
    assert (checked["name"], checked["state"]) == ("mine", "sound")
    (removed,) = rows(models("remove", "mine", "--json"))
    assert (removed["name"], removed["deleted"]) == ("mine", False)
    assert mine.is_dir()


def test_a_person_is_told_the_same(models, mine):
    status, out, err = models("add", str(mine), "--name", "tiny")
    assert (status, out) == (0, f"tiny: custom Stable Diffusion model (fp32), {mine}\n")
    assert "Reading" in err
    assert f"kB, {mine}\n" in models("list")[1]
    assert "Size: " in models("show", "tiny")[1]
    assert "Precision: fp32" in models("show", "tiny")[1]
    assert models("verify", "tiny")[1] == "tiny: sound\n"
    assert "already" in models("add", str(mine))[1]
    assert "files are where they were" in models("remove", "tiny")[1]
    models("add", str(mine), "--copy")
    assert "its files are deleted" in models("remove", "mine")[1]
    assert mine.is_dir()


def test_what_is_missing_is_said_and_found_where_one_says(models, mine, tmp_path):
    models("add", str(mine))
    far = tmp_path / "a/b/c/d/e"
    far.mkdir(parents=True)
    mine.rename(far / "moved")
    assert "MISSING" in models("list")[1]
    assert rows(models("show", "mine", "--json"))[0]["missing"]
    result = models("verify")
    assert "mine: missing" in result[1]
    assert "Missing or changed: mine" in sentence(result)
    assert models("verify", "--search", str(tmp_path / "a"))[0] == 0
    assert rows(models("show", "mine", "--json"))[0]["path"] == str(far / "moved")


def test_what_is_there_twice_is_said(models, mine):
    models("add", str(mine))
    models("add", str(mine), "--copy", "--name", "other")
    status, _, err = models("verify")
    assert status == 0
    assert "mine and other are the same, byte for byte" in err
    assert "models remove other" in err


def test_a_changed_byte_ends_with_1(models, mine):
    models("add", str(mine))
    data = bytearray((mine / UNET).read_bytes())
    data[-1] ^= 1
    (mine / UNET).write_bytes(data)
    status, out, err = models("verify", "--json")
    assert (status, err.count("\n")) == (1, 1)
    assert json.loads(out.splitlines()[-1])["state"] == "changed"


def test_a_folder_full_of_models_is_added(models, mine, tmp_path):
    place = tmp_path / "all"
    (place / "loras").mkdir(parents=True)
    mine.rename(place / "mine")
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{stem}.lora_down.weight": (2, 768), f"{stem}.lora_up.weight": (320, 2)}
    write_stripped(place / "loras/fur.safetensors", stripped(shapes))
    (place / "loras/broken.safetensors").write_bytes(b"")
    status, out, err = models("add", str(place))
    assert status == 0
    assert out.startswith("mine: ")
    assert "fur: LoRA for Stable Diffusion 1.x" in out
    assert "Not added: " in err
    assert "broken.safetensors" in err
    assert "name: goes to one model" in sentence(models("add", str(place), "--name", "x"))
    (place / "loras/fur.safetensors").unlink()
    (place / "loras/other.safetensors").write_bytes(b"")
    status, out, err = models("add", str(place / "loras"))
    assert (status, out) == (1, "")
    assert "model_index.json is missing" in err
    assert "path: is empty" in sentence(models("add", " "))


def test_failures_are_one_sentence(models, mine, tmp_path):
    assert str(tmp_path / "none") in sentence(models("add", str(tmp_path / "none")))
    assert "models download a/b" in sentence(models("add", "a/b"))
    assert "too long" in sentence(models("add", "x" * 300))
    assert "models download a/x" in sentence(models("add", f"a/{'x' * 300}"))
    assert "no 'none'" in sentence(models("remove", "none"))
    assert "comes with Stepwise" in sentence(models("remove", "starter"))
    assert "is no folder to search" in sentence(models("verify", "--search", "no-such"))
    assert "is no name" in sentence(models("add", str(mine), "--name", "a b"))
    assert "owner/name" in sentence(models("download", "none"))
    assert "HF_HUB_OFFLINE" in sentence(models("download", "sd-1.5"))
    (tmp_path / "profile").mkdir(exist_ok=True)
    (tmp_path / "profile/library.json").write_text("{")
    assert "library.json" in sentence(models("list"))


def test_what_can_be_downloaded_is_listed_with_what_one_must_know(models):
    (listed,) = rows(models("list", "--available", "--json"))
    assert [row["id"] for row in listed] == [model.id for model in CURATED]
    assert all(row["approximate"] for row in listed)
    out = models("list", "--available")[1]
    assert "sd-1.5: Stable Diffusion 1.5, about 2.1 GB to download" in out
    assert "licence creativeml-openrail-m" in out
    assert "Size: about 2.1 GB" in models("show", "sd-1.5")[1]


def test_the_hugging_face_cache_is_listed_and_used(models, mine, tmp_path):
    assert f"no model in {tmp_path / 'hub'}" in models("list", "--cached")[1]
    snapshot = tmp_path / "hub/models--some-one--tiny/snapshots" / ("c" * 40)
    (tmp_path / "hub/models--some-one--tiny/blobs").mkdir(parents=True)
    (tmp_path / "hub/models--some-one--tiny/refs").mkdir()
    (tmp_path / "hub/models--some-one--tiny/refs/main").write_text("c" * 40)
    shutil.copytree(mine, snapshot)
    (listed,) = rows(models("list", "--cached", "--json"))
    assert [(row["id"], row["path"]) for row in listed] == [("some-one/tiny", str(snapshot))]
    *_, added = rows(models("add", "some-one/tiny", "--json"))
    assert (added["name"], added["path"]) == ("tiny", str(snapshot))


def test_a_model_is_used_by_its_name(models, mine, tmp_path, capsys):
    models("add", str(mine), "--name", "tiny")
    words = ["generate", "moon", "--model", "tiny", "--steps", "1", "--device", "cpu", "--json"]
    words += ["--width", "32", "--height", "32", "--profile", str(tmp_path / "profile")]
    assert cli.main(words) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (image,) = (event for event in events if event["event"] == "image")
    (shown,) = rows(models("show", "tiny", "--json"))
    assert image["model_sha256"] == shown["sha256"]


def test_downloads_that_were_stopped_are_listed_and_given_up(models, tmp_path):
    assert "no download" in models("list", "--partial")[1]
    folder = tmp_path / "profile/models" / f".partial-a--b-{'c' * 40}-fp16"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/x.safetensors.part").write_bytes(bytes(2000))
    (listed,) = rows(models("list", "--partial", "--json"))
    assert listed == [{"id": "a/b", "size": 2000, "path": str(folder)}]
    assert f"a/b: 2.0 kB have arrived, {folder}" in models("list", "--partial")[1]
    assert "what does is a/b" in sentence(models("download", "sd-1.5", "--discard"))
    (gone,) = rows(models("download", "a/b", "--discard", "--json"))
    assert gone == {"event": "discarded", **listed[0]}
    assert not folder.exists()
