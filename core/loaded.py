"""The model in memory, and what was learned while it was used."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from core.events import Event, Loading
from core.models.adapters import Adapters
from core.models.components import Components
from core.models.control import ControlNets, Opening
from core.models.control_file import FoundControl
from core.models.exported_limits import function_of, is_whole
from core.models.identify import Identity
from core.models.load import load_refiner
from core.models.refiner_file import PREFIX
from core.models.replacement_vae import vae_weights
from core.request import Precision, PreviewDecoder, Request
from core.sampling.expert import Expert
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
        units: What runs the parts of an exported model, as its request has it.
        function: Which of their functions makes pictures of its size.
        source: The torch model that gives what an exported one lacks, or None.
    """

    identity: Identity
    precision: Precision
    vae: str
    stamps: tuple[tuple[int, int], ...]
    units: str = ""
    function: str = ""
    source: Identity | None = None

    @classmethod
    def of(cls, identity: Identity, precision: Precision, vae: str = "") -> ModelKey:
        """Look at the files as they are now."""
        files = [*identity.weights.values(), *(vae_weights(Path(vae)).values() if vae else ())]
        stats = (path.stat() for path in files)
        return cls(identity, precision, vae, tuple((s.st_size, s.st_mtime_ns) for s in stats))

    @classmethod
    def for_request(
        cls, request: Request, identity: Identity, source: Identity | None = None
    ) -> ModelKey:
        """Look at what a request with nothing left to choose is made with.

        Args:
            request: The request.
            identity: Its model.
            source: The torch model that gives what an exported one lacks, or None.
        """
        key = cls.of(identity, request.precision, request.vae)
        if identity.exported is None:
            return key
        beside = () if source is None else cls.of(source, request.precision).stamps
        return dataclasses.replace(
            key,
            stamps=key.stamps + beside,
            units=request.compute_units,
            function=function_of(request, identity.exported.sizes),
            source=source,
        )

    @property
    def computes_by_itself(self) -> bool:
        """Whether every part of the model is exported, and none torch's."""
        return is_whole(self.identity, self.vae)


@dataclass(slots=True)
class LoadedModel:
    """A model, ready to work.

    Attributes:
        key: What it was loaded from, and how.
        components: Its modules.
        texts: Its prompts, encoded.
        adapters: The LoRAs and embeddings it works with.
        nets: Its ControlNets.
        refiner: The model that takes over from it, if there is one, and what that was loaded from.
        decoders: The preview decoders that were asked for.
        preview_costs: What previews cost with it.
    """

    key: ModelKey
    components: Components
    texts: TextEmbeddings
    adapters: Adapters
    nets: ControlNets
    refiner: tuple[ModelKey, Expert] | None = None
    decoders: dict[PreviewDecoder, Decode | None] = field(default_factory=dict)
    preview_costs: PreviewCosts = field(default_factory=dict)

    @classmethod
    def of(cls, key: ModelKey, components: Components) -> LoadedModel:
        """Begin with nothing learned."""
        texts, adapters = TextEmbeddings(components), Adapters(components)
        return cls(key, components, texts, adapters, ControlNets(components))

    @property
    def experts(self) -> tuple[Expert, ...]:
        """The models that share a run: it, and its refiner."""
        own = Expert(self.components, self.texts)
        return (own,) if self.refiner is None else (own, self.refiner[1])

    def use(
        self,
        request: Request,
        files: Mapping[str, FoundControl],
        refiner: Identity | None,
        opening: Opening,
    ) -> Generator[Event, None, None]:
        """Have what a request adds to the model in memory, and nothing else.

        Args:
            request: With the hashes of all files.
            files: Its ControlNets, by their hashes.
            refiner: Its refiner, or None.
            opening: Gives what opens exported parts.

        Yields:
            ``Loading`` before a file is read.

        Raises:
            CoreError: If a file cannot be used with the model.
        """
        changed = yield from self.adapters.use(request)
        if changed:
            self.texts = TextEmbeddings(self.components, self.adapters.vectors)
        yield from self.nets.use(files, opening)
        yield from self._refine(refiner, request.refiner_sha256)
        if changed and self.refiner is not None:
            key, expert = self.refiner
            texts = TextEmbeddings(expert.components, self.adapters.vectors)
            self.refiner = (key, Expert(expert.components, texts))

    def _refine(self, identity: Identity | None, sha256: str) -> Generator[Event, None, None]:
        """Have this refiner in memory, or none."""
        key = None if identity is None else ModelKey.of(identity, self.key.precision)
        if key == (None if self.refiner is None else self.refiner[0]):
            return
        self.refiner = None
        self.components.residence.drop(PREFIX)
        if identity is None or key is None:
            return
        yield Loading(what=f"the refiner {identity.path.name}")
        with ExitStack() as undo:
            undo.callback(self.components.residence.drop, PREFIX)
            loaded = load_refiner(identity, self.components, sha256=sha256)
            undo.pop_all()
        self.refiner = (key, Expert(loaded, TextEmbeddings(loaded, self.adapters.vectors)))

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
