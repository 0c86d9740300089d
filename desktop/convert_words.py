"""What the window says of conversions: the choices, the parts and how far they are."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from core.coreml_folder import CONTROL_FOLDER, ExportFormat, Layout, PartName
from core.models.copying import format_size
from core.models.listing import Listed
from core.models.verdict import Kind
from coreml_export.events import ExportStep, PartWritten, Stage
from coreml_export.request import CONTROL_PART, Packing
from desktop.conversion import ConversionSnapshot, Phase
from desktop.model_facts import DOT
from desktop.progress import duration

_LEAST_SECONDS = 60
"""Below which no minutes are named."""


def formats() -> dict[ExportFormat, tuple[str, str]]:
    """Give each format's name and what runs it."""
    return {
        ExportFormat.COREML: (
            _tr("Core ML, macOS 13 and later"),
            _tr("For this app on a Mac, and for all other apps that run Core ML models."),
        ),
        ExportFormat.COREAI: (
            _tr("Core AI, macOS 27 and later"),
            _tr("Core ML's successor: nothing to compile on the Mac, and no other app reads it."),
        ),
    }


def layouts() -> dict[Layout, tuple[str, str]]:
    """Give each layout's name and the chips that it is for."""
    return {
        Layout.SPLIT_EINSUM: (
            _tr("For the Neural Engine"),
            _tr(
                "Fastest on plain M1 to M4 chips, iPhones and iPads, up to 768 pixels, and sparing "
                "of energy on all of them."
            ),
        ),
        Layout.ORIGINAL: (
            _tr("For the GPU"),
            _tr("Fastest on Pro, Max and Ultra chips, and what SDXL and larger pictures need."),
        ),
    }


def usual_layout(model: Listed) -> Layout:
    """Give the layout that most Macs run a model fastest in.

    By the README of https://github.com/apple/ml-stable-diffusion, which measured SDXL on GPUs.
    """
    is_large = model.card is not None and max(model.card.width, model.card.height) > 768
    is_xl = model.card is not None and model.card.needs_size
    return Layout.ORIGINAL if is_large or is_xl else Layout.SPLIT_EINSUM


def packings() -> dict[Packing, tuple[str, str]]:
    """Give each way to pack weights, and what is known of how good it is."""
    check = _tr("Look at pictures on the Mac before you rely on it: wrong ones have been reported.")
    return {
        Packing.NONE: (
            _tr("None, 16 bits a weight"),
            _tr("As exact as half precision is."),
        ),
        Packing.INT8: (
            _tr("8 bits a weight"),
            _tr("Half the size, and the safe one: hardly to be told from 16 bits."),
        ),
        Packing.PALETTE6: (
            _tr("6 bits, a palette"),
            _tr("A little less exact than 16 bits. {0}").format(check),
        ),
        Packing.PALETTE4: (
            _tr("4 bits, a palette"),
            _tr("The smallest, and details change. {0}").format(check),
        ),
        Packing.MIXED: (
            _tr("By layer, measured"),
            _tr(
                "As few bits as each layer can bear; measuring them takes several times as long as "
                "the rest. {0}"
            ).format(check),
        ),
        Packing.W8A8: (
            _tr("8 bits a weight, and in between"),
            _tr(
                "What layers are given is rounded too: faster on the Neural Engine from the M4 on, "
                "and less exact. {0}"
            ).format(check),
        ),
    }


def part_name(name: str) -> str:
    """Name a part."""
    if name.startswith(f"{CONTROL_FOLDER}/"):
        return _tr("ControlNet {0}").format(name.removeprefix(f"{CONTROL_FOLDER}/"))
    return {
        PartName.TEXT_ENCODER: _tr("Text encoder"),
        PartName.TEXT_ENCODER_2: _tr("Second text encoder"),
        PartName.UNET: _tr("UNet"),
        PartName.UNET_CHUNK_1: _tr("UNet, first half"),
        PartName.UNET_CHUNK_2: _tr("UNet, second half"),
        PartName.CONTROLLED_UNET: _tr("UNet for ControlNets"),
        PartName.CONTROLLED_UNET_CHUNK_1: _tr("UNet for ControlNets, first half"),
        PartName.CONTROLLED_UNET_CHUNK_2: _tr("UNet for ControlNets, second half"),
        PartName.VAE_DECODER: _tr("VAE, latents to pictures"),
        PartName.VAE_ENCODER: _tr("VAE, pictures to latents"),
        CONTROL_PART: _tr("ControlNets"),
    }.get(name, name)


def stage_name(stage: Stage) -> str:
    """Say what is being done to a part."""
    return {
        Stage.LOAD: _tr("loading"),
        Stage.TRACE: _tr("tracing"),
        Stage.MEASURE: _tr("measuring its layers"),
        Stage.CONVERT: _tr("converting"),
        Stage.COMPRESS: _tr("compressing"),
        Stage.CHECK: _tr("checking against torch"),
        Stage.COMPILE: _tr("compiling"),
    }.get(stage, str(stage))


def written_text(part: PartWritten) -> str:
    """Say how large a part has become and how close to torch it is."""
    words = [format_size(part.record.bytes)]
    if "fp16" in part.record.psnr:
        words.append(_tr("{0:.0f} dB to torch").format(part.record.psnr["fp16"]))
    if part.kept:
        words.append(_tr("kept"))
    return DOT.join(words)


def left_text(step: ExportStep) -> str:
    """Say how much is done and how long the rest will take."""
    words = [f"{step.share:.0%}"]
    left = step.seconds_left
    if left is not None:
        whole = round(left / 60) * 60 if left > _LEAST_SECONDS else left
        words.append(_tr("about {0} left").format(duration(whole).removesuffix(" 0 s")))
    return DOT.join(words)


def doing_text(now: ConversionSnapshot) -> str:
    """Say in a line what a conversion is at; empty if none goes on."""
    if now.phase is Phase.STOPPING:
        return _tr("Stopping; finished parts are kept")
    if now.phase is not Phase.RUNNING:
        return ""
    if now.step is None:
        return _tr("Loading {0}").format(now.loading) if now.loading else _tr("Getting ready")
    at = f"{part_name(now.step.part)}: {stage_name(now.step.stage)}"
    return DOT.join((at, left_text(now.step)))


def title_of_phase(now: ConversionSnapshot, name: str) -> str:
    """Say of which model, and how it stands."""
    match now.phase:
        case Phase.STOPPED:
            return _tr("{0}: stopped").format(name)
        case Phase.FINISHED:
            return _tr("{0} is converted").format(name)
        case Phase.FAILED:
            return _tr("{0} could not be converted").format(name)
        case _:
            return _tr("Converting {0}").format(name)


def unconvertible(row: Listed, lacking: str) -> str:
    """Say why a model cannot be converted, or give an empty text.

    Args:
        row: The model.
        lacking: Why nothing can be converted on this system, or empty.
    """
    assert row.kind is Kind.MODEL
    if row.missing:
        return _tr("Files of it are not where they were.")
    if row.card is None:
        return row.refused or _tr("It cannot be read.")
    if row.card.sizes:
        return _tr("It is converted already; convert the model that it was made from.")
    return lacking


def _tr(text: str) -> str:
    return QCoreApplication.translate("Convert", text)
