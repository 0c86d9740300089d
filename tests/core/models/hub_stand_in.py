"""A Hugging Face hub on this machine that can misbehave in every way a real one does."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"

# What a fault does to one answer: its kind and a number.
Fault = tuple[str, int]


@dataclass
class Asked:
    """A request as it came in."""

    path: str
    range: str | None
    token: str | None

    @property
    def is_look(self) -> bool:
        """Whether it asks for a file's beginning only."""
        return self.range is not None and not self.range.endswith("-")


@dataclass
class HubStandIn:
    """Serves repositories over HTTP: their listing and their files, with ranges.

    Attributes:
        repos: Files by repository.
        faults: What goes wrong with the next answers, by file's name; ``"api"`` is the listing,
            ``"look NAME"`` a request for the beginning of a file.
        sizes: Sizes that the listing says though they are others.
        token: What must be sent to be let in, or nothing.
        gated: Whether files are for those only that have accepted the terms.
        commit: The newest commit.
        asked: All requests so far.
        stalls: Set to let go of all answers that stall.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, int] = field(default_factory=dict)
    token: str = ""
    gated: bool = False
    commit: str = COMMIT
    asked: list[Asked] = field(default_factory=list)
    stalls: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            stand_in = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stalls.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def listing(self, repo: str) -> dict[str, Any]:
        """What the API says of a repository, as the real one does with ``?blobs=true``."""
        siblings = []
        for name, data in self.repos[repo].items():
            size = self.sizes.get(name, len(data))
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": git}
            if name.endswith((".safetensors", ".bin", ".ckpt")):
                sha256 = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 130}
            siblings.append(entry)
        return {
            "id": repo,
            "modelId": repo,
            "sha": self.commit,
            "private": False,
            "gated": "auto" if self.gated else False,
            "tags": [],
            "downloads": 1,
            "siblings": siblings,
        }

    def files_asked(self) -> list[str]:
        return [
            a.path.partition("/resolve/")[2].partition("/")[2]
            for a in self.asked
            if "/resolve/" in a.path and not a.is_look
        ]

    def ranges_asked(self, name: str) -> list[str | None]:
        return [a.range for a in self.asked if a.path.endswith(f"/{name}") and not a.is_look]

    def looks_asked(self, name: str) -> list[str | None]:
        return [a.range for a in self.asked if a.path.endswith(f"/{name}") and a.is_look]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stand_in: HubStandIn

    def do_GET(self) -> None:
        hub = self.stand_in
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        asked = Asked(path, self.headers.get("Range"), token)
        hub.asked.append(asked)
        api = path.startswith("/api/models/")
        repo, _, name = path.removeprefix("/api/models/").strip("/").partition("/resolve/")
        name = name.partition("/")[2]
        faults = hub.faults["api" if api else f"look {name}" if asked.is_look else name]
        fault = faults.pop(0) if faults else ("none", 0)
        if fault[0] == "status":
            self.fail(fault[1])
        elif hub.token and token != hub.token:
            self.fail(401)
        elif repo not in hub.repos:
            self.fail(401 if token is None else 404, "RepoNotFound")
        elif api:
            self.answer(json.dumps(hub.listing(repo)).encode(), fault)
        elif hub.gated:
            self.fail(403 if token else 401, "GatedRepo")
        elif name not in hub.repos[repo]:
            self.fail(404, "EntryNotFound")
        else:
            self.answer(hub.repos[repo][name], fault)

    def fail(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if status == 429:
            self.send_header("Retry-After", "0")
        if status == 599:
            self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, data: bytes, fault: Fault) -> None:
        kind, number = fault
        begin, asked = 0, self.headers.get("Range")
        if asked is not None and not kind.startswith("no-range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin = int(first)
            whole = len(data)
            data = data[: int(last) + 1] if last else data
            if begin >= len(data) or kind == "no-such-range":
                self.fail(416)
                return
            if kind == "other-range":
                begin = number
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{whole}")
        else:
            self.send_response(200)
        if kind == "wrong":
            data = data[:number] + bytes([data[number] ^ 1]) + data[number + 1 :]
        body = data[begin:]
        if kind == "more":
            body += bytes(number)
        length = {"claims": number, "longer": len(body) + number}.get(kind, len(body))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if kind in ("cut", "no-range-cut", "stall", "slow"):
            self.write(body[:number])
            if kind.endswith("cut"):
                self.close_connection = True
                return
            if kind == "stall":
                self.stand_in.stalls.wait()
                self.close_connection = True
                return
            for piece in range(number, len(body), number):
                time.sleep(0.02)
                self.write(body[piece : piece + number])
            return
        self.write(body[:length])
        self.close_connection = length != len(body)

    def write(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # Whoever asked has gone.

    def log_message(self, *_: object) -> None:
        pass
