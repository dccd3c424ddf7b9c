"""Born charges of a few configurations of a run: what its infrared spectrum must integrate to, without the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.state import Particles
from spectra_app.runs.layout import write_born_charges
from spectra_app.runs.reader import read_run
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import select_structures

BORN_SAMPLES = 4  # configurations of a run whose Born charges are kept


def add_born_charges(model: PotentialLike, particles: Particles, output: Path) -> None:
    """Write them into a finished run file, of the first replica that ran to the end; nothing where there are none.

    Args:
        model: the potential.
        particles: replicas of the run file.
        output: the run file; nobody has it open.
    """
    if not model.has_born_charges(particles.system):
        return
    run = read_run(output)
    positions = run.stored_positions_A
    if positions is None or not len(run.trajectory_step):
        return
    chosen = np.unique(np.linspace(0, len(run.trajectory_step) - 1, BORN_SAMPLES).astype(int))
    first = torch.arange(1, device=model.device)
    atoms = torch.arange(particles.n_atoms, device=model.device)
    system, tensors = select_structures(particles.system, first, atoms), []
    for frame in chosen:
        cell = system.cell
        if run.cell_A is not None and run.cell_A.ndim > 2:
            cell = torch.from_numpy(np.array(run.cell_A[frame, 0]))
        one = system._replace(
            positions=torch.from_numpy(np.array(positions[frame, 0])).to(system.positions),
            cell=cell.reshape(1, 3, 3).to(system.cell),
        )
        neighbors = build_neighbors(one, model.cutoff).to(dtype=model.dtype)
        tensors.append(model.born_charges(one.to(dtype=model.dtype), neighbors).double().cpu().numpy())
    write_born_charges(output, np.asarray(run.trajectory_step)[chosen], np.stack(tensors))
