"""Fixtures that all tests share: tiny random models of the real classes, and small pictures."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests beside each other, each on one core, are done sooner than each on all of them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, and no verdict on the speed of the machine.
hypothesis.settings.register_profile(
    "stepwise", derandomize=True, deadline=None, database=None, max_examples=200
)
hypothesis.settings.load_profile("stepwise")

WORDS = ("red", "blue", "circle", "square", "a", "on", "the", "moon", "at", "night")

Make = Callable[[Path], Any]
"""What makes a folder that is not there yet."""

SCHEDULER_CONFIG = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.42.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


def pytest_configure(config: pytest.Config) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        # As the app does before its engine; diffusers takes torchvision where it finds it.
        from core.models.torchvision_import import mend_torchvision

        mend_torchvision()
    # NumPy 2 asks tensors for a keyword that torch lacks; diffusers calls np.array on tensors.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:diffusers",
    )


def pytest_collection_finish() -> None:
    """Let no later collection walk what the imports made; the engine collects at every loading.

    With torch and its kin imported that is a million objects, and half a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Give what makes a folder of some name once for all processes of a run, and gives its path."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Make) -> Path:
        folder, done = shared / "once" / name, shared / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(shared / "once" / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def tiny_model(made_once: Callable[[str, Make], Path]) -> Path:
    """A Stable Diffusion folder with random weights that predicts the noise; f8, 64 x 64 pixels."""
    return made_once("tiny", lambda folder: write_tiny_model(folder, "epsilon"))


@pytest.fixture(scope="session")
def tiny_v_model(made_once: Callable[[str, Make], Path]) -> Path:
    """The same architecture with other weights, predicting the velocity."""
    return made_once("tiny-v", lambda folder: write_tiny_model(folder, "v_prediction", seed=1))


@pytest.fixture(scope="session")
def tiny_xl_model(made_once: Callable[[str, Make], Path]) -> Path:
    """An SDXL folder with random weights, see ``write_tiny_xl_model``."""
    return made_once("tiny-xl", write_tiny_xl_model)


@pytest.fixture(scope="session")
def tiny_refiner(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder of SDXL's refiner with random weights, see ``write_tiny_refiner``."""
    return made_once("tiny-refiner", write_tiny_refiner)


@pytest.fixture
def start_picture(tmp_path: Path) -> Path:
    """A PNG of 96 x 80 pixels: colour gradients and a hard edge."""
    y, x = np.mgrid[0:80, 0:96]
    pixels = np.stack([x * 2, y * 3, np.where(x > 40, 220, 30)], axis=-1).astype(np.uint8)
    path = tmp_path / "start.png"
    Image.fromarray(pixels).save(path)
    return path


def write_tiny_model(folder: Path, prediction_type: str, *, seed: int = 0) -> Path:
    """Save seeded random weights of the real classes as a StableDiffusionPipeline folder."""
    import diffusers
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    vocabulary = write_tiny_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text_encoder = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=vocabulary,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=16,
            )
        )
        unet = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=(4, 4, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=4,
            sample_size=64,
        )
    text_encoder.save_pretrained(folder / "text_encoder")
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    config = SCHEDULER_CONFIG | {"prediction_type": prediction_type}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "_diffusers_version": "0.42.0",
                "feature_extractor": [None, None],
                "image_encoder": [None, None],
                "requires_safety_checker": False,
                "safety_checker": [None, None],
                "scheduler": ["diffusers", "PNDMScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            }
        )
    )
    return folder


def write_tiny_xl_model(folder: Path, *, seed: int = 0) -> Path:
    """Save seeded random weights of SDXL's classes as a StableDiffusionXLPipeline folder.

    The text encoders are 16 and 24 wide, the UNet reads 40 and is told pooled text and six numbers
    of size and crop; f8, 64 x 64 pixels.
    """
    import diffusers
    import torch
    import transformers

    write_tiny_model(folder, "epsilon", seed=seed)
    vocabulary = write_tiny_tokenizer(folder / "tokenizer_2")
    with torch.random.fork_rng():
        torch.manual_seed(seed + 100)
        second = transformers.CLIPTextModelWithProjection(
            transformers.CLIPTextConfig(
                vocab_size=vocabulary,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
                hidden_size=24,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                projection_dim=24,
                hidden_act="gelu",
            )
        )
        unet = diffusers.UNet2DConditionModel(**TINY_XL_UNET)
    second.save_pretrained(folder / "text_encoder_2")
    unet.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_tiny_refiner(folder: Path, *, seed: int = 7) -> Path:
    """Save seeded random weights as a folder of SDXL's refiner, made for ``write_tiny_xl_model``.

    The one text encoder is 24 wide, and the UNet, of other widths and blocks than the base model's,
    is told five numbers: size, crop and score.
    """
    import diffusers
    import torch

    write_tiny_xl_model(folder, seed=seed)
    for name in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / name)
    with torch.random.fork_rng():
        torch.manual_seed(seed + 200)
        unet = diffusers.UNet2DConditionModel(**TINY_REFINER_UNET)
    unet.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "StableDiffusionXLImg2ImgPipeline",
        "force_zeros_for_empty_prompt": False,
        "requires_aesthetics_score": True,
        "text_encoder": [None, None],
        "tokenizer": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


TINY_XL_UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": 40,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
}


TINY_REFINER_UNET = TINY_XL_UNET | {
    "block_out_channels": (12, 24),
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 24,
    "projection_class_embeddings_input_dim": 24 + 5 * 8,
}


def write_tiny_control(folder: Path, model: Path, *, seed: int = 0) -> Path:
    """Save a ControlNet for a tiny model's UNet, every weight of it random.

    The convolutions that hand on what it adds are zero in a new one, which would add nothing.
    """
    import diffusers
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = diffusers.UNet2DConditionModel.from_pretrained(model / "unet")
        net = diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        for name, weights in net.named_parameters():
            if weights.count_nonzero() == 0 and name.startswith("controlnet_"):
                torch.nn.init.normal_(weights, std=0.1)
    net.save_pretrained(folder)
    return folder


def write_tiny_decoder(folder: Path, *, seed: int = 0) -> Path:
    """Save a TAESD-type autoencoder with seeded random weights; f8, four latent channels."""
    import diffusers
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tiny = diffusers.AutoencoderTiny(
            encoder_block_out_channels=(4, 4, 4, 4),
            decoder_block_out_channels=(4, 4, 4, 4),
            num_encoder_blocks=(1, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 1),
        )
    tiny.save_pretrained(folder)
    return folder


def write_tiny_tokenizer(folder: Path) -> int:
    """Write CLIP's files for a small vocabulary: all bytes, and some words as one token each.

    Returns:
        How many tokens there are.
    """
    # CLIP's own order of printable letters for bytes (Radford et al. 2019, GPT-2's encoder).
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    merges = list(dict.fromkeys(merges))
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 77,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(vocabulary)
