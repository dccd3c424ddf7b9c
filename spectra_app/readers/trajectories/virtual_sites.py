"""Virtual sites of water models (the M of TIP4P, the lone pairs of TIP5P): they are no atoms and are left out.

A particle is one of them where

- its mass is given as zero; or
- it lies within 0.3 A of an oxygen, on the bisector of its two hydrogens, whatever it is called (0.15 A in TIP4P); or
- it has no element or the name of a site (MW, M, EP, LP1, VS, X, ...), and lies within 0.8 A of an oxygen (TIP5P: 0.7).

A particle without an element that is none of these is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from spectra_app.errors import TrajectoryError
from spectra_app.readers.trajectories.frames import Frame
from spectra_app.structure.neighbors import neighbor_pairs

SITE_NAME = re.compile(r"X|M|MW?\d*|[EI]PW?\d*|IW|LP[\dA-D]*|VSI?\d*|DUM\w*", re.IGNORECASE)
ON_BISECTOR_A = 0.3
NEAR_OXYGEN_A = 0.8
_BOND_A = 1.3  # longest O-H
_COSINE = 0.9


class FileParticles(NamedTuple):
    """What a file says of its particles.

    Attributes:
        numbers: [particle], atomic numbers; 0 where it gives no element.
        masses_amu: [particle], amu; of no meaning where ``numbers`` is 0.
        names: [particle], what it calls them; empty where it has no names besides the elements.
        massless: [particle], whether the file itself says that the mass is zero.
    """

    numbers: np.ndarray
    masses_amu: np.ndarray
    names: tuple[str, ...]
    massless: np.ndarray


def is_site_name(name: str) -> bool:
    """Whether virtual sites are called so."""
    return SITE_NAME.fullmatch(name.strip()) is not None


def make_particles(
    numbers: np.ndarray, masses_amu: np.ndarray | None = None, names: Sequence[str] = (), given: bool = False
) -> FileParticles:
    """FileParticles of a file.

    Args:
        numbers: [particle], atomic numbers.
        masses_amu: [particle], amu; None takes those of the elements.
        names: [particle], or none.
        given: the masses are the file's own, so that a zero means something.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    masses = np.asarray(atomic_masses)[numbers] if masses_amu is None else np.asarray(masses_amu, dtype=np.float64)
    return FileParticles(numbers, masses, tuple(names), (masses == 0.0) & given)


def particles_of_symbols(symbols: Sequence[str], path: Path) -> FileParticles:
    """FileParticles from chemical symbols, among which names of virtual sites may stand.

    Raises:
        TrajectoryError: neither an element nor a site.
    """
    unknown = sorted({symbol for symbol in symbols if symbol not in atomic_numbers and not is_site_name(symbol)})
    if unknown:
        raise TrajectoryError(f"elements of {path}", got=f"'{unknown[0]}'", wanted="chemical symbols")
    return make_particles(np.array([atomic_numbers.get(symbol, 0) for symbol in symbols]), names=symbols)


def find_virtual_sites(particles: FileParticles, first: Frame, path: Path) -> np.ndarray:
    """Which particles are virtual sites [particle], from what the file says of them and where they are.

    Args:
        particles: of the file.
        first: the first frame.
        path: for messages.

    Raises:
        TrajectoryError: a particle without an element that is no virtual site.
    """
    numbers, names = particles.numbers, particles.names
    named = np.array([is_site_name(name) for name in names]) if names else np.zeros(len(numbers), dtype=bool)
    distance, cosine = _place_at_oxygens(first, numbers, named | particles.massless)
    site = particles.massless | ((distance < ON_BISECTOR_A) & (cosine > _COSINE))
    site |= ((numbers == 0) | named) & (distance < NEAR_OXYGEN_A)
    strange = np.flatnonzero((numbers == 0) & ~site)
    if len(strange):
        name = f" ({names[int(strange[0])]})" if names else ""
        raise TrajectoryError(
            f"{path}, atom {strange[0]}{name}",
            got="no element, and no virtual site of a water molecule",
            wanted="an element",
        )
    return site


def _place_at_oxygens(first: Frame, numbers: np.ndarray, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest oxygen [particle], A, and cosine of its angle with the bisector of the two hydrogens."""
    distance, cosine = np.full(len(numbers), np.inf), np.zeros(len(numbers))
    cell = first.cell_A  # a slab's may lack a vector; what is wrong with others is said elsewhere
    cell = None if cell is None or abs(np.linalg.det(cell)) < 1e-3 else cell
    i, j, shift = neighbor_pairs(first.positions_A, cell, _BOND_A)
    vectors = first.positions_A[j] - first.positions_A[i] + (0.0 if cell is None else shift @ cell)
    lengths = np.linalg.norm(vectors, axis=1)
    oxygen = (numbers == 8) & ~sites
    bonds = oxygen[i] & (numbers[j] == 1) & ~sites[j] & (lengths > ON_BISECTOR_A)
    n_bonds = np.bincount(i[bonds], minlength=len(numbers))
    bisector = np.zeros((len(numbers), 3))
    np.add.at(bisector, i[bonds], vectors[bonds] / lengths[bonds, None])
    for pair in np.flatnonzero(oxygen[i] & ~oxygen[j]):
        centre, other, length = i[pair], j[pair], lengths[pair]
        if length < distance[other]:
            distance[other] = length
            size = float(np.linalg.norm(bisector[centre])) * length
            water = n_bonds[centre] == 2 and size > 0.0
            cosine[other] = float(vectors[pair] @ bisector[centre]) / size if water else 0.0
    return distance, cosine


def describe_sites(site: np.ndarray, names: Sequence[str]) -> str:
    """How many there were, and what they were called: ``64 virtual sites (MW) left out``."""
    called = sorted({names[k] for k in np.flatnonzero(site).tolist()}) if names else []
    count = int(site.sum())
    label = f" ({', '.join(called)})" if called else ""
    return f"{count} virtual {'site' if count == 1 else 'sites'}{label} left out"


def without_sites(read: Callable[[], Iterator[Frame]], atoms: np.ndarray) -> Callable[[], Iterator[Frame]]:
    """A reader of the atoms alone.

    Args:
        read: starts reading at the first frame.
        atoms: [particle], True for an atom.
    """

    def reading() -> Iterator[Frame]:
        for frame in read():
            if len(frame.positions_A) != len(atoms):
                raise TrajectoryError(
                    "a frame", got=f"{len(frame.positions_A)} particles", wanted=f"{len(atoms)}, virtual sites included"
                )
            velocities = frame.velocities_A_per_fs
            yield replace(
                frame,
                positions_A=frame.positions_A[atoms],
                velocities_A_per_fs=None if velocities is None else velocities[atoms],
            )

    return reading
