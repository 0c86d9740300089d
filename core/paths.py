"""Where the app keeps its things: one folder, moved by ``--profile``. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from core.about import APP_NAME


def expanded(path: Path) -> Path:
    """Put the home folder in place of ``~``; a ``~name`` that nobody here has stays as it is."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_file(path: Path) -> bool:
    """Say whether a file is there; what cannot be a path, such as one too long, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_dir(path: Path) -> bool:
    """Say whether a folder is there; see ``is_file``."""
    try:
        return path.is_dir()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Say whether a file or a folder is there; see ``is_file``."""
    try:
        return path.exists()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Profile:
    """The folders and files of one user, none of which need exist yet.

    Attributes:
        root: The folder that holds everything below, the pictures aside where ``pictures_folder``
            says otherwise.
        pictures_folder: Where pictures go if not into the profile itself.
    """

    root: Path
    pictures_folder: Path | None = None

    @classmethod
    def default(cls) -> Profile:
        """The signed-in user's own: pictures in their Pictures folder, the rest out of sight."""
        return cls(
            root=platformdirs.user_data_path(APP_NAME, appauthor=False),
            pictures_folder=platformdirs.user_pictures_path() / APP_NAME,
        )

    @property
    def pictures(self) -> Path:
        """The folder that finished pictures are saved in."""
        return self.pictures_folder or self.root / "pictures"

    @property
    def settings_file(self) -> Path:
        """The window's settings, JSON."""
        return self.root / "settings.json"

    @property
    def models(self) -> Path:
        """The folder of models that were downloaded or copied; others lie where they were."""
        return self.root / "models"

    @property
    def library_file(self) -> Path:
        """The list of the user's models, JSON."""
        return self.root / "library.json"

    @property
    def trainings(self) -> Path:
        """The folder in which trainings lie if nothing else was said."""
        return self.root / "trainings"

    @property
    def cache(self) -> Path:
        """The folder of what can be computed again, such as preview fits."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.root / "logs"
