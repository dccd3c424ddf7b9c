"""Phonons of quartz: the zone centre is that of the modes, long waves feel the model's own fields, phonopy reads it."""

from __future__ import annotations

import numpy as np
import phonopy
import pytest
from scipy.integrate import trapezoid

from spectra_app import load_model
from spectra_app.config import HarmonicSettings
from spectra_app.errors import StructureError
from spectra_app.harmonic.phonons import phonons
from spectra_app.harmonic.representations import PER_CM_PER_THZ
from spectra_app.jobs.harmonic_files import write_harmonic
from spectra_app.jobs.normal_modes import harmonic_limit
from spectra_app.plotting.harmonic_figure import save_harmonic_figures
from tests.harmonic.test_limit import quartz

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:phonopy.*")


@pytest.fixture(scope="module")
def model():
    return load_model("quartz", dtype="float64")


@pytest.fixture(scope="module")
def limit(model):
    return harmonic_limit(model, quartz(), HarmonicSettings(supercell=(1, 1, 2)))


def frequencies(made, wave_vector, direction=None):
    made.run_qpoints([wave_vector], nac_q_direction=direction)
    return np.sort(made.qpoints.frequencies[0]) * PER_CM_PER_THZ


def test_the_zone_centre_has_the_modes_of_the_cell(limit) -> None:
    assert limit.phonons is not None
    found = frequencies(limit.phonons.phonopy, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found[3:], limit.modes.frequencies_per_cm, atol=0.02)
    assert np.abs(found[:3]).max() < 0.1
    longitudinal = frequencies(limit.phonons.phonopy, [0.0, 0.0, 0.0], [0, 0, 1])
    for one in limit.splittings["0 0 1"]:
        assert np.abs(longitudinal - one.longitudinal_per_cm).min() < 0.05


def test_long_waves_feel_the_field_of_the_models_own_multipoles(model, limit) -> None:
    longer = phonons(
        model, limit.atoms, limit.modes.masses_amu, (1, 1, 4), limit.derivatives.born_e, limit.cell.eps_inf
    ).phonopy
    wave = [0.0, 0.0, 0.25]  # of four cells, exact there without any term of Born charges
    exact = frequencies(longer, wave)[-1]
    longer.nac_params = None
    assert frequencies(longer, wave)[-1] == pytest.approx(exact, abs=1e-3)
    short = limit.phonons.phonopy
    with_field = frequencies(short, wave)[-1]
    kept, short.nac_params = short.nac_params, None
    without = frequencies(short, wave)[-1]
    short.nac_params = kept
    assert with_field == pytest.approx(exact, abs=0.3)
    assert abs(without - exact) > 3.0


def test_files_are_read_by_phonopy(limit, tmp_path) -> None:
    names = {path.name for path in write_harmonic(limit, tmp_path)}
    assert {"bands.csv", "dos.csv", "phonopy_params.yaml", "BORN"} <= names
    again = phonopy.load(tmp_path / "phonopy_params.yaml", log_level=0)
    wave = [0.1, 0.2, 0.3]
    np.testing.assert_allclose(
        frequencies(again, wave), frequencies(limit.phonons.phonopy, wave), atol=1e-3 * PER_CM_PER_THZ
    )
    plain = phonopy.load(tmp_path / "phonopy_params.yaml", is_nac=False, log_level=0, born_filename=None)
    from phonopy.file_IO import parse_BORN

    born = parse_BORN(plain.primitive, filename=tmp_path / "BORN")
    np.testing.assert_allclose(born["born"], limit.derivatives.born_e, atol=1e-4)
    bands = np.loadtxt(tmp_path / "bands.csv", delimiter=",", skiprows=2)
    assert bands.shape == (51 * len(limit.phonons.bands_per_cm), 2 + 27)
    dos = np.loadtxt(tmp_path / "dos.csv", delimiter=",", skiprows=1)
    assert trapezoid(dos[:, 1], dos[:, 0]) == pytest.approx(27.0, rel=0.03)
    assert {path.name for path in save_harmonic_figures(limit, tmp_path)} >= {"harmonic.png", "phonons.png"}


def test_a_molecule_has_no_phonons(model) -> None:
    atoms = quartz()
    atoms.pbc = False
    with pytest.raises(StructureError, match="phonons: got no crystal"):
        phonons(model, atoms, atoms.get_masses(), (2, 2, 2), None, None)
