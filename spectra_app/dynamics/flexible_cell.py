"""Stochastic rescaling of a cell whose shape changes too: first-order barostats that sample the NPT ensemble exactly.

After Del Tatto, Raiteri, Bernetti & Bussi 2022 (DOI 10.3390/app12031139), derived anew for cells h whose rows are the
vectors.  One step multiplies h and the positions by M = exp(E) from the right and the momenta by M^-T, which leaves
scaled positions and momenta alone.  At fixed scaled coordinates the ensemble of the cell is, with respect to the
measure dh/|det h|^3 that no such multiplication changes (the ensemble's own factor V^-2 included),

    w(h) = V exp(-(H + P_0 V)/k_B T),      H = K + U

Noise of covariance B^2 = 2 k_B T beta/(3 tau V) per component with the drift (B^2/2) X log w + X(B^2)/2, X being the
derivative along a component of E, has w as its stationary distribution without any current.  X log V = 1 for each
diagonal component: the 1 from w and that from B^2 cancel, and what is left is (docs/dynamics.md)

    E_ab = (beta/(3 tau)) (P_int - P_0)_ab dt + sqrt(2 k_B T beta/(3 tau V)) dW_ab
    P_int = (1/V) sum_i m_i v_i v_i^T - stress

``full``: E symmetric, six components (those off the diagonal have half of the variance), after which everything is
turned so that h_0^-1 h stays symmetric: the cell and the atoms do not rotate in space.  ``anisotropic``: the lengths
of the three vectors at fixed directions, E = h^-1 diag(e) h, driven by (h P_int h^-1)_vv.  The trace of E is the
volume's own equation (``barostat``) in both.  ``lateral``: the lengths of the first two alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spectra_app.dynamics.forces import ForceFunction, PredictionLike
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.state import MDState, Particles, for_atoms, kinetic_energy, sum_over_atoms
from spectra_app.dynamics.streams import noise_of_replicas
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN, EV_PER_A3_TO_GPA, FORCE_TO_ACCELERATION

FlexibleShape = Literal["anisotropic", "full", "lateral"]
_OFF_DIAGONAL = ((1, 2), (0, 2), (0, 1))


def velocity_verlet_flexible(
    state: MDState,
    particles: Particles,
    evaluate: ForceFunction,
    timestep_fs: float,
    temperature_K: float | Tensor,
    pressure_GPa: float,
    relaxation_time_fs: float,
    compressibility_per_GPa: float,
    shape: FlexibleShape,
) -> tuple[MDState, PredictionLike]:
    """One velocity Verlet step in a cell that changes its shape; add a thermostat.

    The cell changes in the middle of the drift.  The work on the atoms, K' - K + V stress : E with V stress averaged
    over both ends of the step, goes to ``state.reservoir``; U + K - reservoir is then conserved.

    Args:
        state: r, v, F, cell and stress of one instant.
        particles: masses.
        evaluate: the model, with stress.
        timestep_fs: h, fs.
        temperature_K: T of the ensemble; one, or [replica].
        pressure_GPa: P_0.
        relaxation_time_fs: tau, fs.
        compressibility_per_GPa: beta; only its ratio to tau matters.
        shape: what may change.
    """
    kick = (0.5 * timestep_fs * FORCE_TO_ACCELERATION) / particles.masses
    velocities = state.velocities + kick * state.forces
    positions = state.positions + 0.5 * timestep_fs * velocities
    volume = torch.linalg.det(state.cell).abs()[:, None, None]  # [replica, 1, 1]
    stress = torch.zeros_like(state.cell) if state.stress is None else state.stress
    excess = momentum_flux(velocities, particles) / volume - stress
    excess = excess - torch.eye(3, dtype=excess.dtype, device=excess.device) * (pressure_GPa / EV_PER_A3_TO_GPA)
    rate = compressibility_per_GPa * EV_PER_A3_TO_GPA * timestep_fs / (3.0 * relaxation_time_fs)  # A^3/eV
    width = torch.sqrt(2.0 * BOLTZMANN * temperature_K * rate / volume[:, 0, 0])  # [replica]
    strain, stretch = (
        _full(state, particles, rate * excess, width)
        if shape == "full"
        else _lengths(state, particles, rate * excess, width, 2 if shape == "lateral" else 3)
    )
    to_velocities = torch.linalg.inv_ex(stretch).inverse.transpose(1, 2)
    before = kinetic_energy(velocities, particles)
    velocities = _times(velocities, to_velocities, particles)
    work = kinetic_energy(velocities, particles) - before
    positions = _times(positions, stretch, particles) + 0.5 * timestep_fs * velocities
    moved, prediction = update_forces(state, positions, state.cell @ stretch, evaluate, state.step + 1)
    assert moved.stress is not None
    new_volume = torch.linalg.det(moved.cell).abs()[:, None, None]
    work = work + 0.5 * ((volume * stress + new_volume * moved.stress) * strain).sum(dim=(1, 2))
    velocities = velocities + kick * moved.forces
    return moved._replace(velocities=velocities, reservoir=moved.reservoir + work), prediction


def momentum_flux(velocities: Tensor, particles: Particles) -> Tensor:
    """sum_i m_i v_i v_i^T [replica, xyz, xyz], eV, of velocities [atom, xyz], A/fs."""
    by_atom = (particles.masses * velocities)[:, :, None] * velocities[:, None, :]
    return sum_over_atoms(by_atom, particles) * AMU_A2_PER_FS2_TO_EV


def _full(state: MDState, particles: Particles, drift: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """A symmetric strain of all six components, and the matrix by which the cell is multiplied; [replica, xyz, xyz].

    Args:
        state: cell, frame and random numbers.
        particles: for the number of replicas.
        drift: [replica, xyz, xyz].
        width: [replica], of the noise.
    """
    normal = noise_of_replicas(state.streams, [6] * particles.n_replicas) * width[:, None]
    strain = 0.5 * (drift + drift.transpose(1, 2)) + torch.diag_embed(normal[:, :3])
    off = torch.zeros_like(strain)
    for column, (a, b) in enumerate(_OFF_DIAGONAL, start=3):
        off[:, a, b] = normal[:, column] * 0.5**0.5
    strain = strain + off + off.transpose(1, 2)
    stretch = exponential(strain)
    if state.frame is not None:
        stretch = stretch @ rotation_to_symmetric(state.frame @ state.cell @ stretch)
    return strain, stretch


def _lengths(
    state: MDState, particles: Particles, drift: Tensor, width: Tensor, n_vectors: int
) -> tuple[Tensor, Tensor]:
    """Strain that changes the lengths of the first vectors and no direction, and the matrix, likewise."""
    inverse = torch.linalg.inv_ex(state.cell).inverse
    along = torch.einsum("rvx,rxy,ryv->rv", state.cell, drift, inverse)  # (h P h^-1)_vv
    noise = noise_of_replicas(state.streams, [n_vectors] * particles.n_replicas) * width[:, None]
    change = torch.zeros_like(along)
    change[:, :n_vectors] = along[:, :n_vectors] + noise
    return inverse @ (change[:, :, None] * state.cell), inverse @ (torch.exp(change)[:, :, None] * state.cell)


def exponential(matrix: Tensor) -> Tensor:
    """Exponential of small matrices [..., 3, 3] in a fixed number of operations: Taylor to order 8 of a quarter.

    The relative error is below 1e-15 for norms up to 0.2 (a step of a barostat: 1e-3) and 1e-9 for 1.
    """
    quarter = 0.25 * matrix
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    result = identity
    for order in range(8, 0, -1):
        result = identity + quarter @ result / order
    result = result @ result
    return result @ result


def rotation_to_symmetric(deformation: Tensor) -> Tensor:
    """R [replica, xyz, xyz] with F R symmetric to first order in the antisymmetric part of F [replica, xyz, xyz].

    F R has the antisymmetric part (F - F^T)/2 + (S Omega + Omega S)/2, and S Omega + Omega S is the cross product with
    (tr S - S) omega.  R is a rotation to the last bit; what the first order leaves the next step takes out.
    """
    symmetric, odd = 0.5 * (deformation + deformation.transpose(1, 2)), deformation - deformation.transpose(1, 2)
    axial = torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], dim=1)  # of odd = [axial]_x
    identity = torch.eye(3, dtype=deformation.dtype, device=deformation.device)
    trace = symmetric.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    half = -0.5 * torch.einsum("rxy,ry->rx", torch.linalg.inv_ex(trace * identity - symmetric).inverse, axial)
    x, y, z = half.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    norm = 1.0 + (half * half).sum(dim=1)[:, None, None]
    return identity + (2.0 / norm) * (cross + cross @ cross)  # Cayley: (1 - [a]_x)^-1 (1 + [a]_x)


def _times(vectors: Tensor, matrices: Tensor, particles: Particles) -> Tensor:
    """Row vectors [atom, xyz] times the matrix of their replica [replica, xyz, xyz]."""
    return (vectors[:, :, None] * for_atoms(matrices, particles)).sum(dim=1)
