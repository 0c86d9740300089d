"""The model in memory, and what was learned while it was used."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from core.events import Event, Loading
from core.models.adapters import Adapters
from core.models.components import Components
from core.models.control import ControlNets
from core.models.identify import Identity
from core.models.replacement_vae import vae_weights
from core.request import Precision, PreviewDecoder
from core.sampling.linear_preview import Decode, is_at_hand
from core.sampling.preview import PreviewCosts, make_decoder
from core.sampling.text import TextEmbeddings


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What tells models apart, also one that was trained on, or given a part, in the same folder.

    Attributes:
        identity: What it is.
        precision: Resolved.
        vae: Path of the VAE in the place of its own, or empty.
        stamps: Size and time of change of each weight file.
    """

    identity: Identity
    precision: Precision
    vae: str
    stamps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, identity: Identity, precision: Precision, vae: str = "") -> ModelKey:
        """Look at the files as they are now."""
        files = [*identity.weights.values(), *(vae_weights(Path(vae)).values() if vae else ())]
        stats = (path.stat() for path in files)
        return cls(identity, precision, vae, tuple((s.st_size, s.st_mtime_ns) for s in stats))


@dataclass(slots=True)
class LoadedModel:
    """A model, ready to work.

    Attributes:
        key: What it was loaded from, and how.
        components: Its modules.
        texts: Its prompts, encoded.
        adapters: The LoRAs and embeddings it works with.
        nets: Its ControlNets.
        decoders: The preview decoders that were asked for.
        preview_costs: What previews cost with it.
    """

    key: ModelKey
    components: Components
    texts: TextEmbeddings
    adapters: Adapters
    nets: ControlNets
    decoders: dict[PreviewDecoder, Decode | None] = field(default_factory=dict)
    preview_costs: PreviewCosts = field(default_factory=dict)

    @classmethod
    def of(cls, key: ModelKey, components: Components) -> LoadedModel:
        """Begin with nothing learned."""
        nets = ControlNets(components.device, components.dtype)
        return cls(key, components, TextEmbeddings(components), Adapters(components), nets)

    @property
    def held(self) -> int:
        """Bytes of the weights that are on the device now."""
        return self.components.residence.held + self.nets.held

    def decoder(self, wanted: PreviewDecoder, cache: Path) -> Generator[Event, None, Decode | None]:
        """Give a preview decoder; fitting the linear one takes seconds for a large VAE.

        Args:
            wanted: Which.
            cache: Folder in which fits are kept.
        """
        if wanted not in self.decoders:
            if wanted is PreviewDecoder.LINEAR and not is_at_hand(self.components, cache):
                yield Loading(what="the preview's colours")
            self.decoders[wanted] = make_decoder(wanted, self.components, cache)
        return self.decoders[wanted]
