"""From a structure and a model to the report, with an untrained model: the tensors are those of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

import spectra_app
from spectra_app.born import born_charges
from spectra_app.config import ModelSettings
from spectra_app.errors import StructureError
from spectra_app.potentials import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from tests.random_weights import with_known_material, with_random_weights

WATER = Atoms("OH2", [[0.1, 0.2, 0.3], [1.06, 0.2, 0.3], [-0.14, 1.13, 0.3]], cell=[6.0, 6.5, 7.0], pbc=True)


@pytest.fixture(scope="module")
def model() -> Potential:
    torch.manual_seed(1)
    settings = ModelSettings(variant="pu", channels=8, layers=1, cutoff_A=2.5)
    return with_known_material(with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.78).double().eval()))


def test_report_holds_the_tensors_of_the_model(model: Potential) -> None:
    report = born_charges(model, WATER, reference=np.zeros((3, 9)))
    system = from_ase(WATER)
    expected = model.born_charges(system, build_neighbors(system, model.cutoff)).detach().numpy()
    assert report.born_e == pytest.approx(expected)
    assert np.abs(expected).max() > 1e-3
    assert report.sum_rule_max_e < 1e-9  # exact in the charge-conserving variant
    assert report.eps_inf == 1.78
    assert report.comparison is not None
    assert spectra_app.born_charges is born_charges


def test_molecule_has_no_screening(model: Potential) -> None:
    molecule = WATER.copy()
    molecule.pbc = False
    report = born_charges(model, molecule)
    assert report.eps_inf is None
    assert report.cell_A is None


def test_unknown_element_is_named(model: Potential) -> None:
    with pytest.raises(StructureError, match="Xe"):
        born_charges(model, Atoms("Xe", [[0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(("factor", "message"), [(0.529177, "0.5[0-9] times"), (1 / 0.529177, "1.8[0-9] times.*Bohr")])
def test_lengths_in_another_unit_are_refused(model: Potential, factor: float, message: str) -> None:
    atoms = WATER.copy()
    atoms.set_cell(WATER.cell.array * factor, scale_atoms=True)
    with pytest.raises(StructureError, match=rf"structure, atoms 0 \(O\) and . \(H\), .* A apart.*{message}"):
        born_charges(model, atoms)
