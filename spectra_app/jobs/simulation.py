"""The facade of molecular dynamics: model + structure + settings -> run file, interruptible and restartable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine import ChosenEngine, choose_engine
from spectra_app.dynamics.failures import Failure
from spectra_app.dynamics.fields import FieldFunction, check_same_field
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics, Progress
from spectra_app.dynamics.observables import RunKind, stored_observables
from spectra_app.dynamics.recorder import Recorder
from spectra_app.dynamics.state import MDState, state_from_dict, state_to_dict
from spectra_app.errors import ConvergenceError, SimulationError, StoppedError
from spectra_app.interrupts import Interrupts
from spectra_app.jobs.batch import check_start, start_particles
from spectra_app.memory import keep_freed_blocks
from spectra_app.runs.layout import Parts, RunHeader, write_born_charges
from spectra_app.runs.partition import common_parts, whole_molecules
from spectra_app.runs.provenance import versions
from spectra_app.runs.reader import read_run
from spectra_app.runs.restart_file import is_begun, load_checkpoint, save_checkpoint
from spectra_app.runs.writer import RunWriter
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, select_structures

BORN_SAMPLES = 4  # configurations of a run whose Born charges are kept
# Settings that may differ between the parts of one run; a field table is compared by its rows.
FREE_ON_RESTART = frozenset({"steps", "device", "engine", "field_table"})


@dataclass(frozen=True)
class SimulationResult:
    """What a run produced.

    Attributes:
        path: the run file, or None.
        n_steps: recorded steps.
        n_frames: recorded frames.
        n_atoms: atoms of one replica.
        n_replicas: independent copies.
        timestep_fs: time step, fs.
        ms_per_step: wall time of a recorded step with all replicas, ms; NaN for a run of one step.
        temperature_K: mean temperature of the recorded part, K.
        energy_drift_meV_per_atom_per_ps: slope of the conserved energy.
        wall_s: wall time of this call, s.
        restarted_at_step: step (equilibration included) at which this call continued; None for a new run.
        device: torch device.
        engine: how the model was evaluated.
        failures: replicas that went wrong and were left behind while the others ran on.
    """

    path: Path | None
    n_steps: int
    n_frames: int
    n_atoms: int
    n_replicas: int
    timestep_fs: float
    ms_per_step: float
    temperature_K: float
    energy_drift_meV_per_atom_per_ps: float
    wall_s: float
    restarted_at_step: int | None
    device: str
    engine: str
    failures: tuple[Failure, ...] = ()


class Simulation:
    """Molecular dynamics that records dipoles and polarizabilities.

    Args:
        model: from ``load_model``; its device and dtype are used.
        structure: start structure; a sequence gives every replica its own.
        settings: ``MDSettings``; None takes the defaults.
        output: run file; None records nothing (benchmarks).
        progress: called with ``Progress`` about every 50 steps.
        checkpoint_s: wall time between checkpoints, s.
        field: external field as a function: time of the run file, fs -> [xyz], V/A; during equilibration that of time
            0.  Instead of ``settings.field_V_per_A`` (static) or ``settings.field_table``.  A restart needs the same
            function again.

    Raises:
        StructureError: unknown element, overlapping atoms, a single atom, a network where molecules are wanted.
        ConfigError: settings that do not fit together.
    """

    def __init__(
        self,
        model: PotentialLike,
        structure: Atoms | System | Sequence[Atoms],
        settings: MDSettings | None = None,
        output: Path | str | None = None,
        progress: Callable[[Progress], None] | None = None,
        checkpoint_s: float = 30.0,
        field: FieldFunction | None = None,
    ) -> None:
        self.model = model
        self.settings = MDSettings() if settings is None else settings
        self.output = None if output is None else Path(output)
        self.progress = progress
        self.checkpoint_s = checkpoint_s
        self._field_of_start: dict[str, Any] | None = None
        self.particles = start_particles(structure, model.device, self.settings.n_replicas)
        model.check_system(self.particles.system)
        check_start(self.particles)
        self.parts: Parts | None = None
        if self.settings.parts == "none":
            self.particles = self.particles._replace(system=whole_molecules(self.particles.system))
        else:
            system, self.parts = common_parts(self.settings.parts, self.particles.system)
            self.particles = self.particles._replace(system=system)
        self.dynamics = MolecularDynamics(model, self.particles, self.settings, field)
        self._engine = ChosenEngine(model.engine, torch.get_num_threads())

    def run(self, restart: bool = False, overwrite: bool = False, max_minutes: float | None = None) -> SimulationResult:
        """Run to the end, or until Ctrl-C, SIGTERM, SIGUSR1, or the end of the allowed time.

        Args:
            restart: continue from the checkpoint beside ``output``, bit for bit as if never stopped (same device and
                engine; ``auto`` keeps the engine); with more ``steps`` than before, extend a finished run.  Without
                output file begins anew.
            overwrite: replace an existing run file.
            max_minutes: wall time after which everything is saved and the run stopped, min; needs an output file.

        Raises:
            TrajectoryError: the output exists, is damaged, or the disk is full.
            SimulationError: the run became unstable, or the checkpoint belongs to another run.
            StoppedError: a signal, or the time is over; ``restart=True`` continues.
        """
        began = time.perf_counter()
        keep_freed_blocks()
        recorder_of = self._make_recorder
        if self.output is None:
            self._choose_engine()
            recorder = recorder_of(None)
            self.dynamics.run(recorder, progress=self.progress)
            recorder.flush()
            return self._result(recorder, began, None, self.dynamics.ms_per_step)
        if restart and is_begun(self.output):
            content = load_checkpoint(self.output, "md")
            self._check_same_run(content)
            state = state_from_dict(content["state"], self.model.device)
            self._engine = self._engine_of(content)
            self._engine.use(self.model)
            self.dynamics.watch.restore(content.get("failures", ()))
            carry, ms_per_step = content["recorder"], content["ms_per_step"]
            writer = RunWriter.resume(self.output, self._header(), carry["n_observables"], carry["n_trajectory"])
        else:
            state, carry, ms_per_step = None, None, float("nan")
            self._choose_engine()
            writer = RunWriter(self.output, self._header(), overwrite or restart)
        with writer:
            recorder = recorder_of(writer)
            if carry is not None:
                recorder.restore(carry)
            keeper = _Keeper(self, writer, recorder, max_minutes)
            with keeper.interrupts:
                try:
                    last = self.dynamics.run(recorder, state, keeper.after_step, self.progress)
                except (SimulationError, ConvergenceError) as error:
                    recorder.salvage(self.dynamics.watch.limits_K, str(error))
                    kept = f"{recorder.n_observables} recorded frames up to there are in {self.output}"
                    raise type(error)(f"{error} ({kept})") from None
            if self.dynamics.ms_per_step == self.dynamics.ms_per_step:  # not NaN: this call made steps
                ms_per_step = self.dynamics.ms_per_step
            keeper.save(last, ms_per_step)  # which may find that the last step was one too many
            writer.finish(ms_per_step)
        self._add_born_charges(self.output)
        return self._result(recorder, began, None if state is None else state.step, ms_per_step)

    def _choose_engine(self) -> None:
        steps = self.dynamics.total_steps
        self._engine = choose_engine(self.settings.engine, self.model, self.particles.system, steps)

    def _engine_of(self, content: dict[str, Any]) -> ChosenEngine:
        """What a restart goes on with: the run's own engine and threads, unless another engine is asked for."""
        name, threads = content.get("engine", ("eager", torch.get_num_threads()))  # earlier versions knew no other
        if self.settings.engine not in ("auto", name) or name not in self.model.engines:
            return choose_engine(self.settings.engine, self.model, self.particles.system, 0)
        return ChosenEngine(name, threads)

    def _add_born_charges(self, output: Path) -> None:
        """Born charges of a few configurations: what the infrared spectrum must integrate to, without the model."""
        if not self.model.has_born_charges(self.particles.system):
            return
        run = read_run(output)
        positions = run.stored_positions_A
        assert positions is not None
        chosen = np.unique(np.linspace(0, len(run.trajectory_step) - 1, BORN_SAMPLES).astype(int))
        first = torch.arange(1, device=self.model.device)
        atoms = torch.arange(self.particles.n_atoms, device=self.model.device)
        system, tensors = select_structures(self.particles.system, first, atoms), []
        for frame in chosen:
            cell = system.cell
            if run.cell_A is not None and run.cell_A.ndim > 2:
                cell = torch.from_numpy(np.array(run.cell_A[frame, 0]))
            one = system._replace(
                positions=torch.from_numpy(np.array(positions[frame, 0])).to(system.positions),
                cell=cell.reshape(1, 3, 3).to(system.cell),
            )
            neighbors = build_neighbors(one, self.model.cutoff).to(dtype=self.model.dtype)
            tensors.append(self.model.born_charges(one.to(dtype=self.model.dtype), neighbors).double().cpu().numpy())
        write_born_charges(output, np.asarray(run.trajectory_step)[chosen], np.stack(tensors))

    def checkpoint(self, state: MDState, recorder: Recorder, ms_per_step: float) -> dict[str, Any]:
        """Content of a checkpoint."""
        return {
            "kind": "md",
            "state": state_to_dict(state),
            "failures": [tuple(failure) for failure in self.dynamics.watch.failures.values()],
            "recorder": recorder.carry(),
            "settings": self.settings.model_dump(mode="json"),
            "model_hash": self.model.card.hash,
            "engine": tuple(self._engine),
            "numbers": self.particles.system.numbers.cpu(),
            "ms_per_step": ms_per_step,
            "field": self._field_identity(),
            "atom_part": None if self.parts is None else self.parts.atom_part.tolist(),
        }

    def _field_identity(self) -> dict[str, Any] | None:
        """What a restart compares: of the whole run at its first length, so that a longer one compares the same."""
        if self._field_of_start is None and self.dynamics.field is not None:
            self._field_of_start = self.dynamics.field.identity(self.settings.steps * self.settings.timestep_fs)
        return self._field_of_start

    def _check_same_run(self, content: dict[str, Any]) -> None:
        """Refuse a checkpoint of other settings, another model or other atoms."""
        now, then = self.settings.model_dump(mode="json"), content["settings"]
        for key in now:
            before = then.get(key, MDSettings.model_fields[key].default)  # not in checkpoints of earlier versions
            if key not in FREE_ON_RESTART and now[key] != before:
                raise SimulationError(f"restart, md.{key}", got=now[key], wanted=f"{before} as when the run began")
        if self.parts is not None and content["atom_part"] != self.parts.atom_part.tolist():
            raise SimulationError("restart", got="other bonds", wanted="the structure with which the run began")
        self._field_of_start = content.get("field", self._field_identity())  # not in checkpoints of earlier versions
        check_same_field(self.dynamics.field, self._field_of_start)
        if content["model_hash"] != self.model.card.hash:
            raise SimulationError(
                "restart",
                got="another model, or the same with another physical scale (eps_inf, chi)",
                wanted="the model with which the run began",
            )
        if not torch.equal(content["numbers"], self.particles.system.numbers.cpu()):
            raise SimulationError("restart", got="other atoms", wanted="the structure with which the run began")
        if content["state"]["step"] > self.dynamics.total_steps:
            done = content["state"]["step"] - self.settings.equilibration_steps
            raise SimulationError("restart, md.steps", got=self.settings.steps, wanted=f"at least {done}, done already")

    def _make_recorder(self, writer: RunWriter | None) -> Recorder:
        settings = self.settings
        return Recorder(
            self.particles,
            self.model.scale,
            writer,
            settings.timestep_fs,
            settings.record_stride,
            settings.trajectory_stride,
            has_polarizability=self.model.card.has_alpha,
            variable_cell=settings.ensemble == "npt",
            field=None if self.dynamics.schedule is None else self.dynamics.schedule.at_recorded,
            atom_part=None if self.parts is None else self.parts.atom_part,
        )

    def _header(self) -> RunHeader:
        particles, settings = self.particles, self.settings
        system, n_atoms = particles.system, particles.n_atoms
        periodic = bool(system.periodic[0])
        kind = RunKind(
            polarizability=self.model.card.has_alpha,
            variable_cell=settings.ensemble == "npt",
            conserved=True,
            field=self.dynamics.field is not None,
            parts=self.parts is not None,
        )
        metadata = {
            "created_by": "md",
            "configuration": {"md": settings.model_dump(mode="json")},
            "versions": versions(),
            "model_name": self.model.card.name,
            "model_hash": self.model.card.hash,
            "eps_inf": self.model.eps_inf,
            "oxidation_states": self.model.oxidation_states,
            "seed": settings.seed,
            "seeds": list(self.dynamics.seeds),
            "device": str(self.model.device),
            "engine": self._engine.name,
            "threads": self._engine.threads,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "ensemble": settings.ensemble,
            "temperature_K": settings.temperature_K,
            "timestep_fs": settings.timestep_fs,
            "integrator": {"name": self.dynamics.integrator, "timestep_fs": settings.timestep_fs},
            "strain_taken_out": periodic,
            "record_stride": settings.record_stride,
            "trajectory_stride": settings.trajectory_stride,
            "cell_A": system.cell[0].tolist() if periodic else None,
            "field": None if self.dynamics.field is None else self.dynamics.field.description,
        }
        return RunHeader(
            numbers=system.numbers[:n_atoms].cpu().numpy(),
            masses_amu=particles.masses[:n_atoms, 0].cpu().numpy(),
            periodic=periodic,
            n_replicas=particles.n_replicas,
            timestep_fs=settings.timestep_fs,
            observables=stored_observables(kind),
            positions=True,
            velocities=True,
            metadata=metadata,
            slab=system.slab is not None,
            parts=self.parts,
        )

    def _result(
        self, recorder: Recorder, began: float, restarted_at: int | None, ms_per_step: float
    ) -> SimulationResult:
        n_atoms = self.particles.n_atoms
        return SimulationResult(
            path=self.output,
            n_steps=self.settings.steps,
            n_frames=recorder.n_observables,
            n_atoms=n_atoms,
            n_replicas=self.particles.n_replicas,
            timestep_fs=self.settings.timestep_fs,
            ms_per_step=ms_per_step,
            temperature_K=recorder.temperature_K,
            energy_drift_meV_per_atom_per_ps=recorder.drift_eV_per_fs * 1e6 / n_atoms,
            failures=tuple(self.dynamics.watch.failures.values()),
            wall_s=time.perf_counter() - began,
            restarted_at_step=restarted_at,
            device=str(self.model.device),
            engine=self._engine.name,
        )


