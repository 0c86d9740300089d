"""What a folder of an exported model holds: its files, their tensors, and its manifest.

The names are those that Apple's Swift package reads (https://github.com/apple/ml-stable-diffusion),
and with it the apps that are built on it. Imports neither torch nor coremltools.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid

MANIFEST = "manifest.json"
VERSION = 1
CONTROL_FOLDER = "controlnet"


class ExportFormat(StrEnum):
    """What runs an exported model: Core ML from macOS 13 on, Core AI from macOS 27 on."""

    COREML = "coreml"
    COREAI = "coreai"


TITLES = {ExportFormat.COREML: "Core ML", ExportFormat.COREAI: "Core AI"}
"""What they are called."""

SUFFIXES = {ExportFormat.COREML: ".mlpackage", ExportFormat.COREAI: ".aimodel"}
"""What the names of parts end with."""

COMPILED = ".mlmodelc"
"""What the names of Core ML's parts end with once its compiler has been at them."""


class Layout(StrEnum):
    """How the UNet is written down: as it is, or as the Neural Engine likes it."""

    ORIGINAL = "original"
    SPLIT_EINSUM = "split-einsum"


class PartName(StrEnum):
    """The networks of a model, named as their files. ControlNets have names of their own."""

    TEXT_ENCODER = "TextEncoder"
    TEXT_ENCODER_2 = "TextEncoder2"
    UNET = "Unet"
    UNET_CHUNK_1 = "UnetChunk1"
    UNET_CHUNK_2 = "UnetChunk2"
    CONTROLLED_UNET = "ControlledUnet"
    CONTROLLED_UNET_CHUNK_1 = "ControlledUnetChunk1"
    CONTROLLED_UNET_CHUNK_2 = "ControlledUnetChunk2"
    VAE_DECODER = "VAEDecoder"
    VAE_ENCODER = "VAEEncoder"


def function_of(width: int, height: int) -> str:
    """Name the function of a part that makes pictures of a size, where it has several sizes."""
    return f"size_{width}x{height}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a part.

    Attributes:
        name: As the Swift readers know it.
        shape: Of the first of the folder's sizes.
        dtype: ``float16``, ``float32`` or ``int32``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A part that was written.

    Attributes:
        name: A ``PartName``, or ``controlnet/NAME``.
        inputs: What it takes.
        outputs: What it gives.
        bytes: Size of the package.
        inputs_sha256: Hash of everything that it was made from; a part with the same is not made
            again.
        compression: As it was asked for; ``none``, ``int8``, ``palette6``, ...
        psnr: Decibels against the torch module in fp32, by what was measured; see the export.
        seconds: That it took.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    bytes: int
    inputs_sha256: str
    compression: str
    psnr: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How a folder was made, and what it can do.

    Attributes:
        format: What runs it.
        layout: Of its UNet.
        family: Of the model it was made from, as ``core.models.families`` names it.
        source: The model it was made from: its name.
        source_sha256: Hash of its weights.
        licence: Of its weights, or empty if that is not known.
        sizes: Width and height of the pictures, in pixels; the first is the one that readers get
            that choose none.
        batch: Of the UNet's input: 1, or 2 for both halves of guidance at once.
        target: The oldest system that runs it, such as ``macOS13``.
        compression: Of the whole, as it was asked for.
        loras: Path and scale of those merged into the weights.
        words: Those taught to its text encoders and tokenizer files.
        vae: The VAE in the place of the model's own, or empty.
        control: Whether the UNet takes what ControlNets give.
        versions: Of the packages that wrote it.
        model: What running it needs to know of the source: ``configs`` and ``parameters`` of its
            components, as ``core.models.identify.Identity`` has them; ``distillation``,
            ``is_guess`` and ``steps``, how it came to need few; ``pads``, what each text encoder's
            texts are filled up with; ``vae_sha256``, of the VAE that was exported; and ``words``,
            the token numbers of each of those taught.
        parts: What was written.
        request: What was asked for, as ``coreml_export.request`` writes it; empty in the folders of
            versions that did not keep it.
    """

    format: ExportFormat
    layout: Layout
    family: str
    source: str
    source_sha256: str
    licence: str
    sizes: tuple[tuple[int, int], ...]
    batch: int
    target: str
    compression: str
    loras: tuple[tuple[str, float], ...]
    words: tuple[str, ...]
    vae: str
    control: bool
    versions: Mapping[str, str]
    model: Mapping[str, Any]
    parts: tuple[PartRecord, ...]
    request: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Give the text of the file."""
        return json.dumps({"version": VERSION} | dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's.

        Raises:
            ModelInvalid: If there is none, or none that this version understands.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_bytes())
            if values.pop("version") != VERSION:
                raise ModelInvalid(f"{path} was written by another version; export again.")
            return cls(
                **values
                | {
                    "format": ExportFormat(values["format"]),
                    "layout": Layout(values["layout"]),
                    "sizes": tuple((width, height) for width, height in values["sizes"]),
                    "loras": tuple((name, scale) for name, scale in values["loras"]),
                    "words": tuple(values["words"]),
                    "parts": tuple(_part(part) for part in values["parts"]),
                }
            )
        except FileNotFoundError:
            raise ModelInvalid(f"{path} is missing; export the model again.") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelInvalid(f"{path} cannot be read ({error}); export again.") from error


def _part(values: dict[str, Any]) -> PartRecord:
    tensors = {
        side: tuple(Tensor(one["name"], tuple(one["shape"]), one["dtype"]) for one in values[side])
        for side in ("inputs", "outputs")
    }
    return PartRecord(**values | tensors)
