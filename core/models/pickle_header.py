"""A look into a torch pickle that runs nothing of it: which tensors it says it holds.

Imports no torch. A pickle is a little program; this reader follows it with stand-ins of its own in
the place of torch's functions, and refuses it at the first name that is not one of a tensor's
(https://docs.python.org/3/library/pickle.html#restricting-globals).
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import ModelInvalid, UnsafeFile
from core.models.safetensors_header import Header, TensorInfo

LONGEST = 100_000_000
"""Bytes of pickled names that are read at most."""

OLD_MAGIC = 0x1950A86A20F9469CFC6C
"""What torch wrote first of all, before it took to zip files (torch/serialization.py)."""

_STORAGES = {
    "ByteStorage": "U8", "BoolStorage": "BOOL", "CharStorage": "I8", "ShortStorage": "I16",
    "IntStorage": "I32", "LongStorage": "I64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "FloatStorage": "F32", "DoubleStorage": "F64",
}  # fmt: skip

SIZES = {"U8": 1, "BOOL": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4,
         "I64": 8, "F64": 8}  # fmt: skip
"""Bytes of a number."""

_TRANSPARENT = ("state_dict", "_parameters")
"""Dictionaries whose names are no part of their tensors' names."""

_DAMAGE = (
    pickle.UnpicklingError, EOFError, OSError, AttributeError, LookupError, TypeError, ValueError,
    RecursionError, OverflowError, MemoryError, zipfile.BadZipFile, NotImplementedError,
    RuntimeError,
)  # fmt: skip
"""All that the standard library raises over a damaged pickle or archive."""


@dataclass(slots=True)
class _Storage:
    """A storage that a tensor lies in; only its number type is known."""

    dtype: str


@dataclass(slots=True)
class _StorageKind:
    dtype: str


class _Sealed(type):
    """A class that a pickle cannot change, which may set attributes of what it is given."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError(f"{name} cannot be set")


class _ParameterDict(dict[str, Any], metaclass=_Sealed):
    """Stands for what torch 1.11 pickled of a parameter dictionary: an object with its fields."""

    def __setstate__(self, state: Any) -> None:
        """Take the fields in."""
        if isinstance(state, dict):
            self.update(state)


def read_pickle_header(path: Path) -> Header:
    """Say which tensors a pickle holds, and run nothing of it.

    The names of tensors in dictionaries within the dictionary are joined by dots, those below
    ``state_dict`` go without it. What is no tensor is left out.

    Raises:
        ModelInvalid: If it is empty, cut short or no torch file.
        UnsafeFile: If it asks for anything that a file of tensors does not need.
    """
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_old(path)
    except _DAMAGE as error:
        raise ModelInvalid(
            f"{path} is damaged: it is no torch file that can be read ({error}); download or copy "
            "it again."
        ) from None
    return Header(_collect(content), {})


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(names) != 1:
            raise ValueError("its archive holds no data.pkl")
        if archive.getinfo(names[0]).file_size > LONGEST:
            raise ValueError("its list of tensors is too long")
        with archive.open(names[0]) as file:
            return _Inert(path, file).load()


def _read_old(path: Path) -> Any:
    """Read the form before torch 1.6: magic number, version, machine, content, storages' keys."""
    with path.open("rb") as file:
        first = _Inert(path, file).load()
        if first != OLD_MAGIC:
            raise ValueError("it begins like none")
        for _ in range(2):
            _Inert(path, file).load()
        reader = _Inert(path, file)
        content = reader.load()
        keys = _Inert(path, file).load()
        # Each storage follows with its length before it.
        needed = sum(8 + size for size in reader.storages.values())
        if not isinstance(keys, list) or path.stat().st_size - file.tell() < needed:
            raise ValueError("it is cut short")
        return content


class _Inert(pickle.Unpickler):
    """An unpickler that knows tensors and nothing else.

    Attributes:
        storages: Bytes of each storage that was named.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        super().__init__(file)
        self._path = path
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in of a name.

        Raises:
            UnsafeFile: If it has none.
        """
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageKind(_STORAGES[name])
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise UnsafeFile(
                f"{self._path} asks for {module}.{name}, which no file of weights needs and which "
                "could run code; nothing of it was run. Get the model as safetensors."
            )
        return stand_in

    def persistent_load(self, pid: Any) -> _Storage:
        """Give a storage: torch writes ``("storage", kind, key, device, count)``."""
        if not isinstance(pid, tuple) or len(pid) < 2 or not isinstance(pid[1], _StorageKind):
            raise ValueError("a storage makes no sense")
        if len(pid) > 4 and type(pid[4]) is int:
            self.storages[str(pid[2])] = pid[4] * SIZES[pid[1].dtype]
        return _Storage(pid[1].dtype)


class _RebuildTensor(metaclass=_Sealed):
    """Stands for torch's function of a tensor in a storage."""

    __slots__ = ()

    def __call__(self, storage: _Storage, _offset: Any, shape: Any, *_rest: Any) -> TensorInfo:
        """Note the tensor's type and shape."""
        sides = tuple(shape)
        if not all(type(side) is int and side >= 0 for side in sides):
            raise ValueError("a tensor's shape makes no sense")
        return TensorInfo(storage.dtype, sides)


class _RebuildParameter(metaclass=_Sealed):
    """Stands for torch's function of a parameter, which is its tensor."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_rest: Any) -> Any:
        """Give the tensor."""
        return tensor


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch.nn.modules.container", "ParameterDict"): _ParameterDict,
}


def _collect(content: Any) -> dict[str, TensorInfo]:
    """Gather the tensors of nested dictionaries, each dictionary once."""
    tensors: dict[str, TensorInfo] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        prefix, values = waiting.pop()
        if not isinstance(values, dict) or id(values) in seen:
            continue
        seen.add(id(values))
        for key, value in values.items():
            if not isinstance(key, str):
                continue
            if isinstance(value, TensorInfo):
                tensors[prefix + key] = value
            else:
                waiting.append((prefix if key in _TRANSPARENT else f"{prefix}{key}.", value))
    return tensors
