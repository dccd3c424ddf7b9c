"""Averaging over a hexagonal space group, and files that other programs read back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spectra_app.born import (
    average_over_symmetry,
    average_tensor,
    find_symmetry,
    format_espresso,
    format_phonopy_born,
    format_plain,
    write_text,
)
from spectra_app.errors import DatasetError, MissingExtraError, SpectraAppError, StructureError

ORIENTATION = Rotation.from_euler("zyx", [0.4, -0.9, 1.3]).as_matrix()  # no crystal axis along x, y or z
NINE = np.array([[1.1, 0.2, -0.3], [0.45, 1.9, 0.61], [-0.72, 0.83, 2.4]])
NUMBERS = np.array([8, 8, 8, 14])


def polar_hexagonal_crystal() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P3: a general orbit of three oxygens around a silicon on the axis; positions, cell, threefold rotation."""
    a, c = 4.9, 7.3
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]) @ ORIENTATION.T
    x, y, z = 0.21, 0.34, 0.47
    fractional = np.array([[x, y, z], [-y, x - y, z], [y - x, -x, z], [0.0, 0.0, 0.12]])
    axis = ORIENTATION[:, 2]
    return fractional @ cell, cell, Rotation.from_rotvec(axis * 2 * np.pi / 3).as_matrix()


def symmetric_charges(turn: np.ndarray) -> np.ndarray:
    """Tensors of the crystal, written out with the threefold rotation: oxygens turned, silicon invariant."""
    axis = ORIENTATION[:, 2]
    uniaxial = 2.0 * np.eye(3) + 0.7 * np.outer(axis, axis) + 0.4 * np.cross(np.eye(3), axis)  # C3 allows the last term
    return np.stack([NINE, turn @ NINE @ turn.T, turn.T @ NINE @ turn, uniaxial])


class TestSymmetry:
    """Needs spglib."""

    @pytest.fixture(autouse=True)
    def _spglib(self) -> None:
        pytest.importorskip("spglib")

    def test_group_and_orbits(self) -> None:
        positions, cell, turn = polar_hexagonal_crystal()
        symmetry = find_symmetry(positions, NUMBERS, cell)
        assert symmetry.spacegroup == "P3 (143)"
        assert symmetry.independent.tolist() == [0, 3]
        assert symmetry.orbit_of.tolist() == [0, 0, 0, 3]
        found = [k for k, rotation in enumerate(symmetry.rotations) if np.allclose(rotation, turn, atol=1e-8)]
        assert symmetry.permutations[found[0]].tolist() == [1, 2, 0, 3]

    def test_symmetric_tensors_are_left_alone(self) -> None:
        positions, cell, turn = polar_hexagonal_crystal()
        born = symmetric_charges(turn)
        symmetry = find_symmetry(positions, NUMBERS, cell)
        assert average_over_symmetry(born, symmetry) == pytest.approx(born, abs=1e-10)
        assert average_over_symmetry(np.swapaxes(born, 1, 2), symmetry) == pytest.approx(np.swapaxes(born, 1, 2))

    def test_a_charge_on_one_atom_is_shared_by_its_orbit(self) -> None:
        positions, cell, turn = polar_hexagonal_crystal()
        born = np.zeros((4, 3, 3))
        born[1] = NINE
        averaged = average_over_symmetry(born, find_symmetry(positions, NUMBERS, cell))
        # atom 1 comes from atom 0 by the rotation: atom 2 by another, atom 0 by turning back
        expected = [turn.T @ NINE @ turn / 3, NINE / 3, turn @ NINE @ turn.T / 3, np.zeros((3, 3))]
        assert averaged == pytest.approx(np.stack(expected), abs=1e-10)

    def test_the_average_is_a_projection_and_keeps_the_sum_rule(self) -> None:
        positions, cell, _ = polar_hexagonal_crystal()
        symmetry = find_symmetry(positions, NUMBERS, cell)
        noisy = np.random.default_rng(3).normal(size=(4, 3, 3))
        noisy -= noisy.mean(axis=0)
        once = average_over_symmetry(noisy, symmetry)
        assert average_over_symmetry(once, symmetry) == pytest.approx(once, abs=1e-12)
        assert once.sum(axis=0) == pytest.approx(np.zeros((3, 3)), abs=1e-12)

    def test_dielectric_tensor_becomes_uniaxial(self) -> None:
        positions, cell, _ = polar_hexagonal_crystal()
        axis = ORIENTATION[:, 2]
        averaged = average_tensor(np.diag([2.0, 3.0, 4.0]), find_symmetry(positions, NUMBERS, cell))
        along = axis @ np.diag([2.0, 3.0, 4.0]) @ axis
        expected = along * np.outer(axis, axis) + (9.0 - along) / 2 * (np.eye(3) - np.outer(axis, axis))
        assert averaged == pytest.approx(expected, abs=1e-10)

    def test_triclinic_crystal_has_no_symmetry_to_average(self) -> None:
        rng = np.random.default_rng(4)
        cell = np.array([[5.0, 0.3, -0.2], [1.1, 6.0, 0.4], [-0.7, 0.9, 7.0]])
        fractional = np.array([[0.0, 0.0, 0.0], [0.3, 0.41, 0.17], [0.62, 0.13, 0.55]])
        born = rng.normal(size=(3, 3, 3))
        symmetry = find_symmetry(fractional @ cell, np.array([22, 8, 8]), cell)
        assert symmetry.spacegroup == "P1 (1)"
        assert average_over_symmetry(born, symmetry) == pytest.approx(born)

    def test_triclinic_inversion_pairs_atoms_with_equal_tensors(self) -> None:
        cell = np.array([[5.0, 0.3, -0.2], [1.1, 6.0, 0.4], [-0.7, 0.9, 7.0]])
        fractional = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
        born = np.stack([NINE, NINE + np.arange(9.0).reshape(3, 3)])
        averaged = average_over_symmetry(born, find_symmetry(fractional @ cell, np.array([8, 8]), cell))
        assert averaged == pytest.approx(np.stack([born.mean(axis=0)] * 2))

    def test_unwrapped_atoms_are_matched(self) -> None:
        positions, cell, turn = polar_hexagonal_crystal()
        positions = positions + np.array([[0, 0, 0], [3, -2, 1], [-1, 0, 0], [0, 5, 0]]) @ cell
        born = symmetric_charges(turn)
        assert average_over_symmetry(born, find_symmetry(positions, NUMBERS, cell)) == pytest.approx(born, abs=1e-10)

    def test_flat_cell_is_refused(self) -> None:
        with pytest.raises(StructureError, match="crystal symmetry"):
            find_symmetry(np.zeros((2, 3)), np.array([1, 1]), np.eye(3))  # two atoms on top of each other

    def test_phonopy_reads_and_expands_our_file(self, tmp_path: Path) -> None:
        pytest.importorskip("phonopy")
        from phonopy.file_IO import parse_BORN
        from phonopy.structure.atoms import PhonopyAtoms

        positions, cell, turn = polar_hexagonal_crystal()
        born = symmetric_charges(turn)
        symmetry = find_symmetry(positions, NUMBERS, cell)
        write_text(tmp_path / "BORN", format_phonopy_born(born, 2.38, symmetry))
        primitive = PhonopyAtoms(numbers=NUMBERS, cell=cell, positions=positions)
        read = parse_BORN(primitive, filename=tmp_path / "BORN")
        assert read["born"] == pytest.approx(born, abs=1e-6)  # all four atoms, expanded by phonopy
        assert read["dielectric"] == pytest.approx(2.38 * np.eye(3), abs=1e-6)

    def test_supercell_gives_the_file_of_its_primitive_cell(self) -> None:
        positions, cell, turn = polar_hexagonal_crystal()
        born = symmetric_charges(turn)
        double = np.concatenate([positions, positions + cell[2]])
        symmetry = find_symmetry(double, np.tile(NUMBERS, 2), cell * np.array([[1.0], [1.0], [2.0]]))
        single = format_phonopy_born(born, 2.0, find_symmetry(positions, NUMBERS, cell))
        assert format_phonopy_born(np.tile(born, (2, 1, 1)), 2.0, symmetry) == single


