"""The batch that a run starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_masses

from spectra_app.dynamics.state import Particles, make_particles
from spectra_app.errors import StructureError
from spectra_app.structure.distances import check_distances
from spectra_app.structure.system import System, concatenate, from_ase


def check_start(particles: Particles) -> None:
    """Refuse start structures whose lengths are not in A, or with atoms that clash."""
    system = particles.system
    numbers = system.numbers[: particles.n_atoms].cpu().numpy()
    cells = system.cell.cpu().numpy()
    seen: list[np.ndarray] = []  # replicas mostly start from one structure
    for k, positions in enumerate(system.positions.cpu().numpy().reshape(particles.n_replicas, -1, 3)):
        if not any(np.array_equal(positions, other) for other in seen):
            check_distances(positions, numbers, cells[k] if bool(system.periodic[k]) else None, f"structure {k}")
            seen.append(positions)


def start_particles(structure: Atoms | System | Sequence[Atoms], device: torch.device, replicas: int) -> Particles:
    """Replicas with masses (isotopes as in ``Atoms``; standard masses for a ``System``)."""
    if isinstance(structure, System):
        size = structure.sizes[0]
        masses = np.asarray(atomic_masses)[structure.numbers[:size].cpu().numpy()]
        return make_particles(structure.to(device=device), torch.from_numpy(masses), replicas)
    starts = [structure] if isinstance(structure, Atoms) else list(structure)
    if any(not np.array_equal(atoms.numbers, starts[0].numbers) for atoms in starts):
        raise StructureError(
            "start structures", got="different atoms", wanted="the same atoms in the same order in each"
        )
    system = concatenate([from_ase(atoms, device=device, name=f"structure {k}") for k, atoms in enumerate(starts)])
    return make_particles(system, torch.from_numpy(starts[0].get_masses()), replicas)
