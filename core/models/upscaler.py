"""Networks that make pictures larger: read safely, built and run by spandrel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.device import as_out_of_memory
from core.errors import ModelInvalid, Unsupported
from core.events import Notice
from core.models.reading import check_finite
from core.models.tensor_file import read_tensor_file
from core.models.torchvision_import import mend_torchvision
from core.models.upscaler_file import check_installed
from core.models.upscaler_kinds import WRAPPERS, not_larger

_COLOURS = 3

_UNREADABLE = (
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)
"""What spandrel raises where tensors do not go together as their names promise."""


class Upscaler:
    """A network that makes pictures larger by a fixed factor, in fp32.

    What a device cannot compute, or has no memory for, is computed on the CPU from then on.

    Attributes:
        path: Its file.
        sha256: Hash of that.
        factor: How many times larger it makes a side.
        fell_back: Whether the CPU ever had to help.
    """

    def __init__(self, path: Path, sha256: str, network: Any, device: torch.device) -> None:
        """Use a network.

        Args:
            path: Its file.
            sha256: Hash of that.
            network: spandrel's ``ImageModelDescriptor``.
            device: Where to compute.
        """
        self.path = path
        self.sha256 = sha256
        self.factor: int = network.scale
        self.fell_back = False
        self._network = network.to(device=device, dtype=torch.float32).eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, picture: Tensor) -> Tensor:
        """Make a picture larger, all of it at once.

        Args:
            picture: ``(1, 3, H, W)``, fp32, 0 to 1.

        Returns:
            ``(1, 3, H * factor, W * factor)``, fp32, on the CPU, 0 to 1.

        Raises:
            ModelInvalid: If what the network gives is not finite.
        """
        try:
            larger = self._larger(picture)
        except RuntimeError as error:
            cannot = isinstance(error, NotImplementedError) or as_out_of_memory(error) is not None
            if self._device.type == "cpu" or not cannot:
                raise
            larger = None
        # Behind the handler, whose error holds on to what the network had in memory.
        if larger is None:
            self.fell_back = True
            self._device = torch.device("cpu")
            self._network.to(device=self._device)
            larger = self._larger(picture)
        if not bool(torch.isfinite(larger).all()):
            raise ModelInvalid(
                f"{self.path} gives numbers that are not finite; it is damaged, download it again."
            )
        return larger

    def _larger(self, picture: Tensor) -> Tensor:
        with _quietly():
            return torch.as_tensor(self._network(picture.to(self._device)).cpu())

    def notices(self) -> Iterator[Notice]:
        """Say so if the CPU had to help."""
        if self.fell_back:
            yield Notice(
                message=f"The device could not compute {self.path.name} or had no memory for it, "
                "so it was computed on the CPU, which is slower."
            )


def load_upscaler(path: Path, sha256: str, device: torch.device) -> Upscaler:
    """Load the file of an ESRGAN-type network.

    Args:
        path: A safetensors file or a pickle of tensors, in any of the forms that spandrel knows.
        sha256: Its hash.
        device: Where to compute.

    Raises:
        ModelInvalid: If it is damaged or its tensors do not go together.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        Unsupported: If it makes no picture of three colours larger, or spandrel is not installed or
            does not know it.
    """
    check_installed(path)
    values, _ = read_tensor_file(path)
    tensors = _innermost(values)
    if not tensors:
        raise ModelInvalid(f"{path} holds no named tensors; choose another file.")
    check_finite(path, tensors.items())
    network = _built(path, tensors)
    if network.purpose != "SR" or network.scale < 2:
        name = f"{network.architecture.name} ({network.purpose}, {network.scale}x)"
        raise not_larger(path, f"a network of the kind {name}")
    if (network.input_channels, network.output_channels) != (_COLOURS, _COLOURS):
        raise Unsupported(
            f"{path} reads {network.input_channels} and gives {network.output_channels} colours; "
            f"this version takes upscalers of {_COLOURS}."
        )
    return Upscaler(path, sha256, network, device)


def _built(path: Path, tensors: dict[str, Tensor]) -> Any:
    """Let spandrel find out by the tensors what the network is, and build it."""
    mend_torchvision()
    import spandrel

    try:
        with _quietly():
            return spandrel.ModelLoader().load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as error:
        raise Unsupported(
            f"{path} is an upscaler of a kind that spandrel {spandrel.__version__} does not know; "
            "choose another one."
        ) from error
    except _UNREADABLE as error:
        if isinstance(error, RuntimeError) and as_out_of_memory(error) is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelInvalid(f"{path} cannot be loaded ({reason}); download it again.") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep from the terminal what the networks' code warns of, which is old and meant for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _innermost(values: dict[str, Any]) -> dict[str, Tensor]:
    """Take the tensors out of what training code wraps them in, dictionaries or words."""
    for wrapper in (*WRAPPERS, "state_dict."):
        inner = values.get(wrapper.removesuffix("."))
        if isinstance(inner, dict):
            return _innermost({str(name): value for name, value in inner.items()})
    for wrapper in WRAPPERS:
        part = {n.removeprefix(wrapper): v for n, v in values.items() if n.startswith(wrapper)}
        if part:
            return _innermost(part)
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
