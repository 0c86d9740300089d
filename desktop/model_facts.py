"""What the window says about a model: in the list, and beside it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QCoreApplication

from core.images.samplers import SAMPLERS
from core.models.catalog import ModelCard
from core.models.copying import format_size
from core.models.curated import Curated
from core.models.library_events import Progress, Task
from core.models.listing import Listed
from core.models.verdict import Kind
from desktop.progress import duration
from desktop.shelf_snapshot import Offer, TransferState

_REFINER = "sdxl-refiner"
FAMILIES = {
    "sd1": "SD 1.x",
    "sd2": "SD 2.x",
    "sdxl": "SDXL",
    _REFINER: "SDXL refiner",
    "blip": "BLIP",
}
DOT = "  ·  "

_COMMANDS = {
    Kind.VAE: "stepwise generate --vae",
    Kind.CONTROLNET: "stepwise generate --control",
    Kind.UPSCALER: "stepwise upscale --upscaler",
    Kind.CAPTIONER: "stepwise caption --model",
}
"""What uses the kinds for which the window has no control."""

Facts = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are shown."""


def kind_name(kind: Kind) -> str:
    """Name a kind."""
    return {
        Kind.MODEL: _tr("Model"),
        Kind.LORA: _tr("LoRA"),
        Kind.EMBEDDING: _tr("Embedding"),
        Kind.VAE: _tr("VAE"),
        Kind.CONTROLNET: _tr("ControlNet"),
        Kind.UPSCALER: _tr("Upscaler"),
        Kind.CAPTIONER: _tr("Captioner"),
    }[kind]


def family_name(family: str) -> str:
    """Name a family."""
    return FAMILIES.get(family, _tr("Custom"))


def title_of(row: Listed | Offer) -> str:
    """Give what a model is called."""
    if isinstance(row, Offer):
        return row.model.title
    return row.card.title if row.shipped and row.card is not None else row.name


def summary(row: Listed | Offer) -> str:
    """Say in a line what a model is."""
    model = row.model if isinstance(row, Offer) else row
    size = format_size(model.size) if isinstance(row, Listed) else _about(model.size)
    if isinstance(row, Listed) and row.shipped:
        return DOT.join((_tr("Comes with Stepwise"), size))
    parts = [family_name(model.family), size]
    if model.kind is not Kind.MODEL:
        parts.insert(0, kind_name(model.kind))
    return DOT.join(parts)


def unusable(row: Listed) -> str:
    """Say why the Create page cannot make pictures with a model, or give an empty text."""
    if row.missing:
        return _tr("Files of it are not where they were.")
    if row.card is not None and row.card.inpainting:
        return _tr(
            "It needs a mask, which the window cannot draw yet; on the command line, --mask gives "
            "it one."
        )
    return row.refused


def trouble(row: Listed | Offer) -> str:
    """Say in a sentence what is to be known before a model is used, or give an empty text."""
    if isinstance(row, Offer):
        if row.model.gated:
            return _tr("The hub asks you to accept its terms first; set HF_TOKEN to your token.")
        return ""
    if row.missing:
        return _tr("It is not at {0} any more. Look for it, or remove it.").format(row.path)
    if reason := unusable(row):
        return reason
    if row.family == _REFINER:
        text = _tr(
            "It works over a start picture; “stepwise generate --refiner {0}” lets it finish the "
            "pictures of an SDXL model."
        )
        return text.format(row.path)
    how = _COMMANDS.get(row.kind)
    if how is None:
        return ""
    text = _tr("The window has no control for it; “{0}” makes use of it.")
    return text.format(f"{how} {row.path}")


