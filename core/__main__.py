"""``python -m core``: the command line without a window."""

import sys

from core.cli import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m core"))
