"""The command line's words for exports. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli_parser import read_embedding_use, read_lora_use
from core.command_words import Command, add_choice, add_command, add_json
from core.coreml_folder import ExportFormat, Layout
from core.errors import InvalidRequest
from core.paths import Profile, expanded
from coreml_export.request import PARTS, Compression, ExportRequest

if TYPE_CHECKING:
    from core.command_words import Commands

NAME = "export-coreml"

OPTIONS: Mapping[str, str] = {
    "model": "--model",
    "out": "--out",
    "format": "--format",
    "layout": "--layout",
    "width": "--width",
    "height": "--height",
    "sizes": "--size",
    "batch": "--batch",
    "compress": "--compress",
    "loras": "--lora",
    "embeddings": "--embedding",
    "vae": "--vae",
    "controls": "--control",
    "parts": "--parts",
    "chunk": "--chunk",
}
"""The options by the settings that they give."""


def add_export(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    """Add ``export-coreml``."""
    parser = add_command(commands, everywhere, NAME, "write a model for Apple's Neural Engine")
    parser.epilog = (
        "A folder that was begun is gone on with: parts that were made from the same are kept. "
        "Packages become what the Swift apps load, .mlmodelc, on a Mac alone."
    )
    parser.add_argument("--model", metavar="NAME|PATH", default="starter", help="(starter)")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder to fill")
    add_choice(parser, "--format", ExportFormat, "what will run it", default=ExportFormat.COREML)
    add_choice(
        parser,
        "--layout",
        Layout,
        "original for the GPU, split-einsum for the Neural Engine",
        default=Layout.ORIGINAL,
    )
    parser.add_argument("--width", type=int, metavar="W", help="pixels, a multiple of 8")
    parser.add_argument("--height", type=int, metavar="H", help="pixels, a multiple of 8")
    parser.add_argument(
        "--size",
        type=_read_size,
        action="append",
        metavar="WxH",
        default=[],
        dest="sizes",
        help="another size of pictures that shares the weights (repeatable; macOS 15)",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", default=2, help="inputs of the UNet, 1 or 2 (2)"
    )
    parser.add_argument(
        "--compress",
        type=_read_compression,
        metavar="HOW",
        default=Compression(),
        help="how weights are packed: none, int8, palette6, palette4, bits layer by layer, as "
        "mixed:4.5 (bits a weight) or mixed:60db (PSNR to be kept), or w8a8, where activations are "
        "too (default: none)",
    )
    parser.add_argument(
        "--lora",
        type=read_lora_use,
        action="append",
        metavar="FILE[:SCALE]",
        default=[],
        dest="loras",
        help="LoRA to merge into the weights (repeatable)",
    )
    parser.add_argument(
        "--embedding",
        type=read_embedding_use,
        action="append",
        metavar="[WORD=]FILE",
        default=[],
        dest="embeddings",
        help="embedding whose word the text encoder learns (repeatable)",
    )
    parser.add_argument(
        "--vae", metavar="PATH|NAME", default="", help="VAE in the place of the model's own"
    )
    parser.add_argument(
        "--control",
        action="append",
        metavar="NAME|PATH",
        default=[],
        dest="controls",
        help="ControlNet to export too, with a UNet that it can lead (repeatable)",
    )
    parser.add_argument(
        "--parts", type=_read_parts, metavar="A,B,...", default=(), help=", ".join(PARTS)
    )
    parser.add_argument(
        "--chunk", action="store_true", help="write the UNet in two halves, for older devices"
    )
    parser.add_argument(
        "--no-check", action="store_true", help="do not run what was written against torch"
    )
    add_json(parser, "print one JSON event a line")


def request_of(arguments: argparse.Namespace) -> ExportRequest:
    """Give what the words ask for.

    Raises:
        InvalidRequest: If it cannot be made.
    """
    sizes = tuple(arguments.sizes)
    if (arguments.width is None) != (arguments.height is None):
        missing = "width" if arguments.width is None else "height"
        raise InvalidRequest(missing, "is missing beside the other side; give both.")
    if arguments.width is not None:
        sizes = ((arguments.width, arguments.height), *sizes)
    return ExportRequest(
        model=arguments.model,
        out=str(expanded(arguments.out).absolute()),
        format=arguments.format,
        layout=arguments.layout,
        sizes=sizes,
        batch=arguments.batch,
        compression=arguments.compress,
        loras=tuple(arguments.loras),
        embeddings=tuple(arguments.embeddings),
        vae=arguments.vae,
        controls=tuple(arguments.controls),
        parts=arguments.parts,
        chunk=arguments.chunk,
        check=not arguments.no_check,
    )


def _read_size(word: str) -> tuple[int, int]:
    width, _, height = word.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{word!r} is not like 512x768")
    return int(width), int(height)


def _read_compression(word: str) -> Compression:
    try:
        return Compression.parse(word)
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(error.reason) from None


def _read_parts(words: str) -> tuple[str, ...]:
    """Read names of parts, in small or capital letters."""
    known = {part.lower(): str(part) for part in PARTS}
    return tuple(known.get(word.strip().lower(), word.strip()) for word in words.split(","))


def _run(arguments: argparse.Namespace, profile: Profile) -> None:
    from coreml_export import command

    command.run(request_of(arguments), profile, to_program=arguments.json)


EXPORT = Command(name=NAME, add=add_export, run=_run, options=OPTIONS)