def facts_of(row: Listed) -> Facts:
    """List what is known of a model of the library."""
    where = _tr("In the library; they are deleted when it is removed")
    if row.shipped:
        where = _tr("Comes with Stepwise")
    elif not row.owned:
        where = _tr("Used where it lies; never deleted")
    repo, _, commit = row.source.partition("@")
    facts = [
        (_tr("Kind"), kind_name(row.kind)),
        (_tr("Family"), family_name(row.family)),
        (_tr("Size"), DOT.join(filter(None, (format_size(row.size), row.precision)))),
        (_tr("Licence"), row.licence or _tr("Not known")),
        (_tr("Lies at"), str(row.path)),
        (_tr("Files"), where),
    ]
    if repo:
        facts.append((_tr("From"), f"{repo}, {commit[:8]}"))
    if row.autov2:
        facts.append((_tr("Hash"), f"{row.autov2} (AutoV2)"))
    if row.card is not None:
        facts.append((_tr("Good settings"), _settings(row.card)))
    if row.kind is Kind.LORA:
        facts.append((_tr("In a prompt"), lora_tag(row)))
    if row.kind is Kind.EMBEDDING:
        facts.append((_tr("In a prompt"), row.name))
    return tuple(facts)


def facts_of_offer(model: Curated) -> Facts:
    """List what is known of a model worth having."""
    facts = [
        (_tr("Kind"), kind_name(model.kind)),
        (_tr("Family"), family_name(model.family)),
        (_tr("Download"), _tr("About {0}").format(format_size(model.size))),
        (_tr("Memory"), _tr("About {0} needed").format(format_size(model.memory))),
        (_tr("Licence"), model.licence),
        (_tr("From"), f"huggingface.co/{model.repo}"),
    ]
    if model.scheduler is not None:
        facts.append(
            (
                _tr("Good settings"),
                _good(
                    model.steps,
                    model.guidance_scale,
                    SAMPLERS[model.scheduler],
                    model.width,
                    model.height,
                ),
            )
        )
    return tuple(facts)


def lora_tag(row: Listed) -> str:
    """Give what applies a LoRA when it stands in a prompt."""
    return f"<lora:{row.name}:1>"


def transfer_text(offer: Offer) -> str:
    """Say how far a download is."""
    transfer = offer.transfer
    if transfer is None:
        if offer.arrived:
            return _tr("{0} have arrived; the download goes on from there.").format(
                format_size(offer.arrived)
            )
        return ""
    if transfer.state is TransferState.STOPPING:
        return _tr("Stopping; what has arrived is kept")
    if transfer.note:
        return transfer.note
    if transfer.state is TransferState.WAITING:
        return _tr("Waiting for the download before it")
    if transfer.progress is None:
        return _tr("Asking the hub")
    text = progress_text(transfer.progress)
    if transfer.progress.task is Task.HASH:
        return DOT.join((doing(transfer.progress), text))
    return text


def doing(progress: Progress) -> str:
    """Say what is being done to which file."""
    text = {
        Task.HASH: _tr("Reading {0}"),
        Task.COPY: _tr("Copying {0}"),
        Task.DOWNLOAD: _tr("Downloading {0}"),
    }[progress.task]
    return text.format(progress.what)


def progress_text(progress: Progress) -> str:
    """Say how far a task is, how fast it goes and how long it will take."""
    amount = _tr("{0} of {1}").format(format_size(progress.done), format_size(progress.total))
    parts = [amount]
    if progress.speed > 0:
        parts.append(_tr("{0}/s").format(format_size(progress.speed)))
    if progress.eta is not None:
        parts.append(_tr("{0} left").format(duration(progress.eta)))
    return DOT.join(parts)


def share(progress: Progress | None) -> float:
    """Give how much of a task is done, from 0 to 1."""
    return progress.done / progress.total if progress is not None and progress.total else 0.0


def removal_question(row: Listed) -> str:
    """Ask whether a model is to go, and say what becomes of its files."""
    if row.owned:
        return _tr("Its files ({0}) are deleted from {1}.").format(
            format_size(row.size), _folder(row.path)
        )
    return _tr("It is only taken off the list; its files stay at {0}.").format(row.path)


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _settings(card: ModelCard) -> str:
    return _good(card.steps, card.guidance_scale, SAMPLERS[card.scheduler], card.width, card.height)


def _good(steps: int, guidance: float, scheduler: str, width: int, height: int) -> str:
    return DOT.join(
        (
            _tr("{0} steps").format(steps),
            scheduler,
            _tr("guidance {0:g}").format(guidance),
            f"{width} \N{MULTIPLICATION SIGN} {height}",
        )
    )


def _about(size: int) -> str:
    return _tr("about {0}").format(format_size(size))


def _tr(text: str) -> str:
    return QCoreApplication.translate("ModelFacts", text)
