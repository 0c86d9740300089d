import pytest

from core.errors import InvalidRequest
from core.training.caption_request import CaptionSettings


@pytest.mark.parametrize(
    ("suffix", "whole"),
    [
        ("", "a star"),
        ("in oil", "a star in oil"),
        (", in\noil ", "a star, in oil"),
        (".", "a star."),
    ],
)
def test_a_suffix_is_put_behind_as_it_stands(suffix, whole):
    assert CaptionSettings(suffix=suffix).finished("a star") == whole


def test_a_suffix_alone_is_a_caption_too():
    assert CaptionSettings(suffix="sks").finished("") == "sks"


@pytest.mark.parametrize("changes", [{"beams": 0}, {"beams": 65}, {"max_tokens": 0}])
def test_numbers_out_of_range_are_refused(changes):
    (name,) = changes
    with pytest.raises(InvalidRequest, match=f"^{name}: .* is not from 1 to"):
        CaptionSettings(**changes)
