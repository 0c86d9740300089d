"""Work on the library as iterators of events, for the worker that carries it out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import CoreError, ModelMissing
from core.models import curated
from core.models.found_files import models_in
from core.models.library import Library
from core.models.library_events import LibraryEvent, Removed
from core.models.listing import Listed, listing
from core.models.partial_downloads import discard_download, partial_downloads


@dataclass(frozen=True, slots=True)
class Read:
    """What the library holds.

    Attributes:
        models: The app's own and those of the library.
        arrived: Bytes that have arrived of downloads that were stopped, by the model's id.
        problem: Why the list of the library cannot be read, or empty.
    """

    models: tuple[Listed, ...]
    arrived: Mapping[str, int]
    problem: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The next of several models is being added.

    Attributes:
        path: Its file or folder.
        number: Counted from 1.
        total: How many there are.
    """

    path: Path
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A file was not added.

    Attributes:
        path: It.
        message: Why, one sentence.
    """

    path: Path
    message: str


def reading(library: Library) -> Generator[Read, None, None]:
    """Read what the library holds."""
    models: list[Listed] = []
    problem = ""
    try:
        for row in listing(library):
            models.append(row)  # noqa: PERF402 - those before an error count.
    except CoreError as error:
        problem = str(error)
    sizes: dict[str, int] = {}
    for one in partial_downloads(library.folder):
        if one.size and (model := curated.find(one.id)) is not None:
            sizes[model.id] = sizes.get(model.id, 0) + one.size
    yield Read(tuple(models), sizes, problem)


def adding(
    library: Library, paths: Sequence[Path], *, copy: bool, own: bool = False, name: str = ""
) -> Generator[LibraryEvent | Begun | Refused, None, None]:
    """Add all models at some paths; one that is refused does not keep the others out.

    Args:
        library: Where they go.
        paths: Files, models' folders, and folders full of models.
        copy: Whether to copy them into the library.
        own: Whether they were made for it; see ``Library.add``.
        name: What to call it if it is one; by default made of the file's own name.

    Raises:
        ModelMissing: If there is nothing to add.
    """
    found = tuple(dict.fromkeys(model for path in paths for model in models_in(path)))
    if not found:
        names = ", ".join(path.name for path in paths)
        raise ModelMissing(f"There is no model in {names}; choose a folder with models in it.")
    for number, path in enumerate(found, 1):
        yield Begun(path, number, len(found))
        try:
            yield from library.add(path, copy=copy, own=own, name=name)
        except CoreError as error:
            yield Refused(path, str(error))


def removing(library: Library, name: str) -> Generator[Removed, None, None]:
    """Take a model out of the library; see ``Library.remove``."""
    yield library.remove(name)


def forgetting(library: Library, model_id: str) -> Generator[object, None, None]:
    """Delete what has arrived of a download; see ``discard_download``."""
    discard_download(library.folder, model_id)
    yield from ()
