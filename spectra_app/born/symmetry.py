"""Averaging Born charges over the space group of a crystal (spglib, an optional package).

An operation r -> R r + t carries atom i onto atom j and rotates polarization and displacement alike, so that
Z*_j = R Z*_i R^T: both indices turn.  The average over all operations is the projection onto the tensors that the
crystal allows (Nye, Physical Properties of Crystals, 1985, ch. I).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from spectra_app.born.tensors import Array, IntArray
from spectra_app.errors import MissingExtraError, StructureError


@dataclass(frozen=True, eq=False)
class CrystalSymmetry:
    """Space-group operations of one structure.

    Attributes:
        spacegroup: international symbol and number, e.g. "P3_121 (152)".
        rotations: [operation, xyz, xyz]; Cartesian, r -> R r.
        permutations: [operation, atom]; atom ``permutations[k, i]`` is the one that operation k carries atom i onto.
        independent: [orbit]; the first atom of every orbit, ascending (the order of phonopy's BORN file).
        orbit_of: [atom]; the first atom of the orbit that an atom belongs to.
        wyckoff: [atom]; multiplicity in the conventional cell and Wyckoff letter, e.g. "6c".
        site_symmetry: [atom]; symbol of the site's point group.
        site_of: [atom]; the first atom of the crystal's orbit, which a supercell of lower symmetry may split.
    """

    spacegroup: str
    rotations: Array
    permutations: IntArray
    independent: IntArray
    orbit_of: IntArray
    wyckoff: tuple[str, ...] = ()
    site_symmetry: tuple[str, ...] = ()
    site_of: tuple[int, ...] = ()


def find_symmetry(positions_A: Array, numbers: IntArray, cell_A: Array, tolerance_A: float = 1e-3) -> CrystalSymmetry:
    """Space-group operations of a periodic structure.

    Args:
        positions_A: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell_A: [vector, xyz], A, row vectors.
        tolerance_A: A; how far an atom may be from where an operation puts it.

    Raises:
        MissingExtraError: spglib is not installed.
        StructureError: spglib finds no symmetry (atoms overlap, flat cell), or its operations do not map the atoms.
    """
    try:
        import spglib
    except ImportError:
        raise MissingExtraError("spglib", "phonopy") from None

    fractional = np.asarray(positions_A, dtype=np.float64) @ np.linalg.inv(cell_A)
    structure = (np.asarray(cell_A, dtype=np.float64), fractional, np.asarray(numbers))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 2.7 and later warn of their old way to report failure
            dataset = spglib.get_symmetry_dataset(structure, symprec=tolerance_A)  # type: ignore[arg-type]  # arrays are fine
    except Exception as error:  # 2.7 and later may raise classes of their own, older versions return None
        raise _no_symmetry(str(error)) from None
    if dataset is None:
        raise _no_symmetry("spglib found no space group")
    rotations = np.asarray(dataset.rotations, dtype=np.float64)
    translations = np.asarray(dataset.translations, dtype=np.float64)
    permutations = _permutations(fractional, numbers, cell_A, rotations, translations, tolerance_A)
    orbit_of = permutations.min(axis=0)  # the group maps every atom onto all members of its orbit
    conventional = len(dataset.std_types) / len(numbers)  # atoms of the conventional cell for each one here
    orbits = [list(dataset.crystallographic_orbits).count(orbit) for orbit in dataset.crystallographic_orbits]
    return CrystalSymmetry(
        spacegroup=f"{dataset.international} ({dataset.number})",
        rotations=_cartesian(rotations, cell_A),
        permutations=permutations,
        independent=np.unique(orbit_of),
        orbit_of=orbit_of,
        wyckoff=tuple(
            f"{round(size * conventional)}{letter}" for size, letter in zip(orbits, dataset.wyckoffs, strict=True)
        ),
        site_of=tuple(int(orbit) for orbit in dataset.crystallographic_orbits),
        site_symmetry=tuple(str(symbol) for symbol in dataset.site_symmetry_symbols),
    )


def average_over_symmetry(born: Array, symmetry: CrystalSymmetry) -> Array:
    """Born charges averaged over the space group: Z*_j = mean over operations of R Z*_i R^T with i -> j.

    Args:
        born: [atom, field, displacement], e.
        symmetry: operations from :func:`find_symmetry`.

    Returns:
        [atom, field, displacement], e.
    """
    total = np.zeros_like(born)
    for rotation, permutation in zip(symmetry.rotations, symmetry.permutations, strict=True):
        total[permutation] += rotation @ born @ rotation.T  # [atom, field, displacement]; a permutation never repeats
    return np.asarray(total / len(symmetry.rotations))


def average_tensor(tensor: Array, symmetry: CrystalSymmetry) -> Array:
    """A property tensor of the crystal (eps_inf, polarizability) averaged over its point group.

    Args:
        tensor: [xyz, xyz].
        symmetry: operations from :func:`find_symmetry`.
    """
    return np.asarray(np.mean(symmetry.rotations @ tensor @ np.swapaxes(symmetry.rotations, 1, 2), axis=0))


def _cartesian(rotations: Array, cell_A: Array) -> Array:
    """Fractional rotations W (columns) as Cartesian ones, R = A W A^-1 with the cell vectors as columns of A."""
    columns = np.asarray(cell_A, dtype=np.float64).T
    cartesian = columns @ rotations @ np.linalg.inv(columns)
    # A cell symmetric only within the tolerance gives slightly sheared "rotations"; the nearest orthogonal matrix keeps
    # the tensors' norm.
    left, _, right = np.linalg.svd(cartesian)
    return np.asarray(left @ right)


def _permutations(
    fractional: Array, numbers: IntArray, cell_A: Array, rotations: Array, translations: Array, tolerance_A: float
) -> IntArray:
    wrapped = np.mod(fractional, 1.0)
    wrapped[wrapped >= 1.0] = 0.0  # np.mod of -1e-17 is 1.0, which a periodic tree refuses
    tree = cKDTree(wrapped, boxsize=1.0)
    permutations = np.empty((len(rotations), len(numbers)), dtype=np.int64)
    for k, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        images = fractional @ rotation.T + translation
        images = np.mod(np.mod(images, 1.0), 1.0)
        _, targets = tree.query(images)
        shift = images - wrapped[targets]
        distance = np.linalg.norm((shift - np.round(shift)) @ cell_A, axis=1)
        # spglib's own test allows each atom the tolerance; twice that is a safe margin for our nearest-atom search.
        if distance.max() > 2.0 * tolerance_A or len(set(targets.tolist())) != len(numbers):
            raise _no_symmetry(f"operation {k} leaves an atom {distance.max():.2g} A from the nearest one")
        if (numbers[targets] != numbers).any():
            raise _no_symmetry(f"operation {k} exchanges elements")
        permutations[k] = targets
    return permutations


def _no_symmetry(reason: str) -> StructureError:
    return StructureError(
        "crystal symmetry",
        got=reason,
        wanted="a periodic structure with a space group",
        todo="Change the tolerance, or export without symmetry",
    )
