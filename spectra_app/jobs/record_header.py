"""What the run file of a recorded trajectory says of it."""

from __future__ import annotations

from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import dipole_rule, model_facts
from spectra_app.dynamics.observables import RunKind, stored_observables
from spectra_app.dynamics.outside import range_facts
from spectra_app.readers.trajectories.frames import Trajectory
from spectra_app.runs.layout import RANGE_KEY, Parts, RunHeader
from spectra_app.runs.provenance import versions


def kind_of_record(trajectory: Trajectory, model: PotentialLike, parts: bool, told: bool) -> RunKind:
    """What decides which observables are recorded along a trajectory.

    Args:
        trajectory: that is recorded.
        model: that gives dipoles and polarizabilities.
        parts: contributions of parts are asked for.
        told: how far it is outside the training data is recorded.
    """
    return RunKind(
        polarizability=model.card.has_alpha,
        variable_cell=trajectory.periodic,
        conserved=False,
        field=False,
        parts=parts,
        extrapolation=told,
        dipole=dipole_rule(model),
    )


def header_of_record(
    trajectory: Trajectory,
    model: PotentialLike,
    kind: RunKind,
    temperature_K: float | None,
    store_trajectory: bool,
    parts: Parts | None,
) -> RunHeader:
    """What the run file of a recorded trajectory holds besides its frames.

    Args:
        trajectory: that is recorded.
        model: that gives dipoles and polarizabilities.
        kind: which observables there are.
        temperature_K: of the simulation, K; None leaves it to the velocities.
        store_trajectory: also configurations.
        parts: whose contributions are recorded; None: nobody's.
    """
    return RunHeader(
        numbers=trajectory.numbers,
        masses_amu=trajectory.masses_amu,
        periodic=trajectory.periodic,
        n_replicas=1,
        timestep_fs=trajectory.timestep_fs,
        observables=stored_observables(kind),
        positions=store_trajectory,
        velocities=store_trajectory and trajectory.first.velocities_A_per_fs is not None,
        metadata={
            "created_by": "record",
            "configuration": {"trajectory": str(trajectory.path)},
            "versions": versions(),
            **model_facts(model),
            RANGE_KEY: range_facts(model) if kind.extrapolation else None,
            "seed": None,
            "device": str(model.device),
            "engine": model.engine,
            "dtype": str(model.dtype).removeprefix("torch."),
            "ensemble": None,
            "temperature_K": temperature_K,
            "timestep_fs": trajectory.timestep_fs,
            "integrator": trajectory.integrator,
            "left_out": trajectory.left_out,
            "strain_taken_out": trajectory.periodic,
            "record_stride": 1,
            "trajectory_stride": 1,
            "cell_A": None if trajectory.first.cell_A is None else trajectory.first.cell_A.tolist(),
        },
        slab=trajectory.first.slab,
        parts=parts,
    )
