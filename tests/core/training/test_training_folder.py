"""Checkpoints are whole or not there, logs survive kills, and trainings do not mix."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch

from core.errors import DatasetInvalid, InvalidRequest, ModelInvalid, SaveFailed
from core.request import Precision
from core.training.checkpoint import State, read_checkpoint, write_checkpoint
from core.training.config import Method
from core.training.config_parts import AdapterSettings
from core.training.folder import Folder, check_begins
from tests.core.training.conftest import training


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "out")


def state(step=3, average=None):
    return State(
        step=step,
        learned={"w": torch.arange(4.0)},
        average=average,
        optimiser={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        scaler=None,
        rate_factor=0.5,
        processes=2,
    )


@pytest.mark.parametrize("average", [None, {"w": torch.ones(4)}])
def test_a_checkpoint_is_read_as_it_was_written(folder, average):
    path = folder.checkpoint(3)
    write_checkpoint(path, state(average=average), lambda place: (place / "usable.x").touch())
    found = read_checkpoint(path)
    assert (found.step, found.rate_factor, found.processes) == (3, 0.5, 2)
    assert torch.equal(found.learned["w"], torch.arange(4.0))
    assert (found.average is None) == (average is None)
    assert found.optimiser["param_groups"] == [{"lr": 0.1}]
    assert folder.usable(3) == path / "usable.x"


def test_a_checkpoint_that_fails_is_not_there(folder):
    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_checkpoint(folder.checkpoint(3), state(), fail)
    assert folder.steps() == ()
    assert list(folder.checkpoints.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_checkpoint_without_room_is_named_and_not_there(folder):
    import resource

    folder.checkpoints.mkdir(parents=True)
    # The optimiser keeps more than what learns, and more than a file takes here.
    large = dataclasses.replace(state(), optimiser={"state": {0: torch.zeros(100_000)}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SaveFailed, match=r"^\S*checkpoints takes no file of that size"):
            write_checkpoint(folder.checkpoint(3), large, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(folder.checkpoints.iterdir()) == []


@pytest.mark.parametrize("name", ["learned.safetensors", "optimiser.pt", "state.json"])
@pytest.mark.parametrize("damage", [None, b"", b"nonsense"])
def test_a_damaged_checkpoint_is_named(folder, name, damage):
    path = folder.checkpoint(3)
    write_checkpoint(path, state(), None)
    if damage is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(damage)
    with pytest.raises(ModelInvalid, match="step-00000003 is damaged"):
        read_checkpoint(path)


def test_a_checkpoint_runs_no_code(folder):
    class Evil:
        def __reduce__(self):
            return (print, ("never",))

    path = folder.checkpoint(3)
    write_checkpoint(path, state(), None)
    torch.save({"optimiser": Evil(), "scaler": None}, path / "optimiser.pt")
    with pytest.raises(ModelInvalid, match="is damaged"):
        read_checkpoint(path)


def test_only_the_latest_are_kept_and_what_was_cut_off_goes(folder):
    for step in (1, 2, 3):
        write_checkpoint(folder.checkpoint(step), state(step), None)
    (folder.checkpoints / ".abc.part").mkdir()
    folder.keep_checkpoints((2, 3))
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "step-00000002",
        "step-00000003",
    ]


def test_a_log_is_cut_where_the_training_goes_on(folder):
    folder.root.mkdir()
    for step in (1, 2, 3):
        folder.log({"step": step, "loss": 0.1})
    with folder.log_file.open("a") as file:
        file.write('{"step": 4, "lo')
    folder.cut_log(2)
    assert [row["step"] for row in folder.read_log()] == [1, 2]


def test_trainings_do_not_mix(folder, tmp_path):
    config = training(Method.LORA, model="m", data=tmp_path / "data", out=folder.root)
    check_begins(folder, config, resume=False)
    with pytest.raises(InvalidRequest, match="holds no training"):
        check_begins(folder, config, resume=True)
    folder.write_config(config)
    write_checkpoint(folder.checkpoint(3), state(), None)
    with pytest.raises(InvalidRequest, match="holds a training that came to step 3"):
        check_begins(folder, config, resume=False)
    slower = dataclasses.replace(config.optimiser, learning_rate=1e-5)
    may = {"steps": 99, "save_every": 1, "optimiser": slower, "precision": Precision.FP32}
    check_begins(folder, dataclasses.replace(config, **may), resume=True)
    other = dataclasses.replace(slower, weight_decay=0.5)
    with pytest.raises(InvalidRequest, match=r"^optimiser\.weight_decay: is not as when"):
        check_begins(folder, dataclasses.replace(config, optimiser=other), resume=True)
    with pytest.raises(InvalidRequest, match=r"^adapter\.rank: is not as when"):
        check_begins(folder, dataclasses.replace(config, adapter=AdapterSettings()), resume=True)
    with pytest.raises(InvalidRequest, match="batch_size: is not as when"):
        check_begins(folder, dataclasses.replace(config, batch_size=9), resume=True)
    mixed = dataclasses.replace(config, data=dataclasses.replace(config.data, folder=config.out))
    with pytest.raises(DatasetInvalid, match="holds the pictures"):
        check_begins(folder, mixed, resume=False)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"method": "alchemy"}', "[" * 100_000])
def test_settings_that_are_damaged_are_named(folder, text):
    folder.root.mkdir()
    folder.config_file.write_text(text)
    with pytest.raises(InvalidRequest):
        folder.read_config()
