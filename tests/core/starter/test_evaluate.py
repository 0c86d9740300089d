import pytest

from core.starter import evaluate


def test_a_model_that_is_not_there_is_one_sentence(capsys):
    assert evaluate.main(["--model", "nonsense"]) == 1
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", [["--pictures", "0"], ["--steps", "-1"]])
def test_no_picture_is_no_measurement(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(words)
    assert words[0] in capsys.readouterr().err


def test_no_share_is_told_of_no_picture():
    assert evaluate.negative_line(4, 3).endswith(
        "of 4 pictures with a named colour 3 lost it (75%)"
    )
    assert evaluate.negative_line(0, 0) == "negative prompt: no picture had a named colour"
