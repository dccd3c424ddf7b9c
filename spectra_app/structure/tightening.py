"""A neighbour table without its skin."""

from __future__ import annotations

import numba
import numpy as np
import torch

from spectra_app.structure.neighbors import SLOT_MULTIPLE, Neighbors
from spectra_app.structure.system import System


def tighten(neighbors: Neighbors, system: System, cutoff: float) -> Neighbors:
    """The part of a table with a skin that lies within ``cutoff`` now, on the CPU.

    Everything a backbone does costs in proportion to the slots: for water, 4.5 A with a skin of 0.5 A, 48 for 64.

    Args:
        neighbors: table complete to more than ``cutoff``.
        system: present positions.
        cutoff: A, of the model.
    """
    with torch.no_grad():
        arrays = (system.positions, system.cell, system.batch, *neighbors[:4])
        found = _tightened(*(x.detach().numpy() for x in arrays), cutoff, SLOT_MULTIPLE)
        other, shift, mask, reverse = (torch.from_numpy(column) for column in found)
        return Neighbors(other, shift, mask, reverse, cutoff)


@numba.njit(cache=True)
def _tightened(positions, cell, batch, other, shift, mask, reverse, cutoff, multiple):  # type: ignore[no-untyped-def]
    """Columns of a ``Neighbors``; neighbours keep their order and move to the first slots."""
    n_atoms, n_slots = other.shape
    inside = np.zeros(n_atoms * n_slots, np.bool_)
    for i in range(n_atoms):
        h = cell[batch[i]]
        for s in range(n_slots):
            if mask[i, s]:
                j, squared = other[i, s], 0.0
                for a in range(3):
                    d = positions[j, a] - positions[i, a]
                    d += shift[i, s, 0] * h[0, a] + shift[i, s, 1] * h[1, a] + shift[i, s, 2] * h[2, a]
                    squared += d * d
                inside[i * n_slots + s] = squared < cutoff * cutoff
    place = np.full(n_atoms * n_slots, -1)
    most = 1
    for i in range(n_atoms):
        count = 0
        for s in range(n_slots):
            flat = i * n_slots + s
            if inside[flat] and inside[reverse[flat]]:  # rounding may differ between the two ends
                place[flat] = count
                count += 1
        most = max(most, count)
    slots = -(-most // multiple) * multiple
    new_other, new_mask = np.empty((n_atoms, slots), other.dtype), np.zeros((n_atoms, slots), np.bool_)
    new_shift = np.zeros((n_atoms, slots, 3), shift.dtype)
    new_reverse = np.arange(n_atoms * slots)
    for i in range(n_atoms):
        new_other[i] = i
        for s in range(n_slots):
            flat = i * n_slots + s
            t = place[flat]
            if t >= 0:
                new_other[i, t], new_mask[i, t] = other[i, s], True
                for a in range(3):
                    new_shift[i, t, a] = shift[i, s, a]
                back = reverse[flat]
                new_reverse[i * slots + t] = (back // n_slots) * slots + place[back]
    return new_other, new_shift, new_mask, new_reverse
