"""What a trained file says of its making, in the words that other programs read. Imports no torch.

Two vocabularies: ``ss_...``, in which kohya's sd-scripts describe a training and AUTOMATIC1111's
web UI and Civitai find a LoRA's words, and Stability AI's ModelSpec 1.0.1
(https://github.com/Stability-AI/ModelSpec).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.about import APP_NAME, version
from core.models.families import Family, PredictionType


class Written(StrEnum):
    """What kind of file it is."""

    LORA = "lora"
    EMBEDDING = "textual-inversion"
    MODEL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """How a file came to be; what is None, empty or 0 is not told of.

    Attributes:
        family: Of the base model.
        prediction_type: Of the base model as it was trained.
        title: What the file is called, for people.
        date: When it was made.
        width: Of the pictures that it learned from, in pixels, or that its model draws.
        height: The same.
        base_model: Name of the base model.
        base_sha256: Hash of the base model's weights, 64 hex digits.
        rank: Of a LoRA's linear layers.
        alpha: Of the same; the change is scaled by alpha / rank.
        conv_rank: Of a LoRA's 3x3 convolutions.
        conv_alpha: Of the same.
        dora: Whether the LoRA is weight-decomposed (arXiv:2402.09353).
        learning_rate: The highest of the training.
        steps: Steps that were taken.
        epochs: Times that all pictures were seen.
        batch_size: Pictures of a step.
        pictures: Training pictures.
        class_pictures: Pictures of the class, for prior preservation (arXiv:2208.12242).
        prior_loss_weight: How much these counted.
        seed: Of the training.
        trigger_words: Words by which a prompt calls what was learned.
        tag_frequency: How often each tag stands in the captions, by folder of pictures.
        extra: Further notes, under names of their own.
    """

    family: Family
    prediction_type: PredictionType
    title: str
    date: datetime
    width: int
    height: int
    base_model: str = ""
    base_sha256: str = ""
    rank: int | None = None
    alpha: float | None = None
    conv_rank: int | None = None
    conv_alpha: float | None = None
    dora: bool = False
    learning_rate: float | None = None
    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    pictures: int | None = None
    class_pictures: int = 0
    prior_loss_weight: float | None = None
    seed: int | None = None
    trigger_words: tuple[str, ...] = ()
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


_SS_FAMILIES = {
    Family.SD1: "sd_v1",
    Family.SD2: "sd_v2",
    Family.SDXL: "sdxl_base_v1-0",
    Family.SDXL_REFINER: "sdxl_refiner_v1-0",
    Family.CUSTOM: "custom",
}
_ARCHITECTURES = {
    Family.SD1: "stable-diffusion-v1",
    Family.SD2: "stable-diffusion-v2-512",
    Family.SDXL: "stable-diffusion-xl-v1-base",
    Family.SDXL_REFINER: "stable-diffusion-xl-v1-refiner",
    Family.CUSTOM: "stable-diffusion-custom",
}
_ORIGINAL_CODE = "https://github.com/Stability-AI/generative-models"


def kohya_metadata(record: TrainingRecord, written: Written) -> dict[str, str]:
    """Describe a training in both vocabularies.

    The hashes are missing here, because they are the written tensors'.

    Args:
        record: How the file came to be.
        written: What kind of file it is.
    """
    notes = _model_spec(record, written) | _kohya(record, written)
    return {name: text for name, text in notes.items() if text} | dict(record.extra)


def _model_spec(record: TrainingRecord, written: Written) -> dict[str, str]:
    is_v = record.prediction_type is PredictionType.V
    architecture = _ARCHITECTURES[record.family]
    if record.family is Family.SD2 and is_v:
        architecture = "stable-diffusion-v2-768-v"
    # A LoRA for another model than SDXL goes by diffusers' names.
    is_original = written is not Written.LORA or record.family is Family.SDXL
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/{written}".removesuffix("/"),
        "modelspec.implementation": _ORIGINAL_CODE if is_original else "diffusers",
        "modelspec.implementation_version": f"{APP_NAME.lower()}/{version()}",
        "modelspec.title": record.title,
        "modelspec.date": record.date.isoformat(timespec="seconds"),
        "modelspec.resolution": f"{record.width}x{record.height}",
        "modelspec.prediction_type": "v" if is_v else record.prediction_type.value,
        "modelspec.trigger_phrase": ", ".join(record.trigger_words),
    }


def _kohya(record: TrainingRecord, written: Written) -> dict[str, str]:
    arguments: dict[str, object] = {}
    if record.conv_rank is not None:
        arguments |= {"conv_dim": record.conv_rank, "conv_alpha": record.conv_alpha}
    if record.dora:
        arguments["dora_wd"] = True
    is_lora = written is Written.LORA
    return {
        "ss_base_model_version": _SS_FAMILIES[record.family],
        "ss_v2": str(record.family is Family.SD2),
        "ss_network_module": "networks.lora" if is_lora else "",
        "ss_network_dim": _told(record.rank) if is_lora else "",
        "ss_network_alpha": _told(record.alpha) if is_lora else "",
        "ss_network_args": json.dumps({k: str(v) for k, v in arguments.items()})
        if is_lora and arguments
        else "",
        "ss_output_name": record.title,
        "ss_sd_model_name": record.base_model,
        "ss_new_sd_model_hash": record.base_sha256,
        "ss_resolution": f"({record.width}, {record.height})",
        "ss_learning_rate": _told(record.learning_rate),
        "ss_steps": _told(record.steps),
        "ss_epoch": _told(record.epochs),
        "ss_total_batch_size": _told(record.batch_size),
        "ss_num_train_images": _told(record.pictures),
        "ss_num_reg_images": _told(record.class_pictures) if record.pictures is not None else "",
        "ss_prior_loss_weight": _told(record.prior_loss_weight),
        "ss_seed": _told(record.seed),
        "ss_training_finished_at": str(record.date.timestamp()),
        "ss_tag_frequency": json.dumps(
            {folder: dict(tags) for folder, tags in record.tag_frequency.items()},
            ensure_ascii=False,
        )
        if record.tag_frequency
        else "",
    }


def _told(value: float | None) -> str:
    return "" if value is None else str(value)
