"""The pictures of a folder that can be learned from, each with what it shows. Imports no torch.

A picture's caption is, whichever there is first and is not empty: the text in ``NAME.txt`` beside
it, its line in the folder's ``metadata.jsonl``, the words of kohya's folder ``N_subject class``,
those of its own name. Looked into are the folder itself, kohya's folders in it, and whatever files
``metadata.jsonl`` names. Hidden files and folders are passed over.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.errors import DatasetInvalid, InvalidRequest
from core.events import Notice, Prepared
from core.images.reading import sha256_of
from core.paths import exists, expanded, is_dir, is_file
from core.training.captions import (
    REPEATED,
    SUFFIXES,
    caption_path,
    contents,
    is_mask,
    is_picture,
    mask_path,
    picture_folders,
    read_caption,
)
from core.training.config_parts import DataSettings
from core.training.metadata_lines import METADATA, BadLine, read_lines
from core.training.showing import Example, Upright, read_mask, read_upright
from core.training.wording import said, words_of

SMALLEST = 16
"""Pixels of the shorter side that every picture needs."""

SHARE = 4
"""The shorter side is at least the resolution divided by it; less would be mostly made up."""

MOST_REPEATS = 10_000
"""A folder's number above it is no count, such as a date."""


class Fault(StrEnum):
    """Why a file is left out."""

    UNREADABLE = "unreadable"
    TOO_SMALL = "too small"
    EMPTY = "transparent all over"
    DUPLICATE = "there twice"
    NO_PICTURE = "no pictures"
    NO_CAPTION = "without a caption that can be read"
    STRAY = "captions or masks of no picture"
    BAD_MASK = "with a mask that cannot be used"
    BAD_LINE = "lines that make no sense"


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is left out, or a part of one.

    Attributes:
        path: Which.
        fault: What kind of problem it is.
        reason: What is wrong and what would be right; its subject is the file.
    """

    path: Path
    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds.

    Attributes:
        examples: The pictures to learn from, at least one.
        problems: What was left out.
        notices: What should be known of those that are learned from.
    """

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


def scan(settings: DataSettings, *, prompt: str | None = None, resolution: int = 0) -> Found:
    """Look through a folder at once; see ``scanning``."""
    steps = scanning(settings, prompt=prompt, resolution=resolution)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            found: Found = finished.value
            return found


def scanning(
    settings: DataSettings, *, prompt: str | None = None, resolution: int = 0
) -> Generator[Prepared, None, Found]:
    """Look through a folder, and decode every picture once.

    Args:
        settings: Which folder, and how its pictures are used.
        prompt: What all of them show, in the place of their own captions.
        resolution: That they are learned at, where the settings leave it to the model.

    Yields:
        How far it is.

    Returns:
        What was found.

    Raises:
        DatasetInvalid: If the folder is not there, or nothing in it can be learned from.
    """
    folder = expanded(Path(settings.folder))
    search = _Search(settings, prompt, settings.resolution or resolution)
    search.look(folder)
    for number, candidate in enumerate(search.candidates, 1):
        search.read(candidate)
        yield Prepared(what="pictures", index=number, total=len(search.candidates))
    if not search.examples:
        raise _nothing_left(folder, search.problems)
    return Found(tuple(search.examples), tuple(search.problems), tuple(search.notices()))


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: Path
    caption: str | None
    repeats: int


