"""Previews: they never change the result, keep to their budget, and look like the picture."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from core.device import dtype_of
from core.engine import TorchEngine
from core.errors import ModelInvalid, Unsupported
from core.events import ImageReady, PreviewSettings, Step
from core.models.catalog import card
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import PredictionType, identify
from core.models.load import load
from core.request import DeviceName, Precision, PreviewDecoder, SchedulerName, TextToImage
from core.sampling.denoise import Denoised
from core.sampling.linear_preview import find_or_fit, fit, is_at_hand, kept_at, read, write
from core.sampling.noise import draw, generators_of
from core.sampling.preview import Previewer, make_decoder
from core.sampling.schedulers import Call
from tests.conftest import write_tiny_decoder


@pytest.fixture(scope="module")
def components(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Components:
    return load(
        identify(tiny_model),
        device=torch.device("cpu"),
        dtype=dtype_of(Precision.FP32),
        fingerprints=Fingerprints(tmp_path_factory.mktemp("cache") / "hashes.json"),
    )


@pytest.mark.parametrize(
    "scheduler", [SchedulerName.DDIM, SchedulerName.EULER_ANCESTRAL, SchedulerName.HEUN]
)
def test_previews_never_change_the_picture(
    scheduler: SchedulerName, tiny_model: Path, tmp_path: Path
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = TextToImage(
        model=str(tiny_model),
        prompts=("red",),
        steps=5,
        count=2,
        width=64,
        height=64,
        scheduler=scheduler,
    )
    pictures = []
    for decoder in (PreviewDecoder.OFF, PreviewDecoder.LINEAR, PreviewDecoder.FULL):
        for budget in (1e-9, 0.15, float("inf")):
            settings = PreviewSettings(decoder=decoder, budget=budget)
            events = list(engine.generate(request, preview=settings))
            shown = [len(event.previews) for event in events if isinstance(event, Step)]
            if decoder is PreviewDecoder.OFF or budget < 1e-6:
                assert shown == [0] * 5
            elif budget > 1:
                assert shown == [2] * 5
            pictures.append([e.pixels for e in events if isinstance(e, ImageReady)])
    for other in pictures[1:]:
        np.testing.assert_array_equal(other, pictures[0])


@pytest.mark.parametrize("scheduler", SchedulerName)
@pytest.mark.parametrize("v", [False, True])
def test_the_clean_latents_are_found_again(
    scheduler: SchedulerName, v: bool, tiny_model: Path, tiny_v_model: Path
) -> None:
    from core.sampling.conditioning import Conditioning
    from core.sampling.denoise import Leg, denoise
    from core.sampling.guidance import Guidance, GuidanceSettings
    from core.sampling.schedulers import make_plan

    folder = tiny_v_model if v else tiny_model
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    plan = make_plan(scheduler, config, steps=6)
    clean = draw(generators_of([1]), (4, 8, 8))
    bars = iter(call.alpha_bar for call in plan.calls)

    def oracle(z: torch.Tensor, timestep: Any, conditioning: Any) -> torch.Tensor:
        bar = next(bars)
        noise = (z - bar**0.5 * clean) / (1 - bar) ** 0.5
        return bar**0.5 * noise - (1 - bar) ** 0.5 * clean if v else noise

    text = Conditioning(text=torch.zeros(1, 1, 1))
    guidance = Guidance(oracle, GuidanceSettings(scales=(1.0,)), positive=text, negative=None)
    generators = generators_of([0])
    start = draw(generators, (4, 8, 8)) * plan.scheduler.init_noise_sigma
    for moment in denoise(start, [Leg(plan, guidance)], generators):
        # sqrt(alpha_bar) is 0.07 at the first timestep, which magnifies the last bits.
        assert float((moment.clean() - clean).abs().max()) < 1e-3


@pytest.fixture
def with_decoder(tiny_model: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_tiny_decoder(folder / "taesd")
    return folder


def test_the_tiny_decoder_shows_what_it_decodes(with_decoder: Path, tmp_path: Path) -> None:
    assert PreviewDecoder.TINY in card(str(with_decoder)).preview_decoders
    loaded = load(
        identify(with_decoder),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path),
    )
    decode = make_decoder(PreviewDecoder.TINY, loaded, tmp_path)
    assert decode is not None
    latents = draw(generators_of([0, 1]), (4, 8, 8))
    tiny = AutoencoderTiny.from_pretrained(with_decoder / "taesd").eval()
    with torch.inference_mode():
        # Unlike the VAE's, its latents are the UNet's: nothing to divide by.
        decoded = tiny.decode(latents).sample
    expected = (decoded * 127.5 + 127.5).clamp(0, 255).round().permute(0, 2, 3, 1).numpy()
    shown = decode(latents)
    assert shown.shape == (2, 64, 64, 3)
    assert np.ptp(shown) > 10
    assert np.abs(shown.astype(int) - expected).max() <= 1


def test_the_tiny_decoder_never_changes_the_picture(with_decoder: Path, tmp_path: Path) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = TextToImage(
        model=str(with_decoder), prompts=("red",), steps=3, count=2, width=64, height=48
    )
    pictures = []
    for decoder in (PreviewDecoder.OFF, PreviewDecoder.TINY):
        settings = PreviewSettings(decoder=decoder, budget=float("inf"))
        events = list(engine.generate(request, preview=settings))
        pictures.append([e.pixels for e in events if isinstance(e, ImageReady)])
    steps = [event for event in events if isinstance(event, Step)]
    shown = [(p.picture, p.decoder, p.pixels.shape) for p in steps[0].previews]
    assert shown == [(i, PreviewDecoder.TINY, (48, 64, 3)) for i in range(2)]
    assert [len(step.previews) for step in steps] == [2] * 3
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_a_tiny_decoder_put_there_later_is_found(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = TextToImage(model=str(folder), prompts=("red",), steps=1, width=64, height=64)
    settings = PreviewSettings(decoder=PreviewDecoder.TINY, budget=float("inf"))
    with pytest.raises(Unsupported, match="taesd"):
        list(engine.generate(request, preview=settings))
    write_tiny_decoder(folder / "taesd")
    events = list(engine.generate(request, preview=settings))
    assert any(event.previews for event in events if isinstance(event, Step))


def test_one_slow_preview_does_not_end_them_all(tiny_model: Path, tmp_path: Path) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = TextToImage(model=str(tiny_model), prompts=("red",), steps=4, width=64, height=64)
    list(engine.generate(request, preview=PreviewSettings()))
    assert engine._loaded is not None
    costs = engine._loaded.preview_costs
    for size in costs:
        costs[size] = 1000.0
    shown = 0
    for _ in range(30):
        events = list(engine.generate(request, preview=PreviewSettings()))
        shown += sum(bool(event.previews) for event in events if isinstance(event, Step))
    assert shown > 0


def test_the_fit_is_made_once_where_it_cannot_be_kept(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[Components] = []
    monkeypatch.setattr(
        "core.sampling.linear_preview.fit", lambda loaded: (fits.append(loaded), fit(loaded))[1]
    )
    (tmp_path / "file").write_bytes(b"")
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "file" / "cache")
    request = TextToImage(model=str(tiny_model), prompts=("red",), steps=1, width=64, height=64)
    list(engine.warm_up(str(tiny_model)))
    for _ in range(2):
        list(engine.generate(request, preview=PreviewSettings()))
    assert len(fits) == 1


def test_the_budget_is_kept() -> None:
    call = Call(torch.tensor(1), 0.5, 1, ends_step=True, progress=0.0)
    latents = torch.zeros(1, 4, 8, 8)
    moment = Denoised(call, latents, latents, latents, PredictionType.EPSILON)
    settings = PreviewSettings(decoder=PreviewDecoder.FULL, budget=0.5)
    decoded = np.zeros((1, 64, 64, 3), np.uint8)
    previewer = Previewer(settings, lambda _: decoded, cost=2.0)
    shown = [bool(previewer.after_step(moment, (0,), 1.0)) for _ in range(4)]
    # Two seconds are half of four; then the real, tiny cost is known.
    assert shown == [False, False, False, True]
    assert previewer.after_step(moment, (0,), 1.0)


def test_the_linear_fit_is_good_and_kept(components: Components, tmp_path: Path) -> None:
    made = find_or_fit(components, tmp_path)
    assert made.psnr > 20
    again = read(kept_at(components, tmp_path), components.vae_sha256)
    assert again is not None
    assert torch.equal(again.matrix, made.matrix)
    assert torch.equal(again.bias, made.bias)
    assert read(kept_at(components, tmp_path), "another") is None


def test_the_fit_beats_a_grey_picture(components: Components) -> None:
    pictures = torch.rand((8, 3, 1, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = fit(components, pictures.expand(8, 3, 64, 64).contiguous())
    assert np.isfinite(made.psnr)
    assert made.decode(torch.zeros(2, 4, 8, 8)).shape == (2, 8, 8, 3)


def test_a_vae_that_overflows_is_shown_by_fp32(
    components: Components, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = AutoencoderKL.decode

    def overflowing(vae: Any, latents: torch.Tensor, **options: Any) -> Any:
        (decoded,) = decode(vae, latents, **options)
        return (decoded if latents.dtype is torch.float32 else decoded * torch.nan,)

    # SDXL's VAE does so in fp16, which CPUs are slow in.
    half = load(
        identify(tiny_model),
        device=torch.device("cpu"),
        dtype=dtype_of(Precision.BF16),
        fingerprints=Fingerprints.kept_in(tmp_path),
    )
    sound = fit(components)
    monkeypatch.setattr(AutoencoderKL, "decode", overflowing)
    assert find_or_fit(half, tmp_path).psnr > sound.psnr - 1
    full = make_decoder(PreviewDecoder.FULL, half, tmp_path)
    assert full is not None
    assert np.ptp(full(draw(generators_of([0]), (4, 8, 8)))) > 10


def test_a_kept_fit_that_is_not_finite_is_made_anew(components: Components, tmp_path: Path) -> None:
    made = fit(components)
    grey = dataclasses.replace(made, matrix=torch.zeros(4, 3), psnr=float("nan"))
    write(grey, kept_at(components, tmp_path))
    assert not is_at_hand(components, tmp_path)
    assert find_or_fit(components, tmp_path).psnr == made.psnr
    assert is_at_hand(components, tmp_path)


def test_what_cannot_be_shown_ends_no_run() -> None:
    call = Call(torch.tensor(1), 0.5, 1, ends_step=True, progress=0.0)
    latents = torch.zeros(1, 4, 8, 8)
    moment = Denoised(call, latents, latents, latents, PredictionType.EPSILON)

    def fails(_: torch.Tensor) -> Any:
        raise ModelInvalid("not finite")

    settings = PreviewSettings(decoder=PreviewDecoder.FULL, budget=float("inf"))
    previewer = Previewer(settings, fails)
    assert previewer.after_step(moment, (0,), 1.0) == ()
    assert previewer.cost is not None
