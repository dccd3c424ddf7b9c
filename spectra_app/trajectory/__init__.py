"""From atoms in time to a run file: simulations that record themselves, and existing trajectories decorated."""

from __future__ import annotations

from spectra_app.trajectory.record import Run, read_run
from spectra_app.trajectory.simulation import Simulation, SimulationInterruptedError, SimulationResult

__all__ = ["Run", "Simulation", "SimulationInterruptedError", "SimulationResult", "read_run"]
