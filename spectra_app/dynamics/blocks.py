"""What a recorder hands on, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spectra_app.dynamics.observables import ObservableBlock


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
