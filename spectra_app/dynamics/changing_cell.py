"""The dipole of a cell that changes (constant pressure, strain): what the strain alone adds to it is taken out.

P = sum_i z_i r_i + (pair and dipole parts) is defined by positions that are unwrapped in time.  Where the cell scales,
so do they, and P changes by z_i n_i.dh for an atom that is written n_i cells away: by the choice of images.  The
current that flows through the cell is (docs/theory.md, "Current in a changing cell")

    dP'/dt = sum_i z_i (v_i - r_i . h^-1 dh/dt) + d/dt(pair and dipole parts) = sum_i z_i ds_i/dt . h + ...

with h the cell (rows are vectors) and s_i = r_i h^-1 fractional coordinates.  From one frame to the next

    P'(2) - P'(1) = sum_i z_i (s_i(2) - s_i(1)) . (h(1) + h(2))/2 + (pair and dipole parts)(2) - (the same)(1)
                  = P(2) - P(1) - (D(1) + D(2))/2 . (h(2) - h(1)),   D = sum_i z_i s_i

exactly, as a(2) b(2) - a(1) b(1) = (a(2) - a(1)) (b(1) + b(2))/2 + (a(1) + a(2))/2 (b(2) - b(1)).  Adding lattice
vectors n_i.h to any atoms adds a constant to D and changes nothing in P' but its constant; shifting all s_i by the
same vector changes nothing where sum_i z_i = 0; with a fixed cell P' = P to the last bit.

A charged cell (sum_i z_i = Q): P' is the dipole in the frame of the cell.  Moving all atoms with the cell (the same
shift of all s_i) still changes nothing; a Cartesian shift by a changes a step by Q a.(h(2)^-1 - h(1)^-1).(h(1)+h(2))/2,
about -Q times the strain of the step times a: the current of a charge that moves relative to the cell's origin.

In variants with atomic charges z_i are all of the charges and change in time; the strain part is taken out all the
same, while P of such a cell depends on images through their change anyway.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def charge_moments(fixed_charges: Tensor, positions: Tensor) -> Tensor:
    """z_i r_i [atom, xyz], e A, float64: the part of a dipole that depends on images.

    Args:
        fixed_charges: z_i [atom], e.
        positions: [atom, xyz], A, float64, unwrapped.
    """
    return fixed_charges.double()[:, None] * positions


class StrainPart:
    """Accumulates C(t) = sum over steps of (D(1) + D(2))/2 . (h(2) - h(1)); P' = P - C.

    Sums strictly one after the other, in one fixed order of operations: the result does not depend on where blocks
    begin, and a restart repeats it bit for bit.

    Attributes:
        carry: the last (C [replica, (part,) xyz], D [replica, (part,) vector], h [replica, vector, xyz]), or None.
    """

    def __init__(self, carry: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None) -> None:
        self.carry = carry

    @classmethod
    def from_tensors(cls, carry: list[Tensor] | None) -> StrainPart:
        """Continue from ``tensors`` of a checkpoint."""
        return cls(None if carry is None else (carry[0].numpy(), carry[1].numpy(), carry[2].numpy()))

    @property
    def tensors(self) -> list[Tensor] | None:
        """The carry as a checkpoint has it."""
        return None if self.carry is None else [torch.from_numpy(value) for value in self.carry]

    def extend(self, moments: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """C of the next frames, e A, latent, of the shape of ``moments``; zero in the very first frame.

        Args:
            moments: sum_i z_i r_i [frame, replica, xyz], or of parts [frame, replica, part, xyz], e A.
            cells: h [frame, replica, vector, xyz], A.
        """
        cells = cells.reshape(*cells.shape[:2], *(1,) * (moments.ndim - 3), 3, 3)
        fractional = row_times(moments, np.linalg.inv(cells))
        if self.carry is None:
            first = np.zeros_like(moments[:1])
            before, cell_before = fractional[:1], cells[:1]
        else:
            first, before, cell_before = (value[None] for value in self.carry)
            cell_before = cell_before.reshape(1, *cells.shape[1:])
        all_moments, all_cells = np.concatenate([before, fractional]), np.concatenate([cell_before, cells])
        steps = row_times(0.5 * (all_moments[1:] + all_moments[:-1]), all_cells[1:] - all_cells[:-1])
        total = np.add.accumulate(np.concatenate([first, steps]), axis=0)[1:]
        self.carry = (total[-1].copy(), fractional[-1].copy(), cells[-1].reshape(-1, 3, 3).copy())
        return total


def row_times(vectors: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Row vectors times matrices [..., 3] [..., 3, 3], each product by itself: BLAS may add up in another order."""
    return (
        vectors[..., 0:1] * matrices[..., 0, :]
        + vectors[..., 1:2] * matrices[..., 1, :]
        + vectors[..., 2:3] * matrices[..., 2, :]
    )
