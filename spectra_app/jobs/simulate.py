"""Molecular dynamics with a model of the zoo or a folder: from a structure to a run file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.config import MDSettings, ModelChoice

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.dynamics import Progress
    from spectra_app.jobs.simulation_result import SimulationResult


def simulate(
    model: str | ModelChoice,
    atoms: Atoms | Sequence[Atoms],
    settings: MDSettings,
    output: Path,
    *,
    restart: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    max_minutes: float | None = None,
    say: Callable[[str], None] | None = None,
) -> SimulationResult:
    """Molecular dynamics that records itself.

    Args:
        model: name in the zoo or folder, or a choice of one or two models.
        atoms: start structure; several: one for each replica, of any size.
        settings: of the run.
        output: run file, or what several are called after (``Simulation``).
        restart: continue from the checkpoint beside the run file.
        overwrite: replace an existing run file.
        progress: told how far it is.
        max_minutes: wall time after which everything is saved and the run stopped, min.
        say: told what was imported for a calculator of another program.

    Raises:
        StoppedError: a signal, or the time is over; ``restart`` goes on.
        TrajectoryError: the run file exists, or cannot be written.
        ModelError: no such model.
    """
    from spectra_app.jobs.opened_model import opened_model
    from spectra_app.jobs.simulation import Simulation

    potential = opened_model(model, settings.device, settings.dtype, settings.eps_inf, say)
    simulation = Simulation(potential, atoms, settings, output, progress)
    return simulation.run(restart=restart, overwrite=overwrite, max_minutes=max_minutes)
