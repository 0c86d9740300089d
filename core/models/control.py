"""ControlNets in memory: loaded when a request first wants them, kept until one does not."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor, nn

from core.errors import ModelInvalid
from core.events import Event, Loading
from core.models.control_file import ControlFile
from core.models.load_single_file import build_empty, fill, original_tensors
from core.models.reading import Readable, check_finite, quietly
from core.models.recognise import CONTROL


class ControlNets:
    """The ControlNets that a loaded model works with, by their hashes."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Load nothing yet.

        Args:
            device: Where the weights will go.
            dtype: Their number format.
        """
        self._device = device
        self._dtype = dtype
        self._nets: dict[str, nn.Module] = {}

    def __getitem__(self, sha256: str) -> nn.Module:
        """Give a ControlNet in use."""
        return self._nets[sha256]

    @property
    def held(self) -> int:
        """Bytes of the weights that are in memory now."""
        return sum(w.nbytes for net in self._nets.values() for w in net.state_dict().values())

    def use(self, files: Mapping[str, ControlFile]) -> Generator[Event, None, None]:
        """Have these in memory and no others.

        Yields:
            ``Loading`` before a ControlNet is read.

        Raises:
            ModelInvalid: If a file is damaged or its tensors are not those of such a ControlNet.
            UnsafeFile: If it is a pickle that asks for more than tensors.
        """
        self._nets = {sha256: net for sha256, net in self._nets.items() if sha256 in files}
        for sha256, file in files.items():
            if sha256 not in self._nets:
                yield Loading(what=f"the ControlNet {file.path.name}")
                self._nets[sha256] = load_control(file, self._dtype).to(self._device).eval()


def load_control(file: ControlFile, dtype: torch.dtype) -> Any:
    """Load a ControlNet.

    Args:
        file: What it is, as ``find_controls`` found it.
        dtype: The number format to bring it to.

    Raises:
        ModelInvalid: If a file is damaged or its tensors are not those of such a ControlNet.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    module = build_empty(ControlNetModel, file.config, file.path)
    weights: dict[str, Tensor] = {}
    for path in file.weights.values():
        with original_tensors(path) as tensors:
            weights |= tensors.below(CONTROL) or tensors.below("")
    with quietly(), Readable(file.path):
        weights = _in_new_names(weights, file)
    fill(module, weights, dtype, file.path)
    check_finite(file.path, module.state_dict().items())
    return module


def _in_new_names(part: dict[str, Tensor], file: ControlFile) -> dict[str, Tensor]:
    """Bring tensors from the original names to diffusers', if they do not have these."""
    found = convert_controlnet_checkpoint(part, config=dict(file.config))
    weights = {name: tensor for name, tensor in found.items() if tensor is not None}
    # What diffusers' rules pass over would be missing in the pictures.
    used = {id(tensor) for tensor in weights.values()}
    unknown = [name for name, tensor in part.items() if id(tensor) not in used]
    if unknown:
        raise ModelInvalid(
            f"{file.path} has {min(unknown)}, which is no part of Stable Diffusion's ControlNets; "
            "this version cannot use it."
        )
    return weights
