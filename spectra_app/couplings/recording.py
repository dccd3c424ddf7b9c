"""Dipoles and polarizabilities of a run that another program drives, into the run file of ``spectra-app md``."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from spectra_app.dynamics.blocks import TrajectoryBlock
from spectra_app.dynamics.forces import PotentialLike, PredictionLike
from spectra_app.dynamics.foreign import dipole_rule, model_facts
from spectra_app.dynamics.instant import Instant
from spectra_app.dynamics.observables import BlockMaker, RunKind, stored_observables
from spectra_app.dynamics.outside import range_facts
from spectra_app.dynamics.recorder import BLOCK_FRAMES, TRAJECTORY_BYTES
from spectra_app.errors import SimulationError, SpectraAppError, TrajectoryError
from spectra_app.runs.layout import RANGE_KEY, RunHeader
from spectra_app.runs.provenance import versions
from spectra_app.runs.writer import RunWriter
from spectra_app.structure.system import System
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN

_FLUSH_S = 5.0  # wall time after which frames are written, so that a kill loses few

Integrator = Literal["velocity-verlet", "langevin-baoab"]


@dataclass(frozen=True)
class CoupledRun:
    """What is known of a run before its first frame.

    Attributes:
        program: who moves the atoms, e.g. ``"lammps"``.
        numbers: [atom of one replica], atomic numbers.
        masses_amu: [atom of one replica], amu.
        timestep_fs: time step of the integrator, fs.
        record_stride: steps between recorded frames.
        n_replicas: independent copies.
        cell_A: [vector, xyz], A, at the first frame; None: no cell.
        slab: the cell is periodic along two vectors.
        velocities: whether frames come with velocities.
        positions: also store positions (and velocities).
        temperature_K: target of the thermostat, K; None leaves it to the velocities.
        integrator: whose effect on frequencies spectra are freed of; None where it is another one.
        configuration: how the program was called, for the run file.
    """

    program: str
    numbers: np.ndarray
    masses_amu: np.ndarray
    timestep_fs: float
    record_stride: int = 1
    n_replicas: int = 1
    cell_A: np.ndarray | None = None
    slab: bool = False
    velocities: bool = True
    positions: bool = True
    temperature_K: float | None = None
    integrator: Integrator | None = None
    configuration: dict[str, Any] | None = None

    @property
    def periodic(self) -> bool:
        """Whether there is a cell."""
        return self.cell_A is not None


def check_output(output: Path | str, overwrite: bool) -> None:
    """Refuse a run file that exists before hours of a run end in that error.

    Raises:
        TrajectoryError: it exists and is not to be replaced.
    """
    if Path(output).exists() and not overwrite:
        raise TrajectoryError(
            f"output {output}", got="an existing file", todo="Replace it with --overwrite, or choose another name"
        )


class RunRecorder:
    """Writes frames into a run file in blocks; a context manager.

    Args:
        output: run file.
        model: whose predictions are recorded.
        run: what is known of it.
        overwrite: replace an existing file.

    Attributes:
        n_frames: frames recorded so far.

    Raises:
        TrajectoryError: the file exists, or cannot be written.
        ModelError: a model that does not know its physical scale.
    """

    def __init__(self, output: Path | str, model: PotentialLike, run: CoupledRun, overwrite: bool = False) -> None:
        check_output(output, overwrite)
        self._model, self._run = model, run
        kind = RunKind(
            polarizability=model.card.has_alpha,
            variable_cell=run.periodic,
            conserved=False,
            field=False,
            parts=False,
            extrapolation=model.training_range is not None,
            dipole=dipole_rule(model),
        )
        self._maker = BlockMaker(kind, run.n_replicas)
        self._writer = RunWriter(Path(output), _header(model, run, kind), overwrite)
        self._began = time.perf_counter()
        self._first_step: int | None = None
        numbers = run.n_replicas * len(run.numbers) * 6 if run.positions else 1
        self._room = int(min(max(TRAJECTORY_BYTES // (8 * numbers), 1), BLOCK_FRAMES))
        self._steps: list[int] = []
        self._columns: list[torch.Tensor] = []
        self._axes: list[np.ndarray] = []
        self._eps_e: list[np.ndarray] = []
        self._kept: list[tuple[np.ndarray, np.ndarray | None, np.ndarray]] = []
        self._flushed, self._closed = time.monotonic(), False
        self.n_frames = 0

    @property
    def path(self) -> Path:
        """The run file."""
        return self._writer.path

    @property
    def numbers(self) -> np.ndarray:
        """[atom of one replica], atomic numbers."""
        return self._run.numbers

    def is_due(self, step: int) -> bool:
        """Whether a frame at this step of the integrator follows the last one in the rhythm of the run."""
        return self._first_step is None or (step - self._first_step) % self._run.record_stride == 0

    def add(
        self, step: int, system: System, prediction: PredictionLike, velocities_A_per_fs: np.ndarray | None = None
    ) -> None:
        """Record a frame.

        Args:
            step: of the integrator; must grow by ``record_stride``.
            system: the replicas, float64; positions unwrapped, those that the prediction belongs to.
            prediction: of the model, with polarizability.
            velocities_A_per_fs: [replica * atom, xyz], A/fs, at the same time; needed where the run has velocities.

        Raises:
            SimulationError: a step out of rhythm, or no finite numbers.
            TrajectoryError: the disk is full.
        """
        self._first_step = step if self._first_step is None else self._first_step
        expected = self._first_step + self.n_frames * self._run.record_stride
        if step != expected:
            raise SimulationError(
                f"recording of {self.path}",
                got=f"step {step}",
                wanted=f"step {expected}: frames evenly spaced in time",
                todo="Record one run of constant time step; begin after equilibration and reset_timestep",
            )
        run, scale = self._run, self._model.scale
        velocities = velocities_A_per_fs
        temperature = torch.from_numpy(self._temperature(velocities)).to(system.cell)
        moving = None if velocities is None else torch.from_numpy(np.asarray(velocities)).to(system.positions)
        instant = Instant(prediction, system.positions, moving, system.cell, temperature)
        self._columns.append(self._maker.columns(instant))
        self._axes.append(scale.axes(system).double().cpu().numpy())
        self._eps_e.append(scale.eps_e_of(system).double().cpu().numpy())
        self._steps.append(step - self._first_step)
        if run.positions:
            shape = (run.n_replicas, -1, 3)
            moved = None if velocities is None else np.asarray(velocities, dtype=float).reshape(shape).copy()
            cell = system.cell.double().cpu().numpy().copy()
            self._kept.append((system.positions.double().cpu().numpy().reshape(shape).copy(), moved, cell))
        self.n_frames += 1
        if len(self._steps) >= self._room or time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered; readers see it then.

        Raises:
            SimulationError: a number is NaN or infinite.
            TrajectoryError: the disk is full.
        """
        if self._steps:
            steps = np.array(self._steps)
            raw = self._maker.split(torch.stack(self._columns).cpu().numpy())
            if not all(np.isfinite(value).all() for name, value in raw.items() if name != "temperature"):
                raise SimulationError(f"frames up to step {steps[-1]} of {self.path}", got="NaN", wanted="numbers")
            block = self._maker.block(steps, raw, np.stack(self._axes), np.stack(self._eps_e))
            self._writer.append_observables(block)
            if self._run.positions:
                positions, velocities, cells = zip(*self._kept, strict=True)
                moving = [velocity for velocity in velocities if velocity is not None]
                self._writer.append_trajectory(
                    TrajectoryBlock(steps, np.stack(positions), np.stack(moving) if moving else None, np.stack(cells))
                )
            self._steps, self._columns, self._axes, self._eps_e, self._kept = [], [], [], [], []
        self._writer.flush()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        """Write the rest, mark the run as complete and close the file; nothing where it is closed."""
        if self._closed:
            return
        self.flush()
        self._writer.finish(1e3 * (time.perf_counter() - self._began) / max(self.n_frames, 1))
        self._writer.close()
        self._closed = True

    def close(self) -> None:
        """Write what is buffered, where that can be, and close the file; never raises."""
        if not self._closed:
            with contextlib.suppress(SpectraAppError, OSError):
                self.flush()
        self._writer.close()
        self._closed = True

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()
        self.close()

    def _temperature(self, velocities: np.ndarray | None) -> np.ndarray:
        """Kinetic temperature [replica], K, with 3 N - 3 degrees of freedom; NaN without velocities."""
        run = self._run
        if velocities is None:
            return np.full(run.n_replicas, np.nan)
        moving = np.asarray(velocities, dtype=float).reshape(run.n_replicas, -1, 3)
        doubled = (run.masses_amu[:, None] * moving**2).sum(axis=(1, 2)) * AMU_A2_PER_FS2_TO_EV
        return doubled / (max(3 * len(run.numbers) - 3, 1) * BOLTZMANN)


