"""Thermostats that sample the canonical ensemble exactly: friction with noise, and stochastic rescaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.dynamics.state import MDState, Particles, bath, for_atoms, kinetic_energy, remove_drift
from spectra_app.dynamics.streams import Streams, noise_of_atoms, noise_of_replicas
from spectra_app.units import BOLTZMANN, FORCE_TO_ACCELERATION


def ornstein_uhlenbeck(
    velocities: Tensor, particles: Particles, temperature_K: float | Tensor, decay: float, streams: Streams
) -> Tensor:
    """Exact solution of dv = -gamma v dt + sqrt(2 gamma k_B T / m) dW over one step.

    v' = c v + sqrt((1 - c^2) k_B T / m) xi, with c = exp(-gamma h).  The total momentum is projected out of the noise:
    the process is the same in the subspace of zero momentum, whose 3 N - 3 degrees of freedom stay canonical.

    Args:
        velocities: [atom, xyz], A/fs, of zero total momentum.
        particles: masses.
        temperature_K: of the bath; one, or [replica].
        decay: c, in (0, 1).
        streams: random numbers on the device.

    Returns:
        [atom, xyz], A/fs.
    """
    noise = noise_of_atoms(streams, particles.sizes)
    variance = (1.0 - decay * decay) * BOLTZMANN * bath(temperature_K, particles) * FORCE_TO_ACCELERATION
    return remove_drift(decay * velocities + torch.sqrt(variance / particles.masses) * noise, particles)


def bussi_rescaling(
    state: MDState, particles: Particles, timestep_fs: float, temperature_K: float | Tensor, relaxation_time_fs: float
) -> MDState:
    """Stochastic velocity rescaling over one step (Bussi, Donadio, Parrinello 2007, DOI 10.1063/1.2408420, eq. A7).

    alpha^2 = c + (1 - c) Kbar/(N_f K) (R_1^2 + sum_{i=2}^{N_f} R_i^2) + 2 R_1 sqrt(c (1 - c) Kbar/(N_f K)),
    c = exp(-h / tau), Kbar = N_f k_B T / 2, R_i standard normal; the sign of alpha is that of
    R_1 + sqrt(c N_f K / ((1 - c) Kbar)).  Every replica has its own factor.  K alpha^2 - K is counted in
    ``state.reservoir``.

    Args:
        state: velocities of one instant.
        particles: masses and degrees of freedom.
        timestep_fs: h, fs.
        temperature_K: of the bath; one, or [replica].
        relaxation_time_fs: tau, fs.
    """
    decay = math.exp(-timestep_fs / relaxation_time_fs)
    kinetic = kinetic_energy(state.velocities, particles)  # [replica]
    normal = noise_of_replicas(state.streams, [3 * size - 3 for size in particles.sizes])  # [replica, N_f]
    first = normal[:, 0]
    ratio = (0.5 * BOLTZMANN * temperature_K) / kinetic  # Kbar / (N_f K)
    alpha_squared = (
        decay
        + (1.0 - decay) * ratio * (normal * normal).sum(dim=1)
        + 2.0 * first * torch.sqrt(decay * (1.0 - decay) * ratio)
    )
    sign = torch.where(first + torch.sqrt(decay / ((1.0 - decay) * ratio)) < 0.0, -1.0, 1.0)
    alpha = sign * torch.sqrt(alpha_squared.clamp(min=0.0))
    velocities = state.velocities * for_atoms(alpha, particles)[:, None]
    return state._replace(velocities=velocities, reservoir=state.reservoir + kinetic * (alpha_squared - 1.0))
