"""The parts of a model taking turns: on the device while they work, and the same ever after."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from core.errors import ModelInvalid
from core.models.components import Components, change_dtype
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.models.residence import Residence, Source
from core.sampling.vae import Vae

NAMES = ("text_encoder", "unet", "vae")


def opened(folder: Path, **options: Any) -> Components:
    return load(
        identify(folder),
        device=torch.device("cpu"),
        dtype=options.pop("dtype", torch.float32),
        fingerprints=Fingerprints.kept_in(folder.parent / "cache"),
        **options,
    )


def inside(components: Components) -> set[str]:
    """The parts whose weights are in memory."""
    modules = {name: getattr(components, name) for name in NAMES}
    return {
        name
        for name, module in modules.items()
        if not any(parameter.is_meta for parameter in module.parameters())
    }


@pytest.fixture
def swapped(tiny_model: Path) -> Components:
    return opened(tiny_model, one_at_a_time=True)


def test_all_parts_are_there_unless_asked_otherwise(tiny_model: Path) -> None:
    components = opened(tiny_model)
    assert inside(components) == set(NAMES)
    numbers = sum(components.identity.parameters.values())
    assert components.residence.held == numbers * 4


def test_a_part_comes_when_it_is_called_and_the_one_before_goes(
    swapped: Components, tiny_model: Path
) -> None:
    assert inside(swapped) == set()
    assert swapped.residence.held == 0
    plain = opened(tiny_model)
    ids = torch.tensor([[1, 2, 3]])
    latents, text = torch.ones(1, 4, 8, 8), torch.ones(1, 3, 16)
    calls: dict[str, Any] = {
        "text_encoder": lambda c: c.text_encoder(ids)[0],
        "unet": lambda c: c.unet(latents, 5, encoder_hidden_states=text, return_dict=False)[0],
        "vae": lambda c: c.vae.decode(latents, return_dict=False)[0],
    }
    for name in (*calls, *reversed(calls)):
        with torch.inference_mode():
            torch.testing.assert_close(calls[name](swapped), calls[name](plain), rtol=0, atol=0)
        assert inside(swapped) == {name}
        assert swapped.residence.held == swapped.identity.parameters[name] * 4
    assert not any(p.is_inference() for p in swapped.text_encoder.parameters())


def test_the_vae_comes_for_every_way_into_it(swapped: Components, tiny_model: Path) -> None:
    plain = opened(tiny_model)
    picture = torch.linspace(-1, 1, 3 * 704 * 64).reshape(1, 3, 704, 64)
    for tiled in (False, True):
        swapped.residence.bring("unet")
        ours, theirs = (Vae(c, tiled=tiled).encode_signed(picture) for c in (swapped, plain))
        torch.testing.assert_close(ours.mean, theirs.mean, rtol=0, atol=0)
        assert inside(swapped) == {"vae"}
        swapped.residence.bring("unet")
        decoded = [Vae(c, tiled=tiled).decode(theirs.mean) for c in (swapped, plain)]
        assert (decoded[0] == decoded[1]).all()
        assert inside(swapped) == {"vae"}


def test_turns_can_begin_and_end_while_the_model_is_loaded(swapped: Components) -> None:
    swapped.residence.swap(one_at_a_time=False)
    assert inside(swapped) == set(NAMES)
    swapped.text_encoder(torch.tensor([[1]]))
    assert inside(swapped) == set(NAMES)
    swapped.residence.swap(one_at_a_time=True)
    assert inside(swapped) == set()
    swapped.text_encoder(torch.tensor([[1]]))
    assert inside(swapped) == {"text_encoder"}


def test_a_part_keeps_the_number_format_that_it_was_given(tiny_model: Path) -> None:
    components = opened(tiny_model, one_at_a_time=True, dtype=torch.float16)
    for dtype in (torch.float32, torch.float16):
        components.residence.bring("unet")
        change_dtype(components.unet, dtype)
        components.residence.bring("vae")
        components.residence.bring("unet")
        assert {p.dtype for p in components.unet.parameters()} == {dtype}


def test_a_file_that_changed_meanwhile_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    components = opened(model, one_at_a_time=True)
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    os.utime(weights, (1, 1))
    with pytest.raises(ModelInvalid, match="has changed while it was in use"):
        components.residence.bring("unet")
    weights.unlink()
    with pytest.raises(ModelInvalid, match="cannot be read any more"):
        components.residence.bring("unet")
    components.residence.bring("vae")


def test_a_part_is_freed_before_the_next_is_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    components = opened(tiny_model, one_at_a_time=True)
    load_state_dict = diffusers.UNet2DConditionModel.load_state_dict

    def noted(unet: Any, weights: Any, **options: Any) -> Any:
        seen.append(inside(components))
        return load_state_dict(unet, weights, **options)

    components.residence.bring("vae")
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "load_state_dict", noted)
    components.residence.bring("unet")
    assert seen == [set()]


@pytest.mark.parametrize(
    ("device", "waits_in"), [("cpu", "meta"), ("mps", "meta"), ("cuda", "cpu")]
)
def test_a_part_waits_where_it_takes_no_memory_of_the_device(
    device: str, waits_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    def to(tensor: torch.Tensor, *given: Any, **options: Any) -> torch.Tensor:
        if str(given[0]) != device or device == "cpu":
            return moves(tensor, *given, **options)
        moved.append(device)
        return tensor

    part, file = torch.nn.Linear(2, 3), tmp_path / "weights"
    weights = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    file.write_bytes(b"")
    moves = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda module, place: module._apply(lambda t: t.to(place))
    )
    residence = Residence(torch.device(device), one_at_a_time=True)
    residence.add("unet", part, Source((file,), lambda: weights))
    assert {tensor.device.type for tensor in part.parameters()} == {waits_in}
    residence.bring("unet")
    assert torch.equal(part.weight, weights["weight"])
    assert residence.held == 9 * 4
    assert len(moved) >= (0 if device == "cpu" else 2)


def test_a_change_is_made_again_whenever_a_part_is_read_again(swapped: Components) -> None:
    query: Any = swapped.unet.get_submodule(
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    )
    swapped.residence.bring("unet")
    before = query.weight.detach().clone()

    def double() -> None:
        with torch.no_grad():
            query.weight.mul_(2)
            if query.bias is None:
                query.bias = torch.nn.Parameter(torch.zeros(len(query.weight)))
            query.bias.add_(1)

    swapped.residence.change("unet", double)
    for _ in range(2):
        assert torch.equal(query.weight, 2 * before)
        assert torch.equal(query.bias, torch.ones(len(before)))
        swapped.residence.clear()
        assert inside(swapped) == set()
        swapped.residence.bring("unet")
