"""Clusters of molecules: sampled molecules, and ions, at chosen distances from each other, turned at random.

Where no atom of one molecule is within a network's cutoff of another one, no message passes between them, and what
one does to the other can only be said by charges, multipoles and their response.  A molecule alone teaches none of
these: whatever its charges do inside it the network can say as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from spectra_app.config import LabelSettings
from spectra_app.errors import ConfigError, DatasetError, StructureError
from spectra_app.labels.calculation import ION_CHARGE
from spectra_app.labels.candidates import Candidate, check_structure

NO_ION = "none"  # in the turn of ions: a cluster without one
_ION = re.compile(r"([A-Z][a-z]?)(\d?)([+-])")


def clusters(molecules: Sequence[Candidate], settings: LabelSettings) -> list[Candidate]:
    """Clusters of molecules, each turned at random and brought up to the others along a random direction.

    Every molecule is used as often as any other one; the nearest atoms of a molecule and of those that are there
    already are ``cluster_gap_A`` apart, uniform between its two numbers.  Cluster number k is the same whatever their
    number.

    Args:
        molecules: open structures; their total charges add up, and their spins are parallel.
        settings: ``clusters``, ``cluster_molecules``, ``cluster_gap_A``, ``cluster_ions``, ``seed``.

    Raises:
        StructureError: a molecule that is periodic.
        ConfigError: an ion that is none.
        DatasetError: a total charge for clusters with ions, whose charges add up otherwise.
    """
    ions = ions_of(molecules, settings)
    least, most = settings.cluster_sizes
    made, order = [], _Turns(len(molecules), settings.seed)
    for number in range(settings.clusters or 0):
        rng = np.random.default_rng([settings.seed, 2, number])
        parts = [molecules[order.next()] for _ in range(int(rng.integers(least, most + 1)))]
        beside = ions[number % len(ions)] if ions else None
        if beside is not None:
            parts.append(beside)
        made.append(_joined(parts, settings.cluster_gaps_A, rng, number))
        if beside is not None:
            made[-1].atoms.info[ION_CHARGE] = beside.atoms.info["charge"]
    return made


def ions_of(molecules: Sequence[Candidate], settings: LabelSettings) -> list[Candidate | None]:
    """The ions that stand in turn in the clusters; refuses, before anything is sampled, what makes no cluster.

    Args:
        molecules: as of ``clusters``, sampled or not yet.
        settings: as of ``clusters``.

    Raises:
        StructureError, ConfigError, DatasetError: as of ``clusters``.
    """
    for molecule in molecules:
        if molecule.atoms.pbc.any():
            raise StructureError(
                f"{molecule.origin}, in clusters", got="a periodic structure", wanted="a molecule without cell"
            )
    ions = [None if name == NO_ION else ion(name) for name in settings.cluster_ions]
    if settings.charge is not None and (settings.charge or ions):
        raise DatasetError(
            "charge of clusters",
            got=f"{settings.charge:g} e for every structure",
            wanted="those of the molecules, which add up",
            todo="Leave --charge away and let the files of the structures say 'charge'",
        )
    return ions


def ion(name: str) -> Candidate:
    """A single charged atom.

    Args:
        name: its element and charge: ``Cl-``, ``Na+``, ``Mg2+``.

    Raises:
        ConfigError: another word.
    """
    found = _ION.fullmatch(name)
    if found is None or found[1] not in atomic_numbers or found[2] == "0":
        raise ConfigError("cluster_ions", got=repr(name), wanted="an element and a charge: Cl-, Na+, Mg2+; or none")
    atoms = Atoms(found[1], [[0.0, 0.0, 0.0]])
    atoms.info["charge"] = float(found[2] or 1) * (1.0 if found[3] == "+" else -1.0)
    return Candidate(atoms, name)


class _Turns:
    """Numbers below a count in a random order, again and again."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._rng = count, np.random.default_rng([seed, 3])
        self._left: list[int] = []

    def next(self) -> int:
        if not self._left:
            self._left = self._rng.permutation(self._count).tolist()
        return self._left.pop()


def _joined(
    parts: Sequence[Candidate], gaps_A: tuple[float, float], rng: np.random.Generator, number: int
) -> Candidate:
    """The molecules of one cluster, put together."""
    numbers = np.concatenate([part.atoms.numbers for part in parts])
    placed = _turned(parts[0].atoms.positions, rng)
    for part in parts[1:]:
        new = _turned(part.atoms.positions, rng) + placed[rng.integers(len(placed))]
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        placed = np.concatenate([placed, new + approach(placed, new, direction, rng.uniform(*gaps_A)) * direction])
    atoms = Atoms(numbers, placed)
    charges = [part.atoms.info.get("charge") for part in parts]
    if any(charge is not None for charge in charges):
        atoms.info["charge"] = float(sum(charge or 0.0 for charge in charges))
    spins = [part.atoms.info.get("multiplicity") for part in parts]
    if any(spin is not None for spin in spins):
        atoms.info["multiplicity"] = 1 + sum((spin or 1) - 1 for spin in spins)
    origin = f"cluster {number} of {' + '.join(part.origin for part in parts)}"
    check_structure(atoms, origin)
    return Candidate(atoms, origin)


def _turned(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions [atom, xyz] about their middle, A, turned at random: every orientation is as likely as any other."""
    a, b, c, d = (quaternion := rng.normal(size=4)) / np.linalg.norm(quaternion)
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
    return (positions - positions.mean(axis=0)) @ turn.T


def approach(there: np.ndarray, new: np.ndarray, direction: np.ndarray, gap_A: float) -> float:
    """How far a molecule has to be moved along a direction so that its nearest atom is a gap away, coming from outside.

    Args:
        there: [atom, xyz], A, atoms that stay.
        new: [atom, xyz], A, those that move.
        direction: [xyz], of unit length.
        gap_A: A; with no pair that near on the whole way, the nearest approach is where they stop.

    Returns:
        the distance t, A: the largest one at which |there - new - t direction| is the gap for a pair.
    """
    between = there[:, None] - new[None]  # [there, new, xyz]
    along = between @ direction
    beside = np.einsum("ijx,ijx->ij", between, between) - along**2  # squares of the smallest distances
    met = beside < gap_A**2
    if not met.any():
        return float(along.flat[int(beside.argmin())])
    return float((along[met] + np.sqrt(gap_A**2 - beside[met])).max())
