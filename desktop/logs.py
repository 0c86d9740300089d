"""The log: a few files in the profile that a person can send along with a report."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_NAME = "stepwise.log"
LARGEST = 1_000_000


def start_log(folder: Path) -> None:
    """Log warnings and worse to the terminal, and the app's own doings to a file as well.

    Where the folder cannot be written to, the terminal has to do.
    """
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [terminal]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                folder / FILE_NAME, maxBytes=LARGEST, backupCount=2, encoding="utf-8", delay=True
            )
        )
    except OSError as error:
        logging.getLogger(__name__).warning("no log in %s: %s", folder, error)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
