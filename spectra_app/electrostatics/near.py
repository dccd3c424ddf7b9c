"""The short part of a split periodic sum: pairs within a reach, by compiled loops with one derivative (CPU).

    T_sigma = (T_sigma - T_Sigma) + T_Sigma

as in ``cluster``, but with the pairs of a dense cell and their images: T_sigma - T_Sigma ~ erfc(r/(sqrt2 Sigma))/r has
a reach of a few Sigma, and T_Sigma needs (sigma/Sigma)^3 of the vectors.  In dynamics both tables stay in the
processor's caches, where the cosines of the plain sum do not.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import near_kernels as kernels
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.pair_list import NearList
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.structure.system import System
from spectra_app.units import COULOMB_CONSTANT

_STEP_A2 = 0.05  # of the tables of radial functions in r^2
QUADRUPOLE_PLACES = [0, 1, 2, 1, 3, 4, 2, 4, 5]
"""Which component (xx, xy, xz, yy, yz, zz) stands in each place of a symmetric matrix, row by row."""
_COMPONENTS = [0, 1, 2, 4, 5, 8]


class NearInteraction:
    """The interaction T_sigma - T_Sigma of pairs within reach; see ``protocol.Interaction``.

    Energies have one derivative; potentials and fields have none.

    Args:
        system: the structures.
        pairs: of them.
        sigma: smearing, A, of all atoms or by classes.
        wide: A, width of the kernel that is taken off.
    """

    def __init__(self, system: System, pairs: NearList, sigma: float | Smearing, wide: float) -> None:
        self.system, self.batch, self.pairs = system, system.batch.numpy(), pairs
        positions, n_pairs = system.positions.detach().numpy(), len(pairs.j)
        widths = sigma.widths if isinstance(sigma, Smearing) else (sigma,)
        kinds = sigma.classes.numpy() if isinstance(sigma, Smearing) else np.zeros(len(positions), np.int64)
        self.first = np.empty(len(positions) + 1, np.int64)
        self.other, self.listed = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)
        self.geometry = np.empty((3 + kernels.N_FUNCTIONS, n_pairs), positions.dtype)
        kernels.pairs_within(
            positions, system.cell.detach().double().numpy(), self.batch, pairs.first, pairs.j, pairs.shift, kinds,
            _tables(widths, wide, pairs.reach, positions.dtype.name), _STEP_A2, pairs.reach,
            self.first, self.other, self.listed, self.geometry,
        )  # fmt: skip

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels read of the pairs."""
        return self.first, self.other, self.geometry

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``; potentials and fields without derivative."""
        return Electrostatics(self.energy(multipoles), *self.potentials(multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        moments = moments_of(multipoles)
        found = np.zeros((1, len(moments), 4), moments.dtype)
        kernels.act(*self.arrays, moments[None], np.zeros(1, np.int64), found)
        if multipoles.quadrupoles is not None:
            kernels.act_of_quadrupoles(*self.arrays, moments, found[0])
        return torch.from_numpy(found[0, :, 0]), torch.from_numpy(found[0, :, 1:])

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``; with one derivative."""
        q, u, quad = multipoles
        empty = q.new_empty(0)
        given = (empty if m is None else m for m in (u, quad))
        energies: Tensor = _NearEnergy.apply(self.system.positions, self.system.cell, q, *given, self)
        return energies

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        sources = sources_of(charges, dipoles)
        found = np.zeros_like(sources)
        kernels.act(*self.arrays, sources, np.arange(len(sources)), found)
        return torch.from_numpy(found[..., 0].T), torch.from_numpy(found[..., 1:].swapaxes(0, 1))

    def derivatives(self, multipoles: Multipoles, with_cell: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Energies [structure]; gradients by moments and positions [atom, 10 + xyz]; by cells, where wanted."""
        moments = moments_of(multipoles)
        energies = np.zeros(self.system.n_structures)
        by_atom = np.zeros((len(moments), kernels.N_MOMENTS + 3), moments.dtype)
        by_vectors = np.empty((3, self.first[-1] if with_cell else 0), moments.dtype)
        kernels.energy(*self.arrays, self.batch, moments, energies, by_atom, by_vectors)
        if not with_cell:
            return energies, by_atom, None
        by_cells = np.zeros((len(energies), 3, 3))
        kernels.by_cells(self.first, self.listed, self.pairs.shift, self.batch, by_vectors, by_cells)
        return energies, by_atom, by_cells


def moments_of(multipoles: Multipoles) -> np.ndarray:
    """Charge, dipole and components of the quadrupole [atom, 10]; zeros for what is not there."""
    q, u, quad = multipoles
    moments = np.zeros((len(q), kernels.N_MOMENTS), q.detach().numpy().dtype)
    moments[:, 0] = q.detach().numpy()
    if u is not None:
        moments[:, 1:4] = u.detach().numpy()
    if quad is not None:
        moments[:, 4:] = quad.detach().numpy().reshape(len(q), 9)[:, _COMPONENTS]
    return moments


def sources_of(charges: Tensor | None, dipoles: Tensor | None) -> np.ndarray:
    """Charge and dipole of several sets of sources [source, atom, 4]; zeros for what is not there."""
    some = charges if charges is not None else dipoles
    assert some is not None
    n_atoms, n_sources = some.shape[:2]
    sources = np.zeros((n_sources, n_atoms, 4), some.detach().numpy().dtype)
    if charges is not None:
        sources[..., 0] = charges.detach().numpy().T
    if dipoles is not None:
        sources[..., 1:] = dipoles.detach().numpy().swapaxes(0, 1)
    return sources


def by_multipoles(by_moments: Tensor, has_dipoles: bool, has_quadrupoles: bool) -> tuple[Tensor | None, ...]:
    """Gradients by charges, dipoles and quadrupoles of those by moments [atom, 10 or more]; None for what is not."""
    quad = by_moments[:, 4:10][:, QUADRUPOLE_PLACES].reshape(-1, 3, 3) if has_quadrupoles else None
    return by_moments[:, 0], by_moments[:, 1:4] if has_dipoles else None, quad


@lru_cache(maxsize=16)
def _tables(widths: tuple[float, ...], wide: float, reach: float, dtype: str) -> np.ndarray:
    """Radial functions of every pair of widths [width, width, place, power, lane]."""
    means = [[math.sqrt(0.5 * (a * a + b * b)) for b in widths] for a in widths]
    rows = [[kernels.function_table(width, wide, reach, _STEP_A2, COULOMB_CONSTANT) for width in row] for row in means]
    return np.array([[kernels.cubics(table, _STEP_A2) for table in row] for row in rows]).astype(dtype)


class _NearEnergy(torch.autograd.Function):
    """Positions, cells and multipoles -> energies [structure]."""

    @staticmethod
    def forward(ctx, positions, cell, q, u, quad, near):  # type: ignore[no-untyped-def]
        ctx.has = (u.numel() > 0, quad.numel() > 0)
        given = Multipoles(q.detach(), u.detach() if ctx.has[0] else None, quad.detach() if ctx.has[1] else None)
        energies, ctx.by_atom, ctx.by_cells = near.derivatives(given, ctx.needs_input_grad[1])
        ctx.batch = near.system.batch
        return torch.from_numpy(energies).to(positions)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        by_atom = grad[ctx.batch][:, None] * torch.from_numpy(ctx.by_atom)
        by_cells = None if ctx.by_cells is None else grad[:, None, None] * torch.from_numpy(ctx.by_cells).to(grad)
        return by_atom[:, 10:], by_cells, *by_multipoles(by_atom, *ctx.has), None
