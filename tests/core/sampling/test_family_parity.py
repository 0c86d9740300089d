"""Each family of few steps as its makers say it is used, against diffusers' pipelines.

A model or LoRA by its published name gets the scheduler, the steps and the spacing of timesteps of
its model card, none of them asked for.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.commands.task import new_task
from core.events import Notice, PreviewSettings
from core.paths import Profile
from core.request import LoraUse, PreviewDecoder, Request, SchedulerName
from tests.core.sampling.parity import PROMPT, SEED, Ours, Peer, assert_equal


def asked(model: Path, profile: Path, *loras: Path) -> Request:
    """What the command line asks for if a person names the files and nothing else."""
    given = {
        "model": str(model),
        "loras": tuple(LoraUse(path=str(lora)) for lora in loras),
        "prompts": (PROMPT,),
        "width": 64,
        "height": 48,
        "seed": SEED,
        "count": 2,
    }
    return new_task(given, Profile(profile)).request


MODELS = [
    ("sd-turbo", False, SchedulerName.EULER_ANCESTRAL, 4),
    ("sdxl-turbo-1step", True, SchedulerName.EULER_ANCESTRAL, 1),
    ("sdxl_lightning_4step", True, SchedulerName.EULER, 4),
    ("Hyper-SDXL-8steps", True, SchedulerName.DDIM, 8),
    ("tcd-sd15", False, SchedulerName.TCD, 4),
    ("LCM_Dreamshaper", False, SchedulerName.LCM, 4),
]


@pytest.mark.parametrize(("name", "is_xl", "scheduler", "steps"), MODELS, ids=lambda v: str(v))
def test_a_model(
    name: str,
    is_xl: bool,
    scheduler: SchedulerName,
    steps: int,
    ours: Ours,
    tiny_model: Path,
    tiny_xl_model: Path,
    tmp_path: Path,
) -> None:
    model = Path(shutil.copytree(tiny_xl_model if is_xl else tiny_model, tmp_path / name))
    path = model / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | {"timestep_spacing": "trailing"}
    path.write_text(json.dumps(config))
    request = asked(model, tmp_path)
    assert (request.scheduler, request.steps, request.guidance_scale) == (scheduler, steps, 1)
    assert_equal(ours, Peer(model), request)


def lora_file(folder: Path, name: str, *, is_xl: bool) -> Path:
    """A LoRA of one attention layer, by peft's names."""
    blocks = "down_blocks.1" if is_xl else "down_blocks.0"
    stem = f"unet.{blocks}.attentions.0.transformer_blocks.0.attn1.to_q"
    width = 16 if is_xl else 8
    numbers = torch.Generator().manual_seed(1)
    tensors = {
        f"{stem}.lora_A.weight": torch.randn(4, width, generator=numbers),
        f"{stem}.lora_B.weight": torch.randn(width, 4, generator=numbers),
    }
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)
    return path


LORAS = [
    ("lcm-lora-sdv1-5/pytorch_lora_weights", False, SchedulerName.LCM, 4, "leading"),
    ("Hyper-SD15-8steps-lora", False, SchedulerName.DDIM, 8, "trailing"),
    ("TCD-SD15-LoRA", False, SchedulerName.TCD, 4, "leading"),
    ("sdxl_lightning_4step_lora", True, SchedulerName.EULER, 4, "trailing"),
    ("sd_xl_turbo_lora_v1", True, SchedulerName.EULER_ANCESTRAL, 4, "trailing"),
]


@pytest.mark.parametrize(("name", "is_xl", "scheduler", "steps", "spacing"), LORAS)
def test_a_lora(
    name: str,
    is_xl: bool,
    scheduler: SchedulerName,
    steps: int,
    spacing: str,
    ours: Ours,
    tiny_model: Path,
    tiny_xl_model: Path,
    tmp_path: Path,
) -> None:
    model = tiny_xl_model if is_xl else tiny_model
    lora = lora_file(tmp_path, f"{name}.safetensors", is_xl=is_xl)
    request = asked(model, tmp_path, lora)
    assert (request.scheduler, request.steps, request.guidance_scale) == (scheduler, steps, 1)
    peer = Peer(model)
    peer.config = dict(peer.config) | {"timestep_spacing": spacing}
    peer.text_to_image.load_lora_weights(lora.parent, weight_name=lora.name)
    assert_equal(ours, peer, request)


def test_another_scheduler_than_a_lora_knows_is_doubted(
    ours: Ours, tiny_model: Path, tmp_path: Path
) -> None:
    lora = lora_file(tmp_path, "lcm-lora.safetensors", is_xl=False)
    off = PreviewSettings(decoder=PreviewDecoder.OFF)

    def doubts(**changes: object) -> list[str]:
        given = {
            "model": str(tiny_model),
            "prompts": (f"{PROMPT} <lora:{lora}:0.8>",),
            "width": 64,
            "height": 48,
            "seed": SEED,
            **changes,
        }
        events = ours.engine.generate(new_task(given, Profile(tmp_path)).request, preview=off)
        return [event.message for event in events if isinstance(event, Notice)]

    assert doubts() == []
    (told,) = doubts(scheduler=SchedulerName.PNDM, steps=4)
    assert "taken for an LCM LoRA by its name, distilled for lcm and tcd, in about 4" in told
