"""Sites of a crystal: Wyckoff letters, tensors that the site allows, nominal and anomalous charges, agreement."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.spacegroup import crystal

from spectra_app.born import (
    average_over_symmetry,
    born_by_site,
    born_json,
    build_born_report,
    find_symmetry,
    format_born_report,
    format_vasp,
)
from spectra_app.jobs.born_of_run import write_born
from spectra_app.plotting import figure_born

PEROVSKITE = Atoms(
    "BaTiO3",
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    cell=[4.0] * 3,
    pbc=True,
)
# Ghosez, Michenaud, Gonze, Phys. Rev. B 58, 6224 (1998): Ba, Ti, O along and across the Ti-O bond
ALONG, ACROSS = -5.69, -2.11


def cubic() -> np.ndarray:
    born = np.stack([2.77 * np.eye(3), 7.25 * np.eye(3), *[ACROSS * np.eye(3)] * 3])
    for atom, axis in ((2, 2), (3, 1), (4, 0)):
        born[atom, axis, axis] = ALONG
    return born


def symmetry_of(atoms: Atoms):
    return find_symmetry(atoms.positions, atoms.numbers, np.asarray(atoms.cell.array))


def test_sites_of_a_cubic_perovskite() -> None:
    born, noise = cubic(), np.random.default_rng(0).normal(scale=0.01, size=(5, 3, 3))
    sites = born_by_site(born + noise, PEROVSKITE.numbers, symmetry_of(PEROVSKITE), {"Ba": 2, "Ti": 4, "O": -2}, born)
    assert [(site.symbol, site.wyckoff, len(site.atoms)) for site in sites] == [
        ("Ba", "1a", 1),
        ("Ti", "1b", 1),
        ("O", "3c", 3),
    ]
    barium, titanium, oxygen = sites
    assert titanium.anomalous_e == pytest.approx(3.25, abs=0.02)
    assert titanium.strongly_anomalous
    assert oxygen.strongly_anomalous  # one eigenvalue, though the mean is not far away
    assert oxygen.eigenvalues_e == pytest.approx((ALONG, ACROSS, ACROSS), abs=0.02)
    assert barium.site_symmetry == "m-3m"
    assert oxygen.asymmetry_e == pytest.approx(np.abs(noise[2:]).max(), abs=0.02)
    assert oxygen.rmse_e == pytest.approx(np.sqrt((noise[2:] ** 2).mean()), rel=1e-9)
    assert oxygen.slope == pytest.approx(1.0, abs=0.01)
    assert oxygen.worst_atom == 2 + int(np.abs(noise[2:]).max(axis=(1, 2)).argmax())


def test_a_supercell_has_the_letters_of_the_conventional_cell() -> None:
    quartz = crystal(
        ("Si", "O"), [(0.47, 0, 2 / 3), (0.41, 0.27, 0.79)], spacegroup=154, cellpar=(4.9, 4.9, 5.4, 90, 90, 120)
    )
    wide = make_supercell(quartz, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])  # orthorhombic: the group of its lattice is lower
    for atoms in (quartz, quartz.repeat((1, 1, 2)), wide):
        symmetry = symmetry_of(atoms)
        assert set(symmetry.wyckoff) == {"3a", "6c"}
        sites = born_by_site(np.zeros((len(atoms), 3, 3)), atoms.numbers, symmetry)
        assert [site.wyckoff for site in sites] == ["3a", "6c"]
    fcc = Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True)
    assert symmetry_of(fcc).wyckoff == ("4a",)


def test_the_report_shows_sites_spread_and_slope(tmp_path) -> None:
    born = cubic()
    report = build_born_report(
        born,
        PEROVSKITE.numbers,
        PEROVSKITE.positions,
        np.asarray(PEROVSKITE.cell.array),
        symmetry=symmetry_of(PEROVSKITE),
        reference=2.0 * born,
        nominal_e={"Ba": 2, "Ti": 4, "O": -2},
        spread_e=np.full(5, 0.1),
        n_frames=7,
    )
    text = format_born_report(report)
    for piece in ("By crystallographic site", "O 3c", "+3.250 *", "slope", "mean over 7 frames", "m-3m"):
        assert piece in text, piece
    found = json.loads(json.dumps(born_json(report)))
    assert found["sites"][1]["anomalous_e"] == pytest.approx(3.25)
    assert found["n_frames"] == 7
    assert found["atoms"][0]["isotropic_std_over_frames_e"] == pytest.approx(0.1)
    assert report.comparison is not None
    assert report.comparison.total.slope == pytest.approx(0.5)
    assert len(figure_born(report).axes) == 3
    assert write_born(report, tmp_path / "born.pdf").stat().st_size > 1000


def test_vasp_layout() -> None:
    lines = format_vasp(np.arange(18.0).reshape(2, 3, 3), [8, 1]).splitlines()
    assert "BORN EFFECTIVE CHARGES" in lines[0]
    assert lines[2].split() == ["ion", "1"]
    assert lines[3].split() == ["1", "0.00000", "1.00000", "2.00000"]  # row: field, column: displacement
    assert lines[6].split() == ["ion", "2"]


def test_atoms_of_an_orbit_share_their_tensor() -> None:
    symmetry = symmetry_of(PEROVSKITE)
    averaged = average_over_symmetry(cubic(), symmetry)
    np.testing.assert_allclose(averaged, cubic(), atol=1e-12)
