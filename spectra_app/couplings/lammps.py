"""Our potential in LAMMPS, through ``fix external``: forces, energy and virial at every step, dipoles into a run file.

LAMMPS keeps everything else: its input file, integrators, thermostats, barostats, computes, dumps.  The model sees all
atoms of the cell at once, as its electrostatics and self-consistent response need: with several MPI ranks every rank
gathers all atoms, evaluates the whole model and takes the forces of its own atoms, which is exact and no faster.

Inside LAMMPS ``f_ID`` is the energy, ``f_ID[1]`` to ``f_ID[3]`` the dipole (e A) and ``f_ID[4]`` to ``f_ID[9]`` the
polarizability (A^3: xx yy zz xy xz yz; NaN at steps where it is not computed).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spectra_app.couplings.evaluator import Evaluator, SystemMaker
from spectra_app.couplings.lammps_atoms import UNITS, Snapshot, masses_of_types, numbers_of_types, take_snapshot
from spectra_app.couplings.lammps_input import one_line, open_lammps, read_input
from spectra_app.couplings.recording import CoupledRun, RunRecorder, check_output
from spectra_app.dynamics.forces import PotentialLike, PredictionLike
from spectra_app.errors import ConfigError, SimulationError, SpectraAppError, StoppedError
from spectra_app.interrupts import Interrupts
from spectra_app.structure.system import System
from spectra_app.units import COULOMB_CONSTANT, FORCE_TO_ACCELERATION

_NOT_BY_VELOCITY = 0.5  # of the path along the velocities: a minimization moves atoms otherwise
_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # LAMMPS: xx yy zz xy xz yz
_N_VECTOR = 9


@dataclass(frozen=True)
class LammpsRecording:
    """What of a run of LAMMPS goes into a run file.

    Attributes:
        output: run file; None records nothing.
        stride: steps between recorded frames (and between polarizabilities).
        start: steps of LAMMPS before which nothing is recorded.
        positions: also store unwrapped positions and velocities.
        temperature_K: target of the thermostat, K; None leaves it to the velocities.
        overwrite: replace an existing file.
    """

    output: Path | None = None
    stride: int = 1
    start: int = 0
    positions: bool = True
    temperature_K: float | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class LammpsResult:
    """What ``run_lammps`` did.

    Attributes:
        n_atoms: atoms.
        n_evaluations: calls of the model.
        ms_per_evaluation: wall time of one, ms, recording included.
        n_frames: frames in the run file.
        path: the run file, or None.
        units: unit style of the input.
        engine: that evaluated the model.
        rank: of this process among several; the first one, 0, has the run file.
    """

    n_atoms: int
    n_evaluations: int
    ms_per_evaluation: float
    n_frames: int
    path: Path | None
    units: str
    engine: str
    rank: int = 0


@dataclass
class FixExternal:
    """The callback of one ``fix external``; also for an instance of LAMMPS of your own.

    Args:
        lmp: instance of ``lammps.lammps`` in which atoms and fix exist.
        fix_id: of the fix.
        model: the potential.
        elements: chemical symbols of types 1, 2, ...; None tells them by the masses.
        recording: what goes into a run file.
        charge: total charge, e.
        engine: see ``dynamics.engine.choose_engine``.
        interrupts: looked at in every step.

    Raises:
        ConfigError: a unit style other than metal and real.
        StructureError: a type without an element, or with the mass of another one.
    """

    lmp: Any
    fix_id: str
    model: PotentialLike
    elements: Sequence[str] | None = None
    recording: LammpsRecording = field(default_factory=LammpsRecording)
    charge: float = 0.0
    engine: str = "auto"
    interrupts: Interrupts | None = None

    def __post_init__(self) -> None:
        lmp = self.lmp
        self.units = str(lmp.extract_global("units"))
        if self.units not in UNITS:
            raise ConfigError("units of the LAMMPS input", got=self.units, wanted="metal or real")
        if self.recording.stride < 1:
            raise ConfigError("stride of recording", got=self.recording.stride, wanted="at least 1")
        if self.recording.output is not None:
            check_output(self.recording.output, self.recording.overwrite)
        self._unit = UNITS[self.units]
        self._ranks, self.rank = lmp.extract_setting("world_size"), lmp.extract_setting("world_rank")
        self._numbers_of_type = numbers_of_types(masses_of_types(lmp), self.elements, self.model.card.species)
        self._recorded_dt_fs: float | None = None
        self.evaluate = Evaluator(self.model, engine=self.engine, interval_fs=self._dt_fs)
        self._maker: SystemMaker | None = None
        self._recorder: RunRecorder | None = None
        self._last: tuple[int, np.ndarray] | None = None
        self.error: BaseException | None = None
        self.n_atoms, self.wall_s = 0, 0.0
        lmp.fix_external_set_vector_length(self.fix_id, _N_VECTOR + 1)  # LAMMPS refuses to set the last one
        for place in range(1, _N_VECTOR + 1):
            lmp.fix_external_set_vector(self.fix_id, place, float("nan"))
        lmp.set_fix_external_callback(self.fix_id, self._callback)

    @property
    def _dt_fs(self) -> float:
        """Time step of LAMMPS as it stands, fs; an input may set it after the fix."""
        return float(self.lmp.extract_global("dt")) * self._unit.time_fs

    @property
    def n_frames(self) -> int:
        """Frames recorded so far."""
        return 0 if self._recorder is None else self._recorder.n_frames

    def check(self) -> None:
        """Raise what went wrong in a callback, through which no error can travel; call it after every run.

        Raises:
            SpectraAppError: of the model or of the run file.
        """
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def close(self, complete: bool = True) -> None:
        """Write the rest of the run file."""
        if self._recorder is not None:
            if complete:
                self._recorder.finish()
            self._recorder.close()

    def _callback(self, caller: object, step: int, n_local: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        began = time.perf_counter()
        f[:] = 0.0
        if self.error is not None:
            return
        try:
            self._step(int(step), n_local, np.asarray(tag).reshape(-1), x, f)
        except BaseException as error:
            self._fail(error)
        self.wall_s += time.perf_counter() - began

    def _fail(self, error: BaseException) -> None:
        """Keep an error for ``check``, and have LAMMPS end its run."""
        f = error if isinstance(error, SpectraAppError | KeyboardInterrupt) else _bug(error)
        if self._ranks > 1:  # the other ranks wait for this one in the next exchange, for ever
            self.close(complete=False)
            os.write(2, f"spectra-app: error: {f}\n".encode())
            os._exit(getattr(f, "exit_code", 1))
        self.error = f
        self.lmp.force_timeout()

    def _step(self, step: int, n_local: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        seen = take_snapshot(self.lmp, self._unit, self._numbers_of_type, n_local, tag, x)
        self.n_atoms = len(seen.numbers)
        if self._maker is None or not np.array_equal(self._maker.numbers, seen.numbers):
            self._maker = SystemMaker(seen.numbers, seen.pbc, self.charge, self.model.device)
        system = self._maker([seen.positions_A], [seen.cell_A])
        recorded = step % self.recording.stride == 0
        self.evaluate.interval_fs = self._dt_fs
        self.evaluate.answers_fs = self.recording.stride * self._dt_fs
        wants_virial = self.lmp.extract_global("vflag_global") == step
        prediction = self.evaluate(system, stress=wants_virial and self._maker.periodic, polarizability=recorded)
        assert prediction.forces is not None
        forces = prediction.forces.double().cpu().numpy()
        f[:] = forces[np.searchsorted(seen.ids, tag)] * self._unit.energy_per_eV
        self._report(system, prediction, recorded)
        if recorded and self._is_dynamics(step, seen) and self.recording.output is not None and self.rank == 0:
            self._record(step, seen, system, prediction, forces)
        self._last = (step, seen.positions_A)
        if self.interrupts is not None and self.interrupts.requested:
            what = f"LAMMPS stopped at step {step} ({self.interrupts.reason}), {self.n_frames} frames are saved"
            # The same command would begin anew: nothing to be submitted again by itself.
            raise StoppedError(what, resubmit=False, todo="Go on from a restart file of LAMMPS")

    def _report(self, system: System, prediction: PredictionLike, with_alpha: bool) -> None:
        """Energy, virial (A: -V stress), dipole and polarizability where LAMMPS finds them."""
        lmp, unit, scale = self.lmp, self._unit, self.model.scale
        lmp.fix_external_set_energy_global(self.fix_id, float(prediction.energy[0]) * unit.energy_per_eV)
        if prediction.stress is not None:
            volume = float(system.volume[0])
            virial = -volume * unit.energy_per_eV * prediction.stress[0].double().cpu().numpy()
            lmp.fix_external_set_virial_global(self.fix_id, [float(virial[place]) for place in _VOIGT])
        alpha = np.full((3, 3), np.nan)
        if with_alpha:
            latent = prediction.polarizability.to(system.cell)
            alpha = COULOMB_CONSTANT * scale.tensors(latent, system)[0].cpu().numpy()
        dipole = scale.vectors(prediction.dipole.to(system.cell), system)[0].cpu().numpy()
        for place, value in enumerate([*dipole, *(alpha[ab] for ab in _VOIGT)], start=1):
            lmp.fix_external_set_vector(self.fix_id, place, float(value))

    def _is_dynamics(self, step: int, seen: Snapshot) -> bool:
        """Whether the atoms came here along their velocities in one step: no set-up of a run, no minimization."""
        if step < self.recording.start or self._last is None or self._last[0] != step - 1:
            return False
        path = seen.velocities_A_per_fs * self._dt_fs
        if self._last[1].shape != path.shape:
            return False
        off = seen.positions_A - self._last[1] - path
        return bool(np.square(off).sum() < _NOT_BY_VELOCITY**2 * np.square(path).sum())

    def _record(
        self, step: int, seen: Snapshot, system: System, prediction: PredictionLike, forces: np.ndarray
    ) -> None:
        if self._recorded_dt_fs not in (None, self._dt_fs):
            got, wanted = f"{self._dt_fs:g} fs", f"{self._recorded_dt_fs:g} fs as in the first recorded frame"
            raise SimulationError("time step of LAMMPS", got=got, wanted=wanted)
        self._recorded_dt_fs = self._dt_fs
        if self._recorder is None:
            self._recorder = self._open(seen)
        elif not np.array_equal(self._recorder.numbers, seen.numbers):
            raise SimulationError("atoms of LAMMPS", got="others than in the first recorded frame", wanted="the same")
        # Velocities are those of half a step before; the second half step of velocity Verlet brings them here.
        pull = (forces + seen.forces_eV_per_A) / seen.masses_amu[:, None] * FORCE_TO_ACCELERATION
        velocities = seen.velocities_A_per_fs + 0.5 * self._dt_fs * pull
        self._recorder.add(step, system, prediction, velocities)

    def _open(self, seen: Snapshot) -> RunRecorder:
        wanted = self.recording
        assert wanted.output is not None
        assert self._maker is not None
        run = CoupledRun(
            program="lammps",
            numbers=seen.numbers,
            masses_amu=seen.masses_amu,
            timestep_fs=self._dt_fs,
            record_stride=wanted.stride,
            cell_A=seen.cell_A if self._maker.periodic else None,
            slab=self._maker.slab,
            positions=wanted.positions,
            temperature_K=wanted.temperature_K,
            integrator="velocity-verlet" if self.lmp.extract_global("respa_levels") in (None, 0) else None,
            configuration={"units": self.units, "lammps_version": int(self.lmp.version())},
        )
        return RunRecorder(wanted.output, self.model, run, wanted.overwrite)


def run_lammps(
    input_file: Path | str,
    model: PotentialLike,
    *,
    elements: Sequence[str] | None = None,
    recording: LammpsRecording | None = None,
    charge: float = 0.0,
    engine: str = "auto",
    variables: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    max_minutes: float | None = None,
) -> LammpsResult:
    """Run an input file of LAMMPS that holds ``fix ID all external pf/callback 1 1`` with a model behind the fix.

    Args:
        input_file: of LAMMPS, units metal or real.
        model: from ``load_model``.
        elements: chemical symbols of types 1, 2, ...; None tells them by the masses.
        recording: what goes into a run file; None: nothing.
        charge: total charge, e.
        engine: ``auto``, ``eager`` or ``compiled``.
        variables: of the input, as ``-var NAME VALUE``.
        arguments: further words of LAMMPS's command line.
        max_minutes: wall time after which the run ends and all that was recorded is saved, min.

    Raises:
        MissingExtraError: LAMMPS is not installed.
        ConfigError: the input lacks the fix, or has units other than metal and real.
        StructureError: atoms that the model does not know or cannot treat.
        SimulationError: LAMMPS stops with an error.
        StoppedError: a signal, or the time is over.
    """
    parts = read_input(Path(input_file))
    words = [*arguments, *(word for pair in (variables or {}).items() for word in ("-var", *pair))]
    lmp = open_lammps(words)
    alone = lmp.extract_setting("world_size") == 1
    if not alone and max_minutes is not None:
        raise ConfigError("max_minutes with several MPI ranks", wanted="the command 'timer timeout' of LAMMPS")
    fix: FixExternal | None = None
    complete = False
    try:
        # Ranks would hear of a signal at different steps, and wait for each other: there it acts as usual.
        with Interrupts(max_minutes) if alone else contextlib.nullcontext() as interrupts:
            _run_part(lmp, parts.before, input_file)
            wanted = LammpsRecording() if recording is None else recording
            fix = FixExternal(lmp, parts.fix_id, model, elements, wanted, charge, engine, interrupts)
            try:
                _run_part(lmp, parts.after, input_file)
            except SimulationError:
                fix.check()  # what LAMMPS stumbled over may be ours
                raise
            fix.check()
        complete = True
    finally:
        if fix is not None:
            fix.close(complete)
        lmp.close()
    return _result(fix, model)


def _result(fix: FixExternal, model: PotentialLike) -> LammpsResult:
    calls = fix.evaluate.n_calls
    if calls == 0:
        raise ConfigError("LAMMPS input", got="no run after fix external", wanted="a run, or a minimization")
    path = fix.recording.output if fix.n_frames else None
    pace = 1e3 * fix.wall_s / calls
    return LammpsResult(fix.n_atoms, calls, pace, fix.n_frames, path, fix.units, model.engine, fix.rank)


def _run_part(lmp: Any, text: str, name: Path | str) -> None:
    """Let LAMMPS read a part of an input file, as a file: so that it can jump within."""
    with tempfile.NamedTemporaryFile("w", suffix=".in", encoding="utf-8") as part:
        part.write(text if text.endswith("\n") else text + "\n")
        part.flush()
        try:
            lmp.file(part.name)
        except Exception as error:  # the package raises its own kind, and plain Exception
            raise SimulationError(f"LAMMPS input {name}", got=one_line(error)) from None


def _bug(error: BaseException) -> SpectraAppError:
    """An error that nobody foresaw, as one line."""
    return SimulationError("model in LAMMPS", got=f"{type(error).__name__}: {error}")
