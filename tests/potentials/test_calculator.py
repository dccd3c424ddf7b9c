from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from spectra_app.errors import ConfigError, StructureError
from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from tests.potentials.test_cells import TRICLINIC, potential_of, structure
from tests.toy_potential import ToyPotential, dumbbells


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
    screening = model.scale.eps_e
    assert screening == 1.5
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


def real_atoms(pbc: object = True, height: float = 0.0) -> Atoms:
    """The six atoms and the triclinic cell of test_potential; ``height``: as a slab along the second vector."""
    atoms = Atoms("OHHOHH", structure().positions.numpy(), cell=TRICLINIC, pbc=pbc)
    if height:
        atoms.cell[1] = (
            height * np.cross(TRICLINIC[2], TRICLINIC[0]) / np.linalg.norm(np.cross(TRICLINIC[2], TRICLINIC[0]))
        )
    return atoms


def test_calculator_in_a_field_is_consistent() -> None:
    field = np.array([0.2, -0.3, 0.1])
    atoms, free = real_atoms(), real_atoms()
    potential = potential_of("pu")  # eps_e is eps_inf, whatever the positions
    atoms.calc, free.calc = potential.calculator(field_V_per_A=tuple(field)), potential.calculator()
    np.testing.assert_allclose(
        atoms.get_potential_energy(), free.get_potential_energy() - free.get_dipole_moment() @ field, atol=1e-10
    )
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-7)
    atoms.calc = potential_of("puiu").calculator(field_V_per_A=tuple(field))
    free.calc = potential_of("puiu").calculator()
    free.get_potential_energy()
    induced = free.calc.results["polarizability"] @ field
    np.testing.assert_allclose(atoms.get_dipole_moment(), free.get_dipole_moment() + induced, atol=1e-12)
    np.testing.assert_allclose(
        atoms.get_potential_energy(),
        free.get_potential_energy() - free.get_dipole_moment() @ field - 0.5 * field @ induced,
        atol=1e-10,
    )
    with pytest.raises(ConfigError, match=r"field_V_per_A: got \(0, 1\), wanted three finite numbers"):
        potential.calculator(field_V_per_A=(0, 1))
    atoms.info["charge"] = 1.0
    atoms.calc.reset()
    with pytest.raises(ConfigError, match="external field: got charge 1 e, wanted a neutral structure"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("height", [16.0, 45.0])
def test_slab_stress_is_lateral_and_refers_to_the_volume_of_the_atoms(height: float) -> None:
    atoms = real_atoms([True, False, True], height)
    atoms.calc = potential_of("puiu").calculator()
    energy, stress = atoms.get_potential_energy(), atoms.get_stress(voigt=False)
    normal = atoms.cell[1] / height
    np.testing.assert_allclose(stress @ normal, 0.0, atol=1e-12)
    first = atoms.cell[0] / np.linalg.norm(atoms.cell[0])
    second = np.cross(normal, first)
    for a, b in ((first, first), (second, second), (first, second)):
        energies = []
        for size in (1e-4, -1e-4):
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * size * (np.outer(a, b) + np.outer(b, a))), True)
            moved.calc = potential_of("puiu").calculator()
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / 2e-4
        assert a @ stress @ b * atoms.get_volume() == pytest.approx(slope, rel=1e-4, abs=2e-6)
    # However high the cell: the energy is that of the slab in open space.
    other = real_atoms([True, False, True], 61.0 - height)
    other.calc = potential_of("puiu").calculator()
    assert energy == pytest.approx(other.get_potential_energy(), abs=1e-5)


def test_slab_keeps_its_vacuum_while_atoms_move_and_needs_a_cell_for_a_stress() -> None:
    atoms = real_atoms([True, False, True], 1.0)
    atoms.cell[1] = 0.0
    atoms.calc = potential_of("pu").calculator()
    atoms.get_potential_energy()
    before = atoms.calc._built_from.cell.clone()
    atoms.positions[0] += 0.4 * np.cross(TRICLINIC[2], TRICLINIC[0]) / 30.0
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-6)
    assert torch.equal(atoms.calc._built_from.cell, before)
    with pytest.raises(PropertyNotImplementedError, match="a stress refers to a volume"):
        atoms.get_stress()


def test_lengths_that_are_no_angstrom_are_refused_at_the_first_call_only() -> None:
    atoms = dumbbells()
    atoms.calc = SpectraCalculator(ToyPotential())
    whole = atoms.cell.array.copy()
    atoms.set_cell(whole * 0.529177, scale_atoms=True)
    with pytest.raises(StructureError, match=r"structure, atoms \d+ \(O\) and .* A apart.*0\.5\d times the sum"):
        atoms.get_potential_energy()
    atoms.set_cell(whole, scale_atoms=True)
    atoms.get_potential_energy()
    atoms.set_cell(whole * 0.65, scale_atoms=True)  # pressed on purpose
    assert np.isfinite(atoms.get_potential_energy())
