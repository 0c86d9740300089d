"""Textual inversion (Gal et al. 2022, arXiv:2208.01618): the model stays, a new word is learned."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import InvalidRequest
from core.models.components import Components, TextTower
from core.models.writing.embedding import write_diffusers_embedding, write_kohya_embedding
from core.request import EmbeddingUse, TextToImage
from core.sampling.chunks import pieces
from core.sampling.towers import word_table
from core.training.optimisers import Group
from core.training.recipe import Taught
from core.training.student import Student, freeze

TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "a photo of {}",
    "a photo of a {}",
    "a picture of {}",
    "a close-up of {}",
    "a rendering of {}",
    "{} in the centre",
)
"""Sentences that say nothing of a thing but its name, after the paper's appendix; those whose words
the model knows are used."""

_RANGE = (0.01, 0.99)
"""Quantiles of the lengths of a model's own words between which a new one's is held."""


@dataclass(slots=True)
class TextualInversionRecipe:
    """Teaches vectors that stand for a new word; see ``core.training.recipe.Recipe``.

    Attributes:
        token: The word.
        init_word: What it means to begin with.
        vectors: How many vectors it is.
        rate: Learning rate.
    """

    token: str
    init_word: str
    vectors: int
    rate: float
    _templates: tuple[str, ...] = ()
    _tokenizer: Any = None
    _lengths: dict[str, tuple[float, float]] = field(default_factory=dict)

    file_name = "final.safetensors"
    in_full = False

    def check(self, outline: Components) -> None:
        """Make sure that the word is new, and that its first meaning is one it has room for.

        Raises:
            InvalidRequest: If it is not.
        """
        first = outline.text_towers[0]
        self._templates = _known(first)
        self._tokenizer = first.tokenizer
        if _is_known(first, self.token):
            raise InvalidRequest(
                "token",
                f"{self.token!r} is a word that the model knows and would not have any more; "
                f"choose one of no meaning, like <{self.token}>.",
            )
        tokens = len(_ids(first, self.init_word, "init_word"))
        if tokens > self.vectors:
            raise InvalidRequest(
                "init_word",
                f"{self.init_word!r} is {tokens} tokens to the model and {self.token!r} has room "
                f"for {self.vectors}; give it {tokens} vectors, or a shorter word.",
            )

    def attach(self, components: Components) -> Taught:
        """Give a model a new word.

        Raises:
            InvalidRequest: If the word is not new, or its first meaning does not do.
        """
        self.check(components)
        towers = components.text_towers
        freeze([components.unet, *(tower.encoder for tower in towers)])
        words = nn.ParameterDict()
        for tower in towers:
            # Begun on the CPU, so that it begins the same everywhere.
            rows = _table(tower).cpu()
            first = rows[_ids(tower, self.init_word, "init_word")].float()
            # A word of several tokens lends each in turn.
            words[tower.name] = first[torch.arange(self.vectors) % len(first)].clone()
            low, high = torch.quantile(rows.float().norm(dim=1), torch.tensor(_RANGE)).tolist()
            self._lengths[tower.name] = (low, high)
        # The same vectors twice would learn the same.
        for name, rows in words.items():
            noise = torch.randn(rows.shape) * 0.01 * self._lengths[name][1] / rows.shape[1] ** 0.5
            rows.data += noise * (torch.arange(self.vectors) > 0)[:, None]
        words.to(components.device)
        student = Student(components, learns_text=True, words=(self.token, words))
        return Taught(student, [Group(list(words.values()), self.rate, decays=False)])

    def after_step(self, student: Student) -> None:
        """Hold the vectors' lengths to those that the model's own words have."""
        with torch.no_grad():
            for name, rows in student.words.items():
                low, high = self._lengths[name]
                length = rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
                rows.mul_(length.clamp(low, high) / length)

    def caption(self, text: str, seed: int) -> str:
        """Give a caption with the word in it: the picture's own, or else one of the sentences."""
        if self._is_read(text):
            return text
        return random.Random(seed).choice(self._templates).format(self.token)

    def _is_read(self, text: str) -> bool:
        """Whether the word stands in a caption by itself, and not beyond what is read of it."""
        before, word = pieces(text, (self.token,))[0]
        if word is None:
            return False
        number = len(self._tokenizer(before, add_special_tokens=False, verbose=False).input_ids)
        return bool(number + self.vectors <= self._tokenizer.model_max_length - 2)

    def use(self, request: TextToImage, path: Path) -> TextToImage:
        """Give the request with the word, which its prompt then is."""
        use = EmbeddingUse(path=str(path), token=self.token)
        return dataclasses.replace(request, prompts=(self.token,), embeddings=(use,))

    def write(
        self,
        path: Path,
        components: Components,  # noqa: ARG002  # The vectors are all there is.
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write the vectors as kohya's sd-scripts do, which most programs read."""
        write_kohya_embedding(path, _rows(learned), metadata=metadata)

    def write_others(
        self,
        folder: Path,
        components: Components,  # noqa: ARG002  # See above.
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write them as diffusers does."""
        path = folder / "diffusers" / "learned_embeds.safetensors"
        write_diffusers_embedding(path, self.token, _rows(learned), metadata=metadata)


def _rows(learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("words."): rows for name, rows in learned.items()}


def _table(tower: TextTower) -> Tensor:
    """Give the vectors ``(N, D)`` of all words that a text encoder knows."""
    return word_table(tower.encoder).weight.data


def _ids(tower: TextTower, word: str, field_name: str) -> list[int]:
    ids: list[int] = tower.tokenizer(word, add_special_tokens=False).input_ids
    if not ids:
        raise InvalidRequest(field_name, f"{word!r} means nothing to the model; give another word.")
    return ids


def _is_known(tower: TextTower, word: str) -> bool:
    """Whether a word is one token, and not the one for what is unknown."""
    tokenizer: Any = tower.tokenizer
    ids = tokenizer(word, add_special_tokens=False).input_ids
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


def _known(tower: TextTower) -> tuple[str, ...]:
    """Choose the sentences of which each word is one token."""
    return tuple(
        template
        for template in TEMPLATES
        if all(_is_known(tower, word) for word in template.replace("{}", "").split())
    )
