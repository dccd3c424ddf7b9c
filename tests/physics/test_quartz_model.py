"""The shipped quartz model: a stable crystal with the Born charges and the symmetry of alpha-quartz."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read

from spectra_app.born.charges import born_charges
from spectra_app.potentials.folder import load_model
from spectra_app.zoo import find_model

pytestmark = pytest.mark.physics


@pytest.fixture(scope="module")
def model():
    return load_model("quartz")


@pytest.fixture(scope="module")
def atoms():
    return read(find_model("quartz") / "start.extxyz")


def test_the_card_states_errors_and_material(model):
    assert model.card.errors["validation_forces_rmse_meV_per_A"] <= 25.0
    assert model.card.eps_inf == pytest.approx(2.38)
    assert model.species == ("O", "Si")


def test_start_structure_is_relaxed_alpha_quartz(model, atoms):
    assert len(atoms) == 72
    density = atoms.get_masses().sum() * 1.66053906892 / atoms.get_volume()
    assert density == pytest.approx(2.54, abs=0.03)  # g/cm^3, PBE lattice; experiment 2.65
    atoms.calc = model.calculator()
    assert np.abs(atoms.get_forces()).max() < 0.01
    silicon, oxygen = np.nonzero(atoms.numbers == 14)[0], np.nonzero(atoms.numbers == 8)[0]
    bonds = np.array([np.sort(atoms.get_distances(i, oxygen, mic=True))[:5] for i in silicon])
    assert bonds[:, :4] == pytest.approx(1.62, abs=0.03)
    assert bonds[:, 4].min() > 2.5


def test_born_charges_of_quartz(model, atoms):
    born = np.asarray(born_charges(model, atoms).born_e)
    means = np.trace(born, axis1=1, axis2=2) / 3
    # LDA: 3.02, 3.63, 3.45 for silicon (Gonze, Allan, Teter, DOI 10.1103/PhysRevLett.68.3603); oxygen balances it.
    assert means[atoms.numbers == 14] == pytest.approx(3.37, abs=0.15)
    assert means[atoms.numbers == 8] == pytest.approx(-3.37 / 2, abs=0.08)
    assert np.abs(born.sum(axis=0)).max() < 1e-4
    # Threefold axis along z: the mean over all silicon atoms is isotropic in the plane.
    silicon = born[atoms.numbers == 14].mean(axis=0)
    assert silicon[0, 0] == pytest.approx(silicon[1, 1], abs=0.02)
    assert np.abs(silicon - np.diag(np.diag(silicon))).max() < 0.02
