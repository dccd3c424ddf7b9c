"""Molecular dynamics from settings: equilibration with a thermostat, then the recorded part.

This module knows no files; ``spectra_app.Simulation`` adds run file, checkpoints and interruption.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine.eager import StepByStep
from spectra_app.dynamics.engine.graph import GraphSteps
from spectra_app.dynamics.engine.steps import Advanced, StepEngine
from spectra_app.dynamics.ensembles import bath_temperature, check_ensemble, make_stepper
from spectra_app.dynamics.equilibration import Equilibration
from spectra_app.dynamics.failures import Vitals, Watch, hold
from spectra_app.dynamics.fields import ExternalField, FieldFunction, FieldSchedule, make_field
from spectra_app.dynamics.forces import ForceField, PotentialLike, PredictionLike
from spectra_app.dynamics.foreign import Use, check_use
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.nose_hoover import start_chain
from spectra_app.dynamics.recorder import NO_ROWS, Rows
from spectra_app.dynamics.split_recorder import AnyRecorder
from spectra_app.dynamics.state import (
    MDState,
    Particles,
    maxwell_boltzmann,
    remove_drift,
)
from spectra_app.dynamics.streams import replica_seeds, streams_from_seeds
from spectra_app.errors import ConvergenceError, SimulationError

CHECK_STEPS = 50  # steps between looks at temperature and energy, each one host synchronisation
_QUIET_S = 3.0  # wall time after which slow steps are told of between looks


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: "equilibration" or "recording".
        step: steps done, both phases together.
        total_steps: of both phases.
        temperature_K: mean over replicas at this instant.
        energy_eV: mean potential energy over replicas at this instant.
        ms_per_step: wall time per step since this process began, ms.
        remaining_s: estimated wall time to the end, s.
    """

    phase: str
    step: int
    total_steps: int
    temperature_K: float
    energy_eV: float
    ms_per_step: float
    remaining_s: float


