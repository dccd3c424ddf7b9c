"""One run of our own dynamics, which every other program has to repeat from its first frame."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms, units

sys.path.insert(0, str(Path(__file__).parents[1]))

from spectra_app import read_run
from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from tests.cli.conftest import cli, model_folder, water_box, write_tiny_model  # noqa: F401 (fixtures)
from tests.toy_potential import ToyPotential, dumbbells

TIMESTEP_FS = 0.4
N_STEPS = 240


class OwnRun(NamedTuple):
    """A run at constant energy of the toy potential.

    Attributes:
        atoms: first frame, with its velocities.
        dipole_eA: [frame, xyz].
        polarizability: [frame, xyz, xyz], e^2 A^2/eV.
        temperature_K: [frame].
        energy_eV: [frame].
        path: the run file.
    """

    atoms: Atoms
    dipole_eA: np.ndarray
    polarizability: np.ndarray
    temperature_K: np.ndarray
    energy_eV: np.ndarray
    path: Path


@pytest.fixture(scope="session")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> OwnRun:
    path = tmp_path_factory.mktemp("own") / "own.h5"
    settings = MDSettings(
        ensemble="nve",
        steps=N_STEPS,
        equilibration_steps=0,
        timestep_fs=TIMESTEP_FS,
        temperature_K=400.0,
        record_stride=1,
        trajectory_stride=1,
        seed=5,
        dtype="float64",
    )
    atoms = dumbbells()
    Simulation(ToyPotential(), atoms, settings, output=path).run()
    run = read_run(path)
    atoms.positions[:] = np.asarray(run.stored_positions_A[0])[0]
    atoms.set_masses(run.masses_amu)
    # Velocities are stored in single precision: the others begin with the same.
    atoms.set_velocities(np.asarray(run.velocities_A_per_fs[0], dtype=float)[0] / units.fs)
    return OwnRun(
        atoms,
        np.asarray(run.dipole_eA)[:, 0],
        np.asarray(run.polarizability_e2A2_per_eV)[:, 0],
        np.asarray(run.temperature_K)[:, 0],
        np.asarray(run.energy_eV)[:, 0],
        path,
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with random weights, and water molecules in ``start.extxyz``."""
    from ase.io import write

    folder = tmp_path_factory.mktemp("couplings") / "tiny"
    write_tiny_model(folder, "puiu")
    write(folder / "start.extxyz", water_box())
    return folder
