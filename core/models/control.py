"""ControlNets in memory: loaded when a request first wants them, kept until one does not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor, nn

from core.compute_units import ComputeUnits
from core.coreml_folder import ExportFormat
from core.errors import ModelInvalid
from core.events import Event, Loading
from core.models.components import Components
from core.models.control_file import ControlFile, FoundControl
from core.models.exported_control import ExportedControl
from core.models.load_exported import Open, load_exported_control
from core.models.load_single_file import build_empty, fill, original_tensors
from core.models.reading import Readable, check_finite, quietly
from core.models.recognise import CONTROL

Opening = Callable[[ExportFormat], Open]
"""Gives what opens the parts of a format."""

_PREFIX = "control."
"""Begins the names of exported ControlNets among a model's parts."""


class ControlNets:
    """The ControlNets that a loaded model works with, by their hashes."""

    def __init__(self, components: Components) -> None:
        """Load nothing yet.

        Args:
            components: The model.
        """
        self._components = components
        self._nets: dict[str, tuple[FoundControl, nn.Module]] = {}

    def __getitem__(self, sha256: str) -> nn.Module:
        """Give a ControlNet in use."""
        return self._nets[sha256][1]

    @property
    def held(self) -> int:
        """Bytes of the weights that are in memory now, beside those in the model's residence."""
        nets = (net for _, net in self._nets.values())
        return sum(w.nbytes for net in nets for w in net.state_dict().values())

    def use(
        self, files: Mapping[str, FoundControl], opening: Opening
    ) -> Generator[Event, None, None]:
        """Have these in memory and no others.

        Args:
            files: The ControlNets by their hashes.
            opening: Gives what opens those that are exported.

        Yields:
            ``Loading`` before a ControlNet is read.

        Raises:
            ModelInvalid: If a file is damaged or its tensors are not those of such a ControlNet.
            UnsafeFile: If it is a pickle that asks for more than tensors.
            PartNotLoaded: If an exported one does not become ready, or not in time.
        """
        for sha256, (file, _) in [*self._nets.items()]:
            if sha256 not in files or _way(files[sha256]) != _way(file):
                del self._nets[sha256]
                self._components.residence.drop(_PREFIX + sha256)
        for sha256, file in files.items():
            if sha256 not in self._nets:
                net = yield from self._loaded(sha256, file, opening)
                self._nets[sha256] = (file, net)

    def _loaded(
        self, sha256: str, file: FoundControl, opening: Opening
    ) -> Generator[Event, None, nn.Module]:
        components = self._components
        if isinstance(file, ExportedControl):
            name = _PREFIX + sha256
            opener = opening(file.format)
            return (yield from load_exported_control(name, file, opener, components.residence))
        yield Loading(what=f"the ControlNet {file.path.name}")
        net: nn.Module = load_control(file, components.dtype).to(components.device).eval()
        return net


def _way(file: FoundControl) -> tuple[ComputeUnits, str] | None:
    """Give what the same exported ControlNet can be opened in more than one of."""
    return (file.units, file.function) if isinstance(file, ExportedControl) else None


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
