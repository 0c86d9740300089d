"""The kinds of picture file that are written. Imports nothing."""

from __future__ import annotations

from enum import StrEnum


class PictureFormat(StrEnum):
    """How a finished picture is kept, by the name on the command line and of the file's ending.

    PNG and WebP keep every pixel as it is; JPEG is smaller and loses a little. All three carry how
    the picture was made, so each can be made again bit for bit from its file.
    """

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def suffix(self) -> str:
        """The ending of the file's name, dot included."""
        return ".jpg" if self is PictureFormat.JPEG else f".{self}"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """All endings that such files have, the one that is given to new ones first."""
        return (".jpg", ".jpeg") if self is PictureFormat.JPEG else (self.suffix,)

    @classmethod
    def of_suffix(cls, suffix: str) -> PictureFormat | None:
        """Tell the kind of a file by the ending of its name, dot included; None for another."""
        return next((kind for kind in cls if suffix.lower() in kind.suffixes), None)
