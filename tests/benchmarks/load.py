"""How long loading takes and how much memory, against what the files alone cost.

``python -m tests.benchmarks.load FOLDER`` writes a folder of Stable Diffusion 1.5's size with
random weights below FOLDER if it is not there (4.3 GB in fp32), reads it until it is in the page
cache, and prints three figures: the time of touching every page of the mapped files and building
the modules on the meta device, the time of ``load`` (best of N each, in turn), and the peak of
anonymous memory and of all resident memory while loading, over the weights' bytes.
"""

from __future__ import annotations

import argparse
import json
import mmap
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from core.bench_training import timed
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity, identify
from core.models.load import load
from core.models.single_file import CONFIGS

PIPELINES: dict[str, dict[str, Any]] = {
    "sd1": {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
}
PIPELINES["sdxl"] = PIPELINES["sd1"] | {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
}
"""What ``model_index.json`` says of each family."""


def configs(family: str) -> dict[str, Any]:
    """Read the published configurations of a family, ``sd1`` for one."""
    values: dict[str, Any] = json.loads((CONFIGS / f"{family}.json").read_text())
    return values


def build(family: str = "sd1") -> dict[str, Any]:
    """Build the modules on the meta device."""
    values = configs(family)
    with init_empty_weights():
        modules = {
            "unet": UNet2DConditionModel.from_config(values["unet"]),
            "vae": AutoencoderKL.from_config(values["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**values["text_encoder"])),
        }
        if "text_encoder_2" in values:
            config = CLIPTextConfig(**values["text_encoder_2"])
            modules["text_encoder_2"] = CLIPTextModelWithProjection(config)
    return modules


def write_model(folder: Path, family: str = "sd1", dtype: torch.dtype = torch.float32) -> None:
    """Write a folder of a family's full size with random weights."""
    values = configs(family)
    for name, module in build(family).items():
        module.to(dtype).to_empty(device="cpu")
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.02, 0.02)
        module.save_pretrained(folder / name, max_shard_size="50GB")
        module.to("meta")
    for name, pad_token in zip(("tokenizer", "tokenizer_2"), values["pad_tokens"], strict=False):
        write_tokenizer(folder / name, pad_token)
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(values["scheduler"]))
    (folder / "model_index.json").write_text(json.dumps(PIPELINES[family]))


def write_tokenizer(folder: Path, pad_token: str) -> None:
    """Write CLIP's tokenizer in the files in which Stable Diffusion 1.5 is published.

    ``save_pretrained`` of today's transformers writes one ``tokenizer.json`` instead, which takes
    transformers four times as long to read.
    """
    tokenizer = bundled_tokenizer(pad_token)
    tokenizer.save_pretrained(folder)
    backend = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
    merges = [" ".join(pair) for pair in backend["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def touch(identity: Identity) -> None:
    """Read every byte of the mapped files and build the modules without weights."""
    for path in identity.weights.values():
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            torch.frombuffer(mapped, dtype=torch.uint8)[: len(mapped) // 8 * 8].view(
                torch.int64
            ).sum()
    build()


def memory() -> dict[str, int]:
    """Read this process's memory in bytes, by Linux's names."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    model = options.folder / "sd15"
    if not model.exists():
        write_model(model)
    identity = identify(model)
    fingerprints = Fingerprints.kept_in(options.folder)
    # Hashes are computed once in a file's life; they are no part of a warm start.
    fingerprints.of_model(identity.weights)
    held: list[object] = []
    cpu = torch.device("cpu")

    def run() -> None:
        held[:] = [
            load(
                identity,
                device=cpu,
                dtype=torch.float32,
                fingerprints=fingerprints,
            )
        ]

    before = memory()
    size = sum(path.stat().st_size for path in identity.weights.values())
    first = timed(run, cpu)
    after = memory()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    held.clear()
    floors = [timed(lambda: touch(identity), cpu) for _ in range(options.repeat)]
    loads = []
    for _ in range(options.repeat):
        loads.append(timed(run, cpu))
        held.clear()
    floor, best = min(floors), min(loads)
    sys.stdout.write(
        json.dumps(
            {
                "bytes": size,
                "first_load_s": [round(x, 2) for x in first],
                "floor_wall_cpu_s": [round(x, 2) for x in floor],
                "load_wall_cpu_s": [round(x, 2) for x in best],
                "wall_ratio": round(best[0] / floor[0], 2),
                "cpu_ratio": round(min(c for _, c in loads) / min(c for _, c in floors), 2),
                "anonymous_after_over_weights": round(
                    (after["RssAnon"] - before["RssAnon"]) / size, 3
                ),
                "peak_resident_over_weights": round((peak - before["VmRSS"]) / size, 3),
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
