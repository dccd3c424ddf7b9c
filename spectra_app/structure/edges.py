"""The table of neighbours as a list of pairs, as the libraries of other architectures want it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spectra_app.structure.neighbors import Neighbors

_FAR = 10.0  # cutoffs, where pairs stand that do not count: nothing of any library reaches there


class Edges(NamedTuple):
    """Directed pairs, sorted by the atom that receives.

    Attributes:
        receiver: [edge], the atom i at which a sum over neighbours is made.
        sender: [edge], its neighbour j.
        vectors: [edge, xyz], r_j - r_i, A.
        slots: [edge], flat slot of the table in which each stands; None: every slot is an edge, in their order.
    """

    receiver: Tensor
    sender: Tensor
    vectors: Tensor
    slots: Tensor | None


def edges_within(neighbors: Neighbors, vectors: Tensor, cutoff: float, fixed: bool) -> Edges:
    """Pairs of a table that are nearer than a cutoff.

    Args:
        neighbors: the table.
        vectors: [atom, slot, xyz], r_j - r_i, A.
        cutoff: A.
        fixed: every slot is a pair, and those that are empty or too far stand at ten times the cutoff: shapes do not
            depend on positions and nothing is read back, which a GPU wants.  Otherwise such pairs are left out, except
            where none would be left: not every library can add up nothing.
    """
    n_atoms, n_slots = neighbors.other.shape
    flat = vectors.reshape(-1, 3)
    with torch.no_grad():
        inside = neighbors.mask.reshape(-1) & ((flat * flat).sum(-1) < cutoff * cutoff)
    own = torch.arange(n_atoms, device=vectors.device).repeat_interleave(n_slots, output_size=n_atoms * n_slots)
    other = neighbors.other.reshape(-1)
    if not fixed:
        chosen = inside.nonzero()[:, 0]
        if len(chosen):
            return Edges(own[chosen], other[chosen], flat.index_select(0, chosen), chosen)
    away = torch.zeros_like(flat)
    away[:, 0] = _FAR * cutoff
    return Edges(own, other, torch.where(inside[:, None], flat, away), None)
