"""The shipped model of MAPbI3: Born charges of a lead halide, whole molecules, energy kept."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read

from spectra_app.born.charges import born_charges
from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials.folder import load_model
from spectra_app.runs import read_run
from spectra_app.zoo import find_model

pytestmark = pytest.mark.physics


@pytest.fixture(scope="module")
def atoms():
    return read(find_model("mapbi3") / "start.extxyz")


def test_the_card_states_the_error_on_held_out_frames():
    card = load_model("mapbi3").card
    assert card.errors["test_forces_rmse_meV_per_A"] <= 30.0
    assert card.eps_inf == pytest.approx(4.7)
    assert card.species == ("H", "C", "N", "I", "Pb")


def test_born_charges_are_those_of_a_lead_halide(atoms):
    born = np.asarray(born_charges(load_model("mapbi3"), atoms).born_e)
    mean = {element: np.trace(born[atoms.symbols == element], axis1=1, axis2=2).mean() / 3.0 for element in ("Pb", "I")}
    assert 3.6 <= mean["Pb"] <= 4.8  # 3.8 over the frames of the data
    assert -2.0 <= mean["I"] <= -1.4
    assert np.abs(born.sum(axis=0)).max() < 1e-4
    # Iodine moves charge along Pb-I-Pb, hardly across: its tensor is a needle.
    iodine = np.sort(np.linalg.eigvalsh(0.5 * (born + born.transpose(0, 2, 1))[atoms.symbols == "I"]), axis=1)
    assert iodine[:, 0].mean() < -2.5
    assert iodine[:, 1:].mean() > -1.6


def test_dynamics_keeps_energy_and_molecules(atoms, tmp_path):
    settings = MDSettings(ensemble="nve", steps=300, equilibration_steps=0, record_stride=10, temperature_K=300.0)
    result = Simulation(load_model("mapbi3"), atoms, settings, tmp_path / "run.h5").run()
    assert abs(result.energy_drift_meV_per_atom_per_ps) < 1.0
    last = read_run(tmp_path / "run.h5").positions_A
    moved = atoms.copy()
    moved.positions = np.asarray(last[len(last) - 1])[0]
    carbon, nitrogen, hydrogen = (np.flatnonzero(moved.symbols == symbol) for symbol in "CNH")
    distances = moved.get_all_distances(mic=True)
    assert ((distances[np.ix_(carbon, nitrogen)] < 1.7).sum(axis=1) == 1).all()
    for heavy in (carbon, nitrogen):
        assert ((distances[np.ix_(heavy, hydrogen)] < 1.3).sum(axis=1) == 3).all()
