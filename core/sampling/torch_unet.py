"""The torch UNet as a denoiser, with the guard that half precision needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from core.errors import ModelInvalid
from core.models.components import Components, change_dtype
from core.sampling.conditioning import Conditioning


class Lead(Protocol):
    """What leads a UNet from within, as ControlNets do."""

    def __call__(
        self, latents: Tensor, timestep: Tensor, conditions: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Give what the UNet takes in addition.

        Args:
            latents: ``(B, C, H/8, W/8)``, as the UNet gets them, on its device.
            timestep: 0-dimensional.
            conditions: What the UNet is told beside them, by its own names.
        """


class TorchUNet:
    """A denoiser that computes on the model's device, in the model's number format.

    A prediction that is not finite is computed again in fp32, and so is everything after it until
    the ``with`` block ends; whether that happens depends on the batch alone, so that the batch can
    be repeated bit for bit.

    Attributes:
        fell_back: Whether fp32 had to help.
    """

    def __init__(self, components: Components) -> None:
        """Use a loaded model's UNet."""
        self._components = components
        self._dtype = components.dtype
        self.fell_back = False

    def __enter__(self) -> TorchUNet:
        """Begin a batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the weights their number format back; fp16 survives fp32 unchanged."""
        self._use(self._components.dtype)

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        conditioning: Conditioning,
        *,
        lead: Lead | None = None,
    ) -> Tensor:
        """Predict; see ``Denoiser``.

        Args:
            latents: As of ``Denoiser``.
            timestep: Likewise.
            conditioning: Likewise.
            lead: What leads the UNet, in the number format that it computes in.

        Raises:
            ModelInvalid: If the prediction is not finite in fp32 either.
        """
        prediction = self._predict(latents, timestep, conditioning, lead)
        if not _is_finite(prediction) and self._dtype is not torch.float32:
            self.fell_back = True
            self._use(torch.float32)
            prediction = self._predict(latents, timestep, conditioning, lead)
        if not _is_finite(prediction):
            raise ModelInvalid(
                f"The UNet of {self._components.identity.path} gives numbers that are not finite "
                f"at timestep {float(timestep):g}; its weights are damaged, copy them again."
            )
        return prediction

    def _predict(
        self, latents: Tensor, timestep: Tensor, conditioning: Conditioning, lead: Lead | None
    ) -> Tensor:
        device = self._components.device
        latents = latents.to(device, self._dtype)
        told = conditioning.map(lambda values: values.to(device, self._dtype))
        size = None
        if conditioning.sizes is not None:
            # Half precision would round the numbers of pixels.
            size = {"text_embeds": told.pooled, "time_ids": conditioning.sizes.to(device)}
        conditions = {
            "encoder_hidden_states": told.text,
            "timestep_cond": told.guidance,
            "added_cond_kwargs": size,
        }
        led = {} if lead is None else lead(latents, timestep, conditions)
        # A 0-dimensional timestep on the CPU is copied to the device inside of the UNet.
        prediction: Tensor = self._components.unet(
            latents,
            timestep,
            **conditions,
            **led,
            return_dict=False,
        )[0]
        return prediction.to("cpu", torch.float32)

    def _use(self, dtype: torch.dtype) -> None:
        if dtype is not self._dtype:
            change_dtype(self._components.unet, dtype)
            self._dtype = dtype


def _is_finite(values: Tensor) -> bool:
    """The sum of finite numbers this size is finite, and one sum is cheaper than asking each."""
    return bool(torch.isfinite(values.sum()))
