"""UNets and ControlNets as parts: every condition an input of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

RESIDUAL = "additional_residual_"
"""Begins the names of what ControlNets add, in the order of the UNet's way down; the last is for
its middle."""


class Unet(nn.Module):
    """A UNet."""

    def __init__(self, unet: Any, others: Sequence[str], *, channels_first: bool) -> None:
        """Share a UNet's weights.

        Args:
            unet: A ``UNet2DConditionModel``, or what ``in_split_einsum`` made of one.
            others: Names of the inputs after the first three, in their order.
            channels_first: Whether it takes text states ``(B, D, 1, T)`` itself.
        """
        super().__init__()
        self.unet = unet
        self.others = tuple(others)
        self.channels_first = channels_first

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor, *others: Tensor) -> Tensor:
        """Predict.

        Args:
            sample: ``(B, C, H/8, W/8)``.
            timestep: ``(B,)``.
            text: ``(B, D, 1, T)``.
            others: What this UNet is told beside them.

        Returns:
            ``(B, 4, H/8, W/8)``.
        """
        told = dict(zip(self.others, others, strict=True))
        residuals = [told[name] for name in self.others if name.startswith(RESIDUAL)]
        led: dict[str, Any] = {}
        if residuals:
            led = {
                "down_block_additional_residuals": tuple(residuals[:-1]),
                "mid_block_additional_residual": residuals[-1],
            }
        prediction = self.unet(
            sample,
            timestep,
            _text_for(text, channels_first=self.channels_first),
            timestep_cond=told.get("timestep_cond"),
            added_cond_kwargs=_size_of(told),
            return_dict=False,
            **led,
        )[0]
        return cast(Tensor, prediction)


class ControlNet(nn.Module):
    """A ControlNet at full strength."""

    def __init__(self, net: Any, others: Sequence[str], *, channels_first: bool) -> None:
        """Share a ControlNet's weights.

        Args:
            net: A ``ControlNetModel``, or what ``in_split_einsum`` made of one.
            others: Names of the inputs after the first four, in their order.
            channels_first: Whether it takes text states ``(B, D, 1, T)`` itself.
        """
        super().__init__()
        self.net = net
        self.others = tuple(others)
        self.channels_first = channels_first

    def forward(
        self, sample: Tensor, timestep: Tensor, text: Tensor, picture: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        """Say what is added to a UNet.

        Args:
            sample: ``(B, 4, H/8, W/8)``.
            timestep: ``(B,)``.
            text: ``(B, D, 1, T)``.
            picture: The map, ``(B, 3, H, W)`` in 0..1.
            others: What this ControlNet is told beside them.

        Returns:
            One tensor for each place of the UNet's way down, then one for its middle.
        """
        down, middle = self.net(
            sample,
            timestep,
            _text_for(text, channels_first=self.channels_first),
            picture,
            added_cond_kwargs=_size_of(dict(zip(self.others, others, strict=True))),
            return_dict=False,
        )
        return (*down, middle)


def residual_shapes(unet: Any, sample: Sequence[int]) -> list[tuple[int, ...]]:
    """Give the shapes of what ControlNets add to a UNet whose ``sample`` is that large."""
    batch, _, height, width = sample
    shapes = [(batch, int(unet.conv_in.out_channels), height, width)]
    for block in unet.down_blocks:
        channels = int(block.resnets[-1].out_channels)
        shapes += [(batch, channels, height, width)] * len(block.resnets)
        if block.downsamplers is not None:
            # Its convolutions have a kernel of 3, a stride of 2 and a margin of 1.
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((batch, channels, height, width))
    return [*shapes, shapes[-1]]


def _text_for(text: Tensor, *, channels_first: bool) -> Tensor:
    """Give text states ``(B, D, 1, T)`` as a network takes them, else ``(B, T, D)``."""
    return text if channels_first else text.squeeze(2).transpose(1, 2)


def _size_of(told: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Gather what SDXL's networks are told beside the text."""
    return {name: told[name] for name in ("time_ids", "text_embeds") if name in told} or None
