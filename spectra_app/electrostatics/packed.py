"""The equation of self-consistent response with few, large operations: for steps of fixed shapes in cells that stay.

Potential and field phi stand side by side, and so do the answers, y = (-dq, du).  With T the cosines and
sines of all atoms and vectors, own the self-terms, w the weights, and B what charges and dipoles give to the structure
factor S,

    S = B T^T y,    G x = own y - T B^T 2 w S,    -(chi a, b) = sum y(a) b

so that G is two products of matrices and a few operations in between, and the inner product one sum.
``self_consistent`` has the same equation in the forms of any interaction, the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
from spectra_app.electrostatics.response import Induced, Susceptibility
from spectra_app.structure.system import System


class PackedEquation:
    """See ``iterations.LinearEquation``; answers are y [atom, source, 4], in the place of the dipoles.

    Args:
        system: structures of one size.
        interaction: at their positions, with its cosines and sines kept.
        susceptibility: with alpha [atom, xyz, xyz] and kappa of pairs.
    """

    def __init__(self, system: System, interaction: ReciprocalInteraction, susceptibility: Susceptibility) -> None:
        assert susceptibility.alpha is not None
        assert susceptibility.kappa is not None
        self.system = system
        self._alpha, self._kappa = susceptibility.alpha, susceptibility.kappa[:, None]  # [atom, 1, slot]
        self._sums = susceptibility.kappa.sum(1, keepdim=True)
        self._others = susceptibility.neighbors.other.reshape(-1)
        self._waves, self._factors, self._weights, self._own = interaction.packed()
        self._shape = (system.n_structures, system.sizes[0])

    def answer(self, phi: Tensor) -> Induced:
        """The y of potentials and fields [atom, source, 4]."""
        potential = phi[..., 0]
        there = potential.index_select(0, self._others).view(len(phi), -1, potential.shape[1])
        charges = self._sums * potential - (self._kappa @ there)[:, 0]
        return Induced(None, None, torch.cat([charges[..., None], phi[..., 1:] @ self._alpha], dim=-1))

    def act(self, induced: Induced) -> Tensor:
        """G x [atom, source, 4]."""
        y = induced.dipoles
        assert y is not None
        n_structures, n_places = self._shape
        n_sources, n_k = y.shape[1], self._weights.shape[-1]
        parts = y.view(n_structures, n_places, 4 * n_sources).transpose(1, 2) @ self._waves
        parts = parts.view(n_structures, n_sources, 1, 4, 2, n_k)
        modes = (parts * self._factors).sum((3, 4)) * self._weights  # [structure, source, re/im, k]
        back = (modes[:, :, :, None, None] * self._factors).sum(2)
        made = back.view(n_structures, 4 * n_sources, 2 * n_k) @ self._waves.transpose(1, 2)
        return torch.addcmul(-made.transpose(1, 2).reshape(y.shape), self._own, y)

    def inner(self, induced: Induced, phi: Tensor) -> Tensor:
        """-(chi a, b) [structure, source]."""
        assert induced.dipoles is not None
        return (induced.dipoles * phi).view(*self._shape, -1, 4).sum((1, 3))


def packed_equation(system: System, interaction: Interaction, susceptibility: Susceptibility) -> PackedEquation | None:
    """The equation in this form; None where it does not have it.

    Args:
        system: the structures.
        interaction: at their positions.
        susceptibility: of atoms and pairs.
    """
    alpha, kappa = susceptibility.alpha, susceptibility.kappa
    whole = alpha is not None and kappa is not None and alpha.dim() == 3 and susceptibility.by_pairs
    if not whole or not system.alike or not isinstance(interaction, ReciprocalInteraction) or not interaction.packs:
        return None
    return PackedEquation(system, interaction, susceptibility)
