"""Every method from a folder of pictures to a checked file; stopped, resumed, gone wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image

from core.engine import TorchEngine
from core.errors import (
    CoreError,
    DatasetInvalid,
    InvalidRequest,
    SaveFailed,
    TrainingDiverged,
    Unsupported,
)
from core.events import Checkpointed, Loading, Notice, Prepared, Sample, Trained, TrainStep
from core.request import DeviceName, Precision
from core.training.checkpoint import read_checkpoint
from core.training.config import Method
from core.training.config_parts import (
    AdapterSettings,
    Crop,
    OptimiserName,
    OptimiserSettings,
    SampleSettings,
)
from core.training.folder import Folder
from core.training.seal import verdict_of
from tests.core.training.conftest import training

METHODS = list(Method)
slow = pytest.mark.slow


@pytest.fixture
def engine(tmp_path):
    return TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")


def run(engine, config, *, resume=False, until=None):
    """Give the events of a training, stopped after the step ``until``."""
    seen = []
    with closing(engine.train(config, resume=resume)) as events:
        for event in events:
            seen.append(event)
            if isinstance(event, TrainStep) and event.index == until:
                break
    return seen


def losses(events):
    return [event.loss for event in events if isinstance(event, TrainStep)]


def learned(out: Path, step: int):
    return read_checkpoint(Folder(out).checkpoint(step)).learned


@pytest.mark.parametrize("method", METHODS)
def test_a_method_ends_in_a_checked_file(method, tiny_model, pictures, tmp_path, engine):
    out = tmp_path / "out"
    samples = SampleSettings(prompts=("a red circle",), steps=2)
    config = training(method, model=tiny_model, data=pictures, out=out, samples=samples)
    events = run(engine, config)
    end = events[-1]
    assert isinstance(end, Trained)
    assert end.is_sound, end.verdict
    assert end.path.exists()
    assert verdict_of(end.path) == end.verdict
    for copy in (out / "diffusers").glob("*.safetensors"):
        assert verdict_of(copy) == end.verdict
    assert [event.index for event in events if isinstance(event, TrainStep)] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events if isinstance(event, Checkpointed)] == [2, 4, 6]
    assert [event.step for event in events if isinstance(event, Sample)] == [0, 6]
    assert len(losses(events)) == len(Folder(out).read_log()) == 6
    assert Folder(out).steps() == (4, 6)
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_goes_on_bit_for_bit(method, tiny_model, pictures, tmp_path, engine):
    def config(out):
        adapter = {"adapter": AdapterSettings(rank=2, dropout=0.3)} if method is Method.LORA else {}
        more = {"accumulation": 2, "steps": 4, **adapter}
        return training(method, model=tiny_model, data=pictures, out=out, **more)

    whole = run(engine, config(tmp_path / "whole"))
    first = run(engine, config(tmp_path / "parts"), until=3)
    rest = run(engine, config(tmp_path / "parts"), resume=True)
    assert losses(first) + losses(rest) == losses(whole)
    one, other = (learned(tmp_path / name, 4) for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [Folder(tmp_path / name).read_log() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_a_training_in_half_precision_learns(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    events = run(engine, dataclasses.replace(config, precision=Precision.BF16))
    assert events[-1].is_sound, events[-1].verdict
    weights = safetensors.torch.load_file(events[-1].path)
    assert {values.dtype for values in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("method", "model"),
    [
        (Method.LORA, "tiny_v_model"),
        (Method.TEXTUAL_INVERSION, "tiny_xl_model"),
        # Here what learns is learned below, and what is learned does not depend on what learns.
        pytest.param(Method.LORA, "tiny_xl_model", marks=slow),
        pytest.param(Method.FINETUNE, "tiny_xl_model", marks=slow),
        pytest.param(Method.FINETUNE, "tiny_v_model", marks=slow),
        pytest.param(Method.TEXTUAL_INVERSION, "tiny_v_model", marks=slow),
    ],
)
def test_sdxl_and_velocity_are_taught(method, model, pictures, tmp_path, engine, request):
    rate = OptimiserSettings(learning_rate=0.01)
    places = {"model": request.getfixturevalue(model), "data": pictures, "out": tmp_path / "out"}
    end = run(engine, training(method, **places, steps=2, optimiser=rate))[-1]
    assert end.is_sound, end.verdict


@pytest.mark.parametrize(
    ("method", "model"),
    [
        (Method.LORA, "tiny_model"),
        (Method.LORA, "tiny_xl_model"),
        (Method.DREAMBOOTH, "tiny_model"),
        (Method.FINETUNE, "tiny_xl_model"),
        # In full by either method, one kind of model each.
        pytest.param(Method.DREAMBOOTH, "tiny_xl_model", marks=slow),
        pytest.param(Method.FINETUNE, "tiny_model", marks=slow),
    ],
)
def test_text_encoders_learn_where_asked(method, model, pictures, tmp_path, engine, request):
    out = tmp_path / "out"
    config = training(
        method,
        model=request.getfixturevalue(model),
        data=pictures,
        out=out,
        steps=2,
        train_text=True,
        optimiser=OptimiserSettings(learning_rate=0.01),
    )
    end = run(engine, config)[-1]
    assert end.is_sound, end.verdict
    assert any(name.startswith("towers.text_encoder") for name in learned(out, 2))


@pytest.mark.parametrize(
    "method",
    [
        Method.LORA,
        Method.TEXTUAL_INVERSION,
        Method.FINETUNE,
        # It learns what one of the others learns, and shows more pictures.
        pytest.param(Method.DREAMBOOTH, marks=slow),
    ],
)
def test_checkpointing_activations_changes_nothing(method, tiny_model, pictures, tmp_path, engine):
    def found(name, **changes):
        config = training(method, model=tiny_model, data=pictures, out=tmp_path / name)
        return losses(run(engine, dataclasses.replace(config, **changes), until=2))

    assert found("a") == pytest.approx(found("b", gradient_checkpointing=True), rel=1e-5)


def diverging(tiny_model, pictures, out, rate, **changes):
    """Give a training whose weights are taken times ``1 - rate`` at each step."""
    return training(
        Method.LORA,
        model=tiny_model,
        data=pictures,
        out=out,
        optimiser=OptimiserSettings(learning_rate=rate, weight_decay=1, clip=0),
        **changes,
    )


def test_a_diverged_training_goes_back_once_and_says_so(tiny_model, pictures, tmp_path, engine):
    config = diverging(tiny_model, pictures, tmp_path / "out", 10, steps=60, save_every=1)
    seen = []
    with (
        pytest.raises(TrainingDiverged, match="lower learning rate") as caught,
        closing(engine.train(config)) as events,
    ):
        seen.extend(events)
    halved = [event for event in seen if isinstance(event, Notice) and "half" in event.message]
    assert len(halved) == 1
    # What is called kept is what a step could follow.
    last = Folder(tmp_path / "out").steps()[-1]
    assert f"kept up to step {last} in" in str(caught.value)
    assert last < max(event.step for event in seen if isinstance(event, Checkpointed))


@pytest.mark.parametrize(("save_every", "place"), [(0, "the beginning"), (1, "step 3")])
def test_half_the_rate_rescues_a_diverged_training(
    save_every, place, tiny_model, pictures, tmp_path, engine
):
    out = tmp_path / "out"
    config = diverging(tiny_model, pictures, out, 3.9, steps=12, save_every=save_every)
    events = run(engine, config, until=12)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert [message for message in told if f"goes on from {place} with half" in message]
    steps = [event.index for event in events if isinstance(event, TrainStep)]
    assert steps[:4] == [1, 2, 3, 4]
    assert steps[4:] == list(range(1 if place == "the beginning" else 4, 13))


def test_a_training_goes_on_at_a_rate_chosen_anew(tiny_model, pictures, tmp_path, engine):
    config = diverging(tiny_model, pictures, tmp_path / "out", 3.9, steps=12, save_every=1)
    halved = run(engine, config, until=6)[-1]
    assert halved.learning_rate == pytest.approx(3.9 / 2)
    same = run(engine, config, resume=True, until=7)[-1]
    assert same.learning_rate == pytest.approx(3.9 / 2)
    slower = dataclasses.replace(config.optimiser, learning_rate=0.001)
    end = run(engine, dataclasses.replace(config, optimiser=slower), resume=True, until=9)[-1]
    assert end.learning_rate == pytest.approx(0.001)
    again = run(engine, dataclasses.replace(config, optimiser=slower), resume=True, until=10)[-1]
    assert (again.index, again.learning_rate) == (10, pytest.approx(0.001))


def test_what_changed_while_a_training_was_stopped_is_told(tiny_model, pictures, tmp_path, engine):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = training(Method.LORA, model=model, data=pictures, out=tmp_path / "out")
    run(engine, config, until=2)
    (pictures / "0.txt").write_text("a green circle")
    events = run(engine, config, resume=True, until=3)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("1 picture or caption is not as when" in message for message in told)
    weights = next(path for path in (model / "unet").glob("*.safetensors"))
    tensors = safetensors.torch.load_file(weights)
    safetensors.torch.save_file({name: 2 * one for name, one in tensors.items()}, weights)
    with pytest.raises(InvalidRequest, match="has changed since the training began"):
        run(engine, config, resume=True)
    assert Folder(tmp_path / "out").steps() == (2, 3)


def test_a_folder_with_a_training_is_not_overwritten(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    run(engine, config, until=3)
    with pytest.raises(InvalidRequest, match="holds a training that came to step 3"):
        run(engine, config)
    changed = dataclasses.replace(config, seed=4)
    with pytest.raises(InvalidRequest, match="seed: is not as when"):
        run(engine, changed, resume=True)
    with pytest.raises(InvalidRequest, match="holds no training"):
        run(engine, dataclasses.replace(config, out=str(tmp_path / "other")), resume=True)


def test_pictures_that_vanish_leave_what_was_learned(tiny_model, pictures, tmp_path, engine):
    for path in pictures.glob("*.png"):
        Image.open(path).resize((128, 64)).save(path)
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    # Cropped by chance, they are read again at every showing.
    data = dataclasses.replace(config.data, crop=Crop.RANDOM, buckets=False)
    config = dataclasses.replace(config, data=data, save_every=0)
    events = engine.train(config)
    for event in events:
        if isinstance(event, TrainStep) and event.index == 3:
            shutil.rmtree(pictures)
            break
    with pytest.raises(DatasetInvalid, match=r"kept up to step 3 in .*step-00000003"):
        list(events)
    assert Folder(tmp_path / "out").steps() == (3,)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    run(engine, config, until=5)
    folder = Folder(tmp_path / "out")
    assert folder.steps() == (4, 5)
    (folder.checkpoint(5) / "optimiser.pt").write_bytes(b"no optimiser")
    events = run(engine, config, resume=True)
    assert [event.index for event in events if isinstance(event, TrainStep)] == [5, 6]
    assert folder.steps() == (4, 6)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("is damaged" in message and "learned anew" in message for message in told)


def test_class_pictures_are_made_once(tiny_model, pictures, tmp_path, engine):
    def made(name):
        config = training(Method.DREAMBOOTH, model=tiny_model, data=pictures, out=tmp_path / name)
        events = run(engine, config, until=1)
        assert events[-1].prior_loss is not None
        return [e for e in events if isinstance(e, Prepared) and e.what == "class pictures"]

    assert [event.index for event in made("a")] == [2]
    assert made("b") == []
    damaged = sorted((tmp_path / "cache" / "class-pictures").rglob("*.png"))[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert [event.index for event in made("c")] == [2]
    assert made("d") == []


def test_models_that_would_be_spoiled_are_refused(tiny_refiner, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_refiner, data=pictures, out=tmp_path / "out")
    with pytest.raises(Unsupported, match="refiner"):
        run(engine, config)


def test_what_was_trained_is_kept_beside_it(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    end = run(engine, config)[-1]
    assert Folder(tmp_path / "out").read_config() == config
    with safetensors.safe_open(end.path, framework="pt") as file:
        notes = file.metadata()
    assert notes["ss_network_dim"] == "2"
    assert json.loads(notes["stepwise.training"])["seed"] == 3
    assert notes["stepwise.verdict"].startswith("The self-check is passed")


@pytest.mark.parametrize("change", [{"data": "gone"}, {"model": "gone"}])
def test_what_is_not_there_is_named(change, tiny_model, pictures, tmp_path, engine):
    places = {"model": tiny_model, "data": pictures} | {
        name: tmp_path / value for name, value in change.items()
    }
    with pytest.raises(CoreError, match="gone"):
        run(engine, training(Method.LORA, out=tmp_path / "out", **places))


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (Method.DREAMBOOTH, {"single_file": True}, "one file"),
        (Method.TEXTUAL_INVERSION, {"init_word": "a circle"}, "2 tokens"),
        (Method.TEXTUAL_INVERSION, {"token": "circle"}, "a word that the model knows"),
        (
            Method.DREAMBOOTH,
            {"optimiser": OptimiserSettings(name=OptimiserName.ADAMW_8BIT)},
            "bitsandbytes",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    method, changes, said, tiny_model, pictures, tmp_path, engine
):
    config = training(method, model=tiny_model, data=pictures, out=tmp_path / "out", **changes)
    seen = []
    with pytest.raises(CoreError, match=said):
        seen.extend(engine.train(config))
    assert [event for event in seen if not isinstance(event, Loading)] == []
    assert Folder(tmp_path / "out").read_log() == []


def test_captions_without_the_new_word_are_counted(tiny_model, pictures, tmp_path, engine):
    (pictures / "0.txt").write_text("a red <it>")
    config = training(
        Method.TEXTUAL_INVERSION, model=tiny_model, data=pictures, out=tmp_path / "out"
    )
    told = [e.message for e in run(engine, config, until=1) if isinstance(e, Notice)]
    assert any("2 of 3 captions lack '<it>'" in message for message in told)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_fills_names_what_is_kept(tiny_model, pictures, tmp_path, engine):
    import resource

    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def go_on_without_room():
        for event in engine.train(config):
            if isinstance(event, Checkpointed):
                resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))

    said = r"checkpoints takes no file .* kept up to step 2 in .*; resume it when files can be"
    try:
        with pytest.raises(SaveFailed, match=said):
            go_on_without_room()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert Folder(tmp_path / "out").steps() == (2,)


def test_a_folder_that_went_while_the_training_was_paused_is_named(
    tiny_model, pictures, tmp_path, engine
):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    with closing(engine.train(config)) as events:
        for event in events:
            if isinstance(event, TrainStep) and event.index == 1:
                break
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(SaveFailed, match="out was moved or deleted"):
            list(events)
    with pytest.raises(InvalidRequest, match="holds no training to go on with"):
        run(engine, config, resume=True)


def test_a_first_step_without_decay_is_sound(tiny_model, pictures, tmp_path, engine):
    still = OptimiserSettings(learning_rate=0.01, weight_decay=0)
    config = training(
        Method.LORA,
        model=tiny_model,
        data=pictures,
        out=tmp_path / "out",
        steps=1,
        optimiser=still,
    )
    end = run(engine, config)[-1]
    assert end.is_sound, end.verdict


def test_a_training_without_a_checkpoint_begins_its_log_anew(
    tiny_model, pictures, tmp_path, engine
):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    run(engine, config, until=1)
    shutil.rmtree(Folder(tmp_path / "out").checkpoints)
    events = run(engine, config, until=2, resume=True)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("holds no checkpoint; it begins anew" in message for message in told)
    assert [row["step"] for row in Folder(tmp_path / "out").read_log()] == [1, 2]


def test_fewer_steps_than_were_done_are_refused(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    run(engine, config, until=3)
    with pytest.raises(InvalidRequest, match="has come to step 3"):
        run(engine, dataclasses.replace(config, steps=2), resume=True)


def test_two_trainings_do_not_fill_one_folder(tiny_model, pictures, tmp_path, engine):
    config = training(Method.LORA, model=tiny_model, data=pictures, out=tmp_path / "out")
    other = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")
    with closing(engine.train(config)) as events:
        for event in events:
            if isinstance(event, TrainStep) and event.index == 1:
                break
        with pytest.raises(InvalidRequest, match="is being filled by another training"):
            run(other, config)
    assert isinstance(run(other, config, resume=True)[-1], Trained)
