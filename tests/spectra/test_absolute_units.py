"""Absolute units on harmonic oscillators, whose intensities are known in closed form.

Trajectories are exact: x(t) = A cos(w t + phase) with A^2 and phase of the Boltzmann distribution.  The expected
values are written here in SI units from scipy.constants, without the package's own table.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants

from spectra_app.spectra import (
    EstimatorSettings,
    dielectric_function,
    infrared_spectrum,
    raman_spectrum,
    static_dielectric_constant,
    vdos,
)
from spectra_app.spectra.peaks import find_peaks

TEMPERATURE = 350.0
KT_EV = constants.k * TEMPERATURE / constants.e
AMU_KG = constants.atomic_mass
C_CM_PER_FS = constants.c * 1e2 * 1e-15


def omega_of(wavenumber):
    return 2.0 * np.pi * C_CM_PER_FS * wavenumber


def rms_amplitude(mass_amu, wavenumber):
    """sqrt(kT / (m w^2)) in Angstrom, from SI."""
    omega_SI = 2.0 * np.pi * constants.c * 1e2 * wavenumber
    return np.sqrt(constants.k * TEMPERATURE / (mass_amu * AMU_KG)) / omega_SI * 1e10


def oscillators(n_frames, n_replicas, timestep_fs, mass_amu, wavenumber, n_axes=1, seed=0):
    """[frame, replica, axis] displacements in A."""
    rng = np.random.default_rng(seed)
    amplitude = rng.normal(size=(2, n_replicas, n_axes)) * rms_amplitude(mass_amu, wavenumber)
    phase = omega_of(wavenumber) * timestep_fs * np.arange(n_frames)[:, None, None]
    return amplitude[0] * np.cos(phase) + amplitude[1] * np.sin(phase)


@pytest.mark.parametrize("method", ["welch", "lag"])
@pytest.mark.parametrize("window", ["hann", "gaussian", "blackman"])
def test_infrared_intensity_of_a_molecule_in_km_per_mol(method, window):
    charge, mass, wavenumber, n_replicas = 0.7, 12.0, 1500.0, 1500
    x = oscillators(700, n_replicas, 2.0, mass, wavenumber)
    dipole = np.concatenate([charge * x, 5.0 + 0.0 * x, -3.0 + 0.0 * x], axis=-1)
    settings = EstimatorSettings(resolution_per_cm=60.0, method=method, window=window)
    spectrum = infrared_spectrum(dipole, timestep_fs=2.0, temperature_K=TEMPERATURE, settings=settings)
    # N_A z^2 / (12 eps0 c^2 m) in SI is metres per mole.
    SI = constants.N_A * (charge * constants.e) ** 2 / (12.0 * constants.epsilon_0 * constants.c**2 * mass * AMU_KG)
    expected = SI / 1e3
    assert expected == pytest.approx(974.88 * charge**2 / mass, rel=1e-4)  # the known conversion of the field
    area = np.trapezoid(spectrum.intensity_km_per_mol, spectrum.wavenumber_per_cm)
    # The sample's own <x^2> is known, so only the statistics of the replicas is taken off, not a unit.
    sampled = np.mean(x**2) / rms_amplitude(mass, wavenumber) ** 2
    assert sampled == pytest.approx(1.0, abs=0.06)
    assert area == pytest.approx(expected * sampled, rel=0.01)
    highest = max(spectrum.peaks, key=lambda peak: peak.height)
    assert highest.position_per_cm == pytest.approx(wavenumber, abs=0.1 * spectrum.report.resolution_per_cm)
    if window == "hann":
        nu, values = spectrum.wavenumber_per_cm, spectrum.intensity_km_per_mol
        seen = find_peaks(nu, values, np.full_like(nu, np.nan), [], 60.0)
        widest = max(seen, key=lambda peak: peak.height).width_per_cm
        assert widest == pytest.approx(60.0, rel=0.03)  # the definition of resolution
        assert highest.width_per_cm < 0.92 * widest  # the window's broadening taken off to first order


def test_infrared_replica_average_converges_without_any_rescaling():
    charge, mass, wavenumber = 0.5, 16.0, 700.0
    x = oscillators(340, 20000, 4.0, mass, wavenumber, seed=3)
    dipole = np.concatenate([charge * x, 0.0 * x, 0.0 * x], axis=-1).astype(np.float32)
    settings = EstimatorSettings(resolution_per_cm=60.0)
    spectrum = infrared_spectrum(dipole, timestep_fs=4.0, temperature_K=TEMPERATURE, settings=settings, checks="off")
    area = np.trapezoid(spectrum.intensity_km_per_mol, spectrum.wavenumber_per_cm)
    assert area == pytest.approx(974.88 * charge**2 / mass, rel=0.02)


def test_cell_absorption_and_susceptibility_of_oscillators_in_a_box():
    charge, mass, wavenumber, volume, n = 1.1, 20.0, 600.0, 250.0, 2000
    x = oscillators(900, n, 4.0, mass, wavenumber, n_axes=3, seed=1)
    dipole = charge * x
    sampled = np.mean(x**2) / rms_amplitude(mass, wavenumber) ** 2
    settings = EstimatorSettings(resolution_per_cm=25.0, max_wavenumber_per_cm=None)
    spectrum = infrared_spectrum(
        dipole,
        timestep_fs=4.0,
        temperature_K=TEMPERATURE,
        volume_A3=volume,
        eps_inf=2.0,
        n_molecules=1,
        settings=settings,
    )
    nu = spectrum.wavenumber_per_cm
    # Drude-Lorentz: int nu eps'' dnu = (pi/2) nu_p^2 with nu_p^2 = z^2 / (eps0 V m) / (2 pi c)^2, one per axis.
    plasma_SI = (charge * constants.e) ** 2 / (constants.epsilon_0 * volume * 1e-30 * mass * AMU_KG)
    plasma_per_cm2 = plasma_SI / (2.0 * np.pi * constants.c * 1e2) ** 2
    assert np.trapezoid(nu * spectrum.eps_imag, nu) == pytest.approx(0.5 * np.pi * plasma_per_cm2 * sampled, rel=0.005)
    # alpha n = 2 pi nu eps'' by definition of the wavenumber.
    np.testing.assert_allclose(spectrum.alpha_n_per_cm, 2.0 * np.pi * nu * spectrum.eps_imag, rtol=1e-8)
    # Far below the line eps' is eps_inf + nu_p^2 / (nu0^2 - nu^2).
    low = np.searchsorted(nu, 150.0)
    expected = 2.0 + plasma_per_cm2 * sampled / (wavenumber**2 - nu[low] ** 2)
    assert spectrum.eps_real[low] == pytest.approx(expected, rel=0.005)
    high = np.searchsorted(nu, 2500.0)
    assert spectrum.eps_real[high] == pytest.approx(
        2.0 + plasma_per_cm2 * sampled / (600.0**2 - nu[high] ** 2), rel=1e-3
    )
    # Per mole of cells it is the molecule's intensity (three axes).
    per_mole = np.trapezoid(spectrum.intensity_km_per_mol, nu)
    assert per_mole == pytest.approx(3 * 974.88 * charge**2 / mass * sampled, rel=0.005)
    index = np.sqrt(spectrum.eps_real + 1j * spectrum.eps_imag)
    np.testing.assert_allclose(spectrum.refractive_index, index.real)
    np.testing.assert_allclose(
        spectrum.absorption_per_cm * spectrum.refractive_index, spectrum.alpha_n_per_cm, rtol=1e-6, atol=1e-9
    )
    molar = spectrum.absorption_per_cm / np.log(10) / (1.0 / constants.N_A / (volume * 1e-27))
    np.testing.assert_allclose(spectrum.molar_absorptivity, molar, rtol=1e-9)


def test_static_dielectric_constant_of_oscillators():
    charge, mass, wavenumber, volume = 1.1, 20.0, 600.0, 250.0
    x = oscillators(500, 4000, 4.0, mass, wavenumber, n_axes=3, seed=2) * np.array([1.0, 2.0, 0.5])
    spring = mass * AMU_KG * (2.0 * np.pi * constants.c * 1e2 * wavenumber) ** 2
    chi = (charge * constants.e) ** 2 / (constants.epsilon_0 * volume * 1e-30 * spring)
    result = static_dielectric_constant(
        charge * x, temperature_K=TEMPERATURE, volume_A3=volume, eps_inf=1.5, mean="zero", checks="off"
    )
    expected = 1.5 + chi * np.array([1.0, 4.0, 0.25])
    np.testing.assert_allclose(np.diag(result.tensor) - 1.5, expected - 1.5, rtol=0.1)
    assert abs(result.value - expected.mean()) < 4.0 * result.error
    assert 0.0 < result.error < 0.1 * (result.value - 1.5)
    assert abs(result.tensor[0, 1]) < 4.0 * result.tensor_error[0, 1]


def test_static_dielectric_constant_does_not_see_a_gauge_of_single_replicas():
    x = oscillators(400, 6, 4.0, 20.0, 150.0, n_axes=3, seed=5)
    shifted = x + 100.0 * np.arange(6)[:, None]
    common = {"temperature_K": 300.0, "volume_A3": 100.0, "eps_inf": np.diag([2.0, 3.0, 4.0]), "checks": "off"}
    plain = static_dielectric_constant(x, mean="replica", **common)
    assert static_dielectric_constant(shifted, mean="replica", **common).value == pytest.approx(plain.value, rel=1e-6)
    assert static_dielectric_constant(shifted, mean="pooled", **common).value > 100.0 * plain.value
    pooled = np.cov(x.reshape(-1, 3).T, bias=True) / (KT_EV * TEMPERATURE**-1 * 300.0 * 100.0)
    pooled = pooled / (constants.epsilon_0 * 1e-10 / constants.e) + np.diag([2.0, 3.0, 4.0])
    np.testing.assert_allclose(static_dielectric_constant(x, mean="pooled", **common).tensor, pooled, rtol=1e-6)


def test_dielectric_tensor_of_a_tilted_oscillator():
    charge, mass, wavenumber, volume = 0.9, 15.0, 800.0, 180.0
    direction = np.array([0.36, 0.48, 0.8])
    x = oscillators(900, 500, 3.0, mass, wavenumber, seed=7)
    dipole = charge * x * direction
    sampled = np.mean(x**2) / rms_amplitude(mass, wavenumber) ** 2
    eps_inf = np.array([[2.0, 0.1, 0.2], [0.1, 3.0, 0.3], [0.2, 0.3, 4.0]])
    settings = EstimatorSettings(resolution_per_cm=30.0, max_wavenumber_per_cm=None)
    result = dielectric_function(
        dipole, timestep_fs=3.0, temperature_K=TEMPERATURE, volume_A3=volume, eps_inf=eps_inf, settings=settings
    )
    nu = result.wavenumber_per_cm
    plasma = (charge * constants.e) ** 2 / (constants.epsilon_0 * volume * 1e-30 * mass * AMU_KG)
    plasma /= (2.0 * np.pi * constants.c * 1e2) ** 2 / sampled
    for i, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strength = plasma * direction[a] * direction[b]
        assert np.trapezoid(nu * result.eps_imag[:, i], nu) == pytest.approx(0.5 * np.pi * strength, rel=0.01)
        k = np.searchsorted(nu, 200.0)
        expected = eps_inf[a, b] + strength / (wavenumber**2 - nu[k] ** 2)
        assert result.eps_real[k, i] == pytest.approx(expected, rel=0.01)
    np.testing.assert_allclose(result.mean_imag, result.eps_imag[:, :3].mean(axis=1), rtol=1e-9, atol=1e-15)


ALPHA_PRIME_A2 = np.array([[0.9, 0.2, -0.1], [0.2, 0.4, 0.3], [-0.1, 0.3, -0.5]])  # d(alpha volume)/dx, A^2
MEAN_PRIME = (0.9 + 0.4 - 0.5) / 3.0
GAMMA2_PRIME = 0.5 * ((0.9 - 0.4) ** 2 + (0.4 + 0.5) ** 2 + (-0.5 - 0.9) ** 2) + 3.0 * (0.2**2 + 0.1**2 + 0.3**2)


def raman_series(wavenumber, mass, n_replicas, n_frames=500, timestep=2.0, seed=11):
    x = oscillators(n_frames, n_replicas, timestep, mass, wavenumber, seed=seed)
    coulomb_eVA = constants.e / (4.0 * np.pi * constants.epsilon_0) * 1e10
    alpha = (np.eye(3) * 1.5 + ALPHA_PRIME_A2 * x[..., None]) / coulomb_eVA
    return alpha, np.mean(x**2) / rms_amplitude(mass, wavenumber) ** 2


@pytest.mark.parametrize("method", ["welch", "lag"])
def test_raman_activity_of_the_reduced_spectrum(method):
    mass, wavenumber = 14.0, 1100.0
    alpha, sampled = raman_series(wavenumber, mass, 400)
    settings = EstimatorSettings(resolution_per_cm=80.0, method=method)
    spectrum = raman_spectrum(alpha, timestep_fs=2.0, temperature_K=TEMPERATURE, prefactor="reduced", settings=settings)
    nu = spectrum.wavenumber_per_cm
    assert np.trapezoid(spectrum.isotropic, nu) == pytest.approx(MEAN_PRIME**2 / mass * sampled, rel=0.01)
    assert np.trapezoid(spectrum.anisotropic, nu) == pytest.approx(GAMMA2_PRIME / mass * sampled, rel=0.01)
    ratio = 3.0 * GAMMA2_PRIME / (45.0 * MEAN_PRIME**2 + 4.0 * GAMMA2_PRIME)  # textbook depolarization ratio
    at_peak = np.argmax(spectrum.total)
    assert spectrum.depolarization[at_peak] == pytest.approx(ratio, rel=1e-6)
    assert spectrum.units["total"] == "A^4 amu^-1 per cm^-1"


def test_raman_stokes_cross_section_of_one_line():
    mass, wavenumber, laser_nm = 14.0, 1100.0, 488.0
    alpha, sampled = raman_series(wavenumber, mass, 400)
    spectrum = raman_spectrum(
        alpha, timestep_fs=2.0, temperature_K=TEMPERATURE, laser_nm=laser_nm, settings=EstimatorSettings(60.0)
    )
    # (2 pi)^4/45 (nu_L - nu)^4 h / (8 pi^2 c nu) (45 a'^2 + 7 g'^2) / (1 - exp(-h c nu / kT)), SI.
    nu_SI, laser_SI = wavenumber * 1e2, 1e9 / laser_nm
    activity_SI = (45.0 * MEAN_PRIME**2 + 7.0 * GAMMA2_PRIME) * 1e-40 / (mass * AMU_KG)
    quantum = constants.h / (8.0 * np.pi**2 * constants.c * nu_SI)
    bose = 1.0 / (1.0 - np.exp(-constants.h * constants.c * nu_SI / (constants.k * TEMPERATURE)))
    expected_m2 = (2.0 * np.pi) ** 4 / 45.0 * (laser_SI - nu_SI) ** 4 * quantum * activity_SI * bose
    area = np.trapezoid(spectrum.total, spectrum.wavenumber_per_cm)
    assert area == pytest.approx(expected_m2 * 1e4 / 1e-30 * sampled, rel=0.02)
    (peak,) = spectrum.peaks
    assert peak.position_per_cm == pytest.approx(wavenumber, abs=0.1 * 60.0)


@pytest.mark.filterwarnings("ignore:The anisotropic part of the polarizability does not change")
def test_raman_porto_geometries_single_out_components():
    alpha, _ = raman_series(900.0, 10.0, 50)
    # An antisymmetric part would tell e_out alpha e_in from its transpose; make the tensor lopsided on purpose.
    alpha = alpha + np.triu(alpha - 1.5 * np.eye(3) * alpha[0, 0, 0, 0], 1) * 0.7
    settings = EstimatorSettings(resolution_per_cm=60.0)
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "prefactor": "none", "settings": settings}
    tilted = (np.array([1.0, 2.0, 2.0]), np.array([2.0, -2.0, 1.0]))
    full = raman_spectrum(alpha, geometries={"tilted": tilted, "yx": ([1, 0, 0], [0, 1, 0])}, **common)
    porto = raman_spectrum(alpha, geometries=["z(xy)-z", "y(zz)x"], **common)
    series = np.einsum("a,trab,b->tr", tilted[1] / 3.0, alpha, tilted[0] / 3.0)
    only = np.zeros((*series.shape, 3, 3))
    only[..., 0, 0] = only[..., 1, 1] = only[..., 2, 2] = series
    expected = raman_spectrum(only, **common).isotropic
    np.testing.assert_allclose(full.geometries["tilted"], expected, rtol=1e-8, atol=1e-12 * expected.max())
    np.testing.assert_allclose(full.geometries["yx"], porto.geometries["z(xy)-z"], rtol=1e-12)
    assert set(porto.columns()) >= {"z(xy)-z", "z(xy)-z_error", "y(zz)x"}


def test_raman_average_does_not_change_under_rotation():
    alpha, _ = raman_series(900.0, 10.0, 20)
    angle = 0.7
    turn_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(1.9), -np.sin(1.9)], [0, np.sin(1.9), np.cos(1.9)]])
    rotation = turn_z @ turn_x
    settings = EstimatorSettings(resolution_per_cm=60.0)
    common = {"timestep_fs": 2.0, "temperature_K": 300.0, "settings": settings}
    before = raman_spectrum(alpha, **common)
    after = raman_spectrum(np.einsum("ac,trcd,bd->trab", rotation, alpha, rotation), **common)
    for name in ("isotropic", "anisotropic", "vv", "vh"):
        reference = getattr(before, name)
        np.testing.assert_allclose(getattr(after, name), reference, rtol=1e-6, atol=1e-9 * reference.max())


def test_derivative_input_gives_the_same_spectra():
    charge, mass, wavenumber, dt = 0.7, 12.0, 800.0, 1.0
    rng = np.random.default_rng(4)
    amplitude = rng.normal(size=(2, 50, 3)) * rms_amplitude(mass, wavenumber)
    phase = omega_of(wavenumber) * dt * np.arange(1500)[:, None, None]
    x = amplitude[0] * np.cos(phase) + amplitude[1] * np.sin(phase)
    v = omega_of(wavenumber) * (amplitude[1] * np.cos(phase) - amplitude[0] * np.sin(phase))
    common = {"timestep_fs": dt, "temperature_K": 300.0, "settings": EstimatorSettings(60.0)}
    from_dipole = infrared_spectrum(charge * x, **common)
    from_current = infrared_spectrum(charge * v, quantity="current", **common)
    direct = infrared_spectrum(charge * x, **{**common, "settings": EstimatorSettings(60.0, derivative="direct")})
    areas = [np.trapezoid(s.intensity_km_per_mol, dx=1.0) for s in (from_dipole, direct)]
    reference = np.trapezoid(from_current.intensity_km_per_mol[: len(from_dipole.wavenumber_per_cm)], dx=1.0)
    assert areas == pytest.approx([reference, reference], rel=0.01)
    tensor = np.array([[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]])
    alpha, rate = x[..., :1, None] * tensor, v[..., :1, None] * tensor
    raman = raman_spectrum(alpha, prefactor="reduced", **common)
    raman_rate = raman_spectrum(rate, prefactor="reduced", quantity="derivative", **common)
    assert np.trapezoid(raman.vv, dx=1.0) == pytest.approx(np.trapezoid(raman_rate.vv, dx=1.0), rel=0.01)


@pytest.mark.parametrize("wavenumber", [500.0, 3700.0])
def test_finite_difference_factor_is_corrected_up_to_high_wavenumbers(wavenumber):
    x = oscillators(2000, 50, 2.0, 5.0, wavenumber, seed=9)
    dipole = np.concatenate([x, 0.0 * x, 0.0 * x], axis=-1)
    spectrum = infrared_spectrum(dipole, timestep_fs=2.0, temperature_K=TEMPERATURE, checks="off")
    area = np.trapezoid(spectrum.intensity_km_per_mol, spectrum.wavenumber_per_cm)
    sampled = np.mean(x**2) / rms_amplitude(5.0, wavenumber) ** 2
    # Uncorrected, (sin(x)/x)^2 takes 0.3% at 500 and 15% at 3700 cm^-1.
    assert area == pytest.approx(974.88 / 5.0 * sampled, rel=0.003)


def test_vdos_counts_degrees_of_freedom_and_their_shares():
    masses = np.array([16.0, 1.0, 1.0, 12.0])
    wavenumbers = np.array([400.0, 3000.0, 1600.0, 900.0])
    columns = []
    for i, (mass, wavenumber) in enumerate(zip(masses, wavenumbers, strict=True)):
        x = oscillators(1200, 600, 2.0, mass, wavenumber, n_axes=3, seed=i)
        columns.append(x)
    positions = np.stack(columns, axis=2) + np.arange(12.0).reshape(4, 3)
    spectrum = vdos(
        positions,
        masses,
        timestep_fs=2.0,
        symbols=["O", "H", "H", "C"],
        quantity="positions",
        settings=EstimatorSettings(resolution_per_cm=40.0),
        checks="off",
    )
    nu = spectrum.wavenumber_per_cm
    assert np.trapezoid(spectrum.total, nu) == pytest.approx(12.0, rel=2e-3)
    for symbol, share in (("O", 3.0), ("H", 6.0), ("C", 3.0)):
        assert np.trapezoid(spectrum.elements[symbol], nu) == pytest.approx(share, rel=0.06)
    np.testing.assert_allclose(sum(spectrum.elements.values()), spectrum.total, rtol=1e-12)
    assert spectrum.temperature_K == pytest.approx(TEMPERATURE, rel=0.03)
    for wavenumber, peak in zip(sorted(wavenumbers), spectrum.peaks, strict=True):
        assert peak.position_per_cm == pytest.approx(wavenumber, abs=4.0)


def test_vdos_normalises_to_the_count_given():
    x = oscillators(800, 4, 2.0, 10.0, 700.0, n_axes=3)[:, :, None, :]
    settings = EstimatorSettings(resolution_per_cm=60.0)
    spectrum = vdos(x, [10.0], timestep_fs=2.0, degrees_of_freedom=2.5, settings=settings)
    assert np.trapezoid(spectrum.total, spectrum.wavenumber_per_cm) == pytest.approx(2.5, rel=1e-3)
