"""The moment of which observables are recorded."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from spectra_app.dynamics.forces import PredictionLike


class Instant(NamedTuple):
    """What a formula is made from: the replicas of a run at one step, or several frames of a trajectory.

    Attributes:
        prediction: of the model.
        positions: [structure * atom, xyz], A, float64, unwrapped.
        velocities: [structure * atom, xyz], A/fs, float64; None where a trajectory has none.
        cell: [structure, vector, xyz], A, float64; zeros for an open structure.
        temperature_K: [structure], of the velocities; NaN where there are none.
        conserved_eV: [structure], U + K - work of thermostat, barostat and changing field; None for a trajectory.
    """

    prediction: PredictionLike
    positions: Tensor
    velocities: Tensor | None
    cell: Tensor
    temperature_K: Tensor
    conserved_eV: Tensor | None = None

    def sum_over_atoms(self, by_atom: Tensor) -> Tensor:
        """Sums [structure, ...] of values [structure * atom, ...]."""
        return by_atom.view(len(self.cell), -1, *by_atom.shape[1:]).sum(dim=1)

    def by_structure(self, by_atom: Tensor) -> Tensor:
        """Values [structure, atom] of values [structure * atom]."""
        return by_atom.view(len(self.cell), -1)
