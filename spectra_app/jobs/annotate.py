"""Dipoles and polarizabilities along a trajectory that exists already, into the same run file as a simulation's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from spectra_app.dynamics.blocks import TrajectoryBlock
from spectra_app.dynamics.engine import ChosenEngine, choose_engine
from spectra_app.dynamics.forces import PotentialLike, PredictionLike
from spectra_app.dynamics.foreign import Use, check_use, frames_at_once, is_foreign
from spectra_app.dynamics.instant import Instant
from spectra_app.dynamics.molecular_dynamics import Progress
from spectra_app.dynamics.observables import BlockMaker, ObservableBlock, RunKind
from spectra_app.errors import ConfigError, SimulationError, StoppedError, TrajectoryError
from spectra_app.interrupts import Interrupts
from spectra_app.jobs.extrapolation import ExtrapolationReport, goes_on_telling, run_extrapolation
from spectra_app.jobs.record_header import header_of_record, kind_of_record
from spectra_app.readers.trajectories.dispatch import open_trajectory
from spectra_app.readers.trajectories.frames import Frame, Trajectory
from spectra_app.runs.layout import Parts
from spectra_app.runs.molecules import find_molecules
from spectra_app.runs.partition import find_parts
from spectra_app.runs.reader import read_run
from spectra_app.runs.restart_file import is_begun, load_checkpoint, save_checkpoint
from spectra_app.runs.writer import RunWriter
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, check_vacuum, concatenate, make_system
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN

_MANY = 10**6  # frames of a trajectory that does not say how many it has


@dataclass(frozen=True)
class RecordResult:
    """What ``record_trajectory`` produced.

    Attributes:
        path: the run file.
        n_frames: frames in it.
        n_atoms: atoms.
        timestep_fs: time between frames, fs.
        ms_per_frame: wall time per frame of this call, reading included, ms; NaN if none was left.
        wall_s: wall time of this call, s.
        device: torch device.
        left_out: what of the trajectory is left out (virtual sites), in words; None: nothing.
        extrapolation: how far the frames are outside the model's training data; None where nobody knows.
    """

    path: Path
    n_frames: int
    n_atoms: int
    timestep_fs: float
    ms_per_frame: float
    wall_s: float
    device: str
    left_out: str | None = None
    extrapolation: ExtrapolationReport | None = None


def record_trajectory(
    trajectory: Path | str | Trajectory,
    model: PotentialLike,
    output: Path | str,
    *,
    topology: Path | str | None = None,
    timestep_fs: float | None = None,
    species: Sequence[str] | None = None,
    lammps_units: str | None = None,
    temperature_K: float | None = None,
    charge: float = 0.0,
    batch_size: int | None = None,
    store_trajectory: bool = True,
    parts: Literal["none", "molecules", "atoms"] = "none",
    restart: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_s: float = 30.0,
    max_minutes: float | None = None,
) -> RecordResult:
    """Evaluate a model along a trajectory.

    Args:
        trajectory: a file that ``open_trajectory`` reads, or what it returned.
        model: from ``load_model``.
        output: run file.
        topology: see ``open_trajectory``.
        timestep_fs: time between frames, fs; see ``open_trajectory``.
        species: chemical symbols of LAMMPS types 1, 2, ...
        lammps_units: unit style of a LAMMPS dump with velocities, ``metal`` or ``real``; see ``open_trajectory``.
        temperature_K: temperature of the simulation, K; None leaves it to the velocities, where there are some.
        charge: total charge, e.
        batch_size: frames per model call; None: 8, of a calculator of another program 1.
        store_trajectory: also store unwrapped positions, with molecules whole, and velocities.
        parts: also record what each molecule (as bonded in the first frame) or atom contributes to dipole and
            polarizability.
        restart: continue after the last checkpoint; without output file begins anew.
        overwrite: replace an existing run file.
        progress: called after every batch; ``total_steps`` is 0 where the number of frames is unknown.
        checkpoint_s: wall time between checkpoints, s.
        max_minutes: wall time after which everything is saved and the job stopped, min.

    Raises:
        TrajectoryError: see ``open_trajectory`` and ``Trajectory.frames``; the output exists or cannot be written.
        StructureError: unknown element, or a network where molecules are wanted.
        SimulationError: the checkpoint belongs to another job.
        StoppedError: a signal, or the time is over; ``restart=True`` continues.
    """
    batch_size = frames_at_once(model) if batch_size is None else batch_size
    if batch_size < 1:
        raise ConfigError("batch_size", got=batch_size, wanted="at least 1")
    if not isinstance(trajectory, Trajectory):
        trajectory = open_trajectory(trajectory, topology, timestep_fs, species, lammps_units)
    first = trajectory.first
    start = make_system(first.positions_A, trajectory.numbers, first.cell_A, charge, model.device, slab=first.slab)
    model.check_system(start)
    check_use(model, start, Use(parts=parts != "none"))
    output, began = Path(output), time.perf_counter()
    before = load_checkpoint(output, "record") if restart and is_begun(output) else None
    n_frames = _MANY if trajectory.n_frames is None else trajectory.n_frames
    if before is not None and "engine" in before:
        ChosenEngine(*before["engine"]).use(model)
    else:
        choose_engine("auto", model, start, n_frames if before is None else 0, {"graph": "a given trajectory"})
    whole = _whole(trajectory, parts)
    told = model.training_range is not None if before is None else goes_on_telling(model, before.get("training_range"))
    kind = kind_of_record(trajectory, model, whole.parts is not None, told)
    header = header_of_record(trajectory, model, kind, temperature_K, store_trajectory, whole.parts)
    job = _Decoration(trajectory, model, kind, charge, batch_size, store_trajectory, whole)
    if before is not None:
        job.restore(before)
        writer = RunWriter.resume(output, header, job.n_frames, job.n_frames if store_trajectory else 0)
    else:
        writer = RunWriter(output, header, overwrite or restart)
    skipped = job.n_frames
    with writer, Interrupts(max_minutes) as interrupts:
        saved = time.monotonic()
        job.save(writer)
        for batch in job.batches():
            job.add(batch, writer)
            if progress is not None:
                progress(_progress(job, trajectory.n_frames, skipped, began))
            stop = interrupts.requested
            if stop or time.monotonic() - saved > checkpoint_s:
                job.save(writer)
                saved = time.monotonic()
            if stop:
                what = f"record stopped after {job.n_frames} frames ({interrupts.reason})"
                raise StoppedError(
                    f"{what}, everything is saved in {output}",
                    resubmit=interrupts.resubmit,
                    todo="Continue with --restart",
                )
        wall = time.perf_counter() - began
        pace = 1e3 * wall / (job.n_frames - skipped) if job.n_frames > skipped else float("nan")
        job.save(writer)
        writer.finish(pace)
    return RecordResult(
        output,
        job.n_frames,
        len(trajectory.numbers),
        trajectory.timestep_fs,
        pace,
        wall,
        str(model.device),
        trajectory.left_out,
        run_extrapolation(read_run(output)),
    )


class _Whole(NamedTuple):
    """The parts of a trajectory, and the cell shifts [atom, vector] that make its molecules whole; None: no shift."""

    parts: Parts | None
    shift: np.ndarray | None

    def apply(self, frame: Frame) -> Frame:
        """A frame with its molecules whole, so that its dipole has no offset from the choice of images."""
        if frame.cell_A is None or self.shift is None:
            return frame
        return replace(frame, positions_A=frame.positions_A + self.shift @ frame.cell_A)


def _whole(trajectory: Trajectory, level: Literal["none", "molecules", "atoms"]) -> _Whole:
    first, numbers = trajectory.first, np.asarray(trajectory.numbers)
    if level != "none":
        return _Whole(*find_parts(level, first.positions_A, numbers, first.cell_A))
    molecules = find_molecules(first.positions_A, numbers, first.cell_A)
    return _Whole(None, None if molecules.endless else molecules.shift)


class _Decoration:
    """The state of the job: which frames are done, and the dipole accumulated over them."""

    def __init__(
        self,
        trajectory: Trajectory,
        model: PotentialLike,
        kind: RunKind,
        charge: float,
        batch_size: int,
        store: bool,
        whole: _Whole,
    ) -> None:
        self._trajectory, self._model, self._charge = trajectory, model, charge
        self._batch_size, self._store, self._whole = batch_size, store, whole
        atom_part = None if whole.parts is None else whole.parts.atom_part
        self._maker = BlockMaker(kind, 1, atom_part)
        self._range = model.training_range.digest if kind.extrapolation and model.training_range else None
        self.n_frames = 0

    def batches(self) -> Iterator[list[Frame]]:
        """Batches of the frames not yet done; the others are read too, as unwrapping follows atoms from the start."""
        frames = islice(self._trajectory.frames(), self.n_frames, None)
        while batch := list(islice(frames, self._batch_size)):
            yield [self._whole.apply(frame) for frame in batch]

    def add(self, batch: list[Frame], writer: RunWriter) -> None:
        """Evaluate and write a batch."""
        system = self._system(batch)
        neighbors = build_neighbors(system, self._model.cutoff).to(dtype=self._model.dtype)
        prediction = self._model(system.to(dtype=self._model.dtype), neighbors, forces=False)
        step = np.arange(self.n_frames, self.n_frames + len(batch))
        writer.append_observables(self._block(step, batch, prediction, system))
        if self._store:
            velocities = self._velocities(batch)
            writer.append_trajectory(
                TrajectoryBlock(
                    step=step,
                    positions_A=np.stack([frame.positions_A for frame in batch])[:, None],
                    velocities_A_per_fs=None if velocities is None else velocities[:, None],
                    cell_A=system.cell.cpu().numpy()[:, None],
                )
            )
        self.n_frames += len(batch)

    def save(self, writer: RunWriter) -> None:
        """Flush the run file, then replace the checkpoint."""
        writer.flush()
        content: dict[str, Any] = {
            "kind": "record",
            "n_frames": self.n_frames,
            **self._maker.carry(),
            "engine": (self._model.engine, torch.get_num_threads()),
            "identity": self._identity(),
            "training_range": self._range,
        }
        save_checkpoint(writer.path, content)

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            SimulationError: it belongs to another trajectory, model or setting.
        """
        then = {"parts": "none", "whole_molecules": False, **content["identity"]}  # earlier versions knew neither
        if then["parts"] == "none" and not then["whole_molecules"]:
            self._whole = _Whole(self._whole.parts, None)  # goes on as it began
        for key, value in self._identity().items():
            if then.get(key) != value:
                raise SimulationError(f"restart, {key}", got=value, wanted=then.get(key))
        self.n_frames = content["n_frames"]
        self._maker.restore(content)

    def _identity(self) -> dict[str, Any]:
        return {
            "trajectory": str(self._trajectory.path.resolve()),
            "model": self._model.card.hash,
            "timestep_fs": self._trajectory.timestep_fs,
            "charge": self._charge,
            "store_trajectory": self._store,
            "eps_inf": self._model.eps_inf,
            "parts": "none" if self._whole.parts is None else self._whole.parts.level,
            "whole_molecules": self._whole.shift is not None,
        }

    def _system(self, batch: list[Frame]) -> System:
        device = self._model.device
        for frame in batch:
            if (frame.cell_A is None) == self._trajectory.periodic:
                raise TrajectoryError(f"trajectory {self._trajectory.path}", got="a cell in some frames only")
        numbers = self._trajectory.numbers
        parts = [
            make_system(frame.positions_A, numbers, frame.cell_A, self._charge, device, slab=frame.slab)
            for frame in batch
        ]
        system = concatenate(parts)
        if system.slab is not None:
            check_vacuum(system, self._model.cutoff)
        return system

    def _block(
        self, step: np.ndarray, batch: list[Frame], prediction: PredictionLike, system: System
    ) -> ObservableBlock:
        velocities = self._velocities(batch)
        instant = Instant(
            prediction,
            system.positions,
            None if velocities is None else torch.from_numpy(velocities.reshape(-1, 3)).to(system.positions),
            system.cell,
            torch.from_numpy(self._temperature(batch)[:, 0]).to(system.cell),
        )
        raw = self._maker.split(self._maker.columns(instant).cpu().numpy()[:, None])
        # Without velocities there is no temperature, and of a model of dipoles alone no energy: NaN then.
        unknown = {"temperature", "energy"} if is_foreign(self._model) else {"temperature"}
        if not all(np.isfinite(value).all() for name, value in raw.items() if name not in unknown):
            raise SimulationError(
                f"model on frames {step[0]} to {step[-1]} of {self._trajectory.path}",
                got="NaN",
                wanted="finite numbers",
            )
        scale = self._model.scale
        axes, eps_e = (value.double().cpu().numpy()[:, None] for value in (scale.axes(system), scale.eps_e_of(system)))
        return self._maker.block(step, raw, axes, eps_e)

    def _velocities(self, batch: list[Frame]) -> np.ndarray | None:
        """[frame, atom, xyz], A/fs; None where the trajectory has none."""
        found = [frame.velocities_A_per_fs for frame in batch if frame.velocities_A_per_fs is not None]
        if self._trajectory.first.velocities_A_per_fs is None:
            return None
        if len(found) < len(batch):
            raise TrajectoryError(f"trajectory {self._trajectory.path}", got="velocities in some frames only")
        return np.stack(found)

    def _temperature(self, batch: list[Frame]) -> np.ndarray:
        """Kinetic temperature [frame, 1], K, with 3 N - 3 degrees of freedom; NaN without velocities."""
        velocities = self._velocities(batch)
        if velocities is None:
            return np.full((len(batch), 1), np.nan)
        doubled = (self._trajectory.masses_amu[:, None] * velocities**2).sum(axis=(1, 2)) * AMU_A2_PER_FS2_TO_EV
        return (doubled / ((3 * len(self._trajectory.numbers) - 3) * BOLTZMANN))[:, None]


def _progress(job: _Decoration, n_frames: int | None, skipped: int, began: float) -> Progress:
    pace = (time.perf_counter() - began) / (job.n_frames - skipped)
    left = float("nan") if n_frames is None else pace * (n_frames - job.n_frames)
    return Progress("recording", job.n_frames, n_frames or 0, float("nan"), float("nan"), 1e3 * pace, left)
