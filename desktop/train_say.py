"""Which settings of a training have no say beside the others, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from PySide6.QtCore import QCoreApplication

from core.training.config import Method
from core.training.config_parts import AdapterSettings, LossKind, OptimiserName, SampleSettings

AS_LORA = "adapter"
"""The control that says whether DreamBooth learns a LoRA; the names of its settings begin so."""

_ADAPTER = [f"{AS_LORA}.{one.name}" for one in fields(AdapterSettings)]
_DRAWING = [f"samples.{one.name}" for one in fields(SampleSettings) if one.name != "prompts"]


def unheard(method: Method, value: Callable[[str], object]) -> dict[str, str]:
    """Give the settings that have no say now, and for each a sentence on why.

    Args:
        method: How the model is taught.
        value: Gives the value of a setting.
    """
    reasons: dict[str, str] = {}
    if method is Method.DREAMBOOTH and value(AS_LORA):
        reasons["single_file"] = _tr("A LoRA is one file anyway.")
    elif method is Method.DREAMBOOTH:
        reasons |= dict.fromkeys(_ADAPTER, _tr("The whole model is learned, not a LoRA."))
    if method is Method.TEXTUAL_INVERSION:
        reasons["data.caption_dropout"] = _tr("A new word learns from captions that have it.")
        reasons["data.trigger"] = _tr("It is called by the new word.")
        reasons["optimiser.weight_decay"] = _tr("A new word stays as long as the model's own.")
    if not value("class_prompt"):
        no_class = _tr("No class is given to be kept.")
        reasons |= {"class_images": no_class, "prior_weight": no_class}
    if not value("samples.prompts"):
        reasons |= dict.fromkeys(_DRAWING, _tr("There are no sample prompts."))
    if not value("data.shuffle_tags"):
        reasons["data.keep_tags"] = _tr("Tags are not shuffled, so all of them stay.")
    if value("loss.kind") is not LossKind.HUBER:
        reasons["loss.huber_delta"] = _tr("The loss is measured in squares.")
    if not value("train_text"):
        reasons["optimiser.text_learning_rate"] = _tr("The text encoder does not learn.")
    elif value("optimiser.name") is OptimiserName.PRODIGY:
        reasons["optimiser.text_learning_rate"] = _tr("Prodigy finds one rate for all.")
    return reasons


def _tr(text: str) -> str:
    return QCoreApplication.translate("TrainForm", text)
