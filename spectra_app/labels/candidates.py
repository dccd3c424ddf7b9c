"""Structures that may be labelled: those of a file, and copies of them with noise and strain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from ase.io import iread, string2index

from spectra_app.config import LabelSettings
from spectra_app.errors import StructureError

CLOSEST_A = 0.4  # no bond is shorter (H2: 0.74 A)


@dataclass(frozen=True)
class Candidate:
    """A structure that may be labelled.

    Attributes:
        atoms: positions, cell, boundaries; in ``info`` total ``charge`` (e) and ``multiplicity`` where they are known.
        origin: where it comes from, in words.
    """

    atoms: Atoms
    origin: str


def read_candidates(paths: Sequence[Path], settings: LabelSettings) -> list[Candidate]:
    """All frames of structure files, in any format of ASE; ``file@index`` takes some of them.

    Args:
        paths: files.
        settings: total charge and multiplicity, where they are given.

    Raises:
        StructureError: no such file, no frame, a frame that cannot be read, or one that no calculation can treat.
    """
    found: list[Candidate] = []
    for path in paths:
        for number, atoms in _frames(path):
            name = f"{_split(path)[0].name}, frame {number}"
            check_structure(atoms, name)
            found.append(Candidate(_plain(atoms, settings, name), name))
    if not found:
        raise StructureError(f"structures {' '.join(map(str, paths))}", got="no frame", wanted="one at least")
    return found


def given_candidates(structures: Sequence[Atoms | Candidate], settings: LabelSettings) -> list[Candidate]:
    """As ``read_candidates`` of structures in memory, or of candidates with their origin.

    Raises:
        StructureError: no structure, something else, or one that no calculation can treat.
    """
    found = []
    for number, given in enumerate(structures):
        atoms, name = given, f"structure {number}"
        if isinstance(given, Candidate):
            atoms, name = given.atoms, given.origin
        if not isinstance(atoms, Atoms):
            raise StructureError(name, got=type(atoms).__name__, wanted="Atoms of ASE, or a file")
        check_structure(atoms, name)
        found.append(Candidate(_plain(atoms, settings, name), name))
    if not found:
        raise StructureError("structures", got="none", wanted="one at least")
    return found


def _frames(path: Path) -> Iterator[tuple[int, Atoms]]:
    """Frames of a file with their numbers in it.

    Raises:
        StructureError: no such file, or one that cannot be read to its end.
    """
    name, index = _split(path)
    if not name.is_file():
        raise StructureError(f"structure {name}", got="no such file", wanted="a structure file that ASE reads")
    try:
        chosen = string2index(index)
    except ValueError:
        chosen = index
    if isinstance(chosen, str):  # ASE takes other words for queries of data bases
        raise StructureError(f"structure {path}", got=f"frames '{index}'", wanted="a number, or begin:end:step")
    first, step = (chosen.start or 0, chosen.step or 1) if isinstance(chosen, slice) else (chosen, 1)
    count = 0
    try:
        for count, atoms in enumerate(iread(str(name), index=index), start=1):
            yield (first if first >= 0 else 0) + (count - 1) * step, atoms
    except StructureError:
        raise
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        good = f"unreadable after {count} frame{'' if count == 1 else 's'}" if count else "unreadable"
        raise StructureError(
            f"structure {name}",
            got=f"{good} ({type(error).__name__}: {error})"[:200],
            wanted="extxyz, CIF, POSCAR or another format of ASE",
            todo=f"Repair it, or take the frames before: '{name}@:{count}'" if count else None,
        ) from None


def _split(path: Path) -> tuple[Path, str]:
    """A file, and which of its frames."""
    name, at, index = str(path).rpartition("@")
    return (Path(name), index) if at and not Path(path).is_file() else (Path(path), ":")


def _plain(atoms: Atoms, settings: LabelSettings, name: str) -> Atoms:
    """Positions, cell, boundaries, total charge and multiplicity, nothing else."""
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
    charge = settings.charge if settings.charge is not None else atoms.info.get("charge")
    spin = settings.multiplicity
    if spin is None:
        spin = atoms.info.get("multiplicity", atoms.info.get("spin"))
    for key, value in (("charge", charge), ("multiplicity", spin)):
        if value is None:
            continue
        number = float(value) if isinstance(value, int | float | np.number) else np.nan
        if not np.isfinite(number):
            raise StructureError(f"{name}, {key}", got=repr(value), wanted="a number")
        plain.info[key] = number if key == "charge" else int(number)
    return plain


def check_structure(atoms: Atoms, name: str) -> None:
    """Refuse a structure that no calculation can treat.

    Args:
        atoms: the structure.
        name: how it is called in an error.

    Raises:
        StructureError: no atoms, NaN, or two atoms on top of each other.
    """
    if len(atoms) == 0:
        raise StructureError(name, got="no atoms", wanted="a structure")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise StructureError(name, got="positions or a cell that are not finite", wanted="numbers in A")
    if atoms.pbc.any() and any(length < 1e-3 for length, on in zip(atoms.cell.lengths(), atoms.pbc, strict=True) if on):
        raise StructureError(name, got="a periodic direction without cell vector", wanted="a cell, A")
    pair = closest_pair(atoms)
    if pair is not None and pair[2] < CLOSEST_A:
        first, second, distance = pair
        raise StructureError(
            f"{name}, atoms {first} and {second}", got=f"{distance:.2f} A apart", wanted=f"at least {CLOSEST_A} A"
        )


def closest_pair(atoms: Atoms) -> tuple[int, int, float] | None:
    """The two atoms that are nearest to each other, and how far apart they are, A; None of a single atom."""
    if len(atoms) < 2:
        return None
    distances = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)[1]
    np.fill_diagonal(distances, np.inf)
    first, second = np.unravel_index(int(distances.argmin()), distances.shape)
    return int(min(first, second)), int(max(first, second)), float(distances.min())


def copies(candidates: Sequence[Candidate], settings: LabelSettings) -> list[Candidate]:
    """Copies with strain and noise; the same for the same seed, whatever else is sampled.

    A strain e is symmetric, its six components uniform within ``strain_percent``; the cell becomes h (1 + e) and the
    atoms follow it.  Slabs are strained in their plane, open structures not at all.

    Args:
        candidates: the structures.
        settings: ``rattle_A``, ``strain_percent``, ``copies``, ``seed``.

    Raises:
        StructureError: strain without any periodic structure, or copies whose atoms lie on top of each other.
    """
    if settings.rattle_A is None and settings.strain_percent is None:
        return []
    if settings.rattle_A is None and not any(candidate.atoms.pbc.any() for candidate in candidates):
        raise StructureError(
            "strain_percent", got="open structures only", wanted="a periodic one", todo="Take rattle_A for molecules"
        )
    made = []
    for number, candidate in enumerate(candidates):
        for copy in range(settings.copies):
            rng = np.random.default_rng([settings.seed, number, copy])
            atoms, words = candidate.atoms.copy(), []
            if settings.strain_percent is not None and atoms.pbc.any():
                atoms.set_cell(atoms.cell.array @ (np.eye(3) + _strain(atoms, settings, rng)), scale_atoms=True)
                words.append(f"strain {settings.strain_percent:g} %")
            if settings.rattle_A is not None:
                atoms.positions += rng.normal(scale=settings.rattle_A, size=atoms.positions.shape)
                words.append(f"rattle {settings.rattle_A:g} A")
            if not words:
                continue
            origin = f"{candidate.origin}; {', '.join(words)}, copy {copy}"
            check_structure(atoms, origin)
            made.append(Candidate(atoms, origin))
    return made


def _strain(atoms: Atoms, settings: LabelSettings, rng: np.random.Generator) -> np.ndarray:
    """A random symmetric strain [xyz, xyz] that leaves open directions alone."""
    assert settings.strain_percent is not None
    half = rng.uniform(-1.0, 1.0, size=(3, 3)) * settings.strain_percent / 100.0
    strain = np.triu(half) + np.triu(half, 1).T
    along = atoms.cell.array[atoms.pbc]
    basis = np.linalg.qr(along.T)[0]  # orthonormal, of the periodic directions
    projector = basis @ basis.T
    return projector @ strain @ projector
