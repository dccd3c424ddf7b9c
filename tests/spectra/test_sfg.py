"""Sum frequency of an interface: absolute units and signs on oscillators, and the cut at the centre of a slab."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import EstimatorSettings, interface_series, sfg_spectrum
from spectra_app.spectra.interface import face_weights

TEMPERATURE, TIMESTEP, AREA = 320.0, 2.0, 95.0
CHARGE, MASS, WAVENUMBER = 0.6, 9.0, 1500.0
SLOPE = np.array([[0.5, 0.1, -0.2], [0.15, 0.3, 0.25], [-0.3, 0.35, 0.8]])  # dA/dq, e^2 A/eV, not even symmetric
DIRECTION = np.array([0.36, -0.48, 0.8])
SETTINGS = EstimatorSettings(resolution_per_cm=60.0, max_wavenumber_per_cm=None)
COMMON = {"timestep_fs": TIMESTEP, "temperature_K": TEMPERATURE, "area_A2": AREA, "settings": SETTINGS}
OMEGA_SI = 2.0 * np.pi * constants.c * 1e2 * WAVENUMBER


def displacements(n_frames, n_replicas, n_parts=1, seed=0):
    """[frame, replica, part] A, of the Boltzmann distribution; and <q^2> over its expected value."""
    rng = np.random.default_rng(seed)
    rms = np.sqrt(constants.k * TEMPERATURE / (MASS * constants.atomic_mass)) / OMEGA_SI * 1e10
    amplitude = rng.normal(size=(2, n_replicas, n_parts)) * rms
    phase = OMEGA_SI * 1e-15 * TIMESTEP * np.arange(n_frames)[:, None, None]
    q = amplitude[0] * np.cos(phase) + amplitude[1] * np.sin(phase)
    return q, np.mean(q**2) / rms**2


def strength(a, b, c):
    """A'_ab z d_c / (eps0 area m) in SI: chi = this / (w0^2 - w^2), m^2/V s^-2."""
    slope = SLOPE[a, b] * constants.e * 1e-20 / 1e-10  # e^2 A^2/eV per A = e A^2/V per A, in SI
    return (
        slope
        * CHARGE
        * constants.e
        * DIRECTION[c]
        / (constants.epsilon_0 * AREA * 1e-20 * MASS * constants.atomic_mass)
    )


@pytest.mark.parametrize("method", ["welch", "lag"])
def test_oscillators_have_the_strength_and_sign_of_linear_response(method):
    q, sampled = displacements(900, 400)
    settings = EstimatorSettings(resolution_per_cm=60.0, method=method, max_wavenumber_per_cm=None)
    spectrum = sfg_spectrum(
        CHARGE * q * DIRECTION,
        0.4 * np.eye(3) + SLOPE * q[..., None],
        elements=("ssp", "zzz", "xyz", "yxz", "sps"),
        **{**COMMON, "settings": settings},
    )
    nu = spectrum.wavenumber_per_cm
    omega = 2.0 * np.pi * constants.c * 1e2 * nu
    expected = {
        "ssp": 0.5 * (strength(0, 0, 2) + strength(1, 1, 2)),
        "zzz": strength(2, 2, 2),
        "xyz": strength(0, 1, 2),
        "yxz": strength(1, 0, 2),
        "sps": 0.5 * (strength(0, 2, 0) + strength(1, 2, 1)),
    }
    low = np.searchsorted(nu, 500.0)
    for name, value in expected.items():
        area = np.trapezoid(omega * spectrum.imag[name], omega) * 1e-22
        assert area == pytest.approx(0.5 * np.pi * value * sampled, rel=0.01), name
        far = value * sampled / (OMEGA_SI**2 - omega[low] ** 2)
        assert spectrum.real[name][low] * 1e-22 == pytest.approx(far, rel=0.02), name
    assert expected["sps"] < 0.0 < expected["ssp"]  # both signs are tested
    np.testing.assert_allclose(spectrum.intensity["zzz"], spectrum.real["zzz"] ** 2 + spectrum.imag["zzz"] ** 2)
    (peak,) = spectrum.peaks
    assert peak.position_per_cm == pytest.approx(WAVENUMBER, abs=6.0)
    assert spectrum.columns()["ssp_imag"].unit == "1e-22 m^2 V^-1"


def test_a_band_that_points_down_is_a_negative_peak():
    q, _ = displacements(900, 100)
    spectrum = sfg_spectrum(-CHARGE * q * DIRECTION, 0.4 * np.eye(3) + SLOPE * q[..., None], **COMMON)
    (peak,) = spectrum.peaks
    assert peak.height < 0.0
    assert peak.integral < 0.0
    assert 0.0 < peak.height_error < abs(peak.height)


