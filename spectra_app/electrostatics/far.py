"""The smooth part of a split periodic sum by compiled loops with one derivative (CPU): ``reciprocal`` for few vectors.

Of atoms x vectors that fit the processor's caches a sum takes less time than torch needs to begin its operations.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import far_kernels as kernels
from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.near import QUADRUPOLE_PLACES, given_arrays
from spectra_app.electrostatics.phases import waves
from spectra_app.electrostatics.reciprocal import kernel
from spectra_app.structure.system import System
from spectra_app.units import EPSILON_0


class FarInteraction:
    """The interaction of multipoles of one structure and one width at its positions; see ``protocol.Interaction``.

    Energies have one derivative, by positions and multipoles at fixed cell; potentials and fields have none.

    Args:
        system: one periodic structure.
        k: its reciprocal vectors.
        sigma: smearing of all atoms, A.
    """

    def __init__(self, system: System, k: KVectors, sigma: float) -> None:
        self.system = system
        inverse = np.linalg.inv(system.cell[0].detach().double().numpy())
        positions = system.positions.detach()
        fractional = positions.double() @ torch.from_numpy(inverse)
        fractional = (fractional - torch.floor(fractional)).to(positions)
        self.waves = waves(fractional[None], k.integers)[0].numpy()
        integers = k.integers[0].double().numpy()
        vectors = 2.0 * math.pi * integers @ inverse.T
        weights = kernel(torch.from_numpy((vectors * vectors).sum(-1)), sigma, k.cutoff).numpy()
        volume = abs(np.linalg.det(system.cell[0].detach().double().numpy()))
        dtype = positions.numpy().dtype
        self.k = np.ascontiguousarray(vectors.T).astype(dtype)
        self.weights = (weights / (EPSILON_0 * volume)).astype(dtype)
        unit = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
        own = (unit / sigma, unit / (3.0 * sigma**3), unit / (10.0 * sigma**5))
        self.own = tuple(dtype.type(x) for x in own)  # self-terms of charge, dipole and quadrupole

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``; potentials and fields without derivative."""
        return Electrostatics(self.energy(multipoles), *self.potentials(multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        q, u, quad = given_arrays(multipoles)
        potential, field = -self.own[0] * q, self.own[1] * u
        kernels.potentials(self.waves, self.k, self.weights, self._modes(q, u, quad), potential, field)
        return torch.from_numpy(potential), torch.from_numpy(field)

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``; with one derivative."""
        q, u, quad = multipoles
        empty = q.new_empty(0)
        given = (empty if m is None else m for m in (u, quad))
        energies: Tensor = _FarEnergy.apply(self.system.positions, q, *given, self)
        return energies

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``; without derivative."""
        some = charges if charges is not None else dipoles
        assert some is not None
        n_atoms, n_sources = some.shape[:2]
        q = some.new_zeros(n_sources, n_atoms) if charges is None else charges.detach().T.contiguous()
        u = some.new_zeros(n_sources, n_atoms, 3) if dipoles is None else dipoles.detach().transpose(0, 1).contiguous()
        potential, field = -float(self.own[0]) * q, float(self.own[1]) * u
        no_quad = np.zeros((0, 6), self.k.dtype)
        modes = np.empty((2, self.k.shape[1]), self.k.dtype)
        for s in range(n_sources):
            kernels.modes_of(self.waves, self.k, q[s].numpy(), u[s].numpy(), no_quad, modes)
            kernels.potentials(self.waves, self.k, self.weights, modes, potential[s].numpy(), field[s].numpy())
        return potential.T, field.transpose(0, 1)

    def derivatives(self, multipoles: Multipoles) -> tuple[Tensor, list[np.ndarray]]:
        """Energy [1], and its gradients by charges, dipoles, quadrupoles (components) and positions."""
        q, u, quad = given_arrays(multipoles)
        modes = self._modes(q, u, quad)
        found = [np.empty_like(q), np.empty_like(u), np.empty_like(quad), np.empty_like(u)]
        kernels.gradients(self.waves, self.k, self.weights, modes, u, quad, q, *found)
        found[0] -= self.own[0] * q
        found[1] -= self.own[1] * u
        found[2] -= self.own[2] * quad
        return self._energy(modes, q, u, quad), found

    def _modes(self, q: np.ndarray, u: np.ndarray, quad: np.ndarray) -> np.ndarray:
        modes = np.empty((2, self.k.shape[1]), self.k.dtype)
        kernels.modes_of(self.waves, self.k, q, u, quad, modes)
        return modes

    def _energy(self, modes: np.ndarray, q: np.ndarray, u: np.ndarray, quad: np.ndarray) -> Tensor:
        """[1], self-terms taken off."""
        squares = (modes.astype(np.float64) ** 2).sum(axis=0)
        off_diagonal = np.array([1.0, 2.0, 2.0, 1.0, 2.0, 1.0])
        own = [(x.astype(np.float64) ** 2).sum(axis=0) for x in (q, u)]
        own_energy = self.own[0] * own[0] + self.own[1] * own[1].sum()
        own_energy += self.own[2] * float((off_diagonal * (quad.astype(np.float64) ** 2).sum(axis=0)).sum())
        value = float((self.weights.astype(np.float64) * squares).sum()) - 0.5 * float(own_energy)
        return torch.tensor([value], dtype=self.system.positions.dtype)


class _FarEnergy(torch.autograd.Function):
    """Positions and multipoles -> energy [1]."""

    @staticmethod
    def forward(ctx, positions, q, u, quad, far):  # type: ignore[no-untyped-def]
        ctx.has = (u.numel() > 0, quad.numel() > 0)
        given = Multipoles(q.detach(), u.detach() if ctx.has[0] else None, quad.detach() if ctx.has[1] else None)
        energy, ctx.gradients = far.derivatives(given)
        return energy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        dq, du, dquad, dr = (grad[0] * torch.from_numpy(g) for g in ctx.gradients)
        has_u, has_quad = ctx.has
        dquad = dquad[:, QUADRUPOLE_PLACES].reshape(-1, 3, 3) if has_quad else None
        return dr, dq, du if has_u else None, dquad, None
