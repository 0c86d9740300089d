"""A model as diffusers saves a pipeline: ``model_index.json`` and a folder for each component.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, UnsafeFile, Unsupported
from core.models.fingerprint import numbered
from core.models.folder_files import read_json, weight_files
from core.models.foreign import PIPELINES as FOREIGN_PIPELINES
from core.models.lone_folder import adapter_file, recognise_component
from core.models.parts import TEXT_ENCODERS, Parts, tokenizer_of
from core.models.recognise import no_whole_model, recognise
from core.models.safetensors_header import TensorInfo
from core.models.tensor_list import read_tensors

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
XL_PIPELINES = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLImg2ImgPipeline",
)
LIBRARIES = ("diffusers", "transformers")
COMPONENT_CLASSES = {
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
}
WEIGHT_STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


def read_folder(folder: Path) -> Parts:
    """Read the small files of a model's folder and the headers of its weights.

    Raises:
        ModelInvalid: If a file is missing or damaged.
        Unsupported: If it is a sound model of a kind that is not run; it is named.
        UnsafeFile: If its weights are pickles that ask for more than tensors, or it asks for code
            of its own.
    """
    _check_whole(folder)
    index = read_json(folder / "model_index.json")
    components = _check_index(folder, index)
    configs = {name: read_json(folder / name / "config.json") for name in components}
    configs["pipeline"] = index
    configs["scheduler"] = read_json(folder / "scheduler" / "scheduler_config.json")
    for name in components:
        if name in TEXT_ENCODERS:
            _check_tokenizer(folder / tokenizer_of(name))
    weights: dict[str, Path] = {}
    headers: dict[str, Mapping[str, TensorInfo]] = {}
    for name in components:
        files = weight_files(folder / name, WEIGHT_STEMS[name])
        weights |= numbered(name, files)
        headers[name] = _joined(files)
    return Parts(
        path=folder,
        configs=configs,
        headers=headers,
        weights=weights,
        metadata={},
        layout=None,
    )


def _check_whole(folder: Path) -> None:
    """Refuse a folder that holds a component or an adapter alone.

    Raises:
        Unsupported: Naming it.
    """
    if (folder / "model_index.json").is_file():
        return
    if (file := adapter_file(folder)) is not None:
        raise no_whole_model(file, recognise(file, read_tensors(file)))
    if (folder / "config.json").is_file():
        raise no_whole_model(folder, recognise_component(folder)[0])


def _joined(files: tuple[Path, ...]) -> Mapping[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        tensors |= read_tensors(file).tensors
    return tensors


def _check_index(folder: Path, index: Mapping[str, Any]) -> tuple[str, ...]:
    """Check what ``model_index.json`` wants, and give the components that have weights."""
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES + XL_PIPELINES:
        name = FOREIGN_PIPELINES.get(str(pipeline), f"a {pipeline}")
        raise Unsupported(
            f"{folder} is {name} ({pipeline}); this version runs Stable Diffusion 1.x, 2.x and XL."
        )
    encoders = TEXT_ENCODERS if pipeline in XL_PIPELINES else TEXT_ENCODERS[:1]
    if pipeline in XL_PIPELINES and not _is_named(index, TEXT_ENCODERS[0]):
        # SDXL's refiner has the second one alone.
        encoders = TEXT_ENCODERS[1:]
    wanted = (*encoders, "unet", "vae")
    for name in (*wanted, *map(tokenizer_of, encoders), "scheduler"):
        _check_entry(folder, index, name)
    return wanted


def _is_named(index: Mapping[str, Any], name: str) -> bool:
    entry = index.get(name)
    return isinstance(entry, list) and len(entry) == 2 and None not in entry


def _check_entry(folder: Path, index: Mapping[str, Any], name: str) -> None:
    if not _is_named(index, name):
        raise ModelInvalid(
            f"{folder / 'model_index.json'} names no {name}; save the model again in full."
        )
    library, cls = index[name]
    if library not in LIBRARIES:
        raise UnsafeFile(
            f"{folder / 'model_index.json'} wants its {name} from {library!r}, which is code "
            "that comes with the model; only diffusers' and transformers' own are run."
        )
    if cls != COMPONENT_CLASSES.get(name, cls):
        raise Unsupported(
            f"{folder} has a {name} of class {cls}; this version runs {COMPONENT_CLASSES[name]}."
        )


def _check_tokenizer(folder: Path) -> None:
    has_parts = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not has_parts and not (folder / "tokenizer.json").is_file():
        raise ModelInvalid(
            f"{folder} holds neither vocab.json with merges.txt nor tokenizer.json; copy the "
            "tokenizer of the model that this one was made from."
        )
