import torch

from core.starter.autoencoder import thumbnail


def test_the_small_picture_is_brightness_and_two_colour_differences():
    grey = torch.full((1, 3, 16, 24), 0.5)
    assert torch.equal(thumbnail(grey)[0, :, 0, 0], torch.tensor([1.5, 0.0, 0.0]))
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(1, 3, 16, 24)
    assert torch.equal(thumbnail(red)[0, :, 1, 2], torch.tensor([-1.0, 3.0, 1.5]))


def test_a_block_that_an_edge_crosses_is_a_blend_of_its_two_colours():
    picture = torch.full((1, 3, 8, 16), -1.0)
    picture[:, :, :, 6:] = 1.0
    left, right = thumbnail(picture)[0, 0, 0]
    assert torch.allclose(left, torch.tensor(3 * (2 * 2 / 8 - 1)))
    assert right == 3
