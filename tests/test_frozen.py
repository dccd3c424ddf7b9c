"""Files of every earlier format give the numbers that they gave when they were written (tests/frozen)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read

from spectra_app import Simulation, load_model, read_run, run_spectrum
from spectra_app.config import MDSettings
from spectra_app.potentials import Potential
from spectra_app.runs import Run
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase

FROZEN = Path(__file__).parent / "frozen"
EXPECTED = json.loads((FROZEN / "expected.json").read_text())
MODELS = sorted(path.name for path in FROZEN.glob("model_v*"))
EXACT = {"rtol": 1e-10, "atol": 1e-10}
SETTINGS = {"resolution_per_cm": 600.0, "correct_timestep": False}  # as the first version made spectra


def start() -> Atoms:
    return read(FROZEN / "start.extxyz")


def model_of(name: str) -> Potential:
    return load_model(FROZEN / name, dtype="float64")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("frozen") / "run_v1.h5"
    path.write_bytes(gzip.decompress((FROZEN / "run_v1.h5.gz").read_bytes()))
    return read_run(path)


def test_every_earlier_format_is_here() -> None:
    from spectra_app.potentials.folder import FORMAT_VERSION

    assert [f"model_v{version}" for version in range(1, FORMAT_VERSION)] == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_an_earlier_format_gives_its_numbers(name: str) -> None:
    model, wanted = model_of(name), EXPECTED[name]
    system = from_ase(start())
    neighbors = build_neighbors(system, model.cutoff)
    found = model(system, neighbors, stress=True)
    np.testing.assert_allclose(found.energy[0].item(), wanted["energy_eV"], **EXACT)
    np.testing.assert_allclose(found.forces.numpy(), wanted["forces_eV_per_A"], **EXACT)
    np.testing.assert_allclose(found.stress[0].numpy(), wanted["stress_eV_per_A3"], **EXACT)
    alpha = model.scale.tensors(found.polarizability, system)[0]
    np.testing.assert_allclose(alpha.numpy(), wanted["polarizability_e2A2_per_eV"], **EXACT)
    np.testing.assert_allclose(model.born_charges(system, neighbors).numpy(), wanted["born_e"], **EXACT)
    if wanted["dipole_eA"] is not None:
        dipole = model.scale.vectors(found.dipole, system)[0]
        np.testing.assert_allclose(dipole.numpy(), wanted["dipole_eA"], **EXACT)


def test_dynamics_take_the_same_steps(tmp_path: Path) -> None:
    settings = MDSettings(
        ensemble="nve", steps=240, equilibration_steps=20, temperature_K=50, timestep_fs=0.5, dtype="float64", seed=3
    )
    with torch.no_grad():
        Simulation(model_of("model_v4"), start(), settings, tmp_path / "run.h5").run()
    again = read_run(tmp_path / "run.h5")
    wanted = EXPECTED["md"]
    np.testing.assert_allclose(np.asarray(again.positions_A)[-1, 0], wanted["positions_A"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.asarray(again.energy_eV)[-1], wanted["energy_eV"], **EXACT)
    np.testing.assert_allclose(np.asarray(again.dipole_eA)[-1, 0], wanted["dipole_eA"], rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")  # 120 fs
def test_a_run_file_of_the_first_version_gives_its_spectra(run: Run) -> None:
    wanted = EXPECTED["spectra"]
    infrared = run_spectrum(run, "ir", **SETTINGS)
    np.testing.assert_allclose(infrared.wavenumber_per_cm, wanted["wavenumber_per_cm"], **EXACT)
    np.testing.assert_allclose(infrared.alpha_n_per_cm, wanted["ir"], rtol=1e-10)
    np.testing.assert_allclose(run_spectrum(run, "raman", **SETTINGS).vv, wanted["raman"], rtol=1e-10)
    np.testing.assert_allclose(run_spectrum(run, "vdos", **SETTINGS).total, wanted["vdos"], rtol=1e-10)
