"""The short part of a split periodic sum: pairs within a reach, by compiled loops with one derivative (CPU).

    T_sigma = (T_sigma - T_Sigma) + T_Sigma

as in ``cluster``, but with the pairs of a dense cell and their images: T_sigma - T_Sigma ~ erfc(r/(sqrt2 Sigma))/r has
a reach of a few Sigma, and T_Sigma needs (sigma/Sigma)^3 of the vectors.  In dynamics both tables stay in the
processor's caches, where the cosines of the plain sum do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import near_kernels as kernels
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.structure.neighbors import neighbor_pairs
from spectra_app.structure.system import System
from spectra_app.units import COULOMB_CONSTANT

_SKIN_A = 1.0  # a list is kept while no pair can have come into reach
_STEP_A2 = 0.05  # of the tables of radial functions in r^2
QUADRUPOLE_PLACES = [0, 1, 2, 1, 3, 4, 2, 4, 5]
"""Which component (xx, xy, xz, yy, yz, zz) stands in each place of a symmetric matrix, row by row."""


@dataclass(frozen=True)
class NearList:
    """Pairs, each once, of a batch; complete to more than the reach.

    Attributes:
        reach: A.
        i: [pair]; j: [pair], atoms; sorted.
        shift: [pair, vector], cells that j is moved by.
        sizes: atoms of each structure.
        positions: [atom, xyz], A, where the list was made.
        cells: [structure, vector, xyz], A, likewise.
    """

    reach: float
    i: np.ndarray
    j: np.ndarray
    shift: np.ndarray
    sizes: tuple[int, ...]
    positions: np.ndarray
    cells: np.ndarray

    def holds(self, system: System, reach: float) -> bool:
        """Whether all pairs of a batch within a reach are still in the list."""
        if reach != self.reach or system.sizes != self.sizes:
            return False
        cells = system.cell.detach().double().numpy()
        strain = np.linalg.inv(self.cells) @ cells  # [structure, xyz, xyz]
        batch = system.batch.numpy()
        moved = system.positions.detach().double().numpy() - np.einsum("ix,ixy->iy", self.positions, strain[batch])
        stretch = np.abs(strain - np.eye(3)).sum(axis=(1, 2)).max()
        largest = math.sqrt(float((moved * moved).sum(axis=1).max()))
        return bool(2.0 * largest + stretch * (reach + _SKIN_A) < _SKIN_A)


def near_list(system: System, reach: float, kept: NearList | None = None) -> NearList:
    """The list of a batch of cells; ``kept`` itself while it holds.

    Args:
        system: the structures, all periodic.
        reach: A.
        kept: a list from before.
    """
    if kept is not None and kept.holds(system, reach):
        return kept
    positions = system.positions.detach().double().numpy()
    cells = system.cell.detach().double().numpy()
    parts, start = [], 0
    for structure, size in enumerate(system.sizes):
        i, j, shift = neighbor_pairs(positions[start : start + size], cells[structure], reach + _SKIN_A)
        itself = i == j
        once = (i < j) | (itself & ((shift @ np.array([4.0**20, 2.0**20, 1.0])) > 0))
        i, j, shift = i[once], j[once], shift[once]
        order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))  # sums do not depend on when it was made
        parts.append((i[order] + start, j[order] + start, shift[order]))
        start += size
    i, j, shift = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    return NearList(reach, i, j, shift.astype(np.float64), system.sizes, positions, cells)


class NearInteraction:
    """The interaction T_sigma - T_Sigma of pairs within reach; see ``protocol.Interaction``.

    Energies have one derivative; potentials and fields have none.

    Args:
        system: the structures.
        pairs: of them.
        sigma: smearing, A, of all atoms or by classes.
        wide: A, width of the kernel that is taken off.
        highest_rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
    """

    def __init__(
        self, system: System, pairs: NearList, sigma: float | Smearing, wide: float, highest_rank: int
    ) -> None:
        self.system, self.batch = system, system.batch.numpy()
        positions, n_pairs = system.positions.detach().numpy(), len(pairs.i)
        widths = sigma.widths if isinstance(sigma, Smearing) else (sigma,)
        kinds = sigma.classes.numpy() if isinstance(sigma, Smearing) else np.zeros(len(positions), np.int64)
        self.who, self.shifts = np.empty((n_pairs, 2), np.int64), np.empty((n_pairs, 3))
        self.r = np.empty((n_pairs, 3), positions.dtype)
        self.b = np.zeros((n_pairs, kernels.N_FUNCTIONS), positions.dtype)
        self.n_pairs: int = kernels.pairs_within(
            positions, system.cell.detach().double().numpy(), self.batch, pairs.i, pairs.j, pairs.shift, kinds,
            _tables(widths, wide, pairs.reach), _STEP_A2, pairs.reach, (3, 4, 6)[highest_rank],
            self.who, self.shifts, self.r, self.b,
        )  # fmt: skip

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``; potentials and fields without derivative."""
        return Electrostatics(self.energy(multipoles), *self.potentials(multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        q, u, quad = given_arrays(multipoles)
        potential, field = np.zeros_like(q), np.zeros_like(u)
        kernels.potentials(self.who, self.r, self.b, self.n_pairs, q, u, quad, potential, field)
        return torch.from_numpy(potential), torch.from_numpy(field)

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``; with one derivative."""
        q, u, quad = multipoles
        empty = q.new_empty(0)
        given = (empty if m is None else m for m in (u, quad))
        energies: Tensor = _NearEnergy.apply(self.system.positions, self.system.cell, q, *given, self)
        return energies

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        some = charges if charges is not None else dipoles
        assert some is not None
        shape = some.shape[:2]
        q = some.new_zeros(shape) if charges is None else charges.detach().contiguous()
        u = some.new_zeros(*shape, 3) if dipoles is None else dipoles.detach().contiguous()
        potential, field = torch.zeros_like(q), torch.zeros_like(u)
        arrays = (x.numpy() for x in (q, u, potential, field))
        kernels.act(self.who, self.r, self.b, self.n_pairs, *arrays)
        return potential, field

    def derivatives(self, multipoles: Multipoles) -> tuple[Tensor, list[np.ndarray]]:
        """Energies [structure]; gradients by charges, dipoles and quadrupoles (components), and by r [pair, xyz]."""
        given = given_arrays(multipoles)
        energies = np.zeros(self.system.n_structures)
        found = [*(np.zeros_like(x) for x in given), np.empty_like(self.r)]
        kernels.energy(self.who, self.r, self.b, self.n_pairs, self.batch, *given, energies, *found)
        return torch.from_numpy(energies).to(multipoles.charges), found


def given_arrays(multipoles: Multipoles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Charges [atom], dipoles [atom, xyz] and components of quadrupoles [atom, 6]; zeros for what is not there."""
    q, u, quad = (None if m is None else m.detach() for m in multipoles)
    assert q is not None
    u = q.new_zeros(len(q), 3) if u is None else u.contiguous()
    parts = q.new_zeros(len(q), 6) if quad is None else quad.flatten(1)[:, [0, 1, 2, 4, 5, 8]].contiguous()
    return q.contiguous().numpy(), u.numpy(), parts.numpy()


@lru_cache(maxsize=16)
def _tables(widths: tuple[float, ...], wide: float, reach: float) -> np.ndarray:
    """Radial functions of every pair of widths [width, width, place, function]."""
    means = [[math.sqrt(0.5 * (a * a + b * b)) for b in widths] for a in widths]
    rows = [[kernels.function_table(width, wide, reach, _STEP_A2, COULOMB_CONSTANT) for width in row] for row in means]
    return np.array(rows)


class _NearEnergy(torch.autograd.Function):
    """Positions, cells and multipoles -> energies [structure]."""

    @staticmethod
    def forward(ctx, positions, cell, q, u, quad, near):  # type: ignore[no-untyped-def]
        ctx.has = (u.numel() > 0, quad.numel() > 0)
        given = Multipoles(q.detach(), u.detach() if ctx.has[0] else None, quad.detach() if ctx.has[1] else None)
        energies, ctx.gradients = near.derivatives(given)
        ctx.near = near
        return energies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        near, (dq, du, dquad, dr) = ctx.near, ctx.gradients
        d_positions, d_cells = np.zeros((len(dq), 3)), np.zeros((len(grad), 3, 3))
        weight = grad.double().numpy()
        kernels.gradients(near.who, near.shifts, near.n_pairs, near.batch, dr, weight, d_positions, d_cells)
        by_atom = grad[near.system.batch][:, None]
        dquad = by_atom * torch.from_numpy(dquad)
        return (
            torch.from_numpy(d_positions).to(grad),
            torch.from_numpy(d_cells).to(grad),
            by_atom[:, 0] * torch.from_numpy(dq),
            by_atom * torch.from_numpy(du) if ctx.has[0] else None,
            dquad[:, QUADRUPOLE_PLACES].reshape(-1, 3, 3) if ctx.has[1] else None,
            None,
        )
