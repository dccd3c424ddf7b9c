"""Tensor eps_inf: a crystal of three different Drude-Lorentz oscillators, in its own axes and turned."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy import constants

from spectra_app.errors import ConfigError
from spectra_app.spectra import EstimatorSettings, infrared_spectrum

KELVIN, VOLUME = 300.0, 400.0
C = constants.c * 1e2
LINES = {"1": (600.0, 900.0, 60.0), "2": (800.0, 500.0, 80.0), "3": (400.0, 650.0, 60.0)}
"""Centre, plasma wavenumber, damping along each principal axis, cm^-1."""
HIGH = np.array([2.0, 2.6, 3.3])
SETTINGS = EstimatorSettings(resolution_per_cm=8.0, max_wavenumber_per_cm=None)
COMMON = {"timestep_fs": 5.0, "temperature_K": KELVIN, "volume_A3": VOLUME, "settings": SETTINGS, "checks": "off"}


def epsilon(label, nu):
    centre, plasma, damping = LINES[label]
    return HIGH[int(label) - 1] + plasma**2 / (centre**2 - nu**2 - 1j * damping * nu)


def rotation():
    """Neither 90 degrees nor about one axis: 37 degrees about z, then 64 about x."""
    a, b = np.radians([37.0, 64.0])
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]) @ z


@pytest.fixture(scope="module")
def crystal():
    """[frame, replica, axis] dipole along the principal axes, laid out by the loss, a replica per wavenumber.

    Two replicas per wavenumber, a quarter of a period apart, so that nothing is left to chance.
    """
    nu = np.arange(2.0, 2600.0, 4.0)
    omega = 2.0 * np.pi * C * nu
    out = np.zeros((1600, 2 * len(nu), 3))
    t = 5e-15 * np.arange(1600)[:, None]
    for axis, label in enumerate(LINES):
        loss = epsilon(label, nu).imag
        # eps'' = b S/(2 eps0 V w) along one axis; int S dnu = <M'^2>/(2 c).
        density = loss * omega * 2.0 * constants.epsilon_0 * VOLUME * 1e-30 * constants.k * KELVIN
        amplitude = np.sqrt(2.0 * density * 4.0 * 2.0 * C / omega**2 * len(nu)) / (constants.e * 1e-10)
        phase = omega * t + 2.4 * (axis + 1.0) * nu
        out[:, ::2, axis] = amplitude * np.cos(phase)
        out[:, 1::2, axis] = amplitude * np.sin(phase)
    return out.astype(np.float32)


def expectations(label, nu):
    eps = epsilon(label, nu)
    index = np.sqrt(eps)
    return {
        "eps_real": eps.real,
        "eps_imag": eps.imag,
        "refractive_index": index.real,
        "extinction": index.imag,
        "absorption_per_cm": 4.0 * np.pi * nu * index.imag,
        "reflectivity": np.abs((index - 1.0) / (index + 1.0)) ** 2,
        "loss": -(1.0 / eps).imag,
    }


def assert_is_the_crystal(spectrum, names):
    nu = spectrum.wavenumber_per_cm
    inner = (nu > 60.0) & (nu < 2300.0)
    for label, name in names.items():
        for quantity, truth in expectations(label, nu[inner]).items():
            found = spectrum.polarized[f"{quantity}_{name}"][inner]
            allowed = {"reflectivity": 0.025, "loss": 0.06}.get(quantity, 0.02) * np.abs(truth).max()
            np.testing.assert_allclose(found, truth, atol=allowed, err_msg=f"{quantity} {label}")
        # Far above the lines eps' is eps_inf of its own axis.
        end = spectrum.polarized[f"eps_real_{name}"][np.searchsorted(nu, 2300.0)]
        assert end == pytest.approx(epsilon(label, 2300.0).real, rel=5e-3)
        assert end == pytest.approx(HIGH[int(label) - 1], abs=0.2)


def test_polarized_optics_along_the_axes_of_the_laboratory(crystal):
    spectrum = infrared_spectrum(crystal, eps_inf=np.diag(HIGH), **COMMON)
    assert_is_the_crystal(spectrum, {"1": "xx", "2": "yy", "3": "zz"})
    nu = spectrum.wavenumber_per_cm
    inner = (nu > 60.0) & (nu < 2300.0)
    mean = np.mean([epsilon(label, nu) for label in LINES], axis=0)
    np.testing.assert_allclose(spectrum.eps_real[inner], mean.real[inner], atol=0.02 * np.abs(mean).max())
    np.testing.assert_allclose(spectrum.eps_imag[inner], mean.imag[inner], atol=0.02 * np.abs(mean).max())
    np.testing.assert_allclose(spectrum.alpha_n_per_cm, 2.0 * np.pi * nu * spectrum.eps_imag, rtol=1e-6)
    assert spectrum.refractive_index is None  # there is no single one
    # Longitudinal mode: eps' = 0, where the loss has its maximum, above the transverse one.
    top = nu[np.argmax(spectrum.polarized["loss_xx"])]
    assert top == pytest.approx(np.sqrt(600.0**2 + 900.0**2 / 2.0), abs=8.0)


@pytest.mark.filterwarnings("error")
def test_a_turned_crystal_is_the_same_along_its_principal_axes(crystal):
    turn = rotation()
    turned = np.einsum("ab,trb->tra", turn, crystal)
    eps_inf = turn @ np.diag(HIGH) @ turn.T
    spectrum = infrared_spectrum(turned, eps_inf=eps_inf, polarizations="principal", **COMMON)
    assert_is_the_crystal(spectrum, {"1": "1", "2": "2", "3": "3"})
    for axis, (label, vector) in enumerate(spectrum.polarizations.items()):
        assert label == str(axis + 1)
        assert abs(vector @ turn[:, axis]) == pytest.approx(1.0, abs=1e-9)
    given = infrared_spectrum(turned, eps_inf=eps_inf, polarizations=turn.T, **COMMON)
    for name, values in spectrum.polarized.items():
        np.testing.assert_allclose(given.polarized[name], values, rtol=1e-5, atol=1e-6 * np.abs(values).max())
    # In the laboratory the elements are the rotated tensor's: e . eps . e, and the trace is no matter of axes.
    laboratory = infrared_spectrum(turned, eps_inf=eps_inf, **COMMON)
    nu = laboratory.wavenumber_per_cm
    inner = (nu > 60.0) & (nu < 2300.0)
    principal = np.stack([epsilon(label, nu[inner]) for label in LINES])
    for row, name in enumerate(("xx", "yy", "zz")):
        mixed = np.einsum("b,bn->n", turn[row] ** 2, principal)
        # Cross terms of the axes, which this sample's phases leave at some percent, are none of the principal ones.
        scale = np.abs(principal).max()
        np.testing.assert_allclose(laboratory.polarized[f"eps_imag_{name}"][inner], mixed.imag, atol=0.1 * scale)
    np.testing.assert_allclose(laboratory.eps_imag, spectrum.eps_imag, rtol=1e-4, atol=1e-6)


def test_a_multiple_of_one_is_the_number(crystal):
    number = infrared_spectrum(crystal[:, :40], eps_inf=2.5, **COMMON)
    tensor = infrared_spectrum(crystal[:, :40], eps_inf=2.5 * np.eye(3), **COMMON)
    for name in ("alpha_n_per_cm", "eps_imag", "eps_real", "eps_real_error", "alpha_n_per_cm_error"):
        reference = getattr(number, name)
        np.testing.assert_allclose(getattr(tensor, name), reference, rtol=1e-6, atol=1e-9 * np.abs(reference).max())
    assert number.polarized == {}
    assert "eps_real_xx" not in number.columns()


def test_columns_are_written_with_units_and_errors(crystal, tmp_path):
    spectrum = infrared_spectrum(crystal[:, :40], eps_inf=np.diag(HIGH), n_molecules=2, **COMMON)
    text = spectrum.write_csv(tmp_path / "crystal.csv").read_text()
    assert "loss_zz [1],loss_zz_error [1]" in text
    assert "# polarizations: {'xx': [1.0, 0.0, 0.0]" in text
    with h5py.File(spectrum.write(tmp_path / "crystal.h5")) as file:
        np.testing.assert_array_equal(file["absorption_per_cm_yy"][:], spectrum.polarized["absorption_per_cm_yy"])
        assert file["absorption_per_cm_yy"].attrs["unit"] == "cm^-1"
        assert np.all(file["reflectivity_xx_error"][:] >= 0.0)
    assert spectrum.intensity_km_per_mol is not None
    assert spectrum.molar_absorptivity is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps_inf": np.diag([2.0, 3.0, 0.5])}, "eps_inf: got an eigenvalue 0.5, wanted at least 1"),
        ({"eps_inf": np.triu(np.full((3, 3), 0.3)) + 2.0 * np.eye(3)}, "symmetric 3 x 3 tensor"),
        ({"eps_inf": np.eye(3) * 2, "polarizations": np.ones((3, 3))}, "three orthonormal vectors"),
        ({"eps_inf": np.eye(3) * 2, "polarizations": "crystal"}, "got 'crystal', wanted laboratory, principal"),
        ({"eps_inf": np.eye(3) * 2, "volume_A3": None}, "got a tensor without a volume"),
    ],
)
def test_nonsense_is_refused(crystal, change, message):
    with pytest.raises(ConfigError, match=message):
        infrared_spectrum(crystal[:200, :2], **{**COMMON, **change})
