"""From the bases of e3nn to Cartesian vectors and tensors.

Features of order 1 of e3nn are (x, y, z) already.  Those of order 2 are components on the real harmonics

    sqrt(3) x z,  sqrt(3) x y,  y^2 - (x^2 + z^2)/2,  sqrt(3) y z,  sqrt(3) (z^2 - x^2)/2

(e3nn, ``o3.spherical_harmonics``), in this order and all of one norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rank2_basis() -> Tensor:
    """[component, xyz, xyz], float64: orthonormal symmetric traceless matrices B_m with Y_m(d) = sqrt(3/2) d.B_m.d."""
    basis = torch.zeros(5, 3, 3, dtype=torch.float64)
    for m, (a, b) in ((0, (0, 2)), (1, (0, 1)), (3, (1, 2))):
        basis[m, a, b] = basis[m, b, a] = math.sqrt(0.5)
    basis[2] = torch.diag(torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)) / math.sqrt(6.0)
    basis[4, 2, 2], basis[4, 0, 0] = math.sqrt(0.5), -math.sqrt(0.5)
    return basis


def cartesian_vectors(features: Tensor) -> Tensor:
    """Vectors [atom, xyz, channel] of features [atom, channel, 3] of order 1."""
    return features.transpose(1, 2)


def cartesian_rank2(features: Tensor, basis: Tensor) -> Tensor:
    """Symmetric traceless tensors [atom, xyz, xyz, channel] of features [atom, channel, 5] of order 2.

    Args:
        features: components.
        basis: of ``rank2_basis``.
    """
    n_atoms, channels = features.shape[:2]
    return (features @ basis.flatten(1)).transpose(1, 2).reshape(n_atoms, 3, 3, channels)
