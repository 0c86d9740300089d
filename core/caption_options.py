"""The command line's words for captions. Imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.command_words import add_choice, add_command, add_json
from core.request import DeviceName
from core.training.caption_models import STARTER
from core.training.caption_request import CaptionSettings

if TYPE_CHECKING:
    from core.command_words import Commands


def add_caption(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    """Add ``caption``."""
    parser = add_command(commands, everywhere, "caption", "write captions beside pictures")
    parser.epilog = (
        "The caption of a.png goes into a.txt beside it. Folders in DIR that are named like "
        '"10_red star" belong to it.'
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of pictures")
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        default=STARTER,
        help="BLIP folder, its name in the library, owner/name in the Hugging Face cache, or "
        "starter, which knows the starter model's pictures alone (default: starter)",
    )
    parser.add_argument(
        "--prefix", metavar="TEXT", default="", help="what captions begin with; the model goes on"
    )
    parser.add_argument(
        "--suffix", metavar="TEXT", default="", help="what is put behind them as it stands"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write anew what is there (default: keep it)"
    )
    parser.add_argument(
        "--beams",
        type=int,
        metavar="N",
        default=CaptionSettings.BEAMS,
        help="captions followed at once, of which the likeliest is taken (%(default)s)",
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        default=CaptionSettings.MAX_TOKENS,
        help="tokens behind the prefix, at most (%(default)s)",
    )
    add_choice(parser, "--device", DeviceName, "where to compute", default=DeviceName.AUTO)
    add_json(parser, "print one JSON event a line")
