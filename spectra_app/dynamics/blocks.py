"""What a recorder hands on, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spectra_app.dynamics.observables import ObservableBlock, named_observables


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


class BlockWriter(Protocol):
    """Where blocks go (the run file of ``spectra_app.jobs``)."""

    def append_observables(self, block: ObservableBlock) -> None:
        """Add recorded steps."""

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        """Add stored configurations."""

    def end_replica(self, replica: int, last_step: int, reason: str) -> None:
        """Say that the record of a replica ends with a step, and why."""


def ended_block(block: ObservableBlock, over: np.ndarray, n_frames: int) -> ObservableBlock:
    """The first frames of a block, with NaN where the record of a replica has ended.

    Args:
        block: of all frames.
        over: [frame, replica].
        n_frames: to keep.
    """
    values = {}
    for name, numbers in block.values.items():
        ended = numbers[:n_frames]
        if not {row.name: row.shared for row in named_observables(name)}[name]:
            ended = ended.copy()
            ended[over[:n_frames]] = np.nan
        values[name] = ended
    return ObservableBlock(block.step[:n_frames], values)


def pieces(n_rows: int, filled: int, room: int) -> Iterator[tuple[int, int, int]]:
    """Begin and end of consecutive pieces of rows, and the slot where each begins, that fill a buffer of some room."""
    begin = 0
    while begin < n_rows:
        end = min(n_rows, begin + room - filled)
        yield begin, end, filled
        begin, filled = end, 0
