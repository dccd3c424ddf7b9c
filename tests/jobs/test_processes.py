"""Replicas over processes: the numbers of one process, and what happens to one of them is no accident of the others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from spectra_app.dynamics import MDState, Progress
from spectra_app.dynamics.engine import Advanced, Flags, choose_processes, is_faster
from spectra_app.dynamics.recorder import Rows
from spectra_app.errors import ConfigError, StoppedError, WorkerError
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import Run, read_run
from spectra_app.runs.restart_file import load_checkpoint
from tests.jobs.test_simulation import settings
from tests.toy_potential import ToyPotential, ToyPrediction, dumbbells

THREE = {"replicas": 3, "thermostat": "langevin", "steps": 230}


def three() -> list[Atoms]:
    """Of two systems."""
    return [dumbbells(8), dumbbells(8, seed=3), dumbbells(5, seed=2)]


def assert_same(one: Run, other: Run) -> None:
    """The same numbers, to the rounding of sums over atoms, whose order depends on what is beside them."""
    for name in one.observables:
        np.testing.assert_allclose(np.asarray(one.observable(name)), other.observable(name), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.asarray(one.positions_A), other.positions_A, rtol=0, atol=1e-10)


class Wounding(ToyPotential):
    """Throws an atom of the second replica away at one call in a process that has two, and ends that process later.

    Attributes:
        deadly: whether it does the latter.
    """

    def __init__(self, deadly: bool = False) -> None:
        super().__init__()
        self.deadly = deadly

    def __call__(self, system, *args, **kwargs):  # type: ignore[no-untyped-def]
        found: ToyPrediction = super().__call__(system, *args, **kwargs)
        # The process of the run has called the model for the start, others have not.
        if self.n_calls + (system.n_structures == 2) == 120 and system.n_structures in (2, 3):
            forces = found.forces.clone()
            forces[19 if system.n_structures == 3 else 3] = 1e9
            found = found._replace(forces=forces)
        if self.deadly and self.n_calls == 180 and system.n_structures == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def test_stopped_by_a_queue_and_continued_as_in_one_process(tmp_path: Path) -> None:
    chosen = {**THREE, "temperature_K": [300, 200, 300]}
    Simulation(ToyPotential(), three(), settings(**chosen), tmp_path / "whole").run()

    def queue(progress: Progress) -> None:
        if progress.step == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match=r"stopped at step [12]\d\d of 250 \(SIGTERM\)") as stop:
        Simulation(ToyPotential(), three(), settings(**chosen, processes=2), tmp_path / "parts", queue).run()
    assert stop.value.exit_code == 75
    assert load_checkpoint(tmp_path / "parts" / "run.h5", "md")["processes"] == 2  # which a restart keeps
    result = Simulation(ToyPotential(), three(), settings(**chosen, processes=1), tmp_path / "parts").run(restart=True)
    assert len(result.files) == 3
    for file in result.files:
        assert_same(read_run(file.path), read_run(tmp_path / "whole" / file.path.name))


def test_wounds_and_deaths(tmp_path: Path) -> None:
    starts = [dumbbells(8, seed=k) for k in range(3)]
    Simulation(Wounding(), starts, settings(**THREE), tmp_path / "whole.h5").run()
    output = tmp_path / "run.h5"
    chosen = settings(**THREE, processes=2)
    with pytest.raises(WorkerError, match=r"process of replicas 1 to 2: got its end \(signal 9\).*--restart") as error:
        Simulation(Wounding(deadly=True), starts, chosen, output, checkpoint_s=0.0).run()
    assert error.value.exit_code == 7
    one = Simulation(ToyPotential(), starts, settings(**THREE, processes=1), output).run(restart=True)
    assert [stretch.processes for stretch in one.made_by] == [2, 1]
    assert [(failure.replica, failure.step) for failure in one.failures] == [("replica 1", 120)]
    assert "a move by" in one.failures[0].reason
    whole, run = read_run(tmp_path / "whole.h5"), read_run(output)
    assert run.replicas == whole.replicas == (0, 2)
    assert run.ended == whole.ended
    assert_same(run, whole)
    assert_same(*(read_run(path, replica=1) for path in (tmp_path / "whole.h5", output)))


def test_what_cannot_be_spread_says_so(tmp_path: Path) -> None:
    chosen = settings(**THREE, processes=2, parts="molecules")
    with pytest.raises(ConfigError, match=r"md.processes: got 2 with contributions of parts.*wanted 1, or auto"):
        Simulation(ToyPotential(), three(), chosen, tmp_path / "a.h5").run()
    with pytest.raises(ConfigError, match="got 2 with a field that is a function"):
        Simulation(ToyPotential(), three(), settings(**THREE, processes=2), field=lambda time: np.zeros(3)).run()
    alone = Simulation(ToyPotential(), dumbbells(), settings(replicas=1, steps=5, processes=4), tmp_path / "b.h5").run()
    assert alone.made_by[0].processes == 1


class Clocked:
    """An engine that takes its time."""

    steps_at_once = 1

    def __init__(self, ms_per_step: float) -> None:
        self.seconds = 1e-3 * ms_per_step

    def prepare(self, state: MDState) -> MDState:
        return state

    def advance(self, state: MDState, n_steps: int) -> Advanced:
        time.sleep(self.seconds * n_steps)
        return Advanced(state._replace(step=state.step + n_steps), Rows(), Flags())

    def rebuild(self, state: MDState, flags: Flags) -> MDState:
        return state


def test_auto_measures_and_leaves_short_runs_and_one_core_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(ToyPotential(), three(), settings(**THREE))
    for ratio in (0.3, 3.0):
        assert is_faster(Clocked(ratio), Clocked(1.0), lambda: simulation.dynamics.start()[0]) is (ratio < 1.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))

    def chosen(n_steps: int, n_threads: int, obstacle: str | None = None, **changes: object) -> int:
        model, particles = ToyPotential(), simulation.particles
        return choose_processes(settings(**THREE, **changes), model, particles, n_steps, n_threads, obstacle)

    assert chosen(1000, 8) == 1
    assert chosen(1_000_000, 8) == 3
    assert chosen(1_000_000, 2) == 2
    assert chosen(1_000_000, 1) == 1
    assert chosen(1_000_000, 8, "something") == 1
    assert chosen(10, 1, processes=2) == 2
