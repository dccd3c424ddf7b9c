"""Bounds under which induced charges and dipoles can never feed each other without end, in no geometry.

The interaction of smeared multipoles with their self-terms, T + T_self, is positive semidefinite, whatever width each
cloud has: it is an integral of |S(k)|^2/k^2, S(k) the structure factor of the clouds (docs/theory.md, "Energy").  The
response has a minimum where X^-1 + T is positive definite, X the susceptibility of all atoms, hence wherever
X < T_self^-1, which is diagonal:

    U_self = (1/2) sum_i (c_i q_i^2 + d_i u_i^2),   c_i = k_e sqrt(2/pi)/sigma_i,   d_i = k_e sqrt(2/pi)/(3 sigma_i^3)

An atom of alpha_i < 1/d_i (3.8 A^3 at sigma = 1 A) and kappa_i < 1/c_i is too stiff to polarize itself, and then no
neighbours can make it.  What a network predicts beyond is bent under the bound,

    alpha -> alpha (1 + alpha/a)^-1,   a = 0.9/d_i,

which leaves small values as they are and holds where the network extrapolates: a bond stretched 15% beyond the training
data made 50 A^3 out of 0.3.

Charges moved between neighbours answer with the Laplacian K of kappa_ij, and K < C^-1, C = diag(c_i), is wanted.  With
x = C^1/2 y and (a - b)^2 <= 2 a^2 + 2 b^2,

    y.C^1/2 K C^1/2.y = sum_pairs kappa_ij (sqrt(c_i) y_i - sqrt(c_j) y_j)^2 <= sum_i 2 c_i y_i^2 sum_j kappa_ij

so that it suffices that every atom has 2 c_i K_i < 1, K_i = sum_j kappa_ij.  Bent with both ends,

    kappa_ij -> kappa_ij/(1 + 2 K_i/b_i + 2 K_j/b_j),   b_i = 0.9/c_i,   gives   2 c_i K_i -> at most 0.9.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.electrostatics.smearing import Smearing, by_atom
from spectra_app.structure.neighbors import Neighbors, gather_neighbors
from spectra_app.units import COULOMB_CONSTANT

_SHARE = 0.9  # of the bound: the k sum carries its tolerance, and at the bound itself nothing would converge


def largest_polarizability(sigma: float) -> float:
    """Bound of an atom's alpha, e^2 A^2/eV.

    Args:
        sigma: A, smearing of the atom.
    """
    return _SHARE * 3.0 * sigma**3 / (COULOMB_CONSTANT * math.sqrt(2.0 / math.pi))


def largest_kappa(sigma: float) -> float:
    """Bound of an atom's kappa, and of the Laplacian of the kappa of pairs of such atoms, e^2/eV.

    Args:
        sigma: A, smearing of the atom.
    """
    return _SHARE * sigma / (COULOMB_CONSTANT * math.sqrt(2.0 / math.pi))


def self_energies(charges: Tensor, sigma: float | Smearing) -> Tensor:
    """What the sum over pairs leaves out of the energy of smeared charges, (1/2) c_i q_i^2.

    Args:
        charges: [atom], e.
        sigma: A, smearing, of all atoms or by classes.

    Returns:
        [atom], eV.
    """
    return 0.5 * COULOMB_CONSTANT * math.sqrt(2.0 / math.pi) * charges.square() / by_atom(sigma, 1, charges)


def bounded_polarizability(alpha: Tensor, sigma: float | Smearing) -> Tensor:
    """Bend alpha to alpha (1 + alpha/a)^-1; its eigenvalues are below ``largest_polarizability``.

    Args:
        alpha: [atom] or [atom, xyz, xyz], positive (semi)definite, e^2 A^2/eV.
        sigma: A, smearing, of all atoms or by classes.

    Returns:
        as ``alpha``; symmetric.
    """
    limit: float | Tensor
    if isinstance(sigma, Smearing):
        limit = (largest_polarizability(1.0) * by_atom(sigma, 3, alpha)).reshape(-1, *[1] * (alpha.dim() - 1))
    else:
        limit = largest_polarizability(sigma)
    if alpha.dim() == 1:
        return alpha / (1.0 + alpha / limit)
    stiffness = torch.eye(3, dtype=alpha.dtype, device=alpha.device) + alpha / limit
    # Inverse of a symmetric 3x3 matrix: cross products of its rows are the columns of the adjugate.
    a, b, c = stiffness.unbind(1)
    adjugate = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-1)
    bounded = alpha @ adjugate / (a * adjugate[:, :, 0]).sum(-1)[:, None, None]
    return 0.5 * (bounded + bounded.transpose(1, 2))


def bounded_kappa(kappa: Tensor, sigma: float | Smearing, neighbors: Neighbors) -> Tensor:
    """Bend kappa: of atoms to kappa/(1 + kappa/b), of pairs to kappa_ij/(1 + 2 K_i/b_i + 2 K_j/b_j).

    Args:
        kappa: [atom], or [atom, slot] and symmetric (kappa_ij = kappa_ji), not negative, e^2/eV.
        sigma: A, smearing, of all atoms or by classes.
        neighbors: of the pairs.

    Returns:
        as ``kappa``.
    """
    if not isinstance(sigma, Smearing):
        limit = largest_kappa(sigma)
        if kappa.dim() == 1:
            return kappa / (1.0 + kappa / limit)
        sums = kappa.sum(1, keepdim=True)
        return kappa / (1.0 + 2.0 * (sums + gather_neighbors(sums, neighbors)[..., 0]) / limit)
    limits = largest_kappa(1.0) * by_atom(sigma, 1, kappa)
    if kappa.dim() == 1:
        return kappa / (1.0 + kappa / limits)
    shares = 2.0 * kappa.sum(1, keepdim=True) / limits[:, None]
    return kappa / (1.0 + shares + gather_neighbors(shares, neighbors)[..., 0])


def kept_kappa(kappa: Tensor, sigma: float | Smearing, neighbors: Neighbors) -> Tensor:
    """What ``bounded_kappa`` has left of every atom's kappa (of pairs: of their sum), as a share of it.

    Of atoms 1 - kappa/b.  Of pairs S_i = 2 K_i/b_i, before the bound, solves the linear equations of one structure

        sum_j kappa_ij (1 + S_i + S_j) = b_i S_i/2

    Args:
        kappa: [atom] or [atom, slot], as ``bounded_kappa`` gives it, of one structure.
        sigma: A, smearing, of all atoms or by classes.
        neighbors: of the pairs.

    Returns:
        [atom], from 1 (nothing is cut) to 0.
    """
    limits = torch.as_tensor(largest_kappa(1.0) * by_atom(sigma, 1, kappa), dtype=kappa.dtype, device=kappa.device)
    if kappa.dim() == 1:
        return 1.0 - kappa / limits
    limits, sums = limits.expand(len(kappa)), kappa.sum(1)
    matrix = torch.diag(0.5 * limits - sums)
    rows = torch.arange(len(kappa), device=kappa.device)[:, None].expand_as(neighbors.other)
    matrix = matrix.index_put((rows, neighbors.other), -kappa, accumulate=True)
    before = 0.5 * limits * torch.linalg.solve(matrix, sums)
    return torch.where(sums > 0.0, sums / before.clamp(min=torch.finfo(kappa.dtype).tiny), torch.ones_like(sums))
