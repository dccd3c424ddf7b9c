"""Position, height and width of bands: closed forms, and the window's broadening taken off."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_app.spectra import EstimatorSettings, infrared_spectrum
from spectra_app.spectra.density import density_from_sums
from spectra_app.spectra.peaks import find_peaks
from spectra_app.spectra.plan import EstimatorInput, make_plan

C_CM_PER_FS = 2.99792458e-5
NU = np.arange(0.0, 3000.0, 3.0)
NONE = np.full_like(NU, np.nan)


@pytest.mark.parametrize("width", [30.0, 100.0])
@pytest.mark.parametrize("background", [0.0, 0.3])
def test_gaussian_line_is_measured_exactly(width, background):
    y = 2.5 * np.exp(-4.0 * np.log(2.0) * ((NU - 1500.7) / width) ** 2) + background
    (peak,) = find_peaks(NU, y, NONE, [], 10.0)
    assert peak.position_per_cm == pytest.approx(1500.7, abs=0.01)
    assert peak.height == pytest.approx(2.5 + background, rel=1e-3)
    assert peak.width_per_cm == pytest.approx(width, rel=2e-3)
    assert np.isnan(peak.width_error_per_cm)


@pytest.mark.parametrize("width", [30.0, 100.0])
def test_lorentzian_line_within_a_percent(width):
    (peak,) = find_peaks(NU, 1.0 / (1.0 + ((NU - 1500.7) / (0.5 * width)) ** 2), NONE, [], 10.0)
    assert peak.position_per_cm == pytest.approx(1500.7, abs=0.1)
    assert peak.width_per_cm == pytest.approx(width, rel=0.013)
    assert peak.height == pytest.approx(1.0, rel=0.016)


@pytest.mark.parametrize(("width", "close"), [(4.5, 0.25), (6.0, 0.18), (12.0, 0.1)])
@pytest.mark.parametrize("centre", [1500.0, 1500.6, 1501.4, 1502.3])
def test_lorentzian_line_of_a_few_points_lies_between_them(width, close, centre):
    """Points are 3 cm^-1 apart; the highest one is up to 1.4 away."""
    (peak,) = find_peaks(NU, 1.0 / (1.0 + ((NU - centre) / (0.5 * width)) ** 2), NONE, [], 3.0)
    assert peak.position_per_cm == pytest.approx(centre, abs=close)
    assert peak.height == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("window", ["hann", "gaussian"])
@pytest.mark.parametrize("method", ["welch", "lag"])
def test_a_line_narrower_than_the_window_is_not_rounded_to_the_grid(method, window):
    settings = EstimatorSettings(20.0, method=method, window=window, workers=1)
    for exact in (1500.0, 1500.9, 1502.2):
        dipole = np.cos(2.0 * np.pi * C_CM_PER_FS * exact * np.arange(8000))[:, None] * np.array([1.0, 0.5, 0.2])
        found = infrared_spectrum(
            dipole, timestep_fs=1.0, temperature_K=300.0, volume_A3=100.0, settings=settings, checks="off"
        )
        grid = found.wavenumber_per_cm[1] - found.wavenumber_per_cm[0]
        assert grid > 3.0
        strongest = max(found.peaks, key=lambda peak: peak.height)
        assert strongest.position_per_cm == pytest.approx(exact, abs=0.1)


def test_skewed_line_has_its_maximum_and_its_half_heights():
    x = (NU - 1500.0) / 60.0
    y = np.exp(-0.5 * x**2 + 0.08 * x**3 - 0.02 * x**4)
    (peak,) = find_peaks(NU, np.where(np.abs(x) < 6, y, 0.0), NONE, [], 10.0)
    fine = np.linspace(-3.0, 3.0, 60001)
    exact = np.exp(-0.5 * fine**2 + 0.08 * fine**3 - 0.02 * fine**4)
    above = fine[exact >= 0.5 * exact.max()]
    assert peak.position_per_cm == pytest.approx(1500.0 + 60.0 * fine[np.argmax(exact)], abs=0.1)
    assert peak.width_per_cm == pytest.approx(60.0 * (above[-1] - above[0]), rel=0.002)


@pytest.mark.parametrize("method", ["welch", "lag"])
def test_broadening_by_the_window_is_taken_off(method):
    """The correlation function of a Lorentzian of 40 cm^-1 through a window of 20."""
    settings = EstimatorSettings(20.0, method=method, workers=1)
    series = EstimatorInput(np.zeros((40000, 1, 1)), 1.0)
    plan = make_plan(series, settings)
    t = np.arange(plan.length)
    line = np.exp(-np.pi * C_CM_PER_FS * 40.0 * t) * np.cos(2.0 * np.pi * C_CM_PER_FS * 1500.0 * t)
    if method == "welch":  # the sums of segments come with their window
        from spectra_app.spectra.windows import correlation_of_window

        line = line * correlation_of_window("hann", plan.length)
    found = density_from_sums(series, line[None, None], np.ones((1, 1, 1)), settings, plan)
    sharp = found.sharpened()
    nu, none = found.wavenumber_per_cm, np.full_like(found.wavenumber_per_cm, np.nan)
    (seen,) = find_peaks(nu, found.total[0], none, [], 20.0)
    (peak,) = find_peaks(nu, found.total[0], none, [], 20.0, sharpened=(sharp.total[0], []))
    exact = 1.0 / (np.pi * C_CM_PER_FS * 40.0)
    assert abs(peak.width_per_cm - 40.0) < 0.5 * abs(seen.width_per_cm - 40.0)
    assert peak.width_per_cm == pytest.approx(40.0, rel=0.09)
    assert abs(peak.height - exact) < 0.5 * abs(seen.height - exact)
    assert peak.height == pytest.approx(exact, rel=0.055)
    assert peak.position_per_cm == pytest.approx(1500.0, abs=0.3)
    assert peak.integral == seen.integral
    assert type(peak.position_per_cm) is float
