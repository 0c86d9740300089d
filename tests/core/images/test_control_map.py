"""From a control picture to the map that a ControlNet reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import InvalidRequest
from core.images.canny import edges
from core.images.canvas import canvas_of
from core.images.control_map import control_map, control_maps
from core.images.reading import read_start_image
from core.request import ControlUse, Inpaint, Preprocessor, SecondPass, TextToImage


def use_of(image: Path, **changes: object) -> ControlUse:
    settings: dict[str, object] = {"path": "any", "image": str(image)}
    return ControlUse(**(settings | changes))  # type: ignore[arg-type]


def test_a_ready_map_of_the_right_size_stays_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "map.png")
    assert (control_map(use_of(tmp_path / "map.png"), 32, 24) == pixels).all()


def test_it_is_fitted_as_a_start_picture_is(start_picture: Path) -> None:
    expected = read_start_image(start_picture, 64, 64)
    assert (control_map(use_of(start_picture), 64, 64) == expected).all()


def test_edges_are_found_at_the_size_of_the_run(start_picture: Path) -> None:
    use = use_of(start_picture, preprocessor=Preprocessor.CANNY, low=20, high=40)
    expected = edges(read_start_image(start_picture, 64, 64), 20, 40)
    assert expected.any()
    assert (control_map(use, 64, 64) == expected).all()


def test_each_pass_has_its_own(start_picture: Path) -> None:
    use = use_of(start_picture)
    request = TextToImage(prompts=("a",), width=32, height=32, controls=(use, use))
    assert [[m.shape for m in row] for row in control_maps(request, None)] == [[(32, 32, 3)] * 2]
    larger = TextToImage(
        prompts=("a",), width=32, height=32, controls=(use,), second_pass=SecondPass(scale=1.5)
    )
    assert [m.shape for row in control_maps(larger, None) for m in row] == [
        (32, 32, 3),
        (48, 48, 3),
    ]


def test_the_masked_part_alone_sees_its_part_of_the_map(tmp_path: Path) -> None:
    y, x = np.mgrid[0:64, 0:96]
    pixels = np.stack([x * 2, y * 4, x + y], axis=-1).astype(np.uint8)
    mask = np.zeros((64, 96), dtype=np.uint8)
    mask[40:56, 70:86] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    request = Inpaint(
        prompts=("a",),
        init_image=str(tmp_path / "photo.png"),
        mask_image=str(tmp_path / "mask.png"),
        only_masked=True,
        padding=4,
        width=32,
        height=32,
        controls=(use_of(tmp_path / "photo.png"),),
    )
    canvas = canvas_of(request)
    ((made,),) = control_maps(request, canvas)
    assert (made == canvas.start()).all()


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(b"not a picture")
    with pytest.raises(InvalidRequest, match=r"controls\.image.*map\.png is not a picture"):
        control_map(use_of(tmp_path / "map.png"), 32, 32)
    with pytest.raises(InvalidRequest, match=r"controls\.image.*does not exist"):
        control_map(use_of(tmp_path / "none.png"), 32, 32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "map.png"
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(path)
    return path


@given(data=st.data())
def test_damaged_pictures_give_a_map_or_one_sentence(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    damaged = whole.with_name("damaged.png")
    damaged.write_bytes(content[:cut])
    refused = None
    try:
        made = control_map(use_of(damaged, preprocessor=Preprocessor.CANNY), 16, 16)
    except InvalidRequest as error:
        refused = str(error)
    if refused is None:
        assert made.shape == (16, 16, 3)
    else:
        assert "damaged.png" in refused
        assert "\n" not in refused
