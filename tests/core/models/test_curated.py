import json
from pathlib import Path

from core.models import catalog, curated
from core.models.curated import CURATED
from core.models.library_names import slug
from core.models.safetensors_header import TensorInfo
from core.models.verdict import Kind, judge
from core.request import TextToImage
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder


def test_ids_are_names_and_unlike():
    ids = [model.id for model in CURATED]
    assert len({name.casefold() for name in (*ids, *catalog.SHIPPED)}) == len(ids) + 1
    assert all(slug(name) == name for name in ids)
    assert len({model.repo for model in CURATED}) == len(ids)
    assert 8 <= len(ids) <= 12


VAE = {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512]}
BLIP = {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip"}
CONFIGS = {
    "vae-ft-mse": (VAE, "diffusion_pytorch_model", layout("sd1-vae")),
    "blip-large": (
        BLIP,
        "model",
        {"vision_model.post_layernorm.weight": TensorInfo("F32", (1024,))},
    ),
}
"""What the repositories of parts have as their ``config.json``, the stem of their weights, and
tensors like theirs."""


def test_all_of_them_are_of_a_kind_that_is_taken(tmp_path: Path):
    assert CONFIGS.keys() == {model.id for model in CURATED if model.kind is not Kind.MODEL}
    for model in CURATED:
        folder = tmp_path / model.id
        if model.kind is Kind.MODEL:
            write_stripped_folder(folder, model.family)
        else:
            config, stem, tensors = CONFIGS[model.id]
            write_stripped(folder / f"{stem}.safetensors", tensors)
            (folder / "config.json").write_text(json.dumps(config))
        verdict = judge(folder)
        assert (verdict.kind, verdict.family) == (model.kind, model.family)


def test_the_settings_are_ones_that_a_request_takes():
    for model in CURATED:
        if model.kind is Kind.MODEL:
            request = TextToImage(
                prompts=("a",),
                model=model.id,
                width=model.width,
                height=model.height,
                steps=model.steps,
                guidance_scale=model.guidance_scale,
                scheduler=model.scheduler,
            )
            assert request.width % 64 == 0
        else:
            assert not model.steps


def test_a_model_is_found_by_id_and_by_repository():
    for model in CURATED:
        assert curated.find(model.id.upper()) is model
        assert curated.find(model.repo) is model
    assert curated.find("none") is None
