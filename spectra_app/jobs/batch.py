"""The batch that a run starts from, and which of its replicas share a run file.

A run file is one system under one set of conditions: the same atoms in the same cell at the same temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_masses

from spectra_app.config import MDSettings
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import remember
from spectra_app.dynamics.state import Particles, make_particles
from spectra_app.errors import ConfigError, StructureError
from spectra_app.runs.layout import Parts
from spectra_app.runs.partition import common_parts, whole_molecules
from spectra_app.structure.distances import check_distances
from spectra_app.structure.system import System, concatenate, from_ase, select_structures

DEFAULT_NAME = "run.h5"  # of run files where the output is a folder


@dataclass(frozen=True)
class Share:
    """Replicas of a batch that share a run file.

    Attributes:
        path: the run file; None where nothing is recorded.
        first: number of its first replica in the batch; the others follow.
        particles: of these replicas.
        temperature_K: of their thermostat, K.
        parts: whose contributions are recorded; None: nobody's.
    """

    path: Path | None
    first: int
    particles: Particles
    temperature_K: float
    parts: Parts | None


class Batch(NamedTuple):
    """All replicas of a run.

    Attributes:
        output: what checkpoint and run files are called after; None where nothing is recorded.
        particles: all replicas, share after share.
        shares: by run file.
    """

    output: Path | None
    particles: Particles
    shares: tuple[Share, ...]

    @property
    def temperatures_K(self) -> tuple[float, ...]:  # noqa: N802
        """Of the replicas, K; one where all have the same."""
        every = [share.temperature_K for share in self.shares for _ in share.particles.sizes]
        return tuple(every) if len(set(every)) > 1 else tuple(every[:1])

    def name_of(self, replica: int) -> str:
        """How a person calls a replica of the batch."""
        share = next(share for share in reversed(self.shares) if share.first <= replica)
        place = f" of {share.path}" if len(self.shares) > 1 and share.path is not None else ""
        return f"replica {replica - share.first}{place}"


class _Start(NamedTuple):
    """Where replicas begin: one structure and the masses of its atoms, amu."""

    system: System
    masses: np.ndarray

    @property
    def identity(self) -> tuple[object, ...]:
        """The same for structures that may share a run file."""
        system = self.system
        cell = system.cell.cpu().numpy().round(9).tobytes()
        what = (system.numbers.cpu().numpy().tobytes(), self.masses.tobytes(), cell)
        return (*what, bool(system.periodic[0]), system.slab is not None, float(system.charge[0]))


def make_batch(
    model: PotentialLike, structure: Atoms | System | Sequence[Atoms], settings: MDSettings, output: Path | None
) -> Batch:
    """The replicas of a run, those that share a run file one after the other.

    Args:
        model: that they must suit; the replicas are on its device.
        structure: one, or one for each replica, of any size.
        settings: replicas, temperatures, parts.
        output: run file; where there are several, each is called after it (``run_0.h5``, ``run_300K.h5``), or lies in
            it, where it has no ending and so is a folder.

    Raises:
        StructureError: an element that the model does not know, overlapping atoms, a single atom, a network where
            molecules are wanted, or a number of structures that does not fit.
        ConfigError: a number of temperatures that does not fit.
    """
    for atoms in [] if isinstance(structure, System) else [structure] if isinstance(structure, Atoms) else structure:
        remember(model, atoms)
    starts = _starts(structure, model.device)
    for k, (system, _) in enumerate(starts):
        model.check_system(system)
        cell = system.cell[0].cpu().numpy() if bool(system.periodic[0]) else None
        check_distances(system.positions.cpu().numpy(), system.numbers.cpu().numpy(), cell, f"structure {k}")
    n_replicas = max(settings.n_replicas, len(starts))
    starts, kelvin = _spread(starts, settings.temperatures_K, n_replicas)
    identities = [start.identity for start in starts]
    kinds, temperatures = list(dict.fromkeys(identities)), list(dict.fromkeys(kelvin))
    members: dict[tuple[int, float], list[_Start]] = {}
    for start, identity, target in zip(starts, identities, kelvin, strict=True):
        members.setdefault((kinds.index(identity), target), []).append(start)
    base = None if output is None else output
    if base is not None and len(members) > 1 and not base.suffix:
        base = base / DEFAULT_NAME
    shares, first = [], 0
    for (kind, target), some in members.items():
        labels = [str(kind)] * (len(kinds) > 1) + [f"{target:g}K"] * (len(temperatures) > 1)
        path = base if base is None else base.with_name("_".join([base.stem, *labels]) + base.suffix)
        shares.append(_share(path, first, some, target, settings))
        first += len(some)
    system = concatenate([share.particles.system for share in shares])
    masses = torch.cat([share.particles.masses[:, 0] for share in shares])
    return Batch(base, make_particles(system, masses, n_replicas), tuple(shares))


def _starts(structure: Atoms | System | Sequence[Atoms], device: torch.device) -> list[_Start]:
    """Structures with masses (isotopes as in ``Atoms``; standard masses for a ``System``)."""
    if isinstance(structure, System):
        places = torch.arange(len(structure.numbers)).split(list(structure.sizes))
        systems = [select_structures(structure, torch.tensor([k]), atoms) for k, atoms in enumerate(places)]
        masses = [np.asarray(atomic_masses)[system.numbers.cpu().numpy()] for system in systems]
        starts = [_Start(system.to(device=device), mass) for system, mass in zip(systems, masses, strict=True)]
    else:
        every = [structure] if isinstance(structure, Atoms) else list(structure)
        starts = [
            _Start(from_ase(atoms, device=device, name=f"structure {k}"), atoms.get_masses())
            for k, atoms in enumerate(every)
        ]
    return starts


def _spread(starts: list[_Start], kelvin: tuple[float, ...], n_replicas: int) -> tuple[list[_Start], tuple[float, ...]]:
    """A start and a temperature for each replica."""
    if len(starts) not in (1, n_replicas):
        raise StructureError(
            "start structures",
            got=f"{len(starts)}",
            wanted=f"one, or one for each of the {n_replicas} replicas",
        )
    if len(kelvin) not in (1, n_replicas):
        raise ConfigError(
            "md.temperature_K",
            got=f"{len(kelvin)} temperatures",
            wanted=f"one, or one for each of the {n_replicas} replicas",
        )
    return starts * (n_replicas // len(starts)), kelvin * (n_replicas // len(kelvin))


def _share(path: Path | None, first: int, starts: list[_Start], target: float, settings: MDSettings) -> Share:
    """Replicas of one system, their molecules whole."""
    system, parts = concatenate([start.system for start in starts]), None
    if settings.parts == "none":
        system = whole_molecules(system)
    else:
        system, parts = common_parts(settings.parts, system)
    masses = torch.from_numpy(np.asarray(starts[0].masses, dtype=float))
    return Share(path, first, make_particles(system, masses, len(starts)), target, parts)
