"""Physical dipoles and polarizabilities of cells and of their parts (molecules or atoms), from latent ones.

The scale is that of the whole cell: what is scaled part by part adds up to the dipole of the cell, also where the cell
changes (``changing_cell``).  Sums over atoms are taken on the host in one fixed order, so that a restart repeats
them bit for bit on every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.changing_cell import StrainPart, charge_moments, row_times
from spectra_app.dynamics.forces import PredictionLike

PARTS_BYTES = 32_000_000  # contributions of atoms are buffered up to about this size


def physical_dipoles(latent: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """A P_latent, e A (docs/theory.md, "Physical scale"), frame by frame in one fixed order of operations.

    Args:
        latent: [frame, replica, xyz] or [frame, replica, part, xyz], e A.
        axes: [replica, xyz, xyz] or [frame, replica, xyz, xyz], symmetric.
    """
    return row_times(latent, _for_parts(axes, latent.ndim - 2))


def physical_polarizabilities(latent: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """A alpha_latent A, e^2 A^2/eV, likewise of latent [frame, replica, (part,) xyz, xyz]."""
    axes = _for_parts(axes, latent.ndim - 3)
    return np.asarray(axes @ latent @ axes)


def _for_parts(axes: np.ndarray, n_leading: int) -> np.ndarray:
    """Axes with an index for parts where there is one among the leading ones."""
    return axes[..., None, :, :] if n_leading == 2 else axes


class Contributions:
    """Gathers what the atoms contribute in consecutive frames, and gives the physical contributions of the parts.

    Args:
        atom_part: [atom of one replica], part an atom belongs to; every part has an atom.
        n_replicas: independent copies.
        has_polarizability: whether the model predicts it.
        variable_cell: whether the cell may change; then ``add`` takes positions and ``take`` cells.
    """

    def __init__(
        self, atom_part: np.ndarray, n_replicas: int, has_polarizability: bool, variable_cell: bool = False
    ) -> None:
        self._atom_part, self._n_replicas, self._has_alpha = atom_part, n_replicas, has_polarizability
        self._dipoles: list[Tensor] = []
        self._alphas: list[Tensor] = []
        self._moments: list[Tensor] = []
        self._strain = StrainPart() if variable_cell else None
        numbers = 3 + (9 if has_polarizability else 0) + (3 if variable_cell else 0)
        self.max_frames = max(1, PARTS_BYTES // (8 * n_replicas * len(atom_part) * numbers))

    def add(self, prediction: PredictionLike, positions: Tensor | None = None) -> None:
        """Keep a prediction: of all replicas at one instant, or of several frames of one replica.

        Args:
            prediction: of the model.
            positions: [atom, xyz], A, float64, unwrapped, of the same atoms; needed where the cell may change.
        """
        self._dipoles.append(prediction.dipole_by_atom)
        if self._has_alpha:
            self._alphas.append(prediction.polarizability_by_atom)
        if self._strain is not None:
            assert positions is not None
            self._moments.append(charge_moments(prediction.fixed_charges, positions))

    def take(self, axes: np.ndarray, cells: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Contributions of all frames added since the last call.

        Args:
            axes: [replica, xyz, xyz] or [frame, replica, xyz, xyz], what turns latent dipoles into physical ones.
            cells: [frame, replica, vector, xyz], A, of these frames; needed where the cell may change.

        Returns:
            [frame, replica, part, xyz], e A, and [frame, replica, part, xyz, xyz], e^2 A^2/eV, or None; physical.
        """
        latent = self._by_part(self._dipoles)
        if self._strain is not None:
            assert cells is not None
            latent = latent - self._strain.extend(self._by_part(self._moments), cells)
        dipole = physical_dipoles(latent, axes)
        alpha = physical_polarizabilities(self._by_part(self._alphas), axes) if self._has_alpha else None
        self._dipoles, self._alphas, self._moments = [], [], []
        return dipole, alpha

    def carry(self) -> list[Tensor] | None:
        """What a restart needs (call after ``take``): the strain of a changing cell; None at a fixed one."""
        return None if self._strain is None else self._strain.tensors

    def restore(self, carry: Any) -> None:
        """Continue from ``carry``."""
        if self._strain is not None:
            self._strain = StrainPart.from_tensors(carry)

    def _by_part(self, values: list[Tensor]) -> np.ndarray:
        """[frame, replica, part, ...], float64, of tensors [frame * replica * atom, ...] one after the other."""
        stacked = torch.cat(values).double().cpu().numpy()
        n_atoms = len(self._atom_part)
        return sum_by_part(stacked.reshape(-1, self._n_replicas, n_atoms, *stacked.shape[1:]), self._atom_part)


def sum_by_part(values: np.ndarray, atom_part: np.ndarray) -> np.ndarray:
    """Sums [frame, replica, part, ...] of values [frame, replica, atom, ...], in the order of the atoms.

    Args:
        values: any unit.
        atom_part: [atom], part an atom belongs to; every part has an atom.
    """
    order = np.argsort(atom_part, kind="stable")
    first = np.flatnonzero(np.diff(atom_part[order], prepend=-1))
    if len(first) == len(order):
        return values[:, :, order]
    return np.asarray(np.add.reduceat(values[:, :, order], first, axis=2))
