"""Bounds under which induced charges and dipoles can never feed each other without end, in no geometry.

The interaction of smeared multipoles with their self-terms, T + T_self, is positive semidefinite: it is an integral of
|S(k)|^2 (docs/theory.md).  The response has a minimum where X^-1 + T is positive definite, X the susceptibility of all
atoms, hence wherever X < T_self^-1:

    U_self = (1/2) c_q q^2 + (1/2) c_u u^2,   c_q = k_e sqrt(2/pi)/sigma,   c_u = k_e sqrt(2/pi)/(3 sigma^3)

An atom of alpha < 1/c_u (3.8 A^3 at sigma = 1 A) and kappa < 1/c_q is too stiff to polarize itself, and then no
neighbours can make it.  What a network predicts beyond is bent under the bound,

    alpha -> alpha (1 + alpha/a)^-1,   a = 0.9/c_u,

which leaves small values as they are and holds where the network extrapolates: a bond stretched 15% beyond the training
data made 50 A^3 out of 0.3.  Charges moved between neighbours answer with the Laplacian of kappa_ij, whose largest
eigenvalue is at most twice the largest K_i = sum_j kappa_ij:

    kappa_ij -> kappa_ij/(1 + 2 (K_i + K_j)/b),   b = 0.9/c_q.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.neighbors import Neighbors, gather_neighbors
from spectra_app.units import COULOMB_CONSTANT

_SHARE = 0.9  # of the bound: the k sum carries its tolerance, and at the bound itself nothing would converge


def largest_polarizability(sigma: float) -> float:
    """Bound of an atom's alpha, e^2 A^2/eV.

    Args:
        sigma: A, smearing.
    """
    return _SHARE * 3.0 * sigma**3 / (COULOMB_CONSTANT * math.sqrt(2.0 / math.pi))


def largest_kappa(sigma: float) -> float:
    """Bound of an atom's kappa, and of the Laplacian of the kappa of pairs, e^2/eV.

    Args:
        sigma: A, smearing.
    """
    return _SHARE * sigma / (COULOMB_CONSTANT * math.sqrt(2.0 / math.pi))


def bounded_polarizability(alpha: Tensor, sigma: float) -> Tensor:
    """Bend alpha to alpha (1 + alpha/a)^-1; its eigenvalues are below ``largest_polarizability``.

    Args:
        alpha: [atom] or [atom, xyz, xyz], positive (semi)definite, e^2 A^2/eV.
        sigma: A, smearing.

    Returns:
        as ``alpha``; symmetric.
    """
    limit = largest_polarizability(sigma)
    if alpha.dim() == 1:
        return alpha / (1.0 + alpha / limit)
    stiffness = torch.eye(3, dtype=alpha.dtype, device=alpha.device) + alpha / limit
    # Inverse of a symmetric 3x3 matrix: cross products of its rows are the columns of the adjugate.
    a, b, c = stiffness.unbind(1)
    adjugate = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-1)
    bounded = alpha @ adjugate / (a * adjugate[:, :, 0]).sum(-1)[:, None, None]
    return 0.5 * (bounded + bounded.transpose(1, 2))


def bounded_kappa(kappa: Tensor, sigma: float, neighbors: Neighbors) -> Tensor:
    """Bend kappa: of atoms to kappa/(1 + kappa/b), of pairs to kappa_ij/(1 + 2 (K_i + K_j)/b).

    Args:
        kappa: [atom], or [atom, slot] and symmetric (kappa_ij = kappa_ji), not negative, e^2/eV.
        sigma: A, smearing.
        neighbors: of the pairs.

    Returns:
        as ``kappa``.
    """
    limit = largest_kappa(sigma)
    if kappa.dim() == 1:
        return kappa / (1.0 + kappa / limit)
    sums = kappa.sum(1, keepdim=True)
    return kappa / (1.0 + 2.0 * (sums + gather_neighbors(sums, neighbors)[..., 0]) / limit)
