"""Folders of exported models: ours, and those that other converters made. Imports no torch.

Ours tell what they are by their manifest. Of the others, which Apple's converter and the apps
around it share (https://github.com/apple/ml-stable-diffusion), nothing tells but the names of their
files and what the parts say of their inputs; the rest is as it was published with the family.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from core.coreml_folder import (
    COMPILED,
    CONTROL_FOLDER,
    MANIFEST,
    SUFFIXES,
    TITLES,
    ExportFormat,
    Layout,
    Manifest,
    PartName,
    PartRecord,
    Tensor,
)
from core.errors import ModelInvalid, Unsupported
from core.models.exported_spec import describe, has_einsum

_SUFFIXES = {
    ExportFormat.COREML: (SUFFIXES[ExportFormat.COREML], COMPILED),
    ExportFormat.COREAI: (SUFFIXES[ExportFormat.COREAI],),
}
"""What the folders of parts end in, what is the same on every system first."""

PACKAGES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)

UNETS = (
    (PartName.CONTROLLED_UNET,),
    (PartName.CONTROLLED_UNET_CHUNK_1, PartName.CONTROLLED_UNET_CHUNK_2),
    (PartName.UNET_CHUNK_1, PartName.UNET_CHUNK_2),
    (PartName.UNET,),
)
"""What a UNet may be made of, what is preferred first: one that takes what ControlNets give runs
without any as well, and chunks are there because the whole was too large."""

_COMPONENTS: Mapping[str, tuple[tuple[PartName, ...], ...]] = {
    "unet": UNETS,
    "text_encoder": ((PartName.TEXT_ENCODER,),),
    "text_encoder_2": ((PartName.TEXT_ENCODER_2,),),
    "vae": ((PartName.VAE_DECODER,),),
}
"""Which parts are which component of a model."""

_CONVERTER_NAMES = {
    "text_encoder": PartName.TEXT_ENCODER,
    "text_encoder_2": PartName.TEXT_ENCODER_2,
    "unet": PartName.UNET,
    "unet_chunk1": PartName.UNET_CHUNK_1,
    "unet_chunk2": PartName.UNET_CHUNK_2,
    "control-unet": PartName.CONTROLLED_UNET,
    "control-unet_chunk1": PartName.CONTROLLED_UNET_CHUNK_1,
    "control-unet_chunk2": PartName.CONTROLLED_UNET_CHUNK_2,
    "vae_decoder": PartName.VAE_DECODER,
    "vae_encoder": PartName.VAE_ENCODER,
}
"""How the names of Apple's converter end before they are brought to ``PartName``'s."""

RESIDUAL = "additional_residual_"
"""How the names begin of what ControlNets give and a UNet takes; a number follows."""


@dataclass(frozen=True, slots=True)
class Package:
    """A part of an exported model.

    Attributes:
        name: A ``PartName``, or ``controlnet/NAME``.
        path: Its folder, the same on every system if there are two.
        compiled: What Core ML's compiler made of it, or None.
        inputs: What it takes.
        outputs: What it gives.
    """

    name: str
    path: Path
    compiled: Path | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def input(self, name: str) -> Tensor | None:
        """Give one of its inputs, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files, in order of name."""
        return tuple(sorted(path for path in self.path.rglob("*") if path.is_file()))

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is known of an exported model beside what is known of every model.

    Attributes:
        folder: Where it lies.
        format: What runs it.
        layout: Of its UNet.
        packages: Its parts by their names.
        sizes: Width and height of pictures that it makes, in pixels.
        source: The torch model it was made from, as a request calls it; empty if that is not known.
        source_sha256: Hash of that one's weights.
        changes: What was merged into it beside, for people: LoRAs, words, a VAE; empty for nothing.
        pads: What each text encoder's texts are filled up with, where the family does not say it.
        vae_sha256: Hash of the VAE that its VAE was made from, or empty.
        compression: Of its weights: ``none``, ``int8`` and so on.
        words: The token numbers of each word that its text encoders were taught.
    """

    folder: Path
    format: ExportFormat
    layout: Layout
    packages: Mapping[str, Package]
    sizes: tuple[tuple[int, int], ...]
    source: str = ""
    source_sha256: str = ""
    changes: str = ""
    pads: Mapping[str, str]
    vae_sha256: str = ""
    compression: str = "none"
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, component: str) -> tuple[Package, ...]:
        """Give the parts that are a component, to be run one after another; none if it is torch's.

        Args:
            component: ``unet``, ``text_encoder``, ``text_encoder_2`` or ``vae``.
        """
        for names in _COMPONENTS[component]:
            if all(name in self.packages for name in names):
                return tuple(self.packages[name] for name in names)
        return ()

    @property
    def vae_encoder(self) -> Package | None:
        """What brings pictures to latents, if there is such a part."""
        return self.packages.get(PartName.VAE_ENCODER)

    def lacking(self, components: Collection[str]) -> tuple[str, ...]:
        """Give those components that are to come from the torch model."""
        return tuple(name for name in components if not self.of(name))

    @property
    def used(self) -> tuple[Package, ...]:
        """The parts that pictures are made by."""
        used = [package for name in _COMPONENTS for package in self.of(name)]
        return (*used, *filter(None, (self.vae_encoder,)))

    @cached_property
    def weights(self) -> dict[str, Path]:
        """The files of the parts that are used, by the names that they have in the model's hash."""
        return {
            f"{package.name}/{file.relative_to(package.path).as_posix()}": file
            for package in self.used
            for file in package.files
        }

    @property
    def takes_controls(self) -> bool:
        """Whether ControlNets can lead its UNet."""
        unet = self.of("unet")
        return not unet or unet[0].input(f"{RESIDUAL}0") is not None

    @property
    def title(self) -> str:
        """What it is, for people."""
        return TITLES[self.format]


