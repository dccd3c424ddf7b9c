"""The harmonic limit from structure to files, with a shipped model and with springs; edges and wrong input."""

from __future__ import annotations

import csv
import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.spacegroup import crystal

from spectra_app import load_model
from spectra_app.config import HarmonicSettings
from spectra_app.errors import ConfigError, StructureError
from spectra_app.harmonic.relaxation import relax
from spectra_app.jobs.harmonic_files import write_harmonic
from spectra_app.jobs.harmonic_structure import kind_of
from spectra_app.jobs.normal_modes import harmonic_limit


def quartz() -> Atoms:
    """Alpha-quartz, 9 atoms."""
    places = [(0.4697, 0.0, 2.0 / 3.0), (0.4135, 0.2669, 0.1191 + 2.0 / 3.0)]
    cell = (4.9853, 4.9853, 5.4785, 90.0, 90.0, 120.0)
    return crystal(("Si", "O"), places, spacegroup=154, cellpar=cell)


@pytest.fixture(scope="module")
def crystal_limit():
    return harmonic_limit(load_model("quartz", dtype="float64"), quartz(), HarmonicSettings(geometries=("z(xx)z",)))


@pytest.fixture(scope="module")
def water():
    return load_model("water", dtype="float64")


def test_quartz_has_the_modes_of_its_group(crystal_limit) -> None:
    assert crystal_limit.spacegroup == "P3_221 (154)"
    names = crystal_limit.representations
    assert [names.count(name) for name in ("A1", "A2", "E")] == [4, 4, 16]
    assert crystal_limit.infrared is not None
    assert crystal_limit.raman is not None
    active = {"A1": (False, True), "A2": (True, False), "E": (True, True)}
    strong = crystal_limit.infrared.intensities_km_per_mol.max()
    for place, name in enumerate(names):
        infrared = crystal_limit.infrared.intensities_km_per_mol[place] > 1e-8 * strong
        raman = crystal_limit.raman.activities_A4_per_amu[place] > 1e-6
        assert (infrared, raman) == active[name], place
    assert crystal_limit.warnings == ()
    assert np.abs(crystal_limit.modes.rigid_per_cm).max() < 1.0
    # transverse and longitudinal bands of alpha-quartz (Gonze et al., Phys. Rev. Lett. 68, 3603, 1992; cm^-1)
    strongest = max(crystal_limit.splittings["0 0 1"], key=lambda one: one.strength * one.transverse_per_cm**2)
    assert strongest.transverse_per_cm == pytest.approx(1060.0, abs=40.0)
    assert strongest.longitudinal_per_cm - strongest.transverse_per_cm == pytest.approx(160.0, abs=20.0)


def test_a_supercell_has_the_spectrum_of_its_primitive_cell(crystal_limit) -> None:
    model = load_model("quartz", dtype="float64")
    double = make_supercell(quartz(), np.diag([1, 1, 2]))
    large = harmonic_limit(model, double)
    assert len(large.modes.frequencies_per_cm) == 51
    np.testing.assert_allclose(
        large.infrared_spectrum.alpha_n_per_cm[:1300], crystal_limit.infrared_spectrum.alpha_n_per_cm[:1300], rtol=1e-3
    )
    total = [one.raman_spectrum.total[:1300].sum() for one in (large, crystal_limit)]
    assert total[0] == pytest.approx(2.0 * total[1], rel=1e-3)  # of twice the crystal
    reduced = harmonic_limit(model, double, HarmonicSettings(primitive=True))
    assert len(reduced.atoms) == 9
    np.testing.assert_allclose(reduced.modes.frequencies_per_cm, crystal_limit.modes.frequencies_per_cm, atol=0.05)


def test_every_file_is_written_and_read_back(crystal_limit, tmp_path) -> None:
    files = write_harmonic(crystal_limit, tmp_path, HarmonicSettings(geometries=("z(xx)z",)))
    assert {path.name for path in files} == {path.name for path in tmp_path.iterdir()}
    lines = [line for line in (tmp_path / "modes.csv").read_text().splitlines() if not line.startswith("#")]
    table = list(csv.DictReader(lines))
    found = [float(row["wavenumber_per_cm"]) for row in table]
    np.testing.assert_allclose(found, crystal_limit.modes.frequencies_per_cm, rtol=1e-7)
    assert "raman_z(xx)z_A4_per_amu" in table[0]
    report = json.loads((tmp_path / "harmonic.json").read_text())
    assert len(report["modes"]["wavenumber_per_cm"]) == 24
    assert report["modes"]["depolarization"][[row["representation"] for row in table].index("A2")] is None
    films = ase.io.read(tmp_path / "modes.xyz", index=":")
    assert len(films) == 24
    assert len(ase.io.read(tmp_path / "relaxed.extxyz")) == 9
    molden = (tmp_path / "modes.molden").read_text()
    assert molden.count("vibration ") == 24
    assert molden.startswith("[Molden Format]\n[FREQ]")
    assert "TO, cm^-1" in (tmp_path / "harmonic.txt").read_text()


