"""The f-sum rule against literature-sized numbers, against exact oscillators, and element by element."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants, signal

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import EstimatorSettings, compare_f_sum, f_sum, infrared_spectrum

C = constants.c * 1e2 * 1e-15  # cm/fs
KELVIN = 320.0
SETTINGS = EstimatorSettings(resolution_per_cm=60.0)


def test_one_charge_in_a_molecule_is_the_known_conversion():
    born = np.zeros((1, 3, 3))
    born[0, 0, 2] = 0.7
    assert f_sum(born, [12.0]).value == pytest.approx(974.88 * 0.49 / 12.0, rel=1e-4)
    assert f_sum(born, [12.0]).unit == "km/mol"
    assert np.isnan(f_sum(born, [12.0]).error)


def test_liquid_water_has_its_order_of_magnitude_and_hydrogen_carries_it():
    # 64 molecules in 1945 A^3; Z*(O) = -1, Z*(H) = 0.5 on the average, larger along the bond.
    oxygen, hydrogen = -1.0 * np.eye(3), np.diag([0.42, 0.30, 0.78])
    born = np.stack([oxygen, hydrogen, hydrogen] * 64)
    found = f_sum(born, [15.999, 1.008, 1.008] * 64, 1945.0, ["O", "H", "H"] * 64)
    # In SI: sum tr ZZ^T / m / (12 eps0 c^2 V), per m^2.
    total = 64 * (3.0 / 15.999 + 2 * (0.42**2 + 0.30**2 + 0.78**2) / 1.008) * constants.e**2 / constants.atomic_mass
    expected = total / (12.0 * constants.epsilon_0 * constants.c**2 * 1945e-30) * 1e-4
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert 9e6 < found.value < 13e6
    assert found.unit == "cm^-2"
    assert found.by_element["H"] + found.by_element["O"] == pytest.approx(found.value, rel=1e-12)
    assert found.by_element["H"] / found.by_element["O"] == pytest.approx(2 * 0.8748 / 1.008 / (3 / 15.999), rel=1e-4)
    angular = np.pi / (6.0 * constants.epsilon_0 * constants.c * 1945e-30) * total  # rad/s/m
    assert found.over_angular_frequency == pytest.approx(angular * 1e-15 * 1e-2, rel=1e-6)


def test_frames_give_the_mean_and_its_error_and_do_not_cancel():
    born = np.array([1.0, -1.0, 2.0])[:, None, None, None] * np.ones((1, 1, 3, 3))
    found = f_sum(born, [1.0])
    one = f_sum(np.ones((1, 3, 3)), [1.0]).value
    assert found.value == pytest.approx(2.0 * one)  # mean of squares, not square of the mean
    assert found.error == pytest.approx(one * np.std([1.0, 1.0, 4.0], ddof=1) / np.sqrt(3.0))
    assert found.n_frames == 3


BORN = np.array(
    [[[0.9, 0.1, -0.2], [0.3, 0.5, 0.05], [0.0, -0.15, 0.7]], [[-0.4, 0.2, 0.1], [0.0, -0.8, 0.3], [0.1, 0.0, -0.6]]]
)
MASSES, WAVENUMBERS = np.array([1.2, 14.0]), np.array([3000.0, 800.0])


@pytest.fixture(scope="module")
def spectrum():
    """Two thermal oscillators with charges of nine different entries, 300 replicas scaled to their temperature."""
    rng = np.random.default_rng(5)
    omega = 2.0 * np.pi * C * WAVENUMBERS
    spread = np.sqrt(constants.k * KELVIN / (MASSES * constants.atomic_mass)) * 1e-5 / omega  # A
    amplitude = rng.normal(size=(2, 300, 2, 3))
    # Every axis of every atom has exactly its temperature, and no two move together.
    flat = amplitude.transpose(2, 3, 0, 1).reshape(6, -1)
    flat = np.linalg.qr(flat.T)[0].T * np.sqrt(flat.shape[1])
    amplitude = flat.reshape(2, 3, 2, 300).transpose(2, 3, 0, 1) * spread[:, None]
    phase = (omega * 1.0 * np.arange(900)[:, None])[:, None, :, None]
    x = amplitude[0] * np.cos(phase) + amplitude[1] * np.sin(phase)  # [frame, replica, atom, xyz]
    dipole = np.einsum("iab,trib->tra", BORN, x)
    common = {"timestep_fs": 1.0, "temperature_K": KELVIN, "settings": SETTINGS, "checks": "off"}
    return infrared_spectrum(dipole, volume_A3=120.0, bands_per_cm=[(0.0, 1900.0), (1900.0, 4500.0)], **common)


def test_integral_of_exact_oscillators_is_the_f_sum_band_by_band(spectrum):
    expected = f_sum(BORN, MASSES, 120.0, ["H", "N"])
    found = compare_f_sum(spectrum, expected)
    assert found.integral.value == pytest.approx(expected.value, rel=3e-3)
    assert found.ratio == pytest.approx(1.0, abs=3e-3)
    assert found.agrees
    assert "f-sum: the spectrum integrates to" in found.sentence
    assert "by element: H " in found.sentence
    low, high = found.bands
    assert low.value == pytest.approx(expected.by_element["N"], rel=5e-3)
    assert high.value == pytest.approx(expected.by_element["H"], rel=5e-3)
    # Bands of the same table add up to the whole, and their errors are those of the blocks.
    whole = spectrum.integral
    assert low.value + high.value == pytest.approx(whole.value, rel=1e-9)
    assert 0.0 < high.error < 0.2 * high.value
    assert abs(whole.error) < low.error + high.error


def test_a_wrong_temperature_is_seen(spectrum):
    assert not compare_f_sum(spectrum, f_sum(1.15 * BORN, MASSES, 120.0)).agrees


def test_what_does_not_belong_together_is_refused(spectrum):
    with pytest.raises(ConfigError, match=r"f-sum: got km/mol, wanted cm\^-2"):
        compare_f_sum(spectrum, f_sum(BORN, MASSES))
    with pytest.raises(SeriesError, match=r"shape of born_e: got \(2, 3\)"):
        f_sum(np.ones((2, 3)), [1.0, 1.0])
    with pytest.raises(SeriesError, match="masses_amu"):
        f_sum(BORN, [1.0])
    with pytest.raises(ConfigError, match=r"band: got \(5.0, 3.0\)"):
        infrared_spectrum(np.zeros((99, 3)), timestep_fs=1.0, temperature_K=1.0, bands_per_cm=[(5.0, 3.0)])


def thermal_modes(n_frames: int, seed: int, exchange_ps: float = 5.0):
    """Dipole [frame, xyz] and Born charges of 24 atoms whose three modes each exchange energy in a time.

    A mode of the velocity ``Re a(t) exp(i w t)``, a(t) a complex process whose square is forgotten in that time.
    """
    rng = np.random.default_rng(seed)
    masses = np.full(24, 1.0)
    born = 0.6 * np.diag([1.0, 0.6, 0.4])[None].repeat(24, axis=0)
    omega = 2.0 * np.pi * C * rng.uniform(2900.0, 3600.0, (24, 3))
    kept = np.exp(-0.5 / (1e3 * exchange_ps))  # a step of the amplitude, 1 fs
    noise = rng.normal(size=(n_frames, 24, 3, 2)) * np.sqrt(1.0 - kept**2)
    noise[0] = rng.normal(size=(24, 3, 2))
    amplitude = signal.lfilter([1.0], [1.0, -kept], noise, axis=0)
    turning = (amplitude[..., 0] + 1j * amplitude[..., 1]) * np.exp(1j * omega * np.arange(n_frames)[:, None, None])
    x = turning.imag / omega * np.sqrt(constants.k * KELVIN / constants.atomic_mass) * 1e-5  # 1 amu, A
    return np.einsum("iab,tib->ta", born, x), born, masses


def test_error_of_a_short_run_contains_the_energies_that_modes_do_not_exchange():
    """One standard error covers 70% of 60 runs of 3 ps; that of blocks and spectrum alone 42%."""
    ratios, errors, of_blocks = [], [], []
    for seed in range(60):
        dipole, born, masses = thermal_modes(3000, seed)
        spectrum = infrared_spectrum(
            dipole, timestep_fs=1.0, temperature_K=KELVIN, volume_A3=240.0, settings=SETTINGS, checks="off"
        )
        found = compare_f_sum(spectrum, f_sum(born, masses, 240.0))
        ratios.append(found.ratio)
        errors.append(found.ratio_error)
        of_blocks.append(found.integral.error / found.expected.value)
    away = np.abs(np.array(ratios) - 1.0)
    strengths = np.array([1.0, 0.36, 0.16])
    assert found.expected.energy_spread == pytest.approx(np.sqrt(np.sum(strengths**2) / 24) / np.sum(strengths))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert 0.58 < np.mean(away < errors) < 0.8
    assert np.mean(away < of_blocks) < 0.5
    assert np.mean(away < 2.0 * np.array(errors)) > 0.85
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.2)


def test_replicas_see_all_of_the_energies():
    """Where every block is a run of its own, nothing is added."""
    dipoles = np.stack([thermal_modes(2000, seed)[0] for seed in range(8)], axis=1)
    _, born, masses = thermal_modes(2, 0)
    common = {"timestep_fs": 1.0, "temperature_K": KELVIN, "settings": SETTINGS, "checks": "off"}
    spectrum = infrared_spectrum(dipoles, volume_A3=240.0, **common)
    found = compare_f_sum(spectrum, f_sum(born, masses, 240.0))
    assert found.ratio_error == pytest.approx(found.integral.error / found.expected.value, rel=1e-9)
    alone = compare_f_sum(infrared_spectrum(dipoles[:, 0], volume_A3=240.0, **common), f_sum(born, masses, 240.0))
    assert (
        alone.ratio_error**2
        > (alone.integral.error / alone.expected.value) ** 2 + 0.8 * alone.expected.energy_spread**2
    )
