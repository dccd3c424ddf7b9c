"""A process of a run that makes the steps of some of its replicas (``engine.processes``); started by the run alone."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection

import torch

from spectra_app.dynamics.engine.processes import Answer, Order, Task
from spectra_app.dynamics.failures import lay_to_rest
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics
from spectra_app.dynamics.recorder import Recorder, Rows
from spectra_app.dynamics.split_recorder import AnyRecorder, SplitRecorder
from spectra_app.dynamics.state import MDState, closest_atoms, state_from_dict, state_to_dict
from spectra_app.dynamics.state_parts import particles_of
from spectra_app.memory import keep_freed_blocks


class Worker:
    """The steps of some replicas.

    Args:
        task: model, replicas and settings.
    """

    def __init__(self, task: Task) -> None:
        self._particles, settings = task.particles, task.settings
        task.model.engine = task.engine
        self._dynamics = MolecularDynamics(task.model, self._particles, settings)
        self._dynamics.force_field.raises = False
        own = [self._particles]
        if not self._particles.alike:
            own = [particles_of(self._particles, range(k, k + 1)) for k in range(self._particles.n_replicas)]
        recorders = [
            Recorder(
                some,
                task.model.scale,
                None,
                settings.timestep_fs,
                settings.record_stride,
                settings.trajectory_stride,
                has_polarizability=task.model.card.has_alpha,
                variable_cell=settings.ensemble == "npt",
                has_extrapolation=task.told,
            )
            for some in own
        ]
        self._recorder: AnyRecorder = recorders[0] if len(recorders) == 1 else SplitRecorder(recorders, own)
        self._state: MDState | None = None

    def follow(self, order: Order) -> Answer:
        """Make steps."""
        self._dynamics.equilibration.steps = order.equilibration
        if order.state is not None:
            self._state = state_from_dict(order.state, torch.device("cpu"))
        assert self._state is not None
        well, state, lost = self._state, self._state, {}
        rows: list[Rows] = []
        for _ in range(order.n_steps):
            before = state
            state, prediction = self._dynamics.step(state)
            found, self._dynamics.force_field.lost = self._dynamics.force_field.lost, {}
            if found:
                for replica, reason in found.items():
                    pair = closest_atoms(before, self._particles, [replica])
                    lost[replica] = (state.step, reason if pair is None else f"{reason}; closest {pair}")
                state = lay_to_rest(state, well, found, self._particles)
            rows.append(self._recorder.rows(state.step - order.equilibration, state, prediction))
        self._state = state
        return Answer(state_to_dict(state), Rows.joined(rows), lost)


def main() -> None:
    """Follow orders until nobody gives any more."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # which the process of the run answers
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    keep_freed_blocks()
    try:
        task: Task = pickle.loads(pipe.recv_bytes())
        torch.set_num_threads(task.threads)
        worker = Worker(task)
        while True:
            order: Order = pickle.loads(pipe.recv_bytes())
            try:
                answer = worker.follow(order)
            except Exception as error:
                answer = Answer({}, Rows(), {}, f"{type(error).__name__}: {error}")
            pipe.send_bytes(pickle.dumps(answer))
    except (EOFError, OSError):  # the run has ended
        os._exit(0)


if __name__ == "__main__":
    main()
