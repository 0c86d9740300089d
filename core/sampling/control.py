"""ControlNets at work: a UNet led by pictures in a part of the run.

A ControlNet is a copy of the UNet's first half that reads a picture beside the latents; what it
answers is added to what that half hands on (Zhang et al. 2023, arXiv:2302.05543, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import InvalidRequest
from core.events import Pixels
from core.models.components import change_dtype
from core.request import ControlUse
from core.sampling.conditioning import Conditioning
from core.sampling.schedulers import Plan
from core.sampling.torch_unet import TorchUNet

_LATENTS = 4

_CONDITIONS = ("encoder_hidden_states", "added_cond_kwargs")
"""What of a UNet's conditions a ControlNet is told: text, and what SDXL's has beside it. A guidance
that is a number is none of them: no ControlNet was trained with it."""


@dataclass(frozen=True, slots=True)
class Control:
    """A ControlNet and what it follows.

    Attributes:
        net: The network.
        use: How strongly and when it works.
        picture: ``(1, 3, H, W)``, fp32 in 0..1: its map.
    """

    net: nn.Module
    use: ControlUse
    picture: Tensor

    @classmethod
    def of(cls, net: nn.Module, use: ControlUse, pixels: Pixels) -> Control:
        """Take a map ``(H, W, 3) uint8``."""
        picture = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
        return cls(net, use, picture)


class Controlled:
    """A UNet as a denoiser that heeds controls, each in its part of one run."""

    def __init__(
        self, unet: TorchUNet, controls: Sequence[Control], plan: Plan, *, calls: int, scale: int
    ) -> None:
        """Wrap a UNet for one run.

        Args:
            unet: What predicts.
            controls: What leads it.
            plan: The course of the run, as far as it is this UNet's. ``turn_to`` says before each
                call where that is.
            calls: How many there are in the whole run.
            scale: Pixels of a latent's side.
        """
        self._unet = unet
        self._scale = scale
        self._active: dict[tuple[float, float], tuple[Control, ...]] = {
            _moment(call.timestep, call.progress): tuple(
                control for control in controls if works_at(control.use, i, calls)
            )
            for i, call in enumerate(plan.calls)
        }
        self._now: tuple[Control, ...] = ()
        self._rows = self._columns = slice(None)

    def turn_to(self, timestep: Tensor, progress: float) -> None:
        """Let those controls work that are meant for a moment of the run.

        Args:
            timestep: 0-dimensional.
            progress: Share of the run already done, 0 up to below 1.
        """
        self._now = self._active[_moment(timestep, progress)]

    def look_at(self, rows: slice, columns: slice) -> None:
        """Say which part of the pictures the next latents are, in latents."""
        scale = self._scale
        self._rows = slice(rows.start * scale, rows.stop * scale)
        self._columns = slice(columns.start * scale, columns.stop * scale)

    def __call__(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Predict; see ``Denoiser``."""
        return self._unet(latents, timestep, conditioning, lead=self._lead if self._now else None)

    def _lead(
        self, latents: Tensor, timestep: Tensor, conditions: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Sum up what the controls add; see ``core.sampling.torch_unet.Lead``."""
        told = {name: conditions[name] for name in _CONDITIONS if name in conditions}
        down: list[Tensor] = []
        middle: Tensor | None = None
        for control in self._now:
            picture = control.picture[..., self._rows, self._columns]
            weights = next(control.net.parameters(), None)
            if weights is not None and weights.dtype is not latents.dtype:
                # fp32 had to help, or has helped the batch before. Exported ones have none here.
                change_dtype(control.net, latents.dtype)
            downs, added = control.net(
                # An inpainting UNet's latents have the mask and the surroundings behind them.
                latents[:, :_LATENTS],
                timestep,
                **told,
                # Once for each picture of the batch: a batch of one has other last bits.
                controlnet_cond=picture.to(latents.device, latents.dtype).repeat(
                    len(latents), 1, 1, 1
                ),
                conditioning_scale=control.use.weight,
                return_dict=False,
            )
            down = [a + b for a, b in zip(down, downs, strict=True)] if down else list(downs)
            middle = added if middle is None else middle + added
        return {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }


def _moment(timestep: Tensor, progress: float) -> tuple[float, float]:
    """Tell a run's calls apart: some methods come to a timestep twice, and call twice a step."""
    return float(timestep), progress


def works_at(use: ControlUse, call: int, calls: int) -> bool:
    """Whether a ControlNet works in a call: if all of it lies within its part of the run."""
    return use.weight > 0 and call / calls >= use.start and (call + 1) / calls <= use.end


def check_parts(uses: Sequence[ControlUse], runs: Sequence[tuple[int, int]]) -> None:
    """Refuse a control that would do nothing in any run.

    Args:
        uses: The controls.
        runs: Of each run how many calls the controlled UNet has, from the first, and how many all.

    Raises:
        InvalidRequest: If one's part of the run is shorter than a step.
    """
    for use in uses:
        works = any(works_at(use, i, every) for own, every in runs for i in range(own))
        if use.weight and not works:
            raise InvalidRequest(
                "controls.end",
                f"leaves no whole step between {use.start:g} and {use.end:g} of the run; widen "
                "that part or take more steps.",
            )
