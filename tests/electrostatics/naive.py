"""Electrostatics written out naively: every pair, derivatives of the kernel by nested automatic differentiation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.units import COULOMB_CONSTANT


def kernel_tensors(vector: Tensor, sigma: float) -> list[Tensor]:
    """T(|x|) = erf(|x|/(sqrt2 sigma))/|x| and its derivatives of order 0 to 4 at x."""

    def kernel(x: Tensor) -> Tensor:
        distance = torch.sqrt((x * x).sum())
        return torch.erf(distance / (math.sqrt(2.0) * sigma)) / distance

    functions = [kernel]
    for _ in range(4):
        functions.append(torch.func.jacrev(functions[-1]))
    return [function(vector) for function in functions]


def pair_energy(vector: Tensor, sigma: float, qi, ui, quad_i, qj, uj, quad_j) -> Tensor:
    """L_i L_j T(r_i - r_j) with grad_j = -grad_i."""
    return pair_from_tensors(kernel_tensors(vector, sigma), qi, ui, quad_i, qj, uj, quad_j)


def pair_from_tensors(tensors: list[Tensor], qi, ui, quad_i, qj, uj, quad_j) -> Tensor:
    """The same from the derivatives of order 0 to 4 of any kernel."""
    t0, t1, t2, t3, t4 = tensors
    charge = qi * qj * t0
    charge_dipole = qj * (ui @ t1) - qi * (uj @ t1)
    dipole_dipole = -(ui @ t2 @ uj)
    charge_quadrupole = 0.5 * (qj * (quad_i * t2).sum() + qi * (quad_j * t2).sum())
    dipole_quadrupole = 0.5 * (torch.einsum("a,bc,abc->", ui, quad_j, t3) - torch.einsum("ab,c,abc->", quad_i, uj, t3))
    quadrupole_quadrupole = 0.25 * torch.einsum("ab,cd,abcd->", quad_i, quad_j, t4)
    return charge + charge_dipole + dipole_dipole + charge_quadrupole + dipole_quadrupole + quadrupole_quadrupole


def open_energy(positions: Tensor, q: Tensor, u: Tensor, quad: Tensor, sigma) -> Tensor:
    """(k_e/2) sum over ordered pairs, one pair after the other; sigma one number or one for each atom."""
    widths = [float(s) for s in torch.as_tensor(sigma, dtype=torch.float64).expand(len(positions))]
    total = positions.new_zeros(())
    for i in range(len(positions)):
        for j in range(len(positions)):
            if i != j:
                vector, both = positions[i] - positions[j], pair_width(widths[i], widths[j])
                total = total + pair_energy(vector, both, q[i], u[i], quad[i], q[j], u[j], quad[j])
    return 0.5 * COULOMB_CONSTANT * total


def pair_width(first: float, second: float) -> float:
    """Width of the kernel between two Gaussian clouds."""
    return math.sqrt(0.5 * (first**2 + second**2))


def self_energy(q: Tensor, u: Tensor, quad: Tensor, sigma: Tensor) -> Tensor:
    """Energy of every atom's clouds with themselves, summed."""
    squares = q**2 / sigma + (u**2).sum(1) / (3 * sigma**3) + (quad**2).sum((1, 2)) / (10 * sigma**5)
    return COULOMB_CONSTANT * squares.sum() / math.sqrt(2.0 * math.pi)


def periodic_energy(
    positions: Tensor, cell: Tensor, q: Tensor, u: Tensor, quad: Tensor, sigma: Tensor, reach: int
) -> Tensor:
    """(1/(2 eps0 V)) sum_k |S(k)|^2/k^2 less the self-terms.

    S(k) = sum_i exp(-sigma_i^2 k^2/4) (q_i + i k.u_i - k.Q_i.k/2) exp(i k.r_i).
    """
    n = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 3).to(positions)
    k = 2.0 * math.pi * n[n.abs().sum(1) > 0] @ torch.linalg.inv(cell).T
    total = torch.zeros(len(k), dtype=torch.complex128)
    for r, charge, dipole, tensor, width in zip(positions, q, u, quad, sigma, strict=True):
        moment = charge + 1j * (k @ dipole) - 0.5 * torch.einsum("ka,ab,kb->k", k, tensor, k)
        total = total + torch.exp(-0.25 * width**2 * (k * k).sum(1)) * moment * torch.exp(1j * (k @ r))
    waves = (total.abs() ** 2 / (k * k).sum(1)).sum() / torch.linalg.det(cell).abs()
    return 2.0 * math.pi * COULOMB_CONSTANT * waves - self_energy(q, u, quad, sigma)
