"""The facade of molecular dynamics: model + structure + settings -> run file, interruptible and restartable."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine import ChosenEngine, choose_engine, why_not_static
from spectra_app.dynamics.fields import FieldFunction, check_same_field
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import dipole_rule
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics, Progress
from spectra_app.dynamics.recorder import Recorder
from spectra_app.dynamics.split_recorder import AnyRecorder, SplitRecorder
from spectra_app.dynamics.state import MDState, drawn_elsewhere, state_from_dict, state_to_dict
from spectra_app.errors import ConvergenceError, SimulationError, StoppedError
from spectra_app.interrupts import Interrupts
from spectra_app.jobs.batch import make_batch
from spectra_app.jobs.born_samples import add_born_charges
from spectra_app.jobs.extrapolation import goes_on_telling, range_digest, runs_extrapolation
from spectra_app.jobs.run_header import Stretch, run_header
from spectra_app.jobs.simulation_result import FileSummary, NamedFailure, SimulationResult
from spectra_app.jobs.spreading import Spreading
from spectra_app.memory import keep_freed_blocks
from spectra_app.runs.restart_file import is_begun, load_checkpoint, save_checkpoint
from spectra_app.runs.writer import RunWriter
from spectra_app.structure.system import System

# Settings that may differ between the parts of one run; a field table is compared by its rows.
FREE_ON_RESTART = frozenset({"steps", "device", "engine", "processes", "field_table"})


class Simulation:
    """Molecular dynamics that records dipoles and polarizabilities.

    Args:
        model: from ``load_model``; its device and dtype are used.
        structure: start structure; a sequence gives every replica its own, of any size.
        settings: ``MDSettings``; None takes the defaults.
        output: run file; where replicas differ in atoms, cell or temperature there are several, called after it
            (``batch.shares`` says how).  None records nothing (benchmarks).
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
        self.progress = progress
        self.checkpoint_s = checkpoint_s
        self._field_of_start: dict[str, Any] | None = None
        self.batch = make_batch(model, structure, self.settings, None if output is None else Path(output))
        self.output, self.particles = self.batch.output, self.batch.particles
        kelvin = self.batch.temperatures_K
        in_order = self.settings.model_copy(update={"temperature_K": kelvin if len(kelvin) > 1 else kelvin[0]})
        self.dynamics = MolecularDynamics(model, self.particles, in_order, field)
        self._engine = ChosenEngine(model.engine, torch.get_num_threads())
        self._spreading = Spreading(model, self.dynamics, self.settings)
        self._stretches: list[Stretch] = []

    def run(self, restart: bool = False, overwrite: bool = False, max_minutes: float | None = None) -> SimulationResult:
        """Run to the end, or until Ctrl-C, SIGTERM, SIGUSR1, or the end of the allowed time.

        Args:
            restart: continue from the checkpoint beside ``output``, bit for bit as if never stopped (same device and
                engine; ``auto`` keeps the engine).  Another engine agrees to the rounding of the model; another kind of
                device draws other random numbers, made from seed and step.  With more ``steps`` than before, extend
                a finished run.  Without output file begins anew.
            overwrite: replace an existing run file.
            max_minutes: wall time after which everything is saved and the run stopped, min; needs an output file.

        Raises:
            TrajectoryError: the output exists, is damaged, or the disk is full.
            SimulationError: the run became unstable, or the checkpoint belongs to another run.
            StoppedError: a signal, or the time is over; ``restart=True`` continues.
        """
        began = time.perf_counter()
        keep_freed_blocks()
        if self.output is None:
            self._choose_engine()
            recorder = self._make_recorder([])
            with self._spreading.running():
                self.dynamics.run(recorder, progress=self.progress)
            recorder.flush()
            return self._result(recorder, began, None, self.dynamics.ms_per_step)
        content, state, ms_per_step = None, None, float("nan")
        if restart and any(is_begun(path) for path in (self.output, *self._paths)):
            content = load_checkpoint(self.output, "md")
            self.dynamics.equilibration.restore(content.get("equilibration"))
            self._check_same_run(content)
            self._spreading.told = goes_on_telling(self.model, content.get("training_range"))
            state = state_from_dict(content["state"], self.model.device, self.dynamics.seeds)
            self.dynamics.watch.restore(content.get("failures", ()))
            ms_per_step = content["ms_per_step"]
            self._engine = self._engine_of(content)
            self._engine.use(self.model)
            if self.settings.processes == "auto" or len(state.streams) < self.particles.n_replicas:
                self._spreading.n_processes = content.get("processes", 1)
            else:
                self._choose_processes(self.dynamics.total_steps)
        else:
            self._choose_engine()
        self._begin_stretch(content, 0 if state is None else state.step)
        with contextlib.ExitStack() as files:
            writers = self._open(files, content, overwrite or restart)
            recorder = self._make_recorder(writers)
            if content is not None:
                recorder.restore(content["recorder"])
            keeper = _Keeper(self, writers, recorder, max_minutes)
            with keeper.interrupts, self._spreading.running():
                try:
                    last = self.dynamics.run(recorder, state, keeper.after_step, self.progress)
                except (SimulationError, ConvergenceError) as error:
                    recorder.salvage(self.dynamics.watch.limits_K, str(error))
                    kept = f"{recorder.n_observables} recorded frames up to there are in {self._names}"
                    raise type(error)(f"{error} ({kept})") from None
            if self.dynamics.ms_per_step == self.dynamics.ms_per_step:  # not NaN: this call made steps
                ms_per_step = self.dynamics.ms_per_step
            keeper.save(last, ms_per_step)  # which may find that the last step was one too many
            parts = _parts_of(recorder)
            for writer, part in zip(writers, parts, strict=True):
                if not part.is_over:
                    writer.finish(ms_per_step)
        for share, path, part in zip(self.batch.shares, self._paths, parts, strict=True):
            if not part.is_over:
                add_born_charges(self.model, share.particles, path)
        return self._result(recorder, began, None if state is None else state.step, ms_per_step)

    @property
    def _paths(self) -> list[Path]:
        return [share.path for share in self.batch.shares if share.path is not None]

    @property
    def _names(self) -> str:
        """The run files in words."""
        paths = self._paths
        return str(paths[0]) if len(paths) == 1 else f"{paths[0]} to {paths[-1].name}"

    def _open(self, files: contextlib.ExitStack, content: dict[str, Any] | None, overwrite: bool) -> list[RunWriter]:
        """The run files, new ones or those of a checkpoint; ``files`` closes them."""
        carries = [None] * len(self._paths) if content is None else content["recorder"].get("files")
        if carries is None:
            carries = [content["recorder"]] if content is not None else []
        if len(carries) != len(self._paths):
            raise SimulationError(
                "restart", got=f"{len(self._paths)} run files", wanted=f"{len(carries)} as when the run began"
            )
        writers = []
        for share, path, carry in zip(self.batch.shares, self._paths, carries, strict=True):
            header = run_header(self.model, self.dynamics, self.settings, share, self._stretches, self._spreading.told)
            if carry is None:
                writer = RunWriter(path, header, overwrite)
            else:
                writer = RunWriter.resume(path, header, carry["n_observables"], carry["n_trajectory"])
            writers.append(files.enter_context(writer))
        return writers

    def _begin_stretch(self, content: dict[str, Any] | None, step: int) -> None:
        """Note how the steps from now on are made."""
        anew = content is not None and drawn_elsewhere(content["state"], self.model.device)
        now = Stretch(step, *self._engine, str(self.model.device), self._spreading.n_processes, anew)
        before = [] if content is None else [Stretch(*stretch) for stretch in content.get("made_by", ())]
        if content is not None and not before:  # of earlier versions
            name, threads = content.get("engine", ("eager", torch.get_num_threads()))
            before = [Stretch(0, name, threads, content["state"].get("generator_device", now.device))]
        self._stretches = before if before and before[-1][1:5] == now[1:5] and not anew else [*before, now]

    def _choose_engine(self) -> None:
        steps = self.dynamics.total_steps
        self._engine = self._chosen_engine(steps)
        self._choose_processes(steps)

    def _chosen_engine(self, n_steps: int) -> ChosenEngine:
        """Of those that can make this run, on the model's device."""
        reason = why_not_static(
            self.particles.system, self.settings, self.dynamics.field is not None, self._atom_parts() is not None
        )
        refused = {} if reason is None else {"graph": reason}
        # Where whole steps are captured, whole steps are timed.
        has_graph = "graph" in self.model.engines and reason is None
        trial = self.dynamics.trial(self._make_recorder([])) if has_graph else None
        return choose_engine(self.settings.engine, self.model, self.particles.system, n_steps, refused, trial)

    def _choose_processes(self, n_steps: int) -> None:
        self._spreading.choose(self._engine.name, n_steps, lambda: self._make_recorder([]))
        if self._spreading.n_processes > 1:
            self._engine = self._engine._replace(threads=1)

    def _engine_of(self, content: dict[str, Any]) -> ChosenEngine:
        """What a restart goes on with: the run's own engine and threads, unless another engine is asked for."""
        name, threads = content.get("engine", ("eager", torch.get_num_threads()))  # earlier versions knew no other
        if self.settings.engine not in ("auto", name) or name not in self.model.engines:
            return self._chosen_engine(0)
        return ChosenEngine(name, threads)

    def checkpoint(self, state: MDState, recorder: AnyRecorder, ms_per_step: float) -> dict[str, Any]:
        """Content of a checkpoint."""
        return {
            "kind": "md",
            "state": state_to_dict(state),
            "failures": [tuple(failure) for failure in self.dynamics.watch.failures.values()],
            "equilibration": self.dynamics.equilibration.carry(),
            "recorder": recorder.carry(),
            "settings": self.settings.model_dump(mode="json"),
            "model_hash": self.model.card.hash,
            "training_range": range_digest(self.model) if self._spreading.told else None,
            "engine": tuple(self._engine),
            "processes": self._spreading.n_processes,
            "made_by": [tuple(stretch) for stretch in self._stretches],
            "numbers": self.particles.system.numbers.cpu(),
            "sizes": list(self.particles.sizes),
            "ms_per_step": ms_per_step,
            "field": self._field_identity(),
            "atom_part": self._atom_parts(),
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
        if content["atom_part"] != self._atom_parts():
            raise SimulationError("restart", got="other bonds", wanted="the structure with which the run began")
        self._field_of_start = content.get("field", self._field_identity())  # not in checkpoints of earlier versions
        check_same_field(self.dynamics.field, self._field_of_start)
        if content["model_hash"] != self.model.card.hash:
            raise SimulationError(
                "restart",
                got="another model, or the same with another physical scale (eps_inf, chi)",
                wanted="the model with which the run began",
            )
        sizes = content.get("sizes", list(self.particles.sizes))  # not in checkpoints of earlier versions
        same = torch.equal(content["numbers"], self.particles.system.numbers.cpu())
        if not same or sizes != list(self.particles.sizes):
            raise SimulationError("restart", got="other atoms", wanted="the structure with which the run began")
        if content["state"]["step"] > self.dynamics.total_steps:
            done = content["state"]["step"] - self.dynamics.equilibration.steps
            raise SimulationError("restart, md.steps", got=self.settings.steps, wanted=f"at least {done}, done already")

    def _atom_parts(self) -> list[Any] | None:
        """The part that every atom belongs to, of the only run file or of each; None where no parts are recorded."""
        found = [share.parts.atom_part.tolist() for share in self.batch.shares if share.parts is not None]
        return None if not found else found[0] if len(found) == 1 else found

    def _make_recorder(self, writers: Sequence[RunWriter]) -> AnyRecorder:
        settings = self.settings
        to: list[RunWriter | None] = [*writers] if writers else [None] * len(self.batch.shares)
        recorders = [
            Recorder(
                share.particles,
                self.model.scale,
                writer,
                settings.timestep_fs,
                settings.record_stride,
                settings.trajectory_stride,
                has_polarizability=self.model.card.has_alpha,
                variable_cell=settings.ensemble == "npt",
                field=None if self.dynamics.schedule is None else self.dynamics.schedule.at_recorded,
                atom_part=None if share.parts is None else share.parts.atom_part,
                has_extrapolation=self._spreading.told,
                dipole=dipole_rule(self.model),
            )
            for share, writer in zip(self.batch.shares, to, strict=True)
        ]
        if len(recorders) == 1:
            return recorders[0]
        return SplitRecorder(recorders, [share.particles for share in self.batch.shares])

    def _result(
        self, recorder: AnyRecorder, began: float, restarted_at: int | None, ms_per_step: float
    ) -> SimulationResult:
        parts = _parts_of(recorder)
        sizes = [share.particles.n_atoms for share in self.batch.shares]
        drifts = [part.drift_eV_per_fs * 1e6 / size for part, size in zip(parts, sizes, strict=True)]
        return SimulationResult(
            path=self._paths[0] if self._paths else None,
            n_steps=self.settings.steps,
            n_frames=recorder.n_observables,
            n_atoms=sizes[0],
            n_replicas=self.particles.n_replicas,
            timestep_fs=self.settings.timestep_fs,
            ms_per_step=ms_per_step,
            temperature_K=float(np.mean([part.temperature_K for part in parts])),
            energy_drift_meV_per_atom_per_ps=float(np.mean(drifts)),
            wall_s=time.perf_counter() - began,
            restarted_at_step=restarted_at,
            device=str(self.model.device),
            engine=self._engine.name,
            failures=tuple(
                NamedFailure(self.batch.name_of(replica), step, reason)
                for replica, step, reason in self.dynamics.watch.failures.values()
            ),
            files=tuple(
                FileSummary(share.path, share.particles.n_replicas, size, part.temperature_K)
                for share, size, part in zip(self.batch.shares, sizes, parts, strict=True)
                if share.path is not None
            ),
            made_by=tuple(self._stretches),
            equilibration=self.dynamics.equilibration.report,
            extrapolation=runs_extrapolation(self._paths),
        )


def _parts_of(recorder: AnyRecorder) -> tuple[Recorder, ...]:
    """The recorders of the run files."""
    return recorder.recorders if isinstance(recorder, SplitRecorder) else (recorder,)


class _Keeper:
    """Saves checkpoints at wall-time intervals and on interruption."""

    def __init__(
        self, simulation: Simulation, writers: Sequence[RunWriter], recorder: AnyRecorder, max_minutes: float | None
    ) -> None:
        self._simulation, self._writers, self._recorder = simulation, writers, recorder
        self._saved = -float("inf") if recorder.n_observables == 0 else time.monotonic()
        self._noted = False
        self.interrupts = Interrupts(max_minutes)

    def after_step(self, state: MDState) -> MDState:
        """Called after every step, gives the state to go on with; raises ``StoppedError`` when asked to stop."""
        self._note_equilibration()
        stop = self.interrupts.requested
        if not stop and time.monotonic() - self._saved < self._simulation.checkpoint_s:
            return state
        state = self.save(state, float("nan"))
        if stop:
            done, total = state.step, self._simulation.dynamics.total_steps
            raise StoppedError(
                f"molecular dynamics stopped at step {done} of {total} ({self.interrupts.reason}), everything is saved "
                f"in {self._simulation._names}",
                resubmit=self.interrupts.resubmit,
                todo="Continue with --restart",
            )
        return state

    def save(self, state: MDState, ms_per_step: float) -> MDState:
        """Flush the run file, then replace the checkpoint; gives the state to go on with."""
        self._note_equilibration()  # of a run that is continued and has no further steps
        self._recorder.flush()
        state, _ = self._simulation.dynamics.settle(state, self._recorder)  # never save a state that has exploded
        for writer in self._writers:
            writer.flush()
        assert self._simulation.output is not None
        save_checkpoint(self._simulation.output, self._simulation.checkpoint(state, self._recorder, ms_per_step))
        self._saved = time.monotonic()
        return state

    def _note_equilibration(self) -> None:
        """Tell the run files how the equilibration ended, once."""
        report = self._simulation.dynamics.equilibration.report
        if report is not None and not self._noted:
            for writer in self._writers:
                writer.note_equilibration({**asdict(report), "sentence": report.sentence})
            self._noted = True
