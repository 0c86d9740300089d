import dataclasses
import json
from datetime import UTC, datetime

import pytest

from core.models.families import Family, PredictionType
from core.models.writing.metadata import TrainingRecord, Written, kohya_metadata

RECORD = TrainingRecord(
    family=Family.SD1,
    prediction_type=PredictionType.EPSILON,
    title="My cat",
    date=datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC),
    width=512,
    height=768,
    base_model="v1-5-pruned",
    base_sha256="ab" * 32,
    rank=8,
    alpha=4.0,
    learning_rate=1e-4,
    steps=1200,
    epochs=10,
    batch_size=2,
    pictures=24,
    class_pictures=100,
    prior_loss_weight=1.0,
    seed=42,
    trigger_words=("sks", "katze ü"),
    tag_frequency={"10_sks cat": {"sofa": 3, "outside": 1}},
    extra={"stepwise": '{"version": 1}'},
)
BARE = TrainingRecord(
    family=Family.SDXL,
    prediction_type=PredictionType.EPSILON,
    title="A model",
    date=RECORD.date,
    width=1024,
    height=1024,
)


def test_a_lora_is_described_in_both_vocabularies():
    notes = kohya_metadata(RECORD, Written.LORA)
    version = notes.pop("modelspec.implementation_version")
    assert version.startswith("stepwise/")
    assert json.loads(notes.pop("ss_tag_frequency")) == {"10_sks cat": {"sofa": 3, "outside": 1}}
    assert notes == {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "My cat",
        "modelspec.date": "2026-03-04T05:06:07+00:00",
        "modelspec.resolution": "512x768",
        "modelspec.prediction_type": "epsilon",
        "modelspec.trigger_phrase": "sks, katze ü",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "4.0",
        "ss_output_name": "My cat",
        "ss_sd_model_name": "v1-5-pruned",
        "ss_new_sd_model_hash": "ab" * 32,
        "ss_resolution": "(512, 768)",
        "ss_learning_rate": "0.0001",
        "ss_steps": "1200",
        "ss_epoch": "10",
        "ss_total_batch_size": "2",
        "ss_num_train_images": "24",
        "ss_num_reg_images": "100",
        "ss_prior_loss_weight": "1.0",
        "ss_seed": "42",
        "ss_training_finished_at": "1772600767.00089",
        "stepwise": '{"version": 1}',
    }


def test_what_is_not_known_is_not_told():
    notes = kohya_metadata(BARE, Written.MODEL)
    assert set(notes) == {
        "modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation",
        "modelspec.implementation_version", "modelspec.title", "modelspec.date",
        "modelspec.resolution", "modelspec.prediction_type",
        "ss_base_model_version", "ss_v2", "ss_output_name", "ss_resolution",
        "ss_training_finished_at",
    }  # fmt: skip
    assert all(isinstance(text, str) and text for text in notes.values())


@pytest.mark.parametrize(
    ("family", "prediction", "written", "architecture", "code", "version"),
    [
        (Family.SD1, "epsilon", Written.MODEL, "stable-diffusion-v1", "generative", "sd_v1"),
        (Family.SD2, "epsilon", Written.LORA, "stable-diffusion-v2-512/lora", "diff", "sd_v2"),
        (Family.SD2, "v_prediction", Written.LORA, "stable-diffusion-v2-768-v/lora", "diff",
         "sd_v2"),
        (Family.SDXL, "epsilon", Written.LORA, "stable-diffusion-xl-v1-base/lora", "generative",
         "sdxl_base_v1-0"),
        (Family.SDXL, "epsilon", Written.EMBEDDING,
         "stable-diffusion-xl-v1-base/textual-inversion", "generative", "sdxl_base_v1-0"),
        (Family.CUSTOM, "epsilon", Written.LORA, "stable-diffusion-custom/lora", "diff", "custom"),
    ],
)  # fmt: skip
def test_the_architecture(family, prediction, written, architecture, code, version):
    record = dataclasses.replace(BARE, family=family, prediction_type=PredictionType(prediction))
    notes = kohya_metadata(record, written)
    assert notes["modelspec.architecture"] == architecture
    assert code in notes["modelspec.implementation"]
    assert notes["ss_base_model_version"] == version
    assert notes["ss_v2"] == str(family is Family.SD2)
    expected = "v" if prediction == "v_prediction" else "epsilon"
    assert notes["modelspec.prediction_type"] == expected


def test_a_network_is_described_in_a_loras_file_alone():
    record = dataclasses.replace(RECORD, conv_rank=4, conv_alpha=1.0, dora=True)
    told = json.loads(kohya_metadata(record, Written.LORA)["ss_network_args"])
    assert told == {"conv_dim": "4", "conv_alpha": "1.0", "dora_wd": "True"}
    for written in (Written.EMBEDDING, Written.MODEL):
        assert not any(name.startswith("ss_network") for name in kohya_metadata(record, written))
