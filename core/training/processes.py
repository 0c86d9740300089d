"""The processes that share a training: they go on together, and they stop together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import IntEnum

import torch
from torch import distributed

from core.errors import CoreError, Unsupported
from core.events import Notice

PATIENCE = timedelta(days=1)
"""How long a process waits for another one, which may be drawing the pictures of a class."""


class Stopped(KeyboardInterrupt):
    """Another process of the training was asked to stop, so this one is."""


class _Word(IntEnum):
    """What a process says; of several the greatest is heard."""

    ON = 0
    STOPPED = 1
    FAILED = 2


class Processes:
    """What the processes of a training tell each other beside their gradients.

    Each comes to the same meetings in the same order. One that has to leave says so at its next
    one, to which the others come too, so that all of them end with as many steps done. They talk
    on the CPU and by themselves: on a GPU every word would have to wait for the work there.

    Attributes:
        is_broken: Whether one of them is gone without a word.
    """

    def __init__(self, count: int) -> None:
        """Know the others.

        Args:
            count: How many there are; more than one are an initialised group of torch's.
        """
        several = count > 1
        self._group = distributed.new_group(backend="gloo", timeout=PATIENCE) if several else None
        self._is_agreed = False
        self.is_broken = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Have the others hear of it if this one leaves, and leave if another is lost.

        Raises:
            CoreError: If another process is gone.
        """
        try:
            with self.exchanging():
                yield
        except (GeneratorExit, Stopped, CoreError) as reason:
            with self.parting(reason):
                pass
            raise

    def meet(self, *, last: bool = False) -> None:
        """Wait until all are here.

        Args:
            last: Whether each may leave after this one without a word.

        Raises:
            Stopped: If another one was stopped.
            CoreError: If another one failed.
        """
        word = self._heard(_Word.ON)
        if word is not _Word.ON:
            self._is_agreed = True
            raise Stopped if word is _Word.STOPPED else CoreError(_FAILED)
        if last:
            self._group = None

    @contextmanager
    def parting(self, reason: BaseException) -> Iterator[None]:
        """Have all do what is in here, at the same step, before any of them leaves.

        A launcher ends the others as soon as one has gone.

        Args:
            reason: Why this one leaves.
        """
        if not self._is_agreed:
            is_stopped = isinstance(reason, (GeneratorExit, KeyboardInterrupt))
            # Those that are gone need no word.
            with suppress(CoreError):
                self._heard(_Word.STOPPED if is_stopped else _Word.FAILED)
            self._is_agreed = True
        try:
            yield
        finally:
            with suppress(CoreError):
                self._heard(_Word.ON)
            self._group = None

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Name what is behind an exchange that broke off.

        Raises:
            CoreError: If another process is gone.
        """
        try:
            yield
        except RuntimeError as error:
            if not _is_broken_off(error):
                raise
            self._group, self.is_broken = None, True
            raise CoreError(_FAILED) from error

    def _heard(self, word: _Word) -> _Word:
        """Say a word, and hear the greatest of all that are said."""
        if self._group is None:
            return word
        said = torch.tensor([int(word)])
        with self.exchanging():
            distributed.all_reduce(said, op=distributed.ReduceOp.MAX, group=self._group)
        return _Word(int(said))


_FAILED = "Another process of this training has ended; mend what it says, and go on with --resume."


def _is_broken_off(error: RuntimeError) -> bool:
    """Whether an error tells of another process; gloo's have no class of their own."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)


def told_of_launch(count: int) -> Iterator[Notice]:
    """Say where a launcher was asked for several processes and one is at work.

    Args:
        count: How many share the training.

    Raises:
        Unsupported: If there are several, each of which would learn by itself.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > count:
        raise Unsupported(
            f"{started} processes were started, which cannot share a training on this device; "
            "start one, or choose --device cpu."
        )
    # What accelerate's launcher sets where it starts a process by itself.
    is_asked_for = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys()
    if count == 1 and is_asked_for:
        yield Notice(
            message="accelerate was asked for several processes and started one, as it does where "
            "there are not several GPUs; torchrun --nproc-per-node N -m core train ... starts N."
        )


def told_of_change(before: int, count: int) -> Iterator[Notice]:
    """Say where a training goes on with another number of processes.

    Args:
        before: How many shared it.
        count: How many do now.
    """
    if before != count:
        yield Notice(
            message=f"The training goes on with {count} in place of {before} processes, so each "
            f"step learns from {count / before:g} times as many pictures, in another order; stop "
            f"it and start {before} to have it as it was."
        )
