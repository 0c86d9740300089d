"""A model as a folder, as diffusers saves a pipeline, whole or not at all.

Everything that diffusers and transformers need of a folder is written here and not by their own
``save_pretrained``, whose names of tensors and files change with their versions: those written are
the ones that older versions read too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch

from core.errors import ModelInvalid
from core.files import new_folder, replace_file, replacing
from core.models.catalog import SETTINGS_FILE
from core.models.components import Components, TextTower
from core.models.folder_files import read_json, weight_files
from core.models.identify import TINY_VAE_FOLDERS, Identity
from core.models.model_folder import COMPONENT_CLASSES, WEIGHT_STEMS
from core.models.original_names import text_name
from core.models.parts import tokenizer_of
from core.models.writing.contents import Contents
from core.sampling import linear_preview

_KEPT_FOLDERS = {
    "feature_extractor": "",
    "image_encoder": "model",
    **dict.fromkeys(TINY_VAE_FOLDERS, "diffusion_pytorch_model"),
}
"""Parts of a model that are not trained and taken over as they are, by what their weights are
called."""

_KEPT_FILES = ("clip_projection.safetensors", "LICENSE", "LICENSE.md", "LICENSE.txt")

_NONE = [None, None]


def write_folder(
    folder: Path,
    components: Components,
    *,
    dtype: torch.dtype,
    title: str = "",
    metadata: Mapping[str, str],
) -> None:
    """Write a model as a new folder.

    What the folder that it came from has beside its trained parts is taken over: the settings and
    the preview of ours, an image encoder, a tiny decoder, and the license. A safety checker is not.

    Args:
        folder: Where; nothing is there yet.
        components: The model, all of it in memory.
        dtype: Number format of the weights.
        title: What the model is called, for people; empty leaves it unsaid.
        metadata: What the UNet's file says of itself; see ``kohya_metadata``.

    Raises:
        SaveFailed: If something is there already, or nothing can be written there.
        ModelInvalid: If what is taken over cannot be read.
    """
    with new_folder(folder) as unfinished:
        _write_modules(unfinished, components, dtype, metadata)
        for tower in components.text_towers:
            _write_tokenizer(unfinished / tokenizer_of(tower.name), tower)
        schedule = {"_diffusers_version": diffusers.__version__, **components.scheduler_config}
        _write_json(unfinished / "scheduler" / "scheduler_config.json", schedule)
        source = None if components.identity.single_file else components.identity.folder
        kept = set(_keep(source, unfinished)) if source is not None else set()
        _write_json(unfinished / "model_index.json", _index(components, kept))
        _write_settings(source, unfinished, title)
        _write_preview(source, unfinished, components)


def _write_modules(
    folder: Path, components: Components, dtype: torch.dtype, metadata: Mapping[str, str]
) -> None:
    modules: dict[str, Any] = {tower.name: tower.encoder for tower in components.text_towers}
    modules |= {"unet": components.unet, "vae": components.vae}
    for name, module in modules.items():
        notes = {"format": "pt", **(metadata if name == "unet" else {})}
        is_text = name.startswith("text_encoder")
        tensors = {text_name(k) if is_text else k: t for k, t in module.state_dict().items()}
        config = _text_config(name, module, dtype) if is_text else _config(module)
        path = folder / name / f"{WEIGHT_STEMS[name]}.safetensors"
        Contents(tensors, dtype).write(path, notes)
        _write_json(path.with_name("config.json"), config)


def _text_config(name: str, module: Any, dtype: torch.dtype) -> dict[str, Any]:
    config: dict[str, Any] = module.config.to_dict()
    config.pop("dtype", None)
    return _without_origin(config) | {
        "architectures": [COMPONENT_CLASSES[name]],
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _config(module: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(module.to_json_string())
    return _without_origin(config)


def _without_origin(config: dict[str, Any]) -> dict[str, Any]:
    """Take the folder that a part was loaded from out of its configuration."""
    return {name: value for name, value in config.items() if name != "_name_or_path"}


def _write_tokenizer(folder: Path, tower: TextTower) -> None:
    """Write CLIP's byte-pair encoder in the files that every version of transformers reads."""
    tokenizer: Any = tower.tokenizer
    vocabulary, pairs = vocabulary_of(tokenizer)
    _write_json(folder / "vocab.json", vocabulary)
    replace_file(folder / "merges.txt", merges_text(pairs).encode())
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: str(getattr(tokenizer, name)) for name in names}
    _write_json(folder / "special_tokens_map.json", special)
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": tokenizer.model_max_length,
        "errors": "replace",
        **special,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def vocabulary_of(tokenizer: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Give the tokens' numbers of a byte-pair encoder, and the pairs that it merges, in order."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return dict(model["vocab"]), [(left, right) for left, right in pairs]


def merges_text(pairs: Sequence[tuple[str, str]]) -> str:
    """Give the text of ``merges.txt``."""
    return "\n".join(("#version: 0.2", *map(" ".join, pairs), ""))


def _index(components: Components, kept: set[str]) -> dict[str, Any]:
    """Make what ``model_index.json`` says: the pipeline, and the class of each part."""
    identity = components.identity
    own = identity.configs.get("pipeline", {})
    index: dict[str, Any] = {
        name: value for name, value in own.items() if not isinstance(value, list | str)
    }
    for name in ("feature_extractor", "image_encoder"):
        index[name] = own.get(name, _NONE) if name in kept else _NONE
    if not identity.needs_size:
        index |= {"safety_checker": _NONE, "requires_safety_checker": False}
    for tower in components.text_towers:
        index[tower.name] = ["transformers", COMPONENT_CLASSES[tower.name]]
        index[tokenizer_of(tower.name)] = ["transformers", "CLIPTokenizer"]
    if identity.is_scored:
        index |= {"text_encoder": _NONE, "tokenizer": _NONE}
    return index | {
        "_class_name": own.get("_class_name") or _pipeline(identity),
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", components.scheduler_config["_class_name"]],
        "unet": ["diffusers", COMPONENT_CLASSES["unet"]],
        "vae": ["diffusers", COMPONENT_CLASSES["vae"]],
    }


def _pipeline(identity: Identity) -> str:
    """Name the pipeline of a model that came from one file."""
    if identity.guidance_embedding and not identity.needs_size:
        return "LatentConsistencyModelPipeline"
    kind = "Img2Img" if identity.is_scored else "Inpaint" if identity.inpainting else ""
    return f"StableDiffusion{'XL' if identity.needs_size else ''}{kind}Pipeline"


def _keep(source: Path, folder: Path) -> Iterator[str]:
    """Take over what is not trained; give the names of the parts among it."""
    for name, stem in _KEPT_FOLDERS.items():
        files = sorted((source / name).glob("*.json"))
        if not files:
            continue
        if stem:
            files = [source / name / "config.json", *weight_files(source / name, stem)]
        for file in files:
            _copy(file, folder / name / file.name)
        yield name
    for name in _KEPT_FILES:
        if (source / name).is_file():
            _copy(source / name, folder / name)


def _copy(source: Path, target: Path) -> None:
    try:
        old = source.open("rb")
    except OSError as error:
        raise ModelInvalid(
            f"{source} cannot be read ({error.strerror or error}); get the model again."
        ) from error
    with old, replacing(target) as new:
        shutil.copyfileobj(old, new, 1 << 20)


def _write_settings(source: Path | None, folder: Path, title: str) -> None:
    """Write the good settings of the model that this one was made from, under its own title."""
    path = source / SETTINGS_FILE if source is not None else None
    settings = read_json(path) if path is not None and path.is_file() else {}
    settings |= {"title": title} if title else {}
    if settings:
        _write_json(folder / SETTINGS_FILE, settings)


def _write_preview(source: Path | None, folder: Path, components: Components) -> None:
    """Write the fit to the VAE, which is the same one in another file."""
    if source is None:
        return
    made = linear_preview.read(source / linear_preview.FILE_NAME, components.vae_sha256)
    if made is None:
        return
    with (folder / "vae" / f"{WEIGHT_STEMS['vae']}.safetensors").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    linear_preview.write(replace(made, vae_sha256=sha256), folder / linear_preview.FILE_NAME)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(path, text.encode())
