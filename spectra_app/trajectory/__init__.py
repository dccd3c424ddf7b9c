"""From atoms in time to a run file: simulations that record themselves, and existing trajectories decorated."""

from __future__ import annotations

from spectra_app.runs import Run, read_run
from spectra_app.trajectory.decorate import RecordResult, record_trajectory
from spectra_app.trajectory.readers import open_trajectory
from spectra_app.trajectory.simulation import Simulation, SimulationInterruptedError, SimulationResult

__all__ = [
    "RecordResult",
    "Run",
    "Simulation",
    "SimulationInterruptedError",
    "SimulationResult",
    "open_trajectory",
    "read_run",
    "record_trajectory",
]
