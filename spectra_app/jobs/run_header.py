"""What the run file of molecular dynamics says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spectra_app.config import MDSettings
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import dipole_rule, model_facts
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics
from spectra_app.dynamics.observables import RunKind, stored_observables
from spectra_app.dynamics.outside import range_facts
from spectra_app.jobs.batch import Share
from spectra_app.runs.layout import RANGE_KEY, RunHeader
from spectra_app.runs.provenance import versions


class Stretch(NamedTuple):
    """A stretch of a run that was made in one way.

    Attributes:
        from_step: its first step, equilibration included.
        engine: how the model was evaluated.
        threads: of torch, on the CPU.
        device: torch device.
        processes: over which the replicas ran.
        reseeded: it began with random numbers made anew from seed and step, as the device draws others.
    """

    from_step: int
    engine: str
    threads: int
    device: str
    processes: int = 1
    reseeded: bool = False


def run_header(
    model: PotentialLike,
    dynamics: MolecularDynamics,
    settings: MDSettings,
    share: Share,
    stretches: Sequence[Stretch],
    told: bool,
) -> RunHeader:
    """The header of a run file.

    Args:
        model: the potential.
        dynamics: of the whole batch.
        settings: as the user gave them.
        share: replicas of this file.
        stretches: of the run up to now, the present one last.
        told: how far the run is outside the model's training data is recorded.
    """
    particles, now = share.particles, stretches[-1]
    system, n_atoms = particles.system, particles.n_atoms
    periodic = bool(system.periodic[0])
    kind = RunKind(
        polarizability=model.card.has_alpha,
        variable_cell=settings.ensemble == "npt",
        conserved=True,
        field=dynamics.field is not None,
        parts=share.parts is not None,
        extrapolation=told,
        dipole=dipole_rule(model),
    )
    seeds = dynamics.seeds[share.first : share.first + particles.n_replicas]
    metadata = {
        "created_by": "md",
        "configuration": {"md": settings.model_dump(mode="json")},
        "versions": versions(),
        **model_facts(model),
        RANGE_KEY: range_facts(model) if told else None,
        "seed": settings.seed,
        "seeds": list(seeds),
        "device": now.device,
        "engine": now.engine,
        "threads": now.threads,
        "processes": now.processes,
        "made_by": [stretch._asdict() for stretch in stretches],
        "dtype": str(model.dtype).removeprefix("torch."),
        "ensemble": settings.ensemble,
        "temperature_K": share.temperature_K,
        "timestep_fs": settings.timestep_fs,
        "integrator": {"name": dynamics.integrator, "timestep_fs": settings.timestep_fs},
        "strain_taken_out": periodic,
        "record_stride": settings.record_stride,
        "trajectory_stride": settings.trajectory_stride,
        "cell_A": system.cell[0].tolist() if periodic else None,
        "field": None if dynamics.field is None else dynamics.field.description,
    }
    return RunHeader(
        numbers=system.numbers[:n_atoms].cpu().numpy(),
        masses_amu=particles.masses[:n_atoms, 0].cpu().numpy(),
        periodic=periodic,
        n_replicas=particles.n_replicas,
        timestep_fs=settings.timestep_fs,
        observables=stored_observables(kind),
        positions=True,
        velocities=True,
        metadata=metadata,
        slab=system.slab is not None,
        parts=share.parts,
    )
