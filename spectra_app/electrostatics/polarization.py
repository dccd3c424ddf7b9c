"""Polarization (cell dipole) and its derivatives, in both families of charges (docs/theory.md)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.structure.system import System


def atomic_moments(system: System, charges: Tensor, dipoles: Tensor | None) -> Tensor:
    """q_i r_i + u_i, what every atom adds to P = sum_i q_i r_i + sum_i u_i.

    For a periodic cell this depends on the origin and on the image an atom sits in unless the charges are constant in
    time and sum to zero; the charge-conserving variants pass the constant z_i here and add ``pair_moments``.

    Args:
        system: the structures, positions unwrapped in time.
        charges: [atom], e.
        dipoles: [atom, xyz], e A, or None.

    Returns:
        [atom, xyz], e A.
    """
    moments = charges[:, None] * system.positions
    return moments if dipoles is None else moments + dipoles


def pair_moments(moved: Tensor, vectors: Tensor) -> Tensor:
    """(1/2) sum_j p_ij r_ij, what every atom adds to P = sum_{i<j} p_ij r_ij: half of every pair to either end.

    With r_ij = r_i - r_j of the pair's own image this is exact in any cell.

    Args:
        moved: [atom, slot], charge moved from j to i, e, antisymmetric, zero in empty slots.
        vectors: [atom, slot, xyz], r_j - r_i, A.

    Returns:
        [atom, xyz], e A.
    """
    return -0.5 * (moved[:, None, :] @ vectors)[:, 0]


def atomic_born_charges(system: System, charges: Tensor, dipoles: Tensor | None) -> Tensor:
    """Born charges of one periodic structure with independent atomic charges (the paper's form).

        Z*_{i,ab} = Re[ exp(-i k_a.r_i) dP_a(k_a)/dr_{i,b} ],  P_a(k) = sum_j (q_j - mean q) exp(i k_a.r_j)/(i k_a)

    along each of the three smallest reciprocal vectors, projected from the reciprocal to the Cartesian basis.  It
    replaces distances d by sin(k d)/k, a finite-size error that is large in small cells.

    Args:
        system: one periodic structure whose positions require a gradient.
        charges: [atom], e, differentiable with respect to the positions.
        dipoles: [atom, xyz], e A, likewise, or None.

    Returns:
        [atom, field, displacement], e.
    """
    positions = system.positions
    excess = charges - charges.mean()
    reciprocal = 2.0 * math.pi * torch.linalg.inv(system.cell[0]).T  # [vector, xyz]
    rows = []
    for vector in reciprocal.detach():
        k = vector.norm()
        phase = positions @ vector
        cos, sin = torch.cos(phase), torch.sin(phase)
        # Re[e^{-i k r_i} d/dr_i of sum_j x_j e^{i k r_j}/(i k)]: the derivatives of the real and of the imaginary part
        # of P(k) separately, then turned by the atom's own phase.
        real, imaginary = (excess * sin).sum() / k, -(excess * cos).sum() / k
        d_real = torch.autograd.grad(real, positions, retain_graph=True)[0]
        d_imaginary = torch.autograd.grad(imaginary, positions, retain_graph=True)[0]
        rows.append(cos[:, None] * d_real + sin[:, None] * d_imaginary)
    along = torch.stack(rows, dim=1)  # [atom, reciprocal vector, displacement], component along each unit vector
    unit = reciprocal / reciprocal.norm(dim=1, keepdim=True)
    born = torch.einsum("fv,avd->afd", torch.linalg.inv(unit), along)  # unit[v, f] Z[f, d] = along[v, d]
    if dipoles is not None:
        born = born + gradient_of_vector(dipoles.sum(dim=0), positions)
    return born


def gradient_of_vector(vector: Tensor, positions: Tensor) -> Tensor:
    """D vector_a / d r_{i,b} by three backward passes.

    Args:
        vector: [xyz] or [structure, xyz] (every structure depends on its own atoms only).
        positions: [atom, xyz], requires a gradient.

    Returns:
        [atom, component, displacement].
    """
    total = vector.reshape(-1, 3).sum(dim=0)
    rows = [
        torch.autograd.grad(total[a], positions, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for a in range(3)
    ]
    return torch.stack(rows, dim=1)
