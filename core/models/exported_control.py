"""ControlNets among exported parts: found, and held against what they are to lead.

They lie in the folder ``controlnet`` of the model that they were exported with, as those of Apple's
converter do (https://github.com/apple/ml-stable-diffusion); some apps keep them elsewhere. Imports
no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.compute_units import ComputeUnits
from core.coreml_folder import CONTROL_FOLDER, MANIFEST, ExportFormat, Manifest
from core.errors import ModelInvalid, ModelMissing
from core.models.control_fit import check_scale, check_text, residual_channels
from core.models.exported import (
    PACKAGES,
    Exported,
    Package,
    format_of_part,
    is_part,
    read_package,
    residuals_of,
)
from core.models.exported_limits import check_led_sizes, control_units, function_of
from core.models.identify import Identity
from core.models.names import Resolver
from core.paths import expanded
from core.request import Request

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedControl:
    """An exported ControlNet that goes with a request and its model.

    Attributes:
        package: The part.
        format: What runs it.
        units: The processors that do.
        function: Which of its functions; empty for the usual one.
    """

    package: Package
    format: ExportFormat
    units: ComputeUnits
    function: str

    @property
    def path(self) -> Path:
        """Its folder, the same on every system if there are two."""
        return self.package.path

    @property
    def weights(self) -> Mapping[str, Path]:
        """Its files by the names that they have in its hash."""
        files = self.package.files
        return {file.relative_to(self.path).as_posix(): file for file in files}

    @property
    def parameters(self) -> int:
        """Count of the numbers in its weights, taken for fp16."""
        return self.package.size // 2


def own_first(exported: Exported | None, find: Resolver) -> Resolver:
    """Have the ControlNets that lie in a model's folder known by their names, before all others.

    Args:
        exported: The model, or None for torch's, which have none.
        find: Knows the others.

    Returns:
        What knows both. Of a name that neither has, it says which the folder has
        (``ModelMissing``).
    """
    if exported is None:
        return find
    folder = exported.folder

    def found(name: str) -> Path | None:
        path = _named(folder, name) or find(name)
        if path is None and (own := sorted({one.stem for one in _parts_in(folder)})):
            raise ModelMissing(
                f"There is no ControlNet {name!r}; {folder} has {', '.join(own)}, others go by the "
                "path of their file."
            )
        return path

    return found


def is_exported_control(name: str, exported: Exported) -> bool:
    """Whether what a request calls a ControlNet is an exported one.

    Args:
        name: A path, or a name.
        exported: The request's model.
    """
    return is_part(expanded(Path(name))) or _named(exported.folder, name) is not None


def _parts_in(folder: Path) -> list[Path]:
    """Give the ControlNets in a model's folder, in order of name."""
    try:
        return sorted(path for path in (folder / CONTROL_FOLDER).iterdir() if is_part(path))
    except OSError:
        return []


def _named(folder: Path, name: str) -> Path | None:
    """Find a ControlNet in a model's folder; ``canny-edges`` names ``CannyEdges`` too."""
    wanted = _plain(name)
    return next((path for path in _parts_in(folder) if _plain(path.stem) == wanted), None)


def _plain(name: str) -> str:
    """Give a name as it is compared: exports write each word with a capital and none between."""
    return name.replace("-", "").replace("_", "").casefold()


def exported_control(path: Path, request: Request, identity: Identity) -> ExportedControl:
    """Read what an exported ControlNet is, and hold it against what it is to lead.

    Args:
        path: The part.
        request: What is to be made, its compute units settled.
        identity: Its model.

    Raises:
        ModelInvalid: If it is damaged, or something else, or was made for another kind of model.
        InvalidRequest: If it leads no pictures of the request's size.
    """
    package, sizes = _read(path)
    _check_fit(package, identity)
    check_led_sizes(request, sizes, path.stem)
    return ExportedControl(
        package=package,
        format=format_of_part(path),
        units=control_units(request, identity),
        function=function_of(request, sizes),
    )


def _read(path: Path) -> tuple[Package, tuple[Size, ...]]:
    """Read a part, and the sizes of the pictures that it leads."""
    if not path.is_dir():
        raise ModelInvalid(
            f"{path} is no folder, as exported parts are; copy it again, or export it again."
        )
    kind, name = format_of_part(path), f"{CONTROL_FOLDER}/{path.stem}"
    beside = [path.with_suffix(suffix) for suffix in PACKAGES]
    places = [one for one in beside if format_of_part(one) is kind and one.is_dir()]
    model = path.parent.parent
    if path.parent.name == CONTROL_FOLDER and (model / MANIFEST).is_file():
        manifest = Manifest.read(model)
        record = next((part for part in manifest.parts if part.name == name), None)
        if record is not None and manifest.format is kind:
            return read_package(name, places, record), manifest.sizes
    package = read_package(name, places, None)
    picture = package.input("controlnet_cond")
    if picture is None or len(picture.shape) != 4:
        raise _no_control(package)
    height, width = picture.shape[2:]
    return package, ((width, height),)


def _check_fit(package: Package, identity: Identity) -> None:
    """Hold what a part takes and gives against a model.

    Raises:
        ModelInvalid: If it does not fit.
    """
    names = ("sample", "encoder_hidden_states", "controlnet_cond")
    tensors = [one for name in names if (one := package.input(name)) and len(one.shape) == 4]
    added = residuals_of(package.outputs)
    if len(tensors) != len(names) or not added:
        raise _no_control(package)
    sample, text, picture = (tensor.shape for tensor in tensors)
    needs_size = package.input("time_ids") is not None
    check_text(package.path, text[1], identity, needs_size=needs_size)
    check_scale(package.path, picture[3] // sample[3], identity)
    channels = residual_channels(identity.configs["unet"])
    # Apple's converter leaves the shapes of outputs out.
    given = [one.shape[1] if len(one.shape) == 4 else None for one in added]
    if len(given) != len(channels) or any(
        one not in (None, wanted) for one, wanted in zip(given, channels, strict=True)
    ):
        raise ModelInvalid(
            f"{package.path} was exported for a UNet of other blocks than that of {identity.path}; "
            "choose a ControlNet that was made for this model."
        )


def _no_control(package: Package) -> ModelInvalid:
    taken = ", ".join(tensor.name for tensor in package.inputs)
    return ModelInvalid(
        f"{package.path} is no ControlNet (it takes {taken}); choose one of an exported model's "
        f"folder {CONTROL_FOLDER}."
    )
