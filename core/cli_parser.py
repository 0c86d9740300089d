"""The words of the command line. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.about import APP_NAME, version
from core.caption_options import add_caption
from core.command_words import add_choice, add_command, add_json
from core.control_options import add_control_options, add_map_option
from core.grid_axes import PARAMETERS
from core.images.formats import PictureFormat
from core.models.repo_files import Variant
from core.paths import is_file
from core.request import (
    DeviceName,
    EmbeddingUse,
    Enlarging,
    Inpaint,
    LoraUse,
    MemoryMode,
    Precision,
    PreviewDecoder,
    SchedulerName,
    TextToImage,
    Tiling,
    is_upscaler_file,
)
from core.train_options import add_train

if TYPE_CHECKING:
    from core.command_words import Command, Commands


def build_parser(
    prog: str, *, window: bool, added: Sequence[Command] = ()
) -> argparse.ArgumentParser:
    """Give the parser of all commands; what it parses has the command's name as ``command``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Stable Diffusion on your own machine, step by step.",
        epilog=f"Without a command, {prog} opens the window." if window else None,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{APP_NAME} {version()}")
    parser.set_defaults(command=None, profile=None)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--profile",
        metavar="DIR",
        type=Path,
        default=argparse.SUPPRESS,
        help="keep pictures, settings, caches and logs in DIR",
    )
    if window:
        parser.add_argument("--profile", metavar="DIR", type=Path, help="keep all data in DIR")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=not window)
    for add in (
        _add_generate,
        _add_grid,
        _add_upscale,
        add_caption,
        add_train,
        _add_inspect,
        _add_models,
        _add_bench,
        *(command.add for command in added),
    ):
        add(commands, everywhere)
    return parser


def _add_generate(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "generate", "make pictures from prompts")
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what the picture shows")
    _add_picture_options(parser)
    add_map_option(parser)


