"""Which pictures each batch shows: the same for a seed, whoever asks. Imports no torch.

Nothing is drawn from a generator that goes on from step to step, so a training that was stopped
goes on with the batch that would have come next, and several processes share the batches that one
process would see.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count


def derived(*parts: int | str) -> int:
    """Make a seed of a seed and what it is for: 63 bits that are as good as chance."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, slots=True)
class Showing:
    """A picture in its place of a batch.

    Attributes:
        example: Which of the pictures.
        seed: Of all that is left to chance in this showing; see ``derived``.
        count: How often about it has been shown before.
    """

    example: int
    seed: int
    count: int


class Order:
    """The batches of a training.

    In every epoch each picture is shown as often as it is to be repeated, in a new order. The
    pictures of one batch are of one group; where those of a group do not fill its last batch, some
    of them are shown once more.
    """

    def __init__(
        self, groups: Sequence[int], repeats: Sequence[int], *, batch: int, seed: int
    ) -> None:
        """Order pictures.

        Args:
            groups: The group of each picture; at least one picture.
            repeats: How often each is shown in an epoch, at least once.
            batch: Pictures of a batch, those of all processes together.
            seed: Of the order.
        """
        self._repeats = tuple(repeats)
        self._batch = batch
        self._seed = seed
        members: dict[int, list[int]] = {}
        for example, group in enumerate(groups):
            members.setdefault(group, []).append(example)
        self._members = sorted(members.items())
        self.batches = sum(
            -(-sum(self._repeats[example] for example in group) // batch)
            for group in members.values()
        )
        """Batches of an epoch."""
        self._epoch = -1
        self._plan: list[list[tuple[int, int]]] = []

    def batch_of(self, step: int) -> tuple[Showing, ...]:
        """Give the batch of a step, from 0 on."""
        epoch, index = divmod(step, self.batches)
        if epoch != self._epoch:
            self._plan = self._planned(epoch)
            self._epoch = epoch
        return tuple(
            Showing(example, derived(self._seed, "showing", step, place), times)
            for place, (example, times) in enumerate(self._plan[index])
        )

    def _planned(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Give an epoch's batches: each picture, and how often it was shown before."""
        chance = random.Random(derived(self._seed, "epoch", epoch))
        batches = []
        for _, group in self._members:
            shown = [(example, i) for example in group for i in range(self._repeats[example])]
            chance.shuffle(shown)
            shown += self._filling(group, -len(shown) % self._batch, chance)
            counted = [(e, epoch * self._repeats[e] + i) for e, i in shown]
            batches += [counted[i : i + self._batch] for i in range(0, len(counted), self._batch)]
        chance.shuffle(batches)
        return batches

    def _filling(
        self, group: Sequence[int], missing: int, chance: random.Random
    ) -> list[tuple[int, int]]:
        """Choose pictures of a group to be shown once more, each before any a second time."""
        filling: list[tuple[int, int]] = []
        for extra in count():
            if len(filling) >= missing:
                break
            again = [(example, self._repeats[example] + extra) for example in group]
            chance.shuffle(again)
            filling += again
        return filling[:missing]
