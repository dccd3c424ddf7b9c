"""Boys functions F_l(x) = int_0^1 t^{2l} exp(-x t^2) dt, the radial part of every smeared Coulomb interaction.

Below ``_LIMIT`` the highest order comes from a Taylor expansion about the nearest point of a table, and the lower ones
by downward recursion, both without cancellation; above it upward recursion from the error function is stable (Helgaker,
Jorgensen, Olsen, Molecular Electronic-Structure Theory, ch. 9.8).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_LIMIT = 16.0
_STEP = 0.125  # of the table; |x - x0| <= 1/16, so that eight terms leave 1e-15
_TERMS = 9


_tables: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}


def _table(order: int, like: Tensor) -> Tensor:
    """The Taylor table in the dtype and on the device of a tensor, made once."""
    key = (order, like.dtype, like.device)
    if key not in _tables:
        _tables[key] = torch.as_tensor(_taylor_table(order)).to(like)
    return _tables[key]


def _taylor_table(order: int) -> np.ndarray:
    """[point, term]: (-1)^k F_{order+k}(x0)/k!, the Taylor coefficients of F_order about each point x0."""
    x = np.arange(0.0, _LIMIT + _STEP, _STEP)
    columns = []
    for k in range(_TERMS):
        term = np.full_like(x, 1.0 / (2 * (order + k) + 1))
        total = term.copy()
        for n in range(1, 120):
            term = term * (2.0 * x / (2 * (order + k) + 2 * n + 1))
            total += term
        columns.append((-1.0) ** k / math.factorial(k) * np.exp(-x) * total)
    return np.stack(columns, axis=1)


class _Boys(torch.autograd.Function):
    """F_0 ... F_order stacked in front; dF_l/dx = -F_{l+1}, hence differentiable to any order."""

    @staticmethod
    def forward(x: Tensor, order: int) -> Tensor:
        small = x.clamp(max=_LIMIT)
        point = torch.round(small / _STEP)
        coefficients = _table(order, x)[point.to(torch.int64)]
        offset = small - _STEP * point
        value = coefficients[..., _TERMS - 1]
        for k in range(_TERMS - 2, -1, -1):
            value = value * offset + coefficients[..., k]
        decay = torch.exp(-x)
        small_rows = [value]
        for upper in range(order, 0, -1):  # decay is wrong where x > small, and so are rows that are not used there
            value = (2.0 * small * value + decay) / (2 * upper - 1)
            small_rows.append(value)
        large = x.clamp(min=_LIMIT)
        value = 0.5 * torch.sqrt(math.pi / large) * torch.erf(torch.sqrt(large))
        far = x >= _LIMIT
        rows = []
        for lower, near in enumerate(reversed(small_rows)):
            rows.append(torch.where(far, value, near))
            value = ((2 * lower + 1) * value - decay) / (2.0 * large)
        return torch.stack(rows)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(inputs[0])
        ctx.order = inputs[1]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return -(grad * _Boys.apply(x, ctx.order + 1)[1:]).sum(0), None


def boys(x: Tensor, order: int) -> Tensor:
    """F_0 ... F_order.

    Args:
        x: [...], >= 0.
        order: the last order.

    Returns:
        [order + 1, ...], differentiable to any order.
    """
    return _Boys.apply(x, order)
