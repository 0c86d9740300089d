"""Exported parts as the modules that the sampling calls: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from core.errors import ModelInvalid
from core.models.exported import Package, residuals_of

Arrays = Mapping[str, npt.NDArray[Any]]

LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -30.0, 20.0
"""To which the VAE's answer is held, as in Stable Diffusion's own code (``ldm/modules/
distributions/distributions.py``)."""


class Predictor(Protocol):
    """A part that is where it works."""

    def predict(self, inputs: Arrays) -> Arrays:
        """Compute.

        Args:
            inputs: By name, each of the shape and dtype that the part declares.

        Returns:
            Its outputs by name.
        """


Opener = Callable[[Package], Predictor]
"""Brings a part to where it works."""


class PartRunner(nn.Module):
    """One part, or several that work one after another as a UNet's chunks do; a ``Lodger``.

    Called, it takes and gives tensors by name; what a part gives, those after it are told too.
    """

    def __init__(self, packages: Sequence[Package], opener: Opener) -> None:
        """Use parts, none of which is opened yet."""
        super().__init__()
        self.packages = tuple(packages)
        self._opener = opener
        self._predictors: tuple[Predictor, ...] = ()

    @property
    def doors(self) -> Sequence[nn.Module]:
        """Itself."""
        return (self,)

    @property
    def size(self) -> int:
        """Bytes of the parts' files, which is about what they take."""
        return sum(package.size for package in self.packages)

    def put_in(self) -> None:
        """Open the parts."""
        self._predictors = tuple(self._opener(package) for package in self.packages)

    def put_out(self) -> None:
        """Close them."""
        self._predictors = ()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute, in fp32 on the CPU whatever the inputs are in.

        Raises:
            ModelInvalid: If an answer is not finite.
        """
        known = dict(inputs)
        for package, predictor in zip(self.packages, self._predictors, strict=True):
            told = {one.name: _array(known[one.name], one.dtype) for one in package.inputs}
            given = predictor.predict(told)
            for one in package.outputs:
                known[one.name] = _tensor(given[one.name], package)
        return {one.name: known[one.name] for one in self.packages[-1].outputs}


class ExportedUNet(nn.Module):
    """Stands in for diffusers' ``UNet2DConditionModel``."""

    def __init__(self, runner: PartRunner) -> None:
        """Use the UNet's part or chunks."""
        super().__init__()
        self.runner = runner
        inputs = {one.name: one for package in runner.packages for one in package.inputs}
        self._shape = inputs["sample"].shape
        self._residuals = residuals_of(inputs.values())

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        timestep_cond: Tensor | None = None,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        down_block_additional_residuals: Sequence[Tensor] = (),
        mid_block_additional_residual: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """Predict; all arguments as in diffusers.

        Args:
            sample: ``(B, C, H/8, W/8)``.
            timestep: 0-dimensional.
            encoder_hidden_states: ``(B, T, D)``.
            timestep_cond: ``(B, G)``, or None.
            added_cond_kwargs: ``text_embeds`` and ``time_ids``, or None.
            down_block_additional_residuals: What ControlNets add, from the top down.
            mid_block_additional_residual: What they add below.
            return_dict: False.

        Returns:
            ``(B, 4, H/8, W/8)``, on the sample's device in its number format.
        """
        assert not return_dict
        told = _told(sample, timestep, encoder_hidden_states, added_cond_kwargs)
        if timestep_cond is not None:
            told["timestep_cond"] = timestep_cond
        added = [*down_block_additional_residuals]
        if mid_block_additional_residual is not None:
            added.append(mid_block_additional_residual)
        names = [one.name for one in self._residuals]
        told |= dict(zip(names, added or self._nothing(sample), strict=True))
        # The one output, whatever it is called.
        (answer,) = _in_rows(self.runner, told, self._shape[0]).values()
        return (answer.to(sample.device, sample.dtype),)

    def _nothing(self, sample: Tensor) -> list[Tensor]:
        """Give what no ControlNet adds, as large as the sample has it."""
        sides = list(zip(sample.shape[2:], self._shape[2:], strict=True))
        nothing = []
        for rows, channels, *lengths in (one.shape for one in self._residuals):
            size = [
                length * now // then for length, (now, then) in zip(lengths, sides, strict=True)
            ]
            nothing.append(torch.zeros(1).expand(rows, channels, *size))
        return nothing


