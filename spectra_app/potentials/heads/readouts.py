"""Equivariant readouts: vectors and rank-2 tensors of an atom from its features, gated by its scalars."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spectra_app.potentials.backbones.features import Backbone, Features

_N_PRODUCTS = 8  # vectors that enter the products which make a rank-2 tensor
VECTOR_SCALE = 0.1
"""Size of what a readout of random weights begins with, beside energies of order one."""


class VectorReadout(nn.Module):
    """Equivariant vector sum_c gate_c v_c [atom, xyz]."""

    def __init__(self, hidden: int, n_vectors: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, n_vectors)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        """Of every atom; ``hidden`` [atom, channel]."""
        assert f.vectors is not None
        return VECTOR_SCALE * (f.vectors @ self.gate(hidden)[:, :, None])[:, :, 0]


class TracelessReadout(nn.Module):
    """Symmetric traceless tensors [atom, xyz, xyz]: gated rank-2 features plus products of gated vectors."""

    def __init__(self, hidden: int, backbone: Backbone) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, _N_PRODUCTS)
        self.mix = nn.Linear(backbone.n_vectors, 2 * _N_PRODUCTS, bias=False)
        if backbone.n_rank2:
            self.rank2_gate = nn.Linear(hidden, backbone.n_rank2)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        """Of every atom; ``hidden`` [atom, channel]."""
        assert f.vectors is not None
        left, right = self.mix(f.vectors).chunk(2, dim=-1)
        product = (left * self.gate(hidden)[:, None, :]) @ right.transpose(1, 2)
        product = 0.5 * (product + product.transpose(1, 2))
        trace = product.diagonal(dim1=-2, dim2=-1).sum(-1) / 3.0
        traceless = product - trace[:, None, None] * identity_like(product)
        if f.rank2 is None:
            return traceless
        n_atoms = len(hidden)
        return traceless + (f.rank2.flatten(1, 2) @ self.rank2_gate(hidden)[:, :, None]).reshape(n_atoms, 3, 3)


class SquareReadout(nn.Module):
    """Positive semidefinite tensors [atom, xyz, xyz]: sum_m V_m V_m^T of gated vectors, plus M M^T of a rank-2 one."""

    def __init__(self, hidden: int, backbone: Backbone) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, _N_PRODUCTS)
        self.mix = nn.Linear(backbone.n_vectors, _N_PRODUCTS, bias=False)
        nn.init.constant_(self.gate.bias, 0.1)  # nearly isotropic: a random anisotropy stays where data is silent
        nn.init.zeros_(self.gate.weight)
        if backbone.n_rank2:
            self.rank2_gate = nn.Linear(hidden, backbone.n_rank2)
            nn.init.zeros_(self.rank2_gate.weight)
            nn.init.zeros_(self.rank2_gate.bias)
            self.root = constant_readout(hidden, math.sqrt(0.5) - 1.0)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        """Of every atom; ``hidden`` [atom, channel]."""
        assert f.vectors is not None
        left = self.mix(f.vectors) * self.gate(hidden)[:, None, :]
        square = left @ left.transpose(1, 2)
        if f.rank2 is None:
            return square
        root = (f.rank2.flatten(1, 2) @ self.rank2_gate(hidden)[:, :, None]).reshape(len(hidden), 3, 3)
        # An isotropic part in the root makes the anisotropy linear in the features: (c + M)^2 = c^2 + 2 c M + M^2.
        root = VECTOR_SCALE * root + (1.0 + self.root(hidden))[:, :, None] * identity_like(root)
        return square + root @ root.transpose(1, 2)


def constant_readout(hidden: int, value: float = 0.0) -> nn.Linear:
    """A readout that begins as one number for all atoms."""
    layer = nn.Linear(hidden, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


def identity_like(tensors: Tensor) -> Tensor:
    """3x3 identity in the dtype and on the device of ``tensors``."""
    return torch.eye(3, dtype=tensors.dtype, device=tensors.device)
