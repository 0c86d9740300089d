"""Files of upscalers, read by spandrel: its own picture, or one sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelInvalid, UnsafeFile, Unsupported
from core.models.upscaler import Upscaler, load_upscaler
from core.models.verdict import Kind, judge
from tests.fixtures.upscalers import tiny_esrgan, write_esrgan

pytest.importorskip("spandrel")

CPU = torch.device("cpu")


def load(path: Path) -> Upscaler:
    return load_upscaler(path, "ab" * 32, CPU)


def picture(width: int = 40, height: int = 30) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["2x.pth", "2x.safetensors"])
@pytest.mark.parametrize("scale", [2, 4])
def test_it_makes_spandrels_own_picture(tmp_path, name, scale):
    from spandrel import ModelLoader

    path = write_esrgan(tmp_path / name, scale)
    assert judge(path).kind is Kind.UPSCALER
    assert judge(path).title == f"ESRGAN upscaler ({scale}x)"
    upscaler = load(path)
    theirs = ModelLoader().load_from_state_dict(tiny_esrgan(scale).state_dict())(picture())
    ours = upscaler(picture())
    assert upscaler.factor == scale
    assert ours.shape == (1, 3, 30 * scale, 40 * scale)
    assert ours.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_half_precision_is_computed_in_fp32(tmp_path):
    tensors = {name: value.half() for name, value in tiny_esrgan(2).state_dict().items()}
    save_file(tensors, tmp_path / "2x.safetensors")
    assert load(tmp_path / "2x.safetensors")(picture()).dtype is torch.float32


@pytest.mark.parametrize("wrapper", ["params", "state_dict", "params_ema.", "module."])
def test_it_is_found_in_what_training_code_wraps_it_in(tmp_path, wrapper):
    plain = tiny_esrgan(2).state_dict()
    inside: dict[str, Any] = {wrapper: plain, "step": 7}
    if wrapper.endswith("."):
        inside = {f"{wrapper}{name}": value for name, value in plain.items()}
    path = tmp_path / "2x.pth"
    torch.save(inside, path)
    assert judge(path).kind is Kind.UPSCALER
    assert load(path).factor == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda arch: arch.Compact.Compact(num_feat=8, num_conv=2, upscale=4),
        lambda arch: arch.SwinIR.SwinIR(
            depths=[2], num_heads=[2], embed_dim=12, window_size=8, upscale=4,
            upsampler="nearest+conv", resi_connection="1conv",
        ),
        lambda arch: arch.DAT.DAT(
            depth=[2], num_heads=[2], embed_dim=32, split_size=[8, 8], expansion_factor=2,
            upscale=4, upsampler="pixelshuffledirect",
        ),
        lambda arch: arch.OmniSR.OmniSR(num_feat=16, res_num=1, block_num=1, up_scale=4),
        lambda arch: arch.SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4),
        lambda arch: arch.PLKSR.PLKSR(dim=16, n_blocks=2, upscaling_factor=4),
    ],
    ids=["compact", "swinir", "dat", "omnisr", "span", "plksr"],
)  # fmt: skip
def test_other_networks_are_read_too(tmp_path: Path, build: Callable[[Any], Any]) -> None:
    import spandrel.architectures as arch

    path = tmp_path / "4x.safetensors"
    with warnings.catch_warnings():
        # Building one warns of what torch will change; reading and running it must not.
        warnings.simplefilter("ignore")
        network = build(arch)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    save_file(weights, path)
    assert judge(path).kind is Kind.UPSCALER
    upscaler = load(path)
    assert upscaler.factor == 4
    assert upscaler(picture(19, 17)).shape == (1, 3, 68, 76)


class Runs:
    """A pickle that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_asks_for_more_is_refused_and_not_run(tmp_path):
    path = tmp_path / "2x.pth"
    torch.save({"params": tiny_esrgan(2).state_dict(), "x": Runs(tmp_path / "ran")}, path)
    for read in (judge, load):
        with pytest.raises(UnsafeFile, match="of it was run"):
            read(path)
    assert not (tmp_path / "ran").exists()


def nearly(scale: int = 2, **changes: Any) -> dict[str, torch.Tensor]:
    return {**tiny_esrgan(scale).state_dict(), **changes}


def huge(channels: int) -> torch.Tensor:
    return 1e30 * torch.randn(channels, 8, 3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("tensors", "error", "said"),
    [
        (lambda: tiny_esrgan(1).state_dict(), Unsupported, "(Restoration, 1x); this version takes"),
        (
            lambda: tiny_esrgan(2, colours=1).state_dict(),
            Unsupported,
            "reads 1 and gives 1 colours",
        ),
        (lambda: {"a.weight": torch.zeros(3)}, Unsupported, "of a kind that spandrel"),
        (
            lambda: nearly(**{"model.0.bias": torch.full((8,), float("nan"))}),
            ModelInvalid,
            "not finite, in model.0.bias",
        ),
        (
            lambda: nearly(**{"model.0.bias": torch.zeros(5)}),
            ModelInvalid,
            "cannot be loaded",
        ),
        (
            lambda: nearly(**{f"model.{i}.weight": huge(n) for i, n in ((3, 8), (5, 8), (7, 3))}),
            ModelInvalid,
            "gives numbers that are not finite",
        ),
    ],
    ids=["1x", "grey", "unknown", "nan", "shapes", "overflow"],
)
def test_what_cannot_be_used_gets_one_sentence(tmp_path, tensors, error, said):
    path = tmp_path / "2x.safetensors"
    save_file(tensors(), path)
    with pytest.raises(error) as caught:
        load(path)(picture())
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_device_cannot_compute_is_computed_on_the_cpu(tmp_path):
    upscaler = load(write_esrgan(tmp_path / "2x.pth"))
    right = upscaler(picture())
    assert list(upscaler.notices()) == []
    network = upscaler._network
    calls = []

    class Device:
        """A device of another kind that fails once, as MPS does on what it lacks."""

        def __call__(self, values: torch.Tensor) -> torch.Tensor:
            calls.append(values.device.type)
            if values.device.type != "cpu":
                raise NotImplementedError("The operator is not implemented for this device")
            return network(values)

        def to(self, **options: Any) -> Device:
            return self

    upscaler._network, upscaler._device = Device(), torch.device("meta")
    torch.testing.assert_close(upscaler(picture()), right)
    torch.testing.assert_close(upscaler(picture()), right)
    assert calls == ["meta", "cpu", "cpu"]
    (notice,) = upscaler.notices()
    assert "2x.pth" in notice.message
    assert "on the CPU" in notice.message
