"""Batches of structures for calculators that take one at a time, and predictions of what these give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.couplings.calculator_results import Values
from spectra_app.couplings.calculator_source import Boundaries, Geometry
from spectra_app.potentials.prediction import Prediction
from spectra_app.structure.system import System


def geometries_of(system: System) -> list[Geometry]:
    """The structures of a batch on the host."""
    positions = system.positions.detach().double().cpu().numpy()
    numbers, cells = system.numbers.cpu().numpy(), system.cell.detach().double().cpu().numpy()
    slabs = [False] * system.n_structures if system.slab is None else system.slab.tolist()
    start, found = 0, []
    for k, (size, periodic) in enumerate(zip(system.sizes, system.periodic.tolist(), strict=True)):
        part = slice(start, start + size)
        boundaries: Boundaries = "slab" if slabs[k] else "periodic" if periodic else "open"
        found.append(Geometry(positions[part], numbers[part], cells[k], boundaries, float(system.charge[k])))
        start += size
    return found


def nothing_known(system: System) -> Prediction:
    """A prediction of which nothing is known: NaN what was not asked for, zero what calculators do not have."""
    n_atoms, n = len(system.positions), system.n_structures
    unknown = torch.full((n, 3, 3), torch.nan, dtype=torch.float64)
    by_atom = torch.zeros(n_atoms, 3, 3, dtype=torch.float64)
    empty = Prediction(
        energy=unknown[:, 0, 0],
        forces=None,
        stress=None,
        dipole=unknown[:, 0],
        polarizability=unknown,
        charges=by_atom[:, 0, 0],
        atomic_dipoles=by_atom[:, 0],
        atomic_polarizabilities=by_atom,
        dipole_by_atom=by_atom[:, 0],
        polarizability_by_atom=by_atom,
        fixed_charges=by_atom[:, 0, 0],
    )
    if system.positions.device.type == "cpu":
        return empty
    moved = {name: value.to(system.positions.device) for name, value in empty._asdict().items() if value is not None}
    return empty._replace(**moved)


def energies_of(other: Prediction, prediction: Prediction) -> Prediction:
    """A prediction with everything that another one says of energies, forces and extrapolation."""
    return prediction._replace(
        energy=other.energy,
        forces=None if other.forces is None else other.forces.double(),
        stress=None if other.stress is None else other.stress.double(),
        solution=other.solution,
        excess=other.excess,
        extrapolation=other.extrapolation,
    )


def with_energies(prediction: Prediction, values: list[Values]) -> Prediction:
    """A prediction with the energies, forces and stresses of calculators; NaN for an energy that they do not have."""
    like = prediction.dipole_by_atom
    energies = [np.nan if value.energy is None else value.energy for value in values]
    forces, stress = _stacked([value.forces for value in values], like), [value.stress for value in values]
    return prediction._replace(
        energy=torch.tensor(energies, dtype=torch.float64, device=like.device),
        forces=forces,
        stress=None if stress[0] is None else _stacked([one[None] for one in stress if one is not None], like),
    )


def with_responses(prediction: Prediction, values: list[Values]) -> Prediction:
    """A prediction with the dipoles, polarizabilities and Born charges of calculators."""
    like = prediction.dipole_by_atom.new_zeros((), dtype=torch.float64)
    dipole = _stacked([value.dipole[None] for value in values if value.dipole is not None], like)
    alpha = _stacked([value.polarizability[None] for value in values if value.polarizability is not None], like)
    assert dipole is not None
    return prediction._replace(
        dipole=dipole,
        polarizability=torch.zeros_like(prediction.polarizability, dtype=torch.float64) if alpha is None else alpha,
        born_charges=_stacked([value.born for value in values], like),
    )


def _stacked(arrays: list[Any], like: Tensor) -> Tensor | None:
    """One tensor of arrays of all structures; None where there are none."""
    if not arrays or arrays[0] is None:
        return None
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return torch.from_numpy(joined).to(device=like.device, dtype=torch.float64)
