"""Periodic boundaries: smeared multipoles summed over reciprocal vectors, tinfoil boundary.

    U = (1/(2 eps0 V)) sum_{k != 0} g(k) |S(k)|^2 - U_self,     g(k) = exp(-sigma^2 k^2/2)/k^2
    S(k) = sum_i (q_i + i k.u_i - (1/2) k.Q_i.k) exp(i k.r_i)
    U_self = (1/(2 eps0 (2 pi)^{3/2})) sum_i [ q_i^2/sigma + u_i^2/(3 sigma^3) + Q_i:Q_i/(10 sigma^5) ]

The cutoff of the sum follows from a tolerance, and g falls smoothly to zero over its last tenth, so that no vector
enters or leaves with a jump when the cell changes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import Dense, Electrostatics, Multipoles, from_dense, to_dense
from spectra_app.system import System
from spectra_app.units import EPSILON_0

TAPER_START = 0.9  # fraction of the cutoff where the taper begins


class KVectors(NamedTuple):
    """Half of the reciprocal lattice inside the cutoff (k and -k count once).

    Attributes:
        integers: [structure, k, vector], Miller-like integers, zero where padded.
        cutoff: A^-1.
    """

    integers: Tensor
    cutoff: float


def reciprocal_cutoff(tolerance: float, sigma: float, highest_rank: int) -> float:
    """Cutoff of the reciprocal sum [A^-1].

    The term of rank-l multipoles decays as (sigma k)^{2l} exp(-sigma^2 k^2/2); the cutoff is where that has fallen to
    ``tolerance`` of its largest value.

    Args:
        tolerance: relative weight of the first neglected vector.
        sigma: smearing of the kernel, A.
        highest_rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
    """
    if highest_rank == 0:
        return math.sqrt(-2.0 * math.log(tolerance)) / sigma
    peak = highest_rank * (math.log(2.0 * highest_rank) - 1.0)
    x = math.sqrt(2.0 * highest_rank) + 1.0
    for _ in range(60):  # fixed point of x^2/2 = 2 l ln x - ln(tolerance) - peak; contracts for x > sqrt(2 l)
        x = math.sqrt(2.0 * (2.0 * highest_rank * math.log(x) - math.log(tolerance) - peak))
    return x / sigma


def k_vectors(system: System, cutoff: float) -> KVectors:
    """Reciprocal vectors of every structure of a batch (open structures get none).

    Args:
        system: the structures.
        cutoff: A^-1.
    """
    cells = system.cell.detach().to("cpu", torch.float64).numpy()
    lists = [
        _half_lattice(cells[s].tobytes(), cutoff) if bool(system.periodic[s]) else np.zeros((0, 3))
        for s in range(len(cells))
    ]
    n_most = max(1, *(len(points) for points in lists))
    table = np.zeros((len(lists), n_most, 3))
    for row, points in zip(table, lists, strict=True):
        row[: len(points)] = points
    return KVectors(torch.as_tensor(table).to(system.positions), cutoff)


@lru_cache(maxsize=1024)  # training meets the same cells in every epoch
def _half_lattice(cell_bytes: bytes, cutoff: float) -> np.ndarray:
    """Integer triples n, one of each pair (n, -n), with |2 pi n inv(cell)^T| < cutoff; the cell as float64 bytes."""
    cell = np.frombuffer(cell_bytes).reshape(3, 3)
    reach = np.floor(cutoff * np.linalg.norm(cell, axis=1) / (2.0 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    first_half = (
        (grid[:, 0] > 0)
        | ((grid[:, 0] == 0) & (grid[:, 1] > 0))
        | ((grid[:, 0] == 0) & (grid[:, 1] == 0) & (grid[:, 2] > 0))
    )
    grid = grid[first_half]
    k = 2.0 * np.pi * grid @ np.linalg.inv(cell).T
    return grid[(k * k).sum(axis=1) < cutoff**2].astype(float)


class _CosSin(torch.autograd.Function):
    """(cos x, sin x) with one evaluation of each, reused by the backward pass."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cos(x), torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx, grad_cos, grad_sin):  # type: ignore[no-untyped-def]
        cos, sin = ctx.saved_tensors
        return grad_sin * cos - grad_cos * sin


