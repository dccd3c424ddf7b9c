"""Equilibration that knows when it is done: its statistics, and runs that end it, continue it and tell of it."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from spectra_app.cli.md_command import describe
from spectra_app.config import MDSettings
from spectra_app.dynamics.equilibration import EquilibrationReport
from spectra_app.dynamics.settling import best_origin, judge_rest, statistical_inefficiency, straight_line
from spectra_app.errors import ConfigError, StoppedError
from spectra_app.jobs.simulation import Simulation
from spectra_app.plotting.facts import build_summary
from spectra_app.plotting.summary_page import format_summary
from spectra_app.runs import read_run
from tests.jobs.test_simulation import assert_same_file
from tests.toy_potential import ToyPotential, dumbbells


def noise_with_memory(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """Gaussian series with C(k) = memory^k and variance 1."""
    kicks = rng.normal(size=n) * np.sqrt(1.0 - memory**2)
    kicks[0] /= np.sqrt(1.0 - memory**2)
    series = np.empty(n)
    last = 0.0
    for k, kick in enumerate(kicks):
        last = memory * last + kick
        series[k] = last
    return series


@pytest.mark.parametrize("memory", [0.0, 0.7, 0.95])
def test_inefficiency_is_that_of_a_process_with_known_memory(rng: np.random.Generator, memory: float) -> None:
    expected = (1.0 + memory) / (1.0 - memory)
    found = [statistical_inefficiency(noise_with_memory(rng, 6000, memory)) for _ in range(12)]
    assert np.mean(found) == pytest.approx(expected, rel=0.1)
    assert statistical_inefficiency(np.full(50, 3.7)) == 1.0
    zigzag = np.where(np.arange(400) % 2, 1.0, -1.0) + 0.01 * rng.normal(size=400)
    assert statistical_inefficiency(zigzag) == 1.0


def test_errors_and_slopes_are_as_large_as_they_say(rng: np.random.Generator) -> None:
    means, slopes = [], []
    for _ in range(150):
        rest = judge_rest(noise_with_memory(rng, 600, 0.8))
        means.append(rest.mean / rest.error)
        slopes.append(rest.line.slope / rest.line.error)
    assert 0.8 < np.std(means) < 1.35
    assert 0.8 < np.std(slopes) < 1.35
    assert np.mean(np.abs(slopes) > 3.0) < 0.04
    steep = straight_line(noise_with_memory(rng, 600, 0.8) + 0.01 * np.arange(600))
    assert steep.slope == pytest.approx(0.01, abs=4.0 * steep.error)
    assert steep.slope > 5.0 * steep.error


def test_origin_leaves_out_a_relaxation_and_nothing_else(rng: np.random.Generator) -> None:
    relaxing, settled = [], []
    for _ in range(30):
        noise = noise_with_memory(rng, 1000, 0.5)
        settled.append(best_origin(noise))
        relaxing.append(best_origin(noise + 12.0 * np.exp(-np.arange(1000) / 50.0)))
    assert np.median(settled) < 120
    assert 80 < np.median(relaxing) < 350  # 12 exp(-t/50) is below 0.5 from 160 on
    assert np.min(relaxing) >= 39


SMALL = {
    "timestep_fs": 1.0, "steps": 60, "thermostat_time_fs": 20.0, "replicas": 2, "trajectory_stride": 3, "seed": 3,
    "dtype": "float64", "equilibration": "auto", "equilibration_steps": 400, "equilibration_max_steps": 6000,
    "temperature_K": 200.0,
}  # fmt: skip


def settings(**changes: object) -> MDSettings:
    return MDSettings.model_validate({**SMALL, **changes})


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EquilibrationReport]:
    """A whole run with an automatic equilibration, and how that ended."""
    output = tmp_path_factory.mktemp("automatic") / "whole.h5"
    report = Simulation(ToyPotential(), dumbbells(), settings(), output).run().equilibration
    assert report is not None
    return output, report


def test_automatic_equilibration_ends_when_all_has_settled(automatic: tuple[Path, EquilibrationReport]) -> None:
    output, report = automatic
    assert report.verdict == "settled"
    assert 400 <= report.steps - 1 < 6000
    assert (report.steps - 1) % 100 == 0
    assert report.settled_at_step is not None
    assert report.settled_at_step <= report.steps / 3 + 10
    kelvin, energy = report.quantities
    assert (kelvin.name, kelvin.unit) == ("temperature", "K")
    assert (energy.name, energy.unit) == ("potential energy", "eV/atom")
    assert abs(kelvin.mean - 200.0) < max(4.0, 3.0 * kelvin.error)
    assert min(kelvin.independent_values, energy.independent_values) >= 10
    run = read_run(output)
    assert len(run.step) == 61
    np.testing.assert_array_equal(run.step, np.arange(61))
    assert run.polarizability_e2A2_per_eV is not None
    assert (np.abs(run.polarizability_e2A2_per_eV).max(axis=(1, 2, 3)) > 0.0).all()  # of the very first frame, too
    assert run.metadata["equilibration"] == {**_plain(report), "sentence": report.sentence}


def _plain(report: EquilibrationReport) -> dict[str, object]:
    return {**asdict(report), "quantities": [asdict(quantity) for quantity in report.quantities]}


class Interrupting(ToyPotential):
    """Sends the process Ctrl-C during one call of the model."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.call = call

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.n_calls + 1 == self.call:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("where", ["before it is decided", "at the last step before", "recording"])
def test_restart_in_an_automatic_equilibration_is_exact(
    tmp_path: Path, automatic: tuple[Path, EquilibrationReport], where: str
) -> None:
    whole, report = automatic
    stop = {"before it is decided": 337, "at the last step before": report.steps, "recording": report.steps + 20}[where]
    output = tmp_path / "parts.h5"
    with pytest.raises(StoppedError):
        Simulation(Interrupting(stop), dumbbells(), settings(), output).run()
    noted = read_run(output).metadata["equilibration"] if where == "recording" else None
    result = Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert_same_file(whole, output)
    again = Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)  # nothing is left to do
    assert again.equilibration == report
    assert_same_file(whole, output)
    assert result.equilibration == report
    assert where != "recording" or noted == read_run(output).metadata["equilibration"]


