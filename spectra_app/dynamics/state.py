"""The state of molecular dynamics: one immutable record that holds all a restart needs, and kinetic quantities of it.

Replicas are independent systems in one batch: copies of one structure, or structures of any size.  The atoms of
replica 0 come first, then those of replica 1, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.streams import Streams, noise_of_atoms, streams_from_step
from spectra_app.errors import StructureError
from spectra_app.structure.distances import nearest_neighbors
from spectra_app.structure.system import System, concatenate
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN, FORCE_TO_ACCELERATION


class Particles(NamedTuple):
    """What does not change during a run.

    Attributes:
        system: the replicas at the start, float64, on the model's device.
        masses: [atom, 1], amu.
        degrees_of_freedom: [replica], 3 N - 3 (centre-of-mass momentum is zero and stays zero).
    """

    system: System
    masses: Tensor
    degrees_of_freedom: Tensor

    @property
    def n_replicas(self) -> int:
        """Independent systems."""
        return self.system.n_structures

    @property
    def sizes(self) -> tuple[int, ...]:
        """Atoms of each replica."""
        return self.system.sizes

    @property
    def alike(self) -> bool:
        """Whether all replicas have the same number of atoms."""
        return self.sizes.count(self.sizes[0]) == len(self.sizes)

    @property
    def n_atoms(self) -> int:
        """Atoms of one replica, where all have the same number.

        Raises:
            ValueError: they do not.
        """
        if not self.alike:
            raise ValueError(f"replicas of {sorted(set(self.sizes))} atoms")
        return self.sizes[0]


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
        streams: random numbers on the device; advanced in place, their state belongs to the record.
        moments: [replica, 14], what the external field acts on (``field_work.field_moments``); None without field.
        fields: [kept, atom, 1, 4], solutions of self-consistent response at the last steps, newest first
            (``predictor``); None without such a response.
        answers: [kept, atom, 3, 4], likewise, of the answers to uniform fields at the last recorded steps.
        chain: [replica, 2, link], positions and velocities of a Nose-Hoover chain (``nose_hoover``); None without one.
        resting: [replica], True for one that went wrong and is kept where it was well (``failures``); None: none.
        stress: of the model [replica, xyz, xyz], eV/A^3, at ``positions``; None unless the cell fluctuates.
        frame: [replica, xyz, vector], A^-1, inverse of the cell of the very start, against which a cell that may take
            any shape does not rotate (``flexible_cell``); None for all others.
        room: shapes that an engine keeps along a run, as numbers of its own (``engine.static_forces.Room``).
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
    streams: Streams
    moments: Tensor | None = None
    fields: Tensor | None = None
    answers: Tensor | None = None
    chain: Tensor | None = None
    resting: Tensor | None = None
    stress: Tensor | None = None
    frame: Tensor | None = None
    room: tuple[int, ...] = ()


def make_particles(system: System, masses_amu: Tensor, replicas: int = 1) -> Particles:
    """Replicate one structure, or take several of any size.

    Args:
        system: one structure, or one per replica.
        masses_amu: [atom] of all structures; or of one, where all have the same atoms; amu.
        replicas: independent systems.

    Raises:
        StructureError: a single atom, or a number of structures that does not fit.
    """
    if system.n_structures not in (1, replicas):
        raise StructureError(
            "start structures", got=f"{system.n_structures}", wanted=f"one, or one for each of the {replicas} replicas"
        )
    if min(system.sizes) < 2:
        raise StructureError("structure for molecular dynamics", got="a single atom", wanted="at least two atoms")
    batch = system if system.n_structures == replicas else concatenate([system] * replicas)
    batch = batch.to(dtype=torch.float64)
    device = batch.positions.device
    masses = masses_amu.to(device=device, dtype=torch.float64)
    if len(masses) != len(batch.numbers):
        masses = masses.repeat(replicas)
    free = torch.tensor([3 * size - 3 for size in batch.sizes], dtype=torch.float64, device=device)
    return Particles(batch, masses[:, None], free)


def sum_over_atoms(values: Tensor, particles: Particles) -> Tensor:
    """Sums [replica, ...] of values [atom, ...] over the atoms of each replica."""
    if particles.alike:
        return values.view(particles.n_replicas, -1, *values.shape[1:]).sum(dim=1)
    return values.new_zeros(particles.n_replicas, *values.shape[1:]).index_add(0, particles.system.batch, values)


def for_atoms(values: Tensor, particles: Particles) -> Tensor:
    """The value of its replica for every atom: [atom, ...] of values [replica, ...]."""
    if particles.n_replicas == 1:
        return values.expand(particles.sizes[0], *values.shape[1:])
    return values[particles.system.batch]


def bath(temperature_K: float | Tensor, particles: Particles) -> float | Tensor:
    """A temperature as every atom sees it: a number as it is, [atom, 1] of one for each replica [replica], K."""
    return for_atoms(temperature_K, particles)[:, None] if isinstance(temperature_K, Tensor) else temperature_K


def closest_atoms(state: MDState, particles: Particles, replicas: Sequence[int]) -> str | None:
    """The pair of atoms that is closest in units of covalent radii, in words; None where positions are not numbers.

    Args:
        state: with the positions.
        particles: the replicas.
        replicas: in which to look.
    """
    numbers = [some.numpy() for some in particles.system.numbers.cpu().split(list(particles.sizes))]
    positions = [some.numpy() for some in state.positions.cpu().split(list(particles.sizes))]
    periodic = particles.system.periodic.tolist()
    best = None
    for replica in replicas:
        if not np.isfinite(positions[replica]).all():
            continue
        cell = state.cell[replica].cpu().numpy() if periodic[replica] else None
        pair = nearest_neighbors(positions[replica], numbers[replica], cell, reach_A=3.0).closest
        if pair is not None and (best is None or pair.ratio < best.ratio):
            best = pair
    return None if best is None else str(best)


def kinetic_energy(velocities: Tensor, particles: Particles) -> Tensor:
    """K = sum_i m_i v_i^2 / 2 [replica], eV, of velocities [atom, xyz], A/fs."""
    doubled = particles.masses * velocities * velocities
    if particles.alike:
        doubled = doubled.view(particles.n_replicas, -1).sum(dim=1)
    else:
        doubled = sum_over_atoms(doubled.sum(dim=1), particles)
    return doubled * (0.5 * AMU_A2_PER_FS2_TO_EV)


def temperature(kinetic_eV: Tensor, particles: Particles) -> Tensor:
    """T = 2 K / (N_f k_B) [replica], K, of a kinetic energy [replica], eV."""
    return kinetic_eV * (2.0 / (particles.degrees_of_freedom * BOLTZMANN))


def remove_drift(velocities: Tensor, particles: Particles) -> Tensor:
    """Velocities [atom, xyz], A/fs, with zero centre-of-mass momentum in every replica."""
    if not particles.alike:
        momentum, mass = (sum_over_atoms(of, particles) for of in (particles.masses * velocities, particles.masses))
        return velocities - for_atoms(momentum / mass, particles)
    shape = (particles.n_replicas, particles.n_atoms, 3)
    masses = particles.masses.view(*shape[:2], 1)
    per_replica = velocities.view(shape)
    drift = (masses * per_replica).sum(dim=1, keepdim=True) / masses.sum(dim=1, keepdim=True)
    return (per_replica - drift).view(-1, 3)


def maxwell_boltzmann(particles: Particles, temperature_K: float | Tensor, streams: Streams) -> Tensor:
    """Velocities [atom, xyz], A/fs, of the canonical ensemble with zero total momentum.

    They are not rescaled to the exact temperature: K has its canonical spread, so that replicas sample the ensemble.

    Args:
        particles: masses.
        temperature_K: one, or [replica], K.
        streams: random numbers on the device.
    """
    noise = noise_of_atoms(streams, particles.sizes)
    width = torch.sqrt(BOLTZMANN * bath(temperature_K, particles) * FORCE_TO_ACCELERATION / particles.masses)
    return remove_drift(width * noise, particles)


def state_to_dict(state: MDState) -> dict[str, Any]:
    """Plain tensors and numbers of a state, on the host."""
    record: dict[str, Any] = {
        name: value.cpu() if isinstance(value, Tensor) else value for name, value in state._asdict().items()
    }
    record["streams"] = [generator.get_state() for generator in state.streams]
    record["streams_device"] = state.streams[0].device.type
    return record


def drawn_elsewhere(record: dict[str, Any], device: torch.device) -> bool:
    """Whether the random numbers of a state were drawn on another kind of device, which draws others."""
    return bool(record.get("streams_device", record.get("generator_device")) != device.type)


def state_from_dict(record: dict[str, Any], device: torch.device, seeds: Sequence[int] = ()) -> MDState:
    """State on a device.

    Args:
        record: of ``state_to_dict``.
        device: where to go on; of another kind than before it gets random numbers of its own (``drawn_elsewhere``).
        seeds: of the replicas; needed on another kind of device.
    """
    fields = dict(record)
    kept = fields.pop("streams") if "streams" in fields else [fields.pop("generator")]  # one in earlier versions
    for name in ("streams_device", "generator_device"):
        fields.pop(name, None)
    if drawn_elsewhere(record, device):
        streams = streams_from_step(seeds, fields["step"], device)
    else:
        streams = tuple(torch.Generator(device=device).set_state(drawn) for drawn in kept)
    moved: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value for name, value in fields.items()
    }
    return MDState(**moved, streams=streams)