def _header(model: PotentialLike, run: CoupledRun, kind: RunKind) -> RunHeader:
    integrator = {"name": run.integrator, "timestep_fs": run.timestep_fs} if run.integrator else None
    return RunHeader(
        numbers=np.asarray(run.numbers),
        masses_amu=np.asarray(run.masses_amu, dtype=float),
        periodic=run.periodic,
        n_replicas=run.n_replicas,
        timestep_fs=run.timestep_fs,
        observables=stored_observables(kind),
        positions=run.positions,
        velocities=run.positions and run.velocities,
        metadata={
            "created_by": run.program,
            "configuration": run.configuration or {},
            "versions": versions(),
            **model_facts(model),
            RANGE_KEY: range_facts(model),
            "seed": None,
            "device": str(model.device),
            "engine": model.engine,
            "dtype": str(model.dtype).removeprefix("torch."),
            "ensemble": None,
            "temperature_K": run.temperature_K,
            "timestep_fs": run.timestep_fs,
            "integrator": integrator,
            "left_out": None,
            "strain_taken_out": run.periodic,
            "record_stride": run.record_stride,
            "trajectory_stride": run.record_stride,
            "cell_A": None if run.cell_A is None else np.asarray(run.cell_A).tolist(),
        },
        slab=run.slab,
    )