def test_several_processes_end_it_together(tmp_path: Path) -> None:
    # It is decided with all replicas in view: the numbers are those of one process.
    results = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.h5"
        results.append(Simulation(ToyPotential(), dumbbells(), settings(processes=processes), output).run())
    first, second = (result.equilibration for result in results)
    assert first is not None
    assert second is not None
    assert (first.steps, first.verdict) == (second.steps, second.verdict)
    one, two = (read_run(tmp_path / f"{processes}.h5") for processes in (1, 2))
    np.testing.assert_allclose(np.asarray(one.energy_eV), two.energy_eV, rtol=0, atol=1e-7)


def test_time_of_a_field_begins_where_recording_does(tmp_path: Path) -> None:
    def pulse(time_fs: float) -> np.ndarray:
        return np.array([0.0, 0.0, 0.02 * np.exp(-(((time_fs - 20.0) / 8.0) ** 2))])

    output = tmp_path / "run.h5"
    result = Simulation(ToyPotential(), dumbbells(), settings(), output, field=pulse).run()
    assert result.equilibration is not None
    assert result.equilibration.verdict == "settled"
    run = read_run(output)
    np.testing.assert_allclose(run.field_V_per_A, [pulse(float(n)) for n in range(61)], atol=1e-15)
    # What the field does is counted from its beginning: energy is conserved through the pulse.
    assert np.ptp(np.asarray(run.conserved_eV), axis=0).max() < 0.05


def test_longest_length_ends_it_and_the_reason_is_told(tmp_path: Path) -> None:
    # A start far from equilibrium with a slow thermostat: 500 fs are not enough.
    chosen = settings(thermostat_time_fs=400.0, equilibration_max_steps=500, temperature_K=900.0, replicas=8)
    result = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "run.h5").run()
    report = result.equilibration
    assert report is not None
    assert report.steps == 500
    assert report.verdict != "settled"
    assert report.settled_at_step is None
    assert report.reason
    assert report.reason in describe(result)[0]
    assert len(read_run(tmp_path / "run.h5").step) == 61


def test_fixed_length_is_judged_too(tmp_path: Path) -> None:
    chosen = settings(equilibration="fixed", equilibration_steps=120, steps=3)
    report = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "short.h5").run().equilibration
    assert report is not None
    assert (report.steps, report.verdict) == (120, "undecided")
    assert report.sentence == (
        "equilibration: too short to tell whether it settled after 120 steps (0.12 ps): fewer than 400 steps"
    )
    none = settings(equilibration="fixed", equilibration_steps=0, steps=3)
    assert Simulation(ToyPotential(), dumbbells(), none, tmp_path / "none.h5").run().equilibration is None
    assert read_run(tmp_path / "none.h5").metadata["equilibration"] is None


def test_drift_is_said_and_warned_of(tmp_path: Path) -> None:
    # Bonds that start stretched and a thermostat that takes 300 fs to cool them.
    atoms = dumbbells()
    centres = 0.5 * (atoms.positions[0::2] + atoms.positions[1::2])
    atoms.positions = np.repeat(centres, 2, axis=0) + 1.1 * (atoms.positions - np.repeat(centres, 2, axis=0))
    chosen = settings(
        equilibration="fixed", equilibration_steps=600, steps=20, thermostat_time_fs=300.0, timestep_fs=0.5, replicas=8
    )
    report = Simulation(ToyPotential(), atoms, chosen, tmp_path / "run.h5").run().equilibration
    assert report is not None
    assert report.verdict == "drifting"
    assert report.sentence.startswith("equilibration: not settled after 600 steps (0.3 ps): ")
    run = read_run(tmp_path / "run.h5")
    summary = build_summary(
        title="", created="", version="", folder=tmp_path, card=None, eps_inf=None, run=run, spectra={}, born=None,
        files={}, seconds=1.0,
    )  # fmt: skip
    assert any("md.equilibration auto" in warning for warning in summary.warnings)
    assert "not settled after 600 steps" in " ".join(format_summary(summary).split())


def test_density_is_watched_at_constant_pressure(tmp_path: Path) -> None:
    chosen = settings(ensemble="npt", pressure_GPa=2.0, barostat_time_fs=100.0, equilibration_max_steps=700, steps=5)
    report = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "run.h5").run().equilibration
    assert report is not None
    density = report.quantities[2]
    assert (density.name, density.unit) == ("density", "g/cm^3")
    run = read_run(tmp_path / "run.h5")
    assert density.mean == pytest.approx(1.66054 * run.masses_amu.sum() / np.mean(run.volume_A3), rel=0.3)


def test_longest_below_shortest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"md\.equilibration_max_steps: got 300, wanted at least .*400"):
        Simulation(ToyPotential(), dumbbells(), settings(equilibration_max_steps=300))
