"""The controls of a training's settings: what each is called, and what it is good for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from PySide6.QtCore import QCoreApplication

from core.request import LATENT_SCALE, MAX_SIDE
from core.training.config import Method
from core.training.config_parts import MOST_AT_ONCE, MOST_STEPS
from desktop.train_say import AS_LORA


class Group(StrEnum):
    """Where a control stands."""

    METHOD = "method"  # Always in sight, as are the samples.
    SAMPLES = "samples"
    CAPTIONS = "captions"
    ADAPTER = "adapter"
    LEARNING = "learning"
    DRAWING = "drawing"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A control.

    Attributes:
        name: Of the setting, as ``train_settings.leaves`` gives it.
        label: What stands before it.
        tip: What it does, a sentence or two.
        group: Where it stands.
        allowed: Least and largest number.
        usual: Least and largest number of a slider; no slider without.
        step: Of the arrows and the slider.
        decimals: Digits after the point.
        zero: What the number 0 is called, if it means something of its own.
        hint: What an empty text is to hold.
        lines: Whether a text may have several lines.
        choices: For each value of a choice, what is shown and its tooltip.
    """

    name: str
    label: str
    tip: str
    group: Group
    allowed: tuple[float, float] = (0, 1)
    usual: tuple[float, float] | None = None
    step: float = 1.0
    decimals: int = 0
    zero: str = ""
    hint: str = ""
    lines: bool = False
    choices: Mapping[StrEnum, tuple[str, str]] = field(default_factory=dict)


def method_names() -> dict[Method, tuple[str, str]]:
    """Give each method's name and, in a sentence, what it does."""
    return {
        Method.LORA: (
            _tr("LoRA"),
            _tr(
                "Teaches a style, a thing or a person by small matrices beside the model: a file "
                "of a few megabytes that any model of the family can use. Start here."
            ),
        ),
        Method.TEXTUAL_INVERSION: (
            _tr("Textual inversion"),
            _tr(
                "Finds a new word for what the pictures show and leaves the model as it is: the "
                "smallest file, and it says only what the model could draw already."
            ),
        ),
        Method.DREAMBOOTH: (
            _tr("DreamBooth"),
            _tr(
                "Ties one particular thing to a rare word, while the model's own pictures of the "
                "class keep it from forgetting what others of its kind look like."
            ),
        ),
        Method.FINETUNE: (
            _tr("Fine-tuning"),
            _tr(
                "Teaches the whole model from many captioned pictures: the strongest, the slowest, "
                "and what comes out is a model of full size."
            ),
        ),
    }


def fields_in_sight() -> tuple[Field, ...]:
    """Give the controls that are always in sight, in the order in which they stand."""
    return (*_of_methods(), *_of_samples())


def _of_methods() -> tuple[Field, ...]:
    group = Group.METHOD
    return (
        Field(
            name="token",
            label=_tr("New word"),
            tip=_tr("The word that prompts then use; best one that means nothing yet."),
            group=group,
            hint="moonling",
        ),
        Field(
            name="init_word",
            label=_tr("Begins as"),
            tip=_tr("A word that the model knows and that comes near: what the new one starts at."),
            group=group,
            hint="star",
        ),
        Field(
            name="vectors",
            label=_tr("Vectors"),
            tip=_tr("How much the word can hold; more learn finer things and mix less well."),
            group=group,
            allowed=(1, 64),
            usual=(1, 16),
        ),
        Field(
            name="instance_prompt",
            label=_tr("The thing"),
            tip=_tr("What every picture shows: a rare word and the class, such as “a sks dog”."),
            group=group,
            hint="a sks dog",
        ),
        Field(
            name="class_prompt",
            label=_tr("Its class"),
            tip=_tr(
                "The same without the rare word: what the model must not forget. May be empty."
            ),
            group=group,
            hint="a dog",
        ),
        Field(
            name="class_images",
            label=_tr("Class pictures"),
            tip=_tr("How many pictures of the class the model draws itself before it learns."),
            group=group,
            allowed=(1, 10_000),
            usual=(10, 400),
            step=10,
        ),
        Field(
            name="prior_weight",
            label=_tr("Their weight"),
            tip=_tr("How much keeping the class counts beside learning the thing."),
            group=group,
            allowed=(0, 100),
            usual=(0, 2),
            step=0.1,
            decimals=3,
        ),
        Field(
            name=AS_LORA,
            label=_tr("As a LoRA"),
            tip=_tr("Learn small matrices in the place of the whole model: a fraction of memory."),
            group=group,
        ),
        Field(
            name="data.trigger",
            label=_tr("Trigger"),
            tip=_tr("Words put before every caption, unless they stand in it; prompts use them."),
            group=group,
            hint=_tr("none"),
        ),
        Field(
            name="adapter.rank",
            label=_tr("Rank"),
            tip=_tr("Width of the small matrices: more holds more, and learns by heart sooner."),
            group=group,
            allowed=(1, 1024),
            usual=(1, 128),
        ),
        Field(
            name="steps",
            label=_tr("Steps"),
            tip=_tr("How often the weights are changed. Samples show when it is enough."),
            group=group,
            allowed=(1, MOST_STEPS),
            usual=(0, 4000),
            step=50,
        ),
        Field(
            name="optimiser.learning_rate",
            label=_tr("Rate"),
            tip=_tr("How far each step goes. Too much ruins the model, too little takes forever."),
            group=group,
            allowed=(0, 10),
            step=1e-5,
            decimals=8,
            zero=_tr("Automatic"),
        ),
        Field(
            name="batch_size",
            label=_tr("Batch"),
            tip=_tr("Pictures of each pass: more are steadier and take more memory."),
            group=group,
            allowed=(1, MOST_AT_ONCE),
            usual=(1, 16),
        ),
        Field(
            name="data.resolution",
            label=_tr("Resolution"),
            tip=_tr("Side of the square that has as many pixels as each picture is shown with."),
            group=group,
            allowed=(0, MAX_SIDE),
            step=8 * LATENT_SCALE,
            zero=_tr("The model's own"),
        ),
    )


def _of_samples() -> tuple[Field, ...]:
    group = Group.SAMPLES
    return (
        Field(
            name="samples.prompts",
            label=_tr("Sample prompts, one a line"),
            tip=_tr("Drawn before the first step, on the way and at the end, with the same seeds."),
            group=group,
            hint=_tr("What shows whether it has been learned"),
            lines=True,
        ),
        Field(
            name="samples.every",
            label=_tr("Every"),
            tip=_tr("Steps between two rows of samples."),
            group=group,
            allowed=(0, MOST_STEPS),
            usual=(0, 500),
            step=10,
            zero=_tr("Ends only"),
        ),
    )


def _tr(text: str) -> str:
    return QCoreApplication.translate("TrainFields", text)
