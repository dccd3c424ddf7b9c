"""Physical contributions of parts (molecules or atoms) to dipole and polarizability, from latent ones by atom.

The increments of ``PhysicalDipole`` are linear in the latent dipole, and the screening is that of the whole cell: what
is accumulated part by part adds up to the dipole of the cell.  Sums over atoms are taken on the host in one fixed
order, so that a restart repeats them bit for bit on every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    """

    def __init__(self, atom_part: np.ndarray, n_replicas: int, has_polarizability: bool) -> None:
        self._atom_part, self._n_replicas, self._has_alpha = atom_part, n_replicas, has_polarizability
        self._dipoles: list[Tensor] = []
        self._alphas: list[Tensor] = []
        self._dipole = PhysicalDipole()
        bytes_per_frame = 8 * n_replicas * len(atom_part) * (12 if has_polarizability else 3)
        self.max_frames = max(1, PARTS_BYTES // bytes_per_frame)

    def add(self, prediction: PredictionLike) -> None:
        """Keep a prediction: of all replicas at one instant, or of several frames of one replica."""
        self._dipoles.append(prediction.dipole_by_atom)
        if self._has_alpha:
            self._alphas.append(prediction.polarizability_by_atom)

    def take(self, screening: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Contributions of all frames added since the last call.

        Args:
            screening: [frame, replica], of these frames.

        Returns:
            [frame, replica, part, xyz], e A, and [frame, replica, part, xyz, xyz], e^2 A^2/eV, or None; physical.
        """
        dipole = self._dipole.extend(self._by_part(self._dipoles), screening)
        alpha = self._by_part(self._alphas) * screening[..., None, None, None] if self._has_alpha else None
        self._dipoles, self._alphas = [], []
        return dipole, alpha

    def carry(self) -> list[Tensor] | None:
        """What a restart needs (call after ``take``)."""
        return self._dipole.tensors

    def restore(self, carry: Any) -> None:
        """Continue from ``carry``."""
        self._dipole = PhysicalDipole.from_tensors(carry)

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
