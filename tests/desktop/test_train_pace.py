import dataclasses

import pytest

from core.request import DeviceName, TextToImage
from core.training.config import DreamBooth, LoraTraining
from core.training.config_parts import DataSettings, SampleSettings
from desktop.train_estimate import about
from desktop.train_pace import Paces

AUTO = DeviceName.AUTO
SHARED = {"out": "out", "data": DataSettings(folder="moons"), "steps": 100}
LORA = LoraTraining(**SHARED)


def test_nothing_is_known_of_another_model_or_device(tmp_path):
    paces = Paces(tmp_path / "paces.json")
    assert paces.seconds(LORA, AUTO, 512) is None
    paces.note_learning(LORA, AUTO, 512, 2.0)
    assert paces.seconds(LORA, DeviceName.CPU, 512) is None
    assert paces.seconds(dataclasses.replace(LORA, model="other"), AUTO, 512) is None


def test_steps_take_as_long_as_they_did(tmp_path):
    path = tmp_path / "cache" / "paces.json"
    Paces(path).note_learning(LORA, AUTO, 512, 2.0)
    paces = Paces(path)
    assert paces.seconds(LORA, AUTO, 512) == pytest.approx(200)
    assert paces.seconds(dataclasses.replace(LORA, batch_size=2), AUTO, 512) == pytest.approx(400)
    assert paces.seconds(LORA, AUTO, 256) == pytest.approx(50)
    saving = dataclasses.replace(LORA, gradient_checkpointing=True)
    assert paces.seconds(saving, AUTO, 512) == pytest.approx(200 * 4 / 3)
    thing = DreamBooth(**SHARED, instance_prompt="a sks dog", class_prompt="a dog")
    assert paces.seconds(thing, AUTO, 512) == pytest.approx(400)


def test_pictures_tell_what_learning_and_samples_take(tmp_path):
    paces = Paces(tmp_path / "paces.json")
    request = TextToImage(prompts=("a",), width=512, height=256, guidance_scale=5.0)
    paces.note_drawing(request, 1.0)
    # 512 x 512 is twice as large, and a step of two passes took a second.
    assert paces.seconds(LORA, AUTO, 512) == pytest.approx(3 * 100)
    samples = SampleSettings(prompts=("a", "b"), every=40, steps=10)
    drawn = dataclasses.replace(LORA, samples=samples)
    assert paces.seconds(drawn, AUTO, 512) == pytest.approx(3 * 100 + 4 * 2 * 10 * 2)


@pytest.mark.parametrize("text", ["{", "[]", '{"starter auto lora": "fast"}'])
def test_file_that_makes_no_sense_says_nothing(tmp_path, text):
    path = tmp_path / "paces.json"
    path.write_text(text)
    assert Paces(path).seconds(LORA, AUTO, 512) is None


def test_times_are_no_finer_than_an_estimate():
    texts = [about(seconds) for seconds in (5, 700, 3590, 9700)]
    assert texts == ["a minute", "12 min", "1 h 0 min", "2 h 40 min"]
