"""Estimators against known spectra, the slow reference, and each other."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy import signal

from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import (
    EstimatorSettings,
    correlation,
    infrared_spectrum,
    optics,
    prefactors,
    samples,
    vdos,
    windows,
)
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.plan import EstimatorInput, as_estimator_settings
from spectra_app.spectra.uncertainty import jackknife_error

FULL = {"max_wavenumber_per_cm": None}
DECAY = 0.9


def first_order(n, replicas, seed):
    """Gaussian series x(t+1) = DECAY x(t) + noise with unit variance; autocorrelation DECAY^k."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n + 200, replicas)) * np.sqrt(1.0 - DECAY**2)
    return signal.lfilter([1.0], [1.0, -DECAY], noise, axis=0)[200:, :, None]


def first_order_density(omega, timestep):
    """Exact density of the sampled series: dt (1 - a^2) / |1 - a exp(-i w dt)|^2."""
    return timestep * (1.0 - DECAY**2) / np.abs(1.0 - DECAY * np.exp(-1j * omega * timestep)) ** 2


def test_fast_correlation_equals_the_reference():
    series = np.random.default_rng(0).normal(size=(3, 157)) + 0.3
    fast = correlation.autocorrelation(series, 40)
    slow = np.stack([correlation.autocorrelation_reference(row, 40) for row in series])
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-13)


def test_origin_sums_of_parts_add_up_to_the_whole():
    series = np.random.default_rng(1).normal(size=(2, 101))
    whole = correlation.origin_sums(series, 101, 20)
    first = correlation.origin_sums(series[:, : 37 + 19], 37, 20)
    second = correlation.origin_sums(series[:, 37:], 64, 20)
    np.testing.assert_allclose(first + second, whole, rtol=1e-12, atol=1e-12)


def test_lag_estimate_is_the_windowed_reference_correlation():
    x = first_order(400, 1, 2)
    settings = EstimatorSettings(resolution_per_cm=700.0, method="lag", window="hann", **FULL)
    density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), settings)
    n_lags = density.plan.length
    slow = correlation.autocorrelation_reference(x[:, 0, 0], n_lags) * windows.lag_window("hann", n_lags)
    np.testing.assert_allclose(density.correlation[0], slow, rtol=1e-10, atol=1e-12)
    lags = np.arange(1, n_lags)
    k = 17
    expected = slow[0] + 2.0 * np.sum(slow[1:] * np.cos(density.omega_per_fs[k] * lags))
    assert density.total[0, k] == pytest.approx(expected, rel=1e-10)


def test_welch_estimate_is_scipys():
    x = first_order(1200, 1, 3)
    settings = EstimatorSettings(resolution_per_cm=500.0, zero_padding=2, **FULL)
    density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), settings)
    length = density.plan.length
    starts = np.concatenate([part for group in density.plan.groups for _, part in group])
    assert len(starts) > 10
    size = round(2.0 * np.pi / density.omega_per_fs[1])
    common = {"window": "hann", "detrend": False, "nfft": size, "return_onesided": False}
    power = np.mean([signal.periodogram(x[s : s + length, 0, 0], **common)[1] for s in starts], axis=0)
    np.testing.assert_allclose(density.total[0], power[: size // 2 + 1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["welch", "lag"])
@pytest.mark.parametrize("window", ["hann", "gaussian", "blackman", "none"])
def test_density_of_a_known_process(method, window):
    x = first_order(4000, 40, 4)
    settings = EstimatorSettings(resolution_per_cm=300.0, method=method, window=window, **FULL)
    density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), settings)
    expected = first_order_density(density.omega_per_fs, 1.0)
    far = density.wavenumber_per_cm > 600.0
    tolerance = 0.25 if window == "none" else 0.1  # a boxcar leaks
    assert np.median(np.abs(density.total[0, far] / expected[far] - 1.0)) < tolerance
    step = density.omega_per_fs[1]
    variance = step * (density.total[0].sum() - 0.5 * (density.total[0, 0] + density.total[0, -1])) / np.pi
    assert variance == pytest.approx(1.0, rel=0.03)


