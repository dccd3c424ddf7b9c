"""Several runs of one system as one run: their replicas side by side, once it is known that they belong together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from spectra_app.arrays import Frames
from spectra_app.errors import TrajectoryError
from spectra_app.joined import JoinedReplicas
from spectra_app.runs.reader import FIXED_CELL_TOLERANCE, Run

SAME_VOLUME = 0.02
"""Relative difference of volumes that separate equilibrations at one pressure leave; fluctuations allow more."""
SAME_CELL = 0.05
"""Of cell vectors, relative to the cube root of the volume."""
SAME_TIME = 1e-4
"""Of time steps: formats round times."""
_SETTINGS = {
    "model_hash": "model",
    "eps_inf": "eps_inf",
    "temperature_K": "temperature, K",
    "ensemble": "ensemble",
    "integrator": "integrator",
    "record_stride": "record stride",
    "trajectory_stride": "trajectory stride",
}
"""What must be the same in the metadata, and how it is called."""


def join_runs(runs: Sequence[Run]) -> Run:
    """One run whose replicas are those of all; nothing is read but what decides whether they belong together.

    Lengths may differ: of ``dipole_eA`` and its like one replica is read at a time.  The clocks are those of the
    longest run, Born charges the samples of all, and parts of the dipole are left out.

    Args:
        runs: of the same atoms, model, time step, strides, temperature, ensemble, cell and field; independent ones.

    Raises:
        TrajectoryError: no run, one that differs, or twice the same trajectory.
    """
    if not runs:
        raise TrajectoryError("runs to be merged", got="none", wanted="one at least")
    first = runs[0]
    if len(runs) == 1:
        return first
    for other in runs[1:]:
        _check_same_system(first, other)
    for one, other in itertools.combinations(runs, 2):
        _check_independent(one, other)
    longest = max(runs, key=lambda run: len(run.step))
    most_stored = max(runs, key=lambda run: len(run.trajectory_step))
    shared = [name for name in first.observables if all(name in run.observables for run in runs)]
    observables = {name: _joined([run.observables[name] for run in runs]) for name in shared if name != "field"}
    cell, volume = _cell_and_volume(runs)
    born = [run.born_e for run in runs if run.born_e is not None]
    return replace(
        first,
        step=longest.step,
        time_fs=longest.time_fs,
        dipole_eA=observables["dipole"],
        dipole_latent_eA=observables["dipole_latent"],
        polarizability_e2A2_per_eV=observables.get("polarizability"),
        screening=observables["screening"],
        energy_eV=observables["energy"],
        temperature_K=observables["temperature"],
        conserved_eV=observables.get("conserved"),
        trajectory_step=most_stored.trajectory_step,
        trajectory_time_fs=most_stored.trajectory_time_fs,
        cell_A=cell,
        volume_A3=volume,
        metadata={**first.metadata, "complete": all(run.complete for run in runs)},
        stored_positions_A=_joined([run.stored_positions_A for run in runs]),
        velocities_A_per_fs=_joined([run.velocities_A_per_fs for run in runs]),
        field_V_per_A=longest.field_V_per_A,
        parts=None,
        born_e=np.concatenate(born) if born else None,
        observables=observables,
        joined=tuple(runs),
        replicas=tuple(range(observables["dipole"].shape[1])),
        ended=(),
    )


def _joined(parts: Sequence[Any]) -> Any:
    """Series side by side; None where one run has none."""
    return None if any(part is None for part in parts) else JoinedReplicas(parts)


def _check_same_system(first: Run, other: Run) -> None:
    """Refuse a run that is not of the system of the first one, or was not made in the same way."""

    def refuse(what: str, got: object, wanted: object) -> None:
        raise TrajectoryError(
            f"merging {other.path} with {first.path}, {what}",
            got=got,
            wanted=f"{wanted}, as in {first.path.name}",
            todo="Merge runs of one system under one set of conditions",
        )

    if not np.array_equal(first.numbers, other.numbers):
        formulas = [Atoms(run.numbers).get_chemical_formula() for run in (other, first)]
        refuse("atoms", *(formulas if formulas[0] != formulas[1] else ("the same in another order", formulas[1])))
    if not np.allclose(first.masses_amu, other.masses_amu, rtol=1e-6):
        refuse("masses", "others", "the same")
    if first.boundary != other.boundary:
        refuse("boundary", other.boundary, first.boundary)
    for key, name in _SETTINGS.items():
        here, there = other.metadata.get(key), first.metadata.get(key)
        if here != there:
            models = (other.metadata["model_name"], first.metadata["model_name"])
            by_name = key == "model_hash" and models[0] != models[1]
            refuse(name, *(models if by_name else (here, there)))
    steps = [float(run.metadata["timestep_fs"]) for run in (other, first)]
    if not math.isclose(*steps, rel_tol=SAME_TIME):
        refuse("time step", f"{steps[0]:g} fs", f"{steps[1]:g} fs")
    for name in ("polarizability_e2A2_per_eV", "velocities_A_per_fs"):
        had = [getattr(run, name) is not None for run in (other, first)]
        if had[0] != had[1]:
            words = {True: "recorded", False: "not recorded"}
            refuse(name.split("_")[0], words[had[0]], words[had[1]])
    _check_field(first, other, refuse)
    if first.cell_A is not None:
        _check_cell(first, other, refuse)


def _check_field(first: Run, other: Run, refuse: Any) -> None:
    """Refuse another external field, at any time that both runs have."""
    fields = [run.field_V_per_A for run in (other, first)]
    n = min(len(first.step), len(other.step))
    there = [None if field is None or not np.any(field[:n]) else np.asarray(field[:n]) for field in fields]
    if any(field is None for field in there):
        same = there[0] is there[1]
    else:
        same = np.allclose(there[0], there[1], rtol=0.0, atol=1e-12)  # type: ignore[arg-type]
    if not same:
        words = ["none" if field is None else f"up to {np.abs(field).max():.3g} V/A" for field in there]
        refuse("field", words[0], words[1] if words[0] != words[1] else "the same at every time")


def _check_cell(first: Run, other: Run, refuse: Any) -> None:
    """Refuse a cell that fluctuations and equilibration do not explain."""
    cells = [run.mean_cell_A for run in (other, first)]
    sizes = [abs(float(np.linalg.det(cell))) for cell in cells]  # type: ignore[arg-type]
    noise = max(SAME_VOLUME, *(_fluctuation(run) for run in (other, first)))
    if abs(sizes[0] - sizes[1]) > noise * sizes[1]:
        refuse("volume", f"{sizes[0]:.5g} A^3", f"{sizes[1]:.5g} A^3 within {100.0 * noise:.2g}%")
    if np.abs(cells[0] - cells[1]).max() > max(SAME_CELL, noise) * sizes[1] ** (1.0 / 3.0):  # type: ignore[operator]
        lengths = [", ".join(f"{x:.4g}" for x in np.linalg.norm(cell, axis=1)) for cell in cells]  # type: ignore[arg-type]
        refuse("cell", f"vectors of {lengths[0]} A", f"{lengths[1]} A in the same directions")


def _fluctuation(run: Run) -> float:
    """Relative standard deviation of the volume of a run."""
    if run.volume_A3 is None or isinstance(run.volume_A3, float):
        return 0.0
    volume = np.asarray(run.volume_A3)
    return float(volume.std() / volume.mean())


def _check_independent(one: Run, other: Run) -> None:
    """Refuse the same trajectory twice: it would be counted as two, and error bars come out too small."""
    last = min(len(one.step), len(other.step)) - 1
    rows = [np.concatenate([run.dipole_eA[last], run.energy_eV[last][:, None]], axis=1) for run in (one, other)]
    if (rows[0][:, None] == rows[1][None]).all(axis=-1).any():
        raise TrajectoryError(
            f"merging {other.path} with {one.path}",
            got="twice the same trajectory",
            wanted="independent runs",
            todo="Give every run its own --seed",
        )


def _cell_and_volume(runs: Sequence[Run]) -> tuple[Frames | None, Frames | float | None]:
    """As ``Run`` has them: numbers where all cells are the same and fixed, else for every replica and frame."""
    first = runs[0]
    if first.cell_A is None:
        return None, None
    if all(run.cell_A is not None and run.cell_A.ndim == 2 for run in runs):
        start = np.asarray(first.cell_A)
        limit = FIXED_CELL_TOLERANCE * abs(float(np.linalg.det(start))) ** (1.0 / 3.0)
        if all(np.abs(np.asarray(run.cell_A) - start).max() <= limit for run in runs):
            return start, first.volume_A3
    cells = [_for_every(run.cell_A, 4, (len(run.trajectory_step), run.n_replicas)) for run in runs]
    if first.volume_A3 is None:
        return JoinedReplicas(cells), None
    volumes = [_for_every(run.volume_A3, 2, (len(run.step), run.n_replicas)) for run in runs]
    return JoinedReplicas(cells), JoinedReplicas(volumes)


def _for_every(value: Any, ndim: int, head: tuple[int, int]) -> Any:
    """A constant repeated, without memory, for every frame and replica; a series as it is."""
    constant = np.ndim(value) if isinstance(value, float) else value.ndim
    return value if constant == ndim else np.broadcast_to(value, (*head, *np.shape(value)))
