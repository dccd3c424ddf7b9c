"""The smooth part of a split periodic sum by compiled loops with one derivative (CPU): ``reciprocal`` for few vectors.

Of atoms x vectors that fit the processor's caches a sum takes less time than torch needs to begin its operations.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import far_kernels as kernels
from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.near import by_multipoles, moments_of, sources_of
from spectra_app.electrostatics.near_kernels import N_MOMENTS
from spectra_app.electrostatics.reciprocal import kernel
from spectra_app.structure.system import System
from spectra_app.units import EPSILON_0


class _Lattice(NamedTuple):
    """What does not change while the cell stays.

    Attributes:
        inverse: [xyz, vector], of the cell, A^-1.
        runs: of ``far_kernels.runs_of``.
        reach: likewise.
        k: [xyz, k], A^-1, padded to whole blocks.
        weights: [k], of |S|^2, likewise.
        own: of the self-terms of charge, dipole and quadrupole.
    """

    inverse: np.ndarray
    runs: np.ndarray
    reach: int
    k: np.ndarray
    weights: np.ndarray
    own: tuple[np.floating, ...]


class FarInteraction:
    """The interaction of multipoles of one structure and one width at its positions; see ``protocol.Interaction``.

    Energies have one derivative, by positions and multipoles at fixed cell; potentials and fields have none.

    Args:
        system: one periodic structure, in the cell of ``k``.
        k: its reciprocal vectors.
        sigma: smearing of all atoms, A.
    """

    def __init__(self, system: System, k: KVectors, sigma: float) -> None:
        self.system = system
        positions = system.positions.detach().numpy()
        lattice = _lattice(k, sigma, positions.dtype.name)
        self.k, self.weights, self.own = lattice.k, lattice.weights, lattice.own
        n_blocks = self.k.shape[1] // kernels.BLOCK
        self.waves = np.empty((n_blocks, len(positions), 2, kernels.BLOCK), positions.dtype)
        kernels.fill_waves(positions, lattice.inverse, lattice.runs, lattice.reach, self.waves)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.floating, ...]]:
        """What the kernels read of the vectors."""
        return self.waves, self.k, self.weights, self.own

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``; potentials and fields without derivative."""
        return Electrostatics(self.energy(multipoles), *self.potentials(multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        moments = moments_of(multipoles)
        found = np.zeros((1, len(moments), 4), moments.dtype)
        kernels.act(*self.arrays, moments[None], np.zeros(1, np.int64), moments, found)
        return torch.from_numpy(found[0, :, 0]), torch.from_numpy(found[0, :, 1:])

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``; with one derivative."""
        q, u, quad = multipoles
        empty = q.new_empty(0)
        given = (empty if m is None else m for m in (u, quad))
        energies: Tensor = _FarEnergy.apply(self.system.positions, q, *given, self)
        return energies

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        sources = sources_of(charges, dipoles)
        found = np.zeros_like(sources)
        none = np.empty((0, N_MOMENTS), sources.dtype)
        kernels.act(*self.arrays, sources, np.arange(len(sources)), none, found)
        return torch.from_numpy(found[..., 0].T), torch.from_numpy(found[..., 1:].swapaxes(0, 1))

    def derivatives(self, multipoles: Multipoles) -> tuple[float, np.ndarray]:
        """The energy, and its gradients by moments and positions [atom, 10 + xyz]."""
        moments = moments_of(multipoles)
        by_atom = np.zeros((len(moments), N_MOMENTS + 3), moments.dtype)
        energy: float = kernels.energy(*self.arrays, moments, by_atom)
        return energy, by_atom


@lru_cache(maxsize=16)
def _lattice(k: KVectors, sigma: float, dtype: str) -> _Lattice:
    """Of the one structure that these vectors belong to; they are kept while its cell stays."""
    inverse = np.linalg.inv(k.cells[0])
    integers = k.integers[0].double().numpy()
    vectors = 2.0 * math.pi * integers @ inverse.T
    weights = kernel(torch.from_numpy((vectors * vectors).sum(-1)), sigma, k.cutoff).numpy()
    volume = abs(np.linalg.det(k.cells[0]))
    unit = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
    own = (unit / sigma, unit / (3.0 * sigma**3), unit / (10.0 * sigma**5))
    runs, reach = kernels.runs_of(integers)
    padding = -len(integers) % kernels.BLOCK
    return _Lattice(
        inverse,
        runs,
        reach,
        np.pad(vectors.T, ((0, 0), (0, padding))).astype(dtype),
        np.pad(weights / (EPSILON_0 * volume), (0, padding)).astype(dtype),
        tuple(np.dtype(dtype).type(x) for x in own),
    )


class _FarEnergy(torch.autograd.Function):
    """Positions and multipoles -> energy [1]."""

    @staticmethod
    def forward(ctx, positions, q, u, quad, far):  # type: ignore[no-untyped-def]
        ctx.has = (u.numel() > 0, quad.numel() > 0)
        given = Multipoles(q.detach(), u.detach() if ctx.has[0] else None, quad.detach() if ctx.has[1] else None)
        energy, ctx.by_atom = far.derivatives(given)
        return positions.new_tensor([energy])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        by_atom = grad * torch.from_numpy(ctx.by_atom)
        return by_atom[:, 10:], *by_multipoles(by_atom, *ctx.has), None
