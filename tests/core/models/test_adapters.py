"""LoRAs and embeddings in the engine: applied from run to run, recorded, and taken away."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.engine import TorchEngine
from core.errors import InvalidRequest, Unsupported
from core.events import Event, ImageReady, Loading, Pixels, PreviewSettings
from core.models.adapters import Adapters
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.request import DeviceName, EmbeddingUse, LoraUse, PreviewDecoder, TextToImage
from core.request_json import from_json, to_json

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v"
TEXT_QUERY = "lora_te_text_model_encoder_layers_0_self_attn_v_proj"


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    tensors = {
        f"{QUERY}.lora_down.weight": random(4, 16),
        f"{QUERY}.lora_up.weight": random(8, 4, seed=1),
        f"{TEXT_QUERY}.lora_down.weight": random(4, 16, seed=2),
        f"{TEXT_QUERY}.lora_up.weight": random(16, 4, seed=3),
    }
    save_file(tensors, tmp_path / "fox.safetensors")
    return tmp_path / "fox.safetensors"


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    save_file({"emb_params": random(2, 16)}, tmp_path / "wolf.safetensors")
    return tmp_path / "wolf.safetensors"


@pytest.fixture
def xl_lora(tmp_path: Path) -> Path:
    """A LoRA of both text encoders, and of nothing else."""
    tensors = {}
    for number, (tower, width) in enumerate((("te1", 16), ("te2", 24))):
        stem = f"lora_{tower}_text_model_encoder_layers_0_self_attn_v_proj"
        tensors[f"{stem}.lora_down.weight"] = random(4, width, seed=number)
        tensors[f"{stem}.lora_up.weight"] = random(width, 4, seed=10 + number)
    save_file(tensors, tmp_path / "owl.safetensors")
    return tmp_path / "owl.safetensors"


@pytest.fixture
def xl_embedding(tmp_path: Path) -> Path:
    path = tmp_path / "hare.safetensors"
    save_file({"clip_l": random(2, 16), "clip_g": random(2, 24, seed=1)}, path)
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def request_of(tiny_model: Path) -> Any:
    def make(prompt: str = "a red circle", **changes: Any) -> TextToImage:
        settings: dict[str, Any] = {"steps": 2, "width": 64, "height": 64}
        settings |= {"model": str(tiny_model)}
        return TextToImage(prompts=(prompt,), **(settings | changes))

    return make


def run(engine: TorchEngine, request: TextToImage) -> tuple[ImageReady, list[Event]]:
    events = list(engine.generate(request, preview=OFF))
    (image,) = [event for event in events if isinstance(event, ImageReady)]
    return image, events


def pixels(engine: TorchEngine, request: TextToImage) -> Pixels:
    return run(engine, request)[0].pixels


def test_a_lora_is_applied_weighted_and_taken_away(
    engine: TorchEngine, request_of: Any, lora: Path
) -> None:
    plain = pixels(engine, request_of())
    use = LoraUse(path=str(lora))
    whole, events = run(engine, request_of(loras=(use,)))
    assert Loading(what="the LoRA fox.safetensors") in events
    assert Loading(what="the LoRA fox.safetensors: 4 of 4 tensors applied") in events
    less, events = run(engine, request_of(loras=(dataclasses.replace(use, weight=0.3),)))
    assert not any(isinstance(event, Loading) for event in events)  # Only the weight is new.
    none = pixels(engine, request_of(loras=(dataclasses.replace(use, weight=0.0),)))
    unet_only = pixels(engine, request_of(loras=(dataclasses.replace(use, text_weight=0.0),)))
    made = [plain, whole.pixels, less.pixels, unet_only]
    for i, one in enumerate(made):
        assert not any(np.array_equal(one, other) for other in made[i + 1 :])
    np.testing.assert_array_equal(none, plain)
    np.testing.assert_array_equal(pixels(engine, request_of()), plain)


def test_a_lora_in_the_prompt_is_recorded_and_repeated(
    tmp_path: Path, request_of: Any, lora: Path
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache", find_lora={"fox": lora}.get)
    image, _ = run(engine, request_of("a red circle <lora:fox:0.8>"))
    (use,) = image.request.loras
    assert (use.path, use.weight, len(use.sha256)) == (str(lora), 0.8, 64)
    assert len(use.short_hash) == 12
    assert image.request.prompts == ("a red circle",)
    recorded = from_json(to_json(image.request))
    assert recorded == image.request
    again, _ = run(engine, recorded)
    assert again.request == image.request
    np.testing.assert_array_equal(again.pixels, image.pixels)
    given = request_of(loras=(LoraUse(path="fox", weight=0.8),))
    np.testing.assert_array_equal(pixels(engine, given), image.pixels)


def test_a_file_that_has_changed_is_refused(
    engine: TorchEngine, request_of: Any, lora: Path, embedding: Path
) -> None:
    uses = {
        "loras": (LoraUse(path=str(lora)),),
        "embeddings": (EmbeddingUse(path=str(embedding)),),
    }
    image, _ = run(engine, request_of(**uses))
    for path, field in ((lora, "loras"), (embedding, "embeddings")):
        before = path.read_bytes()
        tensors = load_file(path)
        save_file({name: tensor * 2 for name, tensor in tensors.items()}, path)
        with pytest.raises(InvalidRequest, match=f"{field}: .* has changed"):
            run(engine, image.request)
        changed = run(engine, request_of(**uses))[0]
        path.write_bytes(before)
        assert changed.request != image.request


def test_an_embedding_means_something_only_where_it_is_given(
    engine: TorchEngine, request_of: Any, embedding: Path
) -> None:
    plain = pixels(engine, request_of("a wolf"))
    use = EmbeddingUse(path=str(embedding))
    image, _ = run(engine, request_of("a wolf", embeddings=(use,)))
    assert len(image.request.embeddings[0].sha256) == 64
    assert not np.array_equal(image.pixels, plain)
    named = (dataclasses.replace(use, token="beast"),)
    np.testing.assert_array_equal(pixels(engine, request_of("a wolf", embeddings=named)), plain)
    beast = pixels(engine, request_of("a beast", embeddings=named))
    np.testing.assert_array_equal(beast, image.pixels)
    np.testing.assert_array_equal(pixels(engine, request_of("a wolf")), plain)


def test_a_word_that_comes_with_a_lora_works(
    engine: TorchEngine, request_of: Any, lora: Path, embedding: Path
) -> None:
    bundled = load_file(lora) | {"bundle_emb.wolf.clip_l": load_file(embedding)["emb_params"]}
    both = lora.with_name("both.safetensors")
    save_file(bundled, both)
    uses = (LoraUse(path=str(lora)),)
    apart = request_of("a wolf", loras=uses, embeddings=(EmbeddingUse(path=str(embedding)),))
    together = request_of("a wolf", loras=(LoraUse(path=str(both)),))
    np.testing.assert_array_equal(pixels(engine, together), pixels(engine, apart))
    twice = dataclasses.replace(together, embeddings=apart.embeddings)
    with pytest.raises(InvalidRequest, match="two of them are called 'wolf'"):
        run(engine, twice)


def test_what_does_not_fit_leaves_what_was_applied(
    engine: TorchEngine, request_of: Any, lora: Path
) -> None:
    request = request_of(loras=(LoraUse(path=str(lora)),))
    before = pixels(engine, request)
    other = lora.with_name("sdxl.safetensors")
    save_file({f"{QUERY.replace('_0_', '_7_', 1)}.lora_down.weight": random(4, 2048)}, other)
    wide = lora.with_name("wide.safetensors")
    save_file({"emb_params": random(1, 768)}, wide)
    with pytest.raises(Unsupported, match="1 of its 1 tensors have no place"):
        run(engine, request_of(loras=(LoraUse(path=str(other)),)))
    with pytest.raises(Unsupported, match="vectors are 768 wide and the model's are 16"):
        run(engine, request_of(embeddings=(EmbeddingUse(path=str(wide)),)))
    np.testing.assert_array_equal(pixels(engine, request), before)


def test_a_lora_works_on_both_text_encoders(
    engine: TorchEngine, tiny_xl_model: Path, request_of: Any, xl_lora: Path, tmp_path: Path
) -> None:
    def made(*files: Path) -> Pixels:
        uses = tuple(LoraUse(path=str(file)) for file in files)
        return pixels(engine, request_of(model=str(tiny_xl_model), loras=uses))

    halves = []
    for tower in ("te1", "te2"):
        half = {name: t for name, t in load_file(xl_lora).items() if tower in name}
        save_file(half, tmp_path / f"{tower}.safetensors")
        halves.append(tmp_path / f"{tower}.safetensors")
    plain, both = made(), made(xl_lora)
    alone = [made(half) for half in halves]
    assert all(not np.array_equal(plain, other) for other in (both, *alone))
    assert np.array_equal(both, made(*halves))
    assert np.array_equal(plain, made())


def test_a_pair_of_embeddings_takes_its_word_in_both_encoders(
    engine: TorchEngine, tiny_xl_model: Path, request_of: Any, xl_embedding: Path, embedding: Path
) -> None:
    def made(file: Path, prompt: str) -> Pixels:
        uses = (EmbeddingUse(path=str(file)),)
        return pixels(engine, request_of(prompt, model=str(tiny_xl_model), embeddings=uses))

    assert not np.array_equal(made(xl_embedding, "a hare"), made(xl_embedding, "a red"))
    values = load_file(xl_embedding)
    for name in values:
        changed = xl_embedding.with_name(f"{name}.safetensors")
        save_file(values | {name: -values[name]}, changed)
        changed.replace(other := changed.with_name("hare2.safetensors"))
        assert not np.array_equal(made(xl_embedding, "a hare"), made(other, "a hare2"))
    with pytest.raises(Unsupported, match="vectors are 16 wide and the model's are 16 and 24"):
        made(embedding, "a wolf")


def test_merged_loras_stay_in_the_weights_of_parts_that_come_and_go(
    tiny_model: Path, lora: Path, tmp_path: Path
) -> None:
    identity = identify(tiny_model)
    components = load(
        identity,
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path),
        one_at_a_time=True,
    )
    unet: Any = components.unet
    latents, text = random(1, 4, 8, 8), random(1, 77, 16)

    def predicted() -> torch.Tensor:
        components.residence.clear()
        with torch.no_grad():
            prediction: torch.Tensor = unet(latents, 500, text, return_dict=False)[0]
        return prediction

    plain = predicted()
    adapters = Adapters(components)
    request = TextToImage(prompts=("",), loras=(LoraUse(path=str(lora), weight=2.0, sha256="a"),))
    list(adapters.use(request))
    applied = predicted()
    assert (applied - plain).abs().max() > 1e-3
    adapters.merge()
    assert not any("forward" in vars(module) for module in unet.modules())
    for _ in range(2):
        assert torch.allclose(predicted(), applied, atol=1e-5)
