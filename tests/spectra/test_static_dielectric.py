"""The static dielectric constant of Debye liquids whose constant is known, and its refusal where ions move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import constants, signal

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import (
    EstimatorSettings,
    SpectrumWarning,
    StoredSeries,
    conductivity_spectrum,
    dielectric_function,
    static_conductivity,
    static_dielectric_constant,
)
from spectra_app.spectra.dipole_fluctuations import mobility_of, read_dipoles

KELVIN, VOLUME, HIGH, TRUE = 300.0, 1945.0, 1.8, 71.8
KT_EV = constants.k * KELVIN / constants.e
EPS0 = constants.epsilon_0 * 1e-10 / constants.e  # e^2/(eV A)
SPREAD = np.sqrt((TRUE - HIGH) * EPS0 * KT_EV * VOLUME)
"""Standard deviation of each component of M, e A."""
COMMON = {"temperature_K": KELVIN, "volume_A3": VOLUME, "eps_inf": HIGH, "checks": "off"}


def debye(n, relaxation, n_replicas, rng, spread=SPREAD):
    """[frame, replica, xyz] Gaussian with exp(-t/relaxation), stationary from the first frame."""
    decay = np.exp(-1.0 / relaxation)
    noise = rng.normal(size=(n, n_replicas, 3)) * np.sqrt(1.0 - decay**2)
    noise[0] /= np.sqrt(1.0 - decay**2)
    return spread * signal.lfilter([1.0], [1.0, -decay], noise, axis=0)


def results(times, n_replicas, n_runs, seed, **changes):
    """(values, errors, refusals) of runs of so many relaxation times."""
    rng = np.random.default_rng(seed)
    found, refused = [], 0
    for _ in range(n_runs):
        try:
            one = static_dielectric_constant(debye(480, 480 / times, n_replicas, rng), **{**COMMON, **changes})
        except SeriesError:
            refused += 1
        else:
            found.append((one.value, one.error))
    values, errors = np.array(found).T
    return values, errors, refused


@pytest.mark.parametrize(("times", "n_replicas"), [(6, 1), (20, 1), (60, 1), (6, 4)])
def test_value_is_unbiased_and_its_error_covers_it(times, n_replicas):
    n_runs = 150
    values, errors, refused = results(times, n_replicas, n_runs, times + n_replicas)
    # Relative scatter sqrt(2 tau/(3 R T)): 0.33, 0.18, 0.1; the sample's own mean gave 0.71 of the truth at 6 tau.
    scatter = (TRUE - HIGH) * np.sqrt(2.0 / (3.0 * times * n_replicas))
    assert values.mean() == pytest.approx(TRUE, abs=3.5 * scatter / np.sqrt(n_runs))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
    # One standard deviation of a share of 150 is 0.04; 300 runs each gave 0.65 to 0.74.
    assert 0.57 < np.mean(np.abs(values - TRUE) < errors) < 0.80
    assert refused <= 0.06 * n_runs  # 2% of single runs of 6 relaxation times look like diffusion


def test_the_runs_own_mean_no_longer_takes_its_variance_with_it():
    values, errors, _ = results(6, 1, 150, 4, mean="replica")
    # Uncorrected the mean is 1.8 + 70 (1 - 2/6 (1 - 1/6)) = 52.
    assert values.mean() == pytest.approx(TRUE, abs=8.0)
    assert 0.52 < np.mean(np.abs(values - TRUE) < errors) < 0.80


def test_few_relaxation_times_widen_the_error_and_are_named():
    rng = np.random.default_rng(3)
    short = static_dielectric_constant(debye(600, 60.0, 1, rng), timestep_fs=100.0, **COMMON)
    long = static_dielectric_constant(debye(24000, 60.0, 1, rng), timestep_fs=100.0, **COMMON)
    assert short.error > 4.0 * long.error
    assert long.relaxation_times == pytest.approx(400.0, rel=0.15)
    assert long.relaxation_fs == pytest.approx(6000.0, rel=0.15)
    assert "mean dipole zero; " in long.sentence
    assert long.sentence.endswith("relaxation times; settled).")
    assert len(long.running) == 10
    assert long.running[-1] == pytest.approx(long.value)
    assert long.tensor_error[0, 0] == pytest.approx(np.sqrt(2.0) * long.tensor_error[0, 1], rel=0.2)


def test_a_file_read_in_pieces_gives_the_same():
    series = debye(70000, 300.0, 6, np.random.default_rng(8))
    plain = static_dielectric_constant(series, **COMMON)
    with StoredSeries.from_chunks([series[:30001], series[30001:]]) as stored:
        found = static_dielectric_constant(stored, **COMMON)
    assert found.value == pytest.approx(plain.value, rel=1e-12)
    assert found.error == pytest.approx(plain.error, rel=1e-12)
    # And the moments are those of the definition.
    squares = np.einsum("tra,trb->ab", series, series) / series[..., 0].size
    np.testing.assert_allclose(plain.tensor, HIGH * np.eye(3) + squares / (EPS0 * KT_EV * VOLUME), rtol=1e-9)


CELL = 12.48 * np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [-0.2, 0.3, 1.1]])


def test_molecules_cut_by_the_boundary_are_refused_until_the_origin_is_given():
    rng = np.random.default_rng(12)
    series = debye(2000, 60.0, 3, rng)
    cuts = np.array([[2, -1, 3], [0, 4, 1], [-3, 0, 2]]) @ CELL
    shifted = series + cuts
    with pytest.raises(SeriesError, match=r"got a mean dipole of \(.*\) e A, wanted zero, as in a liquid"):
        static_dielectric_constant(shifted, **COMMON)
    plain = static_dielectric_constant(series, **COMMON)
    for known in ({"quanta_eA": CELL}, {"origin_eA": cuts}):
        found = static_dielectric_constant(shifted, **known, **COMMON)
        np.testing.assert_allclose(found.tensor, plain.tensor, rtol=1e-9, atol=1e-9)
        assert found.error == pytest.approx(plain.error, rel=1e-9)
    own = static_dielectric_constant(shifted, mean="replica", **COMMON)
    assert own.value == pytest.approx(plain.value, abs=2.0 * plain.error)
    with pytest.raises(SeriesError, match=r"wanted one that tells quanta of 0\.8 e A apart"):
        static_dielectric_constant(shifted, quanta_eA=0.8 * np.eye(3), **COMMON)
    with pytest.raises(ConfigError, match=r"origin_eA: got shape \(2, 3\)"):
        static_dielectric_constant(series, origin_eA=np.zeros((2, 3)), **COMMON)
    with pytest.raises(ConfigError, match="mean: got 'sample', wanted zero, replica or pooled"):
        static_dielectric_constant(series, mean="sample", **COMMON)


def test_axes_of_a_crystal_have_errors_of_their_own():
    rng = np.random.default_rng(2)
    spreads, times = np.array([1.0, 2.0, 3.0]), (4.0, 20.0, 80.0)
    values, errors = [], []
    for _ in range(80):
        axes = [s * debye(4000, t, 1, rng, 1.0)[..., :1] for s, t in zip(spreads, times, strict=True)]
        found = static_dielectric_constant(np.concatenate(axes, axis=-1), mean="replica", mobile_ions=False, **COMMON)
        values.append(np.append(np.diag(found.tensor), found.value))
        errors.append(np.append(np.diag(found.tensor_error), found.error))
    scatter = np.std(values, axis=0)
    np.testing.assert_allclose(np.mean(errors, axis=0), scatter, rtol=0.3)


CHARGE, DIFFUSION, FRICTION, IONS, STEP = 1.0, 2e-4, 0.02, 20, 5.0
"""e, A^2/fs, 1/fs, number, fs: sigma(0) of Nernst and Einstein is N q^2 D/(V kT), 127 S/m."""
NERNST_EINSTEIN = IONS * (CHARGE * constants.e) ** 2 * DIFFUSION * 1e-5 / (VOLUME * 1e-30 * constants.k * KELVIN)


def langevin_ions(n_frames, n_replicas, rng):
    """(M, J) [frame, replica, xyz] of independent ions: exact steps of velocity and place."""
    decay, t = np.exp(-FRICTION * STEP), STEP
    spread = CHARGE * np.sqrt(IONS * DIFFUSION * FRICTION)  # of the current
    # Covariance of (integral over a step given J at its begin, J at its end).
    to_end = (1.0 - decay) / FRICTION
    cov_ii = spread**2 * (2.0 * t / FRICTION - (3.0 - 4.0 * decay + decay**2) / FRICTION**2)
    cov_ij, cov_jj = spread**2 * (1.0 - decay) ** 2 / FRICTION, spread**2 * (1.0 - decay**2)
    noise = rng.normal(size=(2, n_frames, n_replicas, 3))
    kick = np.sqrt(cov_jj) * noise[0]
    kick[0] = spread * noise[0, 0]
    current = signal.lfilter([1.0], [1.0, -decay], kick, axis=0)
    steps = to_end * current[:-1] + cov_ij / cov_jj * kick[1:]
    steps += np.sqrt(cov_ii - cov_ij**2 / cov_jj) * noise[1, 1:]
    return np.concatenate([np.zeros((1, n_replicas, 3)), np.cumsum(steps, axis=0)]), current


IONIC = {"timestep_fs": STEP, "temperature_K": KELVIN, "volume_A3": VOLUME, "checks": "off"}


def test_conductivity_of_langevin_ions_is_nernst_and_einsteins_and_its_error_covers_it():
    assert pytest.approx(127.45, rel=1e-3) == NERNST_EINSTEIN
    rng = np.random.default_rng(21)
    values, errors = np.empty(60), np.empty(60)
    for run in range(60):
        found = static_conductivity(langevin_ions(2500, 2, rng)[0], **IONIC)
        values[run], errors[run] = found.value_S_per_m, found.error_S_per_m
    assert values.mean() == pytest.approx(NERNST_EINSTEIN, rel=0.06)
    assert 0.48 < np.mean(np.abs(values - NERNST_EINSTEIN) < errors) < 0.85  # 60 runs: one deviation is 0.06
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.35)


def test_conductivity_over_frequency_is_drudes_and_a_current_serves_as_well():
    moved, current = langevin_ions(40000, 4, np.random.default_rng(5))
    settings = EstimatorSettings(resolution_per_cm=20.0, max_wavenumber_per_cm=600.0)
    spectrum = conductivity_spectrum(moved, settings=settings, **IONIC)
    omega = 2.0 * np.pi * constants.c * 1e-13 * spectrum.wavenumber_per_cm
    drude = NERNST_EINSTEIN / (1.0 + (omega / FRICTION) ** 2)
    assert np.mean(np.abs(spectrum.conductivity_S_per_m / drude - 1.0)) < 0.06
    assert spectrum.wavenumber_per_cm[0] == 0.0
    assert spectrum.unit_of("conductivity_S_per_m") == "S m^-1"
    assert spectrum.static.value_S_per_m == pytest.approx(NERNST_EINSTEIN, rel=0.12)
    assert "S/m at zero frequency." in spectrum.history[-1]
    of_current = static_conductivity(current, quantity="current", **IONIC)
    assert of_current.value_S_per_m == pytest.approx(spectrum.static.value_S_per_m, rel=0.05)
    assert np.all(spectrum.conductivity_S_per_m_error[1:] > 0.0)


def test_ions_are_refused_with_the_conductivity_instead():
    series, _ = langevin_ions(4000, 4, np.random.default_rng(1))
    with pytest.raises(
        SeriesError, match=r"cell dipole that diffuses \(its mean square displacement grows .* S/m at zero"
    ):
        static_dielectric_constant(series, timestep_fs=STEP, **COMMON)
    with pytest.raises(SeriesError, match=r"mobile ions were named\), wanted bound charges"):
        static_dielectric_constant(debye(900, 9.0, 1, np.random.default_rng(0)), mobile_ions=True, **COMMON)
    with pytest.warns(SpectrumWarning, match="cell dipole that diffuses"):
        spectrum = dielectric_function(series, eps_inf=HIGH, settings=EstimatorSettings(60.0), **IONIC)
    assert spectrum.static is None
    assert spectrum.conductivity.value_S_per_m == pytest.approx(NERNST_EINSTEIN, rel=0.3)
    assert spectrum.parameters["static_dielectric_constant"] is None
    assert spectrum.parameters["static_conductivity_S_per_m"] == spectrum.conductivity.value_S_per_m
    assert "diffuses" in spectrum.static_sentence
    assert spectrum.static_sentence in spectrum.report.warnings


def verdicts(make, n_runs=40):
    return [mobility_of(read_dipoles(make(np.random.default_rng(seed)), 10)).verdict for seed in range(n_runs)]


def test_diffusion_is_found_and_nothing_else_is():
    def brine(rng):  # a Debye liquid of 100 relaxation times through which ions move
        return debye(1000, 10.0, 4, rng, 1.0) + np.cumsum(rng.normal(size=(1000, 4, 3)), axis=0) * 0.16

    assert np.mean([v == "diffusing" for v in verdicts(lambda rng: langevin_ions(1000, 4, rng)[0])]) > 0.75
    assert np.mean([v == "diffusing" for v in verdicts(brine)]) > 0.85
    # A single run can often not tell, and says so; it is hardly ever sure of the opposite.
    alone = verdicts(lambda rng: langevin_ions(1000, 1, rng)[0])
    assert np.mean([v == "bound" for v in alone]) < 0.15

    def modes(rng):  # damped and undamped vibrations
        damped = signal.lfilter([1.0], [1.0, -1.98 * np.cos(0.3), 0.9801], rng.normal(size=(1500, 2, 3)), axis=0)[500:]
        phase = rng.uniform(0.02, 0.5) * np.arange(1000)[:, None, None]
        return damped + 30.0 * np.cos(phase + rng.uniform(0.0, 6.28, size=(2, 3)))

    assert set(verdicts(modes)) == {"bound"}
    for times in (20, 60, 300):
        assert verdicts(lambda rng, t=times: debye(1000, 1000 / t, 1, rng)).count("diffusing") <= 1


def test_a_run_that_cannot_tell_says_so():
    # Six relaxation times: half of the single runs.
    found = []
    rng = np.random.default_rng(6)
    for _ in range(12):
        try:
            found.append(static_dielectric_constant(debye(480, 80.0, 1, rng), timestep_fs=50.0, **COMMON).sentence)
        except SeriesError:
            continue
    told = [sentence for sentence in found if "cannot tell a slow relaxation from a dipole that diffuses" in sentence]
    assert 0 < len(told) < len(found)
    assert all(sentence.endswith("S/m at zero frequency.") for sentence in told)


def test_a_dipole_known_to_be_bound_with_a_known_zero_is_not_judged_by_a_short_run() -> None:
    """Of one relaxation time the mean is anything, and looks like an offset or like diffusion."""
    refused = 0
    for seed in range(12):
        dipole = debye(600, 500.0, 1, np.random.default_rng(seed))
        found = static_dielectric_constant(dipole, mobile_ions=False, origin_eA=[0.0, 0.0, 0.0], **COMMON)
        assert found.value > 0.0
        try:
            static_dielectric_constant(dipole, **COMMON)
        except SeriesError:
            refused += 1
    assert refused > 0
