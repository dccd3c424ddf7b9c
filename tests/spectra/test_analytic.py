"""Whole spectra with a closed form: free rotor, mixture of lines, damped oscillator with its real part, sum rule.

The ensembles are laid out on a grid of frequencies instead of drawn, with both quadratures on two axes, so that nothing
is left to chance and 1% means 1%.  Expected values are written in SI from scipy.constants.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants

from spectra_app.spectra import EstimatorSettings, dielectric_function, infrared_spectrum, raman_spectrum
from spectra_app.spectra.peaks import find_peaks

TEMPERATURE = 300.0
KT = constants.k * TEMPERATURE
C = constants.c * 1e2  # cm/s
DEBYE_eA = 0.20819434


def circular(wavenumbers, amplitudes, n_frames, timestep_fs):
    """[frame, replica, xyz]: every replica turns in the xy plane with its own wavenumber and amplitude."""
    phase = 2.0 * np.pi * C * 1e-15 * timestep_fs * np.arange(n_frames)[:, None] * wavenumbers + 2.4 * wavenumbers
    out = np.zeros((n_frames, len(wavenumbers), 3))
    out[..., 0], out[..., 1] = amplitudes * np.cos(phase), amplitudes * np.sin(phase)
    return out


def peaks_of(spectrum):
    """Peaks without errors: the replicas here are frequencies, so that their spread is no error bar."""
    values = spectrum.columns()[spectrum.main].values
    nothing = np.full_like(values, np.nan)
    return find_peaks(spectrum.wavenumber_per_cm, values, nothing, [], spectrum.report.resolution_per_cm)


def test_free_linear_rotor():
    moment = constants.h / (8.0 * np.pi**2 * C * 10.59)  # HCl, B = 10.59 cm^-1
    dipole_eA = 1.09 * DEBYE_eA
    turning = np.arange(1.0, 450.0, 2.0)
    weight = turning * np.exp(-0.5 * moment * (2.0 * np.pi * C * turning) ** 2 / KT)  # of the angular velocity
    series = circular(turning, dipole_eA * np.sqrt(weight / weight.mean()), 1000, 10.0)
    turned = series @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    settings = EstimatorSettings(resolution_per_cm=8.0, max_wavenumber_per_cm=None)
    spectrum = infrared_spectrum(turned, timestep_fs=10.0, temperature_K=TEMPERATURE, settings=settings, checks="off")
    nu = spectrum.wavenumber_per_cm
    area = np.trapezoid(spectrum.intensity_km_per_mol, nu)
    dipole_SI = dipole_eA * constants.e * 1e-10
    expected = constants.N_A * dipole_SI**2 / (6.0 * constants.epsilon_0 * constants.c**2 * moment) / 1e3
    assert area == pytest.approx(expected, rel=0.01)
    w = 2.0 * np.pi * C * nu
    shape = w**3 * np.exp(-0.5 * moment * w**2 / KT)
    shape *= expected / np.trapezoid(shape, nu)
    inner = (nu > 30.0) & (nu < 300.0)
    np.testing.assert_allclose(spectrum.intensity_km_per_mol[inner], shape[inner], atol=0.02 * shape.max())
    (peak,) = peaks_of(spectrum)
    assert peak.position_per_cm == pytest.approx(np.sqrt(3.0 * KT / moment) / (2.0 * np.pi * C), rel=0.01)


LINES = ((700.0, 60.0, 1.0, 20.0), (1600.0, 40.0, 0.4, 10.0), (3300.0, 120.0, 0.6, 1.0))
"""Position, full width, charge, mass."""


def mixture(timestep_fs=2.0, n_frames=6800):
    """Gaussian bands of thermal oscillators on a grid of wavenumbers: [frame, replica, xyz] e A, and the replicas."""
    wavenumbers, amplitudes = [], []
    for position, width, charge, mass in LINES:
        sigma = width / 2.354820
        grid = np.arange(position - 3.5 * sigma, position + 3.5 * sigma, 2.5)
        weight = np.exp(-0.5 * ((grid - position) / sigma) ** 2)
        weight /= weight.sum()
        omega = 2.0 * np.pi * C * grid
        wavenumbers.append(grid)
        amplitudes.append(charge * np.sqrt(2.0 * KT / (mass * constants.atomic_mass) * weight) / omega * 1e10)
    nu, a = np.concatenate(wavenumbers), np.concatenate(amplitudes)
    return circular(nu, a * np.sqrt(len(nu)), n_frames, timestep_fs)


@pytest.mark.parametrize("method", ["welch", "lag"])
def test_mixture_of_lines_has_its_positions_widths_and_intensities(method):
    settings = EstimatorSettings(resolution_per_cm=5.0, method=method)
    spectrum = infrared_spectrum(mixture(), timestep_fs=2.0, temperature_K=TEMPERATURE, settings=settings, checks="off")
    peaks = peaks_of(spectrum)
    assert len(peaks) == 3
    for peak, (position, width, charge, mass) in zip(peaks, LINES, strict=True):
        assert peak.position_per_cm == pytest.approx(position, abs=0.01 * width)
        assert peak.width_per_cm == pytest.approx(width, rel=0.01)
        # Two axes of 974.88 km/mol e^-2 amu (test_absolute_units.py).
        assert peak.integral == pytest.approx(2.0 * 974.88 * charge**2 / mass, rel=0.01)
        assert peak.height == pytest.approx(peak.integral / (width / 2.354820 * np.sqrt(2.0 * np.pi)), rel=0.01)


def test_raman_mixture_of_lines_keeps_ratio_and_activity():
    x = mixture()[..., 0] + mixture()[..., 1]
    slope = np.array([[1.0, 0.2, 0.0], [0.2, -0.5, 0.1], [0.0, 0.1, 0.4]])
    alpha = (np.eye(3) + slope * x[..., None, None]) / 14.3996454
    settings = EstimatorSettings(resolution_per_cm=5.0)
    spectrum = raman_spectrum(
        alpha, timestep_fs=2.0, temperature_K=TEMPERATURE, prefactor="reduced", settings=settings, checks="off"
    )
    mean2 = (slope.trace() / 3.0) ** 2
    gamma2 = 1.5 * (np.sum(slope**2) - slope.trace() ** 2 / 3.0)
    strongest = np.argmax(spectrum.total)
    assert spectrum.depolarization[strongest] == pytest.approx(3.0 * gamma2 / (45.0 * mean2 + 4.0 * gamma2), rel=1e-6)
    for position, width, charge, mass in LINES:
        inside = np.abs(spectrum.wavenumber_per_cm - position) < 3.5 * width
        area = np.trapezoid(spectrum.isotropic[inside], spectrum.wavenumber_per_cm[inside])
        assert area == pytest.approx(2.0 * mean2 * charge**2 / mass, rel=0.01)


@pytest.fixture(scope="module")
def drude_lorentz():
    """A damped oscillator in a cell, laid out by its own loss; plasma wavenumber 900, centre 600, damping 60 cm^-1."""
    nu = np.arange(1.25, 2500.0, 2.5)
    loss = 900.0**2 * 60.0 * nu / ((600.0**2 - nu**2) ** 2 + (60.0 * nu) ** 2)
    # eps'' = b S/(6 eps0 V w), and the two axes of one replica at nu_r add amplitude^2 w^2 / (2 c) to int S dnu.
    volume_A3 = 400.0
    omega = 2.0 * np.pi * C * nu
    density = loss * omega * 6.0 * constants.epsilon_0 * volume_A3 * 1e-30 * KT
    amplitude = np.sqrt(2.0 * density * 2.5 * C / omega**2) / (constants.e * 1e-10)
    return circular(nu, amplitude * np.sqrt(len(nu)), 2500, 4.0).astype(np.float32), volume_A3


def epsilon(nu, eps_inf):
    return eps_inf + 900.0**2 / (600.0**2 - nu**2 - 60.0j * nu)


def test_dielectric_function_of_a_damped_oscillator_and_its_real_part(drude_lorentz):
    series, volume = drude_lorentz
    settings = EstimatorSettings(resolution_per_cm=5.0, max_wavenumber_per_cm=None)
    common = {"timestep_fs": 4.0, "temperature_K": TEMPERATURE, "volume_A3": volume, "checks": "off"}
    spectrum = infrared_spectrum(series, eps_inf=2.2, settings=settings, **common)
    nu = spectrum.wavenumber_per_cm
    truth = epsilon(nu, 2.2)
    inner = (nu > 20.0) & (nu < 2300.0)
    scale = np.abs(truth).max()
    np.testing.assert_allclose(spectrum.eps_imag[inner], truth.imag[inner], atol=0.01 * scale)
    np.testing.assert_allclose(spectrum.eps_real[inner], truth.real[inner], atol=0.01 * scale)
    high = nu > 2000.0
    np.testing.assert_allclose(spectrum.eps_real[high & inner], truth.real[high & inner], rtol=0.01)
    index = np.sqrt(truth)
    np.testing.assert_allclose(spectrum.refractive_index[inner], index.real[inner], atol=0.01 * index.real.max())
    reflectivity = np.abs((index - 1.0) / (index + 1.0)) ** 2
    np.testing.assert_allclose(spectrum.reflectivity[inner], reflectivity[inner], atol=0.01)
    assert reflectivity[inner].max() > 0.5  # a reststrahlen band, where eps' < 0
    tensor = dielectric_function(series, eps_inf=2.2, settings=settings, **common)
    # The two axes carry all of it: 3/2 of the mean each, the third eps_inf alone.
    np.testing.assert_allclose(tensor.eps_real[inner, 0] - 2.2, 1.5 * (truth.real[inner] - 2.2), atol=0.015 * scale)
    np.testing.assert_allclose(tensor.eps_real[:, 2], 2.2, atol=1e-9)
    # Static constant: eps_inf + (900/600)^2 for the mean of the three axes.
    assert tensor.static.value == pytest.approx(2.2 + 2.25, rel=0.01)


def test_sum_rule_of_the_current():
    # int alpha n dnu = <J^2> / (12 eps0 V kT c^2): an identity of every series, to rounding.
    rng = np.random.default_rng(0)
    current = rng.normal(size=(4000, 2, 3)) * np.array([1.0, 0.5, 2.0]) * 1e-3  # e A/fs, white: up to Nyquist
    settings = EstimatorSettings(resolution_per_cm=300.0, method="lag", window="none", max_wavenumber_per_cm=None)
    with pytest.warns(match="Nyquist|highest peak"):
        spectrum = infrared_spectrum(
            current,
            quantity="current",
            timestep_fs=5.0,
            temperature_K=TEMPERATURE,
            volume_A3=500.0,
            settings=settings,
            checks="off",
        )
    nu = spectrum.wavenumber_per_cm
    area = np.sum(spectrum.alpha_n_per_cm) * (nu[1] - nu[0])
    # The point at zero is not in the table; half of it and half of the last one are the ends of the trapezoid.
    area += 0.5 * (nu[1] - nu[0]) * (spectrum.alpha_n_per_cm[0] - spectrum.alpha_n_per_cm[-1])
    current_SI = np.mean(np.sum(current**2, axis=-1)) * (constants.e * 1e-10 / 1e-15) ** 2
    expected = current_SI / (12.0 * constants.epsilon_0 * 500e-30 * KT * constants.c**2) * 1e-4  # cm^-1 per cm
    assert area == pytest.approx(expected, rel=2e-3)
