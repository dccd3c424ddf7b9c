from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from toy_potential import ToyPotential, dumbbells

from spectra_app.errors import StructureError
from spectra_app.neighbors import build_neighbors
from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.system import from_ase


def test_forces_and_stress_are_derivatives_of_the_energy() -> None:
    atoms = dumbbells()
    atoms.calc = SpectraCalculator(ToyPotential())
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-6)
    # ASE strains wrapped bonds as they stand; the toy's bonds are whole.
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-7)
    assert atoms.get_stress().shape == (6,)


def test_dipole_and_polarizability_are_physical() -> None:
    atoms = dumbbells()
    model = ToyPotential()
    atoms.calc = SpectraCalculator(model)
    system = from_ase(atoms)
    prediction = model(system, build_neighbors(system, model.cutoff))
    screening = float(prediction.screening[0])
    assert screening != pytest.approx(1.0, abs=0.1)
    charges = np.where(np.arange(16) % 2 == 0, 0.4, -0.4)
    np.testing.assert_allclose(atoms.get_dipole_moment(), screening**0.5 * charges @ atoms.positions, rtol=1e-12)
    np.testing.assert_allclose(atoms.get_charges(), charges)
    bonds = atoms.positions[1::2] - atoms.positions[::2]
    expected = screening * 2.0 * np.einsum("bx,by->xy", bonds, bonds)
    np.testing.assert_allclose(atoms.calc.results["polarizability"], expected, rtol=1e-12)


def test_only_what_is_asked_is_computed() -> None:
    atoms = dumbbells()
    model = ToyPotential()
    atoms.calc = SpectraCalculator(model)
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_dipole_moment()
    assert model.n_calls == 1
    assert "born_charges" not in atoms.calc.results
    born = atoms.calc.get_property("born_charges", atoms)
    assert model.n_calls == 2
    assert born.shape == (16, 3, 3)
    np.testing.assert_array_equal(born, atoms.calc.get_property("born_effective_charges", atoms))
    atoms.get_potential_energy()
    assert model.n_calls == 2
    atoms.get_stress()
    assert model.n_calls == 3


def test_reading_a_costly_result_computes_it() -> None:
    atoms = dumbbells()
    atoms.calc = SpectraCalculator(ToyPotential())
    atoms.get_potential_energy()
    born = atoms.calc.results["born_charges"]
    np.testing.assert_array_equal(born, atoms.calc.get_property("born_charges", atoms))
    np.testing.assert_array_equal(atoms.calc.results["stress"], atoms.get_stress())
    atoms.positions[0] += 0.01
    atoms.get_potential_energy()
    assert "born_charges" not in atoms.calc.results
    with pytest.raises(KeyError):
        atoms.calc.results["magmoms"]


def test_neighbor_table_is_reused_within_the_skin_and_rebuilt_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    import spectra_app.potentials.calculator as module

    built: list[float] = []

    def counting(system, cutoff):  # type: ignore[no-untyped-def]
        built.append(cutoff)
        return build_neighbors(system, cutoff)

    monkeypatch.setattr(module, "build_neighbors", counting)
    atoms = dumbbells()
    atoms.calc = SpectraCalculator(ToyPotential(), skin_A=0.4)
    model = ToyPotential()
    rng = np.random.default_rng(0)
    for _ in range(20):
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        system = from_ase(atoms)
        fresh = float(model(system, build_neighbors(system, model.cutoff)).energy[0])
        assert atoms.get_potential_energy() == pytest.approx(fresh, abs=1e-11)
    assert built[0] == pytest.approx(3.4)
    assert 1 < len(built) < 12
    n_built = len(built)
    atoms.set_cell(atoms.cell.array * 1.001)
    atoms.get_potential_energy()
    assert len(built) == n_built + 1


def test_float32_model_gives_float64_results() -> None:
    atoms = dumbbells()
    atoms.calc = SpectraCalculator(ToyPotential(torch.float32))
    assert atoms.get_forces().dtype == np.float64
    reference = dumbbells()
    reference.calc = SpectraCalculator(ToyPotential())
    np.testing.assert_allclose(atoms.get_forces(), reference.get_forces(), atol=1e-3)


def test_impossible_requests_are_refused() -> None:
    atoms = dumbbells()
    atoms.symbols[0] = "Xe"
    atoms.calc = SpectraCalculator(ToyPotential())
    with pytest.raises(StructureError, match="element Xe"):
        atoms.get_potential_energy()
    atoms = dumbbells()
    atoms.pbc = False
    atoms.calc = SpectraCalculator(ToyPotential())
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="open structure"):
        atoms.get_stress()