class ExportedControlNet(nn.Module):
    """Stands in for diffusers' ``ControlNetModel``."""

    def __init__(self, runner: PartRunner) -> None:
        """Use a ControlNet's part."""
        super().__init__()
        self.runner = runner
        (package,) = runner.packages
        self._size = next(one.shape[0] for one in package.inputs if one.name == "sample")
        self._residuals = residuals_of(package.outputs)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
        *,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        return_dict: bool = False,
    ) -> tuple[list[Tensor], Tensor]:
        """Say what to add to a UNet; all arguments as in diffusers.

        Args:
            sample: ``(B, 4, H/8, W/8)``.
            timestep: 0-dimensional.
            encoder_hidden_states: ``(B, T, D)``.
            controlnet_cond: ``(B, 3, H, W)`` in 0..1, the map to follow.
            conditioning_scale: How strongly.
            added_cond_kwargs: ``text_embeds`` and ``time_ids``, or None.
            return_dict: False.

        Returns:
            What is added from the top down, and below, on the sample's device in its number format.
        """
        assert not return_dict
        told = _told(sample, timestep, encoder_hidden_states, added_cond_kwargs)
        told["controlnet_cond"] = controlnet_cond
        answers = _in_rows(self.runner, told, self._size)
        added = [
            (answers[one.name] * conditioning_scale).to(sample.device, sample.dtype)
            for one in self._residuals
        ]
        return added[:-1], added[-1]


class ExportedTextEncoder(nn.Module):
    """Stands in for CLIP's text encoders; a ``TextReader``."""

    def __init__(self, runner: PartRunner, *, projects: bool) -> None:
        """Use a text encoder's part.

        Args:
            runner: The part.
            projects: Whether its pooled text is what the UNet reads, as that of SDXL's second is.
        """
        super().__init__()
        self.runner = runner
        self._projects = projects

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the states that the UNet reads, and the pooled text where it reads that.

        Args:
            ids: ``(B, T)``, token numbers.
        """
        answers = [self.runner({"input_ids": row}) for row in ids.split(1)]
        pooled = [answer.pop("pooled_outputs", None) for answer in answers]
        # The other output is last_hidden_state, or hidden_embeds of SDXL's.
        states = torch.cat([next(iter(answer.values())) for answer in answers])
        texts = [one for one in pooled if one is not None]
        return states.to(ids.device), torch.cat(texts).to(ids.device) if self._projects else None


@dataclass(frozen=True, slots=True)
class _Distribution:
    """See ``LatentDistribution``."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, slots=True)
class _Encoded:
    """See ``Encoded``."""

    latent_dist: _Distribution


class ExportedVae(nn.Module):
    """Stands in for diffusers' ``AutoencoderKL``; see ``Autoencoder``."""

    def __init__(self, decoder: PartRunner, encoder: PartRunner | None) -> None:
        """Use the VAE's two parts, the second of which need not be there."""
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder

    def decode(self, latents: Tensor, *, return_dict: bool = False) -> tuple[Tensor]:
        """See ``Autoencoder``."""
        assert not return_dict
        return (_one_by_one(self.decoder, latents),)

    def encode(self, pixels: Tensor) -> _Encoded:
        """See ``Autoencoder``."""
        assert self.encoder is not None, "a request that needs it is refused before"
        moments = _one_by_one(self.encoder, pixels)  # (B, 8, H/8, W/8)
        mean, log_variance = moments.chunk(2, dim=1)
        held = log_variance.clamp(LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        return _Encoded(_Distribution(mean, torch.exp(0.5 * held)))


def _one_by_one(runner: PartRunner, values: Tensor) -> Tensor:
    """Give rows to a part of one input and one output."""
    (taken,) = runner.packages[0].inputs
    answers = [next(iter(runner({taken.name: row}).values())) for row in values.split(1)]
    return torch.cat(answers).to(values.device, values.dtype)


def _told(
    sample: Tensor,
    timestep: Tensor,
    encoder_hidden_states: Tensor,
    added_cond_kwargs: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """Give what diffusers tells a network by the names and in the shapes that parts take."""
    return {
        "sample": sample,
        "timestep": timestep.reshape(1).expand(len(sample)),
        "encoder_hidden_states": encoder_hidden_states.permute(0, 2, 1)[:, :, None],  # B D 1 T
        **(added_cond_kwargs or {}),
    }


def _in_rows(runner: PartRunner, told: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Give parts ``size`` rows at a time, as they were made for, the last ones filled up."""
    count = len(told["sample"])
    answers = [runner(_rows(told, start, size)) for start in range(0, count, size)]
    return {name: torch.cat([one[name] for one in answers])[:count] for name in answers[0]}


def _rows(values: Mapping[str, Tensor], start: int, size: int) -> dict[str, Tensor]:
    """Take ``size`` rows of each tensor; behind the end the last one is repeated."""
    at = torch.arange(start, start + size)
    return {
        name: rows[at.clamp(max=len(rows) - 1).to(rows.device)] for name, rows in values.items()
    }


def _array(values: Tensor, dtype: str) -> npt.NDArray[Any]:
    # bfloat16 is none of NumPy's types.
    there = values.detach().cpu()
    numbers = there.float() if there.is_floating_point() else there
    return np.ascontiguousarray(numbers.numpy(), dtype=np.dtype(dtype))


def _tensor(values: npt.NDArray[Any], package: Package) -> Tensor:
    if not np.isfinite(values.sum(dtype=np.float32)):
        raise ModelInvalid(
            f"{package.path} gives numbers that are not finite; choose other compute units "
            "(--compute-units cpu-gpu, or cpu), or export the model again."
        )
    # A copy: Core ML may write the next answer to the same place.
    return torch.from_numpy(np.array(values, dtype=np.float32))