def test_error_bars_cover_the_truth_in_two_of_three_points():
    covered, scale = [], []
    for seed in range(12):
        x = first_order(6000, 1, 100 + seed)
        settings = EstimatorSettings(resolution_per_cm=400.0, **FULL)
        density = spectral_density(EstimatorInput(x, 1.0), np.ones((1, 1)), settings)
        rest = np.stack(list(density.without_each_group()))[:, 0]
        error = jackknife_error(rest)
        inner = (density.wavenumber_per_cm > 1500.0) & (density.wavenumber_per_cm < 15000.0)
        truth = first_order_density(density.omega_per_fs, 1.0)
        covered.append(np.mean(np.abs(density.total[0] - truth)[inner] < error[inner]))
        scale.append(np.median(error[inner] / truth[inner]))
    assert 0.60 < np.mean(covered) < 0.76
    assert np.mean(scale) < 0.3


@pytest.mark.parametrize(("method", "expected"), [("welch", 1.4406), ("lag", 1.0)])
def test_kernel_width_of_hann(method, expected):
    # Harris (1978): -3 dB bandwidth 1.44 bins; the lag window's transform falls to half at 0.5 / T.
    assert windows.kernel_width("hann", method) == pytest.approx(expected, rel=2e-3)


def test_kernel_width_of_boxcar():
    assert windows.kernel_width("none", "welch") == pytest.approx(0.8859, rel=1e-3)
    assert windows.kernel_width("none", "lag") == pytest.approx(0.6034, rel=1e-3)


@pytest.mark.parametrize("window", ["hann", "gaussian", "blackman", "none"])
def test_lag_window_begins_at_one_and_falls(window):
    weights = windows.lag_window(window, 50)
    assert weights[0] == 1.0
    assert np.all(np.diff(weights) <= 0.0)


@pytest.mark.filterwarnings("ignore:The highest peak", "ignore:.*below Nyquist")
def test_too_short_a_run_widens_the_resolution_and_says_so():
    x = np.random.default_rng(0).normal(size=(200, 1, 3)).cumsum(axis=0)
    with pytest.warns(match="too short for a resolution of 5 cm"):
        spectrum = infrared_spectrum(
            x, timestep_fs=1.0, temperature_K=300.0, settings=EstimatorSettings(5.0), checks="off"
        )
    assert spectrum.report.resolution_per_cm > 100.0
    assert spectrum.report.verdict.value == "too short"
    assert any("widened" in sentence for sentence in spectrum.report.warnings)
    assert spectrum.report.needed_ps > 10.0 * spectrum.report.duration_ps


def test_too_few_frames_are_refused_with_the_number_wanted():
    with pytest.raises(SeriesError, match=r"got 20 frames, wanted 33\. 20 cm\^-1 need at least \d{4,} frames"):
        infrared_spectrum(np.zeros((20, 3)), timestep_fs=1.0, temperature_K=300.0)


