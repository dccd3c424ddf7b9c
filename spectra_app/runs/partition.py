"""Parts of a structure: molecules or atoms whose contributions to dipole and polarizability are to be recorded."""

from __future__ import annotations

import numpy as np
import torch
from ase.data import chemical_symbols

from spectra_app.errors import StructureError
from spectra_app.runs.layout import Level, Parts
from spectra_app.runs.molecules import find_molecules, formula_of
from spectra_app.structure.system import System


def find_parts(
    level: Level, positions_A: np.ndarray, numbers: np.ndarray, cell_A: np.ndarray | None
) -> tuple[Parts, np.ndarray]:
    """The parts of a structure, and the cell shifts that make its molecules whole.

    Whole molecules have dipoles of their own, and P of a cell that breathes does not jump with the images of their
    atoms.

    Args:
        level: what a part is.
        positions_A: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell_A: [vector, xyz], A, or None.

    Returns:
        the parts; integer shift [atom, vector].

    Raises:
        StructureError: molecules are wanted of a network that has none.
    """
    molecules = find_molecules(positions_A, numbers, cell_A)
    symbols = [chemical_symbols[z] for z in numbers.tolist()]
    if level == "atoms":
        return Parts(
            level, np.arange(len(numbers)), tuple(symbols), None if molecules.endless else molecules.number
        ), molecules.shift
    if molecules.endless:
        raise StructureError(
            "parts molecules",
            got="bonds that run through the whole cell, a network",
            wanted="molecules that end",
            todo="Record --parts atoms",
        )
    n_molecules = int(molecules.number.max()) + 1
    members: list[list[str]] = [[] for _ in range(n_molecules)]
    for symbol, molecule in zip(symbols, molecules.number.tolist(), strict=True):
        members[molecule].append(symbol)
    kinds = tuple(formula_of(names) for names in members)
    return Parts(level, molecules.number, kinds, np.arange(n_molecules)), molecules.shift


def common_parts(level: Level, system: System) -> tuple[System, Parts]:
    """The parts of replicas, and the replicas with their molecules whole.

    Args:
        level: what a part is.
        system: replicas of one composition, each bonded in its own place.

    Raises:
        StructureError: molecules are wanted of a network; or the replicas are bonded in different ways.
    """
    n_atoms = system.sizes[0]
    numbers = system.numbers[:n_atoms].cpu().numpy()
    cells, positions = system.cell.cpu().numpy(), system.positions.cpu().numpy().reshape(-1, n_atoms, 3)
    periodic = bool(system.periodic[0])
    found = [
        find_parts(level, place, numbers, cell if periodic else None)
        for place, cell in zip(positions, cells, strict=True)
    ]
    parts = found[0][0]
    for replica, (other, _) in enumerate(found):
        first, second = parts.molecules, other.molecules
        same = np.array_equal(parts.atom_part, other.atom_part)
        if not same or not np.array_equal(first if first is not None else (), second if second is not None else ()):
            raise StructureError(
                f"parts of replica {replica}", got="bonds between other atoms", wanted="the bonds of replica 0"
            )
    whole = np.stack([place + shift @ cell for place, (_, shift), cell in zip(positions, found, cells, strict=True)])
    return system._replace(positions=torch.from_numpy(whole.reshape(-1, 3)).to(system.positions)), parts


def whole_molecules(system: System) -> System:
    """Replicas with their molecules whole; networks, and structures without a cell, as they are.

    The dipole of a liquid whose molecules are whole has no offset from the choice of images: its mean is zero.

    Args:
        system: replicas of one composition.
    """
    if not bool(system.periodic[0]):
        return system
    n_atoms = system.sizes[0]
    numbers = system.numbers[:n_atoms].cpu().numpy()
    pieces = []
    for place, cell in zip(
        system.positions.cpu().numpy().reshape(-1, n_atoms, 3), system.cell.cpu().numpy(), strict=True
    ):
        molecules = find_molecules(place, numbers, cell)
        pieces.append(place if molecules.endless else place + molecules.shift @ cell)
    return system._replace(positions=torch.from_numpy(np.concatenate(pieces)).to(system.positions))
