"""The LoRAs and embeddings that a loaded model works with, changed from run to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from core.errors import InvalidRequest
from core.events import Event, Loading, Notice
from core.models.components import Components
from core.models.embeddings import Embedding, check_widths, read_embedding
from core.models.fingerprint import Fingerprints
from core.models.lora import AppliedLoras, Bound, Strength, bind, merge_into
from core.models.lora_file import read_lora
from core.models.lora_keys import UNET
from core.models.names import Resolver, locate
from core.models.replacement_vae import vae_weights
from core.request import EmbeddingUse, LoraUse, Request
from core.request_checks import check_unchanged

UseT = TypeVar("UseT", LoraUse, EmbeddingUse)


def with_files(
    request: Request,
    *,
    fingerprints: Fingerprints,
    find_lora: Resolver,
    find_embedding: Resolver,
    find_vae: Resolver,
) -> Request:
    """Record where a request's LoRAs, embeddings and VAE lie and what their hashes are.

    Raises:
        ModelMissing: If one is not there.
        InvalidRequest: If one is another than the request was made with.
    """

    def found(uses: Sequence[UseT], field: str, resolver: Resolver, what: str) -> tuple[UseT, ...]:
        resolved = []
        for use in uses:
            path = locate(use.path, resolver, what)
            sha256 = fingerprints.of_file(path)
            check_unchanged(field, path, use.sha256, sha256)
            resolved.append(dataclasses.replace(use, path=str(path), sha256=sha256))
        return tuple(resolved)

    if request.vae:
        path = locate(request.vae, find_vae, "VAE", folder_ok=True)
        sha256 = fingerprints.of_model(vae_weights(path))
        check_unchanged("vae", path, request.vae_sha256, sha256)
        request = dataclasses.replace(request, vae=str(path), vae_sha256=sha256)
    loras = found(request.loras, "loras", find_lora, "LoRA")
    return dataclasses.replace(
        request,
        loras=tuple(
            dataclasses.replace(use, short_hash=fingerprints.of_tensors(Path(use.path))[:12])
            for use in loras
        ),
        embeddings=found(request.embeddings, "embeddings", find_embedding, "embedding"),
    )


class Adapters:
    """What is applied to a loaded model at the time."""

    def __init__(self, components: Components) -> None:
        """Use a model; nothing is applied yet."""
        towers = components.text_towers
        self._modules = {UNET: components.unet} | {tower.name: tower.encoder for tower in towers}
        self._residence = components.residence
        self._widths = {tower.name: _width_of(tower.encoder) for tower in towers}
        self._applied = AppliedLoras(self._modules)
        self._strengths: list[Strength] = []
        self._loras: dict[str, tuple[Bound, tuple[Embedding, ...]]] = {}
        self._embeddings: dict[EmbeddingUse, Embedding] = {}
        self._in_use: object = ((), ())

    def use(self, request: Request) -> Generator[Event, None, bool]:
        """Apply a request's LoRAs and embeddings, as ``with_files`` gave them, and no others.

        Files in use already are not read again. If anything is wrong, what was applied stays.

        Yields:
            ``Loading`` before a file is read.

        Returns:
            Whether prompts mean something else now than before.

        Raises:
            CoreError: If a file cannot be used with the model; see ``read_lora``, ``bind``,
                ``read_embedding``.
        """
        in_use = (request.loras, request.embeddings)
        if in_use == self._in_use:
            return False
        loras: dict[str, tuple[Bound, tuple[Embedding, ...]]] = {}
        for use in request.loras:
            if use.sha256 in self._loras:
                loras[use.sha256] = self._loras[use.sha256]
            elif use.sha256 not in loras:
                yield Loading(what=f"the LoRA {Path(use.path).name}")
                file = read_lora(Path(use.path))
                bound = bind(file, self._modules, self._residence.bring)
                yield Loading(what=f"the LoRA {Path(use.path).name}: {bound.summary}")
                yield from _left_out(file.path, file.unused)
                loras[use.sha256] = (bound, file.embeddings)
        embeddings: dict[EmbeddingUse, Embedding] = {}
        for word in request.embeddings:
            if word in self._embeddings:
                embeddings[word] = self._embeddings[word]
                continue
            embeddings[word] = read_embedding(Path(word.path), word.token)
            yield from _left_out(embeddings[word].path, embeddings[word].unused)
        bundled = [embedding for _, brought in loras.values() for embedding in brought]
        _check_embeddings([*embeddings.values(), *bundled], self._widths)
        self._strengths = [
            Strength(
                loras[use.sha256][0],
                use.weight,
                use.weight if use.text_weight is None else use.text_weight,
            )
            for use in request.loras
        ]
        self._applied.set(self._strengths)
        self._loras, self._embeddings, self._in_use = loras, embeddings, in_use
        return True

    def merge(self) -> None:
        """Write the LoRAs that are applied into the weights for good; nothing else is used after.

        A part that is not in memory all the time has them again whenever it is.
        """
        self._applied.set([])
        for name, module in self._modules.items():
            if any(part == name for one in self._strengths for part, _ in one.bound.changes):
                self._residence.change(
                    name, partial(merge_into, {name: module}, tuple(self._strengths))
                )

    @property
    def words(self) -> frozenset[str]:
        """The words for the request's own embeddings."""
        return frozenset(embedding.token for embedding in self._embeddings.values())

    @property
    def vectors(self) -> dict[str, Mapping[str, Tensor]]:
        """The words that stand for vectors ``(n, D)`` of their own, for each text encoder."""
        bundled = [embedding for _, brought in self._loras.values() for embedding in brought]
        every = [*bundled, *self._embeddings.values()]
        return {embedding.token: embedding.vectors for embedding in every}


def _left_out(path: Path, names: Sequence[str]) -> Iterator[Event]:
    """Say which of a file's tensors are not used, if any."""
    if names:
        yield Notice(
            message=f"Of {path.name}, {' and '.join(names)} are for the text encoder's output and "
            "are not used; its word means what its other vectors say."
        )


def _width_of(encoder: nn.Module) -> int:
    """Read how wide the vectors are that words become; 0 of an encoder that takes no new ones."""
    widths = (
        table.shape[1]
        for name, table in encoder.named_parameters()
        if name.endswith("token_embedding.weight")
    )
    return next(widths, 0)


def _check_embeddings(embeddings: Sequence[Embedding], widths: Mapping[str, int]) -> None:
    words: set[str] = set()
    for embedding in embeddings:
        check_widths(embedding, widths)
        if embedding.token.lower() in words:
            raise InvalidRequest(
                "embeddings",
                f"two of them are called {embedding.token!r}; give one another word (WORD=FILE).",
            )
        words.add(embedding.token.lower())
