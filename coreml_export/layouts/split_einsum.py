"""Transformers as the Neural Engine likes them: channels first, and each head by itself.

Apple's "Deploying Transformers on the Apple Neural Engine" (2022,
https://machinelearning.apple.com/research/neural-engine-transformers) has the principles: states
``(B, C, 1, S)``, convolutions for linear layers, and attention in pieces that need no reshaping.
Nothing here has weights of its own; all are views of those of diffusers' modules.

B batch, C channels, S places in the picture, T places in what is attended to, D width of a head.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from coreml_export.layouts.sharing import ModuleT, sharing_copy


def in_split_einsum(net: ModuleT) -> ModuleT:
    """Give a UNet or ControlNet of diffusers whose transformers are those of this module.

    Everything else in it, and every weight, is that of the original, which stays as it is. The text
    states that it takes are ``(B, D, 1, T)``.
    """
    made = sharing_copy(net)
    for name, module in list(made.named_modules()):
        if isinstance(module, Transformer2DModel):
            parent, _, child = name.rpartition(".")
            setattr(made.get_submodule(parent), child, Transformer(module))
    return made


class Pointwise(nn.Module):
    """A linear layer over the channels: a convolution with a kernel of one."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        """Share a layer's weights; a convolution's kernel must be one wide already."""
        super().__init__()
        weight = layer.weight.detach()
        self.weight = _shared(weight if weight.ndim == 4 else weight[:, :, None, None])
        self.bias = None if layer.bias is None else _shared(layer.bias.detach())

    def forward(self, states: Tensor) -> Tensor:
        """Map ``(B, C, ...)`` to as many places of other channels."""
        return F.conv2d(states, self.weight, self.bias)


class ChannelNorm(nn.Module):
    """A layer norm over the channels of ``(B, C, 1, S)``."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        """Share a norm's weights."""
        super().__init__()
        self.eps = norm.eps
        self.weight = _shared(norm.weight.detach()[:, None, None])
        self.bias = _shared(norm.bias.detach()[:, None, None])

    def forward(self, states: Tensor) -> Tensor:
        """Normalise each place by itself."""
        centred = states - states.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class Attention(nn.Module):
    """Attention of which each head is computed by itself."""

    def __init__(self, attention: Any) -> None:
        """Share the weights of one of diffusers' ``Attention``."""
        super().__init__()
        self.to_q = Pointwise(attention.to_q)
        self.to_k = Pointwise(attention.to_k)
        self.to_v = Pointwise(attention.to_v)
        self.to_out = Pointwise(attention.to_out[0])
        self.scale = float(attention.scale)
        self.width = attention.inner_dim // attention.heads

    def forward(self, states: Tensor, context: Tensor) -> Tensor:
        """Attend.

        Args:
            states: ``(B, C, 1, S)``.
            context: What is attended to, ``(B, C', 1, T)``.

        Returns:
            ``(B, C, 1, S)``.
        """
        # Scaled before the product, which half precision could not hold otherwise.
        queries = (self.to_q(states) * self.scale).split(self.width, dim=1)  # (B, D, 1, S) each
        keys = self.to_k(context).transpose(1, 3).split(self.width, dim=3)  # (B, T, 1, D) each
        values = self.to_v(context).split(self.width, dim=1)  # (B, D, 1, T) each
        heads = []
        for query, key, value in zip(queries, keys, values, strict=True):
            shares = torch.einsum("bchq,bkhc->bkhq", query, key).softmax(dim=1)  # (B, T, 1, S)
            heads.append(torch.einsum("bkhq,bchk->bchq", shares, value))
        return cast(Tensor, self.to_out(torch.cat(heads, dim=1)))


class FeedForward(nn.Module):
    """The gated layer of a block (Shazeer 2020, arXiv:2002.05202, GEGLU)."""

    def __init__(self, gate: nn.Linear, out: nn.Linear) -> None:
        """Share the weights of its two linear layers."""
        super().__init__()
        self.gate = Pointwise(gate)
        self.out = Pointwise(out)

    def forward(self, states: Tensor) -> Tensor:
        """Map ``(B, C, 1, S)`` to the same shape."""
        values, gates = self.gate(states).chunk(2, dim=1)
        return cast(Tensor, self.out(values * F.gelu(gates)))


class Block(nn.Module):
    """A block of a transformer: self-attention, attention to the text, and a gated layer."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        """Share the weights of a block as Stable Diffusion's UNets have them."""
        super().__init__()
        self.norm1, self.attn1 = ChannelNorm(block.norm1), Attention(block.attn1)
        self.norm2, self.attn2 = ChannelNorm(block.norm2), Attention(block.attn2)
        self.norm3 = ChannelNorm(block.norm3)
        self.feed_forward = FeedForward(block.ff.net[0].proj, block.ff.net[2])
        self.reads_text_only = bool(block.only_cross_attention)

    def forward(self, states: Tensor, text: Tensor) -> Tensor:
        """Map ``(B, C, 1, S)`` to the same shape; ``text`` is ``(B, D, 1, T)``."""
        normed = self.norm1(states)
        states = states + self.attn1(normed, text if self.reads_text_only else normed)
        states = states + self.attn2(self.norm2(states), text)
        return states + cast(Tensor, self.feed_forward(self.norm3(states)))


class Transformer(nn.Module):
    """What stands in the place of diffusers' ``Transformer2DModel``."""

    def __init__(self, transformer: Transformer2DModel) -> None:
        """Share the weights of one whose projections are linear or convolutions."""
        super().__init__()
        self.norm = transformer.norm
        self.proj_in = Pointwise(transformer.proj_in)
        self.blocks = nn.ModuleList(map(Block, transformer.transformer_blocks))
        self.proj_out = Pointwise(transformer.proj_out)

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_told: object
    ) -> tuple[Tensor]:
        """Add what the transformer makes of ``(B, C, H, W)`` and of text ``(B, D, 1, T)``.

        The names are those that diffusers' blocks call it by, and so is a tuple of one; what else
        they tell it, Stable Diffusion leaves empty.
        """
        projected = self.proj_in(self.norm(hidden_states))
        states = projected.flatten(2).unsqueeze(2)  # (B, C, 1, S)
        for block in self.blocks:
            states = block(states, encoder_hidden_states)
        return (self.proj_out(states.reshape(projected.shape)) + hidden_states,)


def _shared(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
