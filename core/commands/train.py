"""``train``: teach a model something new."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from core.commands.interrupts import between_events
from core.commands.training_report import JsonTrainingReport, TrainingReport
from core.errors import InvalidRequest, ModelInvalid
from core.events import Loading, Notice, Studio, Trained
from core.files import check_folder
from core.models import catalog
from core.models.identify import identify
from core.paths import Profile, expanded
from core.request import DeviceName, Precision
from core.train_options import option_names, settings_given
from core.training.config import TrainConfig, from_json, leaves, to_json
from core.training.config_parts import Preset
from core.training.folder import Folder
from core.training.needs import check_needs
from core.training.presets import with_preset

FAULT = "The training ended, but what it made is not sound"


def run(
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: Callable[[DeviceName, Profile], Studio],
) -> None:
    """Teach a model and say what happens.

    Raises:
        CoreError: It cannot be done, or what came out is not sound.
        KeyboardInterrupt: It was stopped; it is kept as far as it came, and was named.
    """
    asked = read_config(arguments, profile)
    config = _fitted(asked, arguments)
    folder = Folder(Path(config.out))
    check_folder(folder.root)
    # Under a launcher of several processes the first one speaks for all.
    speaks = os.environ.get("RANK", "0") == "0"
    report = JsonTrainingReport() if arguments.json else TrainingReport()
    trained: Trained | None = None
    try:
        with closing(report):
            if speaks:
                if arguments.preset is not None:
                    report.show(Notice(message=_chosen(arguments.preset, asked, config)))
                report.show(Loading(what="the engine"))
            engine = make_engine(arguments.device, profile)
            with closing(between_events(engine.train(config, resume=arguments.resume))) as events:
                for event in events:
                    if isinstance(event, Trained):
                        trained = event
                    if speaks:
                        report.show(event)
    except KeyboardInterrupt:
        if speaks:
            print(_stopped(folder), file=sys.stderr)
        raise
    if trained is not None and not trained.is_sound:
        raise ModelInvalid(f"{FAULT}: {trained.path}. {trained.verdict}")


def _stopped(folder: Folder) -> str:
    steps = folder.steps()
    if not steps:
        return "Stopped; nothing was learned yet."
    return (
        f"Stopped; kept up to step {steps[-1]} in {folder.checkpoint(steps[-1])}. Go on with "
        f"--resume --out {folder.root}"
    )


def read_config(arguments: argparse.Namespace, profile: Profile) -> TrainConfig:
    """Give what the words of the command line ask for.

    What a file of settings says is taken first, or what the training began with that is to go on,
    then the options.

    Raises:
        InvalidRequest: Naming the setting that is missing or makes no sense.
    """
    values: dict[str, Any] = {}
    given = settings_given(arguments)
    if arguments.resume and arguments.config is not None:
        raise InvalidRequest(
            "config",
            "does not go with --resume, which goes on with the settings in the training's own "
            "folder; leave it out, and give as options what is to change.",
        )
    if arguments.resume:
        values = _json_of(_kept_settings(arguments, given, profile), "resume")
    elif arguments.config is not None:
        values = _json_of(expanded(arguments.config), "config")
    _check_method(values, str(arguments.method))
    values["method"] = str(arguments.method)
    for name, value in given.items():
        _put(values, name, value)
    _check_given(given, values)
    if not values.get("data"):
        raise InvalidRequest("data", "is missing; name the folder of pictures.")
    if arguments.out is not None or "out" not in values:
        values["out"] = str(_out(arguments, given, profile).absolute())
    config = from_json(values)
    data = str(expanded(Path(config.data.folder)).absolute())
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, folder=data))
    if config.model not in catalog.names():
        config = dataclasses.replace(config, model=str(catalog.resolve(config.model)))
    return config


def _fitted(config: TrainConfig, arguments: argparse.Namespace) -> TrainConfig:
    """Give the settings that a preset makes of others; what stands on the command line stays.

    Raises:
        InvalidRequest: If it takes more memory than that in every way.
        Unsupported: If this machine has no such device.
    """
    if arguments.preset is None:
        return config
    from core.device import resolve_device
    from core.training.loop import half_precision, training_precision

    device = resolve_device(arguments.device)
    fitted = with_preset(
        arguments.preset,
        config,
        identify(catalog.resolve(config.model)),
        auto=training_precision(Precision.AUTO, device),
        half=half_precision(device),
    )
    values, asked = to_json(fitted), to_json(config)
    for name in settings_given(arguments):
        _put(values, name, _value_of(asked, name))
    return from_json(values)


def _chosen(preset: Preset, before: TrainConfig, after: TrainConfig) -> str:
    """Say what a preset chose."""
    options, old = option_names(), dict(leaves(to_json(before)))
    changes = [
        f"{options[name]} {'on' if value is True else 'off' if value is False else value}"
        for name, value in leaves(to_json(after))
        if value != old[name]
    ]
    if not changes:
        return f"{preset} is enough as it is."
    return f"To fit into {preset}: {', '.join(changes)}."


def _check_given(given: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing, also where they say what is so by default."""
    check_needs(given, lambda name: _value_of(values, name))
    for name in ("optimiser.learning_rate", "optimiser.text_learning_rate"):
        if given.get(name) == 0:
            raise InvalidRequest(
                name, "0 learns nothing; leave it out for what suits the method, or give more."
            )


def _value_of(values: Mapping[str, Any], name: str) -> object:
    """Give a setting from where the dots in its name lead; None if it is not there."""
    found: object = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _kept_settings(
    arguments: argparse.Namespace, given: Mapping[str, Any], profile: Profile
) -> Path:
    folder = Folder(_out(arguments, given, profile))
    if not folder.is_begun():
        raise InvalidRequest(
            "resume",
            f"{folder.root} holds no training to go on with; name its folder, or start anew.",
        )
    return folder.config_file


def _out(arguments: argparse.Namespace, given: Mapping[str, Any], profile: Profile) -> Path:
    """Give the folder of what comes out, by default named after the pictures'."""
    if arguments.out is not None:
        return expanded(arguments.out)
    data = Path(given.get("data.folder", "training"))
    name = re.sub(r"[^\w-]+", "-", expanded(data).absolute().name).strip("-") or "training"
    return profile.trainings / f"{arguments.method}-{name}"


def _json_of(path: Path, field: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(field, f"{path} cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise InvalidRequest(field, f"{path} holds no object of settings.")
    return values


def _check_method(values: Mapping[str, Any], method: str) -> None:
    if values.get("method", method) != method:
        raise InvalidRequest(
            "config", f"is of the method {values['method']!r}, not {method!r}; name that one."
        )


def _put(values: dict[str, Any], name: str, value: object) -> None:
    """Put a setting where the dots in its name lead."""
    *path, last = name.split(".")
    for part in path:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    values[last] = value
