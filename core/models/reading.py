"""How libraries are called on files: quietly, and with one sentence for what they raise."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor

from core.device import as_out_of_memory
from core.errors import ModelInvalid, UnsafeFile

_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


class Readable:
    """Says which file it was if a library cannot read it."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn what the libraries raise on damaged files into ``ModelInvalid``.

        Memory that ran out is not the file's fault and passes. Tokenizers raises ``Exception``
        itself and nothing narrower.
        """
        if isinstance(error, RuntimeError) and as_out_of_memory(error) is not None:
            return
        if isinstance(error, pickle.UnpicklingError):
            raise UnsafeFile(
                f"{self._path} is a pickle that asks for more than tensors; nothing of it was run. "
                "Get it as safetensors."
            ) from error
        if type(error) is Exception or isinstance(error, _UNREADABLE):
            why = str(error).partition("\n")[0] or type(error).__name__
            raise ModelInvalid(
                f"{self._path} cannot be loaded ({why}); download it again."
            ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the libraries' progress bars and chatter from the terminal."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()


def check_finite(path: Path, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Make sure that weights are numbers.

    The sum of finite numbers of this size is finite, and one sum is cheaper than asking each.

    Raises:
        ModelInvalid: Naming the first that are not.
    """
    floats = [(name, tensor) for name, tensor in weights if tensor.is_floating_point()]
    if not floats:
        return
    with torch.inference_mode():
        # In fp32 at least: half precision would overflow.
        sums = [
            tensor.sum(dtype=max(tensor.dtype, torch.float32, key=lambda t: t.itemsize)).float()
            for _, tensor in floats
        ]
        finite = torch.isfinite(torch.stack(sums)).tolist()
    for (name, _), is_finite in zip(floats, finite, strict=True):
        if not is_finite:
            raise ModelInvalid(
                f"{path} holds numbers that are not finite, in {name}; it is damaged or its "
                "training failed, get it again."
            )
