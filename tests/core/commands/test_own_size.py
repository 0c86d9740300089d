"""How large a picture becomes that is painted anew in part or painted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.commands.own_size import own_size


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (1003, 802)).save(tmp_path / "photo.png")
    return {"init_image": str(tmp_path / "photo.png")}


def test_a_masked_picture_has_room_at_the_next_multiple_of_8(given: dict[str, Any]) -> None:
    masked = given | {"mask_image": "mask.png"}
    assert own_size(masked) == {"width": 1008, "height": 808}
    assert own_size(masked | {"width": 512, "height": 512}) == {}
    assert own_size(masked | {"only_masked": True}) == {}


def test_the_other_side_of_a_masked_picture_keeps_the_ratio(given: dict[str, Any]) -> None:
    masked = given | {"mask_image": "mask.png"}
    assert own_size(masked | {"width": 504}) == {"height": 400}
    assert own_size(masked | {"height": 400}) == {"width": 496}


def test_a_picture_that_is_painted_on_has_room_at_the_next_multiple_of_8(
    given: dict[str, Any],
) -> None:
    assert own_size(given | {"left": 64}) == {"width": 1072, "height": 808}
    assert own_size(given | {"left": 64, "width": 512}) == {}


def test_other_requests_have_no_size_of_their_own(given: dict[str, Any]) -> None:
    assert own_size(given) == {}
    assert own_size({"prompts": ("a",)}) == {}