def _add_grid(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "grid", "compare settings side by side on one sheet")
    parser.set_defaults(usage_error=parser.error)
    parser.epilog = (
        f"NAME is one of: {', '.join(parameter.name for parameter in PARAMETERS)}. Values are "
        "parted by commas, texts by |, and a backslash before either keeps it; 10..50:10 counts "
        "from 10 to 50 by tens. Every picture has the same seed unless that is what varies, and is "
        "saved by itself too."
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what the pictures show")
    axes = parser.add_argument_group("what to compare")
    axes.add_argument("--x", metavar="NAME=V1,V2,...", help="what varies from left to right")
    axes.add_argument("--y", metavar="NAME=V1,V2,...", help="what varies from top to bottom")
    _add_picture_options(parser)


def _add_upscale(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "upscale", "make pictures larger, with new details")
    parser.epilog = (
        "What is not given is as the picture itself says that it was made: its prompt, its model, "
        "its seed. Memory is bounded by --window, whatever the size."
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="what to make larger")
    parser.add_argument(
        "--scale", type=float, metavar="X", default=2.0, help="times as large (default: 2)"
    )
    parser.add_argument(
        "--upscaler",
        type=read_upscaler,
        metavar="FILE|NAME",
        help="ESRGAN-type file, or its name in the library, that makes it larger (lanczos)",
    )
    parser.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="share replaced then (0.2); with --upscaler 0 replaces nothing, without a model",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="denoise in windows of so many pixels (the model's own size); 0 for the whole",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what the picture shows")
    parser.set_defaults(keep_control_maps=False)
    _add_sampling(parser.add_argument_group("with what"))
    _add_how(parser)


def _add_picture_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to make (where not given, the model's own defaults)")
    _add_sampling(what)
    what.add_argument(
        "--guidance-rescale", type=float, metavar="X", help="share of rescaling, 0 to 1"
    )
    what.add_argument(
        "--guidance-start", type=float, metavar="X", help="fraction of the run where it begins"
    )
    what.add_argument(
        "--guidance-end", type=float, metavar="X", help="fraction of the run where it ends"
    )
    what.add_argument("--count", type=int, metavar="N", help="pictures for each prompt (1)")
    what.add_argument(
        "--batch", type=int, metavar="N", dest="batch_size", help="pictures made together"
    )
    what.add_argument("--width", type=int, metavar="W", help="pixels, a multiple of 8")
    what.add_argument("--height", type=int, metavar="H", help="pixels, a multiple of 8")
    what.add_argument("--init", metavar="IMAGE", dest="init_image", help="picture to start from")
    what.add_argument("--strength", type=float, metavar="S", help="share of it replaced (0.8)")
    what.add_argument(
        "--from",
        type=Path,
        metavar="PICTURE",
        dest="source",
        help="make a picture again; options given beside it change that setting",
    )
    what.add_argument(
        "--refiner", metavar="NAME|PATH", help="SDXL refiner that takes over from the model"
    )
    what.add_argument(
        "--refiner-start",
        type=float,
        metavar="X",
        help=f"share of the noise schedule after which it does ({TextToImage.REFINER_START:g})",
    )
    add_control_options(parser)
    _add_mask(parser)
    _add_second_pass(parser)
    _add_how(parser)


def _add_sampling(what: argparse._ActionsContainer) -> None:
    what.add_argument("--model", metavar="NAME|PATH", help="model to use (default: starter)")
    what.add_argument("--negative", metavar="TEXT", dest="negative_prompt", help="what to avoid")
    what.add_argument("--steps", type=int, metavar="N", help="denoising steps")
    what.add_argument(
        "--guidance", type=float, metavar="X", dest="guidance_scale", help="guidance scale"
    )
    what.add_argument("--seed", type=int, metavar="N", help="of the first picture (default: any)")
    add_choice(what, "--scheduler", SchedulerName, "sampling method")
    add_choice(what, "--dtype", Precision, "number format (auto)", dest="precision")
    what.add_argument("--vae", metavar="PATH|NAME", help="VAE in the place of the model's own")
    add_choice(what, "--vae-tiling", Tiling, "VAE in tiles, for large pictures", dest="vae_tiling")
    add_choice(what, "--memory", MemoryMode, "low is slower and takes less (auto)")
    what.add_argument(
        "--compute-units",
        metavar="UNITS",
        help="of a Core ML model: auto, all, cpu-gpu, cpu-ane, cpu, or PART=UNITS,...",
    )
    what.add_argument(
        "--lora",
        type=read_lora_use,
        action="append",
        metavar="FILE[:SCALE]",
        dest="loras",
        help="LoRA to apply (repeatable)",
    )
    what.add_argument(
        "--embedding",
        type=read_embedding_use,
        action="append",
        metavar="[WORD=]FILE",
        dest="embeddings",
        help="embedding that prompts may use (repeatable)",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    add_choice(how, "--device", DeviceName, "where to compute", default=DeviceName.AUTO)
    add_choice(
        how,
        "--preview",
        PreviewDecoder,
        "keep the latest preview in DIR/preview.png while the run goes on",
        default=PreviewDecoder.OFF,
    )
    add_choice(
        how,
        "--format",
        PictureFormat,
        "kind of file; png and webp keep every pixel",
        default=PictureFormat.PNG,
        dest="picture_format",
    )
    how.add_argument("--out", type=Path, metavar="DIR", help="where the pictures go")
    add_json(how, "print one JSON event a line")


def read_lora_use(word: str) -> LoraUse:
    """Read ``FILE[:SCALE]``; a colon that no number follows belongs to the file's name."""
    path, colon, scale = word.rpartition(":")
    try:
        weight = float(scale)
    except ValueError:
        return LoraUse(path=word)
    # A drive's letter is no file.
    if not colon or not path or (len(path) == 1 and path.isalpha()) or is_file(Path(word)):
        return LoraUse(path=word)
    return LoraUse(path=path, weight=weight)


def read_embedding_use(word: str) -> EmbeddingUse:
    """Read ``[WORD=]FILE``; what has a folder's separator in it is no word."""
    token, equals, path = word.partition("=")
    if not equals or not token or not path or {"/", "\\"} & set(token) or is_file(Path(word)):
        return EmbeddingUse(path=word)
    return EmbeddingUse(path=path, token=token)


def read_upscaler(word: str) -> str:
    """Read a file or a name; the filters' names may be in capital letters."""
    return word.lower() if not is_upscaler_file(word.lower()) else word


def _add_mask(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("painting a part of the start picture anew")
    group.add_argument(
        "--mask", metavar="IMAGE", dest="mask_image", help="what is white there is painted anew"
    )
    group.add_argument(
        "--mask-invert", action="store_true", default=None, help="paint anew what is black"
    )
    group.add_argument(
        "--mask-blur",
        type=int,
        metavar="N",
        help="pixels over which new fades into old (4; beyond the edges 0)",
    )
    group.add_argument(
        "--only-masked",
        type=int,
        nargs="?",
        const=Inpaint.DEFAULT_PADDING,
        metavar="PADDING",
        help="look at the masked part alone, with so many pixels around it "
        f"({Inpaint.DEFAULT_PADDING}), at the size of --width and --height",
    )
    group.add_argument(
        "--outpaint",
        type=_sides,
        metavar="SIDE=N,...",
        help="paint on beyond the edges: left, top, right, bottom in pixels; a --mask-blur of 8 or "
        "more hides the line where the picture ends",
    )


def _sides(words: str) -> dict[str, int]:
    """Read ``left=64,top=32``."""
    sides: dict[str, int] = {}
    for word in words.split(","):
        name, _, pixels = word.strip().partition("=")
        if name not in ("left", "top", "right", "bottom") or not pixels.isdecimal():
            raise argparse.ArgumentTypeError(f"{word!r} is not like left=64")
        sides[name] = int(pixels)
    return sides


def _add_second_pass(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a second pass at a larger size (hires fix)")
    group.add_argument("--hires-scale", type=float, metavar="X", help="times as large (2)")
    group.add_argument("--hires-strength", type=float, metavar="S", help="share replaced (0.5)")
    group.add_argument("--hires-steps", type=int, metavar="N", help="steps (as in the first pass)")
    group.add_argument(
        "--hires-upscaler",
        type=read_upscaler,
        metavar="FILE|NAME",
        help=f"what makes it larger: {', '.join(Enlarging)}, or an ESRGAN-type file, or the name "
        "of one in the library (lanczos)",
    )
    group.add_argument(
        "--hires-window", type=int, metavar="N", help="denoise in windows of so many pixels"
    )


def _add_inspect(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "inspect", "say how a picture was made")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    add_json(parser, "print one JSON object")


def _add_models(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "models", "list and describe models")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, summary: str, json: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, parents=[everywhere], allow_abbrev=False)
        added.set_defaults(action=name)
        add_json(added, json)
        return added

    listing = action("list", "the models that have a name", "print one JSON array")
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--available", action="store_true", help="models worth downloading instead")
    which.add_argument("--cached", action="store_true", help="the Hugging Face cache's instead")
    which.add_argument("--partial", action="store_true", help="downloads that were stopped instead")
    show = action("show", "one model and its defaults", "print one JSON object")
    show.add_argument("name", metavar="NAME|PATH")
    add = action("add", "use a model that is on this machine", "print one JSON event a line")
    add.add_argument(
        "path", metavar="PATH", help="file, folder, folder of models, or owner/name in the cache"
    )
    add.add_argument("--copy", action="store_true", help="copy it; else it is used where it lies")
    download = action("download", "get a model from the hub", "print one JSON event a line")
    download.add_argument("id", metavar="ID", help="of list --available, or owner/name[/FILE]")
    add_choice(download, "--variant", Variant, "precision", default=Variant.FP16)
    download.add_argument(
        "--discard", action="store_true", help="delete what has arrived of it instead"
    )
    for named in (add, download):
        named.add_argument("--name", metavar="NAME", default="", help="what to call it")
    verify = action("verify", "read the files again", "print one JSON event a line")
    verify.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    verify.add_argument(
        "--search",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="look for missing files in DIR too",
    )
    remove = action("remove", "forget a model; delete it if it was copied", "print one JSON object")
    remove.add_argument("name", metavar="NAME")


def _add_bench(commands: Commands, everywhere: argparse.ArgumentParser) -> None:
    parser = add_command(commands, everywhere, "bench", "measure this machine")
    parser.add_argument(
        "what", nargs="?", choices=("train",), help="steps of a training in the place of pictures"
    )
    parser.add_argument("--model", metavar="NAME|PATH", default="starter")
    add_choice(parser, "--device", DeviceName, "where to compute", default=DeviceName.AUTO)
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps to measure (20; for --memory 2)"
    )
    parser.add_argument(
        "--memory", action="store_true", help="the peak memory of each mode of --memory instead"
    )
    add_json(parser, "print one JSON object")
