"""The state of molecular dynamics: one immutable record that holds all a restart needs, and kinetic quantities of it.

Replicas are independent copies of one structure in one batch; the atoms of replica 0 come first, then those of
replica 1, and so on.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.errors import SimulationError, StructureError
from spectra_app.structure.distances import nearest_neighbors
from spectra_app.structure.system import System, concatenate
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN, FORCE_TO_ACCELERATION


class Particles(NamedTuple):
    """What does not change during a run.

    Attributes:
        system: the replicas at the start, float64, on the model's device.
        masses: [atom, 1], amu.
        n_replicas: independent copies.
        n_atoms: atoms of one replica.
        degrees_of_freedom: of one replica, 3 N - 3 (centre-of-mass momentum is zero and stays zero).
    """

    system: System
    masses: Tensor
    n_replicas: int
    n_atoms: int
    degrees_of_freedom: int


class MDState(NamedTuple):
    """One instant of a run.

    Attributes:
        positions: r_i [atom, xyz], A, float64, unwrapped.
        velocities: v_i [atom, xyz], A/fs, float64.
        forces: F_i [atom, xyz], eV/A, float64, at ``positions``.
        energy: U [replica], eV, at ``positions``.
        cell: [replica, vector, xyz], A; zeros for an open structure.
        virial_pressure: -tr(stress)/3 [replica], eV/A^3, at ``positions``; zeros unless the cell fluctuates.
        reservoir: [replica], eV, work done on the atoms by thermostat, barostat and a changing field;
            U + K - reservoir is conserved.
        reference_positions: [atom, xyz], A, from which the neighbour table was built (a restart builds the same one).
        reference_cell: [replica, vector, xyz], A, at that moment.
        step: steps done since the very start, equilibration included.
        generator: random numbers on the device; advanced in place, its state belongs to the record.
        moments: [replica, 14], what the external field acts on (``field_work.field_moments``); None without field.
        fields: [kept, atom, 1, 4], solutions of self-consistent response at the last steps, newest first
            (``predictor``); None without such a response.
        answers: [kept, atom, 3, 4], likewise, of the answers to uniform fields at the last recorded steps.
    """

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    energy: Tensor
    cell: Tensor
    virial_pressure: Tensor
    reservoir: Tensor
    reference_positions: Tensor
    reference_cell: Tensor
    step: int
    generator: torch.Generator
    moments: Tensor | None = None
    fields: Tensor | None = None
    answers: Tensor | None = None


def make_particles(system: System, masses_amu: Tensor, replicas: int = 1) -> Particles:
    """Replicate one structure.

    Args:
        system: one structure, or one per replica (same atoms in the same order).
        masses_amu: [atom of one structure], amu.
        replicas: independent copies.

    Raises:
        StructureError: a single atom, or structures of different composition.
    """
    if system.n_structures not in (1, replicas):
        raise StructureError(
            "start structures", got=f"{system.n_structures}", wanted=f"one, or one for each of the {replicas} replicas"
        )
    n_atoms = system.sizes[0]
    if n_atoms < 2:
        raise StructureError("structure for molecular dynamics", got="a single atom", wanted="at least two atoms")
    first = system.numbers[:n_atoms]
    if any(size != n_atoms for size in system.sizes) or not bool((system.numbers.view(-1, n_atoms) == first).all()):
        raise StructureError(
            "start structures", got="different atoms", wanted="the same atoms in the same order in each"
        )
    batch = system if system.n_structures == replicas else concatenate([system] * replicas)
    batch = batch.to(dtype=torch.float64)
    masses = masses_amu.to(device=batch.positions.device, dtype=torch.float64).repeat(replicas)[:, None]
    return Particles(batch, masses, replicas, n_atoms, 3 * n_atoms - 3)


def closest_atoms(state: MDState, particles: Particles) -> str | None:
    """The pair of atoms that is closest in units of covalent radii, in words; None where no replica has positions.

    Of replicas with an energy that is not finite where there are some, else of all.
    """
    numbers = particles.system.numbers[: particles.n_atoms].cpu().numpy()
    periodic = bool(particles.system.periodic[0])
    positions = state.positions.cpu().view(particles.n_replicas, -1, 3).numpy()
    suspects = [k for k, energy in enumerate(state.energy.tolist()) if not math.isfinite(energy)]
    best = None
    for replica in suspects or range(particles.n_replicas):
        if not np.isfinite(positions[replica]).all():
            continue
        cell = state.cell[replica].cpu().numpy() if periodic else None
        pair = nearest_neighbors(positions[replica], numbers, cell, reach_A=3.0).closest
        if pair is not None and (best is None or pair.ratio < best[0].ratio):
            best = pair, replica
    if best is None:
        return None
    return f"{best[0]}" + (f", replica {best[1]}" if particles.n_replicas > 1 else "")


def kinetic_energy(velocities: Tensor, particles: Particles) -> Tensor:
    """K = sum_i m_i v_i^2 / 2 [replica], eV, of velocities [atom, xyz], A/fs."""
    doubled = (particles.masses * velocities * velocities).view(particles.n_replicas, -1).sum(dim=1)
    return doubled * (0.5 * AMU_A2_PER_FS2_TO_EV)


def temperature(kinetic_eV: Tensor, particles: Particles) -> Tensor:
    """T = 2 K / (N_f k_B) [replica], K, of a kinetic energy [replica], eV."""
    return kinetic_eV * (2.0 / (particles.degrees_of_freedom * BOLTZMANN))


def remove_drift(velocities: Tensor, particles: Particles) -> Tensor:
    """Velocities [atom, xyz], A/fs, with zero centre-of-mass momentum in every replica."""
    shape = (particles.n_replicas, particles.n_atoms, 3)
    masses = particles.masses.view(*shape[:2], 1)
    per_replica = velocities.view(shape)
    drift = (masses * per_replica).sum(dim=1, keepdim=True) / masses.sum(dim=1, keepdim=True)
    return (per_replica - drift).view(-1, 3)


def maxwell_boltzmann(particles: Particles, temperature_K: float, generator: torch.Generator) -> Tensor:
    """Velocities [atom, xyz], A/fs, of the canonical ensemble with zero total momentum.

    They are not rescaled to the exact temperature: K has its canonical spread, so that replicas sample the ensemble.
    """
    noise = torch.randn(
        particles.system.positions.shape, generator=generator, device=generator.device, dtype=torch.float64
    )
    width = torch.sqrt(BOLTZMANN * temperature_K * FORCE_TO_ACCELERATION / particles.masses)
    return remove_drift(width * noise, particles)


def state_to_dict(state: MDState) -> dict[str, Any]:
    """Plain tensors and numbers of a state, on the host."""
    record: dict[str, Any] = {
        name: value.cpu() if isinstance(value, Tensor) else value for name, value in state._asdict().items()
    }
    record["generator"] = state.generator.get_state()
    record["generator_device"] = state.generator.device.type
    return record


def state_from_dict(record: dict[str, Any], device: torch.device) -> MDState:
    """State on a device.

    Raises:
        SimulationError: the random numbers were drawn on another kind of device.
    """
    fields = dict(record)
    kind = fields.pop("generator_device")
    if kind != device.type:
        raise SimulationError(
            "restart",
            got=f"device {device.type}",
            wanted=f"{kind}, on which the run began",
            todo=f"Use --device {kind}",
        )
    generator = torch.Generator(device=device)
    generator.set_state(fields.pop("generator"))
    moved: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value for name, value in fields.items()
    }
    return MDState(**moved, generator=generator)
