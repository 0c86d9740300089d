"""What other programs left in the Hugging Face cache, used where it lies. Imports no torch."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRepo:
    """A repository of models of which something is in the cache.

    Attributes:
        id: ``"owner/name"``.
        commit: The newest commit of it there.
        path: The folder of that commit, with the files' own names.
        size: Bytes on the disk.
    """

    id: str
    commit: str
    path: Path
    size: int

    @property
    def source(self) -> str:
        """The repository and the commit, as the library notes it."""
        return f"{self.id}@{self.commit}"


def cache_folder() -> Path:
    """Give the cache's folder, which need not exist; ``HF_HUB_CACHE`` and ``HF_HOME`` move it."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser()


def cached_repos() -> tuple[CachedRepo, ...]:
    """List what models the cache holds, by name. No network is used."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        with warnings.catch_warnings():
            # What is damaged in somebody else's folder is left out, without a word.
            warnings.simplefilter("ignore")
            found = scan_cache_dir(cache_folder())
    except (CacheNotFound, OSError, ValueError):
        return ()
    repos = [_cached(repo) for repo in found.repos if repo.repo_type == "model" and repo.revisions]
    return tuple(sorted(repos, key=lambda repo: repo.id.casefold()))


def find_cached(repo: str) -> CachedRepo:
    """Give a repository in the cache, in small or capital letters.

    Raises:
        ModelMissing: If there is nothing of it.
    """
    for cached in cached_repos():
        if cached.id.casefold() == repo.casefold():
            return cached
    raise ModelMissing(
        f"There is neither a file {repo} nor a model of that name in {cache_folder()}; "
        f"`stepwise models download {repo}` gets it from the hub."
    )


def _cached(repo: Any) -> CachedRepo:
    """Take the commit that ``main`` stands for, or else the one that came last."""
    newest = max(
        repo.revisions, key=lambda revision: ("main" in revision.refs, revision.last_modified)
    )
    return CachedRepo(
        id=repo.repo_id,
        commit=newest.commit_hash,
        path=Path(newest.snapshot_path),
        size=newest.size_on_disk,
    )
