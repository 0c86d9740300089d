"""Few-step models, spacings of timesteps and schedules that end in pure noise, as in diffusers."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from core.engine import TorchEngine
from core.events import ImageReady, Notice, PreviewSettings
from core.models.catalog import card
from core.models.families import PredictionType, refused_schedulers
from core.request import (
    ImageToImage,
    PreviewDecoder,
    Request,
    SchedulerName,
    TextToImage,
)
from tests.conftest import write_tiny_model
from tests.core.sampling.parity import PROMPT, SEED, Ours, Peer, assert_equal

pytestmark = pytest.mark.usefixtures("integrator")


def configured(folder: Path, prediction_type: str, **changes: Any) -> Path:
    """A tiny model whose scheduler's configuration is changed."""
    write_tiny_model(folder, prediction_type)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.fixture(scope="module")
def lcm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes guidance as a number, as SimianLuo/LCM_Dreamshaper_v7 does."""
    folder = configured(
        tmp_path_factory.mktemp("models") / "tiny-taught",
        "epsilon",
        _class_name="LCMScheduler",
        original_inference_steps=50,
    )
    config = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        unet = diffusers.UNet2DConditionModel.from_config(dict(config) | {"time_cond_proj_dim": 32})
        # It begins at zero, which would say nothing here.
        torch.nn.init.normal_(unet.time_embedding.cond_proj.weight)
    unet.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "LatentConsistencyModelPipeline",
        "scheduler": ["diffusers", "LCMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def trailing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-trailing"
    return configured(folder, "epsilon", timestep_spacing="trailing")


@pytest.fixture(scope="module")
def linspace_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-linspace"
    return configured(folder, "epsilon", timestep_spacing="linspace")


@pytest.fixture(scope="module")
def zero_snr_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return configured(
        tmp_path_factory.mktemp("models") / "tiny-ztsnr",
        "v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def picture(folder: Path, **settings: Any) -> dict[str, Any]:
    common = {"prompts": (PROMPT,), "width": 64, "height": 48, "seed": SEED}
    return {"model": str(folder), **common, **settings}


@pytest.mark.parametrize(("guidance", "count"), [(1.0, 1), (8.0, 3)])
@pytest.mark.parametrize("steps", [1, 4])
def test_guidance_as_a_number(
    steps: int, guidance: float, count: int, ours: Ours, lcm_model: Path
) -> None:
    request = TextToImage(
        **picture(lcm_model, steps=steps, guidance_scale=guidance, count=count),
        scheduler=SchedulerName.LCM,
    )
    assert_equal(ours, Peer(lcm_model), request)


def test_guidance_as_a_number_changes_the_picture(ours: Ours, lcm_model: Path) -> None:
    weak, strong = (
        ours.make(
            TextToImage(
                **picture(lcm_model, steps=2, guidance_scale=scale), scheduler=SchedulerName.LCM
            )
        )[0]
        for scale in (1.5, 8.0)
    )
    assert not torch.equal(weak, strong)


def test_what_such_a_model_ignores_is_said(ours: Ours, lcm_model: Path) -> None:
    request = TextToImage(
        **picture(lcm_model, steps=1, negative_prompt="blue"), scheduler=SchedulerName.LCM
    )
    events = ours.engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF))
    said = [event.message for event in events if isinstance(event, Notice)]
    assert [line for line in said if "negative prompt" in line and "as a number" in line]
    assert "negative_prompt" in card(str(lcm_model)).ignored


TRAILING = [name for name in SchedulerName if name not in (SchedulerName.LCM, SchedulerName.TCD)]
"""Those that read a spacing; the two others have one of their own."""


@pytest.mark.parametrize(("steps", "guidance"), [(1, 0.0), (4, 1.0)])
@pytest.mark.parametrize("scheduler", TRAILING)
def test_trailing_timesteps(
    scheduler: SchedulerName, steps: int, guidance: float, ours: Ours, trailing_model: Path
) -> None:
    settings = picture(trailing_model, steps=steps, guidance_scale=guidance, count=2)
    assert_equal(ours, Peer(trailing_model), TextToImage(**settings, scheduler=scheduler))


@pytest.mark.parametrize("scheduler", TRAILING)
def test_linspace_timesteps(scheduler: SchedulerName, ours: Ours, linspace_model: Path) -> None:
    settings = picture(linspace_model, steps=4, guidance_scale=5.0)
    assert_equal(ours, Peer(linspace_model), TextToImage(**settings, scheduler=scheduler))


ZERO_SNR = [
    name
    for name in SchedulerName
    if name not in refused_schedulers(PredictionType.V, zero_terminal_snr=True)
]


@pytest.mark.parametrize("strength", [None, 0.6])
@pytest.mark.parametrize("scheduler", ZERO_SNR)
def test_schedules_that_end_in_pure_noise(
    scheduler: SchedulerName,
    strength: float | None,
    ours: Ours,
    zero_snr_model: Path,
    start_picture: Path,
) -> None:
    settings = picture(zero_snr_model, steps=5, guidance_scale=5.0, scheduler=scheduler)
    request: Request = TextToImage(**settings)
    if strength is not None:
        request = ImageToImage(**settings, init_image=str(start_picture), strength=strength)
    assert_equal(ours, Peer(zero_snr_model), request)


def test_each_picture_of_a_batch_tells_the_model_its_own_guidance(
    engine: TorchEngine, lcm_model: Path
) -> None:
    request = TextToImage(
        model=str(lcm_model),
        prompts=(PROMPT, PROMPT),
        guidance_scale=2.0,
        guidance_scales=(2.0, 9.0),
        seed=SEED,
        seeds=(SEED, SEED),
        steps=2,
        scheduler=SchedulerName.LCM,
        width=32,
        height=32,
    )

    def pixels(asked: Request) -> list[Any]:
        with closing(
            engine.generate(asked, preview=PreviewSettings(decoder=PreviewDecoder.OFF))
        ) as events:
            return [event.pixels for event in events if isinstance(event, ImageReady)]

    together = pixels(request)
    assert (together[0] != together[1]).any()
    for index, picture in enumerate(together):
        (alone,) = pixels(request.alone(index))
        assert abs(alone.astype(int) - picture).max() <= 1
