"""Models are added, named, found again, checked and removed, and nothing of the user's is lost."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from core.errors import InvalidRequest, ModelInvalid, ModelMissing, SaveFailed, Unsupported
from core.models import catalog, copying, curated, library
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.library import Library
from core.models.library_events import (
    Added,
    Checked,
    Meter,
    Outcome,
    Progress,
    State,
    Task,
)
from core.models.partial_downloads import sweep_copies
from core.models.safetensors_header import TensorInfo
from core.models.verdict import Kind, Verdict
from tests.fixtures.layouts import write_stripped

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "mine" / "My model (v1)"))


@pytest.fixture
def lora(tmp_path: Path, monkeypatch) -> Path:
    """A single file; what it is is said for it."""

    def judged(path: Path) -> Verdict:
        return Verdict(
            path=path, kind=Kind.LORA, family="sd1", title="A LoRA", weights={"lora": path}
        )

    monkeypatch.setattr(library, "judge", judged)
    path = tmp_path / "loras" / "style.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"some weights")
    return path


def put(shelf: Library, path: Path, **options) -> Added:
    *_, added = shelf.add(path, **options)
    assert isinstance(added, Added)
    return added


def test_the_same_weights_with_other_settings_are_another_model(
    shelf: Library, model: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(model, tmp_path / "velocity"))
    config = other / "scheduler/scheduler_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"_diffusers_version": "0.1"}))
    first = put(shelf, model).entry
    assert put(shelf, other).outcome is Outcome.KNOWN
    config.write_text(json.dumps(values | {"prediction_type": "v_prediction"}))
    added = put(shelf, other)
    assert (added.outcome, added.same_as) == (Outcome.NEW, (first.name,))
    assert identify(added.entry.path).prediction_type == "v_prediction"
    assert shelf.duplicates() == ()


def other_bytes(model: Path) -> Path:
    """Change a model so that it is sound and another one."""
    data = bytearray((model / UNET).read_bytes())
    data[-1] ^= 1
    (model / UNET).write_bytes(data)
    return model


def test_a_model_is_used_where_it_lies(shelf, model):
    added = put(shelf, model)
    entry = added.entry
    assert (added.outcome, entry.name, entry.path) == (Outcome.NEW, "My-model-v1", model)
    assert (entry.owned, entry.kind, entry.family) == (False, Kind.MODEL, "custom")
    assert shelf.entries() == (entry,)
    assert not shelf.folder.exists()
    assert entry.size == sum(p.stat().st_size for p in identify(model).weights.values())


def test_its_hash_is_the_one_that_pictures_carry(shelf, model, tmp_path):
    entry = put(shelf, model).entry
    assert entry.sha256 == Fingerprints(tmp_path / "none").of_model(identify(model).weights)
    assert shelf.of_hash(entry.sha256[:10].upper()) == (entry,)


def test_so_is_that_of_a_model_whose_weights_are_split(shelf, model, tmp_path):
    from safetensors.numpy import load_file, save_file

    whole = model / UNET
    tensors = load_file(whole)
    whole.unlink()
    places = {}
    for number in (1, 2):
        part = whole.with_name(f"part-{number}.safetensors")
        names = sorted(tensors)[number - 1 :: 2]
        save_file({name: tensors[name] for name in names}, part)
        places |= dict.fromkeys(names, part.name)
    index = whole.with_name(f"{whole.name}.index.json")
    index.write_text(json.dumps({"weight_map": places}))
    entry, weights = put(shelf, model).entry, identify(model).weights
    assert len(entry.files) == len(weights) == 4
    assert entry.sha256 == Fingerprints(tmp_path / "none").of_model(weights)


def test_a_hash_is_computed_once(shelf, model, monkeypatch):
    events = list(shelf.add(model))
    assert any(isinstance(event, Progress) and event.task is Task.HASH for event in events)
    monkeypatch.setattr(Fingerprints, "reading", None)
    assert put(shelf, model).outcome is Outcome.KNOWN
    assert shelf.fingerprints.of_model(identify(model).weights) == shelf.entries()[0].sha256


def test_a_single_file_has_the_short_hash_that_others_know_it_by(shelf, lora):
    import hashlib

    entry = put(shelf, lora).entry
    assert entry.name == "style"
    assert entry.autov2 == hashlib.sha256(b"some weights").hexdigest()[:10]
    assert shelf.models() == {}


def test_a_copy_is_the_librarys_own(shelf, model):
    (model / "unet/diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (model / ".hidden.json").write_text("{}")
    entry = put(shelf, model, copy=True).entry
    assert entry.owned
    assert entry.path == shelf.folder / "My-model-v1"
    assert not list(entry.path.rglob("*.bin"))
    assert not (entry.path / ".hidden.json").exists()
    shutil.rmtree(model)
    assert identify(entry.path).weights
    assert [path.name for path in shelf.folder.iterdir()] == ["My-model-v1"]


def test_a_single_file_is_copied_with_its_name(shelf, lora):
    entry = put(shelf, lora, copy=True, name="ink").entry
    assert entry.path == shelf.folder / "ink" / "style.safetensors"
    assert shelf.entries() == (entry,)
    assert shelf.remove("ink").deleted
    assert list(shelf.folder.iterdir()) == []
    assert lora.read_bytes() == b"some weights"


@pytest.mark.parametrize("inside", [True, False])
def test_what_was_made_for_the_library_goes_with_it_if_it_lies_there(shelf, model, inside):
    folder = shelf.folder / "made" if inside else shelf.folder.parent / "made"
    shutil.copytree(model, folder)
    entry = put(shelf, folder, own=True).entry
    assert (entry.path, entry.owned) == (folder, inside)
    assert shelf.remove(entry.name).deleted is inside
    assert folder.exists() is not inside


def test_an_adapter_in_a_folder_of_its_own_is_copied_without_the_rest(shelf, tmp_path):
    folder = tmp_path / "cat-toy"
    vectors = {"<cat-toy>": TensorInfo("F32", (1, 768))}
    weights = write_stripped(folder / "learned_embeds.safetensors", vectors)
    (folder / "checkpoint-500.safetensors").write_bytes(b"not of it")
    entry = put(shelf, folder, copy=True).entry
    assert (entry.kind, entry.missing()) == (Kind.EMBEDDING, ())
    assert entry.path == shelf.folder / "cat-toy" / weights.name
    assert list(entry.path.parent.iterdir()) == [entry.path]
    assert put(shelf, folder).outcome is Outcome.KNOWN


def test_copying_what_was_referred_to_makes_it_the_librarys_own(shelf, model):
    put(shelf, model)
    added = put(shelf, model, copy=True)
    assert (added.outcome, added.entry.owned) == (Outcome.UPDATED, True)
    assert shelf.entries() == (added.entry,)
    assert put(shelf, model, copy=True).outcome is Outcome.KNOWN
    assert [path.name for path in shelf.folder.iterdir()] == ["My-model-v1"]


def test_a_copy_that_is_stopped_leaves_nothing(shelf, model, monkeypatch):
    monkeypatch.setattr(copying, "PIECE", 1000)
    events = shelf.add(model, copy=True)
    for event in events:
        if isinstance(event, Progress) and event.task is Task.COPY:
            break
    (partial,) = (path for path in shelf.folder.iterdir() if path.is_dir())
    assert partial.name.startswith(".partial-")
    # Another Stepwise sees that this one is at it.
    sweep_copies(shelf.folder)
    assert partial.is_dir()
    events.close()
    assert list(shelf.folder.iterdir()) == []
    assert shelf.entries() == ()


def test_a_copy_without_a_place_for_it_is_one_sentence(shelf, lora):
    shelf.folder.parent.mkdir()
    shelf.folder.write_bytes(b"a file")
    with pytest.raises(SaveFailed, match="is a file where a folder should be"):
        put(shelf, lora, copy=True)
    assert shelf.entries() == ()


@pytest.mark.parametrize("change", ["add", "remove"])
def test_what_a_killed_copy_left_is_deleted(shelf, lora, change):
    name = put(shelf, lora).entry.name
    left = shelf.folder / f".partial-{'0' * 16}"
    begun = shelf.folder / f".partial-a--b-{'c' * 40}-fp16"
    for folder in (left, begun):
        (folder / "unet").mkdir(parents=True)
        (folder / "unet/w.safetensors").write_bytes(b"half a model")
    left.with_name(f"{left.name}.lock").touch()
    if change == "add":
        put(shelf, lora)
    else:
        shelf.remove(name)
    assert list(shelf.folder.iterdir()) == [begun]


def test_a_copy_that_does_not_fit_is_not_begun(shelf, model, monkeypatch):
    usage = shutil.disk_usage(model)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(SaveFailed, match=r"has 1.0 kB free"):
        put(shelf, model, copy=True)
    assert shelf.entries() == ()


def test_removing_deletes_only_what_is_the_librarys_own(shelf, model):
    put(shelf, model)
    removed = shelf.remove("my-MODEL-v1")
    assert not removed.deleted
    assert identify(model).weights
    assert shelf.entries() == ()
    owned = put(shelf, model, copy=True).entry
    assert shelf.remove(owned.name).deleted
    assert list(shelf.folder.iterdir()) == []
    assert identify(model).weights


def test_a_list_that_somebody_edited_deletes_nothing_outside(shelf, model, tmp_path):
    put(shelf, model)
    path = tmp_path / "profile/library.json"
    values = json.loads(path.read_text())
    for place in (str(model), "../../mine/My model (v1)", "."):
        values["models"][0] |= {"owned": True, "path": place}
        path.write_text(json.dumps(values))
        assert not shelf.remove("My-model-v1").deleted
        assert identify(model).weights


def test_what_ships_cannot_be_removed_and_its_name_not_be_had(shelf, model):
    with pytest.raises(Unsupported, match="comes with Stepwise"):
        shelf.remove("starter")
    with pytest.raises(InvalidRequest, match="taken by the app"):
        put(shelf, model, name="Starter")
    starter = model.rename(model.parent / "starter")
    assert put(shelf, starter).entry.name == "starter-2"


@pytest.mark.parametrize(
    ("given", "name"), [("my file (v1)", "my-file-v1"), ("x" * 70, "x" * 60), ("", "model")]
)
def test_what_arrived_is_named_without_spaces(shelf, lora, given, name):
    partial = shelf.folder / ".partial-arrived"
    partial.mkdir(parents=True)
    lora.rename(partial / lora.name)
    *_, added = shelf.adopt(partial, name=given, source="a/b@c")
    assert added.entry.name == name
    assert added.entry.path == shelf.folder / name / lora.name


def test_names_are_unique_and_stay(shelf, model, tmp_path):
    second = other_bytes(Path(shutil.copytree(model, tmp_path / "two" / model.name)))
    names = [put(shelf, path).entry.name for path in (model, second)]
    assert names == ["My-model-v1", "My-model-v1-2"]
    shelf.remove(names[0])
    assert shelf.get(names[1]).path == second
    assert put(shelf, model).entry.name == names[0]


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "-x", "x" * 61, "a:b", "\n"])
def test_a_name_that_is_none_is_refused(shelf, model, name):
    with pytest.raises(InvalidRequest, match="is no name"):
        put(shelf, model, name=name)


def test_a_name_of_another_model_is_refused(shelf, model, tmp_path):
    put(shelf, model, name="mine")
    second = other_bytes(Path(shutil.copytree(model, tmp_path / "two")))
    with pytest.raises(InvalidRequest, match=r"taken by .*My model"):
        put(shelf, second, name="MINE")
    assert put(shelf, model, name="mine").outcome is Outcome.KNOWN


def test_the_same_bytes_are_not_added_twice_unless_named(shelf, model, tmp_path):
    first = put(shelf, model).entry
    twin = Path(shutil.copytree(model, tmp_path / "twin"))
    known = put(shelf, twin)
    assert (known.outcome, known.entry) == (Outcome.KNOWN, first)
    assert shelf.duplicates() == ()
    second = put(shelf, twin, name="twin")
    assert (second.outcome, second.same_as) == (Outcome.NEW, (first.name,))
    assert shelf.duplicates() == ((first, second.entry),)


def test_an_entry_that_was_overwritten_is_no_twin_and_its_hash_not_believed(shelf, lora, tmp_path):
    first = put(shelf, lora).entry
    second = Path(shutil.copyfile(lora, tmp_path / "second.safetensors"))
    lora.write_bytes(b"other weights")
    added = put(shelf, second)
    assert (added.outcome, added.same_as, added.entry.path) == (Outcome.NEW, (), second)
    assert shelf.fingerprints.of_file(lora) != first.sha256 == shelf.fingerprints.of_file(second)


def test_a_twin_is_known_without_the_memory_of_hashes(shelf, lora, tmp_path):
    put(shelf, lora)
    second = Path(shutil.copyfile(lora, tmp_path / "second.safetensors"))
    shutil.rmtree(tmp_path / "profile/cache")
    assert put(shelf, second).outcome is Outcome.KNOWN


def test_a_changed_model_is_brought_up_to_date_when_added_again(shelf, model):
    before = put(shelf, model).entry
    other_bytes(model)
    added = put(shelf, model)
    assert (added.outcome, added.entry.name) == (Outcome.UPDATED, before.name)
    assert added.entry.sha256 != before.sha256
    assert shelf.entries() == (added.entry,)


def test_a_moved_model_is_found_again_when_it_is_added(shelf, model, tmp_path):
    before = put(shelf, model).entry
    moved = model.rename(tmp_path / "elsewhere")
    added = put(shelf, moved)
    assert (added.outcome, added.entry.name) == (Outcome.FOUND_AGAIN, before.name)
    assert shelf.get(before.name).path == moved


def check(shelf: Library, *names: str, search=()) -> list[tuple[str, State]]:
    events = list(shelf.verify(names, search=search))
    return [(e.entry.name, e.state) for e in events if isinstance(e, Checked)]


def test_sound_models_are_read_again_in_full(shelf, model):
    name = put(shelf, model).entry.name
    events = list(shelf.verify())
    assert events[-1] == Checked(entry=shelf.get(name), state=State.SOUND)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == shelf.get(name).size


def test_a_changed_byte_is_seen_even_if_size_and_time_are_the_same(shelf, model):
    import os

    name = put(shelf, model).entry.name
    before = (model / UNET).stat()
    other_bytes(model)
    os.utime(model / UNET, ns=(before.st_atime_ns, before.st_mtime_ns))
    (checked,) = (e for e in shelf.verify([name]) if isinstance(e, Checked))
    assert checked.state is State.CHANGED
    assert str(model / UNET) in checked.reason
    (model / UNET).write_bytes(b"short")
    assert check(shelf) == [(name, State.CHANGED)]


@pytest.mark.parametrize("to", ["mine/renamed", "mine/deep/er", "other/My model (v1)"])
def test_a_model_moved_nearby_is_found_by_its_hash(shelf, model, tmp_path, to):
    name = put(shelf, model).entry.name
    decoy = other_bytes(Path(shutil.copytree(model, tmp_path / "mine" / "a-decoy")))
    target = tmp_path / to
    target.parent.mkdir(exist_ok=True)
    model.rename(target)
    assert check(shelf) == [(name, State.MOVED)]
    assert shelf.get(name).path == target != decoy
    assert check(shelf) == [(name, State.SOUND)]


def test_a_file_moved_far_is_found_where_one_says_to_look(shelf, lora, tmp_path):
    name = put(shelf, lora).entry.name
    far = tmp_path / "a/b/c/d/e/f"
    far.mkdir(parents=True)
    (far / "decoy.safetensors").write_bytes(b"same length!")
    lora.rename(far / "new name.safetensors")
    assert check(shelf) == [(name, State.MISSING)]
    (missing,) = (e for e in shelf.verify() if isinstance(e, Checked))
    assert str(lora) in missing.reason
    assert check(shelf, name, search=[tmp_path / "a"]) == [(name, State.MOVED)]
    assert shelf.get(name).path == far / "new name.safetensors"


def test_checking_no_model_is_said(shelf):
    with pytest.raises(ModelMissing, match="no 'none' in the library"):
        check(shelf, "none")
    assert check(shelf) == []


def test_what_is_no_model_is_refused_and_not_noted(shelf, model, tmp_path):
    with pytest.raises(ModelMissing, match="is not there"):
        put(shelf, tmp_path / "none")
    (model / UNET).write_bytes(b"")
    with pytest.raises(ModelInvalid):
        put(shelf, model)
    assert shelf.entries() == ()


def test_the_catalog_finds_the_librarys_models_behind_the_starter(shelf, model):
    put(shelf, model, name="mine")
    catalog.use_shelf(shelf)
    assert catalog.names() == ("starter", "mine")
    assert catalog.resolve("mine") == catalog.resolve("MINE") == model.resolve()
    card = catalog.card("mine")
    assert (card.name, card.title, card.path) == ("mine", "mine", model)
    assert catalog.resolve(str(model)) == model.resolve()
    shutil.rmtree(model)
    with pytest.raises(ModelMissing, match="mine is no longer at"):
        catalog.resolve("mine")


def test_a_model_of_our_own_list_has_its_good_settings_everywhere(shelf, model):
    known = curated.find("sd-1.5")
    assert known is not None
    plain = catalog.card(str(model))
    assert plain.scheduler is not known.scheduler
    list(shelf.add(model, name="mine", source=f"{known.repo}@abc"))
    catalog.use_shelf(shelf)
    for name in ("mine", str(model)):
        card = catalog.card(name)
        good = (known.steps, known.guidance_scale, known.scheduler)
        assert (card.steps, card.guidance_scale, card.scheduler) == good


def test_a_damaged_list_keeps_nobody_from_other_models(shelf, model, tmp_path):
    put(shelf, model)
    (tmp_path / "profile/library.json").write_text("{")
    catalog.use_shelf(shelf)
    assert catalog.names() == ("starter",)
    assert catalog.resolve(str(model)) == model.resolve()
    assert catalog.resolve("starter").is_dir()
    assert catalog.card(str(model)).path == model.resolve()
    with pytest.raises(ModelInvalid, match=r"library\.json"):
        catalog.resolve("mine")


def test_what_the_window_is_given_goes_from_process_to_process(shelf, model):
    for event in (*shelf.add(model), *shelf.verify(), *shelf.entries()):
        assert pickle.loads(pickle.dumps(event)) == event


def cached(tmp_path: Path, monkeypatch, model: Path, repo: str = "Some-one/tiny") -> Path:
    """Put a model into a Hugging Face cache, in its layout of blobs and links."""
    cache = tmp_path / "hub"
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("c" * 40)
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c" * 40)
    for number, file in enumerate(sorted(p for p in model.rglob("*") if p.is_file())):
        link = snapshot / file.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob = folder / "blobs" / f"{number:040x}"
        shutil.copyfile(file, blob)
        link.symlink_to(blob)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return snapshot


def test_a_model_in_the_hugging_face_cache_is_used_where_it_lies(
    shelf, model, tmp_path, monkeypatch
):
    snapshot = cached(tmp_path, monkeypatch, model)
    *_, added = shelf.add_cached("some-one/Tiny")
    entry = added.entry
    assert (entry.name, entry.path, entry.owned) == ("tiny", snapshot, False)
    assert entry.source == f"Some-one/tiny@{'c' * 40}"
    shelf.remove("tiny")
    assert identify(snapshot).weights
    *_, added = shelf.add_cached("some-one/tiny", copy=True)
    assert not any(path.is_symlink() for path in added.entry.path.rglob("*"))


def test_what_is_not_in_the_cache_is_said(shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(ModelMissing, match="models download some/one"):
        list(shelf.add_cached("some/one"))


def test_the_speed_is_that_of_late_and_not_of_what_was_there_before():
    now = 0.0
    meter = Meter(Task.DOWNLOAD, 1000, done=400, clock=lambda: now)
    now = 1.0
    progress = meter.at("a", 500)
    assert (progress.speed, progress.eta) == (100.0, 5.0)
    assert meter.at("a", 510) is None
    for second in range(2, 12):
        now = float(second)
        progress = meter.at("a", 510)
    assert (progress.speed, progress.eta) == (0.0, None)
    now = 12.0
    assert meter.at("a", 0).speed == 0.0
    now = 12.01
    assert meter.at("a", 1000).done == 1000


def test_a_lora_is_found_by_its_name_in_any_letters(shelf, lora):
    (added,) = [e for e in shelf.add(lora, name="Fox-Fur") if isinstance(e, Added)]
    assert shelf.finder(Kind.LORA)("fox-fur") == added.entry.path
    assert shelf.finder(Kind.EMBEDDING)("fox-fur") is None
    assert shelf.finder(Kind.LORA)("wolf") is None


def test_a_lora_is_found_by_its_files_name_with_all_its_signs(shelf, lora):
    file = lora.rename(lora.with_name("Add Detail+ (v2).safetensors"))
    entry = put(shelf, file).entry
    find = shelf.finder(Kind.LORA)
    assert entry.name == "Add-Detail-v2"
    for name in ("Add Detail+ (v2)", "add detail+ (v2).safetensors", "Add-Detail-v2"):
        assert find(name) == file
    put(shelf, file, name="mine")
    assert find("Add Detail+ (v2)") == file


def test_a_file_that_has_gone_is_found_by_its_hash_one_is_told(shelf, lora):
    entry = put(shelf, lora).entry
    lora.rename(lora.with_name("moved.safetensors"))
    for name in (entry.name, "STYLE.safetensors"):
        with pytest.raises(
            ModelMissing, match=r"LoRA style is no longer at .* verify style --search"
        ):
            shelf.finder(Kind.LORA)(name)
