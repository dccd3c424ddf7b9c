"""Files are complete, carry units, and can be read by others; peaks and verdicts say what they should."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from scipy import signal

import spectra_app
from spectra_app.errors import ConfigError, TrajectoryError
from spectra_app.spectra import (
    EstimatorSettings,
    Verdict,
    infrared_spectrum,
    raman_spectrum,
    uncertainty,
    vdos,
    writers,
)
from spectra_app.spectra.peaks import find_peaks

jcamp = pytest.importorskip("jcamp")


def noisy_modes(n_frames, seed=0):
    """Three stochastically driven, damped modes [frame, xyz] at 2 fs."""
    rng = np.random.default_rng(seed)
    out = np.zeros((n_frames, 3))
    for axis, wavenumber in enumerate((700.0, 1600.0, 3300.0)):
        angle = 2.0 * np.pi * 2.99792458e-5 * wavenumber * 2.0
        radius = 0.985
        noise = rng.normal(size=n_frames + 500)
        out[:, axis] = signal.lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], noise)[500:] / (
            1 + 5 * angle
        )
    return out


@pytest.fixture(scope="module")
def infrared():
    return infrared_spectrum(
        noisy_modes(40000), timestep_fs=2.0, temperature_K=300.0, volume_A3=1900.0, eps_inf=1.8, n_molecules=64
    )


@pytest.fixture(scope="module")
def raman():
    alpha = np.zeros((20000, 3, 3)) + np.eye(3)
    modes = noisy_modes(20000, seed=1)
    for axis in range(3):
        alpha[:, axis, axis] += 0.02 * modes[:, axis]
    return raman_spectrum(alpha, timestep_fs=2.0, temperature_K=300.0, geometries=["z(xx)z"])


def test_csv_round_trip_with_units_in_the_header(infrared, tmp_path):
    path = infrared.write_csv(tmp_path / "deep" / "ir.csv")
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert any(spectra_app.__version__ in line for line in comments)
    assert any("temperature_K: 300.0" in line for line in comments)
    body = lines[len(comments) :]
    names = body[0].split(",")
    assert names[:3] == ["wavenumber_per_cm [cm^-1]", "alpha_n_per_cm [cm^-1]", "alpha_n_per_cm_error [cm^-1]"]
    table = np.loadtxt(io.StringIO("\n".join(body[1:])), delimiter=",")
    np.testing.assert_allclose(table[:, 1], infrared.alpha_n_per_cm, rtol=1e-6)
    assert table.shape == (len(infrared.wavenumber_per_cm), len(infrared.columns()))


def test_hdf5_round_trip(raman, tmp_path):
    path = raman.write(tmp_path / "raman.h5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["vv"][:], raman.vv)
        assert file["vv"].attrs["unit"] == "1e-30 cm^2 sr^-1 per cm^-1"
        assert file["depolarization"].attrs["unit"] == "1"
        assert file["z(xx)z"].shape == raman.vv.shape
        assert len(file["peaks/position_per_cm"]) == len(raman.peaks)
        assert file.attrs["main"] == "total"


@pytest.mark.parametrize("which", ["infrared", "raman"])
def test_jcamp_is_read_back_by_an_independent_reader(which, tmp_path, request):
    spectrum = request.getfixturevalue(which)
    path = spectrum.write(tmp_path / "spectrum.jdx")
    read = jcamp.readfile(str(path))
    main = spectrum.columns()[spectrum.main]
    np.testing.assert_allclose(read["x"], spectrum.wavenumber_per_cm, rtol=0, atol=1e-5)
    np.testing.assert_allclose(read["y"], main.values, atol=2e-9 * main.values.max())
    assert read["data type"].upper() == spectrum.jcamp_type
    assert read["xunits"].upper() == "1/CM"
    assert read["npoints"] == len(main.values)
    assert max(len(line) for line in path.read_text().splitlines() if not line.startswith("##TITLE")) <= 80


def test_any_column_goes_to_jcamp_and_unknown_ones_do_not(infrared, tmp_path):
    infrared.write_jcamp(tmp_path / "n.jdx", "refractive_index")
    with pytest.raises(ConfigError, match="JCAMP-DX column: got nonsense"):
        infrared.write_jcamp(tmp_path / "x.jdx", "nonsense")
    with pytest.raises(ConfigError, match=r"ending '.xlsx', wanted .csv"):
        infrared.write(tmp_path / "x.xlsx")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(infrared, tmp_path):
    path = tmp_path / "ir.csv"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrajectoryError, match="No space left on device"):
        writers.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["ir.csv"]


def test_every_column_has_a_unit_and_every_quantity_an_error(infrared, raman):
    for spectrum in (infrared, raman):
        columns = spectrum.columns()
        for name, column in columns.items():
            assert column.unit
            assert column.values.shape == spectrum.wavenumber_per_cm.shape
            if name != "wavenumber_per_cm" and not name.endswith("_error"):
                error = columns[f"{name}_error"].values
                assert np.all(error[np.isfinite(column.values)] >= 0.0)


def test_peaks_are_the_modes_with_errors_that_cover_them(infrared):
    positions = [peak.position_per_cm for peak in infrared.peaks]
    assert len(positions) == 3
    for peak, expected in zip(infrared.peaks, (700.0, 1600.0, 3300.0), strict=True):
        assert peak.position_per_cm == pytest.approx(expected, abs=max(5.0 * peak.position_error_per_cm, 10.0))
        assert 0.0 < peak.position_error_per_cm < 20.0
        assert 0.0 < peak.integral_error < 0.2 * peak.integral


def test_peak_of_a_known_gaussian():
    x = np.arange(0.0, 1000.0, 2.0)
    y = 3.0 * np.exp(-0.5 * ((x - 501.3) / 30.0) ** 2)
    (peak,) = find_peaks(x, y, np.full_like(x, np.nan), [], 20.0)
    assert peak.position_per_cm == pytest.approx(501.3, abs=0.05)
    assert peak.height == pytest.approx(3.0, rel=1e-3)
    assert peak.width_per_cm == pytest.approx(30.0 * 2.354820, rel=1e-3)
    assert peak.integral == pytest.approx(3.0 * 30.0 * np.sqrt(2 * np.pi), rel=1e-5)
    assert np.isnan(peak.height_error)


def test_longer_runs_are_judged_longer_and_the_needed_time_is_right():
    reports = [
        infrared_spectrum(noisy_modes(n, seed=3), timestep_fs=2.0, temperature_K=300.0).report for n in (8000, 64000)
    ]
    assert reports[0].relative_error > 1.5 * reports[1].relative_error
    assert reports[0].half_spread > reports[1].half_spread
    # The prediction from the short run holds for the long one to the accuracy of an error of an error.
    assert 0.4 < reports[0].needed_ps / reports[1].needed_ps < 2.5
    assert reports[0].highest_per_cm < reports[0].nyquist_per_cm == pytest.approx(8339.1, rel=1e-3)


@pytest.mark.parametrize(
    ("relative", "resolution", "verdict"),
    [
        (0.05, 20.0, Verdict.LONG_ENOUGH),
        (0.15, 20.0, Verdict.MARGINAL),
        (0.5, 20.0, Verdict.TOO_SHORT),
        (0.05, 80.0, Verdict.TOO_SHORT),
        (np.nan, 20.0, Verdict.TOO_SHORT),
    ],
)
def test_verdicts(relative, resolution, verdict):
    found, sentence, needed = uncertainty.judge_length(relative, 0.1, 100.0, resolution, 20.0)
    assert found is verdict
    assert sentence.endswith(".")
    assert (needed <= 100.0) == (verdict is Verdict.LONG_ENOUGH)


def test_jackknife_of_a_mean_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=200)
    rest = (values.sum() - values) / (len(values) - 1)
    expected = values.std(ddof=1) / np.sqrt(len(values))
    assert uncertainty.jackknife_error(rest) == pytest.approx(expected, rel=5e-3)  # Student's t of 199 is 1.0025
    assert uncertainty.student_factor(5) == pytest.approx(1.1416, rel=1e-4)
    assert np.isnan(uncertainty.jackknife_error(np.array([1.0])))


def test_vdos_writes_its_elements(tmp_path):
    v = np.stack([noisy_modes(3000), noisy_modes(3000, seed=2)], axis=1)
    settings = EstimatorSettings(resolution_per_cm=60.0)
    spectrum = vdos(v, [16.0, 1.0], timestep_fs=2.0, symbols=["O", "H"], settings=settings)
    text = spectrum.write_csv(tmp_path / "vdos.csv").read_text()
    assert "O [per cm^-1],O_error [per cm^-1],H [per cm^-1]" in text
    assert spectrum.degrees_of_freedom == 6.0
