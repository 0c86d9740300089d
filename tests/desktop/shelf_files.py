"""Small files that the library takes for what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.models.library_file import Entry, LibraryFile, WeightFile
from core.models.safetensors_header import TensorInfo
from core.models.verdict import judge
from core.paths import Profile
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder

STEM = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def lora(path: Path, *, rank: int = 4, licence: str = "") -> Path:
    """A LoRA for Stable Diffusion 1.x; its rank makes it another one."""
    tensors = {
        f"{STEM}.lora_down.weight": TensorInfo("F16", (rank, 768)),
        f"{STEM}.lora_up.weight": TensorInfo("F16", (640, rank)),
        f"{STEM}.alpha": TensorInfo("F16", ()),
    }
    return write_stripped(path, tensors, {"modelspec.license": licence} if licence else None)


def embedding(path: Path, *, width: int = 768, vectors: int = 2) -> Path:
    """A textual inversion for Stable Diffusion 1.x, or of another width."""
    return write_stripped(path, {"emb_params": TensorInfo("F32", (vectors, width))})


def fill_library(profile: Profile) -> None:
    """Write a library of models as people have them; their files take no room on the disk."""
    folder = profile.root / "my files"
    files = {
        "stable-diffusion-v1-5": (
            write_stripped_folder(folder / "stable-diffusion-v1-5", "sd1"),
            "stable-diffusion-v1-5/stable-diffusion-v1-5@39593d5650112b4cc580433f6b0435385882d819",
        ),
        "dreamy-v3": (
            write_stripped(folder / "dreamy-v3.safetensors", layout("sd1-original")),
            "",
        ),
        "fill-in": (
            write_stripped(folder / "fill-in.safetensors", layout("sd1-inpainting-original")),
            "",
        ),
        "ink-wash": (lora(folder / "loras" / "ink-wash.safetensors", licence="CC-BY-4.0"), ""),
        "scribble": (
            write_stripped(folder / "scribble.safetensors", layout("sd1-controlnet")),
            "",
        ),
        "soft-light": (embedding(folder / "soft-light.safetensors"), ""),
        "sharper-vae": (
            write_stripped(folder / "sharper-vae.safetensors", layout("sd1-vae")),
            "",
        ),
    }
    entries = []
    for name, (path, source) in files.items():
        verdict = judge(path)
        weights = tuple(
            WeightFile(
                name="" if file == path else file.relative_to(path).as_posix(),
                size=file.stat().st_size,
                sha256=hashlib.sha256(str(file).encode()).hexdigest(),
            )
            for file in verdict.files
        )
        entries.append(
            Entry(
                name=name,
                title=verdict.title,
                kind=verdict.kind,
                family=verdict.family,
                path=path,
                owned=False,
                files=weights,
                sha256=weights[0].sha256,
                source=source,
                added="2026-01-01",
            )
        )
    with LibraryFile(profile.library_file, profile.models).changing() as library:
        library.update({entry.name: entry for entry in entries})
    (folder / "dreamy-v3.safetensors").unlink()
