"""The cepstral estimate against its own theory: bias, variance, and what they promise on known spectra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from spectra_app.errors import ConfigError
from spectra_app.spectra import EstimatorSettings, dielectric_function, infrared_spectrum, raman_spectrum
from spectra_app.spectra.cepstral import Cepstrum, cepstrum_of_periodogram
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.plan import EstimatorInput
from spectra_app.spectra.uncertainty import resampling_error

SETTINGS = EstimatorSettings(resolution_per_cm=300.0, method="cepstral", max_wavenumber_per_cm=None, workers=1)


def series(n, replicas, seed, decay=0.7):
    """x(t+1) = decay x(t) + noise, variance 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n + 100, replicas, 1)) * np.sqrt(1.0 - decay**2)
    return signal.lfilter([1.0], [1.0, -decay], noise, axis=0)[100:]


def density_of(omega, decay=0.7):
    return (1.0 - decay**2) / np.abs(1.0 - decay * np.exp(-1j * omega)) ** 2


def test_log_density_and_its_error_are_the_sums_written_out():
    cepstrum = Cepstrum(np.array([0.5, -0.3, 0.2, 0.1]), np.array([0.2, 0.1, 0.1, 0.1]))
    size = 40
    angle = 2.0 * np.pi * np.arange(size // 2 + 1) / size
    j = np.arange(1, 4)[:, None]
    expected = 0.5 + 2.0 * np.array([-0.3, 0.2, 0.1]) @ np.cos(j * angle)
    np.testing.assert_allclose(cepstrum.log_density(size), expected, rtol=1e-12)
    variance = 0.2**2 + 4.0 * 0.1**2 * np.sum(np.cos(j * angle) ** 2, axis=0)
    np.testing.assert_allclose(cepstrum.log_error(size), np.sqrt(variance), rtol=1e-12)


@pytest.mark.parametrize(("n", "n_series"), [(4096, 1), (4095, 1), (4096, 4)])
def test_white_noise_needs_few_coefficients_and_its_level_is_unbiased(n, n_series):
    # ln of a chi^2 mean is low by 0.577 (one series) or 0.130 (four); uncorrected, the level would be too.
    rng = np.random.default_rng(5)
    levels, errors, kept = [], [], []
    for _ in range(60):
        amplitude = np.fft.rfft(rng.normal(size=(n_series, n)))
        found = cepstrum_of_periodogram(np.mean(np.abs(amplitude) ** 2, axis=0) / n, n, n_series)
        levels.append(found.coefficients[0])
        errors.append(found.errors[0])
        kept.append(len(found.coefficients))
    # var C_0 = 2 psi'(l)/n: 2 pi^2/6 for one series, 2 (pi^2/6 - 1 - 1/4 - 1/9) for four.
    trigamma = np.pi**2 / 6.0 - (0.0 if n_series == 1 else 1.0 + 1.0 / 4.0 + 1.0 / 9.0)
    assert errors[0] == pytest.approx(np.sqrt(2.0 * trigamma / n), rel=1e-12)
    assert np.mean(levels) == pytest.approx(0.0, abs=4.0 * errors[0] / np.sqrt(60))
    assert np.std(levels) == pytest.approx(errors[0], rel=0.3)
    assert np.median(kept) <= 4


def test_variance_at_zero_frequency_is_the_published_one():
    rng = np.random.default_rng(1)
    found = cepstrum_of_periodogram(np.abs(np.fft.rfft(rng.normal(size=2000))) ** 2 / 2000, 2000, 1)
    p = len(found.coefficients)
    # Ercole, Marcolongo, Baroni (2017): sigma^2 (4 P* - 2) / N.
    assert found.log_error(64)[0] == pytest.approx(np.sqrt(np.pi**2 / 6.0 * (4 * p - 2) / 2000), rel=1e-12)


@pytest.mark.parametrize("replicas", [1, 3])
def test_known_process_is_found_and_covered(replicas):
    covered, ratio = [], []
    for seed in range(25):
        x = series(6000, replicas, seed)
        density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), SETTINGS)
        truth = density_of(density.omega_per_fs)
        error = resampling_error(density.resamples(), density.resampling)[0]
        covered.append(np.mean(np.abs(density.total[0] - truth) < error))
        ratio.append(np.mean(density.total[0] / truth))
    assert 0.60 < np.mean(covered) < 0.76
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.03)


def test_it_is_far_more_precise_than_segments_on_a_smooth_spectrum():
    x = series(20000, 1, 3)
    common = {"resolution_per_cm": 100.0, "max_wavenumber_per_cm": None}
    relative = {}
    for method in ("welch", "cepstral"):
        density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), EstimatorSettings(method=method, **common))
        error = resampling_error(density.resamples(), density.resampling)[0]
        relative[method] = np.median(error / density.total[0])
    assert relative["cepstral"] < 0.5 * relative["welch"]


@pytest.fixture(scope="module")
def dipole():
    rng = np.random.default_rng(2)
    return signal.lfilter([1.0], [1.0, -1.6, 0.9], rng.normal(size=(20000, 3)), axis=0)


def test_spectra_take_it_with_errors_of_every_quantity(dipole):
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "volume_A3": 1e5, "eps_inf": 1.8}
    smooth = infrared_spectrum(dipole, settings=EstimatorSettings(method="cepstral"), **common)
    welch = infrared_spectrum(dipole, settings=EstimatorSettings(resolution_per_cm=60.0), **common)
    peak, reference = (max(s.peaks, key=lambda peak: peak.height) for s in (smooth, welch))
    assert abs(peak.position_per_cm - reference.position_per_cm) < 4.0 * reference.position_error_per_cm
    assert abs(peak.integral - reference.integral) < 4.0 * reference.integral_error
    assert 0.0 < peak.position_error_per_cm < 20.0
    inner = slice(5, -5)
    for name in ("alpha_n_per_cm", "eps_real", "refractive_index", "absorption_per_cm"):
        assert np.all(getattr(smooth, f"{name}_error")[inner] > 0.0)
    # eps'' and alpha n are the same density: the same relative error, and the analytic one.
    np.testing.assert_allclose(
        smooth.alpha_n_per_cm_error / smooth.alpha_n_per_cm, smooth.eps_imag_error / smooth.eps_imag, rtol=1e-9
    )
    assert "cepstral" in "".join(smooth.history)
    assert smooth.report.sentence.startswith(("Long enough", "Marginal"))


@pytest.mark.filterwarnings("ignore:.*below Nyquist")
def test_a_component_at_rest_adds_nothing():
    alpha = np.zeros((4000, 3, 3)) + np.eye(3)
    alpha[:, 0, 0] += 0.01 * series(4000, 1, 0)[:, 0, 0]
    spectrum = raman_spectrum(
        alpha, timestep_fs=20.0, temperature_K=300.0, settings=EstimatorSettings(method="cepstral"), checks="off"
    )
    assert np.all(np.isfinite(spectrum.vv))
    assert np.all(spectrum.vv > 0.0)


def test_cross_spectra_are_refused(dipole):
    with pytest.raises(ConfigError, match=r"got cepstral, wanted welch or lag\. A cross spectrum is not positive"):
        dielectric_function(
            dipole,
            timestep_fs=2.0,
            temperature_K=300.0,
            volume_A3=1e5,
            eps_inf=1.8,
            settings=EstimatorSettings(method="cepstral"),
        )
