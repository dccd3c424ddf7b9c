"""A stand-in for openequivariance, which runs on GPUs alone: its classes as other libraries call them, made of e3nn."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor


class Problem:
    """Its description of a product."""

    def __init__(self, first: Any, second: Any, out: Any, instructions: Any, **options: Any) -> None:
        from e3nn.o3 import TensorProduct

        assert options["shared_weights"] is options["internal_weights"] is False
        self.product = TensorProduct(first, second, out, instructions, shared_weights=False, internal_weights=False)
        self.dtype = options["irrep_dtype"]


class Convolution(torch.nn.Module):
    """Its product and sum over neighbours in one; ``calls`` counts how often any was used."""

    calls = 0

    def __init__(self, problem: Problem, **options: Any) -> None:
        super().__init__()
        self.product, self.dtype = problem.product, problem.dtype
        self.weight_numel = problem.product.weight_numel

    def forward(self, x: Tensor, harmonics: Tensor, weights: Tensor, receiver: Tensor, sender: Tensor) -> Tensor:
        Convolution.calls += 1
        assert x.dtype == self.dtype
        edges = self.product(x[sender], harmonics, weights)
        return edges.new_zeros(len(x), edges.shape[1]).index_add(0, receiver, edges)


def openequivariance() -> types.ModuleType:
    """The module; nothing of it was called yet."""
    made = types.ModuleType("openequivariance")
    made.TPProblem, made.TensorProductConv = Problem, Convolution  # type: ignore[attr-defined]
    made.torch_to_oeq_dtype = lambda dtype: dtype  # type: ignore[attr-defined]
    Convolution.calls = 0
    return made
