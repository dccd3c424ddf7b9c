"""States of some replicas: taken out of a batch, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.state import MDState, Particles

OF_ATOMS = ("positions", "velocities", "forces", "reference_positions")
OF_HISTORY = ("fields", "answers")
"""Fields whose second axis is atoms; of others (but ``step`` and ``streams``) the first axis is replicas."""


def particles_of(particles: Particles, replicas: range) -> Particles:
    """Some replicas of a batch as a batch of their own, on the same device.

    Args:
        particles: the batch.
        replicas: consecutive ones.
    """
    atoms, system = atoms_of(particles.sizes, replicas), particles.system
    some = slice(replicas.start, replicas.stop)
    part = system._replace(
        positions=system.positions[atoms],
        numbers=system.numbers[atoms],
        cell=system.cell[some],
        periodic=system.periodic[some],
        batch=system.batch[atoms] - replicas.start,
        charge=system.charge[some],
        slab=None if system.slab is None else system.slab[some],
        sizes=system.sizes[some],
    )
    return Particles(part, particles.masses[atoms], particles.degrees_of_freedom[some])


def atoms_of(sizes: Sequence[int], replicas: range) -> slice:
    """Where the atoms of consecutive replicas stand in a batch of these sizes."""
    ends = np.cumsum([0, *sizes]).tolist()
    return slice(ends[replicas.start], ends[replicas.stop])


def part_of_state(record: dict[str, Any], sizes: Sequence[int], replicas: range) -> dict[str, Any]:
    """The record of some replicas (``state_to_dict``) from that of all.

    Args:
        record: of the batch, whose replicas have a stream each.
        sizes: atoms of each replica of the batch.
        replicas: consecutive ones.
    """
    atoms, some = atoms_of(sizes, replicas), slice(replicas.start, replicas.stop)
    part = {}
    for name, value in record.items():
        if name in OF_HISTORY and value is not None:
            part[name] = value[:, atoms]
        elif isinstance(value, Tensor):
            part[name] = value[atoms if name in OF_ATOMS else some]
        else:
            part[name] = value[some] if name == "streams" else value
    return part


def joined_state(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The record of a batch from those of its parts."""
    joined = dict(records[0])
    resting = [record["resting"] for record in records]
    if any(part is not None for part in resting):
        none = [torch.zeros_like(record["energy"], dtype=torch.bool) for record in records]
        joined["resting"] = torch.cat([no if part is None else part for part, no in zip(resting, none, strict=True)])
    for name, value in joined.items():
        if name == "resting":
            continue
        if name in OF_HISTORY and value is not None:
            joined[name] = torch.cat([record[name] for record in records], dim=1)
        elif isinstance(value, Tensor):
            joined[name] = torch.cat([record[name] for record in records])
        elif name == "streams":
            joined[name] = [stream for record in records for stream in record[name]]
    return joined


def has_stream_each(state: MDState, particles: Particles) -> bool:
    """Whether the replicas draw from streams of their own: only then can they be parted."""
    return len(state.streams) == particles.n_replicas
