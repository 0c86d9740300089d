import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from core.starter import package
from core.starter.train import Plan, adopt, install, train


@pytest.mark.slow
def test_the_whole_of_it_ends_in_a_model_that_diffusers_loads(tmp_path, capsys):
    """A few steps of each part, from nothing; another call finds all of it done."""
    plan = Plan(clip=2, vae=2, unet=2, decoder=2, chunks=1, pool_chunks=1)
    assert not train(tmp_path, plan, ["clip"])
    assert "Still to be trained: vae." in capsys.readouterr().out
    assert train(tmp_path, plan)
    model = tmp_path / "model"
    first = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a red circle", num_inference_steps=2, width=64, height=64).images[0]
    assert picture.size == (64, 64)
    shutil.rmtree(model)
    train(tmp_path, plan)
    again = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_finished_model_can_learn_on(tmp_path):
    adopt(package.WEIGHTS, tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "unet.pt", weights_only=True)
    shipped = load_file(package.WEIGHTS / "unet" / "diffusion_pytorch_model.safetensors")
    assert state["step"] == 0
    for name, weight in shipped.items():
        assert torch.equal(state["model"][name], weight.float()), name
    clip = package.CLIPModel.from_pretrained(tmp_path / "clip")
    text = load_file(package.WEIGHTS / "text_encoder" / "model.safetensors")
    embedding = next(v for k, v in text.items() if k.endswith("token_embedding.weight"))
    assert torch.equal(clip.text_model.embeddings.token_embedding.weight, embedding.float())


def test_a_model_is_shipped_whole_or_not_at_all(tmp_path, monkeypatch):
    made, shipped = tmp_path / "model", tmp_path / "weights"
    for folder, name in ((made, "new"), (shipped, "old")):
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / name).write_text(name)
    copytree = shutil.copytree

    def killed(_source, place):
        place.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        install(made, shipped)
    assert [path.name for path in (shipped / "unet").iterdir()] == ["old"]
    monkeypatch.setattr(shutil, "copytree", copytree)
    install(made, shipped)
    assert [path.name for path in (shipped / "unet").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "weights"]
    shutil.rmtree(shipped)
    install(made, shipped)
    assert (shipped / "unet" / "new").exists()
