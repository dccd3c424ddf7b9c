"""The frames of runs that a model knows least, each another kind: those to be labelled next.

Candidates are frames with an atom beyond the edge of the training data (``potentials.training_range``).  The first pick
has the atom that is farthest outside; each next one has the atom beyond the edge that is farthest from all atoms of its
element in the picks, in the space in which extrapolation is measured, so that one event is picked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms

from spectra_app.config import ActiveSettings
from spectra_app.errors import ModelError, TrajectoryError
from spectra_app.labels.candidates import CLOSEST_A, Candidate, closest_pair
from spectra_app.labels.selection import Surroundings, farthest_points
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.training_range import TrainingRange, nearest_by_element
from spectra_app.runs.layout import RANGE_KEY
from spectra_app.runs.reader import Run
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase

MOST_EVALUATED = 1000  # frames that are looked at; of more, those that the run says are outside, or some
NEARLY = 0.9  # of the edge, in what a run recorded: it may have been rounded, or recorded a step apart


class Place(NamedTuple):
    """A stored configuration of a run.

    Attributes:
        run: number of the run.
        frame: number of the stored configuration.
        replica: place in the series of the run.
    """

    run: int
    frame: int
    replica: int


@dataclass(frozen=True)
class Picks:
    """What was found in runs.

    Attributes:
        candidates: the frames picked, origin with their extrapolation.
        values: extrapolation of each.
        n_looked_at: frames that were evaluated.
        n_stored: frames that the runs hold.
        n_outside: of those looked at, beyond the edge that was asked for.
        n_wrecks: of these, left out: too far outside, or atoms on top of each other.
        largest: extrapolation in any frame looked at.
    """

    candidates: tuple[Candidate, ...]
    values: tuple[float, ...]
    n_looked_at: int
    n_stored: int
    n_outside: int
    n_wrecks: int
    largest: float


def pick_frames(model: Potential, runs: Sequence[Run], settings: ActiveSettings) -> Picks:
    """The frames of runs that a model knows least.

    Args:
        model: that knows the range of its training data.
        runs: with stored configurations.
        settings: how many, and beyond which value.

    Raises:
        ModelError: the model does not know the range of its training data.
        StructureError: a run with an element that the model does not know.
        TrajectoryError: a run without stored configurations.
    """
    known = model.training_range
    if known is None:
        raise ModelError(
            f"model '{model.card.name}'",
            got="unknown extrapolation",
            wanted="the range of its training data",
            todo=f"Run: spectra-app models {model.card.name} --trained-on DATA",
        )
    places, n_stored = [], 0
    for number, run in enumerate(runs):
        model.check_species(torch.as_tensor(np.asarray(run.numbers)))
        found, stored = _worth_a_look(run, number, known, settings.beyond)
        places += found
        n_stored += stored
    looked = [_Look(place, *_look(model, known, _atoms(runs[place.run], place))) for place in places]
    outside = [look for look in looked if look.largest > settings.beyond]
    good = [look for look in outside if look.largest <= settings.wreck and not look.collapsed]
    if not good:  # the first of each run and replica: what comes after is the wreck of it
        firsts: dict[tuple[int, int], _Look] = {}
        for look in outside:
            if not look.collapsed:
                firsts.setdefault((look.place.run, look.place.replica), look)
        good = list(firsts.values())
    chosen = _most_different(good, settings)
    return Picks(
        tuple(Candidate(look.atoms, _origin(runs[look.place.run], look)) for look in chosen),
        tuple(look.largest for look in chosen),
        len(looked),
        n_stored,
        len(outside),
        len(outside) - len(good),
        max((look.largest for look in looked), default=0.0),
    )


@dataclass(frozen=True)
class _Look:
    """A frame, looked at."""

    place: Place
    atoms: Atoms
    value: np.ndarray  # [atom]
    space: np.ndarray  # [atom, column], in which extrapolation is a length
    species: np.ndarray

    @property
    def largest(self) -> float:
        return float(self.value.max())

    @property
    def collapsed(self) -> bool:
        pair = closest_pair(self.atoms)
        return pair is not None and pair[2] < CLOSEST_A


def _worth_a_look(run: Run, number: int, known: TrainingRange, beyond: float) -> tuple[list[Place], int]:
    """Configurations to be evaluated, and how many the run has.

    Raises:
        TrajectoryError: none.
    """
    steps = np.asarray(run.trajectory_step)
    if run.stored_positions_A is None or len(steps) == 0:
        raise TrajectoryError(
            f"run file {run.path}",
            got="no stored configurations",
            wanted="some",
            todo="md stores them; record --positions",
        )
    every = [Place(number, frame, replica) for frame in range(len(steps)) for replica in range(run.n_replicas)]
    facts = run.metadata.get(RANGE_KEY)
    if "extrapolation" in run.observables and facts is not None and facts.get("digest") == known.digest:
        recorded, at = np.asarray(run.observable("extrapolation")), np.asarray(run.step)
        nearest = np.clip(np.searchsorted(at, steps), 0, len(at) - 1)
        values = recorded[nearest]  # [stored frame, replica]
        every = [place for place in every if not values[place.frame, place.replica] <= NEARLY * beyond]
    n_stored = len(steps) * run.n_replicas
    return every[:: max(1, -(-len(every) // MOST_EVALUATED))], n_stored


def _atoms(run: Run, place: Place) -> Atoms:
    """A stored configuration."""
    positions = np.array(run.positions_A[place.frame][place.replica], dtype=float)
    cell = run.cell_A
    if cell is not None and cell.ndim != 2:
        cell = cell[place.frame][place.replica]
    atoms = Atoms(np.asarray(run.numbers), positions, cell=None if cell is None else np.array(cell), pbc=run.pbc)
    charge = run.metadata.get("charge")
    if charge:
        atoms.info["charge"] = float(charge)
    return atoms


def _look(model: Potential, known: TrainingRange, atoms: Atoms) -> tuple[Atoms, np.ndarray, np.ndarray, np.ndarray]:
    """Extrapolation of every atom [atom], and where it lies in the space in which that is a length [atom, column]."""
    system = from_ase(atoms, device=model.device)
    neighbors = build_neighbors(system, model.cutoff).to(dtype=model.dtype)
    cast = system.to(dtype=model.dtype)
    species = model.species_index[cast.numbers]
    with torch.no_grad():
        pair = PairGeometry(cast, neighbors, model.cutoff)
        scalars = model.backbone(cast, species, neighbors, pair).scalars
        value = known(scalars, species, neighbors, pair.vectors).value
        nearest, _ = nearest_by_element(species, neighbors, pair.distance, model.cutoff, len(model.species))
        features = torch.einsum("ac,acw->aw", scalars - known.feature_mean[species], known.feature_whiten[species])
        lengths = torch.einsum("ac,acw->aw", nearest - known.nearest_mean[species], known.nearest_whiten[species])
    space = torch.cat([features, lengths], dim=1)
    found = (tensor.double().cpu().numpy() for tensor in (value, space))
    return (atoms, *found, atoms.numbers)


def _most_different(looks: Sequence[_Look], settings: ActiveSettings) -> list[_Look]:
    """Picks among frames beyond the edge."""
    if not looks:
        return []
    surroundings = Surroundings(
        np.concatenate([look.space for look in looks]),
        np.concatenate([look.species for look in looks]),
        np.repeat(np.arange(len(looks)), [len(look.value) for look in looks]),
    )
    values = np.concatenate([look.value for look in looks])
    start = np.where(values > settings.beyond, values, 0.0)  # atoms inside are known, wherever they are
    return [looks[number] for number in farthest_points(surroundings, settings.per_round, start, settings.alike)]


def _origin(run: Run, look: _Look) -> str:
    time_fs = float(np.asarray(run.trajectory_time_fs)[look.place.frame])
    replica = f", replica {run.replicas[look.place.replica]}" if run.n_replicas > 1 else ""
    return f"{run.path.name}{replica}, {time_fs:g} fs, extrapolation {look.largest:.3g}"


def first_configurations(run: Run, count: int) -> list[Atoms]:
    """The first stored configurations of a run's replicas, one after the other and again, ``count`` of them.

    Args:
        run: with stored configurations.
        count: how many.
    """
    return [_atoms(run, Place(0, 0, number % run.n_replicas)) for number in range(count)]
