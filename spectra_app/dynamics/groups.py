"""Large batches in groups of replicas: what the model needs in between is the memory of one group at a time.

The memory of an evaluation, about 150 kB per atom, is mostly features of pairs; a GPU is filled by some thousand atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from spectra_app.potentials.training_range import side_by_side
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System, select_structures

GROUP_ATOMS = 8192  # in one group
P = TypeVar("P")


class ReplicaGroup(NamedTuple):
    """Consecutive replicas.

    Attributes:
        system: of them alone.
        replicas: their numbers.
        atoms: those of their atoms.
    """

    system: System
    replicas: slice
    atoms: slice


def replica_groups(system: System, group_atoms: int, alike: bool = False) -> list[ReplicaGroup]:
    """Groups of consecutive replicas; groups with the same cells share their tensor.

    Args:
        system: all replicas.
        group_atoms: most atoms of a group; a replica is never divided.
        alike: also of one size and one kind of boundaries.
    """
    periodic, device = system.periodic.tolist(), system.positions.device
    runs: list[list[int]] = []
    for replica, size in enumerate(system.sizes):
        last = runs[-1] if runs else []
        fits = bool(last) and sum(system.sizes[k] for k in last) + size <= group_atoms
        same = bool(last) and system.sizes[last[0]] == size and periodic[last[0]] == periodic[replica]
        if fits and (same or not alike):
            last.append(replica)
        else:
            runs.append([replica])
    groups: list[ReplicaGroup] = []
    for run in runs:
        start = sum(system.sizes[: run[0]])
        atoms = slice(start, start + sum(system.sizes[run[0] : run[-1] + 1]))
        places = torch.arange(atoms.start, atoms.stop, device=device)
        part = select_structures(system, torch.tensor(run, device=device), places)
        for other in groups:
            if other.system.cell.shape == part.cell.shape and torch.equal(other.system.cell, part.cell):
                part = part._replace(cell=other.system.cell)
                break
        groups.append(ReplicaGroup(part, slice(run[0], run[-1] + 1), atoms))
    return groups


def table_of_group(table: Neighbors, atoms: slice) -> Neighbors:
    """The rows of a table [atom, slot] that belong to a group, as a table of its own."""
    slots = table.other.shape[1]
    reverse = table.reverse[atoms.start * slots : atoms.stop * slots] - atoms.start * slots
    other = table.other[atoms] - atoms.start
    return Neighbors(other, table.shift[atoms], table.mask[atoms], reverse, table.cutoff)


def joined_predictions(parts: Sequence[P]) -> P:
    """One prediction of the predictions of all groups, in their order; ``excess``, of a whole batch, is left out."""
    if len(parts) == 1:
        return parts[0]
    first: Any = parts[0]
    columns: dict[str, Any] = {}
    for name in first._fields:
        values = [getattr(part, name) for part in parts]
        join = side_by_side if name == "extrapolation" else torch.cat
        columns[name] = None if values[0] is None or name == "excess" else join(values)
    joined: P = type(first)(**columns)
    return joined
