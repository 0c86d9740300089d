"""The model that ships, used as a person would use it."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings
from core.models.catalog import card
from core.request import PreviewDecoder, SchedulerName, TextToImage
from core.starter import autoencoder, evaluate, render
from core.starter.clip import to_pixel_values, tokens_of
from core.starter.package import WEIGHTS
from core.starter.world import COLOURS, SHAPES, Scene, Thing, describe, sample_scene

MOST_BYTES = 25_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return TorchEngine(cache=tmp_path_factory.mktemp("cache"))


def request(prompts, **more):
    starter = card("starter")
    values = {
        "guidance_scale": starter.guidance_scale,
        "steps": 10,
        "scheduler": starter.scheduler,
        "width": starter.width,
        "height": starter.height,
        "seed": 5,
    }
    return TextToImage(prompts=tuple(prompts), **(values | more))


def make(engine, asked):
    preview = PreviewSettings(decoder=PreviewDecoder.OFF)
    return [e for e in engine.generate(asked, preview=preview) if isinstance(e, ImageReady)]


def test_it_is_small_enough_and_holds_no_pickle():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert not any(b"_name_or_path" in path.read_bytes() for path in files)


def test_the_window_learns_its_good_settings_from_it():
    starter = card("starter")
    assert (starter.width, starter.height) == (render.SIDE, render.SIDE)
    assert starter.prediction_type == "v_prediction"
    assert starter.scheduler in SchedulerName


def test_plain_diffusers_loads_it_and_makes_the_same_picture(engine):
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    asked = request(["a red circle on a blue background"], scheduler=SchedulerName.PNDM)
    theirs = pipeline(
        asked.prompts[0],
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance_scale,
        width=asked.width,
        height=asked.height,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
    ).images[0]
    ours = make(engine, asked)[0].pixels
    assert np.abs(np.asarray(theirs).astype(int) - ours.astype(int)).max() <= 1


@pytest.mark.parametrize("scheduler", list(SchedulerName))
def test_every_scheduler_makes_a_picture_and_not_mud(engine, scheduler):
    """A flat world: nearly all pixels of a good picture lie close to one of a few colours."""
    steps = 8 if scheduler in (SchedulerName.LCM, SchedulerName.TCD) else 20
    asked = request(["a red circle on a blue background"], scheduler=scheduler, steps=steps)
    pixels = torch.from_numpy(make(engine, asked)[0].pixels.copy()).float()
    palette = torch.tensor([COLOURS["red"], COLOURS["blue"]]).float()
    distance = (pixels.reshape(-1, 1, 3) - palette).norm(dim=-1)
    near = distance.min(dim=1).values < 60
    assert near.float().mean() > 0.8
    ground = (distance.argmin(dim=1) == 1) & near
    assert 0.4 < ground.float().mean() < 0.98


def test_words_outside_of_its_world_do_no_harm(engine):
    words = "a red circle on a blue background"
    for image in make(engine, request([words, f"{words}, please Zoë 🦊", f"qwertz {words}"])):
        border = image.pixels[:4].reshape(-1, 3).astype(int)
        assert np.abs(np.median(border, axis=0) - COLOURS["blue"]).max() < 40


@pytest.fixture(scope="module")
def studio(engine, recogniser):
    starter = card("starter")
    return evaluate.Studio(engine, starter, recogniser, steps=10, scheduler=starter.scheduler)


@pytest.mark.parametrize("pairs", ["one shape, seen pairs", "one shape, held-out pairs"])
def test_it_draws_named_shapes_in_their_colours_and_places(studio, pairs):
    """Pairs of colour and shape that it never saw as well as others: it composes."""
    scenes = evaluate.scene_sets(16, seed=3)[pairs]
    shares = studio.follow(scenes, seed=70, guidance_scale=studio.model.guidance_scale)
    assert min(shares.values()) >= 0.85


def test_a_negative_prompt_leads_away_from_a_colour(studio):
    had, lost = evaluate.measure_negative(studio, 5)
    assert had >= 4
    assert lost / had >= 0.6


def test_more_strength_leaves_less_of_the_start(studio):
    distances = evaluate.measure_strength(studio, 1)
    assert distances == sorted(distances)
    assert distances[-1] > 2 * distances[0]


def test_the_vae_keeps_pictures_it_never_saw():
    assert evaluate.measure_vae(WEIGHTS, 32) >= 28


def test_latents_are_centred_as_the_unet_expects():
    vae = autoencoder.AutoencoderKL.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32)
    rng = random.Random(9)
    drawn = render.draw_scenes([sample_scene(rng) for _ in range(64)], rng)
    pictures = (drawn * 255).round().to(torch.uint8)
    latents = autoencoder.encode(vae.eval(), pictures) * vae.config.scaling_factor
    assert latents.mean((0, 2, 3)).abs().max() < 0.4
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.4


def test_three_latent_channels_hold_the_picture_in_small():
    """What previews and the UNet live on: a blend of two colours is a blend of their latents."""
    vae = autoencoder.AutoencoderKL.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32)
    rng = random.Random(10)
    drawn = render.draw_scenes([sample_scene(rng) for _ in range(48)], rng)
    latents = autoencoder.encode(vae.eval(), (drawn * 255).round().to(torch.uint8))
    small = autoencoder.thumbnail(drawn * 2 - 1).movedim(1, 0).flatten(1)  # (3, N)
    for told, held in zip(small, latents[:, :3].movedim(1, 0).flatten(1), strict=True):
        assert torch.corrcoef(torch.stack((told, held)))[0, 1] > 0.98


def test_the_two_towers_find_the_right_caption():
    """CLIP's own test: of captions that differ in one word, the picture's own scores highest."""
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    text = CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder", torch_dtype=torch.float32)
    image = CLIPVisionModelWithProjection.from_pretrained(
        WEIGHTS / "image_encoder", torch_dtype=torch.float32
    )
    projection = load_file(WEIGHTS / "clip_projection.safetensors")["text_projection.weight"]
    rng = random.Random(4)
    right = 0
    for number in range(24):
        thing = Thing(rng.choice(SHAPES), "red", "big")
        scene = Scene((thing,), "white", place="centre")
        others = [shape for shape in SHAPES if shape != thing.shape]
        change = {"colour": "green"} if number % 2 else {"shape": rng.choice(others)}
        other = replace(thing, **change)
        captions = [describe(scene), describe(replace(scene, things=(other,)))]
        with torch.inference_mode():
            pixels = to_pixel_values((render.draw_scenes([scene], rng) * 255).round().byte())
            seen = F.normalize(image(pixels).image_embeds, dim=-1)
            read = text(tokens_of(tokenizer, captions)).pooler_output @ projection.float().T
            scores = (F.normalize(read, dim=-1) @ seen.T)[:, 0]
        right += int(scores.argmax() == 0)
    assert right >= 19
