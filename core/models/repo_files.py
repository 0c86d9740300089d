"""Which files of a repository make up a model: weights once, and configurations. Imports no torch.

Repositories hold the same weights many times: in two precisions, as pickles, for other frameworks,
and all in one file besides. One copy is enough.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from core.errors import DownloadFailed, UnsafeFile
from core.models.folder_files import VARIANTS
from core.models.tensor_list import PICKLES

INDEX = "model_index.json"
MAIN_STEM = "diffusion_pytorch_model"
LEFT_OUT = {"safety_checker"}
"""Components that no picture needs."""

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SHARD_INDEX = re.compile(
    rf"\.safetensors\.index(?:\.({'|'.join(filter(None, VARIANTS))}))?\.json$"
)
_SMALL_SUFFIXES = (".json", ".txt", ".model")


class Variant(StrEnum):
    """Which precision to take where the hub has two; where it has one, that is taken."""

    FP16 = "fp16"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFile:
    """A file of a repository.

    Attributes:
        name: Its path in it.
        size: Bytes.
        sha256: Of the file, if the hub says it.
        git_sha1: Git's hash of it as a blob, if the hub says no other.
        alone: Whether it is a model by itself, and not one of a folder's files.
    """

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""
    alone: bool = False


def choose_files(
    repo: str, files: Iterable[RepoFile], index: Mapping[str, Any] | None, variant: Variant
) -> tuple[RepoFile, ...]:
    """Choose what to download, the small files first.

    Args:
        repo: The repository's name, for messages.
        files: All that it has.
        index: Its ``model_index.json``, if it has one.
        variant: The precision to take where there are two.

    Raises:
        UnsafeFile: If it has weights as pickles only.
        DownloadFailed: If it has no weights, or those of several models.
    """
    by_folder: dict[str, list[RepoFile]] = {}
    for file in files:
        path = PurePosixPath(file.name)
        # A name that leads out of its folder is nobody's honest file.
        if not {"..", "", "."}.intersection(path.parts) and not path.is_absolute():
            by_folder.setdefault("" if path.parent.name == "" else str(path.parent), []).append(
                file
            )
    wanted = {""} if index is None else {"", *_components(index)}
    chosen = [
        file
        for folder in sorted(wanted & by_folder.keys())
        for file in _of_folder(
            repo, by_folder[folder], variant, weights=bool(folder) or index is None
        )
    ]
    if not any(file.name.endswith(".safetensors") for file in chosen):
        everything = [file.name for folder in by_folder.values() for file in folder]
        raise _no_weights(repo, everything)
    return tuple(sorted(chosen, key=lambda file: (file.name.endswith(".safetensors"), file.name)))


def _components(index: Mapping[str, Any]) -> set[str]:
    """Give the folders that an index names; a part that is left out has null for its class."""
    return {
        name
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and None not in value
    } - LEFT_OUT


def _of_folder(
    repo: str, files: Collection[RepoFile], variant: Variant, *, weights: bool
) -> list[RepoFile]:
    """Give a folder's configurations and one copy of its weights."""
    chosen = []
    groups: dict[tuple[str, str], list[RepoFile]] = {}
    for file in files:
        name = PurePosixPath(file.name).name
        if (group := _stem_and_variant(name)) is not None:
            groups.setdefault(group, []).append(file)
        elif name.endswith(_SMALL_SUFFIXES):
            chosen.append(file)
    stems = sorted({stem for stem, _ in groups})
    if not weights:
        return chosen
    if not stems:
        return chosen
    if not any(PurePosixPath(file.name).name.endswith("config.json") for file in chosen):
        # Lists beside weights without a configuration belong to something else.
        chosen = []
    if len(stems) > 1 and MAIN_STEM not in stems and "model" not in stems:
        raise DownloadFailed(
            f"{repo} holds several models ({', '.join(stems[:5])}); name one of its files, such as "
            f"{repo}/{next(g for (s, _), g in groups.items() if s == stems[0])[0].name}."
        )
    stem = next((name for name in (MAIN_STEM, "model") if name in stems), stems[0])
    wish = "fp16" if variant is Variant.FP16 else ""
    for name in (wish, *VARIANTS):
        if (stem, name) in groups:
            return chosen + groups[stem, name]
    raise AssertionError(f"the weights of {repo} are of no variant")


def _stem_and_variant(name: str) -> tuple[str, str] | None:
    """Take a weight file's name apart, or that of the index of its shards; None for others."""
    if match := _SHARD_INDEX.search(name):
        return name[: match.start()], match[1] or ""
    if not name.endswith(".safetensors"):
        return None
    stem = _SHARD.sub("", name.removesuffix(".safetensors"))
    head, dot, variant = stem.rpartition(".")
    return (head, variant) if dot and variant in VARIANTS else (stem, "")


def _no_weights(repo: str, names: Iterable[str]) -> UnsafeFile | DownloadFailed:
    pickle = next((name for name in sorted(names) if name.endswith(PICKLES)), None)
    if pickle is not None:
        return UnsafeFile(
            f"{repo} has its weights only as {pickle}, a pickle, which can run code; choose a "
            "repository with safetensors files."
        )
    return DownloadFailed(f"{repo} has no safetensors weights; choose another repository.")
