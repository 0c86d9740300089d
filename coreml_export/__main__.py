"""``python -m coreml_export``: ``stepwise export-coreml`` without the window's packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core import cli
from coreml_export.options import EXPORT


def main(argv: Sequence[str] | None = None) -> int:
    """Export a model; see ``core.cli.main``."""
    words = sys.argv[1:] if argv is None else argv
    return cli.main([EXPORT.name, *words], added=(EXPORT,))


if __name__ == "__main__":
    sys.exit(main())
