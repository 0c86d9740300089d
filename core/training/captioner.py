"""Says in words what a picture shows, by any BLIP model on disk.

BLIP: Li et al. 2022, arXiv:2201.12086. Folders are read as transformers saves them; safetensors go
before a pickle, which is read as tensors only, and nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from core.device import as_out_of_memory, dtype_of, resolve_precision
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, OutOfMemory
from core.models.folder_files import read_json, weight_files
from core.models.lone_folder import CAPTIONER
from core.models.reading import Readable, check_finite, quietly
from core.models.tensor_list import read_tensors
from core.request import Precision
from core.training.caption_request import CaptionSettings

_PICKLE = "pytorch_model.bin"
_WORDS = ("tokenizer.json", "vocab.txt")
"""The files that a BERT tokenizer is read from, one of which has to be there."""
_FEWEST = 4
"""Tokens that a prefix must leave for a caption."""


@dataclass(frozen=True, slots=True)
class Captioner:
    """A BLIP model in memory.

    Attributes:
        model: The vision tower and the text decoder.
        tokenizer: BERT's.
        mean: That pictures' channels are lowered by, of values from 0 to 1.
        std: That they are divided by then.
        resample: Pillow's number of the filter that brings pictures to the model's size.
    """

    model: Any
    tokenizer: Any
    mean: Sequence[float]
    std: Sequence[float]
    resample: int

    @torch.inference_mode()
    def describe(self, picture: Image.Image, settings: CaptionSettings) -> str:
        """Write a caption: the prefix, as it was given, and what the model goes on with.

        Args:
            picture: RGB, of any size.
            settings: How.

        Raises:
            InvalidRequest: The prefix leaves no room for a caption.
            OutOfMemory: The device has not enough for it.
        """
        prefix = " ".join(settings.prefix.split())
        # BLIP's generate puts its own begin token in the first's place and drops the last.
        ids = self.tokenizer(prefix, return_tensors="pt").input_ids  # (1, T)
        given = ids.shape[1] - 1
        room = self.model.config.text_config.max_position_embeddings - given
        if room < _FEWEST:
            raise InvalidRequest("prefix", f"leaves no room for a caption: {prefix!r}; shorten it.")
        device = self.model.device
        try:
            with quietly():
                made = self.model.generate(
                    self.pixel_values(picture).to(device),
                    input_ids=ids.to(device),
                    attention_mask=torch.ones_like(ids).to(device),
                    num_beams=settings.beams,
                    max_new_tokens=min(settings.max_tokens, room),
                    do_sample=False,
                )
        except (RuntimeError, MemoryError) as error:
            if as_out_of_memory(error) is None:
                raise
            raise OutOfMemory(
                f"{device} ran out of memory over a caption; choose fewer beams, or the CPU."
            ) from error
        words = self.tokenizer.decode(made[0, given:], skip_special_tokens=True)
        return " ".join([prefix, *words.split()]).strip()

    def pixel_values(self, picture: Image.Image) -> Tensor:
        """Bring a picture to what the vision tower takes: ``(1, 3, S, S) float32``.

        As BLIP's image processor does, height and width are scaled by themselves.
        """
        side = self.model.config.vision_config.image_size
        scaled = picture.convert("RGB").resize((side, side), Image.Resampling(self.resample))
        values = torch.from_numpy(np.asarray(scaled, dtype=np.float32) / 255)  # (S, S, 3)
        values = (values - torch.tensor(self.mean)) / torch.tensor(self.std)
        return values.permute(2, 0, 1)[None].contiguous()


def load_captioner(folder: Path, device: torch.device) -> Captioner:
    """Load a BLIP model; no network is used.

    Args:
        folder: As transformers saves one for captions: ``config.json``, ``model.safetensors`` or
            ``pytorch_model.bin``, a BERT tokenizer and ``preprocessor_config.json``.
        device: Where the weights go, in half precision if that is no CPU.

    Raises:
        ModelMissing: If it is no such folder.
        ModelInvalid: If a file is missing or damaged, or is not of a BLIP model for captions.
        UnsafeFile: If the weights are a pickle that asks for more than tensors.
    """
    if not (folder / "config.json").is_file():
        raise ModelMissing(
            f"{folder} has no config.json; give the folder that a BLIP model was saved in."
        )
    _check_kind(folder, read_json(folder / "config.json"))
    if not any((folder / name).is_file() for name in _WORDS):
        raise ModelInvalid(f"{folder / _WORDS[0]} is missing; download the model again.")
    pictures = _picture_settings(folder)
    dtype = dtype_of(resolve_precision(Precision.AUTO, device))
    pickled = _has_only_a_pickle(folder)
    with quietly(), Readable(folder):
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        model, found = BlipForConditionalGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=not pickled,
            dtype=dtype,
            output_loading_info=True,
        )
    lacking = sorted(found["missing_keys"])
    if lacking:
        raise ModelInvalid(f"{folder} lacks the weights {lacking[0]}; download the model again.")
    check_finite(folder, model.named_parameters())
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise ModelInvalid(
            f"{folder} has a tokenizer of {len(tokenizer)} words and weights for "
            f"{model.config.text_config.vocab_size}; they are not of one model."
        )
    return Captioner(model.to(device).eval(), tokenizer, *pictures)


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Make sure that a configuration is that of a BLIP model that writes captions.

    Raises:
        ModelInvalid: It is of another.
    """
    kinds = config.get("architectures") or [CAPTIONER]
    if config.get("model_type") == "blip" and CAPTIONER in kinds:
        return
    what = ", ".join(map(str, kinds)) if config.get("architectures") else config.get("model_type")
    raise ModelInvalid(
        f"{folder} is {what or 'no model that is known'}; captions need {CAPTIONER}, as in "
        "Salesforce/blip-image-captioning-base."
    )


def _has_only_a_pickle(folder: Path) -> bool:
    """Tell whether weights have to be read from a pickle, after a look through it.

    Raises:
        ModelInvalid: There are none, or they are damaged.
        UnsafeFile: The pickle asks for more than tensors.
    """
    whole = folder / "model.safetensors"
    if not (folder / _PICKLE).is_file() or whole.is_file():
        for path in weight_files(folder, "model"):
            read_tensors(path)
        return False
    read_tensors(folder / _PICKLE)
    return True


def _picture_settings(folder: Path) -> tuple[Sequence[float], Sequence[float], int]:
    """Read how pictures are prepared: mean, deviation and filter.

    Raises:
        ModelInvalid: It is not said, or is not of three channels.
    """
    path = folder / "preprocessor_config.json"
    if path.is_file() or not (folder / "processor_config.json").is_file():
        values = read_json(path)
    else:
        path = folder / "processor_config.json"
        values = read_json(path).get("image_processor", {})
    mean, std = values.get("image_mean"), values.get("image_std")
    resample = values.get("resample", Image.Resampling.BICUBIC)
    if not _are_channels(mean) or not _are_channels(std) or 0 in std or resample not in range(6):
        raise ModelInvalid(f"{path} does not say how pictures are prepared; download it again.")
    return mean, std, resample


def _are_channels(values: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(value, int | float) for value in values)
    )
