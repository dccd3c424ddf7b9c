"""Replicas of unequal length: pooled correlations by their definition, and errors that cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from spectra_app import infrared_spectrum
from spectra_app.joined import JoinedReplicas
from spectra_app.spectra import EstimatorSettings, windows
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.plan import EstimatorInput


@pytest.mark.parametrize("blocks", [2, 7])
def test_time_origins_of_all_replicas_are_pooled(blocks: int) -> None:
    """C(k) = sum over replicas and origins of x(t) x(t + k), over their number, written out."""
    rng = np.random.default_rng(3)
    runs = [rng.normal(size=(n, 1, 1)).cumsum(axis=0) for n in (300, 170, 90)]
    settings = EstimatorSettings(method="lag", derivative="direct", resolution_per_cm=600.0, blocks=blocks)
    density = spectral_density(EstimatorInput(JoinedReplicas(runs), 1.0, derivative=True), np.ones((1, 1)), settings)
    n_lags = density.plan.length
    assert 20 < n_lags < 90
    series = [run.ravel() - run.mean() for run in runs]
    expected = [
        sum(float(x[: len(x) - k] @ x[k:]) for x in series) / sum(len(x) - k for x in series) for k in range(n_lags)
    ]
    np.testing.assert_allclose(density.correlation[0], np.array(expected) * windows.lag_window("hann", n_lags))
    assert density.plan.n_total == 560


@pytest.mark.parametrize("method", ["welch", "lag"])
def test_one_standard_error_covers_two_thirds_of_the_truth(method: str) -> None:
    """A damped mode of known spectrum in runs of 1 to 8 lengths; the truth is that of very long runs."""
    settings = EstimatorSettings(method=method, resolution_per_cm=150.0, max_wavenumber_per_cm=1600.0)  # type: ignore[arg-type]
    angle, radius = 2.0 * np.pi * 2.99792458e-5 * 900.0, 0.96

    def mode(n_frames: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(n_frames + 200, 1, 3))
        return np.asarray(lfilter([1.0], [1.0, -2.0 * radius * np.cos(angle), radius**2], noise, axis=0)[200:])

    def spectrum(values: object) -> tuple[np.ndarray, np.ndarray]:
        found = infrared_spectrum(
            values, timestep_fs=1.0, temperature_K=300.0, volume_A3=1000.0, settings=settings, checks="off"
        )
        assert found.alpha_n_per_cm is not None
        assert found.alpha_n_per_cm_error is not None
        return found.alpha_n_per_cm[20:-20], found.alpha_n_per_cm_error[20:-20]

    truth, _ = spectrum(mode(600_000, 0))
    inside = []
    for trial in range(60):
        runs = [mode(n, 100 * trial + k + 1) for k, n in enumerate((4000, 2000, 1000, 500, 500))]
        values, errors = spectrum(JoinedReplicas(runs))
        inside.append(np.mean(np.abs(values - truth) < errors))
    assert 0.60 < np.mean(inside) < 0.76
