"""The parameters of an operation, each asked for as what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from coreml_export.interpreter.graph import Literal, Value


class Arguments:
    """What an operation is given; a value is looked up when it is asked for, and not before."""

    def __init__(
        self,
        bound: Mapping[str, tuple[str | Literal, ...]],
        look_up: Callable[[str | Literal], Value],
    ) -> None:
        """Bind the parameters of one operation.

        Args:
            bound: The operation's own ``arguments``.
            look_up: Gives the value of a name or of a constant.
        """
        self._bound = bound
        self._look_up = look_up

    def has(self, name: str) -> bool:
        """Tell whether an optional parameter is given."""
        return bool(self._bound.get(name))

    def tensor(self, name: str) -> Tensor:
        """Give a tensor that must be there."""
        (tensor,) = self.tensors(name)
        return tensor

    def optional(self, name: str) -> Tensor | None:
        """Give a tensor, or None if it is left out."""
        return self.tensor(name) if self.has(name) else None

    def tensors(self, name: str) -> list[Tensor]:
        """Give the tensors of a parameter that takes several."""
        values = [self._look_up(item) for item in self._bound.get(name, ())]
        assert all(isinstance(value, Tensor) for value in values), f"{name} is no tensor"
        return [value for value in values if isinstance(value, Tensor)]

    def text(self, name: str, default: str = "") -> str:
        """Give a text such as the name of a mode."""
        if not self.has(name):
            return default
        value = self._look_up(self._bound[name][0])
        assert isinstance(value, str), f"{name} is no text"
        return value

    def whole(self, name: str, default: int = 0) -> int:
        """Give a whole number."""
        return int(self.tensor(name)) if self.has(name) else default

    def wholes(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Give whole numbers, such as axes or sides."""
        if not self.has(name):
            return list(default)
        return [int(number) for number in self.tensor(name).flatten().tolist()]

    def number(self, name: str, default: float = 0.0) -> float:
        """Give a real number."""
        return float(self.tensor(name)) if self.has(name) else default

    def truth(self, name: str) -> bool:
        """Tell whether a switch is on; one that is left out is off."""
        return self.has(name) and bool(self.tensor(name))

    def truths(self, name: str, count: int) -> list[bool]:
        """Give ``count`` switches, all off if they are left out."""
        return [bool(number) for number in self.wholes(name, [0] * count)]
