"""torchvision made importable where its compiled half does not fit the torch that is installed."""

from __future__ import annotations

import importlib
import importlib.util

import torch

from core.errors import Unsupported

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators that torchvision's Python half takes for granted, by their signatures
(https://github.com/pytorch/vision/blob/main/torchvision/_meta_registrations.py)."""

_declared: list[torch.library.Library] = []
"""Kept for as long as the process lives: a declaration goes with its library."""


def mend_torchvision() -> None:
    """Import torchvision, if it is installed, without its compiled operators if need be.

    A torchvision that was built for another torch (for CUDA beside a torch for the CPU) does not
    load its own library, is silent about it, and then fails over operators that "do not exist".
    diffusers and transformers import it wherever they find it, so they would fail with it, though
    neither they nor the upscalers use these operators. Declared without an implementation, they
    are enough for the import. A torchvision that loads is left alone.

    Call it before diffusers is imported for the first time.

    WORKAROUND(https://github.com/pytorch/pytorch/issues/157648)

    Raises:
        Unsupported: If it cannot be imported all the same.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise _unusable(error) from error
    except ImportError as error:
        raise _unusable(error) from error
    library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in _MISSING:
        library.define(signature)
    _declared.append(library)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> Unsupported:
    reason = str(error).partition("\n")[0]
    return Unsupported(
        f"The torchvision that is installed does not go with torch {torch.__version__} ({reason}); "
        "install the one that was made for it, or remove it by pip uninstall torchvision spandrel."
    )
