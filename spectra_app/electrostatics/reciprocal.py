"""Periodic boundaries: smeared multipoles summed over reciprocal vectors, tinfoil boundary.

    U = (1/(2 eps0 V)) sum_{k != 0} g(k) |S(k)|^2 - U_self,     g(k) = exp(-sigma^2 k^2/2)/k^2
    S(k) = sum_i (q_i + i k.u_i - (1/2) k.Q_i.k) exp(i k.r_i)
    U_self = (1/(2 eps0 (2 pi)^{3/2})) sum_i [ q_i^2/sigma + u_i^2/(3 sigma^3) + Q_i:Q_i/(10 sigma^5) ]

The cutoff of the sum follows from a tolerance, and g falls smoothly to zero over its last tenth, so that no vector
enters or leaves with a jump when the cell changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics.mesh import choose_engine
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles, dense_layout, from_dense, to_dense
from spectra_app.electrostatics.transforms import (
    Engine,
    multi_indices,
    n_components,
    to_atoms,
    to_modes,
)
from spectra_app.system import System
from spectra_app.units import EPSILON_0

EwaldMethod = Literal["auto", "sum", "mesh"]

TAPER_START = 0.9  # fraction of the cutoff where the taper begins


@dataclass(frozen=True, eq=False)
class KVectors:
    """Half of the reciprocal lattice inside the cutoff (k and -k count once).

    Attributes:
        integers: [structure, k, vector], Miller-like integers, zero where padded.
        cutoff: A^-1.
        method: how the sums are done: ``"sum"``, ``"mesh"``, or ``"auto"``, the faster (``mesh.choose_engine``).
        monomials: their products by rank, filled when first used (``transforms.signed_monomials``).
    """

    integers: Tensor
    cutoff: float
    method: EwaldMethod = "auto"
    monomials: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def select(self, structures: Tensor) -> KVectors:
        """The vectors of some structures of the batch."""
        return KVectors(self.integers[structures], self.cutoff, self.method)


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


def k_vectors(system: System, cutoff: float, method: EwaldMethod = "auto") -> KVectors:
    """Reciprocal vectors of every structure of a batch (open structures get none).

    Args:
        system: the structures.
        cutoff: A^-1.
        method: how the sums over them are done.
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
    return KVectors(torch.as_tensor(table).to(system.positions), cutoff, method)


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


def kernel(k_squared: Tensor, sigma: float, cutoff: float) -> Tensor:
    """g(k) = exp(-sigma^2 k^2/2)/k^2 with its taper [...], A^2; zero at k = 0 and beyond the cutoff."""
    empty = k_squared <= 0
    k2 = torch.where(empty, torch.ones_like(k_squared), k_squared)
    x = ((torch.sqrt(k2) / cutoff - TAPER_START) / (1.0 - TAPER_START)).clamp(0.0, 1.0)
    taper = 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
    return torch.where(empty, torch.zeros_like(k2), torch.exp(-0.5 * sigma**2 * k2) / k2 * taper)


class ReciprocalInteraction:
    """The interaction of smeared multipoles in periodic cells, ready to act on any of them; see ``Interaction``.

    Args:
        system: the structures; all periodic.
        k: reciprocal vectors of every structure.
        sigma: smearing of the kernel, A.
    """

    def __init__(self, system: System, k: KVectors, sigma: float) -> None:
        self._layout = layout = dense_layout(system)
        self._sigma = sigma
        self._self_unit = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
        self._inverse = torch.linalg.inv_ex(system.cell).inverse  # unlike inv, waits for no GPU: it can be captured
        vectors = 2.0 * math.pi * k.integers @ self._inverse.transpose(1, 2)  # k = 2 pi n inv(cell)^T
        prefactor = 1.0 / (EPSILON_0 * torch.linalg.det(system.cell).abs())  # [structure]
        self._weight = kernel((vectors * vectors).sum(-1), sigma, k.cutoff) * prefactor[:, None]
        self._fractional = to_dense(system.positions, layout) @ self._inverse  # [structure, place, vector]
        self._engine: Engine = choose_engine(self._fractional.detach(), k, sigma)

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        q, u, quad = multipoles
        modes = to_modes(
            self._fractional,
            self._moments(q[:, None], None if u is None else u[:, None], None if quad is None else quad[:, None]),
            self._engine,
        )
        energy = (self._weight * (modes * modes).sum((1, 2))).sum(-1)
        potential, field = self._at_atoms(modes, q[:, None], None if u is None else u[:, None])
        own = q * q / self._sigma
        if u is not None:
            own = own + (u * u).sum(-1) / (3.0 * self._sigma**3)
        if quad is not None:
            own = own + (quad * quad).sum((-2, -1)) / (10.0 * self._sigma**5)
        own_energy = to_dense(own, self._layout).sum(-1)
        return Electrostatics(energy - 0.5 * self._self_unit * own_energy, potential[:, 0], field[:, 0])

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        modes = to_modes(self._fractional, self._moments(charges, dipoles, None), self._engine)
        return self._at_atoms(modes, charges, dipoles)

    def _at_atoms(self, modes: Tensor, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """Potential [atom, source] and field [atom, source, xyz] of sources with these modes, self-terms removed."""
        # d|S|^2/dq_i = 2 Re[S* e^{ikr}], and its gradients for the higher moments.
        values = to_atoms(self._fractional, 2.0 * self._weight[:, None, None] * modes, self._engine, 1)
        potential = from_dense(values[:, :, 0].transpose(1, 2), self._layout)
        gradient = values[:, :, 1:].permute(0, 3, 1, 2) @ self._inverse.transpose(1, 2)[:, None]
        field = -from_dense(gradient, self._layout)
        if charges is not None:
            potential = potential - self._self_unit / self._sigma * charges
        if dipoles is not None:
            field = field + self._self_unit / (3.0 * self._sigma**3) * dipoles
        return potential, field

    def _moments(self, charges: Tensor | None, dipoles: Tensor | None, quadrupoles: Tensor | None) -> Tensor:
        """Cartesian moments in fractional coordinates [structure, source, component, place]."""
        inverse = self._inverse[:, None]
        rows = []
        if charges is None:
            assert dipoles is not None
            charges = torch.zeros_like(dipoles[..., 0])
        rows.append(to_dense(charges, self._layout).transpose(1, 2)[:, :, None])
        if dipoles is not None:
            rows.append((to_dense(dipoles, self._layout) @ inverse).permute(0, 2, 3, 1))
        elif quadrupoles is not None:
            rows.append(rows[0].new_zeros(*rows[0].shape[:2], 3, rows[0].shape[-1]))
        if quadrupoles is not None:
            inverse = inverse[:, None]
            # (1/2) Q : grad grad over the six distinct components: each off-diagonal one stands for two.
            quad = inverse.transpose(-2, -1) @ to_dense(quadrupoles, self._layout) @ inverse
            distinct = [
                0.5 * quad[..., a, b] if a == b else 0.5 * (quad[..., a, b] + quad[..., b, a])
                for a, b in multi_indices(2)[n_components(1) :]
            ]
            rows.append(torch.stack(distinct, dim=1).permute(0, 3, 1, 2))
        return torch.cat(rows, dim=2)
