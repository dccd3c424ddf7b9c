"""Replicas over processes of this machine, one core each, in step with each other: an engine for several replicas.

Every process takes the same steps with its share of the replicas, and gives back its part of the state and of the rows;
what is recorded, checked, saved and stopped stays with the process of the run.  A replica has its own random numbers,
so that the results are those of one process, to the rounding of a sum over a batch.

The processes are fresh interpreters (``worker``), which do not run the user's script again; they leave signals to the
process of the run, and end with it whatever way it ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine.steps import Advanced, Flags, StepEngine
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.recorder import Rows
from spectra_app.dynamics.state import MDState, Particles, state_from_dict, state_to_dict
from spectra_app.dynamics.state_parts import joined_state, part_of_state, particles_of
from spectra_app.errors import ConfigError, WorkerError

WORKER = "spectra_app.dynamics.worker"
_CHUNK_S = 0.5  # wall time of steps at once: so long a signal waits, and so often processes wait for each other
_MOST_STEPS = 50
_REPAYS = 1_000_000  # atom-steps, a minute or so; the processes start in some seconds
_TURNS, _MEASURED_STEPS = 3, 10
_PATIENCE_S = 5.0  # for a process to end by itself


class Task(NamedTuple):
    """What a process of a run is told first.

    Attributes:
        model: the potential, on the CPU.
        particles: its replicas.
        settings: of the run, with the temperatures of these replicas.
        engine: of the model.
        threads: of the process.
        told: how far the replicas are outside the model's training data is recorded.
    """

    model: PotentialLike
    particles: Particles
    settings: MDSettings
    engine: str
    threads: int
    told: bool = False


class Order(NamedTuple):
    """What a process is told to do.

    Attributes:
        n_steps: to be made.
        equilibration: steps before recording begins, as far as is known now.
        state: of its replicas, where it is not the one that the process has; see ``state_to_dict``.
    """

    n_steps: int
    equilibration: int
    state: dict[str, Any] | None


class Answer(NamedTuple):
    """What a process gives back.

    Attributes:
        state: of its replicas.
        rows: to be recorded.
        lost: replicas that went wrong, as the process counts them: near which step, and what was found.
        error: what went wrong with the process, in words; None where nothing did.
    """

    state: dict[str, Any]
    rows: Rows
    lost: dict[int, tuple[int, str]]
    error: str | None = None


class ProcessEngine:
    """See the module and ``StepEngine``; a context manager.

    Args:
        model: the potential, on the CPU.
        particles: the replicas.
        settings: of the run; temperatures in the order of the replicas.
        n_processes: at most as many as replicas.
        equilibration: gives the steps before recording begins, as far as is known.
        told: how far the replicas are outside the model's training data is recorded.

    Raises:
        WorkerError: the model cannot be given to another process, or one of them does not start.
    """

    def __init__(
        self,
        model: PotentialLike,
        particles: Particles,
        settings: MDSettings,
        n_processes: int,
        equilibration: Callable[[], int],
        told: bool = False,
    ) -> None:
        self._particles, self._equilibration = particles, equilibration
        ends = [particles.n_replicas * k // n_processes for k in range(n_processes + 1)]
        self._shares = [range(*ends[k : k + 2]) for k in range(n_processes)]
        self._last: MDState | None = None
        self._step_s = _CHUNK_S  # one step at first
        self._pipes: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        kelvin = settings.temperatures_K
        try:
            for share in self._shares:
                own = kelvin if len(kelvin) == 1 else kelvin[share.start : share.stop]
                one = own[0] if len(set(own)) == 1 else own
                part = settings.model_copy(update={"temperature_K": one, "replicas": len(share), "processes": 1})
                task = Task(model, particles_of(particles, share), part, model.engine, 1, told)
                self._start(task)
        except BaseException:
            self.close()
            raise

    @property
    def steps_at_once(self) -> int:
        """As many as take about half a second."""
        return max(1, min(_MOST_STEPS, int(_CHUNK_S / self._step_s)))

    def prepare(self, state: MDState) -> MDState:
        """See ``StepEngine``: the processes are given a state that is new to them with the next steps."""
        return state

    def advance(self, state: MDState, n_steps: int) -> Advanced:
        """See ``StepEngine``.

        Raises:
            WorkerError: a process has ended, or met an error that is not of its replicas.
        """
        began = time.perf_counter()
        record = None if state is self._last else state_to_dict(state)
        for pipe, share in zip(self._pipes, self._shares, strict=True):
            part = None if record is None else part_of_state(record, self._particles.sizes, share)
            self._send(pipe, Order(n_steps, self._equilibration(), part), share)
        answers = [self._receive(pipe, share) for pipe, share in zip(self._pipes, self._shares, strict=True)]
        self._last = state_from_dict(joined_state([answer.state for answer in answers]), torch.device("cpu"))
        lost = {
            share.start + replica: found
            for share, answer in zip(self._shares, answers, strict=True)
            for replica, found in answer.lost.items()
        }
        self._step_s = (time.perf_counter() - began) / n_steps
        return Advanced(self._last, Rows.side_by_side([answer.rows for answer in answers]), Flags(), lost)

    def rebuild(self, state: MDState, flags: Flags) -> MDState:
        """See ``StepEngine``: every step makes its own room."""
        return state

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()  # they end when nobody listens any more
        for process in self._processes:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pipes, self._processes = [], []

    def __enter__(self) -> ProcessEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, task: Task) -> None:
        try:
            told = pickle.dumps(task)
        except Exception as error:  # pickle raises whatever an object raises
            raise WorkerError(
                "processes of a run",
                got=f"a model that cannot be given to another process ({type(error).__name__}: {error})"[:200],
                todo="Use md.processes=1",
            ) from None
        ours, theirs = connection.Pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        words = [sys.executable, "-m", WORKER, str(theirs.fileno())]
        self._processes.append(subprocess.Popen(words, pass_fds=[theirs.fileno()], env=environment))
        theirs.close()
        self._pipes.append(ours)
        ours.send_bytes(told)

    def _send(self, pipe: Connection, order: Order, share: range) -> None:
        try:
            pipe.send_bytes(pickle.dumps(order))
        except OSError:
            raise self._gone(share) from None

    def _receive(self, pipe: Connection, share: range) -> Answer:
        try:
            answer: Answer = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._gone(share) from None
        if answer.error is not None:
            raise WorkerError(f"process of {_named(share)}", got=answer.error)
        return answer

    def _gone(self, share: range) -> WorkerError:
        process = self._processes[self._shares.index(share)]
        try:
            code = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = None
        by = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return WorkerError(
            f"process of {_named(share)}",
            got=f"its end ({by})",
            wanted="one that works",
            todo="Continue with --restart, with fewer processes (md.processes) if memory ran out",
        )


def choose_processes(
    settings: MDSettings, model: PotentialLike, particles: Particles, n_steps: int, n_threads: int, obstacle: str | None
) -> int:
    """How many processes the replicas of a run take.

    ``auto`` proposes one core for each replica, as far as cores (and the threads that torch was given) go, where the
    steps to come repay the start of processes; ``is_faster`` then measures.

    Args:
        settings: ``processes``.
        model: the potential.
        particles: the replicas.
        n_steps: to come.
        n_threads: that the user lets torch take.
        obstacle: why all replicas have to stay in one process; None: they need not.

    Raises:
        ConfigError: several processes are asked for where they cannot be.
    """
    wanted = settings.processes
    if model.device.type != "cpu":
        obstacle = f"a model on {model.device}, which one process keeps busy"
    if isinstance(wanted, int):
        if wanted > 1 and obstacle is not None:
            raise ConfigError("md.processes", got=f"{wanted} with {obstacle}", wanted="1, or auto")
        return min(wanted, particles.n_replicas)
    atom_steps = n_steps * len(particles.system.numbers)
    if obstacle is not None or atom_steps < _REPAYS or type(model).__module__ == "__main__":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(particles.n_replicas, cores, n_threads))


def is_faster(spread: StepEngine, alone: StepEngine, start: Callable[[], MDState]) -> bool:
    """Whether processes make steps faster than one, measured in turns.

    Args:
        spread: over processes.
        alone: in this one.
        start: gives a state to measure with, each time with random numbers of its own.
    """
    engines, states = (spread, alone), [start(), start()]
    times: list[list[float]] = [[], []]
    for turn in range(_TURNS + 1):
        for place, engine in enumerate(engines):
            n_steps = _MEASURED_STEPS if turn else 1  # the first one compiles
            began = time.perf_counter()
            states[place] = engine.advance(states[place], n_steps).state
            if turn:
                times[place].append((time.perf_counter() - began) / n_steps)
    return min(times[0]) < min(times[1])


def _named(share: Sequence[int]) -> str:
    return f"replica {share[0]}" if len(share) == 1 else f"replicas {share[0]} to {share[-1]}"
