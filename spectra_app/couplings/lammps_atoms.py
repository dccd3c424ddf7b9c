"""The atoms as LAMMPS holds them: units, types, images, and all of them gathered from the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from spectra_app.couplings.lammps_input import one_line
from spectra_app.errors import SimulationError, StructureError
from spectra_app.units import EV_TO_KCAL_PER_MOL

_MASS_TOLERANCE = 0.02  # relative, by which the mass of a type may differ from that of its element
_HEAVIEST_HYDROGEN_AMU = 3.1


class LammpsUnits(NamedTuple):
    """What LAMMPS's numbers are: energy unit per eV, time unit in fs (lengths are A in both styles)."""

    energy_per_eV: float
    time_fs: float


UNITS = {"metal": LammpsUnits(1.0, 1000.0), "real": LammpsUnits(EV_TO_KCAL_PER_MOL, 1.0)}
"""Unit styles that LAMMPS may be in (https://docs.lammps.org/units.html)."""


class Snapshot(NamedTuple):
    """All atoms in the order of their IDs, A and fs: unwrapped positions, half-step velocities, others' forces."""

    ids: np.ndarray
    numbers: np.ndarray
    masses_amu: np.ndarray
    positions_A: np.ndarray
    velocities_A_per_fs: np.ndarray
    forces_eV_per_A: np.ndarray
    cell_A: np.ndarray
    pbc: tuple[bool, bool, bool]


def take_snapshot(
    lmp: Any, units: LammpsUnits, numbers_of_type: np.ndarray, n_local: int, tag: np.ndarray, x: np.ndarray
) -> Snapshot:
    """All atoms of the cell, in the order of their IDs.

    Args:
        lmp: instance of LAMMPS.
        units: of it.
        numbers_of_type: [type + 1], atomic numbers.
        n_local: atoms of this rank.
        tag: [atom of this rank], their IDs.
        x: [atom of this rank, xyz], A, as LAMMPS has them, in the cell.

    Raises:
        SimulationError: IDs with gaps on several ranks.
    """
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    size = np.subtract(high, low)
    cell = np.array([[size[0], 0.0, 0.0], [xy, size[1], 0.0], [xz, yz, size[2]]])
    if lmp.extract_setting("world_size") > 1:
        n, columns = int(lmp.get_natoms()), {}
        try:
            for name, kind, count in (("type", 0, 1), ("image", 0, 3), ("x", 1, 3), ("v", 1, 3), ("f", 1, 3)):
                columns[name] = np.ctypeslib.as_array(lmp.gather(name, kind, count)).reshape(n, count)
        except Exception as error:  # the package raises its own kind, and plain Exception
            raise SimulationError(
                "atoms of LAMMPS on several ranks",
                got=one_line(error),
                wanted=f"IDs from 1 to {n}",
                todo="Say reset_atoms id in the input, or run on one rank",
            ) from None
        ids, types, images = np.arange(1, n + 1), columns["type"][:, 0], columns["image"]
        wrapped, v, f = columns["x"], columns["v"], columns["f"]
    else:
        order = np.argsort(tag)
        of = {name: lmp.numpy.extract_atom(name)[:n_local][order] for name in ("type", "image", "v", "f")}
        ids, types, images = tag[order], of["type"], unpacked_images(of["image"], lmp.extract_setting("imageint"))
        wrapped, v, f = np.array(x)[order], of["v"], of["f"]
    pbc = (bool(periodic[0]), bool(periodic[1]), bool(periodic[2]))
    return Snapshot(
        ids,
        numbers_of_type[types],
        masses_of_types(lmp)[types],
        wrapped + images @ cell,
        v / units.time_fs,
        f / units.energy_per_eV,
        cell,
        pbc,
    )


def masses_of_types(lmp: Any) -> np.ndarray:
    """[type + 1], amu; the first one is none."""
    masses = np.array(lmp.numpy.extract_atom("mass"), dtype=float).reshape(-1)
    return masses[: lmp.extract_setting("ntypes") + 1]


def numbers_of_types(masses_amu: np.ndarray, elements: Sequence[str] | None, known: Sequence[str]) -> np.ndarray:
    """Atomic numbers [type + 1] of LAMMPS's types; the first one is 0 and no type's.

    Args:
        masses_amu: [type + 1], amu; the first one is none.
        elements: chemical symbols of types 1, 2, ...; None tells them by the masses.
        known: elements of the model.

    Raises:
        StructureError: another number of elements than of types, no element of that name or mass, or a mass that is
            another element's.
    """
    n_types = len(masses_amu) - 1
    if elements is not None and len(elements) != n_types:
        raise StructureError(
            "elements of LAMMPS types",
            got=f"{len(elements)} ({', '.join(elements)})",
            wanted=f"{n_types}, one for each type",
            todo="Say for instance --elements O,H",
        )
    numbers = np.zeros(n_types + 1, dtype=np.int64)
    for place in range(1, n_types + 1):
        mass = float(masses_amu[place])
        if elements is None:
            fitting = [s for s in known if _fits(mass, atomic_numbers[s])]
            if len(fitting) != 1:
                raise StructureError(
                    f"LAMMPS type {place}",
                    got=f"mass {mass:g} amu",
                    wanted=f"that of one of {', '.join(known)}",
                    todo="Name the elements of all types with --elements",
                )
            numbers[place] = atomic_numbers[fitting[0]]
            continue
        symbol = elements[place - 1]
        if symbol not in atomic_numbers or symbol == "X":
            raise StructureError(f"element of LAMMPS type {place}", got=f"'{symbol}'", wanted="a chemical symbol")
        numbers[place] = atomic_numbers[symbol]
        if not _fits(mass, numbers[place]):
            raise StructureError(
                f"LAMMPS type {place}, element {symbol}",
                got=f"mass {mass:g} amu",
                wanted=f"about {atomic_masses[numbers[place]]:.4g} amu",
                todo="Check the order of --elements and the masses",
            )
    return numbers


def _fits(mass_amu: float, number: int) -> bool:
    """Whether a mass is that of an element; hydrogen may be heavy."""
    if number == 1:
        return 0.9 < mass_amu < _HEAVIEST_HYDROGEN_AMU
    return abs(mass_amu - atomic_masses[number]) < _MASS_TOLERANCE * atomic_masses[number]


def unpacked_images(packed: np.ndarray, n_bytes: int) -> np.ndarray:
    """Image flags [atom, vector] of LAMMPS's packed ones [atom] (10 bits each in four bytes, 21 in eight)."""
    bits = 10 if n_bytes == 4 else 21
    mask, zero = (1 << bits) - 1, 1 << (bits - 1)
    wide = np.asarray(packed).reshape(-1).astype(np.int64)
    return (
        np.stack([(wide >> (bits * axis)) & mask for axis in range(2)] + [(wide >> (2 * bits)) & mask], axis=1) - zero
    )