def test_rates_give_the_same_as_the_series():
    q, _ = displacements(900, 100)
    omega = OMEGA_SI * 1e-15 * TIMESTEP
    rate = np.gradient(q, axis=0) / TIMESTEP * omega / np.sin(omega)  # exact for one frequency, ends aside
    series = sfg_spectrum(CHARGE * q * DIRECTION, SLOPE * q[..., None], checks="off", **COMMON)
    rates = sfg_spectrum(
        CHARGE * rate[1:-1] * DIRECTION, SLOPE * rate[1:-1, ..., None], quantity="rates", checks="off", **COMMON
    )
    assert rates.imag["ssp"].max() == pytest.approx(series.imag["ssp"].max(), rel=0.01)


def slab(n_frames=600, n_replicas=60, seed=3):
    """Ten molecules a face, those below turned upside down; they drift slowly, and lie off the origin."""
    q, _ = displacements(n_frames, n_replicas, 20, seed)
    up = np.repeat([1.0, -1.0], 10)
    dipoles = CHARGE * q[..., None] * DIRECTION * up[:, None]
    alpha = np.eye(3) + SLOPE * q[..., None, None]
    wander = 0.002 * np.random.default_rng(4).normal(size=q.shape).cumsum(axis=0)
    z = 31.0 + up * np.tile(np.linspace(4.0, 9.0, 10), 2) + wander
    return dipoles, alpha, z


def test_the_two_faces_cancel_until_they_are_cut_at_the_centre():
    dipoles, alpha, z = slab()
    whole = sfg_spectrum(dipoles.sum(axis=2), alpha.sum(axis=2), **COMMON)
    cut = {
        faces: sfg_spectrum(interface_series(dipoles, alpha, z, timestep_fs=TIMESTEP, faces=faces), **COMMON)
        for faces in ("upper", "lower", "both")
    }
    expected = sfg_spectrum(dipoles[:, :, :10].sum(axis=2), alpha[:, :, :10].sum(axis=2), **COMMON).imag["ssp"]
    top = np.argmax(expected)
    assert abs(whole.imag["ssp"][top]) < 0.35 * expected[top]
    np.testing.assert_allclose(cut["upper"].imag["ssp"], expected, rtol=1e-6, atol=1e-9 * expected[top])
    assert cut["lower"].imag["ssp"][top] == pytest.approx(expected[top], rel=0.3)
    assert cut["both"].imag["ssp"][top] == pytest.approx(expected[top], rel=0.3)
    assert cut["both"].parameters["faces"] == 2


def test_a_molecule_that_crosses_the_window_makes_no_current():
    # One molecule with a permanent dipole and no vibration moves through the centre: no rate at all.
    z = np.linspace(-5.0, 5.0, 200)[:, None] + np.array([0.0, 20.0, -20.0])
    dipoles = np.broadcast_to([0.0, 0.0, 1.0], (200, 3, 3))
    alpha = np.broadcast_to(np.diag([1.0, 2.0, 3.0]), (200, 3, 3, 3))
    series = interface_series(dipoles, alpha, z, timestep_fs=1.0, centre_A=0.0)
    assert np.abs(series.dipole_rate_eA_per_fs).max() == 0.0
    assert np.abs(series.polarizability_rate).max() == 0.0


def test_weights_are_smooth_odd_and_even():
    height = np.linspace(-8.0, 8.0, 4001)
    odd, even = face_weights(height, 3.0, "both")
    np.testing.assert_allclose(odd, -odd[::-1], atol=1e-12)
    np.testing.assert_allclose(even, np.abs(odd))
    assert even[-1] == odd[-1] == 1.0
    assert np.abs(np.diff(odd)).max() < 1.2 * 0.004 * np.pi / 2.0 / 3.0
    upper, lower = (face_weights(height, 3.0, faces) for faces in ("upper", "lower"))
    np.testing.assert_allclose(upper[0] + lower[0], odd, atol=1e-12)
    np.testing.assert_allclose(upper[1] + lower[1], even, atol=1e-12)
    assert lower[0].min() == -1.0
    assert odd[np.searchsorted(height, 1.5)] == pytest.approx(0.5, abs=1e-2)


def test_wrong_input_is_refused():
    dipoles, alpha, z = slab(100, 2)
    with pytest.raises(SeriesError, match="frames, replicas, parts of z_A"):
        interface_series(dipoles, alpha, z[:50], timestep_fs=1.0)
    jumped = z.copy()
    jumped[40:, 1, 3] -= 60.0
    with pytest.raises(SeriesError, match="z_A between frames 39 and 40: got a molecule that moves by 60"):
        interface_series(dipoles, alpha, jumped, timestep_fs=1.0)
    with pytest.raises(ConfigError, match="faces: got 'left'"):
        interface_series(dipoles, alpha, z, timestep_fs=1.0, faces="left")
    with pytest.raises(ConfigError, match="sfg element: got 'xxw'"):
        sfg_spectrum(dipoles.sum(axis=2), alpha.sum(axis=2), elements=("xxw",), **COMMON)
    settings = EstimatorSettings(method="cepstral")
    with pytest.raises(ConfigError, match=r"spectra\.method: got cepstral"):
        sfg_spectrum(dipoles.sum(axis=2), alpha.sum(axis=2), **{**COMMON, "settings": settings})
