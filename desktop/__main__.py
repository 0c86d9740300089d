"""``stepwise`` and ``python -m desktop``: the window, or the command line if a command follows."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence

from core import cli
from core.paths import Profile
from coreml_export.options import EXPORT


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window, or carry out a command without it; see ``core.cli.main``."""
    # In a frozen app, the engine's process begins here too and goes no further.
    multiprocessing.freeze_support()
    return cli.main(argv, prog="stepwise", open_window=_open_window, added=(EXPORT,))


def _open_window(profile: Profile) -> int:
    from desktop import app

    return app.main(profile)


if __name__ == "__main__":
    sys.exit(main())
