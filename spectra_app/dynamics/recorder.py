"""Collects what a run produces in buffers of fixed size and hands it on in blocks.

Recording a step packs the numbers that the table of observables asks for (``observables``) into one row of a buffer
on the device (about 20 us); everything else, also the physical dipole, is done once per block on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.blocks import BlockWriter, TrajectoryBlock, ended_block, pieces
from spectra_app.dynamics.followed_dipole import DipoleRule
from spectra_app.dynamics.forces import PredictionLike, ScaleLike
from spectra_app.dynamics.instant import Instant
from spectra_app.dynamics.observables import BlockMaker, RunKind
from spectra_app.dynamics.run_statistics import Statistics
from spectra_app.dynamics.state import MDState, Particles, kinetic_energy, temperature
from spectra_app.errors import SimulationError

BLOCK_FRAMES = 100  # recorded steps per block: a block costs some ms to write, hence well below 1% of its steps
TRAJECTORY_BYTES = 8_000_000  # positions and velocities are buffered up to about this size


class Rows(NamedTuple):
    """What consecutive steps have to record, on the device.

    Attributes:
        steps: since recording began, of the observables.
        columns: [row, replica, column], of ``BlockMaker.columns``, one row for each of them; None without any.
        frames: steps since recording began, of the configurations.
        positions: [frame, replica * atom, xyz], A, unwrapped; None without any.
        velocities: [frame, replica * atom, xyz], A/fs; None without any.
        cells: [frame, replica, vector, xyz], A; None without any.
    """

    steps: Sequence[int] = ()
    columns: Tensor | None = None
    frames: Sequence[int] = ()
    positions: Tensor | None = None
    velocities: Tensor | None = None
    cells: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Rows of steps one after the other."""
        steps = [step for part in parts for step in part.steps]
        frames = [step for part in parts for step in part.frames]

        def one(found: list[Tensor | None]) -> Tensor | None:
            there = [tensor for tensor in found if tensor is not None]
            return torch.cat(there) if there else None

        return cls(
            steps,
            one([part.columns for part in parts]),
            frames,
            one([part.positions for part in parts]),
            one([part.velocities for part in parts]),
            one([part.cells for part in parts]),
        )

    @classmethod
    def side_by_side(cls, parts: Sequence[Rows]) -> Rows:
        """Rows of the same steps, of replicas that stand one after the other."""

        def one(found: list[Tensor | None]) -> Tensor | None:
            there = [tensor for tensor in found if tensor is not None]
            return torch.cat(there, dim=1) if there else None

        return cls(
            parts[0].steps,
            one([part.columns for part in parts]),
            parts[0].frames,
            one([part.positions for part in parts]),
            one([part.velocities for part in parts]),
            one([part.cells for part in parts]),
        )


NO_ROWS = Rows()


