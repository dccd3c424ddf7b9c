"""Every fault of a series is named, with its frame."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.spectra import (
    EstimatorSettings,
    SpectrumWarning,
    infrared_spectrum,
    raman_spectrum,
    timestep_from_times,
    vdos,
)
from spectra_app.spectra.guards import find_jump

SETTINGS = EstimatorSettings(resolution_per_cm=60.0)
COMMON = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": SETTINGS}


def vibration(n=2000, wavenumbers=(300.0, 1500.0, 3500.0), seed=0, timestep=1.0):
    """A dipole of a few modes [frame, xyz]."""
    rng = np.random.default_rng(seed)
    t = timestep * np.arange(n)[:, None]
    omega = 2.0 * np.pi * 2.99792458e-5 * np.asarray(wavenumbers)
    parts = [np.cos(w * t + rng.uniform(0, 6.28, 3)) * rng.uniform(0.2, 1.0, 3) * 0.05 / w for w in omega]
    return sum(parts)


def test_a_clean_series_passes_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = infrared_spectrum(vibration(), **COMMON)
    assert spectrum.report.warnings == ()


def test_nan_is_refused_with_its_frame():
    series = vibration()
    series[1234, 1] = np.nan
    with pytest.raises(SeriesError, match="dipole in frame 1234: got NaN"):
        infrared_spectrum(series, **COMMON)


def test_a_branch_jump_is_refused_with_its_frame():
    series = vibration()
    series[700:, 2] += 12.4
    with pytest.raises(SeriesError, match="dipole, component 2 jumps between frames 699 and 700"):
        infrared_spectrum(series, **COMMON)


def test_an_atom_wrapped_for_one_frame_is_refused():
    series = vibration()
    series[55, 0] -= 9.0
    with pytest.raises(SeriesError, match=r"component 0 jumps between frames 5[45] and 5[56]"):
        infrared_spectrum(series, **COMMON)


def test_a_jump_in_one_replica_is_refused_and_that_replica_named():
    series = np.stack([vibration(seed=i) for i in range(3)], axis=1)
    series[400:, 1, 0] += 8.0
    with pytest.raises(SeriesError, match=r"component 0, replica 1 jumps between frames 399 and 400"):
        infrared_spectrum(series, **COMMON)


@pytest.mark.filterwarnings("ignore:.*below Nyquist", "ignore:The highest peak")
def test_a_jump_can_be_let_through_with_a_warning():
    series = vibration()
    series[700:, 2] += 12.4
    with pytest.warns(SpectrumWarning, match="jumps between frames 699 and 700"):
        spectrum = infrared_spectrum(series, checks="warn", **COMMON)
    assert len(spectrum.report.warnings) >= 1


def test_a_jump_of_the_polarizability_and_of_positions_is_refused():
    alpha = vibration()[:, :, None] * np.eye(3)
    alpha[900:, 0, 0] += 10.0
    with pytest.raises(SeriesError, match="polarizability, component 0 jumps between frames 899"):
        raman_spectrum(alpha, **COMMON)
    positions = np.stack([vibration(), vibration(seed=1)], axis=1)
    positions[300:, 1, 2] -= 15.0
    with pytest.raises(SeriesError, match="positions, component 5 jumps between frames 299"):
        vdos(positions, [1.0, 2.0], timestep_fs=1.0, quantity="positions", settings=SETTINGS)


@pytest.mark.parametrize("seed", range(5))
def test_heavy_tailed_but_continuous_motion_is_no_jump(seed):
    # A fast event, ten times the usual speed, sampled over a few frames.
    rng = np.random.default_rng(seed)
    series = vibration(seed=seed)[:, 0] + rng.normal(size=2000) * 0.001
    event = np.cumsum(np.exp(-0.5 * ((np.arange(2000) - 900) / 4.0) ** 2)) * 10.0 * np.abs(np.diff(series)).mean()
    assert find_jump(series + event) is None
    assert find_jump(np.zeros(100)) is None


def test_even_times_give_the_step():
    assert timestep_from_times(np.arange(100) * 0.5 + 3.0) == pytest.approx(0.5)
    assert timestep_from_times((np.arange(200000) * 0.5).astype(np.float32)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 1.0, 2.0, 2.0, 3.0, 4.0], "time step before frame 3: got 0 fs, wanted 1 fs"),
        ([0.0, 1.0, 2.0, 4.0, 5.0], "time step before frame 3: got 2 fs"),
        ([0.0, 0.0, 0.0], "got 0 fs, wanted rising times"),
        ([0.0, np.nan, 2.0], "time of frame 1: got nan"),
        ([0.0], "wanted at least two times"),
    ],
)
def test_uneven_times_are_refused(times, message):
    with pytest.raises(SeriesError, match=message):
        timestep_from_times(times)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep_fs": None}, "timestep_fs: got nothing, wanted a positive number of fs"),
        ({"timestep_fs": -1.0}, "timestep_fs: got -1.0"),
        ({"temperature_K": 0.0}, "temperature_K: got 0.0"),
        ({"volume_A3": np.nan}, "volume_A3: got nan"),
    ],
)
def test_bad_numbers_are_refused(change, message):
    with pytest.raises(SeriesError, match=message):
        infrared_spectrum(vibration(), **{**COMMON, **change})


@pytest.mark.parametrize("shape", [(100,), (100, 4), (100, 2, 2)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(SeriesError, match=r"shape of dipole: got .* wanted \[frame, 3\]"):
        infrared_spectrum(np.zeros(shape), **COMMON)


def test_a_time_step_in_the_wrong_unit_makes_us_ask():
    # The series has 10 fs steps; 1 is given.
    with pytest.warns(SpectrumWarning, match="really in fs"):
        infrared_spectrum(vibration(wavenumbers=(1000.0,), timestep=10.0), **COMMON)


def test_noise_up_to_nyquist_is_reported():
    series = vibration(timestep=2.0) + np.random.default_rng(0).normal(size=(2000, 3))
    with pytest.warns(SpectrumWarning, match="below Nyquist"):
        infrared_spectrum(series, **{**COMMON, "timestep_fs": 4.0})


@pytest.mark.filterwarnings("ignore:dipole, component [02] drifts")
def test_drift_is_reported():
    series = vibration() + 0.5 * np.arange(2000)[:, None]
    with pytest.warns(SpectrumWarning, match="component 1 drifts"):
        infrared_spectrum(series, **COMMON)


def test_masses_that_do_not_match_are_refused():
    with pytest.raises(SeriesError, match=r"masses_amu: got shape \(3,\), wanted one per atom, \(2,\)"):
        vdos(np.ones((100, 2, 3)), [1.0, 2.0, 3.0], timestep_fs=1.0)


def test_porto_symbols_that_make_no_sense_are_refused():
    alpha = vibration()[:, :, None] * np.eye(3)
    with pytest.raises(Exception, match=r"polarization geometry: got 'z\(zx\)z'"):
        raman_spectrum(alpha, geometries=["z(zx)z"], **COMMON)


@pytest.mark.parametrize("checks", ["error", "off"])
def test_a_dipole_that_stands_still_is_refused(checks):
    constant = np.full((400, 2, 3), 1.7)
    with pytest.raises(SeriesError, match="dipole: got the same value in all 400 frames, wanted a series that changes"):
        infrared_spectrum(constant, checks=checks, **COMMON)
    with pytest.raises(SeriesError, match="polarizability: got the same value"):
        raman_spectrum(np.ones((400, 3, 3)), checks=checks, **COMMON)


def test_one_replica_that_stands_still_is_warned_of():
    series = np.stack([vibration(seed=i) for i in range(3)], axis=1)
    series[:, 1] = 0.3
    with pytest.warns(SpectrumWarning, match="dipole does not change in replica 1 of 3"):
        infrared_spectrum(series, **COMMON)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_a_part_of_the_polarizability_that_stands_still_is_warned_of(precision):
    x = vibration()[:, :1, None]
    breathing = (np.eye(3) * (1.0 + x)).astype(precision)
    with pytest.warns(SpectrumWarning, match="The anisotropic part of the polarizability does not change") as seen:
        spectrum = raman_spectrum(breathing, **COMMON)
    assert len(seen) == 1
    assert spectrum.report.warnings == (str(seen[0].message),)
    angle = 40.0 * x[:, 0, 0]
    turn = np.zeros((2000, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 0, 1], turn[:, 2, 2] = np.sin(angle), -np.sin(angle), 1.0
    rigid = np.einsum("tab,bc,tdc->tad", turn, np.diag([1.0, 2.0, 1.5]), turn).astype(precision)
    with pytest.warns(SpectrumWarning, match="The isotropic part of the polarizability does not change"):
        raman_spectrum(rigid, **COMMON)