@pytest.mark.filterwarnings("ignore:The highest peak", "ignore:.*below Nyquist")
def test_chunks_of_components_do_not_change_the_result(monkeypatch):
    v = np.random.default_rng(5).normal(size=(300, 2, 7, 3))
    masses = np.arange(1.0, 8.0)
    for method in ("welch", "lag"):
        settings = EstimatorSettings(resolution_per_cm=300.0, method=method, **FULL)
        with pytest.warns(match="Nyquist|highest peak"):
            whole = vdos(v, masses, timestep_fs=2.0, settings=settings)
        monkeypatch.setattr(samples, "BATCH_BYTES", 20000)
        with pytest.warns(match="Nyquist|highest peak"):
            chunked = vdos(v, masses, timestep_fs=2.0, settings=settings)
        monkeypatch.undo()
        np.testing.assert_allclose(chunked.total, whole.total, rtol=1e-10)
        np.testing.assert_allclose(chunked.total_error, whole.total_error, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The highest peak", "ignore:.*below Nyquist")
def test_an_hdf5_dataset_gives_the_same_spectrum_as_an_array(tmp_path):
    x = first_order(500, 2, 6) * np.ones(3)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        dataset = file.create_dataset("dipole", data=x)
        settings = EstimatorSettings(resolution_per_cm=300.0)
        common = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": settings, "checks": "off"}
        with pytest.warns(match="highest peak|Nyquist"):
            from_file = infrared_spectrum(dataset, **common)
        with pytest.warns(match="highest peak|Nyquist"):
            from_array = infrared_spectrum(x, **common)
    np.testing.assert_array_equal(from_file.intensity_km_per_mol, from_array.intensity_km_per_mol)


def test_settings_come_from_the_configuration():
    settings = as_estimator_settings(SpectraSettings(resolution_per_cm=7.0, window="blackman", blocks=9))
    assert (settings.resolution_per_cm, settings.window, settings.blocks) == (7.0, "blackman", 9)


@pytest.mark.parametrize(("name", "value"), [("window", "hamming"), ("blocks", 1), ("resolution_per_cm", 0.0)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"spectra.{name}: got {value!r}"):
        EstimatorSettings(**{name: value})


def test_kramers_kronig_of_a_damped_oscillator():
    # chi = f / (w0^2 - w^2 - i g w), closed form; 1% of the largest real part is asked for, 0.1% is reached.
    strength, centre, damping = 0.3, 0.3, 0.02
    omega = np.linspace(0.0, np.pi / 1.0, 20001)  # Nyquist of 1 fs
    chi = strength / (centre**2 - omega**2 - 1j * damping * omega)
    real = optics.kramers_kronig(omega, omega * chi.imag)
    inner = omega < 0.7 * omega[-1]
    np.testing.assert_allclose(real[inner], chi.real[inner], atol=1e-3 * np.abs(chi.real).max())
    np.testing.assert_allclose(real[:200], chi.real[:200], rtol=1e-3)  # the static limit, zero included


def test_optical_constants_of_known_media():
    omega = np.array([0.1])
    out = optics.optical_constants(omega, np.array([2.25]), np.array([0.0]))
    assert out["refractive_index"][0] == pytest.approx(1.5)
    assert out["reflectivity"][0] == pytest.approx(0.04)  # glass: ((1.5 - 1) / (1.5 + 1))^2
    metal = optics.optical_constants(omega, np.array([-4.0]), np.array([0.0]))
    assert metal["reflectivity"][0] == pytest.approx(1.0)
    assert metal["extinction"][0] == pytest.approx(2.0)


def test_quantum_factors_are_relative_to_the_harmonic_one_already_contained():
    omega = np.array([0.01, 0.2, 0.6])
    x = 1.054571817e-34 * omega * 1e15 / (1.380649e-23 * 300.0)
    np.testing.assert_array_equal(prefactors.quantum_factor("harmonic", omega, 300.0), 1.0)
    np.testing.assert_array_equal(prefactors.quantum_factor("none", omega, 300.0), 1.0)
    # Standard correction of absorption: (2/(x)) tanh(x/2) on the classical form.
    np.testing.assert_allclose(prefactors.quantum_factor("standard", omega, 300.0), 2.0 / x * np.tanh(x / 2), rtol=1e-8)
    # Schofield: sinh(x/2) / (x/2).
    np.testing.assert_allclose(prefactors.quantum_factor("schofield", omega, 300.0), np.sinh(x / 2) * 2 / x, rtol=1e-8)
    with pytest.raises(ConfigError, match="quantum_factor: got 'bose'"):
        prefactors.quantum_factor("bose", omega, 300.0)


def test_no_quantum_factor_by_default_and_once_on_request():
    rng = np.random.default_rng(8)
    x = signal.lfilter([1.0], [1.0, -1.6, 0.9], rng.normal(size=(4000, 1, 3)), axis=0)
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "volume_A3": 100.0, "eps_inf": 2.0, "checks": "off"}
    plain = infrared_spectrum(x, **common)
    standard = infrared_spectrum(x, quantum_factor="standard", **common)
    assert "quantum factor: none" in plain.history[-1]
    factor = 1.4387769 * plain.wavenumber_per_cm / 300.0 / 2.0
    factor = np.tanh(factor) / factor
    np.testing.assert_allclose(standard.eps_imag / plain.eps_imag, factor, rtol=1e-5)
    np.testing.assert_allclose(standard.alpha_n_per_cm / plain.alpha_n_per_cm, factor, rtol=1e-5)
