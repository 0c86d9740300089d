"""A last pass in which a few words that CLIP confuses are told apart.

CLIP's image tower sees patches of 16 pixels, in which a small circle is much like a small square,
so its text tower puts the two words side by side and the UNet draws something in between. Here the
UNet learns on with pictures that have one of them in every other place, and the words' token
embeddings learn with it, as in textual inversion (Gal et al. 2022, arXiv:2208.01618). Everything
else of the text tower stays.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from core.starter import autoencoder, render
from core.starter.clip import tokens_of
from core.starter.denoiser import CAPTION_DROPOUT, LatentPool, latent_scene, velocity_errors
from core.starter.package import text_encoder_of
from core.starter.pictures import chance
from core.starter.stage import Losses, StageSettings, train_stage
from core.starter.world import Scene, caption, sample_scene

WORDS = ("circle", "circles", "square", "squares")
SHAPES = ("circle", "square")
PICTURES = 3072
BATCH = 48
EASY_SHARE = 0.6
_TABLE = "embeddings.token_embedding.weight"
_FASTER = 25.0
"""How much faster the words learn than the UNet."""


class _Pair(nn.Module):
    """The UNet and what is added to the token embeddings of ``WORDS``."""

    def __init__(self, unet: UNet2DConditionModel, width: int) -> None:
        """Begin with nothing added."""
        super().__init__()
        self.unet = unet
        self.added = nn.Parameter(torch.zeros(len(WORDS), width))


def part_words(
    clip: CLIPModel,
    unet: UNet2DConditionModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    pool: LatentPool,
    folder: Path,
    *,
    steps: int,
    seed: int,
) -> None:
    """Change the UNet and CLIP's token embeddings in place."""
    encoder = text_encoder_of(clip).requires_grad_(requires_grad=False)
    scenes, latents = _pictures(vae, seed)
    pair = _Pair(unet.to(memory_format=torch.channels_last), encoder.config.hidden_size)
    unet.set_attn_processor(AttnProcessor())
    table: Tensor = encoder.get_parameter(_TABLE).detach().clone()
    rows = torch.tensor([_token(tokenizer, word) for word in WORDS])

    def moved() -> Tensor:
        return table.index_add(0, rows, _FASTER * pair.added)

    def losses_of(step: int) -> Losses:
        rng = chance(seed, "words", step)
        ours = [rng.randrange(PICTURES) for _ in range(BATCH // 2)]
        known, numbers = pool.all_over(BATCH - len(ours), rng)
        batch = torch.cat([latents[ours], known])
        shown = [scenes[number] for number in ours] + [latent_scene(n) for n in numbers]
        order = rng.sample(range(BATCH), BATCH)
        texts = [
            "" if rng.random() < CAPTION_DROPOUT else caption(shown[place], rng) for place in order
        ]
        words = _encode(encoder, moved(), tokens_of(tokenizer, texts))
        error, _ = velocity_errors(unet, batch[order], words, seed=seed * 1_000_003 + step)
        apart = (pair.added[:2].mean(0) - pair.added[2:].mean(0)).norm().detach() * _FASTER
        return {"loss": error.mean(), "moved_apart": apart}

    settings = StageSettings(name="words", steps=steps, learning_rate=2e-4, cool_down=0.4)
    train_stage(settings, pair, losses_of, folder)
    with torch.no_grad():
        clip.text_model.get_parameter(_TABLE).copy_(moved())


def _encode(encoder: CLIPTextModel, table: Tensor, ids: Tensor) -> Tensor:
    """Encode ``(B, T)`` token ids with another table of token embeddings: ``(B, T, D)``."""
    output = torch.func.functional_call(encoder, {_TABLE: table}, (ids,))
    hidden: Tensor = output.last_hidden_state
    return hidden


def _token(tokenizer: CLIPTokenizer, word: str) -> int:
    (token,) = tokenizer(word, add_special_tokens=False).input_ids
    return int(token)


@torch.inference_mode()
def _pictures(vae: AutoencoderKL, seed: int) -> tuple[list[Scene], Tensor]:
    """Draw scenes with at least one of ``SHAPES``, and encode them: ``(N, 4, H/8, W/8)``."""
    rng = chance(seed, "words")
    scenes: list[Scene] = []
    while len(scenes) < PICTURES:
        scene = sample_scene(rng, easy=rng.random() < EASY_SHARE)
        if any(thing.shape in SHAPES for thing in scene.things):
            scenes.append(scene)
    parts = []
    for start in range(0, PICTURES, 64):
        drawn = render.draw_scenes(scenes[start : start + 64], rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts.append(autoencoder.encode(vae, (drawn * 255).round().to(torch.uint8)))
    return scenes, torch.cat(parts) * autoencoder.SCALING_FACTOR
