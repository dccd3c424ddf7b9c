"""The shipped water model does the main job: stable dynamics, sensible charges, the bands of water."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.io import read

from spectra_app.born.charges import born_charges
from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials.folder import load_model
from spectra_app.runs import read_run
from spectra_app.spectra import EstimatorSettings, infrared_spectrum, vdos
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.zoo import find_model

pytestmark = pytest.mark.physics
COARSE = EstimatorSettings(resolution_per_cm=200.0)  # what half a picosecond can resolve


@pytest.fixture(scope="module")
def atoms():
    return read(find_model("water") / "start.extxyz")


@pytest.fixture(scope="module")
def run(atoms, tmp_path_factory):
    """0.5 ps at constant energy."""
    path = tmp_path_factory.mktemp("water") / "run.h5"
    settings = MDSettings(ensemble="nve", steps=1000, equilibration_steps=0, trajectory_stride=2, seed=3)
    result = Simulation(load_model("water"), atoms, settings, path).run()
    return result, read_run(path)


def test_the_card_states_the_error_on_held_out_frames():
    card = load_model("water").card
    assert card.errors["test_forces_rmse_meV_per_A"] <= 25.0
    assert card.eps_inf == pytest.approx(1.78)
    assert card.species == ("H", "O")


def test_start_structure_has_the_density_of_the_training_data(atoms):
    assert len(atoms) == 192
    density = atoms.get_masses().sum() * 1.66053906892 / atoms.get_volume()
    assert density == pytest.approx(0.993, abs=0.002)  # g/cm^3


def test_energy_is_conserved_and_molecules_stay_whole(run):
    result, file = run
    assert abs(result.energy_drift_meV_per_atom_per_ps) < 1.0
    assert 250 < result.temperature_K < 350
    positions = np.asarray(file.positions_A[len(file.trajectory_step) - 1])[0]
    oxygen, hydrogen = positions[file.numbers == 8], positions[file.numbers == 1]
    cell = np.diag(np.asarray(file.cell_A))
    vectors = hydrogen[None] - oxygen[:, None]
    vectors -= cell * np.round(vectors / cell)
    assert ((np.linalg.norm(vectors, axis=-1) < 1.3).sum(axis=1) == 2).all()


def test_born_charges_are_sensible_and_obey_the_sum_rule(atoms):
    report = born_charges(load_model("water"), atoms)
    born, numbers = np.asarray(report.born_e), atoms.numbers
    means = np.trace(born, axis1=1, axis2=2) / 3
    # DFT in liquid water: oxygen near -1, hydrogen half of that (Pasquarello & Resta, DOI 10.1103/PhysRevB.68.174302).
    assert means[numbers == 8].mean() == pytest.approx(-1.0, abs=0.25)
    assert means[numbers == 1].mean() == pytest.approx(0.5, abs=0.12)
    assert np.abs(born.sum(axis=0)).max() < 1e-5


def test_bands_of_water_are_where_they_belong(run):
    _, file = run
    spectrum = infrared_spectrum(
        file.dipole_eA, timestep_fs=0.5, temperature_K=300.0, volume_A3=file.volume_A3, eps_inf=1.78, settings=COARSE
    )
    nu, alpha = spectrum.wavenumber_per_cm, spectrum.alpha_n_per_cm

    def area(low: float, high: float) -> float:
        inside = (nu > low) & (nu < high)
        return float(np.trapezoid(alpha[inside], nu[inside]))

    # cm^-2; measured: 6.8e6 and 2.2e6 (Bertie & Lan 1996, DOI 10.1366/0003702963905385); half a picosecond is rough
    assert 4e6 < area(2900, 3900) < 12e6
    assert 1e6 < area(300, 1000) < 5e6
    assert area(1500, 1800) > 2 * area(1900, 2200)  # the bend stands out of the gap above it
    assert area(2900, 3900) > 20 * area(4000, 4400)


def test_density_of_states_counts_the_degrees_of_freedom(run):
    _, file = run
    result = vdos(
        np.asarray(file.velocities_A_per_fs)[:, 0],
        file.masses_amu,
        timestep_fs=1.0,
        degrees_of_freedom=573,
        settings=COARSE,
    )
    assert np.trapezoid(result.total, result.wavenumber_per_cm) == pytest.approx(573, rel=0.02)


def test_restart_continues_bit_for_bit_with_the_real_model(atoms, tmp_path):
    model = load_model("water", dtype="float64")
    short = MDSettings(ensemble="nvt", steps=7, equilibration_steps=2, dtype="float64")
    long = short.model_copy(update={"steps": 12})
    Simulation(model, atoms, long, tmp_path / "whole.h5").run()
    Simulation(model, atoms, short, tmp_path / "parts.h5").run()
    Simulation(model, atoms, long, tmp_path / "parts.h5").run(restart=True)
    whole, parts = read_run(tmp_path / "whole.h5"), read_run(tmp_path / "parts.h5")
    for name in ("dipole_eA", "polarizability_e2A2_per_eV", "energy_eV", "temperature_K"):
        assert np.array_equal(np.asarray(getattr(whole, name)), np.asarray(getattr(parts, name))), name


def test_forces_of_the_trained_model_are_the_gradient(atoms):
    model = load_model("water", dtype="float64")
    system = from_ase(atoms)
    neighbors = build_neighbors(system, model.cutoff + 0.1)
    forces = model(system, neighbors).forces
    for atom, axis in ((0, 0), (5, 2), (100, 1)):
        energies = []
        for step in (1e-4, -1e-4):
            positions = system.positions.clone()
            positions[atom, axis] += step
            moved = system._replace(positions=positions)
            energies.append(model(moved, neighbors, forces=False).energy.item())
        assert forces[atom, axis].item() == pytest.approx((energies[1] - energies[0]) / 2e-4, abs=1e-5)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(atoms, device_cuda):
    system = from_ase(atoms, dtype=torch.float64)
    results = []
    for device in ("cpu", device_cuda):
        model = load_model("water", device=device, dtype="float64")
        moved = system.to(device)
        results.append(model(moved, build_neighbors(moved, model.cutoff)).forces.cpu().numpy())
    assert results[1] == pytest.approx(results[0], abs=1e-9)