class _Keeper:
    """Saves checkpoints at wall-time intervals and on interruption."""

    def __init__(
        self, simulation: Simulation, writer: RunWriter, recorder: Recorder, max_minutes: float | None
    ) -> None:
        self._simulation, self._writer, self._recorder = simulation, writer, recorder
        self._saved = -float("inf") if recorder.n_observables == 0 else time.monotonic()
        self.interrupts = Interrupts(max_minutes)

    def after_step(self, state: MDState) -> MDState:
        """Called after every step, gives the state to go on with; raises ``StoppedError`` when asked to stop."""
        stop = self.interrupts.requested
        if not stop and time.monotonic() - self._saved < self._simulation.checkpoint_s:
            return state
        state = self.save(state, float("nan"))
        if stop:
            done, total = state.step, self._simulation.dynamics.total_steps
            raise StoppedError(
                f"molecular dynamics stopped at step {done} of {total} ({self.interrupts.reason}), everything is saved "
                f"in {self._writer.path}",
                resubmit=self.interrupts.resubmit,
                todo="Continue with --restart",
            )
        return state

    def save(self, state: MDState, ms_per_step: float) -> MDState:
        """Flush the run file, then replace the checkpoint; gives the state to go on with."""
        self._recorder.flush()
        state, _ = self._simulation.dynamics.settle(state, self._recorder)  # never save a state that has exploded
        self._writer.flush()
        save_checkpoint(self._writer.path, self._simulation.checkpoint(state, self._recorder, ms_per_step))
        self._saved = time.monotonic()
        return state
