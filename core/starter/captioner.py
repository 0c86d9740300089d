"""``python -m core.starter.captioner``: makes the captioner that ships, and measures it.

BLIP's architecture (Li et al. 2022, arXiv:2201.12086) at a hundredth of its size: a vision
transformer, and a text decoder that attends to its states. It learns from renders of the starter
model's world alone and writes that world's full caption, the same for every picture of a scene.
"""

from __future__ import annotations

import argparse
import json
import shutil
import string
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from core.starter.caption_check import report
from core.starter.caption_pictures import captioned, sample_known, spoil, words_before
from core.starter.pictures import chance
from core.starter.render import SIDE
from core.starter.stage import Losses, StageSettings, train_stage
from core.starter.train import install
from core.starter.world import vocabulary
from core.training.caption_models import SHIPPED

VISION_WIDTH, VISION_LAYERS = 160, 6
TEXT_WIDTH, TEXT_LAYERS = 128, 2
LONGEST = 96
"""Tokens of a caption with all that stands before it."""
BATCH = 128
EASY_SHARE = 0.15
"""Share of the run on pictures of one plain thing."""
BEFORE_SHARE = 0.25
"""Share of captions that begin with words which say nothing of the picture."""
MEAN = (0.5, 0.5, 0.5)
IGNORED = -100
"""The label of a token that is given rather than asked for."""

PAD, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def write_tokenizer(folder: Path) -> BertTokenizer:
    """Write a WordPiece tokenizer of the world's words, and of letters for all others."""
    letters = [*string.ascii_lowercase, *string.digits]
    tokens = [PAD, UNKNOWN, BEGIN, END, MASK, *vocabulary(), *letters, *".-'"]
    tokens += [f"##{letter}" for letter in letters]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = BertTokenizer(vocab=numbers, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    # BERT's own form, which older readers look for.
    (folder / "vocab.txt").write_text("\n".join(numbers) + "\n", encoding="utf-8")
    return tokenizer


def build(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """Make the untrained model: about 2.6 million parameters."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST,
        "projection_dim": TEXT_WIDTH,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 4 * VISION_WIDTH,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": 5,
        "image_size": SIDE,
        "patch_size": 16,
        "projection_dim": TEXT_WIDTH,
        "initializer_range": 0.02,
    }
    config = BlipConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=TEXT_WIDTH,
        image_text_hidden_size=TEXT_WIDTH,
    )
    return BlipForConditionalGeneration(config)


def train(folder: Path, *, steps: int, seed: int = 0, batch: int = BATCH) -> Path:
    """Train from the checkpoint in ``folder`` if there is one, and write ``folder / "model"``.

    Returns:
        The model's folder.

    Raises:
        TrainingDiverged: See ``train_stage``.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder / "tokenizer")
    model = build(tokenizer)

    def losses_of(step: int) -> Losses:
        rng = chance(seed, "captions", step)
        easy = step < steps * EASY_SHARE
        scenes = [sample_known(rng, easy=easy) for _ in range(batch)]
        made = captioned(scenes, rng, shades=True)
        before = [words_before(rng) if rng.random() < BEFORE_SHARE else "" for _ in range(batch)]
        ids, labels = _tokens(tokenizer, before, made.captions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(
                pixel_values=spoil(made.pictures, rng) * 2 - 1,
                input_ids=ids,
                attention_mask=(ids != tokenizer.pad_token_id).long(),
            ).logits  # (B, T, V)
        scores, asked = logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten()
        loss = F.cross_entropy(scores, asked, ignore_index=IGNORED)
        told = asked != IGNORED
        right = (scores.argmax(1) == asked)[told].float().mean()
        return {"loss": loss, "right": right}

    settings = StageSettings(
        name="captioner",
        steps=steps,
        learning_rate=1e-3,
        average=0.995,
        muon=True,
        ends=("vision_model.embeddings", "text_decoder.bert.embeddings", "text_decoder.cls"),
    )
    learned = train_stage(settings, model, losses_of, folder / "checkpoints")
    assert isinstance(learned, BlipForConditionalGeneration)
    write_folder(folder / "model", tokenizer, learned)
    return folder / "model"


def _tokens(
    tokenizer: BertTokenizer, before: list[str], captions: list[str]
) -> tuple[Tensor, Tensor]:
    """Tokenise captions behind other words.

    Returns:
        Ids and labels, both ``(B, T) int64``, padded at the end; what is not to be learned, the
        other words among it, is ``IGNORED``.
    """
    texts = [f"{words} {caption}".strip() for words, caption in zip(before, captions, strict=True)]
    ids: Tensor = tokenizer(texts, padding=True, return_tensors="pt").input_ids
    labels = ids.masked_fill(ids == tokenizer.pad_token_id, IGNORED)
    for row, words in enumerate(before):
        given = len(tokenizer.tokenize(words)) + 1
        labels[row, :given] = IGNORED
    return ids, labels


def write_folder(
    folder: Path, tokenizer: BertTokenizer, model: BlipForConditionalGeneration
) -> None:
    """Write a plain BLIP folder in half precision beside ``folder``, then put it in its place."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.half().save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    vocabulary_file = "\n".join(sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__)) + "\n"
    (unfinished / "vocab.txt").write_text(vocabulary_file, encoding="utf-8")
    pictures = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_processor_type": "BlipImageProcessor",
        "image_std": MEAN,
        "processor_class": "BlipProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": SIDE, "width": SIDE},
    }
    words = json.dumps(pictures, indent=2) + "\n"
    (unfinished / "preprocessor_config.json").write_text(words, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.starter.captioner", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/captioner"), help="working folder")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--pictures", type=int, default=200, help="that it is measured on")
    parser.add_argument(
        "--generated", type=int, default=0, help="pictures of the starter model to measure it on"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--measure", type=Path, metavar="DIR", help="only measure what lies there")
    parser.add_argument("--install", action="store_true", help="ship what was made")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    made = given.measure or train(given.out, steps=given.steps)
    if given.install:
        install(made, SHIPPED)
    report(made, pictures=given.pictures, generated=given.generated)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
