"""The Hugging Face hub: what a repository holds, and its bytes. Imports no torch.

Everything goes through ``huggingface_hub``: its address (``HF_ENDPOINT``), its token
(``HF_TOKEN``), its connections. That is imported when it is needed, as it takes a moment.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from core.errors import CoreError, DownloadFailed, InvalidRequest
from core.models.repo_files import RepoFile

DEFAULT_ENDPOINT = "https://huggingface.co"
TOKENS_PAGE = "huggingface.co/settings/tokens"

CONNECT_SECONDS = 10.0
STALL_SECONDS = 20.0
"""How long nothing may arrive before the connection counts as lost."""

BEAT_SECONDS = 0.2
"""How long a reader of ``Connection`` waits at most before it gets a word."""

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP's statuses after which it is right to try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """What the hub says of a repository.

    Attributes:
        id: ``"owner/name"``, as the hub writes it.
        commit: The commit that its files are of.
        files: All of them.
    """

    id: str
    commit: str
    files: tuple[RepoFile, ...]


class Interrupted(Exception):
    """The connection was lost or the hub is busy; trying again may help.

    Attributes:
        failure: What to tell the person if it does not.
        wait: Seconds that the hub asks to wait, or 0.
    """

    def __init__(self, failure: DownloadFailed, wait: float = 0.0) -> None:
        """Keep both."""
        super().__init__(str(failure))
        self.failure, self.wait = failure, wait


def endpoint() -> str:
    """Give the hub's address: ``HF_ENDPOINT`` or Hugging Face's own."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT


def read_repo(repo: str) -> Repo:
    """Ask what a repository holds at its newest commit.

    Raises:
        Interrupted: If the hub cannot be reached or is busy.
        DownloadFailed: If it will not say, and why.
        InvalidRequest: If that is no repository's name.
    """
    import huggingface_hub

    _say_nothing_else()
    api = huggingface_hub.HfApi(endpoint=endpoint())
    with _explained(repo):
        info = api.model_info(repo, files_metadata=True, timeout=CONNECT_SECONDS)
    if not info.sha:
        raise DownloadFailed(f"{endpoint()} names no commit of {repo}; try again later.")
    return Repo(
        id=info.id,
        commit=info.sha,
        files=tuple(_repo_file(sibling) for sibling in info.siblings or ()),
    )


def _repo_file(sibling: Any) -> RepoFile:
    lfs = sibling.lfs
    return RepoFile(
        name=sibling.rfilename,
        size=int((lfs.size if lfs else sibling.size) or 0),
        sha256=lfs.sha256 if lfs else "",
        git_sha1=sibling.blob_id or "" if not lfs else "",
    )


def _say_nothing_else() -> None:
    """Tell the hub what is asked for and nothing about this machine.

    The library would add what is installed here, and ask the hub for a list to look for the program
    that it runs in; it reads the environment variable for that but once, when it is imported.
    """
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


