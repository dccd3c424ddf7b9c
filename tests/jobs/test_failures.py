"""A replica that goes wrong stops alone: it is named, its record is kept, and the others run on to the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from spectra_app.errors import ConvergenceError, SimulationError, StoppedError, TrajectoryError
from spectra_app.jobs import run_spectrum
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run
from spectra_app.runs.restart_file import load_checkpoint
from spectra_app.spectra import SpectrumWarning
from tests.jobs.test_simulation import Interrupting, assert_same_file, settings
from tests.toy_potential import ToyPotential, ToyPrediction, dumbbells

THREE = {"replicas": 3, "equilibration_steps": 20, "steps": 200}
SICK = slice(16, 32)  # atoms of replica 1


class Sick(ToyPotential):
    """Something happens to the second replica at one call of the model."""

    def __init__(self, call: int, harm: Callable[[ToyPrediction], ToyPrediction]) -> None:
        super().__init__()
        self.call, self.harm = call, harm

    def __call__(self, system, *args, **kwargs):  # type: ignore[no-untyped-def]
        found = super().__call__(system, *args, **kwargs)
        return self.harm(found) if self.n_calls == self.call else found


def shot(found: ToyPrediction, force: float) -> ToyPrediction:
    """One atom is thrown away."""
    forces = found.forces.clone()
    forces[SICK][3] = force
    return found._replace(forces=forces)


def no_alpha(found: ToyPrediction) -> ToyPrediction:
    alpha = found.polarizability.clone()
    alpha[1, 0, 0] = float("inf")
    return found._replace(polarizability=alpha)


class Unsolvable(ToyPotential):
    """No response in the second replica at one step, which the batch does not tell."""

    def __call__(self, system, *args, **kwargs):  # type: ignore[no-untyped-def]
        found = super().__call__(system, *args, **kwargs)
        if system.n_structures == 3 and self.n_calls == 100:
            self.sick = system.positions[SICK].clone()
        if self.n_calls == 100 or (system.n_structures == 1 and torch.equal(system.positions, self.sick)):
            raise ConvergenceError("response", got="a catastrophe")
        return found


HARMS = {
    "atoms fly apart": (lambda found: shot(found, 1e9), r"a move by .* A in one step; closest atoms \d+ \(.\) and"),
    "positions are NaN": (lambda found: shot(found, float("nan")), "a move by nan A in one step; closest atoms"),
    "too hot": (lambda found: shot(found, 800.0), r"temperature .* K, energy .* eV; closest atoms"),
    "a recorded number": (no_alpha, r"NaN or infinity in recorded step 99"),
}


@pytest.mark.parametrize(("harm", "ensemble"), [*zip(HARMS, ("npt", "nvt", "nvt", "npt"), strict=True)])
def test_others_run_on_as_if_nothing_had_happened(tmp_path: Path, harm: str, ensemble: str) -> None:
    what, reason = HARMS[harm]
    chosen = settings(**THREE, ensemble=ensemble)
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "well.h5").run()
    result = Simulation(Sick(120, what), dumbbells(), chosen, tmp_path / "sick.h5").run()
    assert [failure.replica for failure in result.failures] == ["replica 1"]
    assert 119 <= result.failures[0].step <= 150
    assert re.search(reason, result.failures[0].reason)
    well, sick = read_run(tmp_path / "well.h5"), read_run(tmp_path / "sick.h5")
    assert sick.complete
    assert (sick.replicas, sick.n_replicas, well.replicas) == ((0, 2), 2, (0, 1, 2))
    for name in ("dipole", "energy", "temperature", "conserved", "polarizability"):
        np.testing.assert_allclose(sick.observable(name), well.observable(name)[:, [0, 2]], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sick.positions_A, well.positions_A[:, [0, 2]], rtol=0, atol=1e-9)
    assert (sick.ended[0].replica, sick.ended[0].reason) == (1, result.failures[0].reason)
    last = sick.ended[0].last_step
    assert 98 <= last <= 99
    alone = read_run(tmp_path / "sick.h5", replica=1)
    assert int(alone.step[-1]) == last
    assert int(alone.trajectory_step[-1]) == last - last % 3
    np.testing.assert_array_equal(np.asarray(alone.dipole_eA), well.dipole_eA[: last + 1, 1:2])
    np.testing.assert_array_equal(np.asarray(alone.positions_A), well.positions_A[: last // 3 + 1, 1:2])
    assert result.temperature_K == pytest.approx(np.asarray(sick.temperature_K).mean(), rel=1e-12)
    with pytest.raises(TrajectoryError, match=r"replica 7 of .*: got none, wanted 0 to 2"):
        read_run(tmp_path / "sick.h5", replica=7)


def test_a_response_without_solution_is_the_business_of_its_replica(tmp_path: Path) -> None:
    result = Simulation(Unsolvable(), dumbbells(), settings(**THREE), tmp_path / "run.h5").run()
    assert [(failure.replica, failure.step) for failure in result.failures] == [("replica 1", 99)]
    assert result.failures[0].reason.startswith("response: got a catastrophe; closest atoms")
    assert read_run(tmp_path / "run.h5").replicas == (0, 2)


def test_a_restart_remembers_who_is_gone(tmp_path: Path) -> None:
    chosen = settings(**THREE, parts="molecules", ensemble="npt")
    harm = HARMS["too hot"][0]
    Simulation(Sick(120, harm), dumbbells(), chosen, tmp_path / "whole.h5").run()

    class Both(Sick, Interrupting):
        def __init__(self) -> None:
            Interrupting.__init__(self, 200)
            self.harm = harm

        def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            found = Interrupting.__call__(self, *args, **kwargs)
            return harm(found) if self.n_calls == 120 else found

    output = tmp_path / "parts.h5"
    with pytest.raises(StoppedError):
        Simulation(Both(), dumbbells(), chosen, output).run()
    assert read_run(output).replicas == (0, 2)
    stopped = load_checkpoint(output, "md")["state"]
    result = Simulation(ToyPotential(), dumbbells(), chosen, output).run(restart=True)
    assert [failure.replica for failure in result.failures] == ["replica 1"]
    assert_same_file(tmp_path / "whole.h5", output)
    ended = load_checkpoint(output, "md")["state"]
    assert torch.equal(ended["positions"][SICK], stopped["positions"][SICK])  # at rest
    assert not torch.equal(ended["positions"][:16], stopped["positions"][:16])
    run = read_run(output)
    parts = np.asarray(run.parts.dipole_eA)
    np.testing.assert_allclose(parts.sum(axis=2), run.dipole_eA, atol=1e-5)
    assert np.isnan(h5py.File(output)["observables/dipole_parts/value"][-1, 1]).all()
    np.testing.assert_array_equal(parts[7, 1], run.parts.dipole_eA[7, 1])


def test_the_last_one_ends_the_run_and_every_record_is_kept(tmp_path: Path) -> None:
    class Epidemic(ToyPotential):
        def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            found = super().__call__(*args, **kwargs)
            if self.n_calls in (100, 150, 200):
                forces = found.forces.clone()
                forces[16 * (self.n_calls // 50 - 2)] = 1e9
                found = found._replace(forces=forces)
            return found

    with pytest.raises(SimulationError, match=r"near step 200 .*replica 2; none of the 3 replicas is left.*\(\d+ rec"):
        Simulation(Epidemic(), dumbbells(), settings(**THREE), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.replicas == (0, 1, 2)
    assert not run.complete
    assert [one.last_step for one in run.ended] == [78, 128, 178]
    assert len(run.step) == 79  # up to there all have a record
    assert [len(read_run(tmp_path / "run.h5", replica=k).step) for k in range(3)] == [79, 129, 179]
    assert np.isfinite(run.dipole_eA).all()


def test_one_lost_before_recording_leaves_no_record(tmp_path: Path) -> None:
    model = Sick(8, lambda found: shot(found, 1e9))
    Simulation(model, dumbbells(), settings(**THREE), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.replicas == (0, 2)
    assert run.ended[0].last_step == -1
    with pytest.raises(TrajectoryError, match="no recorded frame"):
        read_run(tmp_path / "run.h5", replica=1)


def test_spectra_are_of_those_that_ran_on_and_say_so(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    Simulation(Sick(120, HARMS["atoms fly apart"][0]), dumbbells(), settings(**THREE), output).run()
    with pytest.warns(SpectrumWarning, match=r"replica 1 of .* went wrong .*is left out: this is of the other 2"):
        found = run_spectrum(output, "vdos", resolution_per_cm=600.0)
    assert found.report.n_replicas == 2
    assert any("left out" in sentence for sentence in found.report.warnings)
    with pytest.warns(SpectrumWarning, match=r"up to there, whose end is not to be trusted"):
        run_spectrum(read_run(output, replica=1), "vdos", resolution_per_cm=2500.0)
