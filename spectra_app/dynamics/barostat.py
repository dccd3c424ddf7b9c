"""Isotropic stochastic cell rescaling: a first-order barostat that samples the NPT ensemble exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.dynamics.field_work import field_pressure
from spectra_app.dynamics.forces import ForceFunction, PredictionLike
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.state import MDState, Particles, for_atoms, kinetic_energy
from spectra_app.dynamics.streams import noise_of_replicas
from spectra_app.units import BOLTZMANN, EV_PER_A3_TO_GPA, FORCE_TO_ACCELERATION


def velocity_verlet_npt(
    state: MDState,
    particles: Particles,
    evaluate: ForceFunction,
    timestep_fs: float,
    temperature_K: float | Tensor,
    pressure_GPa: float,
    relaxation_time_fs: float,
    compressibility_per_GPa: float,
) -> tuple[MDState, PredictionLike]:
    """One velocity Verlet step in a fluctuating cell (Bernetti & Bussi 2020, DOI 10.1063/5.0020514); add a thermostat.

    lambda = sqrt(V) has noise of constant strength, hence no question of Ito or Stratonovich:
    d lambda = (beta/tau) (lambda/2) (P_int - P_0 + k_B T/(2 V)) dt + sqrt(k_B T beta / (2 tau)) dW.
    The cell and r scale by s = (V'/V)^(1/3), v by 1/s, in the middle of the drift.  P_int = 2 K/(3 V) - tr(stress)/3.
    Unwrapped positions scale about the origin, so r + n cell stays an image of r.  In an external field the pressure
    that drives is that at constant voltage across the cell, which does not depend on images (``field_pressure``).

    The work on the atoms, K' - K - (virial pressure) dV with the virial pressure averaged over both ends of the step,
    goes to ``state.reservoir``; U + K - reservoir is then conserved.

    Args:
        state: r, v, F, cell and virial pressure of one instant.
        particles: masses.
        evaluate: the model, with stress.
        timestep_fs: h, fs.
        temperature_K: T of the ensemble; one, or [replica].
        pressure_GPa: P_0.
        relaxation_time_fs: tau, fs.
        compressibility_per_GPa: beta; only its ratio to tau matters.
    """
    kick = (0.5 * timestep_fs * FORCE_TO_ACCELERATION) / particles.masses
    velocities = state.velocities + kick * state.forces
    positions = state.positions + 0.5 * timestep_fs * velocities
    volume = torch.linalg.det(state.cell).abs()  # [replica]
    kinetic = kinetic_energy(velocities, particles)
    internal = 2.0 * kinetic / (3.0 * volume) + state.virial_pressure
    if state.moments is not None:
        internal = internal - field_pressure(state.moments, volume)
    rate = compressibility_per_GPa * EV_PER_A3_TO_GPA / relaxation_time_fs  # beta/tau, A^3 eV^-1 fs^-1
    thermal = BOLTZMANN * temperature_K
    root = torch.sqrt(volume)
    drift = 0.5 * rate * root * (internal - pressure_GPa / EV_PER_A3_TO_GPA + thermal / (2.0 * volume))
    noise = noise_of_replicas(state.streams, [1] * particles.n_replicas)[:, 0]
    root = root + drift * timestep_fs + noise * (0.5 * thermal * rate * timestep_fs) ** 0.5
    scale = (root * root / volume) ** (1.0 / 3.0)
    per_atom = for_atoms(scale, particles)[:, None]
    velocities = velocities / per_atom
    positions = positions * per_atom + 0.5 * timestep_fs * velocities
    work = kinetic * (1.0 / (scale * scale) - 1.0)
    moved, prediction = update_forces(state, positions, state.cell * scale[:, None, None], evaluate, state.step + 1)
    work = work - 0.5 * (state.virial_pressure + moved.virial_pressure) * (root * root - volume)
    velocities = velocities + kick * moved.forces
    moved = moved._replace(velocities=velocities, reservoir=moved.reservoir + work)
    return moved, prediction
