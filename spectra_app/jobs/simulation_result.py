"""What molecular dynamics produced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spectra_app.dynamics.equilibration import EquilibrationReport
from spectra_app.jobs.extrapolation import ExtrapolationReport
from spectra_app.jobs.run_header import Stretch


class NamedFailure(NamedTuple):
    """A replica that went wrong.

    Attributes:
        replica: which one, in words.
        step: near which it happened, equilibration included.
        reason: what was found, with the closest atoms.
    """

    replica: str
    step: int
    reason: str


class FileSummary(NamedTuple):
    """One of the run files of a run.

    Attributes:
        path: where it is.
        n_replicas: in it.
        n_atoms: of one replica.
        temperature_K: mean temperature of the recorded part, K.
    """

    path: Path
    n_replicas: int
    n_atoms: int
    temperature_K: float


@dataclass(frozen=True)
class SimulationResult:
    """What a run produced.

    Attributes:
        path: the (first) run file, or None.
        n_steps: recorded steps.
        n_frames: recorded frames.
        n_atoms: atoms of one replica (of the first run file).
        n_replicas: independent copies.
        timestep_fs: time step, fs.
        ms_per_step: wall time of a recorded step with all replicas, ms; NaN for a run of one step.
        temperature_K: mean temperature of the recorded part, K.
        energy_drift_meV_per_atom_per_ps: slope of the conserved energy.
        wall_s: wall time of this call, s.
        restarted_at_step: step (equilibration included) at which this call continued; None for a new run.
        device: torch device.
        engine: how the model was evaluated.
        failures: replicas that went wrong and were left behind while the others ran on.
        files: the run files; several where replicas differ in atoms, cell or temperature.
        made_by: engines and devices, with the steps at which each began.
        equilibration: whether everything settled before recording began; None where there was nothing before.
        extrapolation: how far the run went outside the model's training data; None where nobody knows.
    """

    path: Path | None
    n_steps: int
    n_frames: int
    n_atoms: int
    n_replicas: int
    timestep_fs: float
    ms_per_step: float
    temperature_K: float
    energy_drift_meV_per_atom_per_ps: float
    wall_s: float
    restarted_at_step: int | None
    device: str
    engine: str
    failures: tuple[NamedFailure, ...] = ()
    files: tuple[FileSummary, ...] = ()
    made_by: tuple[Stretch, ...] = ()
    equilibration: EquilibrationReport | None = None
    extrapolation: ExtrapolationReport | None = None
