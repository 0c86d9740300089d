"""Whether a ControlNet goes with a model, in whatever form it is. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid
from core.models.identify import Family, Identity
from core.models.recognise import FAMILY_OF_WIDTH, FAMILY_TITLES


def check_text(path: Path, width: int | None, identity: Identity, *, needs_size: bool) -> None:
    """Hold the text that a ControlNet reads against what the model's text encoders write.

    Args:
        path: The ControlNet.
        width: Of that text; None if it reads none.
        identity: The model.
        needs_size: Whether it is told size and crop of the picture, as SDXL's are.

    Raises:
        ModelInvalid: If it was made for another kind of model.
    """
    wanted = identity.configs["unet"]["cross_attention_dim"]
    if width in (None, wanted) and needs_size == identity.needs_size:
        return
    made_for = FAMILY_OF_WIDTH.get(width or 0, Family.SDXL if needs_size else Family.CUSTOM)
    raise ModelInvalid(
        f"{path} is a ControlNet for {FAMILY_TITLES[made_for]} and {identity.path} is "
        f"{FAMILY_TITLES[identity.family]} (they read text {width or 'not at all'} and {wanted} "
        "wide); choose one that was made for this model."
    )


def check_scale(path: Path, scale: int, identity: Identity) -> None:
    """Hold the size to which a ControlNet brings control pictures against that of the latents.

    Raises:
        ModelInvalid: If they differ.
    """
    if scale != identity.vae_scale:
        raise ModelInvalid(
            f"{path} brings control pictures to 1/{scale} of their size and the latents of "
            f"{identity.path} have 1/{identity.vae_scale}; choose a ControlNet that was made for "
            "this model."
        )


def residual_channels(unet: Mapping[str, Any]) -> tuple[int, ...]:
    """Give the channels of each tensor that ControlNets add to a UNet.

    Args:
        unet: The UNet's configuration.

    Returns:
        Those of its way down, from the top, and last that of its middle.
    """
    widths = unet["block_out_channels"]
    layers = unet.get("layers_per_block", 2)
    counts = [layers] * len(widths) if isinstance(layers, int) else layers
    # Every block but the lowest ends with what makes its tensor smaller.
    blocks = [[width] * (count + 1) for width, count in zip(widths, counts, strict=True)]
    down = [*chain.from_iterable(blocks)][:-1]
    return (widths[0], *down, widths[-1])
