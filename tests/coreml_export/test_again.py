import dataclasses

import pytest

from core.errors import ModelMissing, NeedsExport
from core.request import ControlUse, EmbeddingUse, ImageToImage, LoraUse, TextToImage, Upscale
from coreml_export.again import again
from coreml_export.request import ExportRequest

REFUSED = TextToImage(prompts=("a fox",), width=512, height=768)


@pytest.fixture
def files(tmp_path):
    """Files that a library knows by their stems."""
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("fox", "ink", "word", "canny")}
    for path in paths.values():
        path.touch()
    return paths


@pytest.fixture
def begun(files):
    return ExportRequest(
        model="m",
        out="o",
        sizes=((512, 512),),
        loras=(LoraUse(path=str(files["fox"]), weight=0.5),),
        parts=("Unet",),
    )


def asked(begun, files, field, request=REFUSED, **changes):
    refused = dataclasses.replace(request, **changes)
    return again(begun, refused, NeedsExport(field, "no"), lambda _: files.get)


def test_loras_of_prompts_join_those_that_are_merged(begun, files):
    fox, ink = str(files["fox"]), str(files["ink"])
    found = asked(begun, files, "loras", prompts=("a <lora:ink:0.7> fox <lora:fox:1.2>",))
    assert found == dataclasses.replace(
        begun, loras=(LoraUse(path=fox, weight=1.2), LoraUse(path=ink, weight=0.7))
    )
    by_path = asked(begun, files, "loras", loras=(LoraUse(path=ink),))
    assert [use.path for use in by_path.loras] == [fox, ink]


def test_words_and_control_nets_are_found_by_name(begun, files):
    word = EmbeddingUse(path="word", token="word")
    found = asked(begun, files, "embeddings", embeddings=(word,))
    assert found.embeddings == (dataclasses.replace(word, path=str(files["word"])),)
    led = dataclasses.replace(begun, controls=(str(files["canny"]),))
    for before in (begun, led):
        found = asked(before, files, "controls", controls=(ControlUse(path="canny", image="a"),))
        assert found.controls == (str(files["canny"]),)


def test_start_picture_takes_all_parts(begun, files):
    found = asked(begun, files, "init_image")
    assert found == dataclasses.replace(begun, parts=())


def test_size_takes_the_place_of_the_only_one_or_joins_others(begun, files):
    assert asked(begun, files, "width").sizes == ((512, 768),)
    several = dataclasses.replace(begun, sizes=((512, 512), (640, 640)))
    assert asked(several, files, "width").sizes == ((512, 512), (640, 640), (512, 768))
    tiles = Upscale(prompts=("",), init_image="a.png", width=1024, height=1024, window=640)
    assert asked(begun, files, "window", request=tiles).sizes == ((640, 640),)


def test_file_that_is_gone_is_named(begun, files):
    start = ImageToImage(prompts=("<lora:gone:1>",), init_image="a.png")
    with pytest.raises(ModelMissing, match="'gone'"):
        asked(begun, files, "loras", request=start)