def kernel(k_squared: Tensor, sigma: float, cutoff: float) -> Tensor:
    """g(k) = exp(-sigma^2 k^2/2)/k^2 with its taper [...], A^2; zero at k = 0 and beyond the cutoff."""
    empty = k_squared <= 0
    k2 = torch.where(empty, torch.ones_like(k_squared), k_squared)
    x = ((torch.sqrt(k2) / cutoff - TAPER_START) / (1.0 - TAPER_START)).clamp(0.0, 1.0)
    taper = 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
    return torch.where(empty, torch.zeros_like(k2), torch.exp(-0.5 * sigma**2 * k2) / k2 * taper)


def reciprocal_electrostatics(
    system: System, multipoles: Multipoles, layout: Dense, k: KVectors, sigma: float
) -> Electrostatics:
    """Energy, potential and field of smeared multipoles in periodic cells.

    Args:
        system: the structures; all periodic.
        multipoles: permanent multipoles.
        layout: dense layout of the batch.
        k: reciprocal vectors of every structure.
        sigma: smearing of the kernel, A.
    """
    r = to_dense(system.positions, layout)  # [structure, place, xyz]
    q = to_dense(multipoles.charges, layout)
    u = None if multipoles.dipoles is None else to_dense(multipoles.dipoles, layout)
    quad = None if multipoles.quadrupoles is None else to_dense(multipoles.quadrupoles, layout)
    inverse = torch.linalg.inv(system.cell)
    vectors = 2.0 * math.pi * torch.einsum("skv,sxv->skx", k.integers, inverse)  # k = 2 pi n inv(cell)^T
    fractional = torch.einsum("spx,sxv->spv", r, inverse)
    phase = 2.0 * math.pi * torch.einsum("spv,skv->spk", fractional, k.integers)
    cos, sin = _CosSin.apply(phase)  # [structure, place, k]
    factor_re, factor_im = _structure_factor(q, u, quad, vectors, cos, sin)
    prefactor = 1.0 / (EPSILON_0 * torch.linalg.det(system.cell).abs())  # [structure]
    weight = kernel((vectors * vectors).sum(-1), sigma, k.cutoff) * prefactor[:, None]
    energy = (weight * (factor_re * factor_re + factor_im * factor_im)).sum(-1)
    # d|S|^2/dq_i = 2 Re[S* e^{ikr}], d|S|^2/du_i = 2 Re[S* i k e^{ikr}]; one matrix product for potential and field.
    weighted = 2.0 * weight
    into_cos = torch.cat([(weighted * factor_re)[..., None], -(weighted * factor_im)[..., None] * vectors], dim=-1)
    into_sin = torch.cat([(weighted * factor_im)[..., None], (weighted * factor_re)[..., None] * vectors], dim=-1)
    both = cos @ into_cos + sin @ into_sin  # [structure, place, 4]
    potential, field = from_dense(both[..., 0], layout), from_dense(both[..., 1:], layout)
    self_unit = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
    own = (q * q).sum(-1) / sigma
    potential = potential - self_unit / sigma * multipoles.charges
    if u is not None:
        own = own + (u * u).sum((-2, -1)) / (3.0 * sigma**3)
        field = field + self_unit / (3.0 * sigma**3) * multipoles.dipoles
    if quad is not None:
        own = own + (quad * quad).sum((-3, -2, -1)) / (10.0 * sigma**5)
    return Electrostatics(energy - 0.5 * self_unit * own, potential, field)


def _structure_factor(
    q: Tensor, u: Tensor | None, quad: Tensor | None, k: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of S(k) [structure, k].

    The strengths are polynomials in k, so the sum over atoms runs over the ten multipole components first (a matrix
    product) and never over a strength per atom and k.
    """
    rows = [q[..., None]]
    if u is not None:
        rows.append(u)
    if quad is not None:
        rows.append(quad.flatten(-2))
    moments = torch.cat(rows, dim=-1).transpose(-1, -2)  # [structure, component, place]
    on_cos, on_sin = moments @ cos, moments @ sin  # [structure, component, k]
    real, imaginary = on_cos[:, 0], on_sin[:, 0]
    if u is not None:
        kt = k.transpose(-1, -2)
        real = real - (kt * on_sin[:, 1:4]).sum(1)
        imaginary = imaginary + (kt * on_cos[:, 1:4]).sum(1)
    if quad is not None:
        start = 1 if u is None else 4
        kk = (k[..., :, None] * k[..., None, :]).flatten(-2).transpose(-1, -2)  # [structure, 9, k]
        real = real - 0.5 * (kk * on_cos[:, start:]).sum(1)
        imaginary = imaginary - 0.5 * (kk * on_sin[:, start:]).sum(1)
    return real, imaginary