class Recorder:
    """Buffers recorded steps and configurations and writes them in blocks.

    Args:
        particles: the replicas.
        scale: of the model: what turns latent dipoles into physical ones.
        writer: where blocks go; None only gathers statistics.
        timestep_fs: h, fs.
        record_stride: steps between recorded observables.
        trajectory_stride: steps between stored configurations.
        has_polarizability: whether the model predicts it.
        variable_cell: whether cell and volume change.
        field: external field [xyz], V/A, by recorded step; None without one.
        atom_part: [atom of one replica], part an atom belongs to, to record contributions; None records none.
        has_extrapolation: whether the model's extrapolation is recorded.
        dipole: how the model knows it.

    Attributes:
        n_observables: recorded steps handed on.
        n_trajectory: stored configurations handed on.
        ended: last recorded step of replicas that went wrong (-1: none), and why; NaN is handed on after it.
        alone: whether it records all replicas of the run; then a run without any is over.
        broken: recorded step of replicas with a number that is not finite, which nobody but the recorder has seen.
    """

    def __init__(
        self,
        particles: Particles,
        scale: ScaleLike,
        writer: BlockWriter | None,
        timestep_fs: float,
        record_stride: int,
        trajectory_stride: int,
        has_polarizability: bool,
        variable_cell: bool = False,
        field: Callable[[int], np.ndarray] | None = None,
        atom_part: np.ndarray | None = None,
        has_extrapolation: bool = False,
        dipole: DipoleRule = "function",
    ) -> None:
        self._particles = particles
        self._axes = scale.axes(particles.system).double().cpu().numpy()  # [replica, xyz, xyz]
        self._eps_e = scale.eps_e_of(particles.system).double().cpu().numpy()
        self._writer, self._timestep_fs = writer, timestep_fs
        self._record_stride, self._trajectory_stride = record_stride, trajectory_stride
        device = particles.system.positions.device
        shape = (particles.n_replicas, particles.n_atoms, 3)
        bytes_per_frame = 2 * 8 * int(np.prod(shape))
        frames = int(min(max(TRAJECTORY_BYTES // bytes_per_frame, 1), BLOCK_FRAMES))
        kind = RunKind(
            polarizability=has_polarizability,
            variable_cell=variable_cell,
            conserved=True,
            field=field is not None,
            parts=atom_part is not None,
            extrapolation=has_extrapolation,
            dipole=dipole,
        )
        self._maker = BlockMaker(kind, particles.n_replicas, atom_part, field)
        room = self._maker.max_frames
        row_shape = (BLOCK_FRAMES if room is None else min(BLOCK_FRAMES, room), particles.n_replicas)
        self._rows = torch.zeros(*row_shape, self._maker.n_columns, device=device, dtype=torch.float64)
        self._positions = torch.zeros(frames, *shape, device=device, dtype=torch.float64)
        self._velocities = torch.zeros(frames, *shape, device=device, dtype=torch.float64)
        self._cells = torch.zeros(frames, particles.n_replicas, 3, 3, device=device, dtype=torch.float64)
        self._steps: list[int] = []
        self._trajectory_steps: list[int] = []
        self._statistics = [Statistics()] * particles.n_replicas
        self._latest: list[tuple[int, np.ndarray]] = []  # temperatures [replica] of the last recorded steps
        self.ended: dict[int, tuple[int, str]] = {}
        self.broken: dict[int, int] = {}
        self.alone = True
        self.n_observables = self.n_trajectory = 0

    def observe(self, recorded_step: int, state: MDState, prediction: PredictionLike) -> None:
        """Record an instant if it is due; see ``rows``."""
        self.take(self.rows(recorded_step, state, prediction))

    def rows(self, recorded_step: int, state: MDState, prediction: PredictionLike) -> Rows:
        """What an instant has to record.

        Args:
            recorded_step: steps since recording began; before, nothing is recorded.
            state: positions and velocities.
            prediction: the model at these positions.
        """
        rows = Rows()
        if self.is_row(recorded_step):
            rows = rows._replace(steps=(recorded_step,), columns=self.columns(state, prediction)[None])
        if self.is_frame(recorded_step):
            rows = rows._replace(
                frames=(recorded_step,),
                positions=state.positions[None],
                velocities=state.velocities[None],
                cells=state.cell[None],
            )
        return rows

    def is_row(self, recorded_step: int) -> bool:
        """Whether a step has observables to record."""
        return recorded_step >= 0 and recorded_step % self._record_stride == 0

    def is_frame(self, recorded_step: int) -> bool:
        """Whether a step has a configuration to record."""
        return recorded_step >= 0 and recorded_step % self._trajectory_stride == 0

    def columns(self, state: MDState, prediction: PredictionLike) -> Tensor:
        """The observables of an instant [replica, column], float64, on the device; nothing is read back."""
        kinetic = kinetic_energy(state.velocities, self._particles)
        instant = Instant(
            prediction,
            state.positions,
            state.velocities,
            state.cell,
            temperature(kinetic, self._particles),
            prediction.energy.double() + kinetic - state.reservoir,
        )
        return self._maker.columns(instant)

    @property
    def n_columns(self) -> int:
        """Numbers per replica in a row."""
        return self._maker.n_columns

    def take(self, rows: Rows) -> None:
        """Keep rows in the buffers, which are handed on when they are full.

        Args:
            rows: of the steps after those taken before.

        Raises:
            SimulationError: a recorded number is NaN or infinite.
        """
        for begin, end, slot in pieces(len(rows.steps), len(self._steps), len(self._rows)):
            assert rows.columns is not None
            self._rows[slot : slot + end - begin].copy_(rows.columns[begin:end])
            self._steps.extend(rows.steps[begin:end])
            if len(self._steps) == len(self._rows):
                self._flush_observables()
        for begin, end, slot in pieces(len(rows.frames), len(self._trajectory_steps), len(self._positions)):
            assert rows.positions is not None
            assert rows.velocities is not None
            assert rows.cells is not None
            place = slice(slot, slot + end - begin)
            shape = (end - begin, *self._positions.shape[1:])
            self._positions[place].copy_(rows.positions[begin:end].reshape(shape))
            self._velocities[place].copy_(rows.velocities[begin:end].reshape(shape))
            self._cells[place].copy_(rows.cells[begin:end])
            self._trajectory_steps.extend(rows.frames[begin:end])
            if len(self._trajectory_steps) == len(self._positions):
                self._flush_trajectory()

    def flush(self) -> None:
        """Hand on everything that is buffered.

        Raises:
            SimulationError: a recorded number is NaN or infinite, and no other replica is left.
        """
        if self._steps:
            self._flush_observables()
        if self._trajectory_steps:
            self._flush_trajectory()

    def end(self, replica: int, from_step: int, hottest_K: float, reason: str, coming: Rows = NO_ROWS) -> None:
        """End the record of a replica that went wrong, before its first number that is not finite or too hot.

        Args:
            replica: its number.
            from_step: of the recorded part, from which on nothing of it is to be trusted.
            hottest_K: temperature above which it has exploded, K.
            reason: in words.
            coming: rows that will be taken next.
        """
        rows = self._rows[: len(self._steps), replica].cpu().numpy()
        steps = [*self._steps, *coming.steps]
        if coming.columns is not None:
            rows = np.concatenate([rows, coming.columns[:, replica].cpu().numpy()])
        kelvin = self._maker.split(rows[:, None])["temperature"][:, 0]
        good = np.isfinite(rows).all(axis=1) & (kelvin < hottest_K)
        latest = [(step, bool(heat[replica] < hottest_K)) for step, heat in self._latest]
        latest += list(zip(steps, good.tolist(), strict=True))
        bad = next((step for step, well in latest if not well), from_step)
        self._end(replica, min(bad, from_step), reason)

    def salvage(self, hottest_K: Sequence[float], reason: str) -> None:
        """End the record of every replica that has not ended yet, and hand on what is good of it.

        Args:
            hottest_K: [replica], temperature above which it has exploded, K.
            reason: in words.
        """
        seen = [*(step for step, _ in self._latest), *self._steps]
        for replica in set(range(self._particles.n_replicas)) - set(self.ended):
            self.end(replica, seen[-1] + 1 if seen else 0, hottest_K[replica], reason)
        self.flush()

    def carry(self) -> dict[str, Any]:
        """What a restart needs (call after ``flush``): plain tensors and numbers."""
        return {
            **self._maker.carry(),
            "statistics": [dict(vars(statistics)) for statistics in self._statistics],
            "n_observables": self.n_observables,
            "n_trajectory": self.n_trajectory,
            "ended": {replica: list(ended) for replica, ended in self.ended.items()},
        }

    def restore(self, carry: dict[str, Any]) -> None:
        """Continue from ``carry``."""
        self._maker.restore(carry)
        kept = carry["statistics"]
        if isinstance(kept, dict):  # of earlier versions: means over replicas
            kept = [kept] * len(self._statistics)
        self._statistics = [Statistics(**sums) for sums in kept]
        self.n_observables = carry["n_observables"]
        self.n_trajectory = carry["n_trajectory"]
        self.ended = {replica: (last_step, reason) for replica, (last_step, reason) in carry.get("ended", {}).items()}
        self._say_ended()

    @property
    def is_over(self) -> bool:
        """Whether all replicas have gone wrong."""
        return len(self.ended) == self._particles.n_replicas

    @property
    def temperature_K(self) -> float:  # noqa: N802
        """Mean temperature of the replicas that run, or of those that ran longest, K; NaN without frames."""
        return float(np.mean([statistics.temperature_K for statistics in self._longest()]))

    @property
    def drift_eV_per_fs(self) -> float:  # noqa: N802
        """Least-squares slope of the conserved energy, likewise, eV/fs; NaN for fewer than two frames."""
        return float(np.mean([statistics.drift_eV_per_fs for statistics in self._longest()]))

    def _longest(self) -> list[Statistics]:
        most = max(statistics.n for statistics in self._statistics)
        return [statistics for statistics in self._statistics if statistics.n == most]

    def _end(self, replica: int, bad_step: int, reason: str) -> None:
        last = max(bad_step - 1, -1)
        last -= last % self._record_stride if last > 0 else 0
        known = self.ended.get(replica)
        self.ended[replica] = (last if known is None else min(last, known[0]), reason)
        self._say_ended()

    def _say_ended(self) -> None:
        for replica, (last_step, reason) in self.ended.items():
            if self._writer is not None:
                self._writer.end_replica(replica, last_step, reason)

    def _is_over(self, steps: np.ndarray) -> np.ndarray:
        """Whether the record of a replica has ended [frame, replica]."""
        over = np.zeros((len(steps), self._particles.n_replicas), dtype=bool)
        for replica, (last, _) in self.ended.items():
            over[:, replica] = steps > last
        return over

    def _find_broken(self, step: np.ndarray, rows: np.ndarray) -> None:
        """End the record of replicas with a number that is not finite in rows [frame, replica, column].

        Raises:
            SimulationError: no replica is left.
        """
        bad = ~np.isfinite(rows).all(axis=2) & ~self._is_over(step)
        for replica in np.flatnonzero(bad.any(axis=0)).tolist():
            first = int(step[np.argmax(bad[:, replica])])
            if self.alone and len(self.ended) == self._particles.n_replicas - 1:
                raise SimulationError(
                    f"recorded step {first}",
                    got="NaN or infinity",
                    wanted="finite numbers",
                    todo="Use a smaller md.timestep_fs or a start structure nearer to the model's training data",
                )
            self.broken[replica] = first
            self._end(replica, first, f"NaN or infinity in recorded step {first}")

    def _flush_observables(self) -> None:
        step = np.array(self._steps)
        rows = self._rows[: len(step)].cpu().numpy().copy()  # [frame, replica, column]
        self._find_broken(step, rows)
        over = self._is_over(step)
        rows[over] = np.nan
        self._steps = []
        block = self._maker.block(step, self._maker.split(rows), self._axes, self._eps_e)
        n_kept = int((~over.all(axis=1)).sum())
        block = ended_block(block, over, n_kept) if over.any() else block
        step = step[:n_kept]
        for replica, statistics in enumerate(self._statistics):
            n = int((~over[:, replica]).sum())
            conserved, kelvin = (block.values[name][:n, replica] for name in ("conserved", "temperature"))
            self._statistics[replica] = statistics.add(step[:n] * self._timestep_fs, conserved, kelvin)
        self._latest += zip(step.tolist(), block.values["temperature"], strict=True)
        self._latest = self._latest[-BLOCK_FRAMES:]
        if self._writer is not None and n_kept:
            self._writer.append_observables(block)
        self.n_observables += n_kept

    def _flush_trajectory(self) -> None:
        step = np.array(self._trajectory_steps)
        over = self._is_over(step)
        n_frames = int((~over.all(axis=1)).sum())
        numbers = [_to_numpy(buffer[: len(step)]) for buffer in (self._positions, self._velocities, self._cells)]
        if over.any():
            numbers = [np.where(over.reshape(*over.shape, *(1,) * (of.ndim - 2)), np.nan, of) for of in numbers]
        positions, velocities, cells = (of[:n_frames] for of in numbers)
        self._trajectory_steps = []
        if self._writer is not None and n_frames:
            self._writer.append_trajectory(TrajectoryBlock(step[:n_frames], positions, velocities, cells))
        self.n_trajectory += n_frames


def _to_numpy(values: Tensor) -> np.ndarray:
    """Host view of a buffer; written out before the buffer is filled again."""
    return values.cpu().numpy()
