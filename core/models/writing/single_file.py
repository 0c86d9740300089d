"""A whole model as one file under Stable Diffusion's original names.

Such a file says little of how its modules are built. What is written is therefore identified
first, as it would be when it is read, and refused if another model would come of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig

from core.errors import ModelInvalid, Unsupported
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.components import Components
from core.models.families import Family, PredictionType
from core.models.identify import Identity, identity_of
from core.models.load_single_file import PAD_TOKENS
from core.models.safetensors_header import Header
from core.models.single_file import CONFIGS, parts_of
from core.models.writing.contents import Contents
from core.models.writing.original_layout import in_original_layout


def write_single_file(
    path: Path,
    components: Components,
    *,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
    configs: Path = CONFIGS,
) -> None:
    """Write a model as one file.

    Args:
        path: The file, ``.safetensors``.
        components: The model, all of it in memory.
        dtype: Number format of the file.
        metadata: What the file says of itself; see ``kohya_metadata``. What the model predicts, its
            size and the hash are added.
        configs: Folder of the families' configurations by which it will be read.

    Raises:
        Unsupported: If the model has anything that such a file cannot tell.
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
    """
    contents, notes = _checked(path, components, dtype, metadata, configs)
    contents.write(path, {**notes, "modelspec.hash_sha256": f"0x{contents.sha256()}"})


def check_single_file(components: Components, configs: Path = CONFIGS) -> None:
    """Make sure that a model can be written as one file.

    Args:
        components: The model.
        configs: Folder of the families' configurations by which it would be read.

    Raises:
        Unsupported: If it has anything that such a file cannot tell; the message names it.
    """
    _checked(components.identity.path, components, torch.float16, {}, configs)


def _checked(
    path: Path,
    components: Components,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
    configs: Path,
) -> tuple[Contents, dict[str, str]]:
    """Give the contents of the file and what it says of itself, if the model comes of it again."""
    identity = components.identity
    if identity.family is Family.CUSTOM:
        raise _cannot(identity, "its size")
    contents = _contents(components, dtype)
    notes = {**metadata, **_notes(components)}
    try:
        again = identity_of(parts_of(path, Header(contents.infos(), notes), configs))
    except (ModelInvalid, Unsupported) as error:
        raise _cannot(identity, "its size") from error
    if (what := next(_differences(components, again), None)) is not None:
        raise _cannot(identity, what)
    return contents, notes


def _cannot(identity: Identity, what: str) -> Unsupported:
    return Unsupported(
        f"{identity.path} differs from Stable Diffusion's published models in {what}, which one "
        "file cannot tell; keep the model as a folder."
    )


def _contents(components: Components, dtype: torch.dtype) -> Contents:
    modules = {tower.name: tower.encoder for tower in components.text_towers}
    modules |= {"unet": components.unet, "vae": components.vae}  # type: ignore[dict-item]
    tensors = in_original_layout(modules, components.identity.family.value)
    # Programs know by these names, of tensors without numbers, what the file would not tell.
    if _prediction_type(components) == PredictionType.V and components.identity.needs_size:
        tensors["v_pred"] = torch.zeros(0)
    if _ends_in_noise(components):
        tensors["ztsnr"] = torch.zeros(0)
    return Contents(tensors, dtype)


def _notes(components: Components) -> dict[str, str]:
    prediction, identity = _prediction_type(components), components.identity
    return {
        "modelspec.prediction_type": "v" if prediction == PredictionType.V else prediction,
        "modelspec.resolution": f"{identity.width}x{identity.height}",
    }


def _prediction_type(components: Components) -> str:
    return str(components.scheduler_config.get("prediction_type", PredictionType.EPSILON.value))


def _ends_in_noise(components: Components) -> bool:
    return bool(components.scheduler_config.get("rescale_betas_zero_snr"))


_NOISE = {
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
    "trained_betas": None,
}
"""What a noise schedule is made of, with diffusers' values where a configuration is silent."""

_TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "hidden_act", "layer_norm_eps",
)  # fmt: skip
"""What a text encoder's configuration says of what it computes."""

_NOT_COMPARED = {
    # Heads are compared by the identity; the tensors' names tell of layers.
    "unet": {
        "sample_size", "upcast_attention", "dropout", "attention_head_dim", "num_attention_heads",
        "transformer_layers_per_block", "reverse_transformer_layers_per_block",
    },
    "vae": {"sample_size", "force_upcast"},
}  # fmt: skip


def _differences(components: Components, again: Identity) -> Iterator[str]:
    """Name what would be lost with a file that is identified as ``again``."""
    identity, schedule = components.identity, components.scheduler_config
    if again.family is not identity.family:
        yield "its size"
    if again.prediction_type != _prediction_type(components):
        yield "what it predicts"
    found = again.configs["scheduler"]
    if any(found.get(key, usual) != schedule.get(key, usual) for key, usual in _NOISE.items()):
        yield "its noise schedule"
    if again.attention_heads != identity.attention_heads:
        yield "its attention heads"
    for name in ("unet", "vae"):
        module: Any = getattr(components, name)
        own, read = (_built_by(type(module), c) for c in (module.config, again.configs[name]))
        for key in own.keys() - _NOT_COMPARED[name]:
            if own[key] != read[key]:
                yield f"the {key} of its {name}"
    yield from _text_differences(components, again)


def _text_differences(components: Components, again: Identity) -> Iterator[str]:
    identity = components.identity
    if components.text_uses_mask or again.zeros_for_empty != identity.zeros_for_empty:
        yield "how it reads prompts"
    pad_tokens = PAD_TOKENS[identity.family]
    for tower, pad_token in zip(components.text_towers, pad_tokens, strict=True):
        own: Any = tower.encoder.config
        read = CLIPTextConfig(**again.configs[tower.name])
        if any(getattr(own, key) != getattr(read, key) for key in _TEXT):
            yield f"its {tower.name}"
        tokenizer: Any = tower.tokenizer
        usual = bundled_tokenizer(pad_token)
        if tokenizer.pad_token != pad_token or tokenizer.get_vocab() != usual.get_vocab():
            yield "its words"


def _built_by(cls: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Give all that a module is built by, the class's values where its configuration is silent."""
    parameters = inspect.signature(cls.__init__).parameters
    built = {
        name: config.get(name, parameter.default)
        for name, parameter in parameters.items()
        if name != "self"
    }
    return {name: list(v) if isinstance(v, tuple) else v for name, v in built.items()}
