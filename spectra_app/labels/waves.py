"""Copies of periodic structures with a wave of displacements along the cell, in pairs: longitudinal and transverse.

In a longitudinal wave the moved charges make an electric field along the wave, in a transverse one they make none,
while a network whose reach is a fraction of the wavelength sees nearly the same surroundings in both.  The difference
of their forces, which is what splits longitudinal from transverse optical modes, says how large Born charges are; in a
cell of two unit cells along each axis no frame does (docs/theory.md, "What forces say of charges").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from spectra_app.config import LabelSettings
from spectra_app.errors import StructureError
from spectra_app.labels.candidates import Candidate, check_structure
from spectra_app.runs.molecules import find_molecules, formula_of


def waves(candidates: Sequence[Candidate], settings: LabelSettings) -> list[Candidate]:
    """Copies in which every element, and every kind of molecule as a whole, moves in one wave along the cell.

    The wave is as long as the cell in that periodic direction in which its faces are farthest apart.  Both copies of a
    pair have the same amplitudes, uniform within ``wave_amplitude_A`` for each element of a network or ion and each
    kind of molecule, and the same phase; the structures are taken in turn.

    Args:
        candidates: the structures.
        settings: ``waves`` (of copies, an odd one ends with a longitudinal one), ``wave_amplitude_A``, ``seed``.

    Raises:
        StructureError: no structure is periodic, or copies whose atoms lie on top of each other.
    """
    if not settings.waves:
        return []
    periodic = [candidate for candidate in candidates if candidate.atoms.pbc.any()]
    if not periodic:
        raise StructureError("waves", got="open structures only", wanted="a periodic one, long in one direction")
    made = []
    for number in range(settings.waves):
        pair, transverse = divmod(number, 2)
        candidate = periodic[pair % len(periodic)]
        rng = np.random.default_rng([settings.seed, 3, pair])
        along, length = _longest(candidate.atoms)
        atoms = candidate.atoms.copy()
        heights = _heights(atoms, along / length, settings.wave_amplitude_A, rng)  # first: the same in both of a pair
        atoms.positions += heights[:, None] * (_perpendicular(along, rng) if transverse else along)
        words = "transverse" if transverse else "longitudinal"
        origin = f"{candidate.origin}; {words} wave of {length:.1f} A, pair {pair}"
        check_structure(atoms, origin)
        made.append(Candidate(atoms, origin))
    return made


def _longest(atoms: Atoms) -> tuple[np.ndarray, float]:
    """Unit vector normal to the faces that are farthest apart, of the periodic directions, and how far they are, A."""
    reciprocal = atoms.cell.complete().reciprocal().array[atoms.pbc]
    shortest = reciprocal[np.linalg.norm(reciprocal, axis=1).argmin()]
    norm = float(np.linalg.norm(shortest))
    return shortest / norm, 1.0 / norm


def _perpendicular(along: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random unit vector across another one."""
    across = np.cross(along, rng.normal(size=3))
    return np.asarray(across / np.linalg.norm(across))


def _heights(atoms: Atoms, wave: np.ndarray, largest_A: float, rng: np.random.Generator) -> np.ndarray:
    """[atom] displacement of a wave cos(2 pi wave.r + phase), with an amplitude for each group, A.

    Args:
        atoms: the structure.
        wave: [xyz], 1/A.
        largest_A: bound of the amplitudes.
        rng: of phase and amplitudes.
    """
    cell = atoms.cell.complete().array
    found = find_molecules(atoms.positions, atoms.numbers, cell)
    whole = atoms.positions + found.shift @ cell
    names, centres = np.array(atoms.get_chemical_symbols(), dtype=object), whole.copy()
    for number in np.unique(found.number):
        members = np.flatnonzero(found.number == number)
        one = find_molecules(atoms.positions[members], atoms.numbers[members], cell)
        if len(members) > 1 and not one.endless:
            names[members] = formula_of([str(symbol) for symbol in names[members]])
            centres[members] = whole[members].mean(axis=0)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    amplitude = {name: rng.uniform(-largest_A, largest_A) for name in sorted(set(names))}
    return np.array([amplitude[name] for name in names]) * np.cos(2.0 * np.pi * centres @ wave + phase)
