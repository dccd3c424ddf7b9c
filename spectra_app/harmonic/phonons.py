"""Phonons of a crystal by phonopy (extra ``phonopy``): force constants and the non-analytic term from the model.

Force constants are exact second derivatives: rows of the first cell's atoms in a supercell.  Sums over reciprocal
vectors leave out k = 0, so a supercell has no macroscopic field; what one adds at long waves is the non-analytic
term of the model's own Born charges (Gonze and Lee, Phys. Rev. B 55, 10355, 1997, as phonopy has it).  At wave vectors
that fit into a longer supercell both give the same: latent multipoles interact as the Born charges say (tests).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from spectra_app.errors import StructureError
from spectra_app.harmonic.derivatives import force_constants
from spectra_app.harmonic.representations import PER_CM_PER_THZ, phonopy_of
from spectra_app.structure.system import from_ase
from spectra_app.units import COULOMB_CONSTANT

Array = NDArray[np.float64]

_POINTS = 51  # along a segment of the path
_PITCH_THZ = 0.03  # of the density of states
_MESH = 20.0  # length that decides a mesh of wave vectors, A: as phonopy's --mesh with one number


@dataclass(frozen=True, eq=False)
class Phonons:
    """Phonons of a crystal.

    Attributes:
        supercell: repetitions of the cell.
        path: labels of the band structure's points, segments between commas, e.g. "GMKGA,LH".
        distances: [segment][point], A^-1, along the path.
        bands_per_cm: [segment][point, band], cm^-1; imaginary ones are negative.
        labels: name and distance of every point that has a name.
        dos_per_cm: [nu, 2], wavenumber, cm^-1, and states per cm^-1 and cell.
        lowest_per_cm: lowest frequency on the mesh, cm^-1.
        force_constants_eV_per_A2: [atom of the cell, atom of the supercell, xyz, xyz], eV/A^2, as the model gave them.
        phonopy: the ``phonopy.Phonopy`` behind it.
    """

    supercell: tuple[int, int, int]
    path: str
    distances: list[Array]
    bands_per_cm: list[Array]
    labels: list[tuple[str, float]]
    dos_per_cm: Array
    lowest_per_cm: float
    force_constants_eV_per_A2: Array
    phonopy: Any


def phonons(
    model: Any,
    atoms: Atoms,
    masses_amu: Array,
    supercell: tuple[int, int, int],
    born_e: Array | None,
    eps_inf: Array | None,
    progress: Callable[[int, int], None] | None = None,
    known: Array | None = None,
) -> Phonons:
    """Band structure and density of states of a relaxed cell.

    Args:
        model: a ``Potential``, best in float64.
        atoms: relaxed crystal.
        masses_amu: [atom], amu.
        supercell: repetitions of the cell in which force constants are computed.
        born_e: [atom, field, displacement], e; None: without the non-analytic term.
        eps_inf: [xyz, xyz]; None likewise.
        progress: called with the columns done and their number.
        known: force constants of an earlier call with this model, cell and supercell.

    Raises:
        MissingExtraError: phonopy is not installed.
        StructureError: not a crystal.
    """
    if not atoms.pbc.all():
        raise StructureError("phonons", got="no crystal", wanted="three periodic directions")
    made = phonopy_of(atoms, masses_amu, supercell)
    constants = _force_constants(model, made, progress) if known is None else known
    made.force_constants = np.ascontiguousarray(constants)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that phonopy is about to change
        made.symmetrize_force_constants()
        if born_e is not None and eps_inf is not None:
            made.nac_params = {"born": born_e, "dielectric": eps_inf, "factor": COULOMB_CONSTANT, "method": "gonze"}
        path, distances, bands, labels = _bands(made, atoms)
        made.run_mesh(_MESH)
        made.run_total_dos(freq_pitch=_PITCH_THZ)
        lowest = float(np.min(made.mesh.frequencies)) * PER_CM_PER_THZ
        dos = np.column_stack(
            [
                np.asarray(made.total_dos.frequency_points) * PER_CM_PER_THZ,
                np.asarray(made.total_dos.dos) / PER_CM_PER_THZ,
            ]
        )
    return Phonons(supercell, path, distances, bands, labels, dos, lowest, constants, made)


def _force_constants(model: Any, made: Any, progress: Callable[[int, int], None] | None) -> Array:
    """Rows of the first cell's atoms [atom of the cell, atom of the supercell, xyz, xyz], eV/A^2, phonopy's order."""
    large = made.supercell
    first = [int(place) for place in made.primitive.p2s_map]
    order = np.array(first + sorted(set(range(len(large))) - set(first)))
    whole = Atoms(numbers=large.numbers, positions=large.positions, cell=large.cell, pbc=True)[order]
    system = from_ase(whole, device=model.device, dtype=model.dtype)
    return force_constants(model, system, len(first), progress)[:, np.argsort(order)]


def _bands(made: Any, atoms: Atoms) -> tuple[str, list[Array], list[Array], list[tuple[str, float]]]:
    """Frequencies along ASE's path for the lattice (Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299, 2010)."""
    whole = atoms.cell.bandpath()
    segments, names = [], []
    for part in whole.path.split(","):
        points = _named(part)
        for start, end in itertools.pairwise(points):
            ends = np.array([whole.special_points[start], whole.special_points[end]])
            segments.append(ends[0] + np.linspace(0.0, 1.0, _POINTS)[:, None] * (ends[1] - ends[0]))
            names.append((start, end))
    made.run_band_structure(segments)
    found = made.band_structure
    distances = [np.asarray(one) for one in found.distances]
    labels: list[tuple[str, float]] = []
    for (start, end), places in zip(names, distances, strict=True):
        if labels and abs(labels[-1][1] - places[0]) < 1e-9 and labels[-1][0] != start:
            labels[-1] = (f"{labels[-1][0]}|{start}", labels[-1][1])
        elif not labels:
            labels.append((start, float(places[0])))
        labels.append((end, float(places[-1])))
    bands = [np.asarray(one) * PER_CM_PER_THZ for one in found.frequencies]
    return whole.path, distances, bands, labels


def _named(part: str) -> list[str]:
    """Names of points in one piece of a path: a letter with the digits behind it."""
    out: list[str] = []
    for letter in part:
        if letter.isdigit() and out:
            out[-1] += letter
        else:
            out.append(letter)
    return out