def test_a_molecule_has_km_per_mol_and_isotopes_shift_it(water) -> None:
    limit = harmonic_limit(water, molecule("H2O"))
    assert (limit.kind, len(limit.modes.frequencies_per_cm), limit.cell) == ("molecule", 3, None)
    bend, symmetric, antisymmetric = limit.modes.frequencies_per_cm
    assert 1500 < bend < 1700 < 3600 < symmetric < antisymmetric < 4100
    assert limit.infrared_spectrum.main == "intensity_km_per_mol"
    heavy = harmonic_limit(water, molecule("H2O"), HarmonicSettings(masses={"H": 2.014}))
    np.testing.assert_allclose(heavy.modes.frequencies_per_cm / limit.modes.frequencies_per_cm, 0.73, atol=0.02)
    mixed = harmonic_limit(water, molecule("H2O"), HarmonicSettings(masses={"1": 2.014}))
    assert heavy.modes.frequencies_per_cm[0] < mixed.modes.frequencies_per_cm[0] < bend
    thermo = limit.thermochemistry
    assert thermo.model == "ideal gas"
    assert thermo.zero_point_eV == pytest.approx(0.5 * limit.modes.frequencies_per_cm.sum() * 1.239841984e-4, rel=1e-6)


def test_differences_give_the_same_modes(water) -> None:
    exact = harmonic_limit(water, molecule("H2O"))
    other = harmonic_limit(water, molecule("H2O"), HarmonicSettings(method="differences"))
    np.testing.assert_allclose(other.modes.frequencies_per_cm, exact.modes.frequencies_per_cm, rtol=1e-5)
    np.testing.assert_allclose(other.infrared.intensities_km_per_mol, exact.infrared.intensities_km_per_mol, rtol=1e-4)


def test_no_minimum_is_named_and_shown(tmp_path) -> None:
    pushed = quartz()
    pushed.positions[0] += [0.5, 0.3, 0.2]
    limit = harmonic_limit(load_model("quartz", dtype="float64"), pushed, HarmonicSettings(relax="no"))
    n = len(limit.modes.imaginary)
    assert n == limit.thermochemistry.left_out > 0
    assert f"{n} imaginary modes" in " ".join(limit.warnings)
    assert "not relaxed" in limit.warnings[0]
    names = {path.name for path in write_harmonic(limit, tmp_path)}
    assert {f"imaginary_{place + 1}.extxyz" for place in range(n)} <= names
    film = ase.io.read(tmp_path / "imaginary_1.extxyz", index=":")
    assert film[0].info["wavenumber_per_cm"] < 0.0
    assert len(film) == 20


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"masses": {"He": 4.0}}, StructureError, "masses, He: got no such element"),
        ({"masses": {"7": 4.0}}, StructureError, "masses, atom 7: got 3 atoms"),
        ({"masses": {"H": -1.0}}, ConfigError, "masses, H: got -1 amu"),
        ({"primitive": True}, StructureError, "primitive cell: got no crystal"),
        ({"relax": "cell"}, StructureError, "relaxation of the cell: got no periodic cell"),
        (
            {"max_steps": 1, "force_eV_per_A": 1e-7},
            StructureError,
            r"relaxation of H2O: got forces .*--max-steps",
        ),
    ],
)
def test_wrong_input_is_one_line(water, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        harmonic_limit(water, molecule("H2O"), HarmonicSettings(**settings))


def test_a_wire_is_refused_and_a_slab_is_not() -> None:
    atoms = Atoms("H", cell=np.eye(3) * 5, pbc=[True, False, False])
    with pytest.raises(StructureError, match="one periodic direction"):
        kind_of(atoms)
    atoms.pbc = [True, True, False]
    assert kind_of(atoms) == "slab"


class Bursting(Calculator):
    """An energy that falls without end as the cell grows."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        volume = self.atoms.cell.volume
        self.results = {
            "energy": -0.1 * volume,
            "forces": np.zeros((len(self.atoms), 3)),
            "stress": np.array([-0.1, -0.1, -0.1, 0, 0, 0]),
        }


def test_a_cell_that_goes_to_pieces_is_refused() -> None:
    with pytest.raises(StructureError, match=r"relaxation of the cell: got a strain of .* does not hold"):
        relax(quartz(), Bursting(), cell="free")


def test_a_relaxation_into_a_hole_of_the_model_is_noticed() -> None:
    wrong = crystal(
        ("Si", "O"),
        [(0.4697, 0.0, 1.0 / 3.0), (0.4135, 0.2669, 0.4525)],
        spacegroup=152,
        cellpar=(4.9853, 4.9853, 5.4785, 90.0, 90.0, 120.0),
    )
    found = harmonic_limit(load_model("quartz", dtype="float64"), wrong)
    assert any("which no molecule has" in line or "still the structure" in line for line in found.warnings)
