"""Collects what a run produces in buffers of fixed size and hands it on in blocks.

Recording a step packs the numbers that the table of observables asks for (``observables``) into one row of a buffer
on the device (about 20 us); everything else, also the physical dipole, is done once per block on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.forces import PredictionLike, ScaleLike
from spectra_app.dynamics.observables import BlockMaker, Instant, ObservableBlock, RunKind
from spectra_app.dynamics.state import MDState, Particles, kinetic_energy, temperature
from spectra_app.errors import SimulationError

BLOCK_FRAMES = 100  # recorded steps per block: a block costs some ms to write, hence well below 1% of its steps
TRAJECTORY_BYTES = 8_000_000  # positions and velocities are buffered up to about this size


@dataclass(frozen=True)
class TrajectoryBlock:
    """Consecutive stored configurations.

    Attributes:
        step: [frame], steps since recording began.
        positions_A: [frame, replica, atom, xyz], unwrapped.
        velocities_A_per_fs: [frame, replica, atom, xyz], or None.
        cell_A: [frame, replica, vector, xyz].
    """

    step: np.ndarray
    positions_A: np.ndarray
    velocities_A_per_fs: np.ndarray | None
    cell_A: np.ndarray


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


class BlockWriter(Protocol):
    """Where blocks go (the run file of ``spectra_app.jobs``)."""

    def append_observables(self, block: ObservableBlock) -> None:
        """Add recorded steps."""

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        """Add stored configurations."""


@dataclass(frozen=True)
class Statistics:
    """Running sums over recorded frames, averaged over replicas; ``drift`` is the slope of the conserved energy.

    Times and energies are counted from the first frame, which keeps the sums of squares accurate.
    """

    n: int = 0
    origin_eV: float = 0.0
    time: float = 0.0
    time_squared: float = 0.0
    energy: float = 0.0
    time_energy: float = 0.0
    temperature: float = 0.0

    def add(self, time_fs: np.ndarray, conserved_eV: np.ndarray, temperature_K: np.ndarray) -> Statistics:
        """Sums with further frames: times [frame], energies and temperatures [frame] (replica means)."""
        origin = self.origin_eV if self.n else float(conserved_eV[0])
        shifted = conserved_eV - origin
        return Statistics(
            self.n + len(time_fs),
            origin,
            self.time + float(time_fs.sum()),
            self.time_squared + float((time_fs * time_fs).sum()),
            self.energy + float(shifted.sum()),
            self.time_energy + float((time_fs * shifted).sum()),
            self.temperature + float(temperature_K.sum()),
        )

    @property
    def drift_eV_per_fs(self) -> float:  # noqa: N802
        """Least-squares slope of the conserved energy of one replica, eV/fs; NaN for fewer than two frames."""
        spread = self.n * self.time_squared - self.time**2
        return (self.n * self.time_energy - self.time * self.energy) / spread if spread > 0.0 else float("nan")

    @property
    def temperature_K(self) -> float:  # noqa: N802
        """Mean temperature, K."""
        return self.temperature / self.n if self.n else float("nan")


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
    ) -> None:
        self._particles = particles
        self._axes = scale.axes(particles.system).double().cpu().numpy()  # [replica, xyz, xyz]
        self._eps_e = scale.eps_e_of(particles.system).double().cpu().numpy()
        self._writer = writer
        self._timestep_fs = timestep_fs
        self._record_stride = record_stride
        self._trajectory_stride = trajectory_stride
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
        self.statistics = Statistics()
        self.n_observables = 0
        self.n_trajectory = 0

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
        for begin, end, slot in _pieces(len(rows.steps), len(self._steps), len(self._rows)):
            assert rows.columns is not None
            self._rows[slot : slot + end - begin].copy_(rows.columns[begin:end])
            self._steps.extend(rows.steps[begin:end])
            if len(self._steps) == len(self._rows):
                self._flush_observables()
        for begin, end, slot in _pieces(len(rows.frames), len(self._trajectory_steps), len(self._positions)):
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
            SimulationError: a recorded number is NaN or infinite.
        """
        if self._steps:
            self._flush_observables()
        if self._trajectory_steps:
            self._flush_trajectory()

    def salvage(self, hottest_K: float) -> None:
        """Hand on what is buffered of a run that went wrong, up to the first number that is not finite or too hot.

        Args:
            hottest_K: temperature of a replica above which it has exploded, K.
        """
        rows = self._maker.split(self._rows[: len(self._steps)].cpu().numpy())
        good = np.ones(len(self._steps), dtype=bool)
        for values in rows.values():
            good &= np.isfinite(values).reshape(len(good), -1).all(axis=1)
        good &= (rows["temperature"] < hottest_K).all(axis=1)
        n_good = len(good) if good.all() else int(np.argmin(good))
        if n_good < len(good) and self._maker.max_frames is not None:
            n_good = 0  # contributions of atoms are kept for whole blocks
        end = self._steps[n_good - 1] if n_good else -1
        self._steps = self._steps[:n_good]
        self._trajectory_steps = [step for step in self._trajectory_steps if step <= end]
        self.flush()

    def carry(self) -> dict[str, Any]:
        """What a restart needs (call after ``flush``): plain tensors and numbers."""
        return {
            **self._maker.carry(),
            "statistics": dict(vars(self.statistics)),
            "n_observables": self.n_observables,
            "n_trajectory": self.n_trajectory,
        }

    def restore(self, carry: dict[str, Any]) -> None:
        """Continue from ``carry``."""
        self._maker.restore(carry)
        self.statistics = Statistics(**carry["statistics"])
        self.n_observables = carry["n_observables"]
        self.n_trajectory = carry["n_trajectory"]

    def _flush_observables(self) -> None:
        step = np.array(self._steps)
        rows = self._rows[: len(step)].cpu().numpy().copy()  # [frame, replica, column]
        finite = np.isfinite(rows).all(axis=(1, 2))
        if not finite.all():
            bad = int(step[np.argmin(finite)])
            raise SimulationError(
                f"recorded step {bad}",
                got="NaN or infinity",
                wanted="finite numbers",
                todo="Use a smaller md.timestep_fs or a start structure nearer to the model's training data",
            )
        self._steps = []
        block = self._maker.block(step, self._maker.split(rows), self._axes, self._eps_e)
        self.statistics = self.statistics.add(
            step * self._timestep_fs, block.values["conserved"].mean(axis=1), block.values["temperature"].mean(axis=1)
        )
        if self._writer is not None:
            self._writer.append_observables(block)
        self.n_observables += len(step)

    def _flush_trajectory(self) -> None:
        n_frames = len(self._trajectory_steps)
        block = TrajectoryBlock(
            step=np.array(self._trajectory_steps),
            positions_A=_to_numpy(self._positions[:n_frames]),
            velocities_A_per_fs=_to_numpy(self._velocities[:n_frames]),
            cell_A=_to_numpy(self._cells[:n_frames]),
        )
        self._trajectory_steps = []
        if self._writer is not None:
            self._writer.append_trajectory(block)
        self.n_trajectory += n_frames


def _pieces(n_rows: int, filled: int, room: int) -> Iterator[tuple[int, int, int]]:
    """Begin and end of consecutive pieces of rows, and the slot where each begins, that fill a buffer of some room."""
    begin = 0
    while begin < n_rows:
        end = min(n_rows, begin + room - filled)
        yield begin, end, filled
        begin, filled = end, 0


def _to_numpy(values: Tensor) -> np.ndarray:
    """Host view of a buffer; written out before the buffer is filled again."""
    return values.cpu().numpy()
