"""What operations with one derivative have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from spectra_app.errors import ModelError

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


class Kept(Generic[T]):
    """What is made of a module's weights, kept while they stay the same."""

    def __init__(self) -> None:
        self._parameters: tuple[nn.Parameter, ...] | None = None
        self._state: tuple[tuple[int, int], ...] | None = None
        self._made: T | None = None

    def of(self, module: M, make: Callable[[M], T]) -> T:
        """Of a module, always the same one until its dtype changes, then begin anew."""
        if self._parameters is None:  # a walk through all modules takes longer than a hundred looks at parameters
            self._parameters = tuple(module.parameters())
        state = tuple((parameter.data_ptr(), parameter._version) for parameter in self._parameters)
        if self._made is None or self._state != state:
            self._state, self._made = state, make(module)
        return self._made


def refuse_second_derivative() -> None:
    """To be called in the backward pass of an operation whose own derivative has none.

    Raises:
        ModelError: that derivative is being recorded.
    """
    if torch.is_grad_enabled():
        raise ModelError(
            "second derivative of a potential",
            got="engine compiled, which knows first ones",
            wanted="engine eager",
        )


def silu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient by x from that by x/(1 + exp(-x))."""
    found: Tensor = torch.ops.aten.silu_backward(gradient, x)
    return found
