"""``models``: those there are, and what to do with them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from core.commands.library_report import ProgressReport, as_json, entry_json
from core.commands.report import JsonReport
from core.errors import CoreError, InvalidRequest, ModelInvalid, ModelMissing, SaveFailed
from core.events import Notice
from core.models import catalog, curated, hub_cache
from core.models.copying import format_size
from core.models.download import download
from core.models.found_files import models_in
from core.models.library import Library
from core.models.library_events import Checked, LibraryEvent, State
from core.models.library_file import Entry
from core.models.partial_downloads import PartialDownload, discard_download, partial_downloads
from core.models.verdict import Kind
from core.paths import exists, expanded


def run(arguments: argparse.Namespace, library: Library) -> None:
    """List the models, show one, or change what the library holds.

    Raises:
        CoreError: It cannot be done; see ``Library``, ``download`` and ``catalog.card``.
        KeyboardInterrupt: It was stopped.
    """
    match arguments.action:
        case "list":
            _list(arguments, library)
        case "show":
            _print_fields(_shown(arguments.name, library), as_json=arguments.json)
        case "remove":
            removed = library.remove(arguments.name)
            values = entry_json(removed.entry) | {"deleted": removed.deleted}
            what = (
                "and its files are deleted" if removed.deleted else "its files are where they were"
            )
            line = f"{removed.entry.name} is out of the library; {what}: {removed.entry.path}"
            print(json.dumps(values) if arguments.json else line)
        case "add":
            _follow(_adding(arguments, library), to_program=arguments.json)
        case "download" if arguments.discard:
            _discard(arguments, library)
        case "download":
            try:
                events = download(
                    arguments.id, library, variant=arguments.variant, name=arguments.name
                )
                _follow(events, to_program=arguments.json)
            except KeyboardInterrupt:
                print("Stopped; the same command goes on with what has arrived.", file=sys.stderr)
                raise
        case "verify":
            wrong = _follow(_verifying(arguments, library), to_program=arguments.json)
            if wrong:
                raise ModelInvalid(f"Missing or changed: {', '.join(wrong)}; see above.")
        case unknown:
            raise AssertionError(f"the parser let {unknown!r} pass")


def _adding(arguments: argparse.Namespace, library: Library) -> Generator[LibraryEvent, None, None]:
    if not arguments.path.strip():
        raise InvalidRequest("path", "is empty; give a file, a folder, or owner/name in the cache.")
    path, how = expanded(Path(arguments.path)), {"copy": arguments.copy, "name": arguments.name}
    if not exists(path) and re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.path):
        return library.add_cached(arguments.path, **how)
    found = tuple(models_in(path))
    if len(found) > 1:
        return _adding_all(path, found, library, **how)
    return library.add(*(found or (path,)), **how)


def _adding_all(
    folder: Path, found: Sequence[Path], library: Library, *, copy: bool, name: str
) -> Generator[LibraryEvent, None, None]:
    """Add the models in a folder; one that is refused does not keep the others out.

    Raises:
        InvalidRequest: If a name is given for all of them.
        CoreError: If none could be added, see ``Library.add``, or nothing can be written.
    """
    if name:
        raise InvalidRequest(
            "name", f"goes to one model, and {folder} holds {len(found)}; add them without it."
        )
    refused = 0
    for path in found:
        try:
            yield from library.add(path, copy=copy)
        except SaveFailed:
            raise
        except CoreError as error:
            refused += 1
            yield Notice(message=f"Not added: {error}")
    if refused == len(found):
        yield from library.add(folder, copy=copy)


def _verifying(
    arguments: argparse.Namespace, library: Library
) -> Generator[LibraryEvent, None, None]:
    """Check the library; what it holds twice is said at the end."""
    for folder in arguments.search:
        if not expanded(folder).is_dir():
            raise ModelMissing(f"{folder} is no folder to search; give one that is there.")
    yield from library.verify(arguments.names, search=arguments.search)
    if not arguments.names:
        for first, *others in library.duplicates():
            names = " and ".join(entry.name for entry in (first, *others))
            yield Notice(
                message=f"{names} are the same, byte for byte; `stepwise models remove "
                f"{others[-1].name}` leaves one less."
            )


def _follow(events: Generator[LibraryEvent, None, None], *, to_program: bool) -> list[str]:
    """Report what happens; gives the names of entries that a check found wanting."""
    report = JsonReport(as_json) if to_program else ProgressReport()
    wrong = []
    with closing(events), closing(report):
        for event in events:
            report.show(event)
            if isinstance(event, Checked) and event.state in (State.MISSING, State.CHANGED):
                wrong.append(event.entry.name)
    return wrong


def _discard(arguments: argparse.Namespace, library: Library) -> None:
    gone = discard_download(library.folder, arguments.id)
    if arguments.json:
        for one in gone:
            print(json.dumps({"event": "discarded"} | _partial_json(one)))
    else:
        size = format_size(sum(one.size for one in gone))
        print(f"What had arrived of {gone[0].id} is deleted: {size}")


def _list(arguments: argparse.Namespace, library: Library) -> None:
    if arguments.available:
        rows = [_curated_json(model) for model in curated.CURATED]
        lines = [_curated_line(model) for model in curated.CURATED]
    elif arguments.cached:
        repos = hub_cache.cached_repos()
        rows = [
            {"id": r.id, "commit": r.commit, "path": str(r.path), "size": r.size} for r in repos
        ]
        lines = [f"{r.id}: {format_size(r.size)}, {r.path}" for r in repos]
        lines = lines or [f"There is no model in {hub_cache.cache_folder()}."]
    elif arguments.partial:
        waiting = partial_downloads(library.folder)
        rows = [_partial_json(one) for one in waiting]
        lines = [f"{one.id}: {format_size(one.size)} have arrived, {one.path}" for one in waiting]
        lines = lines or ["There is no download to go on with."]
    else:
        shipped = [_card_json(catalog.card(name)) for name in catalog.SHIPPED]
        entries = library.entries()
        rows = [card | {"kind": Kind.MODEL.value} for card in shipped]
        rows += [entry_json(entry) for entry in entries]
        lines = [f"{card['name']}: {card['title']}, {card['path']}" for card in shipped]
        lines += [_entry_line(entry) for entry in entries]
    print(json.dumps(rows) if arguments.json else "\n".join(lines))


def _shown(name: str, library: Library) -> dict[str, Any]:
    """Give what is known of a model: one of the library, one at a path, or one to download."""
    entry = None
    if name not in catalog.SHIPPED:
        try:
            entry = library.get(name)
        except ModelMissing:
            if (model := curated.find(name)) is not None:
                return _curated_json(model)
    if entry is None:
        return _card_json(catalog.card(name))
    if entry.kind is not Kind.MODEL or entry.missing():
        return entry_json(entry)
    card = _card_json(catalog.card(entry.name))
    return card | entry_json(entry) | {"precision": card["precision"]}


def _print_fields(values: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(values))
        return
    for name, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if name in ("size", "memory"):
            shown = f"{'about ' if values.get('approximate') else ''}{format_size(value)}"
        if shown not in ("", None):
            print(f"{name.replace('_', ' ').capitalize()}: {shown}")


def _entry_line(entry: Entry) -> str:
    gone = ", MISSING" if entry.missing() else ""
    return f"{entry.name}: {entry.title}, {format_size(entry.size)}, {entry.path}{gone}"


def _curated_line(model: curated.Curated) -> str:
    gated = {True: ", gated", False: "", None: ", perhaps gated"}[model.gated]
    return (
        f"{model.id}: {model.title}, about {format_size(model.size)} to download, needs about "
        f"{format_size(model.memory)} of memory, licence {model.licence}{gated}. {model.what_for}"
    )


def _partial_json(one: PartialDownload) -> dict[str, Any]:
    return {"id": one.id, "size": one.size, "path": str(one.path)}


def _curated_json(model: curated.Curated) -> dict[str, Any]:
    return {
        "id": model.id,
        "repo": model.repo,
        "title": model.title,
        "what_for": model.what_for,
        "kind": model.kind.value,
        "family": model.family,
        "size": model.size,
        "memory": model.memory,
        "approximate": True,
        "licence": model.licence,
        "gated": model.gated,
        "width": model.width or None,
        "height": model.height or None,
        "steps": model.steps or None,
        "guidance_scale": model.guidance_scale or None,
        "scheduler": model.scheduler and model.scheduler.value,
    }


def _card_json(card: catalog.ModelCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "path": str(card.path),
        "family": card.family,
        "prediction_type": card.prediction_type,
        "precision": card.precision,
        "width": card.width,
        "height": card.height,
        "steps": card.steps,
        "guidance_scale": card.guidance_scale,
        "scheduler": str(card.scheduler),
        "schedulers": [str(name) for name in card.schedulers],
        "preview_decoders": [str(name) for name in card.preview_decoders],
        "timestep_spacing": card.timestep_spacing,
        "distillation": card.distillation,
        "distillation_is_guess": card.is_guess,
        "inpainting": card.inpainting,
        "refused_schedulers": _reasons(card.refused_schedulers),
        "ignored": _reasons(card.ignored),
        "limits": _reasons(card.limits),
    }


def _reasons(reasons: Mapping[Any, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in reasons.items()]
