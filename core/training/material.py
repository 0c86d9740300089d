"""What a training learns from, by which it knows later what is not as it was. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.errors import InvalidRequest
from core.events import Notice
from core.files import replace_file
from core.training.showing import Example


def write_material(file: Path, model: str, sha256: str, examples: Sequence[Example]) -> None:
    """Keep what a training begins with.

    Args:
        file: Where.
        model: Name or path of the model.
        sha256: Hash of its weights.
        examples: The pictures.

    Raises:
        SaveFailed: If the file system refuses.
    """
    values = {"model": model, "sha256": sha256, "pictures": _hashes(examples)}
    replace_file(file, json.dumps(values, indent=2).encode())


def compare_material(file: Path, sha256: str, examples: Sequence[Example]) -> Iterator[Notice]:
    """Say what is not as it was when a training began; nothing if that was not kept.

    Args:
        file: What ``write_material`` wrote.
        sha256: Hash of the model's weights now.
        examples: The pictures there are now.

    Raises:
        InvalidRequest: If the model is another one.
    """
    values = _read(file)
    if values.get("sha256", sha256) != sha256:
        raise InvalidRequest(
            "model",
            f"{values.get('model')} has changed since the training began, which learned beside its "
            "weights; put the old one back, or start a new training in another folder.",
        )
    before, now = values.get("pictures"), _hashes(examples)
    if not isinstance(before, dict):
        return
    changed = sum(before.get(path) != now.get(path) for path in before.keys() | now.keys())
    if changed:
        what = "picture or caption is" if changed == 1 else "pictures or captions are"
        yield Notice(
            message=f"{changed} {what} not as when the training began; it goes on with what is "
            "there now."
        )


def _hashes(examples: Sequence[Example]) -> dict[str, str]:
    """Give a hash of all that is learned of each picture, by its path."""
    return {
        str(one.path): hashlib.sha256(
            json.dumps([one.sha256, one.caption, one.repeats, one.mask_sha256]).encode()
        ).hexdigest()
        for one in examples
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