def residuals_of(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Give what ControlNets add, from the top of the UNet's way down; the last is its middle's."""
    found = [one for one in tensors if re.fullmatch(rf"{RESIDUAL}\d+", one.name)]
    return tuple(sorted(found, key=lambda one: int(one.name.removeprefix(RESIDUAL))))


def is_exported(folder: Path) -> bool:
    """Whether a folder holds parts of an exported model."""
    return not (folder / "model_index.json").is_file() and any(_found(folder))


def read_exported(folder: Path) -> tuple[Exported, Manifest | None]:
    """Read what a folder of parts says of itself.

    Raises:
        ModelInvalid: If something is missing or damaged.
        Unsupported: If it holds no part that a picture is made by.
    """
    manifest = Manifest.read(folder) if (folder / MANIFEST).is_file() else None
    kind = _format_of(folder) if manifest is None else manifest.format
    packages = _packages(folder, kind, manifest)
    if not any(names[0] in packages for ways in _COMPONENTS.values() for names in ways):
        raise Unsupported(
            f"{folder} holds no text encoder, UNet or VAE; give the folder of a whole model."
        )
    if manifest is None:
        return _foreign(folder, kind, packages), None
    try:
        return Exported(
            folder=folder,
            format=kind,
            layout=manifest.layout,
            packages=packages,
            sizes=manifest.sizes,
            source=manifest.source,
            source_sha256=manifest.source_sha256,
            changes=_changes(manifest),
            pads=dict(manifest.model.get("pads", {})),
            vae_sha256=str(manifest.model.get("vae_sha256", "")),
            compression=manifest.compression,
            words={
                str(word): tuple(int(number) for number in numbers)
                for word, numbers in manifest.model.get("words", {}).items()
            },
        ), manifest
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelInvalid(
            f"{folder / MANIFEST} cannot be read ({error}); export again."
        ) from error


def is_part(path: Path) -> bool:
    """Whether a path is called as the parts of exported models are."""
    return path.suffix in PACKAGES


def format_of_part(path: Path) -> ExportFormat:
    """Tell by a part's name what runs it."""
    return next(kind for kind, suffixes in _SUFFIXES.items() if path.suffix in suffixes)


def part_alone(path: Path) -> ModelInvalid:
    """Say in one sentence that a part was given for a model."""
    if path.absolute().parent.name == CONTROL_FOLDER:
        return ModelInvalid(
            f"{path} is an exported ControlNet, which leads pictures (--control) and does nothing "
            "else; give the file or folder that it was made from."
        )
    return ModelInvalid(
        f"{path} is a single part of an exported model; give the folder that it lies in."
    )


def weights_wanted(exported: Exported) -> Unsupported:
    """Say in one sentence that an exported model was given where weights are changed or read."""
    other = exported.source or "a model with weights of its own"
    return Unsupported(
        f"{exported.folder} is a {exported.title} model, which can only make pictures; choose "
        f"{other} for this."
    )


def _found(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give the parts in a folder by their names, what is the same on every system first."""
    try:
        there = sorted(folder.iterdir())
    except OSError:
        return
    for suffix in PACKAGES:
        for path in there:
            if path.suffix == suffix and (name := _part_name(path.stem)) is not None:
                yield name, path


def _part_name(stem: str) -> str | None:
    if stem in tuple(PartName):
        return stem
    ending = re.fullmatch(r"Stable_Diffusion_version_.+?_([a-z0-9-]+(?:_[a-z0-9]+)*)", stem)
    if ending is None:
        return None
    words = ending[1].split("_")
    tails = ("_".join(words[at:]) for at in range(len(words)))
    return next((_CONVERTER_NAMES[tail] for tail in tails if tail in _CONVERTER_NAMES), None)


def _format_of(folder: Path) -> ExportFormat:
    suffixes = {path.suffix for _, path in _found(folder)}
    is_coreml = suffixes.intersection(_SUFFIXES[ExportFormat.COREML])
    return ExportFormat.COREML if is_coreml else ExportFormat.COREAI


def _packages(folder: Path, kind: ExportFormat, manifest: Manifest | None) -> dict[str, Package]:
    """Find the parts, each with what it takes and gives.

    Raises:
        ModelInvalid: If one that the manifest names is not there, or not all of it.
    """
    places: dict[str, list[Path]] = {}
    for name, path in _found(folder):
        if path.suffix in _SUFFIXES[kind]:
            places.setdefault(name, []).append(path)
    recorded = {} if manifest is None else {part.name: part for part in manifest.parts}
    if missing := sorted(name for name in recorded if "/" not in name and name not in places):
        raise ModelInvalid(
            f"{folder / missing[0]}{SUFFIXES[kind]} is missing; export the model again."
        )
    return {name: read_package(name, paths, recorded.get(name)) for name, paths in places.items()}


def read_package(name: str, paths: Sequence[Path], record: PartRecord | None) -> Package:
    """Read what a part takes and gives.

    Args:
        name: What it is called.
        paths: Its folders, what is the same on every system first.
        record: What a manifest says of it, or None.

    Raises:
        ModelInvalid: If it is damaged, or does not tell.
    """
    path = paths[0]
    inputs, outputs = describe(path) if record is None else (record.inputs, record.outputs)
    compiled = next((path for path in paths if path.suffix == COMPILED), None)
    package = Package(name, path, compiled, inputs, outputs)
    is_as_written = path.suffix in SUFFIXES.values()
    if record is not None and is_as_written and package.size < record.bytes:
        raise ModelInvalid(
            f"{path} is damaged: it has {package.size} of {record.bytes} bytes; copy it again, or "
            "export the model again."
        )
    return package


def _foreign(folder: Path, kind: ExportFormat, packages: Mapping[str, Package]) -> Exported:
    unet = next((p for names in UNETS if (p := packages.get(names[0])) is not None), None)
    if unet is None or (sample := unet.input("sample")) is None or len(sample.shape) != 4:
        raise ModelInvalid(
            f"{folder} has no Unet, or one without latents (its input sample); give the folder of "
            "a whole Core ML model."
        )
    height, width = sample.shape[2:]
    return Exported(
        folder=folder,
        format=kind,
        layout=Layout.SPLIT_EINSUM if has_einsum(unet.path) else Layout.ORIGINAL,
        packages=packages,
        sizes=((width * 8, height * 8),),
        pads={},
    )


def _changes(manifest: Manifest) -> str:
    """Say what was merged into the weights."""
    parts = [f"the LoRA {Path(path).name}" for path, _ in manifest.loras]
    parts += [f"the word {word}" for word in manifest.words]
    if manifest.vae:
        parts.append(f"the VAE {Path(manifest.vae).name}")
    return ", ".join(parts)


def family_of(exported: Exported) -> str:
    """Tell a family by what a UNet takes.

    Returns:
        ``sd1``, ``sd2``, ``sdxl`` or ``sdxl-refiner``.

    Raises:
        Unsupported: If it is none of them.
    """
    unet = exported.of("unet")[0]
    text, numbers = unet.input("encoder_hidden_states"), unet.input("time_ids")
    width = text.shape[1] if text is not None and len(text.shape) == 4 else 0
    match width, numbers:
        case 768, None:
            return "sd1"
        case 1024, None:
            return "sd2"
        case 2048, Tensor():
            return "sdxl"
        case 1280, Tensor():
            return "sdxl-refiner"
    raise Unsupported(
        f"{unet.path} reads text {width} wide, as none of Stable Diffusion 1.x, 2.x and XL does; "
        "this version runs no others without a manifest."
    )


def fitted_configs(
    configs: Mapping[str, Any], exported: Exported, *, predicts_noise: bool
) -> dict[str, dict[str, Any]]:
    """Change a family's configurations to what a folder without a manifest tells.

    Args:
        configs: The family's own.
        exported: The folder.
        predicts_noise: Whether a name says so, for Stable Diffusion 2.x, whose 512 pixel models
            predict the noise and whose others the velocity.
    """
    made = {name: dict(values) for name, values in configs.items() if isinstance(values, dict)}
    sample = exported.of("unet")[0].input("sample")
    assert sample is not None
    made["unet"]["in_channels"] = sample.shape[1]
    made["unet"]["sample_size"] = list(sample.shape[2:])
    if family_of(exported) == "sd2" and (predicts_noise or sample.shape[2:] == (64, 64)):
        made["scheduler"]["prediction_type"] = "epsilon"
    return made