class Connection:
    """The bytes of a file as they arrive, read by a thread of its own.

    So whoever iterates hears something every ``BEAT_SECONDS`` even while nothing arrives, and can
    stop at once. Nothing is read ahead but a few pieces.
    """

    def __init__(self, repo: Repo, name: str, begin: int, end: int | None = None) -> None:
        """Ask for a file from a byte on.

        Args:
            repo: Where it is.
            name: The file.
            begin: How many bytes of it are not needed.
            end: How many bytes from its beginning are enough; a server may send more.
        """
        self._repo, self._name, self._begin, self._end = repo, name, begin, end
        self._pieces: queue.Queue[bytes | CoreError | Interrupted | None] = queue.Queue(maxsize=16)
        self._closed = threading.Event()
        self.starts_at = 0
        """Where the bytes begin in the file; known once the first has come."""
        self.ended = False
        """Whether the hub says that the file ends before the bytes that were asked for."""
        self._thread = threading.Thread(target=self._read, name=f"download {name}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to read; the thread ends by itself, at the latest when its connection stalls."""
        self._closed.set()

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces as they arrive, and empty ones while none does.

        Raises:
            Interrupted: If the connection is lost.
            DownloadFailed: If the hub refuses.
        """
        while True:
            try:
                piece = self._pieces.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                yield b""
                continue
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def _read(self) -> None:
        ending: CoreError | Interrupted | None = Interrupted(_lost(f"reading {self._name}"))
        try:
            with _explained(self._repo.id):
                self._stream()
            ending = None
        except (CoreError, Interrupted) as error:
            ending = error
        finally:
            self._put(ending)

    def _stream(self) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, httpx

        _say_nothing_else()
        url = hf_hub_url(self._repo.id, self._name, revision=self._repo.commit, endpoint=endpoint())
        # What is hashed are the file's own bytes; a server must not pack them.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if self._begin or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._begin}-{last}"
        timeout = httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code == 416:
                self.ended = True
                return
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            content_range = response.headers.get("Content-Range")
            self.starts_at = _first_byte(content_range, response.status_code)
            for piece in response.iter_raw():
                if self._closed.is_set():
                    return
                self._put(piece)

    def _put(self, piece: bytes | CoreError | Interrupted | None) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=BEAT_SECONDS)
                return


def _first_byte(content_range: str | None, status: int) -> int:
    """Read where a reply begins, from ``bytes 5-9/10``; one that is whole begins at 0."""
    if status != 206 or content_range is None:
        return 0
    first = content_range.removeprefix("bytes").strip().partition("-")[0]
    return int(first) if first.isdigit() else 0


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn what the libraries raise into one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    try:
        yield
    except HFValidationError as error:
        raise InvalidRequest(
            "model", f"{repo!r} is no repository's name; write owner/name as on the hub."
        ) from error
    except OfflineModeIsEnabled as error:
        raise DownloadFailed(
            f"HF_HUB_OFFLINE is set, so {repo} is not downloaded; unset it and try again."
        ) from error
    except HfHubHTTPError as error:
        raise _refused(repo, error) from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
        raise Interrupted(_lost(str(error) or type(error).__name__)) from error


def _lost(why: str) -> DownloadFailed:
    return DownloadFailed(
        f"The hub at {endpoint()} cannot be reached ({why}); check the connection and try again, "
        "what has arrived is kept."
    )


def _refused(repo: str, error: Any) -> DownloadFailed | Interrupted:
    """Say why the hub answered with an error, and what to do."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError

    status = error.response.status_code
    where, has_token = f"{endpoint()}/{repo}", get_token() is not None
    if isinstance(error, GatedRepoError):
        then = (
            "the account of the token in use (HF_TOKEN) has not done so, or waits for an answer"
            if has_token
            else f"then set HF_TOKEN to a token of that account (from {TOKENS_PAGE})"
        )
        return DownloadFailed(f"{repo} is gated: accept its terms at {where}; {then}.")
    if status in BUSY:
        wait = error.response.headers.get("Retry-After", "")
        what = "asks for fewer requests" if status == 429 else "is out of order"
        return Interrupted(
            DownloadFailed(
                f"The hub at {endpoint()} {what} ({status}); try again in some minutes, what has "
                "arrived is kept."
            ),
            float(wait) if wait.isdigit() else 0.0,
        )
    if status == 401 and has_token:
        return DownloadFailed(
            f"The hub does not accept the token in use (HF_TOKEN) for {repo}; make a new one at "
            f"{TOKENS_PAGE}, or unset it."
        )
    if status == 401:
        return DownloadFailed(
            f"There is no {repo} that everybody may read; check its name, or set HF_TOKEN to a "
            f"token that may (from {TOKENS_PAGE})."
        )
    if status == 403:
        return DownloadFailed(
            f"The hub does not let you read {repo} (403); ask for access at {where}, or set "
            "HF_TOKEN to a token that may read it."
        )
    if status == 404:
        return DownloadFailed(
            f"There is no {repo} at {endpoint()}, or a file of it has gone; check its name."
        )
    return DownloadFailed(f"The hub at {endpoint()} answered {status} for {repo}; try again later.")
