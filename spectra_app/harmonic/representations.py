"""Names of the irreducible representations of a crystal's modes at the zone centre, by phonopy (extra ``phonopy``)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from spectra_app.errors import MissingExtraError
from spectra_app.harmonic.modes import NormalModes
from spectra_app.units import angular_frequency_to_wavenumber

_NEAR_PER_CM = 0.5
_THZ = angular_frequency_to_wavenumber(2.0 * np.pi * 1e-3)  # cm^-1 of 1 THz


def phonopy_of(atoms: Atoms, masses_amu: NDArray[np.float64], hessian_eV_per_A2: NDArray[np.float64]) -> Any:
    """A ``phonopy.Phonopy`` of a cell and its force constants at the zone centre.

    Args:
        atoms: the cell.
        masses_amu: [atom], amu.
        hessian_eV_per_A2: [3 atom, 3 atom], eV/A^2.

    Raises:
        MissingExtraError: phonopy is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise MissingExtraError("phonopy", "phonopy") from None
    cell = PhonopyAtoms(
        numbers=atoms.numbers,
        cell=np.asarray(atoms.cell.array),
        scaled_positions=atoms.get_scaled_positions(),
        masses=masses_amu,
    )
    n = len(atoms)
    phonons = Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    phonons.force_constants = hessian_eV_per_A2.reshape(n, 3, n, 3).transpose(0, 2, 1, 3).copy()
    return phonons


def representations(atoms: Atoms, modes: NormalModes, hessian_eV_per_A2: NDArray[np.float64]) -> tuple[str | None, ...]:
    """Name of each mode's representation, e.g. "A2" or "E"; None where phonopy knows none (accidental degeneracy).

    Args:
        atoms: the cell.
        modes: of it.
        hessian_eV_per_A2: [3 atom, 3 atom], eV/A^2.

    Raises:
        MissingExtraError: phonopy is not installed.
    """
    phonons = phonopy_of(atoms, modes.masses_amu, hessian_eV_per_A2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are to vanish in one version and are missing in another
        try:
            getattr(phonons, "run_irreps", phonons.set_irreps)([0.0, 0.0, 0.0])
        except Exception:  # a cell that is no primitive one of its group, or a group that phonopy has no table of
            return (None,) * len(modes.frequencies_per_cm)
        found = phonons.irreps
        frequencies = np.asarray(found.frequencies) * _THZ
    names = getattr(found, "_ir_labels", None) or [None] * len(found.band_indices)  # without a public name
    centres = np.array([frequencies[list(bands)].mean() for bands in found.band_indices])
    out: list[str | None] = []
    for frequency in modes.frequencies_per_cm:
        near = int(np.abs(centres - frequency).argmin())
        out.append(names[near] if abs(centres[near] - frequency) < _NEAR_PER_CM else None)
    return tuple(out)
