"""Velocity Verlet moves and strengthens a mode by a known amount, and the correction takes exactly that off.

The modes are integrated step by step; temperature is what the run's own velocities say, as in a simulation.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import (
    EstimatorSettings,
    dielectric_function,
    infrared_parts,
    infrared_spectrum,
    raman_spectrum,
    timestep_effect,
    vdos,
)

MASS, CHARGE = 1.4, 0.6
NU = 3600.0
OMEGA = 2.0 * np.pi * constants.c * 1e2 * 1e-15 * NU
AMU_A2_PER_FS2_IN_K = constants.atomic_mass * 1e10 / constants.k
KM_PER_MOL = 974.88 * CHARGE**2 / MASS  # of one axis
SETTINGS = EstimatorSettings(resolution_per_cm=60.0)


def integrate(step_fs, n_steps, friction_per_fs=0.0, n=(4, 3), seed=1):
    """Positions and full-step velocities [step, replica, xyz] of velocity Verlet; with friction, of BAOAB at kT = m."""
    rng = np.random.default_rng(seed)
    x, v = rng.normal(size=n) / OMEGA, rng.normal(size=n)
    out = np.empty((2, n_steps, *n))
    decay = np.exp(-friction_per_fs * step_fs)
    for step in range(n_steps):
        out[:, step] = x, v
        v = v - 0.5 * step_fs * OMEGA**2 * x
        x = x + 0.5 * step_fs * v
        if friction_per_fs:
            v = decay * v + np.sqrt(1.0 - decay**2) * rng.normal(size=n)
        x = x + 0.5 * step_fs * v
        v = v - 0.5 * step_fs * OMEGA**2 * x
    return out


def temperature(velocities):
    return MASS * np.mean(velocities**2) * AMU_A2_PER_FS2_IN_K


@pytest.fixture(scope="module", params=[0.25, 0.5, 1.0])
def run(request):
    """(step, record step, dipole, velocities, kelvin); the finest is recorded at every fourth step."""
    stride = 4 if request.param == 0.25 else 1
    x, v = integrate(request.param, 2500 * stride)[:, ::stride]
    return request.param, stride * request.param, CHARGE * x, v, temperature(v)


def centre(spectrum):
    """Centre of gravity of the band, which no point of the table rounds."""
    nu, values = spectrum.wavenumber_per_cm, spectrum.columns()[spectrum.main].values
    near = np.abs(nu - NU) < 300.0
    return np.sum(nu[near] * values[near]) / np.sum(values[near])


GROWTH = {0.25: (1.0097, 4.3), 0.5: (1.0396, 17.5), 1.0: (1.1761, 72.8)}
"""Area factor and shift at 3600 cm^-1: 4% at 0.5 fs, 18% at 1 fs."""


@pytest.mark.parametrize("method", ["welch", "lag", "cepstral"])
def test_infrared_band_is_where_and_as_strong_as_it_should_be(run, method):
    step, record, dipole, _, kelvin = run
    if method == "cepstral" and step != 0.5:
        pytest.skip("one is enough")
    settings = EstimatorSettings(resolution_per_cm=60.0, method=method)
    common = {"timestep_fs": record, "temperature_K": kelvin, "settings": settings, "checks": "off"}
    growth, shift = GROWTH[step]
    plain = infrared_spectrum(dipole, **common)
    right = infrared_spectrum(dipole, integration_timestep_fs=step, **common)
    assert right.parameters["integration_timestep_fs"] == step
    assert "integration_timestep_fs" not in plain.parameters
    # The table ends where the true frequency of Nyquist lies, below 2/h.
    assert right.report.nyquist_per_cm < 2.0 / step / (2.0 * np.pi * constants.c * 1e-13)
    assert centre(plain) - centre(right) == pytest.approx(shift, abs=5.0 if method == "cepstral" else 0.5)
    if method == "cepstral":
        return  # no estimator of a single line
    assert centre(right) == pytest.approx(NU, abs=0.3)
    assert plain.integral.value == pytest.approx(3.0 * KM_PER_MOL * growth, rel=2e-3)
    assert right.integral.value == pytest.approx(3.0 * KM_PER_MOL, rel=2e-3)
    (band,) = right.peaks
    assert band.position_per_cm == pytest.approx(NU, abs=6.0)  # half a point of the table
    assert band.integral == pytest.approx(3.0 * KM_PER_MOL, rel=0.01)
    assert right.parameters["timestep_area_factor"] == pytest.approx(growth, abs=1e-3)
    assert right.parameters["timestep_shift_per_cm"] == pytest.approx(shift, abs=0.4)
    assert any("wavenumbers and intensities corrected; at 360" in line for line in right.history)


def test_effect_is_named_without_a_series():
    for step, (growth, shift) in GROWTH.items():
        found = timestep_effect(NU, step)
        assert found == (pytest.approx(shift, abs=0.1), pytest.approx(growth, abs=1e-4))
    assert timestep_effect(NU, 0.5, motion="velocities")[1] == 1.0
    with pytest.raises(SeriesError, match="beyond which a mode at 3600 cm"):
        timestep_effect(NU, 3.0)


def test_current_velocities_raman_and_dielectric_function_are_corrected_too():
    step = 1.0
    x, v = integrate(step, 2500)
    kelvin = temperature(v)
    common = {"timestep_fs": step, "temperature_K": kelvin, "settings": SETTINGS, "checks": "off"}
    current = infrared_spectrum(CHARGE * v, quantity="current", integration_timestep_fs=step, **common)
    assert current.integral.value == pytest.approx(3.0 * KM_PER_MOL, rel=2e-3)
    assert centre(current) == pytest.approx(NU, abs=0.3)
    density = vdos(v[:, :, None], [MASS], timestep_fs=step, settings=SETTINGS, integration_timestep_fs=step)
    places = vdos(
        x[:, :, None], [MASS], timestep_fs=step, quantity="positions", settings=SETTINGS, integration_timestep_fs=step
    )
    for spectrum in (density, places):
        assert centre(spectrum) == pytest.approx(NU, abs=0.3)
        assert spectrum.temperature_K == pytest.approx(kelvin, rel=2e-3)
        assert np.trapezoid(spectrum.total, spectrum.wavenumber_per_cm) == pytest.approx(3.0, rel=2e-3)
    alpha = x[..., 0, None, None] * np.diag([1.0, 0.5, 0.2]) / 14.3996454
    sampled = np.mean(v[..., 0] ** 2) / np.mean(v**2)
    raman = raman_spectrum(alpha, prefactor="reduced", integration_timestep_fs=step, **common)
    area = np.trapezoid(raman.isotropic, raman.wavenumber_per_cm)
    assert area == pytest.approx((1.7 / 3.0) ** 2 / MASS * sampled, rel=3e-3)
    cell = dielectric_function(CHARGE * x, volume_A3=300.0, eps_inf=1.0, integration_timestep_fs=step, **common)
    nu = cell.wavenumber_per_cm
    plasma = (CHARGE * constants.e) ** 2 / (constants.epsilon_0 * 300.0e-30 * MASS * constants.atomic_mass)
    plasma /= (2.0 * np.pi * constants.c * 1e2) ** 2
    assert np.trapezoid(nu * cell.mean_imag, nu) == pytest.approx(0.5 * np.pi * plasma, rel=3e-3)
    low = np.searchsorted(nu, 500.0)
    assert cell.mean_real[low] - 1.0 == pytest.approx(plasma / (NU**2 - nu[low] ** 2), rel=5e-3)


def test_parts_are_corrected_as_the_whole():
    x, v = integrate(1.0, 1500)
    parts = CHARGE * x[:, :2, None] * np.array([0.7, 0.3])[:, None]  # [frame, replica, part, xyz]
    common = {
        "timestep_fs": 1.0,
        "temperature_K": temperature(v),
        "volume_A3": 300.0,
        "settings": SETTINGS,
        "checks": "off",
    }
    common["integration_timestep_fs"] = 1.0
    whole = infrared_spectrum(parts.sum(axis=2), **common)
    split = infrared_parts(parts, kinds=("A", "B"), **common)
    np.testing.assert_allclose(split.total, whole.alpha_n_per_cm, rtol=1e-9, atol=1e-9 * whole.alpha_n_per_cm.max())


def test_baoab_keeps_positions_exact_and_slows_velocities():
    # kT = m in the units of integrate(); 120 modes, weak friction, so that the line stays where Verlet has it.
    x, v = integrate(1.0, 6000, friction_per_fs=0.01, n=(40, 3))[:, 500:]
    kelvin = MASS * AMU_A2_PER_FS2_IN_K
    common = {"timestep_fs": 1.0, "settings": SETTINGS, "checks": "off", "integration_timestep_fs": 1.0}
    spectrum = infrared_spectrum(CHARGE * x, temperature_K=kelvin, integrator="baoab", **common)
    assert spectrum.integral.value == pytest.approx(3.0 * KM_PER_MOL, rel=0.06)  # statistics; a wrong factor is 13% off
    slow = vdos(v[:, :, None], [MASS], integrator="baoab", **common)
    assert slow.temperature_K == pytest.approx(kelvin, rel=0.06)
    # The two averages differ by the factor known exactly, whatever the sample; the table cuts off 1 or 2% of the wings.
    assert spectrum.integral.value / slow.temperature_K == pytest.approx(3.0 * KM_PER_MOL / kelvin, rel=0.03)


def test_a_time_step_that_cannot_be_is_refused():
    x = integrate(1.0, 200)[0]
    common = {"timestep_fs": 1.0, "temperature_K": 300.0}
    with pytest.raises(SeriesError, match=r"integration_timestep_fs: got 2\.0, wanted above 0 and at most the time"):
        infrared_spectrum(x, integration_timestep_fs=2.0, **common)
    with pytest.raises(ConfigError, match="integrator: got 'leapfrog', wanted verlet or baoab"):
        infrared_spectrum(x, integration_timestep_fs=1.0, integrator="leapfrog", **common)