def test_missing_spglib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spglib", None)
    positions, cell, _ = polar_hexagonal_crystal()
    with pytest.raises(MissingExtraError, match=r"spectra-app\[phonopy\]"):
        find_symmetry(positions, NUMBERS, cell)


def test_phonopy_file_is_row_major_with_the_field_first() -> None:
    lines = format_phonopy_born(np.stack([NINE, -NINE]), [2.0, 3.0, 4.0]).splitlines()
    assert lines[0] == "default"
    assert [float(word) for word in lines[1].split()] == [2.0, 0, 0, 0, 3.0, 0, 0, 0, 4.0]
    assert [float(word) for word in lines[2].split()] == [1.1, 0.2, -0.3, 0.45, 1.9, 0.61, -0.72, 0.83, 2.4]
    assert len(lines) == 4
    assert "-0.00000000" not in lines[1]


def test_phonopy_conversion_factor_is_a_number_on_the_first_line() -> None:
    assert format_phonopy_born(NINE[None], 2.0, conversion_factor=14.4).splitlines()[0] == "14.40000000"


@pytest.mark.parametrize("eps_inf", [0.5, [1.0, 2.0], float("nan")])
def test_unphysical_eps_inf_is_refused(eps_inf: object) -> None:
    with pytest.raises(DatasetError, match="eps_inf"):
        format_phonopy_born(NINE[None], eps_inf)  # type: ignore[arg-type]


def test_espresso_rows_are_fields() -> None:
    text = format_espresso(NINE[None], [14], eps_inf=2.4)
    rows = re.findall(r"E([xyz])\s+\(\s*(\S+)\s+(\S+)\s+(\S+)\s*\)", text)
    assert [row[0] for row in rows] == ["x", "y", "z"]
    assert np.array([row[1:] for row in rows], dtype=float) == pytest.approx(NINE)
    assert "Dielectric constant in cartesian axis" in text
    assert "Mean Z*:         1.80000" in text


def test_plain_table_reads_back(tmp_path: Path) -> None:
    path = write_text(tmp_path / "born.dat", format_plain(np.stack([NINE, -NINE]), [14, 8]))
    assert np.loadtxt(path, usecols=range(1, 10)).reshape(-1, 3, 3) == pytest.approx(np.stack([NINE, -NINE]))


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder must be")
    with pytest.raises(SpectraAppError, match="writing"):
        write_text(tmp_path / "taken" / "BORN", "text")
    write_text(tmp_path / "BORN", "old")
    write_text(tmp_path / "BORN", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BORN", "taken"]
    assert (tmp_path / "BORN").read_text() == "new\n"
