"""A CLIP of the starter model's own (Radford et al. 2021, arXiv:2103.00020).

The text tower learns against a small image tower with the contrastive loss and is then frozen: it
is the UNet's text encoder, as in Stable Diffusion. The image tower ships too, for similarity
scores.

The contrastive loss only asks for one good embedding of the whole text, while the UNet reads the
state of every token. Left to itself it lets the colour before a shape decide which shape the state
tells of, and pairs that training never showed come out as another shape. So the states have a loss
of their own (``_TokenStates``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from core.starter import render
from core.starter.pictures import PicturePool, chance, scene_at
from core.starter.render import SIDE
from core.starter.stage import Losses, StageSettings, train_stage
from core.starter.tokenizer import MAX_LENGTH
from core.starter.world import (
    ATTRIBUTES,
    Scene,
    attributes,
    caption,
    describe,
    sample_scene,
    variants,
    word_salad,
)

WIDTH = 128
MEAN = (0.5, 0.5, 0.5)
BATCH = 128
EASY_SHARE = 0.6
"""Share of the run on random batches."""
SALADS = 64
"""Texts without order or picture in each batch, for the losses of single tokens."""


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Make the two towers, untrained: about 1.6 million parameters."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_LENGTH,
        "hidden_act": "quick_gelu",
        "projection_dim": WIDTH,
        **ids,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 16,
        "projection_dim": WIDTH,
    }
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, **ids)
    )


class _TokenStates(nn.Module):
    """Keeps the states of tokens readable, and made of parts.

    Two linear heads must tell from each state its own word and the word before it; and the state
    has to be close to a sum of three codes: of its word, of the word before, and of its position.
    What is said of a colour and of a shape then holds for pairs of them that were never seen.
    """

    def __init__(self, vocabulary: int) -> None:
        """Make untrained heads and codes for so many tokens."""
        super().__init__()
        self.read_own = nn.Linear(WIDTH, vocabulary)
        self.read_before = nn.Linear(WIDTH, vocabulary)
        self.own = nn.Embedding(vocabulary, WIDTH)
        self.before = nn.Embedding(vocabulary, WIDTH)
        self.position = nn.Embedding(MAX_LENGTH, WIDTH)

    def forward(self, states: Tensor, ids: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Give two losses: of the reading, and of what the sum of codes leaves over.

        Args:
            states: ``(B, T, D)``.
            ids: Of the tokens, ``(B, T)``, the first the begin token.
            last: Position of the end token, ``(B,)``.
        """
        place = torch.arange(1, ids.shape[1])
        real = place < last[:, None]  # (B, T - 1)
        state, word, before = states[:, 1:][real], ids[:, 1:][real], ids[:, :-1][real]
        reading = F.cross_entropy(self.read_own(state), word)
        reading = reading + F.cross_entropy(self.read_before(state), before)
        place = place.expand(real.shape)[real]
        parts = self.own(word) + self.before(before) + self.position(place)
        return reading, (state - parts).square().mean()


class _Towers(nn.Module):
    """The two towers, the head that reads attributes off their embeddings, and the tokens'."""

    def __init__(self, clip: CLIPModel) -> None:
        """Put untrained heads on ``clip``."""
        super().__init__()
        self.clip = clip
        self.tokens = _TokenStates(clip.config.text_config.vocab_size)
        self.head = nn.Linear(WIDTH, sum(len(values) for values in ATTRIBUTES.values()))

    def reading_loss(self, embeddings: Tensor, scenes: Sequence[Scene | None]) -> Tensor:
        """Mean cross-entropy of all attributes; None and what a scene lacks do not count.

        Args:
            embeddings: ``(B, D)``, of length one.
            scenes: What they stand for.
        """
        scores = self.head(10 * embeddings).split([len(v) for v in ATTRIBUTES.values()], dim=1)
        total = embeddings.new_zeros(())
        for (name, values), score in zip(ATTRIBUTES.items(), scores, strict=True):
            answers = [None if scene is None else attributes(scene)[name] for scene in scenes]
            rows = [row for row, answer in enumerate(answers) if answer is not None]
            if rows:
                right = torch.tensor([values.index(str(answers[row])) for row in rows])
                total = total + F.cross_entropy(score[rows], right)
        return total / len(ATTRIBUTES)


def _hard_scenes(rng: random.Random) -> list[Scene]:
    """Draw a batch in which each scene stands beside three that differ from it in one thing."""
    scenes: list[Scene] = []
    while len(scenes) < BATCH:
        scene = sample_scene(rng)
        scenes += [scene, *variants(scene, rng, 3)]
    return scenes


def to_pixel_values(pictures: Tensor) -> Tensor:
    """Turn ``(B, 3, H, W) uint8`` into what the image tower takes: float, -1 to 1."""
    return pictures.float() / 127.5 - 1


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Tokenise to ``(B, 77) int64``, padded and cut as Stable Diffusion does."""
    encoded = tokenizer(
        texts, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    return ids


def train_clip(
    tokenizer: CLIPTokenizer, pool: PicturePool, folder: Path, *, steps: int, seed: int
) -> CLIPModel:
    """Train both towers with the symmetric contrastive loss (the paper's figure 3).

    Random batches are told apart by colours alone, and a CLIP that gets away with this knows
    neither places nor which colour goes with which shape (Yuksekgonul et al. 2023,
    arXiv:2210.01936). Two things help: the last part of the run is on scenes that differ in one
    thing, and one small linear head must read every attribute off either tower's embedding.
    """
    torch.manual_seed(seed)
    model = _Towers(build_clip(tokenizer))
    towers = model.clip
    easy_until = int(steps * EASY_SHARE)

    def losses_of(step: int) -> Losses:
        rng = chance(seed, "clip", step)
        if step < easy_until:
            pictures, numbers = next(pool.batches(BATCH, step))
            scenes = [scene_at(pool.seed, number) for number in numbers]
            texts = [describe(s) if rng.random() < 0.5 else caption(s, rng) for s in scenes]
        else:
            scenes = _hard_scenes(rng)
            pictures = (render.draw_scenes(scenes, rng) * 255).round().to(torch.uint8)
            texts = [describe(scene) for scene in scenes]
        salads = [word_salad(rng) for _ in range(SALADS)]
        ids = tokens_of(tokenizer, [*texts, *salads])
        last = (ids == tokenizer.eos_token_id).int().argmax(1)
        # Padding only repeats the end token behind the pooled position, which cannot see it.
        ids = ids[:, : int(last.max()) + 1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            read = towers.text_model(input_ids=ids)
            text = towers.text_projection(read.pooler_output[:BATCH])
            image = towers.get_image_features(pixel_values=to_pixel_values(pictures)).pooler_output
        text, image = F.normalize(text.float(), dim=-1), F.normalize(image.float(), dim=-1)
        logits = towers.logit_scale.clamp(max=4.6).exp() * text @ image.T  # (B, B)
        target = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        right = (logits.argmax(1) == target).float().mean()
        told = [s if words == describe(s) else None for s, words in zip(scenes, texts, strict=True)]
        read_text, read_image = model.reading_loss(text, told), model.reading_loss(image, scenes)
        read_tokens, left_over = model.tokens(read.last_hidden_state.float(), ids, last)
        return {
            "loss": loss + 0.5 * (read_text + read_image) + read_tokens + 2 * left_over,
            "right": right,
            "read_text": read_text.detach(),
            "read_image": read_image.detach(),
            "read_tokens": read_tokens.detach(),
            "left_over": left_over.detach(),
        }

    settings = StageSettings(name="clip", steps=steps, learning_rate=1e-3)
    train_stage(settings, model, losses_of, folder)
    return towers
