import pytest
import torch
from torch import nn

from core.starter.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 64), (2, 64, 16)])
def test_all_singular_values_come_close_to_one(shape):
    torch.manual_seed(0)
    given = torch.randn(shape) * torch.logspace(-1, 1, shape[2])
    values = torch.linalg.svdvals(orthogonal(given))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_directions_are_kept():
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(6, 6))[0], torch.linalg.qr(torch.randn(6, 6))[0]
    given = left @ torch.diag(torch.linspace(0.5, 1.5, 6)) @ right.T
    made = left.T @ orthogonal(given[None])[0] @ right
    assert (made - torch.diag(made.diagonal())).abs().max() < 0.05
    assert made.diagonal().min() > 0.5


def test_a_row_with_a_hundredth_of_the_gradient_moves_as_far_as_the_others():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(4, 16))
    weight.grad = torch.linalg.qr(torch.randn(16, 4))[0].T * torch.tensor([[1], [1], [1], [0.01]])
    Muon([weight], lr=1.0).step()
    moved = weight.detach().norm(dim=1)
    assert moved.max() < 2 * moved.min()
    assert (weight.detach() * weight.grad).sum() < 0


def test_a_step_has_the_size_of_adamws_and_kernels_keep_their_shape():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(32, 16, 3, 3).to(memory_format=torch.channels_last))
    before = kernel.detach().clone()
    kernel.grad = torch.randn_like(kernel)
    Muon([kernel], lr=1e-3).step()
    moved = (kernel.detach() - before).square().mean().sqrt()
    assert 1e-4 < moved < 3e-4
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_weights_decay_towards_zero():
    kernel = nn.Parameter(torch.ones(4, 4))
    kernel.grad = torch.zeros(4, 4)
    Muon([kernel], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(kernel.detach(), torch.full((4, 4), 0.95))
