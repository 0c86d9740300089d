import dataclasses

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import DatasetInvalid, ModelInvalid
from core.events import Notice, Prepared
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.sampling.start import EncodedPicture
from core.sampling.text import TextEmbeddings
from core.sampling.vae import Vae
from core.training.config_parts import Crop, DataSettings
from core.training.dataset import Dataset
from core.training.order import derived
from core.training.pictures import scan


def components_of(path, tmp_path_factory):
    return load(
        identify(path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )


@pytest.fixture(scope="module")
def loaded(tiny_model, tmp_path_factory):
    return components_of(tiny_model, tmp_path_factory)


@pytest.fixture(scope="module")
def loaded_xl(tiny_xl_model, tmp_path_factory):
    return components_of(tiny_xl_model, tmp_path_factory)


def draw(path, size, seed):
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three squares and two upright pictures, at the tiny model's resolution of 64."""
    for i, size in enumerate([(64, 64), (70, 64), (64, 64), (48, 80), (60, 100)]):
        draw(tmp_path / "data" / f"picture {'abcde'[i]}.png", size, i)
    return tmp_path / "data"


@pytest.fixture
def make(folder, tmp_path, loaded):
    def dataset(components=loaded, *, prior=(), batch=2, seed=5, into="kept", **settings):
        given = DataSettings(folder=str(folder), **settings)
        return Dataset(
            scan(given).examples,
            given,
            components,
            cache=tmp_path / into,
            seed=seed,
            batch_size=batch,
            resolution=64,
            prior=prior,
        )

    return dataset


@pytest.fixture
def encodings(loaded, monkeypatch):
    """The pictures that the VAE was given."""
    given = []
    encode = Vae.encode

    def counted(self, pixels):
        given.append(pixels)
        return encode(self, pixels)

    monkeypatch.setattr(Vae, "encode", counted)
    return given


def assert_same(one, other):
    assert torch.equal(one.latents, other.latents)
    assert torch.equal(one.sizes, other.sizes)
    assert torch.equal(one.is_prior, other.is_prior)
    assert (one.captions, one.seeds) == (other.captions, other.seeds)
    assert (one.masks is None) == (other.masks is None)
    assert one.masks is None or torch.equal(one.masks, other.masks)


def scaled(picture, bucket):
    width, height = picture.size
    scale = max(bucket[0] / width, bucket[1] / height)
    size = round(width * scale), round(height * scale)
    return np.array(picture.resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("settings", [{}, {"crop": Crop.RANDOM, "flip": True}])
def test_a_batch_is_what_the_vae_makes_of_its_pictures(make, loaded, folder, settings):
    data = make(**settings)
    mirrored = 0
    for step in range(2 * data.batches()):
        batch = data.batch(step)
        assert len(batch) == 2
        assert batch.masks is None
        assert not batch.is_prior.any()
        for i, caption in enumerate(batch.captions):
            height, width, top, left, *now = map(int, batch.sizes[i])
            assert batch.latents.shape[2:] == (now[0] // 8, now[1] // 8)
            with Image.open(folder / f"{caption}.png") as picture:
                assert (width, height) == picture.size
                whole = scaled(picture, now[::-1])
            made = []
            for seen in (whole, whole[:, ::-1]):
                cropped = np.ascontiguousarray(seen[top : top + now[0], left : left + now[1]])
                encoded = Vae(loaded).encode(cropped)
                drawn = EncodedPicture(encoded.mean, encoded.std, loaded.scaling_factor).sample(
                    [torch.Generator().manual_seed(derived(batch.seeds[i], "latents"))]
                )
                made.append(torch.equal(batch.latents[i : i + 1], drawn))
            assert made in ([True, False], [False, True])
            mirrored += made[1]
    assert (mirrored > 0) == bool(settings)


def test_an_epoch_shows_every_picture(make):
    data = make()
    shown = {caption for step in range(data.batches()) for caption in data.batch(step).captions}
    assert shown == {f"picture {letter}" for letter in "abcde"}


@pytest.mark.parametrize("settings", [{}, {"crop": Crop.RANDOM, "flip": True}])
def test_a_training_that_goes_on_sees_what_would_have_come_next(make, settings):
    whole = make(**settings)
    batches = [whole.batch(step) for step in range(7)]
    assert_same(make(**settings).batch(5), batches[5])
    assert_same(make(into="other", **settings).batch(6), batches[6])


@pytest.mark.parametrize("masked", [False, True])
def test_a_cache_changes_nothing(make, encodings, masked):
    settings = {"flip": True, "use_masks": masked}
    kept = make(**settings)
    prepared = [one for one in kept.prepare() if isinstance(one, Prepared)]
    assert [one.what for one in prepared] == ["latents"] * 10 + ["captions"] * 5
    assert prepared[9] == Prepared(what="latents", index=10, total=10)
    assert len(encodings) == 10
    again = make(**settings)
    list(again.prepare())
    plain = make(into="unused", cache=False, **settings)
    assert list(plain.prepare()) == []
    for step in range(6):
        assert_same(again.batch(step), kept.batch(step))
        assert_same(again.batch(step), plain.batch(step))


def test_without_a_cache_nothing_is_written(make, tmp_path):
    data = make(into="unused", cache=False)
    list(data.prepare())
    data.batch(0)
    data.texts(["a"])
    assert not (tmp_path / "unused").exists()


def test_processes_share_what_one_would_see(make, folder):
    prior = make()._examples
    one = make(batch=4, prior=prior)
    two = make(batch=2, prior=prior)
    for step in range(one.batches()):
        whole = one.batch(step)
        parts = [two.batch(step, rank=rank, processes=2) for rank in range(2)]
        for i in range(2):
            own, of_class = slice(2 * i, 2 * i + 2), slice(4 + 2 * i, 6 + 2 * i)
            for name in ("latents", "sizes", "is_prior"):
                values = getattr(whole, name)
                expected = torch.cat([values[own], values[of_class]])
                assert torch.equal(getattr(parts[i], name), expected)
            assert parts[i].seeds == whole.seeds[own] + whole.seeds[of_class]
            assert parts[i].captions == whole.captions[own] + whole.captions[of_class]
    assert two.batches(2) == one.batches()


def test_processes_prepare_each_its_share(make, encodings):
    data = make()
    for rank in range(2):
        list(make().prepare(rank=rank, processes=2))
    assert len(encodings) == 5
    list(data.prepare())
    assert len(encodings) == 5


def test_class_pictures_come_in_the_shape_of_the_batch(make, tmp_path):
    for i in range(3):
        draw(tmp_path / "class" / f"{i}.png", (64, 64), 50 + i)
    prior = scan(DataSettings(folder=str(tmp_path / "class")), prompt="a star").examples
    data = make(prior=prior, trigger="zork", caption_dropout=0.5, shuffle_tags=True)
    shapes = set()
    for step in range(data.batches()):
        batch = data.batch(step)
        assert batch.is_prior.tolist() == [False, False, True, True]
        assert batch.captions[2:] == ("a star", "a star")
        assert len(set(batch.seeds)) == 4
        shapes.add(tuple(batch.latents.shape))
    assert len(shapes) == 2


def test_every_other_showing_is_mirrored(make, encodings):
    data = make(batch=1, flip=True)
    seen = [data.batch(step) for step in range(2 * data.batches())]
    # In two epochs each picture is shown as it is and mirrored.
    assert len(encodings) == 10
    assert len({one.captions for one in seen}) == 5


def test_a_crop_by_chance_is_new_each_time_and_said_to_cost(make, encodings, tmp_path):
    data = make(batch=1, crop=Crop.RANDOM, buckets=False)
    told = list(data.prepare())
    assert any(
        isinstance(one, Notice) and "3 of 5 pictures are cropped" in one.message for one in told
    )
    assert len(encodings) == 2  # Squares of just that size leave nothing to chance.
    crops = {
        (batch.captions[0], *map(int, batch.sizes[0, 2:4])) for batch in map(data.batch, range(20))
    }
    assert len(crops) > 8
    assert len(list((tmp_path / "kept" / "latents").rglob("*.safetensors"))) == 2


def test_long_captions_are_said_to_be_cut(make, folder):
    (folder / "picture a.txt").write_text("red " * 80)
    told = [one.message for one in make().prepare() if isinstance(one, Notice)]
    assert told == [
        "1 of 5 captions have more than 75 tokens; the text encoder reads no more of them."
    ]


def test_masks_are_averaged_over_latents(make, folder):
    greys = np.zeros((64, 64), np.uint8)
    greys[:, 28:] = 255
    Image.fromarray(greys).save(folder / "picture a.mask.png")
    rgba = np.full((64, 64, 4), 255, np.uint8)
    rgba[:16, :, 3] = 0
    Image.fromarray(rgba, "RGBA").save(folder / "picture b.png")
    data = make(batch=1, use_masks=True, buckets=False)
    seen = {}
    for step in range(data.batches()):
        batch = data.batch(step)
        seen[batch.captions[0]] = batch.masks
    assert seen["picture a"][0, 0, 0].tolist() == [0, 0, 0, 0.5, 1, 1, 1, 1]
    assert seen["picture b"][0, 0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    together = make(batch=4, use_masks=True, buckets=False).batch(0)
    assert together.masks.shape == (4, 1, 8, 8)


def test_texts_are_kept(make, loaded_xl, monkeypatch):
    data = make(loaded_xl, trigger="zork", caption_dropout=0.5)
    list(data.prepare())
    again = make(loaded_xl, trigger="zork", caption_dropout=0.5)
    for tower in loaded_xl.text_towers:
        monkeypatch.setattr(tower.encoder, "forward", None)  # Called, it would raise.
    said = {caption for step in range(8) for caption in again.batch(step).captions}
    assert "" in said
    assert "zork, picture a" in said
    kept = again.texts(sorted(said))
    monkeypatch.undo()
    assert kept.text.shape == (len(said), 77, 40)
    assert not kept.text[0].any()
    expected = TextEmbeddings(loaded_xl).of(sorted(said)[1:])
    assert torch.equal(kept.text[1:], expected.text)
    assert torch.equal(kept.pooled[1:], expected.pooled)
    weight = torch.ones(40, requires_grad=True)
    (kept.text * weight).sum().backward()


def test_texts_in_another_order_are_kept_in_memory_alone(make, tmp_path):
    data = make(shuffle_tags=True)
    list(data.prepare())
    data.texts(["a, b"])
    assert not (tmp_path / "kept" / "texts").exists()


def test_another_model_has_latents_and_texts_of_its_own(make, loaded, encodings):
    list(make().prepare())
    other = dataclasses.replace(loaded, vae_sha256="0" * 64)
    list(make(other).prepare())
    assert len(encodings) == 10
    list(make(background="#000000").prepare())
    assert len(encodings) == 15


def test_texts_are_those_of_the_model_and_its_precision(make, loaded, tmp_path):
    for changes in ({}, {"sha256": "0" * 64}, {"dtype": torch.bfloat16}):
        made = make(dataclasses.replace(loaded, **changes)).texts(["a star"])
        assert made.text.dtype is changes.get("dtype", torch.float32)
    assert len(list((tmp_path / "kept" / "texts").rglob("*.safetensors"))) == 3


def test_another_mask_is_not_taken_for_the_one_before(make, folder):
    for left in (0, 32):
        greys = np.zeros((64, 64), np.uint8)
        greys[:, left : left + 32] = 255
        Image.fromarray(greys).save(folder / "picture a.mask.png")
        data = make(batch=5, use_masks=True, buckets=False)
        batch = data.batch(0)
        mask = batch.masks[batch.captions.index("picture a")]
        assert mask[0, 0].tolist() == ([1.0] * 4 + [0.0] * 4)[:: -1 if left else 1]


def test_a_picture_that_vanishes_is_told(make, folder):
    data = make(batch=1)
    (folder / "picture c.png").unlink()
    with pytest.raises(DatasetInvalid, match=r"picture c.png cannot be read any more"):
        list(data.prepare())


def test_repeats_are_respected(make, folder):
    (folder / "3_star").mkdir()
    (folder / "picture a.png").rename(folder / "3_star" / "x.png")
    data = make(batch=1)
    shown = [data.batch(step).captions[0] for step in range(data.batches())]
    assert sorted(shown) == [f"picture {letter}" for letter in "bcde"] + ["star"] * 3


def test_an_overflow_of_fp16_is_encoded_in_fp32_and_said_once(
    make, tiny_model, monkeypatch, tmp_path_factory
):
    encode = diffusers.AutoencoderKL.encode

    def overflowing(vae, pixels):
        encoded = encode(vae, pixels)
        if pixels.dtype is torch.float16:
            encoded.latent_dist.mean = encoded.latent_dist.mean + float("inf")
        return encoded

    half = load(
        identify(tiny_model),
        device=torch.device("cpu"),
        dtype=torch.float16,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )
    monkeypatch.setattr(diffusers.AutoencoderKL, "encode", overflowing)
    data = make(half)
    told = [one.message for one in data.prepare() if isinstance(one, Notice)]
    assert told == ["The VAE overflowed in fp16 on some pictures; they were encoded in fp32."]
    monkeypatch.undo()
    again = make(half).batch(0)
    assert torch.isfinite(again.latents).all()
    assert torch.equal(again.latents, data.batch(0).latents)
    assert data.texts(again.captions).text.dtype is torch.float16


def test_what_is_no_number_never_enters_the_cache(make, monkeypatch, tmp_path):
    encode = diffusers.AutoencoderKL.encode

    def broken(vae, pixels):
        encoded = encode(vae, pixels)
        encoded.latent_dist.mean = encoded.latent_dist.mean * float("nan")
        return encoded

    monkeypatch.setattr(diffusers.AutoencoderKL, "encode", broken)
    with pytest.raises(ModelInvalid, match=r"VAE .* not finite"):
        list(make().prepare())
    assert not list((tmp_path / "kept").rglob("*.safetensors"))
