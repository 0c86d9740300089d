from core.images.metadata import read_metadata


def test_a_prompt_that_is_no_json_is_a_prompt(build):
    path = build.texts(
        prompt="a cat",
        negative__prompt="dog",
        seed="5",
        sampler="euler_a",
        steps="30",
        scale="7.5",
        clip__prompt="x",
    )
    found = read_metadata(path)
    assert (found.source, found.prompt, found.negative_prompt) == ("sd-scripts", "a cat", "dog")
    assert (found.seed, found.steps, found.guidance_scale) == (5, 30, 7.5)
    assert found.unexpressed == {"clip-prompt": "x"}


def test_a_prompt_alone_says_too_little(build):
    assert read_metadata(build.texts(prompt="a cat")) is None
