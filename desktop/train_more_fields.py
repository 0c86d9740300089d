"""The controls of a training's settings that most do without."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from core.request import MAX_SEED, MAX_STEPS, DeviceName, Precision
from core.training.config_parts import (
    MOST_AT_ONCE,
    MOST_STEPS,
    Crop,
    LossKind,
    OptimiserName,
    RateSchedule,
    Targets,
)
from desktop.train_fields import Field, Group
from desktop.train_settings import DEVICE


def folds() -> dict[Group, str]:
    """Give the headings under which controls are folded away."""
    return {
        Group.CAPTIONS: _tr("Pictures and captions"),
        Group.ADAPTER: _tr("LoRA"),
        Group.LEARNING: _tr("Learning"),
        Group.DRAWING: _tr("Drawing samples"),
        Group.MACHINE: _tr("Machine and checkpoints"),
    }


def folded_fields() -> tuple[Field, ...]:
    """Give the controls that are folded away, in the order in which they stand."""
    return (
        *_of_captions(),
        *_of_adapter(),
        *_of_learning(),
        *_of_drawing(),
        *_of_machine(),
    )


def _of_captions() -> tuple[Field, ...]:
    group = Group.CAPTIONS
    return (
        Field(
            name="data.buckets",
            label=_tr("Keep shapes"),
            tip=_tr("Pictures keep about their own shape; else they are cropped to squares."),
            group=group,
        ),
        Field(
            name="data.crop",
            label=_tr("Crop"),
            tip=_tr("Which part is kept where the shape does not fit."),
            group=group,
            choices={
                Crop.CENTRE: (_tr("The middle"), _tr("Always the same part.")),
                Crop.RANDOM: (_tr("Any part"), _tr("Another one at every showing.")),
            },
        ),
        Field(
            name="data.flip",
            label=_tr("Mirror"),
            tip=_tr("Every other showing is mirrored. Not for faces, letters and the like."),
            group=group,
        ),
        Field(
            name="data.background",
            label=_tr("Background"),
            tip=_tr("Colour under transparent parts, such as #ffffff."),
            group=group,
            hint="#ffffff",
        ),
        Field(
            name="data.use_masks",
            label=_tr("Use masks"),
            tip=_tr("Learn only where NAME.mask.png is white, or where it is not transparent."),
            group=group,
        ),
        Field(
            name="data.caption_dropout",
            label=_tr("No caption"),
            tip=_tr("Share of showings without a caption, which keeps guidance working; 0 to 1."),
            group=group,
            allowed=(0, 1),
            usual=(0, 1),
            step=0.05,
            decimals=3,
        ),
        Field(
            name="data.shuffle_tags",
            label=_tr("Shuffle tags"),
            tip=_tr("What commas part in a caption comes in another order at every showing."),
            group=group,
        ),
        Field(
            name="data.keep_tags",
            label=_tr("Keep first"),
            tip=_tr("How many of them stay in their places."),
            group=group,
            allowed=(0, MAX_STEPS),
        ),
        Field(
            name="data.cache",
            label=_tr("Keep latents"),
            tip=_tr("Encode pictures and texts once and keep that on disk; much faster."),
            group=group,
        ),
    )


def _of_adapter() -> tuple[Field, ...]:
    group = Group.ADAPTER
    return (
        Field(
            name="adapter.alpha",
            label=_tr("Alpha"),
            tip=_tr("The change counts by alpha divided by rank."),
            group=group,
            allowed=(0, 4096),
            decimals=3,
            zero=_tr("As the rank"),
        ),
        Field(
            name="adapter.targets",
            label=_tr("Layers"),
            tip=_tr("Where the matrices are put."),
            group=group,
            choices={
                Targets.ATTENTION: (_tr("Attention"), _tr("Its projections alone; smallest.")),
                Targets.TRANSFORMER: (_tr("Transformer blocks"), _tr("What most files have.")),
                Targets.ALL: (_tr("All"), _tr("Residual blocks too.")),
            },
        ),
        Field(
            name="adapter.conv_rank",
            label=_tr("Convolutions"),
            tip=_tr("Rank on 3x3 convolutions, which helps styles and textures."),
            group=group,
            allowed=(0, 1024),
            zero=_tr("None"),
        ),
        Field(
            name="adapter.dropout",
            label=_tr("Dropout"),
            tip=_tr("Share of inputs left out while learning; works against learning by heart."),
            group=group,
            allowed=(0, 0.99),
            usual=(0, 0.99),
            step=0.05,
            decimals=3,
        ),
        Field(
            name="adapter.dora",
            label=_tr("DoRA"),
            tip=_tr("Learn direction and magnitude apart: closer to full training, slower."),
            group=group,
        ),
    )


def _of_learning() -> tuple[Field, ...]:
    group = Group.LEARNING
    return (
        Field(
            name="train_text",
            label=_tr("Text encoder"),
            tip=_tr("The part that reads prompts learns too: stronger, and easier to overdo."),
            group=group,
        ),
        Field(
            name="ema",
            label=_tr("Average"),
            tip=_tr("Save an average of the weights, of which this share stays at each step."),
            group=group,
            allowed=(0, 0.999999),
            step=0.001,
            decimals=6,
            zero=_tr("Off"),
        ),
        Field(
            name="optimiser.name",
            label=_tr("Optimiser"),
            tip=_tr("What turns gradients into steps."),
            group=group,
            choices={
                OptimiserName.ADAMW: ("AdamW", _tr("What most recipes are written for.")),
                OptimiserName.ADAMW_8BIT: (
                    _tr("AdamW, 8 bits"),
                    _tr("A quarter of its memory; needs bitsandbytes and an NVIDIA card."),
                ),
                OptimiserName.ADAFACTOR: ("Adafactor", _tr("Least memory, on every machine.")),
                OptimiserName.PRODIGY: ("Prodigy", _tr("Finds the rate itself; more memory.")),
            },
        ),
        Field(
            name="optimiser.text_learning_rate",
            label=_tr("Text rate"),
            tip=_tr("Rate of the text encoder, which forgets sooner than the rest."),
            group=group,
            allowed=(0, 10),
            step=1e-6,
            decimals=8,
            zero=_tr("Half the rate"),
        ),
        Field(
            name="optimiser.schedule",
            label=_tr("Rate goes"),
            tip=_tr("How the rate goes on after the warm-up."),
            group=group,
            choices={
                RateSchedule.CONSTANT: (_tr("Steady"), _tr("The same to the end.")),
                RateSchedule.LINEAR: (_tr("Down, evenly"), _tr("To 0 at the last step.")),
                RateSchedule.COSINE: (_tr("Down, softly"), _tr("To 0 along half a cosine.")),
            },
        ),
        Field(
            name="optimiser.warm_up",
            label=_tr("Warm-up"),
            tip=_tr("Steps over which the rate rises from 0."),
            group=group,
            allowed=(0, MOST_STEPS),
            step=10,
            zero=_tr("None"),
        ),
        Field(
            name="optimiser.weight_decay",
            label=_tr("Decay"),
            tip=_tr("Share of each weight taken off, times the rate, at each step."),
            group=group,
            allowed=(0, 1),
            step=0.01,
            decimals=5,
        ),
        Field(
            name="optimiser.clip",
            label=_tr("Clip"),
            tip=_tr("Largest norm of all gradients together, against sudden jumps."),
            group=group,
            allowed=(0, 1e6),
            step=0.1,
            decimals=3,
            zero=_tr("No limit"),
        ),
        Field(
            name="loss.kind",
            label=_tr("Loss"),
            tip=_tr("How the distance to what is right is measured."),
            group=group,
            choices={
                LossKind.MSE: (_tr("Squares"), _tr("Mean squared error, as models are made.")),
                LossKind.HUBER: (_tr("Huber"), _tr("Odd pictures among the others count less.")),
            },
        ),
        Field(
            name="loss.huber_delta",
            label=_tr("Huber from"),
            tip=_tr("Where Huber's distance passes from squares to absolutes."),
            group=group,
            allowed=(1e-6, 1e3),
            step=0.01,
            decimals=6,
        ),
        Field(
            name="loss.min_snr_gamma",
            label=_tr("Min-SNR"),
            tip=_tr("Largest signal-to-noise ratio that counts in full; 5 is usual."),
            group=group,
            allowed=(0, 1e3),
            decimals=3,
            zero=_tr("Off"),
        ),
        Field(
            name="loss.offset_noise",
            label=_tr("Offset noise"),
            tip=_tr("Helps very dark and very bright pictures; 0.05 is usual."),
            group=group,
            allowed=(0, 1),
            step=0.01,
            decimals=4,
            zero=_tr("Off"),
        ),
    )


def _of_drawing() -> tuple[Field, ...]:
    group = Group.DRAWING
    return (
        Field(
            name="samples.negative_prompt",
            label=_tr("Negative"),
            tip=_tr("What guidance leads samples away from."),
            group=group,
            hint=_tr("none"),
        ),
        Field(
            name="samples.steps",
            label=_tr("Steps"),
            tip=_tr("Denoising steps of each sample."),
            group=group,
            allowed=(0, MAX_STEPS),
            zero=_tr("The model's own"),
        ),
        Field(
            name="samples.guidance_scale",
            label=_tr("Guidance"),
            tip=_tr("How strictly samples follow their prompts."),
            group=group,
            allowed=(0, 100),
            step=0.5,
            decimals=3,
            zero=_tr("The model's own"),
        ),
        Field(
            name="samples.seed",
            label=_tr("Seed"),
            tip=_tr("Of the first prompt, the same at every row; the others count on from it."),
            group=group,
            allowed=(0, MAX_SEED),
        ),
    )


def _of_machine() -> tuple[Field, ...]:
    group = Group.MACHINE
    return (
        Field(
            name=DEVICE,
            label=_tr("Device"),
            tip=_tr("What computes, here and where captions are written."),
            group=group,
            choices={
                DeviceName.AUTO: (_tr("Automatic"), _tr("The fastest there is.")),
                DeviceName.CPU: (_tr("Processor"), _tr("Every machine has one; slow.")),
                DeviceName.MPS: (_tr("Apple GPU"), _tr("On a Mac, by Metal.")),
                DeviceName.CUDA: (_tr("NVIDIA GPU"), _tr("A card, by CUDA.")),
            },
        ),
        Field(
            name="precision",
            label=_tr("Precision"),
            tip=_tr("Number format of what does not learn, and of the arithmetic."),
            group=group,
            choices={
                Precision.AUTO: (_tr("Automatic"), _tr("What suits this machine.")),
                Precision.FP32: ("fp32", _tr("Exact; most memory.")),
                Precision.FP16: ("fp16", _tr("Half the memory; for graphics processors.")),
                Precision.BF16: ("bf16", _tr("Half the memory, coarser, never overflows.")),
            },
        ),
        Field(
            name="gradient_checkpointing",
            label=_tr("Save memory"),
            tip=_tr("Compute activations twice and keep fewer of them: a third slower."),
            group=group,
        ),
        Field(
            name="accumulation",
            label=_tr("Passes a step"),
            tip=_tr("Gather so many batches before each step: a larger batch in less memory."),
            group=group,
            allowed=(1, MOST_AT_ONCE),
        ),
        Field(
            name="single_file",
            label=_tr("As one file"),
            tip=_tr("Write the model as a single file too, as most other programs want it."),
            group=group,
        ),
        Field(
            name="seed",
            label=_tr("Seed"),
            tip=_tr("Of everything that is left to chance; the same one learns the same."),
            group=group,
            allowed=(0, MAX_SEED),
        ),
        Field(
            name="save_every",
            label=_tr("Save every"),
            tip=_tr("Steps between two checkpoints; pausing writes one too."),
            group=group,
            allowed=(0, MOST_STEPS),
            step=10,
            zero=_tr("At the end"),
        ),
        Field(
            name="keep",
            label=_tr("Keep last"),
            tip=_tr("How many of the latest checkpoints are kept."),
            group=group,
            allowed=(1, 1000),
        ),
    )


def _tr(text: str) -> str:
    return QCoreApplication.translate("TrainFields", text)
