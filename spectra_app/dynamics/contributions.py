"""Physical contributions of parts (molecules or atoms) to dipole and polarizability, from latent ones by atom.

The increments of ``PhysicalDipole`` are linear in the latent dipole, and the screening is that of the whole cell: what
is accumulated part by part adds up to the dipole of the cell, also where the
cell changes (``changing_cell``).  Sums over atoms are taken on the host in one fixed order, so that a restart repeats
them bit for bit on every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.changing_cell import StrainPart, charge_moments
from spectra_app.dynamics.forces import PredictionLike

PARTS_BYTES = 32_000_000  # contributions of atoms are buffered up to about this size


class PhysicalDipole:
    """Accumulates the physical dipole from the latent one.

    P(t+1) = P(t) + (sqrt(e(t)) + sqrt(e(t+1)))/2 (P_lat(t+1) - P_lat(t)),  P(0) = sqrt(e(0)) P_lat(0):
    P_lat of a cell has a large constant that depends on the choice of images; where the screening e fluctuates (a
    model without a report on its material) the product sqrt(e) P_lat would turn it into noise, its increment does not.

    Attributes:
        carry: the last (physical, latent, sqrt(e)) [replica, ...], or None at the start.
    """

    def __init__(self, carry: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None) -> None:
        self.carry = carry

    @classmethod
    def from_tensors(cls, carry: list[Tensor] | None) -> PhysicalDipole:
        """Continue from ``tensors`` of a checkpoint."""
        return cls(None if carry is None else (carry[0].numpy(), carry[1].numpy(), carry[2].numpy()))

    @property
    def tensors(self) -> list[Tensor] | None:
        """The carry as a checkpoint has it."""
        return None if self.carry is None else [torch.from_numpy(value) for value in self.carry]

    def extend(self, latent: np.ndarray, screening: np.ndarray) -> np.ndarray:
        """Physical dipole of the next frames, e A, of the shape of ``latent``.

        Sums strictly one after the other, so that the result does not depend on where blocks begin.

        Args:
            latent: [frame, replica, xyz] or [frame, replica, part, xyz], e A.
            screening: [frame, replica], e.
        """
        root = np.sqrt(screening).reshape(*screening.shape, *(1,) * (latent.ndim - 2))
        if self.carry is None:
            first = root[:1] * latent[:1]
            before_latent, before_root = latent[:1], root[:1]
        else:
            first, before_latent, before_root = (value[None] for value in self.carry)
        latents = np.concatenate([before_latent, latent])
        roots = np.concatenate([before_root, root])
        steps = 0.5 * (roots[1:] + roots[:-1]) * (latents[1:] - latents[:-1])
        physical = np.add.accumulate(np.concatenate([first, steps]), axis=0)[1:]
        self.carry = (physical[-1].copy(), latent[-1].copy(), root[-1].copy())
        return physical


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
        self._dipole = PhysicalDipole()
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

    def take(self, screening: np.ndarray, cells: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Contributions of all frames added since the last call.

        Args:
            screening: [frame, replica], of these frames.
            cells: [frame, replica, vector, xyz], A, of these frames; needed where the cell may change.

        Returns:
            [frame, replica, part, xyz], e A, and [frame, replica, part, xyz, xyz], e^2 A^2/eV, or None; physical.
        """
        latent = self._by_part(self._dipoles)
        if self._strain is not None:
            assert cells is not None
            latent = latent - self._strain.extend(self._by_part(self._moments), cells)
        dipole = self._dipole.extend(latent, screening)
        alpha = self._by_part(self._alphas) * screening[..., None, None, None] if self._has_alpha else None
        self._dipoles, self._alphas, self._moments = [], [], []
        return dipole, alpha

    def carry(self) -> list[Tensor] | None:
        """What a restart needs of the dipoles (call after ``take``)."""
        return self._dipole.tensors

    def strain_carry(self) -> list[Tensor] | None:
        """What a restart needs of a changing cell (call after ``take``); None at a fixed one."""
        return None if self._strain is None else self._strain.tensors

    def restore(self, carry: Any, strain_carry: Any = None) -> None:
        """Continue from ``carry`` and ``strain_carry``."""
        self._dipole = PhysicalDipole.from_tensors(carry)
        if self._strain is not None:
            self._strain = StrainPart.from_tensors(strain_carry)

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
