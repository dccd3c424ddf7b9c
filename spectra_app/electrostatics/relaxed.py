"""Self-consistent response whose energy alone is differentiated, and once, in compiled loops: the fast way on a CPU.

``self_consistent.relax`` is the reference, and takes over where an equation has no solution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import relax_kernels as kernels
from spectra_app.electrostatics.cluster import SplitInteraction, Uniform
from spectra_app.electrostatics.far import FarInteraction
from spectra_app.electrostatics.multipoles import Multipoles
from spectra_app.electrostatics.near import NearInteraction, by_multipoles, moments_of
from spectra_app.electrostatics.near_kernels import N_MOMENTS
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.response import Induced, Susceptibility
from spectra_app.electrostatics.slab import SlabInteraction

Solved = tuple[Tensor, Induced, Tensor, Tensor, Tensor]  # the fields of ``self_consistent.Relaxed``


def relax_in_loops(
    interaction: Interaction,
    susceptibility: Susceptibility,
    multipoles: Multipoles,
    tolerances: tuple[float, float],
    most: int,
    uniform_fields: bool,
    guess: Tensor | None,
) -> Solved | None:
    """As ``self_consistent.relax``, or None where that has to be called.

    Args:
        interaction: of one structure, as a split sum in compiled loops, or of a slab in a cell that is summed so; of
            others there is no result.
        susceptibility: with alpha [atom, xyz, xyz] and kappa of pairs; likewise.
        multipoles: the permanent ones.
        tolerances: relative residuals of the energy's equation and of the answers to uniform fields.
        most: iterations.
        uniform_fields: also answer uniform fields, for the polarizability.
        guess: of ``Relaxed.solution``.
    """
    alpha, kappa = susceptibility.alpha, susceptibility.kappa
    if alpha is None or kappa is None or alpha.dim() != 3 or not susceptibility.by_pairs:
        return None
    split = interaction.inner if isinstance(interaction, SlabInteraction) else interaction
    if not isinstance(split, SplitInteraction):
        return None
    assert isinstance(interaction, SplitInteraction | SlabInteraction)
    near, far = split.near, split.far
    if not isinstance(near, NearInteraction) or not isinstance(far, FarInteraction):
        return None
    equation = _Loops(near, far, interaction.uniform, susceptibility)
    n_sources = 4 if uniform_fields else 1
    if guess is not None and guess.shape[1] != n_sources:
        guess = None
    if not equation.solve(moments_of(multipoles), tolerances, most, n_sources, guess):
        return None
    q, u, quad = multipoles
    empty = q.new_empty(0)
    given = (empty if m is None else m for m in (u, quad))
    energy: Tensor = _Energy.apply(near.system.positions, q, *given, alpha, kappa, equation)
    return energy, equation.induced, *equation.stationary(), torch.from_numpy(equation.phi.swapaxes(0, 1))


class _Loops:
    """The arrays of one equation, and its solution."""

    def __init__(
        self,
        near: NearInteraction,
        far: FarInteraction,
        uniform: Uniform,
        susceptibility: Susceptibility,
    ) -> None:
        assert susceptibility.alpha is not None
        assert susceptibility.kappa is not None
        self.parts, self.batch = (near.arrays, far.arrays, uniform), near.batch
        alpha, kappa, vectors = (
            x.detach().contiguous().numpy()
            for x in (susceptibility.alpha, susceptibility.kappa, susceptibility.vectors)
        )
        self.vectors, self.chi = vectors, (susceptibility.neighbors.other.numpy(), kappa, alpha)

    def solve(
        self, moments: np.ndarray, tolerances: tuple[float, float], most: int, n_sources: int, guess: Tensor | None
    ) -> bool:
        """Whether potentials and fields of all sources are found."""
        n_atoms, dtype = len(moments), moments.dtype
        self.moments = moments
        self.direct = np.empty((n_sources - 1, n_atoms, 4), dtype)
        if n_sources > 1:
            kernels.direct_answers(self.vectors, *self.chi, self.direct)
        self.phi, self.residual = (np.empty((n_sources, n_atoms, 4), dtype) for _ in range(2))
        if guess is not None:
            self.phi[:] = guess.detach().numpy().swapaxes(0, 1)
        each, warm = np.array([tolerances[0], *[tolerances[1]] * (n_sources - 1)]), guess is not None
        state: int = kernels.solve(
            *self.parts, self.chi, moments, self.direct, warm, each, most, self.phi, self.residual
        )
        return state == kernels.DONE

    def derivatives(self) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The energy, and its gradients by moments and positions, alpha, kappa; sets ``induced``."""
        _, kappa, alpha = self.chi
        phi = self.phi[0]
        induced, moved = np.empty_like(phi), np.empty_like(kappa)
        by_atom = np.zeros((len(phi), N_MOMENTS + 3), phi.dtype)
        by_alpha, by_kappa = np.empty_like(alpha), np.empty_like(kappa)
        energy = kernels.energy(
            *self.parts, self.chi, self.batch, self.moments, phi, induced, moved, by_atom, by_alpha, by_kappa
        )
        found, pairs = torch.from_numpy(induced), torch.from_numpy(moved)
        self.induced = Induced(found[:, :1], pairs[..., None], found[:, None, 1:])
        return energy, (by_atom, by_alpha, by_kappa)

    def stationary(self) -> tuple[Tensor, Tensor]:
        """Moments [atom, xyz] and polarizability by atom, see ``self_consistent.Relaxed``."""
        n_atoms, dtype = len(self.moments), self.moments.dtype
        moments, alpha = np.zeros((n_atoms, 3), dtype), np.zeros((n_atoms, 3, 3), dtype)
        if len(self.phi) > 1:
            kernels.stationary(self.vectors, self.chi, self.direct, self.phi, self.residual, moments, alpha)
        return torch.from_numpy(moments), torch.from_numpy(alpha)


class _Energy(torch.autograd.Function):
    """Positions, permanent multipoles and susceptibility -> energy [1], at fixed potentials and fields."""

    @staticmethod
    def forward(ctx, positions, q, u, quad, alpha, kappa, equation):  # type: ignore[no-untyped-def]
        ctx.has = (u.numel() > 0, quad.numel() > 0)
        energy, ctx.gradients = equation.derivatives()
        return positions.new_tensor([energy])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        by_atom, by_alpha, by_kappa = (grad[0] * torch.from_numpy(g) for g in ctx.gradients)
        return by_atom[:, 10:], *by_multipoles(by_atom, *ctx.has), by_alpha, by_kappa, None
