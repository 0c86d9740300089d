import json
import pickle
import shutil
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from core.errors import InvalidRequest, ModelInvalid, ModelMissing, UnsafeFile
from core.training.caption_request import CaptionSettings
from core.training.captioner import load_captioner

CPU = torch.device("cpu")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "star", "on", "photo",
         "of", ",")  # fmt: skip
PICTURES = {
    "image_mean": [0.48, 0.45, 0.4],
    "image_processor_type": "BlipImageProcessor",
    "image_std": [0.26, 0.27, 0.28],
    "resample": 3,
    "size": {"height": 32, "width": 32},
}


def config() -> BlipConfig:
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**wide, **ids, "vocab_size": len(WORDS), "num_hidden_layers": 2}
    vision = {**wide, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
    return BlipConfig(
        text_config={**text, "max_position_embeddings": 24},
        vision_config={**vision, "initializer_range": 0.5},
    )


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """A BLIP folder with random weights, as Salesforce's are laid out."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "blip"
    model = BlipForConditionalGeneration(config())
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4)  # Or else every picture has the same caption.
    model.save_pretrained(folder)
    vocab = {word: number for number, word in enumerate(WORDS)}
    BertTokenizer(vocab=vocab).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    return folder


@pytest.fixture
def copy(blip, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(blip, tmp_path / "copy")


def picture(seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def change(path, **changes) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def to_pickle(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def test_pictures_are_prepared_as_transformers_prepares_them(blip):
    processor = BlipImageProcessorPil.from_pretrained(blip)
    wanted = processor(picture(), return_tensors="pt").pixel_values
    found = load_captioner(blip, CPU).pixel_values(picture())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "a photo of"])
@pytest.mark.parametrize("beams", [1, 3])
def test_captions_are_those_of_transformers_own_words(blip, prefix, beams):
    model = BlipForConditionalGeneration.from_pretrained(blip).eval()
    tokenizer = BertTokenizer.from_pretrained(blip)
    captioner = load_captioner(blip, CPU)
    found = []
    for seed in range(4):
        pixels = captioner.pixel_values(picture(seed))
        given = {} if not prefix else dict(tokenizer(prefix, return_tensors="pt"))
        given.pop("token_type_ids", None)
        made = model.generate(pixels, **given, num_beams=beams, max_new_tokens=8)
        wanted = tokenizer.decode(made[0], skip_special_tokens=True)
        settings = CaptionSettings(prefix=prefix, beams=beams, max_tokens=8)
        found.append(captioner.describe(picture(seed), settings))
        assert found[-1] == wanted
        assert found[-1].startswith(prefix)
    assert len(set(found)) > 1


def test_the_prefix_stands_as_it_was_written_though_the_model_lacks_its_words(blip):
    settings = CaptionSettings(prefix="  OHWX  Star,", max_tokens=4)
    caption = load_captioner(blip, CPU).describe(picture(), settings)
    assert caption.startswith("OHWX Star, ")
    assert len(caption.split()) <= 6


def test_a_prefix_that_leaves_no_room_is_said_so(blip):
    captioner = load_captioner(blip, CPU)
    settings = CaptionSettings(prefix="a star " * 9, max_tokens=100)
    assert captioner.describe(picture(), settings)
    with pytest.raises(InvalidRequest, match="leaves no room for a caption"):
        captioner.describe(picture(), CaptionSettings(prefix="a star " * 10))


def test_nothing_is_asked_of_the_network(blip, monkeypatch):
    def refuse(*_):
        raise AssertionError("asked the network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_captioner(blip, CPU).describe(picture(), CaptionSettings())


def test_a_pickle_of_tensors_gives_the_same_captions(blip, copy):
    to_pickle(copy)
    settings = CaptionSettings()
    wanted = load_captioner(blip, CPU).describe(picture(), settings)
    assert load_captioner(copy, CPU).describe(picture(), settings) == wanted


def test_safetensors_go_before_a_pickle(copy):
    (copy / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert load_captioner(copy, CPU)


def test_a_pickle_that_asks_for_more_is_refused(copy, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))
    with pytest.raises(UnsafeFile):
        load_captioner(copy, CPU)
    assert not (tmp_path / "run").exists()


def test_the_form_that_blip_was_first_published_in_is_read(blip, copy):
    """Settings of generation in the configuration, positions among the weights."""
    values = json.loads((copy / "config.json").read_text())
    old = {"max_length": 20, "min_length": 0, "num_beams": 1, "do_sample": False, "top_k": 50}
    text = {**values["text_config"], **old, "torch_dtype": None, "add_cross_attention": False}
    change(copy / "config.json", text_config=text, torch_dtype="float32", dtype=None)
    to_pickle(copy)
    weights = torch.load(copy / "pytorch_model.bin", weights_only=True)
    weights["text_decoder.bert.embeddings.position_ids"] = torch.arange(24)[None]
    tied = "text_decoder.cls.predictions.decoder"
    weights[f"{tied}.weight"] = weights["text_decoder.bert.embeddings.word_embeddings.weight"]
    weights[f"{tied}.bias"] = weights["text_decoder.cls.predictions.bias"]
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "generation_config.json").unlink(missing_ok=True)
    (copy / "tokenizer.json").unlink()
    settings = CaptionSettings(prefix="a", max_tokens=20)
    found, wanted = (load_captioner(f, CPU).describe(picture(), settings) for f in (copy, blip))
    assert found == wanted


def test_settings_may_lie_in_the_processors_own_file(copy):
    (copy / "preprocessor_config.json").unlink()
    values = {"image_processor": PICTURES, "processor_class": "BlipProcessor"}
    (copy / "processor_config.json").write_text(json.dumps(values))
    assert load_captioner(copy, CPU).mean == PICTURES["image_mean"]


def lacks_config(folder):
    (folder / "config.json").unlink()


def lacks_weights(folder):
    (folder / "model.safetensors").unlink()


def lacks_words(folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()


def lacks_pictures(folder):
    (folder / "preprocessor_config.json").unlink()


def says_no_mean(folder):
    change(folder / "preprocessor_config.json", image_mean=None)


def is_cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lacks_a_tensor(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["vision_model.post_layernorm.weight"]
    save_file(weights, path, {"format": "pt"})


def has_other_shapes(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["vision_model.post_layernorm.weight"] = torch.zeros(16)
    save_file(weights, path, {"format": "pt"})


def holds_no_numbers(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["vision_model.post_layernorm.weight"][0] = torch.nan
    save_file(weights, path, {"format": "pt"})


def has_too_many_words(folder):
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["moon"])
    tokenizer.save_pretrained(folder)


def answers_questions(folder):
    BlipForQuestionAnswering(config()).save_pretrained(folder)


def is_clip(folder):
    change(folder / "config.json", model_type="clip", architectures=["CLIPModel"])


def is_damaged_config(folder):
    change(folder / "config.json", text_config={"hidden_size": "wide"})


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (lacks_config, ModelMissing, r"has no config\.json; give the folder"),
        (lacks_weights, ModelInvalid, r"has no model\.safetensors; download"),
        (lacks_words, ModelInvalid, r"tokenizer\.json is missing; download"),
        (lacks_pictures, ModelInvalid, r"preprocessor_config\.json is missing; download"),
        (says_no_mean, ModelInvalid, r"preprocessor_config\.json does not say how pictures"),
        (is_cut_off, ModelInvalid, r"model\.safetensors"),
        (lacks_a_tensor, ModelInvalid, r"lacks the weights vision_model\.post_layernorm\.weight"),
        (has_other_shapes, ModelInvalid, "cannot be loaded"),
        (holds_no_numbers, ModelInvalid, "not finite"),
        (has_too_many_words, ModelInvalid, "tokenizer of 14 words and weights for 13"),
        (answers_questions, ModelInvalid, "is BlipForQuestionAnswering; captions need Blip"),
        (is_clip, ModelInvalid, "is CLIPModel; captions need BlipForConditionalGeneration"),
        (is_damaged_config, ModelInvalid, "cannot be loaded"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(copy, spoil, kind, words):
    spoil(copy)
    with pytest.raises(kind, match=words) as raised:
        load_captioner(copy, CPU)
    assert "copy" in str(raised.value)
    assert "\n" not in str(raised.value)
