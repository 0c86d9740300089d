import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipProcessor

from core.starter.captioner import _tokens, main, train, write_tokenizer
from core.starter.world import vocabulary


@pytest.fixture
def tokenizer(tmp_path):
    return write_tokenizer(tmp_path)


def test_each_word_of_the_world_is_a_token_and_other_words_are_letters(tokenizer):
    for word in vocabulary():
        assert tokenizer.tokenize(word) == [word]
    assert tokenizer.tokenize("sks dog") == ["s", "##k", "##s", "d", "##o", "##g"]
    assert tokenizer.unk_token_id not in tokenizer("A red Star, on the 3rd photo").input_ids


def test_the_tokenizer_is_read_from_either_of_its_files(tokenizer, tmp_path):
    text = "a photo of sks, two red stars"
    wanted = tokenizer(text).input_ids
    (tmp_path / "tokenizer.json").unlink()
    assert BertTokenizer.from_pretrained(tmp_path)(text).input_ids == wanted


def test_only_the_caption_is_learned_and_not_what_stands_before_it(tokenizer):
    ids, labels = _tokens(tokenizer, ["", "sks,"], ["a red star", "a heart"])
    texts = tokenizer.batch_decode(ids)
    assert texts == ["[CLS] a red star [SEP] [PAD] [PAD] [PAD]", "[CLS] sks, a heart [SEP]"]
    asked = [tokenizer.decode(row[row >= 0]) for row in labels]
    assert asked == ["a red star [SEP]", "a heart [SEP]"]


@pytest.mark.slow
def test_a_few_steps_end_in_a_folder_that_transformers_loads(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--steps", "2", "--pictures", "2"]) == 0
    assert "of 2 unseen renders: colour and shape" in capsys.readouterr().out
    model = tmp_path / "model"
    first = load_file(model / "model.safetensors")
    assert {weight.dtype for weight in first.values()} == {torch.float16}
    processor = BlipProcessor.from_pretrained(model)
    blip = BlipForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    inputs = processor(images=Image.new("RGB", (64, 48), "red"), return_tensors="pt")
    assert processor.decode(blip.generate(**inputs, max_new_tokens=8)[0], skip_special_tokens=True)
    train(tmp_path, steps=2)
    again = load_file(model / "model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)
