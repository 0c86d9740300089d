"""Packs a part once it is converted, after a look at what it computes where that decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from coreml_export.activations import quantize_activations, ranges_of
from coreml_export.compress import compress
from coreml_export.parts import Part, named
from coreml_export.request import Compression, Packing
from coreml_export.samples import samples_of
from coreml_export.sensitivity import deal, measure


class Packer:
    """Packs a part, one of its sizes after the other."""

    def __init__(self, compression: Compression, scheduler_config: Mapping[str, Any]) -> None:
        """Prepare.

        Args:
            compression: How the part is packed.
            scheduler_config: Of the model's own scheduler, by which it is run to be measured.
        """
        self._compression = compression
        self._scheduler_config = scheduler_config
        self._bits: Mapping[str, int] = {}
        self._samples: list[dict[str, Tensor]] = []

    def look_at(self, part: Part) -> None:
        """Measure what is to be known of a part before it is converted."""
        # Sizes share their weights, and so the bits of these.
        if self._bits:
            return
        samples = samples_of(part, self._scheduler_config)
        if self._compression.packing is Packing.MIXED:
            self._bits = deal(measure(part, samples), self._compression)
        else:
            self._samples = [named(part.inputs, inputs) for inputs in samples]

    def pack(self, model: Any, written: Path) -> Any:
        """Pack what a part was converted to.

        Args:
            model: From ``convert``.
            written: Where it was saved.

        Returns:
            Another model.
        """
        if self._compression.packing is Packing.W8A8:
            model = quantize_activations(model, ranges_of(written, self._samples))
        return compress(model, self._compression, self._bits)
