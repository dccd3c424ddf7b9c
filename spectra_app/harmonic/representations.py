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
PER_CM_PER_THZ = angular_frequency_to_wavenumber(2.0 * np.pi * 1e-3)


def phonopy_of(atoms: Atoms, masses_amu: NDArray[np.float64], supercell: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """A ``phonopy.Phonopy`` of a cell that is its own primitive one.

    Args:
        atoms: the cell.
        masses_amu: [atom], amu.
        supercell: repetitions in which force constants are given.

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
    return Phonopy(cell, np.diag(supercell), primitive_matrix=np.eye(3))


def phonopy_at_centre(atoms: Atoms, masses_amu: NDArray[np.float64], hessian_eV_per_A2: NDArray[np.float64]) -> Any:
    """A ``phonopy.Phonopy`` of a cell with its force constants at the zone centre [3 atom, 3 atom], eV/A^2.

    Raises:
        MissingExtraError: phonopy is not installed.
    """
    phonons, n = phonopy_of(atoms, masses_amu), len(atoms)
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
    phonons = phonopy_at_centre(atoms, modes.masses_amu, hessian_eV_per_A2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are to vanish in one version and are missing in another
        try:
            getattr(phonons, "run_irreps", phonons.set_irreps)([0.0, 0.0, 0.0])
        except Exception:  # a cell that is no primitive one of its group, or a group that phonopy has no table of
            return (None,) * len(modes.frequencies_per_cm)
        found = phonons.irreps
        frequencies = np.asarray(found.frequencies) * PER_CM_PER_THZ
    names = getattr(found, "_ir_labels", None) or [None] * len(found.band_indices)  # without a public name
    centres = np.array([frequencies[list(bands)].mean() for bands in found.band_indices])
    out: list[str | None] = []
    for frequency in modes.frequencies_per_cm:
        near = int(np.abs(centres - frequency).argmin())
        out.append(names[near] if abs(centres[near] - frequency) < _NEAR_PER_CM else None)
    return tuple(out)
