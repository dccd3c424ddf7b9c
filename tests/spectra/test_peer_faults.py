"""Faults found in other programs for spectra, each shown not to occur here; and the powder average of Raman geometries.

Two more stand beside what they belong to: a lag window that does not begin at 1 (test_estimators.py), and absolute
intensities that a second quantum factor would spoil (test_absolute_units.py, test_analytic.py).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal
from scipy.spatial.transform import Rotation

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import EstimatorSettings, dielectric_function, infrared_spectrum, raman_spectrum

SETTINGS = EstimatorSettings(resolution_per_cm=60.0, max_wavenumber_per_cm=None)


def damped(n, tail=(3,), seed=0, wavenumber=900.0):
    rng = np.random.default_rng(seed)
    angle = 2.0 * np.pi * 2.99792458e-5 * wavenumber * 2.0
    return signal.lfilter([1.0], [1.0, -1.98 * np.cos(angle), 0.98], rng.normal(size=(n + 500, *tail)), axis=0)[500:]


def test_the_quantum_factor_is_not_counted_twice_on_the_loss():
    # For a harmonic oscillator classical response is exact: eps'' must not know h, i.e. depend on T beyond <M^2> / T.
    x = damped(6000)
    common = {"timestep_fs": 2.0, "volume_A3": 500.0, "settings": SETTINGS, "checks": "off"}
    cold = infrared_spectrum(x, temperature_K=100.0, **common)
    hot = infrared_spectrum(x * np.sqrt(8.0), temperature_K=800.0, **common)  # <x^2> of an oscillator grows with T
    np.testing.assert_allclose(hot.eps_imag, cold.eps_imag, rtol=1e-9)
    tensors = [
        dielectric_function(y, temperature_K=T, eps_inf=1.8, **common)
        for y, T in ((x, 100.0), (x * np.sqrt(8.0), 800.0))
    ]
    np.testing.assert_allclose(tensors[0].mean_imag, cold.eps_imag, rtol=1e-6, atol=1e-9 * cold.eps_imag.max())
    np.testing.assert_allclose(tensors[0].eps_real, tensors[1].eps_real, rtol=1e-9)


@pytest.mark.parametrize("eps_inf", [1.0, 1.78, 5.2])
def test_the_real_part_contains_eps_inf(eps_inf):
    x = 0.03 * damped(6000)
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "volume_A3": 1e4, "settings": SETTINGS, "checks": "off"}
    spectrum = infrared_spectrum(x, eps_inf=eps_inf, **common)
    above = spectrum.wavenumber_per_cm > 6000.0
    np.testing.assert_allclose(spectrum.eps_real[above], eps_inf, rtol=0.01)
    np.testing.assert_allclose(spectrum.refractive_index[above], np.sqrt(eps_inf), rtol=0.01)
    below = spectrum.wavenumber_per_cm < 200.0
    assert np.all(spectrum.eps_real[below] > eps_inf)


@pytest.mark.parametrize("frame", [3, 77_777, 199_990])
def test_one_branch_jump_in_a_long_run_is_not_overlooked(frame):
    # 0.4 e A: a tenth of the spread of the series, but no increment of it is a twentieth as long.
    x = damped(200_000, (1,), wavenumber=60.0)
    x = x / np.abs(np.diff(x, axis=0)).max() * 0.02 * np.ones(3)
    x[frame + 1 :, 1] += 0.4
    with pytest.raises(SeriesError, match=f"component 1 jumps between frames {frame} and {frame + 1}:"):
        infrared_spectrum(x, timestep_fs=2.0, temperature_K=300.0, settings=SETTINGS)


def test_powder_average_of_a_geometry_is_the_mean_over_orientations():
    slope = np.array([[0.9, 0.2, -0.1], [0.2, 0.4, 0.3], [-0.1, 0.3, -0.5]])
    alpha = 2.0 * np.eye(3) + 0.01 * slope * damped(3000, (1,))[..., None]
    pair = (np.array([1.0, 2.0, 2.0]) / 3.0, np.array([0.6, 0.0, 0.8]))
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "prefactor": "reduced", "settings": SETTINGS}
    powder = raman_spectrum(alpha, geometries={"g": pair}, average="powder", **common).geometries["g"]
    turns = Rotation.random(4000, random_state=1).as_matrix()
    # Every orientation gives the same line shape times (e_out R slope R^T e_in)^2.
    mean = np.mean(np.einsum("a,nab,bc,ndc,d->n", pair[1], turns, slope, turns, pair[0]) ** 2)
    single = raman_spectrum(alpha, geometries={"g": pair}, **common).geometries["g"]
    factor = mean / (pair[1] @ slope @ pair[0]) ** 2
    np.testing.assert_allclose(powder, single * factor, rtol=0.05)
    named = raman_spectrum(alpha, geometries=["z(xx)z", "z(xy)z"], average="powder", **common)
    np.testing.assert_allclose(named.geometries["z(xx)z"], named.vv, rtol=1e-9)
    np.testing.assert_allclose(named.geometries["z(xy)z"], named.vh, rtol=1e-9)
    with pytest.raises(ConfigError, match="average: got 'crystal'"):
        raman_spectrum(alpha, average="crystal", **common)
