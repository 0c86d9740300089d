"""How a learned file came to be, for the metadata it carries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from core.models.components import Components
from core.models.naming import name_of
from core.models.writing.metadata import TrainingRecord, Written, kohya_metadata
from core.training.config import DreamBooth, Finetune, TextualInversion, TrainConfig, to_json
from core.training.config_parts import AdapterSettings
from core.training.defaults import usual_rate
from core.training.showing import Example


def metadata_of(
    config: TrainConfig,
    components: Components,
    examples: Sequence[Example],
    *,
    folder: Path,
    width: int,
    epochs: float,
    processes: int,
    class_pictures: int,
) -> dict[str, str]:
    """Say how a file came to be, in the words that other programs read.

    Args:
        config: What was trained.
        components: The model.
        examples: The pictures it learned from.
        folder: Of the training, after which the file is titled.
        width: Side of the square that its pictures have as many pixels as.
        epochs: How often it saw each picture, about.
        processes: How many shared the work.
        class_pictures: How many preserved the class.
    """
    identity = components.identity
    adapter = getattr(config, "adapter", None)
    tags = Counter(tag for one in examples for tag in _tags(one.caption))
    record = TrainingRecord(
        family=identity.family,
        prediction_type=identity.prediction_type,
        title=folder.resolve().name,
        date=datetime.now(UTC),
        width=width,
        height=width,
        base_model=name_of(identity.path),
        base_sha256=components.sha256,
        rank=None if adapter is None else adapter.rank,
        alpha=None if adapter is None else adapter.alpha or float(adapter.rank),
        conv_rank=adapter.conv_rank or None if adapter is not None else None,
        conv_alpha=None if adapter is None else _conv_alpha(adapter),
        dora=adapter is not None and adapter.dora,
        learning_rate=usual_rate(config, identity.family),
        steps=config.steps,
        epochs=round(epochs),
        batch_size=config.batch_size * config.accumulation * processes,
        pictures=len(examples),
        class_pictures=class_pictures,
        prior_loss_weight=config.prior_weight if isinstance(config, DreamBooth) else None,
        seed=config.seed,
        trigger_words=tuple(word for word in (trigger(config),) if word),
        tag_frequency={Path(config.data.folder).name: dict(tags)} if tags else {},
        extra={"stepwise.training": json.dumps(to_json(config))},
    )
    return kohya_metadata(record, _kind(config))


def trigger(config: TrainConfig) -> str:
    """Give the words by which a prompt calls what was learned; empty if there are none."""
    match config:
        case TextualInversion():
            return config.token
        case DreamBooth():
            return config.instance_prompt
        case _:
            return config.data.trigger


def _kind(config: TrainConfig) -> Written:
    match config:
        case TextualInversion():
            return Written.EMBEDDING
        case Finetune() | DreamBooth(adapter=None):
            return Written.MODEL
        case _:
            return Written.LORA


def _tags(caption: str) -> list[str]:
    return [tag.strip() for tag in caption.split(",") if tag.strip()]


def _conv_alpha(adapter: AdapterSettings) -> float | None:
    if not adapter.conv_rank:
        return None
    return (adapter.alpha or adapter.rank) / adapter.rank * adapter.conv_rank
