"""Whether an SDXL refiner goes with a model, before its weights are read. Imports no torch.

SDXL was published as two models that share a run: the base model brings the noise down to where the
refiner, which was taught that part alone, takes over (Podell et al. 2023, arXiv:2307.01952, section
2.5; the idea is that of Balaji et al. 2022, arXiv:2211.01324).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid
from core.models.catalog import resolve
from core.models.fingerprint import Fingerprints
from core.models.identify import Family, Identity, identify
from core.models.recognise import FAMILY_TITLES
from core.models.verdict import Kind, judge
from core.request import Request
from core.request_checks import check_unchanged

PREFIX = "refiner."
"""How the names of a refiner's parts begin where they stand beside a base model's."""

_SHARED: Mapping[str, Mapping[str, Any]] = {
    "vae": {"scaling_factor": 0.18215},
    "scheduler": {
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "trained_betas": None,
    },
    "text_encoder_2": {"hidden_size": 512},
}
"""What two models must have in common to share a run, and what counts where they do not say: the
scale of their latents, their noise, and the width of the words that embeddings bring."""


def find_refiner(
    request: Request, identity: Identity, *, fingerprints: Fingerprints
) -> tuple[Request, Identity | None]:
    """Find a request's refiner and hold it against its model.

    Args:
        request: What to make.
        identity: Its model.
        fingerprints: The memory of hashes.

    Returns:
        The request with the hash of its refiner recorded, and what the refiner is, if there is one.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged, or something else, or does not go with the model.
        Unsupported: If it is of a kind that is not run; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        InvalidRequest: If it is another than the request was made with.
    """
    if not request.refiner:
        return request, None
    refiner = fitting(resolve(request.refiner), identity)
    sha256 = fingerprints.of_model(refiner.weights)
    check_unchanged("refiner", refiner.path, request.refiner_sha256, sha256)
    return dataclasses.replace(request, refiner_sha256=sha256), refiner


def fitting(path: Path, base: Identity) -> Identity:
    """Identify a refiner that goes with a model; see ``find_refiner`` for the errors."""
    verdict = judge(path)
    if verdict.kind is not Kind.MODEL or verdict.family != Family.SDXL_REFINER:
        raise ModelInvalid(
            f"{path} is no SDXL refiner ({verdict.title}); choose one, or leave the refiner out."
        )
    if base.family is not Family.SDXL or base.inpainting:
        what = f"{FAMILY_TITLES[base.family]}{' inpainting' if base.inpainting else ''} model"
        raise ModelInvalid(
            f"{base.path} ({what}) and the refiner {path} cannot share a run; a refiner goes with "
            "SDXL base models, choose one or leave the refiner out."
        )
    refiner = identify(path)
    if refiner.inpainting or refiner.vae_scale != base.vae_scale:
        raise ModelInvalid(
            f"The refiner {path} has other latents than {base.path}; choose one that was made for "
            "this model."
        )
    for part, usual in _SHARED.items():
        for key, value in usual.items():
            own, wanted = (m.configs[part].get(key, value) or value for m in (refiner, base))
            if own != wanted:
                raise ModelInvalid(
                    f"The refiner {path} has {key.replace('_', ' ')} {own} and {base.path} has "
                    f"{wanted}; choose a refiner that was made for this model."
                )
    return refiner
