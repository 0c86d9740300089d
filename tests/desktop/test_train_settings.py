import dataclasses
import json
from pathlib import Path

import pytest

from core.errors import InvalidRequest
from core.request import DeviceName
from core.training.config import (
    DreamBooth,
    Finetune,
    LoraTraining,
    Method,
    TextualInversion,
    from_json,
    to_json,
)
from core.training.config_parts import (
    AdapterSettings,
    DataSettings,
    LossKind,
    LossSettings,
    OptimiserName,
    OptimiserSettings,
    SampleSettings,
)
from desktop.settings import Settings, read, write
from desktop.train_fields import fields_in_sight
from desktop.train_more_fields import folded_fields
from desktop.train_settings import TrainSettings, all_leaves, free_name, read_settings

DATA = DataSettings(folder="/pictures/moons", resolution=256, flip=True)
SHARED = {
    "model": "mine",
    "out": "/trainings/moons",
    "data": DATA,
    "steps": 77,
    "loss": LossSettings(kind=LossKind.HUBER, huber_delta=0.2),
    "optimiser": OptimiserSettings(name=OptimiserName.PRODIGY, learning_rate=1e-5),
    "samples": SampleSettings(prompts=("a moon", "two moons"), every=20, seed=2**32 - 1),
}
CONFIGS = (
    LoraTraining(
        **SHARED | {"data": dataclasses.replace(DATA, trigger="moonling")},
        adapter=AdapterSettings(rank=4, alpha=2.0),
        train_text=True,
    ),
    TextualInversion(**SHARED, token="moonling", init_word="star", vectors=3),
    DreamBooth(**SHARED, instance_prompt="a sks moon", class_prompt="a moon", class_images=20),
    DreamBooth(**SHARED, instance_prompt="a sks moon", adapter=AdapterSettings(dora=True)),
    Finetune(**SHARED, ema=0.99),
)


def test_every_setting_has_a_control():
    named = [field.name for field in (*fields_in_sight(), *folded_fields())]
    assert sorted(named) == sorted(all_leaves())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.method))
def test_controls_ask_for_what_they_were_set_to(config):
    settings = TrainSettings.of(config)
    assert settings.config(Path("/nowhere")) == config
    on_cpu = TrainSettings.of(config, DeviceName.CPU)
    assert on_cpu.device is DeviceName.CPU
    assert on_cpu.config(Path("/nowhere")) == config


def test_settings_of_other_methods_are_kept_and_not_asked_for():
    settings = TrainSettings(folder="/moons", values={"token": "moonling", "steps": 9})
    config = settings.config(Path("/trainings"))
    assert (config.method, config.steps, config.out) == (Method.LORA, 9, "/trainings/moons")


@pytest.mark.parametrize(
    ("method", "values"),
    [
        (Method.TEXTUAL_INVERSION, {"train_text": True, "optimiser.text_learning_rate": 1e-5}),
        (Method.TEXTUAL_INVERSION, {"data.caption_dropout": 0.1}),
        (Method.TEXTUAL_INVERSION, {"data.trigger": "moon", "optimiser.weight_decay": 0.1}),
        (Method.TEXTUAL_INVERSION, {"optimiser.weight_decay": 0.5}),
        (Method.DREAMBOOTH, {"single_file": True}),
        (Method.LORA, {"optimiser.text_learning_rate": 1e-5}),
        (
            Method.LORA,
            {
                "train_text": True,
                "optimiser.name": "prodigy",
                "optimiser.text_learning_rate": 1e-5,
            },
        ),
    ],
)
def test_what_has_no_say_is_not_asked_for(method, values):
    texts = {"token": "moonling", "init_word": "star", "instance_prompt": "a sks moon"}
    settings = TrainSettings(method=method, folder="/moons", values=texts | values)
    config = settings.config(Path("/trainings"))
    assert config.optimiser.text_learning_rate == 0
    assert config.optimiser.weight_decay == OptimiserSettings().weight_decay
    assert config.data.caption_dropout == 0
    assert not getattr(config, "single_file", False)
    # Another method, or another choice beside it, gives it its say again.
    assert dict(settings.values) == texts | values


def test_what_is_wrong_is_named():
    with pytest.raises(InvalidRequest) as caught:
        TrainSettings().config(Path("/trainings"))
    assert caught.value.field == "data"
    settings = TrainSettings(folder="/moons", method=Method.TEXTUAL_INVERSION)
    with pytest.raises(InvalidRequest) as caught:
        settings.config(Path("/trainings"))
    assert caught.value.field == "token"


def test_file_of_settings_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_json(CONFIGS[3])))
    assert read_settings(path, TrainSettings(), tmp_path).config(tmp_path) == CONFIGS[3]
    now = TrainSettings(folder="/moons", method=Method.LORA)
    path.write_text('{"steps": 9, "data": {"flip": true}}')
    settings = read_settings(path, now, tmp_path)
    assert (settings.method, settings.folder, settings.name) == (Method.LORA, "/moons", "")
    assert (settings.value("steps"), settings.value("data.flip")) == (9, True)


@pytest.mark.parametrize("text", ["", "[]", '{"stepz": 3}', '{"method": "none"}', '{"data": 3}'])
def test_file_that_is_no_settings_is_said(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        read_settings(path, TrainSettings(), tmp_path)
    assert str(path) in caught.value.reason


def test_settings_go_through_the_file(tmp_path):
    train = TrainSettings.of(CONFIGS[0])
    path = tmp_path / "settings.json"
    write(path, Settings(train=train))
    again = read(path).train
    assert again.config(Path("/nowhere")) == CONFIGS[0]
    values = json.loads(path.read_text())
    values["train"]["values"] = {"steps": "many", "loss.kind": "no loss", "gone": 1}
    path.write_text(json.dumps(values))
    again = read(path).train
    assert (again.value("steps"), again.value("loss.kind")) == (500, LossKind.MSE)


def test_name_is_made_of_the_folder_and_never_one_that_is_taken(tmp_path):
    settings = TrainSettings(folder="/pictures/my moons")
    assert settings.out(tmp_path) == tmp_path / "my-moons"
    (tmp_path / "my-moons").mkdir()
    assert settings.out(tmp_path) == tmp_path / "my-moons-2"
    # One that never learned anything gives its place away.
    (tmp_path / "my-moons" / "config.json").write_text(json.dumps(to_json(CONFIGS[0])))
    assert free_name(tmp_path, "my-moons") == tmp_path / "my-moons"
    (tmp_path / "my-moons" / "checkpoints" / "step-00000003").mkdir(parents=True)
    assert free_name(tmp_path, "my-moons") == tmp_path / "my-moons-2"


def test_what_the_controls_ask_for_is_what_the_command_line_takes():
    config = TrainSettings.of(CONFIGS[2]).config(Path("/nowhere"))
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