class MolecularDynamics:
    """The steps of a run.

    Args:
        model: the potential.
        particles: the replicas, on the model's device.
        settings: ensemble, thermostat, steps.
        field: external field in time: time of the run file, fs -> [xyz], V/A; see also ``settings``.

    Raises:
        ConfigError: constant pressure without a cell that is periodic in three directions, or with langevin as its
            thermostat; a field on a charged structure; see also ``make_field``.
        ModelError: a calculator of another program that lacks what the run needs.

    Attributes:
        field: external field, or None.
        seeds: of the replicas.
        kelvin: temperature of the thermostat: one, or [replica] where replicas have their own, K.
        schedule: the field along the steps, or None.
        equilibration: knows how long it lasts, and whether everything settled in it.
        engine: makes the steps in place of this object's own; None: its own.
        watch: looks after the replicas, and knows which have failed.
        ms_per_step: wall time of a recorded step, ms, after ``run``; NaN before.
    """

    def __init__(
        self,
        model: PotentialLike,
        particles: Particles,
        settings: MDSettings,
        field: FieldFunction | None = None,
    ) -> None:
        self.field: ExternalField | None = make_field(settings, field)
        check_ensemble(settings, particles, self.field)
        npt, parts = settings.ensemble == "npt", settings.parts != "none"
        check_use(model, particles.system, Use(True, npt, self.field is not None, parts))
        self.particles = particles
        self.settings = settings
        self.seeds = replica_seeds(settings.seed, particles.n_replicas)
        self.kelvin = bath_temperature(settings, particles)
        self.equilibration = Equilibration(settings, particles)
        self.schedule = (
            None
            if self.field is None
            else FieldSchedule(self.field, settings.timestep_fs, lambda: self.equilibration.steps)
        )
        self.force_field = ForceField(
            model,
            particles.system,
            settings.skin_A,
            settings.ensemble == "npt",
            self.schedule,
            self._is_recorded,
            settings.timestep_fs,
            settings.timestep_fs * settings.record_stride,
            any_shape=settings.cell != "isotropic",
        )
        self._equilibrate = make_stepper(settings, particles, self.force_field, thermostat=True)
        self._produce = make_stepper(settings, particles, self.force_field, thermostat=settings.ensemble != "nve")
        self.engine: StepEngine | None = None
        self.watch = Watch(particles, settings.temperatures_K)
        self.ms_per_step = float("nan")

    @property
    def integrator(self) -> str:
        """Of the recorded part: ``langevin-baoab``, or ``velocity-verlet`` (whatever else acts on all atoms alike).

        Both show a mode of frequency w at w_num with sin(w_num h/2) = w h/2, which a spectrum may correct.
        """
        settings = self.settings
        langevin = settings.ensemble == "nvt" and settings.thermostat == "langevin"
        return "langevin-baoab" if langevin else "velocity-verlet"

    def _is_recorded(self, step: int) -> bool:
        """Whether dipole and polarizability of a step, counted from the very start, go into the run file."""
        recorded_step = step - self.equilibration.steps
        return recorded_step >= 0 and recorded_step % self.settings.record_stride == 0

    @property
    def total_steps(self) -> int:
        """Steps of equilibration and recorded part, at most while an automatic equilibration goes on."""
        return self.equilibration.steps + self.settings.steps

    def start(self) -> tuple[MDState, PredictionLike]:
        """The first state: velocities from the seed, forces from the model."""
        system = self.particles.system
        streams = streams_from_seeds(self.seeds, system.positions.device)
        velocities = maxwell_boltzmann(self.particles, self.kelvin, streams)
        zeros = torch.zeros(self.particles.n_replicas, dtype=torch.float64, device=system.positions.device)
        state = MDState(
            positions=system.positions,
            velocities=velocities,
            forces=torch.zeros_like(velocities),
            energy=zeros,
            cell=system.cell,
            virial_pressure=zeros,
            reservoir=zeros,
            reference_positions=system.positions,
            reference_cell=system.cell,
            step=0,
            streams=streams,
            chain=start_chain(self.particles, streams) if self.settings.thermostat == "nose-hoover" else None,
        )
        if self.settings.ensemble == "npt" and self.settings.cell == "full":
            state = state._replace(frame=torch.linalg.inv(system.cell))
        return update_forces(state, state.positions, state.cell, self.force_field, 0)

    def run(
        self,
        recorder: AnyRecorder,
        state: MDState | None = None,
        after_step: Callable[[MDState], MDState] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> MDState:
        """All steps from a state to the end.

        Args:
            recorder: gets every state of the recorded part.
            state: of a restart; None begins anew.
            after_step: called with every state, recorded already, gives the state to go on with (``settle``); it may
                raise to stop the run.
            progress: called about every ``CHECK_STEPS`` steps, and of slow ones every few seconds.

        Returns:
            The last state.

        Raises:
            SimulationError: in every replica atoms flew apart, or a number became NaN; names step and atoms.  A
                replica that goes wrong before the last one is laid to rest and found in ``watch.failures``.
        """
        if state is None:
            state, prediction = self.start()
            state, _ = self.settle(state, recorder)
            if self.equilibration.steps == 0:
                recorder.observe(0, state, prediction)
            if after_step is not None:
                state = after_step(state)
        engine = self.engine_for(recorder) if self.engine is None else self.engine
        state, n_failed = engine.prepare(state), len(self.watch.failures)
        first_step, began = state.step, time.perf_counter()
        told = began
        timed_from, timed_since = None, began
        while state.step < self.total_steps:
            before, done = state, self._advance(engine, state, recorder)
            state = done.state
            if self.force_field.lost:
                state = self._rest_lost(before, state, recorder)
            if done.lost:
                state = self._rest_elsewhere(done, recorder)
            recorder.take(done.rows)
            if any(done.flags):
                state = engine.rebuild(state, done.flags)
            self.equilibration.watch(state)
            recorded, total = state.step >= self.equilibration.steps, self.total_steps
            if after_step is not None:
                state = after_step(state)
            now, vitals = time.perf_counter(), None
            if state.step % CHECK_STEPS == 0 or state.step == total:
                state, vitals = self.settle(state, recorder)
            elif now - told > _QUIET_S:
                vitals = self.watch.vitals(state)
            if progress is not None and vitals is not None:
                pace, told = (now - began) / max(1, state.step - first_step), now
                phase = "recording" if recorded else "equilibration"
                left = pace * (total - state.step)
                progress(Progress(phase, state.step, total, *vitals, 1e3 * pace, left))
            if len(self.watch.failures) > n_failed:
                state, n_failed = engine.prepare(state), len(self.watch.failures)
            # The first recorded steps of a process may compile or warm up; they are left out of the timing.
            if timed_from is None and recorded and state.step >= min(first_step + 10, total - 1):
                timed_from, timed_since = state.step, time.perf_counter()
        if timed_from is not None and state.step > timed_from:
            self.ms_per_step = 1e3 * (time.perf_counter() - timed_since) / (state.step - timed_from)
        return state

    def _advance(self, engine: StepEngine, state: MDState, recorder: AnyRecorder) -> Advanced:
        """Steps up to the next decision.

        Raises:
            SimulationError: the only replica went wrong.
        """
        try:
            return engine.advance(state, self._steps_to_decision(state.step, engine.steps_at_once))
        except SimulationError as error:
            self.force_field.lost = dict.fromkeys(range(self.particles.n_replicas), str(error))
        except ConvergenceError as error:
            if engine.steps_at_once > 1:
                raise
            raise type(error)(f"step {state.step + 1} (equilibration included), {error}") from error
        self._rest_lost(state, state, recorder)
        raise AssertionError("a run whose replicas are all lost goes on")

    def engine_for(self, recorder: AnyRecorder) -> StepEngine:
        """What makes the steps of a run that is recorded so."""

        def rows(state: MDState, prediction: PredictionLike) -> Rows:
            return recorder.rows(state.step - self.equilibration.steps, state, prediction)

        eager, model = StepByStep(self.step, rows), self.force_field.model
        if model.engine == "graph":
            known = (self.particles, self.settings, recorder, self._is_recorded, lambda: self.equilibration.steps)
            return GraphSteps(model, *known, eager)
        return eager

    def trial(self, recorder: AnyRecorder, n_steps: int = 16) -> Callable[[], float]:
        """Wall time of a step, s, with the engine that the model is on at the call; of a run of its own.

        Args:
            recorder: tells what is recorded; its rows go nowhere.
            n_steps: at every call.
        """
        engines: dict[str, tuple[StepEngine, MDState]] = {}

        def timed() -> float:
            name = self.force_field.model.engine
            if name not in engines:
                engine = self.engine_for(recorder)
                engines[name] = engine, engine.prepare(self.start()[0])
            (engine, state), began = engines[name], time.perf_counter()
            last = state.step + n_steps
            while state.step < last:
                done = engine.advance(state, min(engine.steps_at_once, last - state.step))
                state = engine.rebuild(done.state, done.flags) if any(done.flags) else done.state
            state.energy.tolist()  # waits for a GPU
            engines[name] = engine, state
            return (time.perf_counter() - began) / n_steps

        return timed

    def step(self, state: MDState) -> tuple[MDState, PredictionLike]:
        """One step of the part of the run that the state is in; the last one of the equilibration begins recording."""
        before, equilibration = state, self.equilibration.steps
        state, prediction = (self._equilibrate if state.step < equilibration else self._produce)(state)
        state = hold(before, state, self.particles)
        return (self._begin_recording(state) if state.step == equilibration else state), prediction

    def _steps_to_decision(self, step: int, n_steps: int) -> int:
        """As many steps as wanted, up to the next one after which the host has something to decide."""
        ends = [step - step % CHECK_STEPS + CHECK_STEPS, self.total_steps]
        if step < self.equilibration.steps:
            ends.append(self.equilibration.next_sample(step))
        return min(n_steps, *(end - step for end in ends if end > step))

    def _begin_recording(self, state: MDState) -> MDState:
        """Restart the energy balance and remove what round-off has left of the total momentum."""
        return state._replace(
            velocities=remove_drift(state.velocities, self.particles), reservoir=torch.zeros_like(state.reservoir)
        )

    def settle(self, state: MDState, recorder: AnyRecorder) -> tuple[MDState, Vitals]:
        """The state with the replicas at rest that have gone wrong; one host synchronisation.

        Args:
            state: recorded already.
            recorder: told of replicas that end.

        Raises:
            SimulationError: no replica is left.
        """
        begun = self.equilibration.steps
        try:
            for replica, recorded_step in recorder.broken.items():
                found = {replica: f"NaN or infinity in recorded step {recorded_step}"}
                state = self.watch.rest(state, found, begun + recorded_step)
            return self.watch.look(state)
        finally:
            self._tell(recorder)

    def _rest_lost(self, before: MDState, state: MDState, recorder: AnyRecorder) -> MDState:
        """The state after a step, with the replicas at rest that were lost in it."""
        lost, self.force_field.lost = self.force_field.lost, {}
        try:
            return self.watch.rest(state, lost, before.step + 1, before)
        finally:
            self._tell(recorder)

    def _rest_elsewhere(self, done: Advanced, recorder: AnyRecorder) -> MDState:
        """The state after steps of another process, which has laid replicas to rest already."""
        try:
            return self.watch.note(done.state, done.lost)
        finally:
            self._tell(recorder, done.rows)

    def _tell(self, recorder: AnyRecorder, coming: Rows = NO_ROWS) -> None:
        for replica, step, reason in self.watch.told():
            recorder.end(replica, step - self.equilibration.steps, self.watch.limits_K[replica], reason, coming)