@dataclass(slots=True)
class _Search:
    """Goes through a folder."""

    settings: DataSettings
    prompt: str | None
    resolution: int
    candidates: list[_Candidate] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    animated: int = 0
    first_of: dict[str, Path] = field(default_factory=dict)

    def look(self, folder: Path) -> None:
        """List what may be pictures, with what is known of them by names and lists."""
        folders = picture_folders(folder)
        lines = {path: text for one in folders for path, text in self._lines(one).items()}
        for one in folders:
            named, repeats = None, 1
            if one != folder and (match := REPEATED.fullmatch(one.name)) is not None:
                named, repeats = said(match[2]), int(match[1])
            if not 1 <= repeats <= MOST_REPEATS:
                self.passed_over.append(one.name)
                continue
            try:
                pictures = self._pictures_in(one)
            except DatasetInvalid as error:
                self._refused(one, Fault.UNREADABLE, error)
                continue
            for path in pictures:
                self.candidates.append(_Candidate(path, lines.pop(path, named), repeats))
        for path, text in lines.items():
            if not is_mask(path):
                self.candidates.append(_Candidate(path, text, 1))
        looked_into = {*folders, *(up for one in self.candidates for up in one.path.parents)}
        self.passed_over += [
            path.name for path in contents(folder) if is_dir(path) and path not in looked_into
        ]

    def _pictures_in(self, folder: Path) -> list[Path]:
        """List a folder's pictures, and say what its other files are not."""
        files = [path for path in contents(folder) if is_file(path)]
        pictures = [path for path in files if is_picture(path)]
        texts = {caption_path(path) for path in pictures}
        masks = {mask_path(path) for path in pictures}
        for path in files:
            if is_picture(path) or path in texts or path in masks or path.name == METADATA:
                continue
            if is_mask(path):
                self._left_out(path, Fault.STRAY, "is a mask without a picture.")
            elif path.suffix.lower() == ".txt":
                self._left_out(path, Fault.STRAY, "is a caption without a picture.")
            else:
                known = ", ".join(SUFFIXES)
                reason = f"is no picture by its name; those end in {known}."
                self._left_out(path, Fault.NO_PICTURE, reason)
        return pictures

    def _lines(self, folder: Path) -> dict[Path, str]:
        """Read the captions of a folder's list."""
        captions = {}
        for line in read_lines(folder):
            if isinstance(line, BadLine):
                self._left_out(folder / METADATA, Fault.BAD_LINE, line.reason)
            else:
                captions[line.picture] = line.text
        return captions

    def read(self, candidate: _Candidate) -> None:
        """Decode a picture and keep it, or say why not."""
        path = candidate.path
        try:
            upright = read_upright(path, self.settings.background)
            sha256 = sha256_of(path, field="data")
        except (DatasetInvalid, InvalidRequest) as error:
            self._refused(path, Fault.UNREADABLE, error)
            return
        if not self._is_fit(path, upright):
            return
        try:
            caption = self._caption(candidate)
        except DatasetInvalid as error:
            self._refused(caption_path(path), Fault.NO_CAPTION, error)
            return
        mask, mask_sha256 = None, ""
        if self.settings.use_masks and exists(mask_path(path)):
            mask = mask_path(path)
            try:
                read_mask(mask, upright.image.size)
                mask_sha256 = sha256_of(mask, field="data")
            except (DatasetInvalid, InvalidRequest) as error:
                self._refused(mask, Fault.BAD_MASK, error)
                return
        self.animated += upright.frames > 1
        self.examples.append(
            Example(
                path=path,
                caption=caption,
                width=upright.image.width,
                height=upright.image.height,
                sha256=sha256,
                repeats=candidate.repeats,
                mask=mask,
                mask_sha256=mask_sha256,
            )
        )

    def _is_fit(self, path: Path, upright: Upright) -> bool:
        """Say whether there is enough to be seen that was not seen before."""
        width, height = upright.image.size
        least = max(SMALLEST, -(-self.resolution // SHARE))
        if min(width, height) < least:
            reason = f"is {width} x {height} pixels; its shorter side must have {least} at least."
            self._left_out(path, Fault.TOO_SMALL, reason)
            return False
        if upright.alpha is not None and upright.alpha.getextrema()[1] == 0:
            self._left_out(path, Fault.EMPTY, "is transparent all over.")
            return False
        if (first := self.first_of.setdefault(_look_of(upright), path)) != path:
            self._left_out(path, Fault.DUPLICATE, f"shows the same pixels as {first}.")
            return False
        return True

    def _caption(self, candidate: _Candidate) -> str:
        if self.prompt is not None:
            return self.prompt
        beside = read_caption(candidate.path)
        return beside or candidate.caption or words_of(candidate.path)

    def notices(self) -> Iterator[Notice]:
        """Say what should be known of the pictures that are kept."""
        if self.passed_over:
            names = ", ".join(self.passed_over)
            yield Notice(
                message=f"Not looked into: {names}; folders in {self.settings.folder} are where "
                f"their names say how often each picture is shown, such as 10_red star, and up to "
                f"{MOST_REPEATS} times."
            )
        if self.animated:
            yield Notice(
                message=f"Of {_files(self.animated)} with several frames only the first is used."
            )
        small = sum(min(e.width, e.height) < self.resolution for e in self.examples)
        if small:
            yield Notice(
                message=f"{_files(small)} with a shorter side below {self.resolution} pixels "
                "may be enlarged and look soft; larger ones teach more."
            )
        nameless = sum(not example.caption for example in self.examples)
        if nameless:
            yield Notice(
                message=f"{_files(nameless)} without a caption: no text beside them, and no words "
                "in their names."
            )

    def _refused(self, path: Path, fault: Fault, error: DatasetInvalid | InvalidRequest) -> None:
        sentence = error.reason if isinstance(error, InvalidRequest) else str(error)
        self._left_out(path, fault, sentence.removeprefix(f"{path} "))

    def _left_out(self, path: Path, fault: Fault, reason: str) -> None:
        self.problems.append(Problem(path, fault, reason))


def _look_of(upright: Upright) -> str:
    """Hash what is to be seen."""
    digest = hashlib.sha256(repr(upright.image.size).encode())
    digest.update(upright.image.tobytes())
    if upright.alpha is not None:
        digest.update(upright.alpha.tobytes())
    return digest.hexdigest()


def _files(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _nothing_left(folder: Path, problems: list[Problem]) -> DatasetInvalid:
    if not problems:
        return DatasetInvalid(f"{folder} holds no pictures; put some there, as PNG or JPEG.")
    fault, count = Counter(problem.fault for problem in problems).most_common(1)[0]
    first = next(problem for problem in problems if problem.fault is fault)
    return DatasetInvalid(
        f"{folder} holds no picture that can be learned from ({count} of {len(problems)} files: "
        f"{fault}); {first.path.name} {first.reason}"
    )
