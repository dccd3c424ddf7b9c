"""Molecular dynamics on the model's device: state, integrators, thermostats, barostat, external field, recorder."""

from __future__ import annotations

from spectra_app.dynamics.blocks import TrajectoryBlock
from spectra_app.dynamics.contributions import Contributions, physical_dipoles, physical_polarizabilities
from spectra_app.dynamics.fields import FieldFunction, TableField, read_field_table
from spectra_app.dynamics.forces import ForceField, PotentialLike, PredictionLike
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics, Progress
from spectra_app.dynamics.observables import Observable, ObservableBlock
from spectra_app.dynamics.recorder import Recorder
from spectra_app.dynamics.state import MDState, Particles, make_particles

__all__ = [
    "Contributions",
    "FieldFunction",
    "ForceField",
    "MDState",
    "MolecularDynamics",
    "Observable",
    "ObservableBlock",
    "Particles",
    "PotentialLike",
    "PredictionLike",
    "Progress",
    "Recorder",
    "TableField",
    "TrajectoryBlock",
    "make_particles",
    "physical_dipoles",
    "physical_polarizabilities",
    "read_field_table",
]
