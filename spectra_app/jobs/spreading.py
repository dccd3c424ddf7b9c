"""Over how many processes the replicas of a run are spread: asked for, or measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine import ProcessEngine, choose_processes, is_faster
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import is_foreign
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics
from spectra_app.dynamics.split_recorder import AnyRecorder


class Spreading:
    """The processes of one run.

    Args:
        model: the potential.
        dynamics: of the run.
        settings: as the user gave them.

    Attributes:
        n_processes: over which the replicas run.
        told: how far the replicas are outside the model's training data is recorded.
    """

    def __init__(self, model: PotentialLike, dynamics: MolecularDynamics, settings: MDSettings) -> None:
        self._model, self._dynamics, self._settings = model, dynamics, settings
        self._n_threads = torch.get_num_threads()  # what the user lets us take, before an engine is chosen
        self.n_processes = 1
        self.told = model.training_range is not None

    def choose(self, engine: str, n_steps: int, recorder: Callable[[], AnyRecorder]) -> None:
        """Decide, by measurement where the settings leave it open.

        Args:
            engine: of the model, chosen already.
            n_steps: to come.
            recorder: makes one that writes nothing.

        Raises:
            ConfigError: several processes are asked for where they cannot be.
            WorkerError: they cannot be started.
        """
        dynamics = self._dynamics
        obstacle = None
        if self._settings.parts != "none":
            obstacle = "contributions of parts, which stay in one process"
        elif dynamics.field is not None and dynamics.field.description["kind"] == "function":
            obstacle = "a field that is a function of this script"
        elif engine == "graph":
            obstacle = "engine graph"
        elif is_foreign(self._model):
            obstacle = "a calculator of another program, which stays in one process"
        self.n_processes = choose_processes(
            self._settings, self._model, dynamics.particles, n_steps, self._n_threads, obstacle
        )
        if self.n_processes > 1 and self._settings.processes == "auto":
            with self._start() as spread:
                alone = dynamics.engine_for(recorder())
                if not is_faster(spread, alone, lambda: dynamics.start()[0]):
                    self.n_processes = 1
            dynamics.force_field.lost = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The processes, for the time of a block in which the dynamics uses them."""
        if self.n_processes == 1:
            yield
            return
        with self._start() as engine:
            self._dynamics.engine = engine
            try:
                yield
            finally:
                self._dynamics.engine = None

    def _start(self) -> ProcessEngine:
        dynamics = self._dynamics
        return ProcessEngine(
            self._model,
            dynamics.particles,
            dynamics.settings,
            self.n_processes,
            lambda: dynamics.equilibration.steps,
            self.told,
        )
