"""What a file or folder is, told before a byte of its weights is read. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.models.identify import identify


class Kind(StrEnum):
    """What a file is good for."""

    MODEL = "model"
    LORA = "lora"
    EMBEDDING = "embedding"
    VAE = "vae"
    CONTROLNET = "controlnet"
    UPSCALER = "upscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a file or folder is.

    Attributes:
        path: Where it lies.
        kind: What it is good for.
        family: The architecture it belongs to: ``sd1``, ``sd2``, ``sdxl``, or ``custom``.
        title: For people, such as ``"Stable Diffusion 1.x inpainting model"``.
        files: Its weight files, of which its hash is made, in a fixed order.
    """

    path: Path
    kind: Kind
    family: str
    title: str
    files: tuple[Path, ...]


def judge(path: Path) -> Verdict:
    """Say what a file or folder is.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged, incomplete or contradicts itself.
        Unsupported: If it is sound and of a kind that this version does not run; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors, or it brings code.
    """
    identity = identify(path)
    return Verdict(
        path=path,
        kind=Kind.MODEL,
        family=identity.family.value,
        title=f"Stable Diffusion model ({identity.family.value})",
        files=tuple(identity.weights[name] for name in sorted(identity.weights)),
    )
