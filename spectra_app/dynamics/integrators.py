"""Equations of motion: pure functions from one state to the next."""

from __future__ import annotations

import math

from torch import Tensor

from spectra_app.dynamics.field_work import field_work
from spectra_app.dynamics.forces import ForceFunction, PredictionLike
from spectra_app.dynamics.predictor import History
from spectra_app.dynamics.state import MDState, Particles, kinetic_energy
from spectra_app.dynamics.thermostats import ornstein_uhlenbeck
from spectra_app.units import FORCE_TO_ACCELERATION


def velocity_verlet(
    state: MDState, particles: Particles, evaluate: ForceFunction, timestep_fs: float
) -> tuple[MDState, PredictionLike]:
    """One step at constant energy (NVE).

    v += (h/2) F/m;  r += h v;  F = F(r);  v += (h/2) F/m
    (Swope et al. 1982, DOI 10.1063/1.442716): time-reversible, symplectic, error of the energy of order h^2.

    Args:
        state: r, v and F of one instant.
        particles: masses.
        evaluate: the model.
        timestep_fs: h, fs.

    Returns:
        The next state and the model's prediction there.
    """
    velocities = state.velocities + _kick(state.forces, particles, 0.5 * timestep_fs)
    positions = state.positions + timestep_fs * velocities
    moved, prediction = update_forces(state, positions, state.cell, evaluate, state.step + 1)
    velocities = velocities + _kick(moved.forces, particles, 0.5 * timestep_fs)
    return moved._replace(velocities=velocities), prediction


def langevin_baoab(
    state: MDState,
    particles: Particles,
    evaluate: ForceFunction,
    timestep_fs: float,
    temperature_K: float | Tensor,
    friction_time_fs: float,
) -> tuple[MDState, PredictionLike]:
    """One step of Langevin dynamics in the splitting BAOAB (Leimkuhler & Matthews 2013, DOI 10.1063/1.4802990).

    B: half kick; A: half drift; O: exact Ornstein-Uhlenbeck for h; A; B.  Configurational averages of a harmonic
    system are exact at any stable h.  The heat that O gives to the atoms is counted in ``state.reservoir``.

    Args:
        state: r, v and F of one instant.
        particles: masses.
        evaluate: the model.
        timestep_fs: h, fs.
        temperature_K: of the bath; one, or [replica].
        friction_time_fs: 1/gamma, decay time of a velocity, fs.
    """
    half = 0.5 * timestep_fs
    velocities = state.velocities + _kick(state.forces, particles, half)
    positions = state.positions + half * velocities
    before = kinetic_energy(velocities, particles)
    decay = math.exp(-timestep_fs / friction_time_fs)
    velocities = ornstein_uhlenbeck(velocities, particles, temperature_K, decay, state.streams)
    heat = kinetic_energy(velocities, particles) - before
    positions = positions + half * velocities
    moved, prediction = update_forces(state, positions, state.cell, evaluate, state.step + 1)
    velocities = velocities + _kick(moved.forces, particles, half)
    return moved._replace(velocities=velocities, reservoir=moved.reservoir + heat), prediction


def update_forces(
    state: MDState, positions: Tensor, cell: Tensor, evaluate: ForceFunction, step: int
) -> tuple[MDState, PredictionLike]:
    """The state at new positions with the model's forces there; the field's work since the last step is counted.

    Args:
        state: of the last step.
        positions: [atom, xyz], A.
        cell: [replica, vector, xyz], A.
        evaluate: the model.
        step: of the new positions.
    """
    prediction, reference, reference_cell, history, moments, middle = evaluate(
        positions, cell, state.reference_positions, state.reference_cell, step, History(state.fields, state.answers)
    )
    assert prediction.forces is not None
    reservoir = state.reservoir
    if moments is not None and middle is not None and state.moments is not None:
        reservoir = reservoir + field_work(state.moments, moments, middle)
    pressure, stress = state.virial_pressure, None
    if prediction.stress is not None:
        stress = prediction.stress.double()
        pressure = prediction.stress.diagonal(dim1=-2, dim2=-1).sum(-1).double() * (-1.0 / 3.0)
    moved = state._replace(
        positions=positions,
        cell=cell,
        forces=prediction.forces.double(),
        energy=prediction.energy.double(),
        virial_pressure=pressure,
        reservoir=reservoir,
        reference_positions=reference,
        reference_cell=reference_cell,
        step=step,
        moments=moments,
        fields=history.fields,
        answers=history.answers,
        stress=stress,
    )
    return moved, prediction


def _kick(forces: Tensor, particles: Particles, time_fs: float) -> Tensor:
    """Change of velocity [atom, xyz], A/fs, under forces [atom, xyz], eV/A."""
    return forces * (time_fs * FORCE_TO_ACCELERATION) / particles.masses
