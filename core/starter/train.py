"""``python -m core.starter.train``: makes the starter model from nothing.

Four parts, one after the other, each with checkpoints, so that the same command goes on after any
interruption: CLIP, the VAE, the UNet, and the decoder once more. On two cores it takes hours;
``torchrun --nproc-per-node 2 -m core.starter.train --threads 1`` uses them best.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from core.starter import autoencoder, clip, denoiser, package, render
from core.starter.pictures import PicturePool
from core.starter.stage import begin_with
from core.starter.together import is_first, join, wait
from core.starter.tokenizer import write_tokenizer
from core.starter.world import sample_scene, vocabulary

SEED = 0
PARTS = ("clip", "vae", "unet", "decoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many steps each part takes.

    Attributes:
        clip: Of 128 pictures.
        vae: Of 24 crops or 8 pictures.
        unet: Of 64 latents.
        decoder: Of 8 pictures.
        chunks: Chunks of 2,048 pictures that the UNet sees.
        pool_chunks: Chunks that CLIP and the VAE see.
    """

    clip: int
    vae: int
    unet: int
    decoder: int
    chunks: int = 30
    pool_chunks: int = 8


def train(folder: Path, plan: Plan, parts: Sequence[str] = PARTS, *, goes_on: bool = False) -> bool:
    """Train the parts that are not done yet and write ``folder / "model"`` once all are.

    Args:
        folder: The working folder.
        plan: How long.
        parts: Which.
        goes_on: Whether the UNet has learned the easy pictures before, and sees all from the start.

    Returns:
        Whether the model is written, by this process.
    """
    checkpoints = folder / "checkpoints"
    tokenizer_folder = folder / "tokenizer"
    if is_first():
        write_tokenizer(vocabulary(), tokenizer_folder)
    wait()
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    scenes = PicturePool(folder / "pictures", SEED + 1, plan.pool_chunks, abstract=False)
    mixed = PicturePool(folder / "pictures", SEED, plan.pool_chunks, abstract=True)
    if "clip" in parts and is_first():
        towers = clip.train_clip(tokenizer, scenes, checkpoints, steps=plan.clip, seed=SEED)
        towers.save_pretrained(folder / "clip")
    if "vae" in parts and is_first():
        vae = autoencoder.train_vae(mixed, checkpoints, steps=plan.vae, seed=SEED)
        vae.eval()
        autoencoder.centre_latents(vae, scenes.chunk(0)[:512])
        vae.save_pretrained(folder / "vae")
    wait()
    if _lacks(folder, "clip", "vae"):
        return False
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    towers = CLIPModel.from_pretrained(folder / "clip").eval()
    latents = denoiser.LatentPool(
        vae, folder / "latents", plan.chunks, at_once=plan.chunks if goes_on else 1
    )
    if "unet" in parts:
        encoder = package.text_encoder_of(towers)
        unet = denoiser.train_unet(
            tokenizer, encoder, latents, checkpoints, steps=plan.unet, seed=SEED
        )
        if is_first():
            unet.save_pretrained(folder / "unet")
    if not is_first():
        return False
    if "decoder" in parts:
        vae = autoencoder.refine_decoder(vae, mixed, checkpoints, steps=plan.decoder, seed=SEED)
        vae.save_pretrained(folder / "vae-refined")
    if _lacks(folder, "unet"):
        return False
    refined = folder / "vae-refined"
    vae = AutoencoderKL.from_pretrained(refined if refined.exists() else folder / "vae")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    unseen = render.draw_scenes(
        [sample_scene(random.Random(k), held_out=True) for k in range(128)], random.Random(-1)
    )
    quality = autoencoder.psnr(vae.eval(), (unseen * 255).round().to(torch.uint8))
    print(f"VAE round trip of 128 unseen renders: {quality:.1f} dB")
    package.write_folder(folder / "model", tokenizer_folder, towers, vae, unet)
    return True


def _lacks(folder: Path, *parts: str) -> bool:
    """Tell which parts are still to be trained, if any is."""
    left = [name for name in parts if not (folder / name).exists()]
    if left and is_first():
        print(f"Still to be trained: {' and '.join(left)}.")
    return bool(left)


def adopt(model: Path, folder: Path) -> None:
    """Lay out a working folder in which the UNet of a finished model learns on.

    Args:
        model: A folder that ``package.write_folder`` wrote.
        folder: The working folder; its own parts are replaced.
    """
    shutil.rmtree(folder / "vae-refined", ignore_errors=True)
    (folder / "checkpoints" / "decoder.pt").unlink(missing_ok=True)
    package.clip_of(model).save_pretrained(folder / "clip")
    vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32)
    vae.save_pretrained(folder / "vae")
    unet = denoiser.build_unet()
    unet.load_state_dict(
        UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32).state_dict()
    )
    begin_with("unet", unet, folder / "checkpoints", muon=True)


def install(model: Path, shipped: Path) -> None:
    """Put a model into the place of the one that ships; a stop in between loses neither.

    Args:
        model: The folder to copy.
        shipped: The folder to replace.
    """
    beside, before = (shipped.with_name(f"{shipped.name}.{word}") for word in ("new", "old"))
    if before.exists() and not shipped.exists():
        before.rename(shipped)
    for left in (beside, before):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(model, beside)
    if shipped.exists():
        shipped.rename(before)
    beside.rename(shipped)
    shutil.rmtree(before, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.starter.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/starter"), help="working folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clip-steps", type=int, default=1000)
    parser.add_argument("--vae-steps", type=int, default=2600)
    parser.add_argument("--unet-steps", type=int, default=3000)
    parser.add_argument("--decoder-steps", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--go-on-with",
        type=Path,
        metavar="MODEL",
        help="let the UNet of this model folder learn on; use with --parts unet",
    )
    parser.add_argument("--install", action="store_true", help="ship what was made")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    join()
    plan = Plan(
        clip=given.clip_steps,
        vae=given.vae_steps,
        unet=given.unet_steps,
        decoder=given.decoder_steps,
    )
    goes_on = given.go_on_with is not None
    if goes_on and is_first():
        adopt(given.go_on_with, given.out)
    wait()
    if not train(given.out, plan, given.parts, goes_on=goes_on):
        return 0
    if given.install:
        install(given.out / "model", package.WEIGHTS)
    print(f"The model lies in {given.out / 'model'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
