"""Replicas that go wrong stop alone: they are named, laid to rest, and the others run on.

A replica at rest stays in the batch, so that nothing changes its shape: it stands where it was at the last look that
found it well, and no step moves it.  That costs its share of the time, which is less than what a new batch would.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectra_app.dynamics.state import MDState, Particles, closest_atoms, kinetic_energy, temperature
from spectra_app.errors import SimulationError

EXPLOSION_FACTOR = 10.0  # hotter than this many times the target (or room temperature) means atoms fly apart
ROOM_K = 300.0


class Failure(NamedTuple):
    """A replica that went wrong.

    Attributes:
        replica: its number.
        step: near which it happened, equilibration included.
        reason: what was found, with the closest atoms.
    """

    replica: int
    step: int
    reason: str


class Vitals(NamedTuple):
    """What a look at the replicas shows, means over those that are well.

    Attributes:
        temperature_K: at this instant.
        energy_eV: potential energy at this instant.
    """

    temperature_K: float
    energy_eV: float


class Watch:
    """Looks after the replicas of a run.

    Args:
        particles: the replicas.
        targets_K: temperature of each replica, or of all.

    Attributes:
        failures: by replica, in the order in which they happened.
    """

    def __init__(self, particles: Particles, targets_K: tuple[float, ...]) -> None:
        self._particles = particles
        targets = targets_K if len(targets_K) > 1 else targets_K * particles.n_replicas
        self.limits_K = tuple(EXPLOSION_FACTOR * max(target, ROOM_K) for target in targets)
        self._target = " or ".join(f"{target:g}" for target in dict.fromkeys(targets_K))
        self.failures: dict[int, Failure] = {}
        self._untold: list[Failure] = []
        self._well: MDState | None = None

    def look(self, state: MDState) -> tuple[MDState, Vitals]:
        """The state with replicas at rest that have exploded since the last look; one host synchronisation.

        Raises:
            SimulationError: no replica is left.
        """
        found = self._found(state)
        lost = {
            k: f"temperature {hot:.4g} K, energy {energy:.6g} eV"
            for k, (hot, energy) in found
            if k not in self.failures and not (hot < self.limits_K[k] and abs(energy) < math.inf)
        }
        state = self.rest(state, lost, state.step)
        self._well = state
        return state, self._mean(found)

    def vitals(self, state: MDState) -> Vitals:
        """What a look would show, without its consequences; NaN where nobody is well."""
        return self._mean(self._found(state))

    def _found(self, state: MDState) -> list[tuple[int, tuple[float, ...]]]:
        """Temperature, K, and energy, eV, of every replica."""
        kelvin = temperature(kinetic_energy(state.velocities, self._particles), self._particles)
        return list(enumerate(zip(*torch.stack([kelvin, state.energy]).tolist(), strict=True)))

    def _mean(self, found: list[tuple[int, tuple[float, ...]]]) -> Vitals:
        well = [values for k, values in found if k not in self.failures]
        return Vitals(*(sum(values) / max(1, len(well)) for values in zip(*well, strict=True)))

    def rest(self, state: MDState, lost: Mapping[int, str], step: int, seen: MDState | None = None) -> MDState:
        """The state with further replicas at rest.

        Args:
            state: of all replicas.
            lost: what was found, by replica.
            step: near which it happened.
            seen: the last state with positions of the lost, to name their closest atoms; None: this one.

        Raises:
            SimulationError: no replica is left.
        """
        new = {k: reason for k, reason in lost.items() if k not in self.failures}
        if not new:
            return state
        for k, reason in new.items():
            pair = closest_atoms(state if seen is None else seen, self._particles, [k])
            failure = Failure(k, step, reason if pair is None else f"{reason}; closest {pair}")
            self.failures[k] = failure
            self._untold.append(failure)
        if len(self.failures) == self._particles.n_replicas:
            raise self._nobody_left(step, new)
        return lay_to_rest(state, state if self._well is None else self._well, new, self._particles)

    def note(self, state: MDState, lost: Mapping[int, tuple[int, str]]) -> MDState:
        """The state, once it is known that further replicas are at rest in it.

        Args:
            state: in which they rest already.
            lost: step and what was found, with the closest atoms, by replica.

        Raises:
            SimulationError: no replica is left.
        """
        for k, (step, reason) in lost.items():
            self.failures[k] = Failure(k, step, reason)
            self._untold.append(self.failures[k])
        if len(self.failures) == self._particles.n_replicas:
            raise self._nobody_left(max(step for step, _ in lost.values()), lost)
        return state

    def told(self) -> list[Failure]:
        """Failures since the last call."""
        untold, self._untold = self._untold, []
        return untold

    def restore(self, failures: Iterable[tuple[int, int, str]]) -> None:
        """The failures of a run that is continued; its state has them at rest already."""
        self.failures = {failure[0]: Failure(*failure) for failure in failures}

    def _nobody_left(self, step: int, last: Iterable[int]) -> SimulationError:
        failures = [self.failures[k] for k in last]
        got = failures[0].reason
        if self._particles.n_replicas > 1:
            got = f"{got}, replica {failures[0].replica}; none of the {self._particles.n_replicas} replicas is left"
        return SimulationError(
            f"molecular dynamics near step {step} (equilibration included)",
            got=got,
            wanted=f"a stable run at {self._target} K",
            todo="Use a smaller md.timestep_fs, a relaxed start structure, or a model trained for this material",
        )


def lay_to_rest(state: MDState, well: MDState, replicas: Iterable[int], particles: Particles) -> MDState:
    """A state in which some replicas stand as in an earlier one, and are marked as resting.

    The neighbour table is built anew from there; histories of their response begin anew.

    Args:
        state: of all replicas.
        well: an earlier one, in which they were well.
        replicas: their numbers.
        particles: the replicas.
    """
    resting = torch.zeros(particles.n_replicas, dtype=torch.bool, device=state.positions.device)
    resting[list(replicas)] = True
    together = _merged(well, state, resting, particles)
    atoms = resting[particles.system.batch]

    def cleared(history: Tensor | None) -> Tensor | None:
        return None if history is None else torch.where(atoms[None, :, None, None], 0.0, history)

    return together._replace(
        resting=resting if state.resting is None else resting | state.resting,
        reference_positions=together.positions,
        reference_cell=together.cell,
        fields=cleared(state.fields),
        answers=cleared(state.answers),
    )


def hold(before: MDState, after: MDState, particles: Particles) -> MDState:
    """The next state, with the replicas at rest where they were."""
    return after if before.resting is None else _merged(before, after, before.resting, particles)


_OF_ATOMS = ("positions", "velocities", "forces")
_OF_NOBODY = ("reference_positions", "reference_cell", "fields", "answers", "resting")  # beside what is no tensor


def _merged(first: MDState, second: MDState, chosen: Tensor, particles: Particles) -> MDState:
    """The second state with the chosen replicas [replica] of the first."""
    atoms = chosen[particles.system.batch]
    merged: dict[str, Any] = {}
    for name, new in second._asdict().items():
        old = getattr(first, name)
        if name not in _OF_NOBODY and isinstance(new, Tensor) and isinstance(old, Tensor):
            which = atoms if name in _OF_ATOMS else chosen
            merged[name] = torch.where(which.view(-1, *(1,) * (new.ndim - 1)), old, new)
    return second._replace(**merged)
