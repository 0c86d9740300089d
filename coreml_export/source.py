"""The model that is exported: one part in memory at a time, with all that is merged into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import InvalidRequest
from core.events import Event, Loading, Notice
from core.models.adapters import Adapters, with_files
from core.models.catalog import resolve
from core.models.components import Components
from core.models.control import load_control
from core.models.control_file import ControlFile, find_control
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.library import Library
from core.models.load import load
from core.models.names import locate
from core.models.verdict import Kind
from core.models.writing.folder import vocabulary_of
from core.request import TextToImage
from core.sampling.towers import Vectors, word_table
from coreml_export.licence import licence_of
from coreml_export.request import ExportRequest
from coreml_export.tokenizer_files import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model to export, with its LoRAs merged.

    Attributes:
        request: With the places and hashes of all files.
        components: The model, fp32, on the CPU, only the part at work in memory.
        component_sha256: Hash of the weights of each component as they lie on the disk.
        vocabulary: Its tokenizer, with what it has learned.
        words: The vectors ``(n, D)`` of what it has learned, for each text encoder, in the order of
            their numbers: the words, then what stands between these and their letters.
        controls: Its ControlNets by their names in the folder.
        control_sha256: Their hashes.
        licence: Of its weights, or empty if that is not known.
    """

    request: ExportRequest
    components: Components
    component_sha256: Mapping[str, str]
    vocabulary: Vocabulary
    words: Vectors
    controls: Mapping[str, ControlFile]
    control_sha256: Mapping[str, str]
    licence: str

    def net(self, name: str) -> nn.Module:
        """Load a ControlNet."""
        net: nn.Module = load_control(self.controls[name], torch.float32).eval()
        return net


def open_source(
    request: ExportRequest, library: Library, cache: Path
) -> Generator[Loading | Notice, None, Source]:
    """Load a model and merge into it what was asked for.

    Args:
        request: What to export.
        library: Where the user's models and other files are known by name.
        cache: Folder of what can be computed again.

    Yields:
        ``Loading`` before a file is read, and what the person should know of it.

    Raises:
        CoreError: If a file is missing, damaged, or does not fit the model.
    """
    fingerprints = Fingerprints.kept_in(cache)
    identity = identify(resolve(request.model))
    asked = with_files(
        TextToImage(
            model=request.model,
            prompts=("",),
            loras=request.loras,
            embeddings=request.embeddings,
            vae=request.vae,
        ),
        fingerprints=fingerprints,
        find_lora=library.finder(Kind.LORA),
        find_embedding=library.finder(Kind.EMBEDDING),
        find_vae=library.finder(Kind.VAE),
    )
    controls: dict[str, ControlFile] = {}
    for control in request.controls:
        place = locate(control, library.finder(Kind.CONTROLNET), "ControlNet", folder_ok=True)
        name = _title(place)
        if name in controls:
            raise InvalidRequest("controls", f"has two that are called {name}; rename one of them.")
        controls[name] = find_control(place, identity)
    yield Loading(what=f"the model {request.model}")
    components = load(
        identity,
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=fingerprints,
        vae=Path(asked.vae) if asked.vae else None,
        one_at_a_time=True,
    )
    adapters = Adapters(components)
    yield from _told(adapters.use(asked))
    adapters.merge()
    components.residence.clear()
    vocabulary = _vocabulary(components)
    vocabulary.learn({word: len(next(iter(of.values()))) for word, of in adapters.vectors.items()})
    return Source(
        request=dataclasses.replace(
            request,
            loras=asked.loras,
            embeddings=asked.embeddings,
            vae=asked.vae,
            controls=tuple(str(net.path) for net in controls.values()),
        ),
        components=components,
        component_sha256=_components_sha256(identity.weights, fingerprints)
        | {"vae": components.vae_sha256},
        vocabulary=vocabulary,
        words={**adapters.vectors, **_between(vocabulary, components, adapters.vectors)},
        controls=controls,
        control_sha256={name: fingerprints.of_model(f.weights) for name, f in controls.items()},
        licence=licence_of(identity, library),
    )


def _told(events: Iterable[Event]) -> Iterator[Loading | Notice]:
    """Pass on what is told while files are read."""
    for event in events:
        if isinstance(event, Loading | Notice):
            yield event


def _components_sha256(weights: Mapping[str, Path], fingerprints: Fingerprints) -> dict[str, str]:
    """Hash the files of each component by itself."""
    files: dict[str, dict[str, Path]] = {}
    for name, path in weights.items():
        files.setdefault(name.partition(".")[0], {})[name] = path
    return {component: fingerprints.of_model(of) for component, of in files.items()}


def _vocabulary(components: Components) -> Vocabulary:
    tower = components.text_towers[0]
    numbers, pairs = vocabulary_of(tower.tokenizer)
    rows = max(word_table(tower.encoder).num_embeddings for tower in components.text_towers)
    return Vocabulary(numbers, pairs, rows)


def _between(
    vocabulary: Vocabulary, components: Components, words: Vectors
) -> dict[str, dict[str, Tensor]]:
    """Give what new tokens on the way to a word mean: the mean of what they are made of."""
    made: dict[str, dict[str, Tensor]] = {str(number): {} for number in vocabulary.between}
    for tower in components.text_towers if made else ():
        components.residence.bring(tower.name)
        table = word_table(tower.encoder).weight.detach()
        learned = {
            number: vector
            for word, numbers in vocabulary.words.items()
            for number, vector in zip(numbers, words[word][tower.name], strict=True)
        }
        for number, parts in vocabulary.between.items():
            rows = [learned[part] if part in learned else table[part] for part in parts]
            learned[number] = torch.stack(rows).mean(dim=0)
            made[str(number)][tower.name] = learned[number][None]
    return made


def _title(path: Path) -> str:
    """Name a ControlNet's file as Apple's converter does: in words that begin with a capital."""
    words: Any = path.stem.replace("-", "_").split("_")
    return "".join(word[:1].upper() + word[1:] for word in words)
