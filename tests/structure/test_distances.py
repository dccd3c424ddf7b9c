"""Distances over covalent radii: what is refused, and what is called what."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from spectra_app.errors import StructureError
from spectra_app.structure.distances import check_distances, median_ratio, nearest_neighbors
from spectra_app.units import BOHR_TO_ANGSTROM


def water(n: int = 2, spacing: float = 3.1) -> Atoms:
    """n^3 molecules on a lattice, each turned its own way."""
    rng = np.random.default_rng(3)
    box = Atoms(cell=[n * spacing] * 3, pbc=True)
    for place in np.ndindex(n, n, n):
        one = molecule("H2O")
        one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
        one.translate((np.array(place) + 0.5) * spacing - one.get_center_of_mass())
        box += one
    return box


def check(atoms: Atoms, stretched: bool = True) -> None:
    check_distances(
        atoms.positions, atoms.numbers, atoms.cell.array if atoms.pbc.all() else None, "box", stretched=stretched
    )


def scaled(atoms: Atoms, factor: float) -> Atoms:
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return changed


@pytest.mark.parametrize(
    "atoms",
    [
        water(), molecule("N2"), molecule("C2H2"), molecule("CO2"), molecule("H2"), bulk("NaCl", "rocksalt", 5.64),
        bulk("Cu"), bulk("CsCl", "cesiumchloride", 4.12), bulk("Ar", "fcc", 5.26), bulk("Ne", "fcc", 4.46),
        bulk("Si"), Atoms("Ar"), Atoms("NaCl", positions=[[0, 0, 0], [5, 0, 0]]),
    ],
    ids=lambda atoms: atoms.get_chemical_formula(),
)  # fmt: skip
def test_matter_passes(atoms: Atoms) -> None:
    check(atoms)


def test_lengths_converted_once_too_often_are_named_with_the_closest_pair() -> None:
    with pytest.raises(StructureError, match=r"box, atoms (\d+) \(O\) and \d+ \(H\), 0\.51\d A apart: .*0\.5\d times"):
        check(scaled(water(), BOHR_TO_ANGSTROM))


def test_bohr_read_as_angstrom_is_named() -> None:
    with pytest.raises(StructureError, match=r"1\.830 A apart: got nearest neighbours at 1\.89 times .*Bohr read as A"):
        check(scaled(water(), 1 / BOHR_TO_ANGSTROM))
    check(scaled(water(), 1 / BOHR_TO_ANGSTROM), stretched=False)


def test_cell_in_another_unit_is_told_from_positions_in_one() -> None:
    atoms = molecule("C6H6")
    atoms.set_cell([9.0, np.ptp(atoms.positions[:, 1]) + 0.28, 9.0])
    atoms.pbc = True
    with pytest.raises(StructureError, match=r"through a face of the cell: .*Check the cell: its unit"):
        check(atoms)


def test_an_atom_that_is_there_twice_is_named() -> None:
    atoms = water() + Atoms("O", positions=[water().positions[6] + [0.45, 0.0, 0.0]])
    with pytest.raises(StructureError, match=r"atoms 6 \(O\) and 24 \(O\), 0\.450 A apart: got 0\.34 .* there twice"):
        check(atoms)


def test_ratios_by_hand() -> None:
    found = nearest_neighbors(np.array([[0.0, 0, 0], [1.0, 0, 0], [50.0, 0, 0]]), np.array([8, 1, 1]), None)
    np.testing.assert_allclose(found.ratio, [1.0 / 0.97, 1.0 / 0.97, np.inf])  # radii 0.66 and 0.31 A
    assert median_ratio(found.ratio) == pytest.approx(1.0 / 0.97)
    assert found.closest is not None
    assert str(found.closest) == "atoms 0 (O) and 1 (H), 1.000 A apart"
    assert median_ratio(np.array([np.inf])) is None
