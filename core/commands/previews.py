"""The latest preview as a file, for a person or a script to watch."""

from __future__ import annotations

from pathlib import Path

from core.errors import InvalidRequest
from core.events import Event, Step
from core.files import replace_file
from core.images.writing import encode_pixels
from core.request import PreviewDecoder


class PreviewFile:
    """Holds the newest preview of the first picture in flight, and is gone after the run."""

    def __init__(self, path: Path, decoder: PreviewDecoder) -> None:
        """Use ``path``, unless previews are off.

        Raises:
            InvalidRequest: Something lies at ``path`` already, which is not ours to replace.
        """
        self._path = path
        self._written = False
        if decoder is not PreviewDecoder.OFF and path.exists():
            raise InvalidRequest(
                "preview", f"{path} is there already; move it, or choose another --out folder."
            )

    def show(self, event: Event) -> None:
        """Keep the preview of a step that has one.

        Raises:
            SaveFailed: It cannot be written.
        """
        if isinstance(event, Step) and event.previews:
            replace_file(self._path, encode_pixels(event.previews[0].pixels))
            self._written = True

    def close(self) -> None:
        """Remove the file."""
        if self._written:
            self._path.unlink(missing_ok=True)
