"""What a file or folder is, told before a byte of its weights is read. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import ModelInvalid, ModelMissing
from core.models.embedding_card import card_header, is_card
from core.models.exported import PACKAGES, is_exported, part_alone
from core.models.families import DISTILLATION_TITLES, Distillation, named_distillation
from core.models.fingerprint import numbered
from core.models.identify import Identity, identify
from core.models.lone_folder import adapter_file, recognise_component
from core.models.recognise import FAMILY_TITLES, recognise
from core.models.safetensors_header import precision_of
from core.models.single_file import is_single_file_model
from core.models.tensor_list import read_tensors
from core.models.unet_layout import smaller_name


class Kind(StrEnum):
    """What a file is good for."""

    MODEL = "model"
    LORA = "lora"
    EMBEDDING = "embedding"
    VAE = "vae"
    CONTROLNET = "controlnet"
    UPSCALER = "upscaler"
    CAPTIONER = "captioner"

    @property
    def noun(self) -> str:
        """What it is called in a sentence."""
        names = {Kind.LORA: "LoRA", Kind.VAE: "VAE", Kind.CONTROLNET: "ControlNet"}
        return names.get(self, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a file or folder is.

    Attributes:
        path: Where it lies.
        kind: What it is good for.
        family: The architecture it belongs to: ``sd1``, ``sd2``, ``sdxl``, ``sdxl-refiner``,
            ``blip`` or ``custom``.
        title: For people, such as ``"Stable Diffusion 1.x inpainting model"``.
        weights: Its weight files by the names that they have in its hash, see
            ``Fingerprints.of_model``.
        distillation: How a model or LoRA came to need few steps, if its file or its name tells:
            a value of ``Distillation``, else ``none``.
        inpainting: Whether it is a model that takes a mask.
        prediction_type: What a model predicts; empty for anything else.
        precision: The number format of most of its weights, a model's UNet's: ``"fp16"``.
    """

    path: Path
    kind: Kind
    family: str
    title: str
    weights: Mapping[str, Path]
    distillation: str = "none"
    inpainting: bool = False
    prediction_type: str = ""
    precision: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Its weight files, each once."""
        return tuple(dict.fromkeys(self.weights.values()))


def judge(path: Path) -> Verdict:
    """Say what a file or folder is.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged, incomplete or contradicts itself.
        Unsupported: If it is sound and of a kind that this version does not run; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors, or it brings code.
    """
    try:
        return _judged(path)
    except OSError as error:
        raise ModelInvalid(
            f"{error.filename or path} cannot be looked at ({error.strerror or error}); check its "
            "name, and that you may read it."
        ) from error


def _judged(path: Path) -> Verdict:
    if not path.exists():
        raise ModelMissing(f"{path} is not there; check its name.")
    if path.is_dir():
        return _judge_folder(path)
    header = card_header(path) if is_card(path) else read_tensors(path)
    if is_single_file_model(header.tensors):
        return _model(identify(path))
    found = recognise(path, header)
    how, title = Distillation.NONE, found.title
    if found.kind == Kind.LORA:
        how = named_distillation(path, header.metadata)
    if how is not Distillation.NONE:
        title += f", {DISTILLATION_TITLES[how]} by its name"
    return Verdict(
        path=path,
        kind=Kind(found.kind),
        family=found.family,
        title=title,
        weights={found.kind: path},
        distillation=how.value,
        precision=precision_of(header.tensors.values()),
    )


def _judge_folder(folder: Path) -> Verdict:
    if folder.suffix in PACKAGES:
        raise part_alone(folder)
    if (folder / "model_index.json").is_file() or is_exported(folder):
        return _model(identify(folder))
    if (file := adapter_file(folder)) is not None:
        return judge(file)
    if not (folder / "config.json").is_file():
        raise ModelInvalid(
            f"{folder / 'model_index.json'} is missing, which a model's folder has, and so is "
            "config.json, which that of a VAE or ControlNet has; give a complete folder or a file."
        )
    found, files = recognise_component(folder)
    return Verdict(
        path=folder,
        kind=Kind(found.kind),
        family=found.family,
        title=found.title,
        weights=numbered(found.kind, files),
        precision=precision_of(
            info for file in files for info in read_tensors(file).tensors.values()
        ),
    )


def _model(identity: Identity) -> Verdict:
    words = [FAMILY_TITLES[identity.family.value]]
    if smaller := smaller_name(identity.configs["unet"]):
        words.append(smaller)
    if identity.inpainting:
        words.append("inpainting")
    if identity.distillation is not Distillation.NONE:
        words.append(DISTILLATION_TITLES[identity.distillation])
    if identity.exported is not None:
        words.append(identity.exported.title)
    return Verdict(
        path=identity.path,
        kind=Kind.MODEL,
        family=identity.family.value,
        title=f"{' '.join(words)} model",
        weights=identity.weights,
        distillation=identity.distillation.value,
        inpainting=identity.inpainting,
        prediction_type=identity.prediction_type.value,
        precision=identity.precision,
    )
