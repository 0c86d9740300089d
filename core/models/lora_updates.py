"""From the tensors of one module in a LoRA file to the update that they describe."""

from __future__ import annotations

from torch import Tensor

from core.errors import ModelInvalid
from core.models.lora_file import LoraFile
from core.models.lora_keys import Role
from core.models.lora_math import Difference, Hadamard, Kronecker, LowRank, Product, Update

_LOW_RANK = {Role.DOWN, Role.UP, Role.MID}
_HADAMARD = {role for role in Role if role.startswith("hada_")}
_KRONECKER = {role for role in Role if role.startswith("lokr_")}
_BESIDE = {Role.ALPHA, Role.DORA_SCALE, Role.MAGNITUDE, Role.DIFF_B}


def make_update(file: LoraFile, stem: str) -> Update | None:
    """Make a module's update of its tensors; None if only its bias changes.

    Raises:
        ModelInvalid: If one is missing, or they do not fit each other.
    """
    group = file.groups[stem]
    if any(not _has_sense(role, tensor) for role, tensor in group.items()):
        raise _mismatched(file, stem)
    roles = set(group) - _BESIDE
    if not roles:
        if Role.DIFF_B in group:
            return None
        raise _incomplete(file, stem, "factors")
    if roles == {Role.DIFF}:
        return Difference(group[Role.DIFF])
    for known, make in ((_LOW_RANK, _low_rank), (_HADAMARD, _hadamard), (_KRONECKER, _kronecker)):
        if roles <= known:
            return make(file, stem)
    raise ModelInvalid(
        f"{file.path} mixes the forms of several methods for {stem} ({', '.join(sorted(roles))}); "
        "get it again."
    )


def _has_sense(role: Role, tensor: Tensor) -> bool:
    if role is Role.ALPHA:
        return tensor.numel() == 1
    return tensor.ndim > 0 and tensor.numel() > 0


def _low_rank(file: LoraFile, stem: str) -> LowRank:
    down, up = _need(file, stem, Role.DOWN), _need(file, stem, Role.UP)
    mid = file.groups[stem].get(Role.MID)
    rank = down.shape[0]
    fits = up.ndim in (2, 4) and down.ndim in (2, 4) and up.shape[1] == rank > 0
    fits = fits and up[0, 0].numel() == 1
    if mid is not None:
        fits = fits and mid.ndim == 4 and mid.shape[:2] == (rank, rank) and down[0, 0].numel() == 1
    if not fits:
        raise _mismatched(file, stem)
    return LowRank(down, up, mid, file.scale_of(stem, rank))


def _hadamard(file: LoraFile, stem: str) -> Hadamard:
    first = _product(file, stem, Role.HADA_W1_A, Role.HADA_W1_B, Role.HADA_T1)
    second = _product(file, stem, Role.HADA_W2_A, Role.HADA_W2_B, Role.HADA_T2)
    kernels = [None if p.t is None else p.t.shape[2:] for p in (first, second)]
    if first.sides() != second.sides() or kernels[0] != kernels[1] or first.b is None:
        raise _mismatched(file, stem)
    return Hadamard(first, second, file.scale_of(stem, first.b.shape[0]))


def _kronecker(file: LoraFile, stem: str) -> Kronecker:
    group = file.groups[stem]
    if Role.LOKR_W1 in group:
        first = Product(group[Role.LOKR_W1])
    else:
        first = _product(file, stem, Role.LOKR_W1_A, Role.LOKR_W1_B)
    if Role.LOKR_W2 in group:
        second = Product(group[Role.LOKR_W2])
    else:
        second = _product(file, stem, Role.LOKR_W2_A, Role.LOKR_W2_B, Role.LOKR_T2)
    if first.a.ndim != 2 or second.a.ndim not in (2, 4):
        raise _mismatched(file, stem)
    inner = first.b if second.b is None else second.b
    # LyCORIS scales by alpha / r only what has a rank.
    scale = 1.0 if inner is None else file.scale_of(stem, inner.shape[0])
    return Kronecker(first, second, scale)


def _product(file: LoraFile, stem: str, a: Role, b: Role, t: Role | None = None) -> Product:
    left, right = _need(file, stem, a), _need(file, stem, b)
    core = None if t is None else file.groups[stem].get(t)
    fits = left.ndim == right.ndim == 2 and right.shape[0] > 0
    if core is None:
        fits = fits and left.shape[1] == right.shape[0]
    else:
        fits = fits and core.ndim == 4 and core.shape[:2] == (left.shape[0], right.shape[0])
    if not fits:
        raise _mismatched(file, stem)
    return Product(left, right, core)


def _need(file: LoraFile, stem: str, role: Role) -> Tensor:
    tensor = file.groups[stem].get(role)
    if tensor is None:
        raise _incomplete(file, stem, role)
    if tensor.ndim < 2:
        raise _mismatched(file, stem)
    return tensor


def _incomplete(file: LoraFile, stem: str, what: str) -> ModelInvalid:
    return ModelInvalid(f"{file.path} has no {what} for {stem}; it is cut short, get it again.")


def _mismatched(file: LoraFile, stem: str) -> ModelInvalid:
    return ModelInvalid(
        f"The tensors of {file.path} for {stem} do not fit each other; it is damaged, get it again."
    )
