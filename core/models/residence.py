"""Which parts of a model are on the device: all of them, or only the one at work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from core.errors import ModelInvalid

Reader = Callable[[], Mapping[str, Tensor]]
"""Reads a part's weights anew, by the names that they have in its module."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a part's weights came from and can be had again.

    Attributes:
        files: The files.
        read: Reads them.
    """

    files: tuple[Path, ...]
    read: Reader

    def stamps(self) -> tuple[tuple[int, int], ...]:
        """Give what changes when a file does."""
        return tuple((status.st_size, status.st_mtime_ns) for status in map(os.stat, self.files))


class Lodger(Protocol):
    """A part that something else than torch holds in memory."""

    @property
    def doors(self) -> Sequence[nn.Module]:
        """The modules of which one is always called first."""

    @property
    def size(self) -> int:
        """Bytes that it takes while it is there."""

    def put_in(self) -> None:
        """Bring it to where it works."""

    def put_out(self) -> None:
        """Give back what it takes."""


class _Weights:
    """A module of torch's, whose weights come and go."""

    def __init__(self, module: nn.Module, source: Source, device: torch.device) -> None:
        self._module = module
        self._source = source
        self._stamps = _stamps(source)
        self._device = device
        self._device_has_memory = device.type == "cuda"
        self.change: Callable[[], None] = _leave

    @property
    def doors(self) -> Sequence[nn.Module]:
        return _doors(self._module)

    @property
    def size(self) -> int:
        return sum(tensor.nbytes for tensor in self._module.state_dict().values())

    def put_out(self) -> None:
        # Weights made in inference mode could not be trained later.
        with torch.inference_mode(mode=False):
            if self._device_has_memory:
                self._module.to("cpu")
                return
            empty = {name: t.to("meta") for name, t in self._module.state_dict().items()}
            self._module.load_state_dict(empty, assign=True)

    def put_in(self) -> None:
        with torch.inference_mode(mode=False):
            if not self._device_has_memory:
                self._read()
                self.change()
            # Else the buffers, which no file holds.
            self._module.to(self._device)

    def _read(self) -> None:
        """Read the weights onto the device, one after the other."""
        if _stamps(self._source) != self._stamps:
            raise ModelInvalid(
                f"{self._source.files[0]} has changed while it was in use; start again."
            )
        weights = self._source.read()
        # In the number format that it had, which fp32 may have taken the place of.
        wanted = self._module.state_dict()
        again = {
            # A bias that a change has added begins at nothing again.
            name: (weights[name] if name in weights else torch.zeros(tensor.shape)).to(
                self._device, tensor.dtype
            )
            for name, tensor in wanted.items()
        }
        self._module.load_state_dict(again, assign=True)


@dataclass(slots=True)
class _Part:
    """A part, and the room that those share which are there together."""

    lodger: Lodger
    room: str
    is_in: bool = True


class Residence:
    """Keeps the parts of a model on the device, or swaps them as they are called.

    A part that is not at work waits in the machine's own memory. Where the device works in that
    itself, as CPUs and Apple's GPUs do, its weights are given back to the system and read from
    their files again, unchanged.
    """

    def __init__(self, device: torch.device, *, one_at_a_time: bool = False) -> None:
        """Begin without parts.

        Args:
            device: Where parts work.
            one_at_a_time: Whether only the part at work is there.
        """
        self._device = device
        self._parts: dict[str, _Part] = {}
        self._hooks: list[RemovableHandle] = []
        self._one_at_a_time = one_at_a_time

    def add(self, name: str, module: nn.Module, source: Source) -> None:
        """Take in a part, which has its weights but need not be on the device yet.

        Raises:
            ModelInvalid: If its files are gone already.
        """
        part = self._parts[name] = _Part(_Weights(module, source, self._device), name)
        if self._one_at_a_time:
            self._watch(name)
            self._put_out(part)
        else:
            module.to(self._device)

    def lodge(self, name: str, lodger: Lodger, *, beside: str = "") -> None:
        """Take in a part that is not torch's, and is where it works.

        Args:
            name: What it is called.
            lodger: The part.
            beside: A part that it is called by turns with, and does not take the place of.
        """
        part = self._parts[name] = _Part(lodger, beside or name)
        if self._one_at_a_time:
            self._watch(name)
            self._put_out(part)

    def change(self, name: str, write: Callable[[], None]) -> None:
        """Have a part's weights changed for good: now, and whenever they are read again.

        Args:
            name: The part, which is brought to the device.
            write: Changes them where they lie.
        """
        self.bring(name)
        write()
        weights = self._parts[name].lodger
        assert isinstance(weights, _Weights), f"{name} has no weights here"
        weights.change = write

    def clear(self) -> None:
        """Have no part on the device, until one is called for."""
        for part in self._parts.values():
            self._put_out(part)

    def drop(self, prefix: str) -> None:
        """Forget the parts whose names begin so."""
        self._parts = {n: part for n, part in self._parts.items() if not n.startswith(prefix)}

    def swap(self, *, one_at_a_time: bool) -> None:
        """Begin to keep only the part at work on the device, or all of them again."""
        if one_at_a_time == self._one_at_a_time:
            return
        self._one_at_a_time = one_at_a_time
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for name, part in self._parts.items():
            if one_at_a_time:
                self._watch(name)
                self._put_out(part)
            else:
                self._put_in(part)

    def bring(self, name: str) -> None:
        """Make sure that a part is on the device, in the place of those there.

        Raises:
            ModelInvalid: If its weights have to be read again and have changed or gone.
        """
        wanted = self._parts[name]
        if wanted.is_in:
            return
        for part in self._parts.values():
            if part.room != wanted.room:
                self._put_out(part)
        self._put_in(wanted)

    @property
    def held(self) -> int:
        """Bytes of the weights that are on the device now."""
        return sum(part.lodger.size for part in self._parts.values() if part.is_in)

    def _watch(self, name: str) -> None:
        """Bring a part whenever it is called."""

        def bring(*_: object) -> None:
            self.bring(name)

        for door in self._parts[name].lodger.doors:
            self._hooks.append(door.register_forward_pre_hook(bring))

    @staticmethod
    def _put_out(part: _Part) -> None:
        if part.is_in:
            part.is_in = False
            part.lodger.put_out()

    @staticmethod
    def _put_in(part: _Part) -> None:
        if not part.is_in:
            part.lodger.put_in()
            part.is_in = True


def _leave() -> None:
    """Change nothing."""


def _stamps(source: Source) -> tuple[tuple[int, int], ...]:
    try:
        return source.stamps()
    except OSError as error:
        raise ModelInvalid(
            f"{error.filename} cannot be read any more ({error.strerror}); put it back."
        ) from error


def _doors(module: Any) -> list[nn.Module]:
    """Give the modules of a part of which one is always called first."""
    if isinstance(module, AutoencoderKL):
        # Its own methods are called, and of large pictures these modules one by one.
        first = (module.encoder.conv_in, module.post_quant_conv, module.decoder.conv_in)
        return [door for door in first if door is not None]
    return [module]
