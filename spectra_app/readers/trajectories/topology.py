"""The elements of formats that carry only coordinates, from a structure or topology file of ASE or MDAnalysis."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.data import atomic_masses, atomic_numbers

from spectra_app.errors import TrajectoryError
from spectra_app.readers.trajectories.virtual_sites import FileParticles, is_site_name, make_particles

MASS_TOLERANCE = 0.1  # amu; the closest pair of neighbours that matters, Co and Ni, is 0.24 apart


def read_topology(path: Path) -> FileParticles:
    """The particles of a structure or topology file; virtual sites are among them.

    Raises:
        TrajectoryError: unreadable, or an atom without an element.
    """
    if not path.is_file():
        raise TrajectoryError(f"topology {path}", got="no such file")
    try:
        atoms = next(iter(ase.io.iread(path, index=0)))
        # ASE guesses elements from names (MW becomes tungsten): the names are kept.
        names = [str(name) for name in atoms.arrays.get("atomtypes", atoms.get_chemical_symbols())]
        return make_particles(atoms.numbers, atoms.get_masses(), names, given=atoms.has("masses"))
    except Exception:  # not one of ASE's formats
        pass
    import MDAnalysis

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe = MDAnalysis.Universe(str(path), to_guess=())
    except Exception as error:
        raise TrajectoryError(
            f"topology {path}", got=f"{type(error).__name__}: {error}", wanted="a format of ASE or MDAnalysis"
        ) from None
    return _particles(universe.atoms, path)


def _particles(atoms: Any, path: Path) -> FileParticles:
    """Elements as given, else from masses; never guessed from names (CA: carbon or calcium?)."""
    names = [str(name) for name in atoms.names] if hasattr(atoms, "names") else [""] * len(atoms)
    masses = np.asarray(atoms.masses, dtype=np.float64) if hasattr(atoms, "masses") else np.full(len(atoms), np.nan)
    elements = [str(symbol).capitalize() for symbol in getattr(atoms, "elements", [""] * len(atoms))]
    numbers = np.array([atomic_numbers.get(symbol, 0) for symbol in elements])
    site = (masses == 0.0) | np.array([is_site_name(name) for name in names])
    missing = (numbers == 0) & ~site
    if missing.any() and np.isfinite(masses[missing]).all():
        table = np.asarray(atomic_masses)
        nearest = np.abs(table[None, 1:] - masses[missing, None]).argmin(axis=1) + 1
        fits = np.abs(table[nearest] - masses[missing]) < MASS_TOLERANCE
        numbers[np.flatnonzero(missing)[fits]] = nearest[fits]
        missing = (numbers == 0) & ~site
    if missing.any():
        raise TrajectoryError(
            f"topology {path}",
            got="atoms without element or mass",
            wanted="a file with the elements",
            todo="Give any structure file with the same order of atoms as --topology",
        )
    given = np.where(masses == 0.0, 0.0, np.asarray(atomic_masses)[numbers])
    return make_particles(numbers, given, names, given=True)
