import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.events import ImageReady
from core.images.formats import PictureFormat
from core.images.lineage import ancestors_of, lineage_of
from core.images.metadata import MOST_ANCESTORS, read_metadata
from core.images.png_text import read_texts
from core.images.writing import save_picture
from core.request import ImageToImage, TextToImage


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(folder: Path, prompt: str, start: Path | None = None, **options: object) -> Path:
    """Save a picture as a run would, from a start picture or from noise."""
    request = TextToImage(prompts=(prompt,))
    if start is not None:
        request = ImageToImage(prompts=(prompt,), init_image=str(start), init_sha256=hash_of(start))
    image = ImageReady(
        request=request,
        picture=0,
        seed=0,
        pixels=np.full((8, 8, 3), len(prompt), np.uint8),
        seconds=1.0,
        model_sha256="ab" * 32,
        device="cpu",
    )
    return save_picture(image, folder, **options)


def rows(path: Path) -> list[tuple[str, Path | None]]:
    found = lineage_of(read_metadata(path), path.parent)
    return [(ancestor.sha256, ancestor.path) for ancestor in found]


@pytest.mark.parametrize("picture_format", PictureFormat)
def test_a_row_of_pictures_is_found_back_to_the_first(tmp_path, picture_format):
    first = made(tmp_path / "1", "a", picture_format=picture_format)
    second = made(tmp_path / "2", "ab", first, picture_format=picture_format)
    third = made(tmp_path / "3", "abc", second, picture_format=picture_format)
    assert read_metadata(first).ancestors == ()
    assert read_metadata(third).ancestors == (hash_of(second), hash_of(first))
    assert rows(third) == [(hash_of(second), second), (hash_of(first), first)]
    prompts = [a.metadata.request.prompts for a in lineage_of(read_metadata(third), tmp_path)]
    assert prompts == [("ab",), ("a",)]


def test_what_is_lost_in_between_does_not_end_the_row(tmp_path):
    first = made(tmp_path, "a")
    second = made(tmp_path, "ab", first)
    third = made(tmp_path, "abc", second)
    lost = hash_of(second)
    second.unlink()
    assert rows(third) == [(lost, None), (hash_of(first), first)]


def test_pictures_that_were_moved_or_renamed_are_found_beside_the_last(tmp_path):
    first = made(tmp_path / "old", "a")
    second = made(tmp_path / "old", "ab", first)
    third = made(tmp_path / "old", "abc", second)
    new = tmp_path / "new"
    new.mkdir()
    moved = second.rename(new / second.name)
    renamed = first.rename(new / "other.png")
    third = third.rename(new / third.name)
    assert rows(third) == [(hash_of(moved), moved), (hash_of(renamed), renamed)]


def test_a_start_picture_that_has_changed_since_is_not_it(tmp_path):
    first = made(tmp_path, "a")
    second = made(tmp_path, "ab", first)
    before = hash_of(first)
    Image.new("RGB", (8, 8)).save(first)
    assert rows(second) == [(before, None)]
    assert ancestors_of(read_metadata(second).request) == (before,)


def test_another_programs_picture_may_be_the_first(tmp_path, build):
    start = build.texts(parameters="a cat\nSteps: 5, Sampler: Euler, Seed: 1, Size: 8x8")
    path = made(tmp_path, "ab", start)
    (ancestor,) = lineage_of(read_metadata(path), tmp_path)
    assert (ancestor.path, ancestor.metadata.prompt) == (start, "a cat")


def test_a_start_picture_that_says_nothing_is_one_too(tmp_path, start_picture):
    path = made(tmp_path, "ab", start_picture)
    assert rows(path) == [(hash_of(start_picture), start_picture)]


def test_a_record_from_before_there_were_rows_names_its_start(tmp_path):
    first = made(tmp_path, "a")
    found = dataclasses.replace(read_metadata(made(tmp_path, "ab", first)), ancestors=())
    assert [ancestor.path for ancestor in lineage_of(found, tmp_path)] == [first]


def test_a_long_row_is_kept_to_its_nearest_part(tmp_path):
    path = made(tmp_path, "a")
    for _ in range(MOST_ANCESTORS + 3):
        path = made(tmp_path, "ab", path)
    assert len(read_metadata(path).ancestors) == MOST_ANCESTORS
    found = rows(path)
    assert len(found) == MOST_ANCESTORS
    assert all(place for _, place in found)


def test_a_row_that_comes_back_to_itself_ends(tmp_path):
    found = read_metadata(made(tmp_path, "ab", made(tmp_path, "a")))
    circle = dataclasses.replace(found, ancestors=("aa" * 32, "bb" * 32, "aa" * 32))
    assert len(lineage_of(circle, tmp_path)) == 2


def test_no_start_has_no_row(tmp_path):
    assert ancestors_of(TextToImage(prompts=("a",))) == ()
    assert ancestors_of(ImageToImage(prompts=("a",), init_image="/none")) == ()
    gone = ImageToImage(prompts=("a",), init_image="/none", init_sha256="ab" * 32)
    assert ancestors_of(gone) == ("ab" * 32,)


@pytest.mark.parametrize("values", [5, "x", [5], ["ab"], [None], [["ab" * 32]], {"a": 1}], ids=str)
def test_a_row_that_is_none_is_left_out_of_the_record(tmp_path, build, values):
    record = json.loads(read_texts(made(tmp_path, "a"))["stepwise"]) | {"ancestors": values}
    found = read_metadata(build.texts(stepwise=record))
    assert (found.request.prompts, found.ancestors) == (("a",), ())
