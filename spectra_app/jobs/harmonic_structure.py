"""The structure whose normal modes are wanted: its cell, its masses and its minimum."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_app.config import HarmonicSettings
from spectra_app.errors import ConfigError, MissingExtraError, StructureError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.harmonic.modes import Kind
    from spectra_app.harmonic.relaxation import Relaxation

Progress = Callable[[str, int, int], None]


def kind_of(structure: Atoms) -> Kind:
    """Crystal, slab or molecule, by its periodic directions.

    Args:
        structure: as it was given.

    Raises:
        StructureError: one periodic direction.
    """
    kinds: dict[int, Kind] = {0: "molecule", 2: "slab", 3: "crystal"}
    periodic = int(np.sum(structure.pbc))
    if periodic not in kinds:
        raise StructureError("structure", got="one periodic direction", wanted="none, two (a slab) or three")
    return kinds[periodic]


def start_of(structure: Atoms, settings: HarmonicSettings) -> Atoms:
    """The structure without what does not belong to it; its primitive cell where that is asked for.

    Args:
        structure: as it was given.
        settings: of the normal modes.

    Raises:
        StructureError: a primitive cell of what has none.
        MissingExtraError: it is asked for, and spglib is not installed.
    """
    from ase import Atoms

    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
    if "charge" in structure.info:
        atoms.info["charge"] = structure.info["charge"]
    if not settings.primitive:
        return atoms
    if not atoms.pbc.all():
        raise StructureError("primitive cell", got="no crystal", wanted="three periodic directions")
    spglib = _spglib()
    cell = (np.asarray(atoms.cell.array), atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=1e-3)
    if found is None:
        raise StructureError("primitive cell", got="none found by spglib", wanted="a crystal with sound symmetry")
    return Atoms(found[2], cell=found[0], scaled_positions=found[1], pbc=True)


def masses_of(atoms: Atoms, changes: dict[str, float]) -> np.ndarray:
    """Masses [atom], amu: ASE's, with those of elements and of single atoms that were given.

    Args:
        atoms: the structure.
        changes: symbol or place of an atom -> mass, amu.

    Raises:
        ConfigError: a mass that is not positive.
        StructureError: of an element or atom that is not there.
    """
    masses = atoms.get_masses().copy()
    for key, mass in changes.items():
        if not mass > 0.0:
            raise ConfigError(f"masses, {key}", got=f"{mass:g} amu", wanted="a positive number")
        if re.fullmatch(r"\d+", key):
            if int(key) >= len(atoms):
                raise StructureError(f"masses, atom {key}", got=f"{len(atoms)} atoms", wanted="a place from 0")
        elif key not in atoms.symbols:
            raise StructureError(f"masses, {key}", got="no such element in the structure", wanted="one that is there")
    for key, mass in sorted(changes.items(), key=lambda item: item[0].isdigit()):  # single atoms last
        masses[int(key) if key.isdigit() else np.asarray(atoms.symbols == key)] = mass
    return np.asarray(masses)


def minimum_of(
    model: Any, structure: Atoms, settings: HarmonicSettings, told: Progress
) -> tuple[Atoms, Relaxation | None]:
    """The structure whose modes are wanted, relaxed where that is asked for; checked before and after.

    Args:
        model: the potential.
        structure: as it was given.
        settings: of the normal modes.
        told: of the stage, what is done of it, and its length.

    Raises:
        StructureError: atoms that clash, or no minimum.
    """
    from spectra_app.structure.distances import check_distances

    def check(atoms: Atoms, name: str) -> None:
        box = np.asarray(atoms.cell.array) if atoms.pbc.all() else None
        check_distances(atoms.positions, atoms.numbers, box, name)

    atoms = start_of(structure, settings)
    check(atoms, "structure")
    relaxed = _relaxed(model, atoms, settings, told)
    if relaxed is None:
        return atoms, None
    check(relaxed.atoms, "relaxed structure")  # a model may end in a hole of its own
    return relaxed.atoms.copy(), relaxed


def _relaxed(model: Any, atoms: Atoms, settings: HarmonicSettings, told: Progress) -> Relaxation | None:
    if settings.relax == "no":
        return None
    from spectra_app.harmonic.relaxation import CellWay, relax

    symmetry = settings.symmetry and bool(atoms.pbc.all())
    if symmetry and settings.relax == "positions":
        try:
            _spglib()
        except MissingExtraError:
            symmetry = False  # forces have the symmetry of the structure by themselves
    ways: dict[str, CellWay] = {"positions": "fixed", "volume": "volume", "cell": "free"}
    return relax(
        atoms,
        model.calculator(),
        force_eV_per_A=settings.force_eV_per_A,
        cell=ways[settings.relax],
        symmetry=symmetry,
        max_steps=settings.max_steps,
        progress=lambda step, _: told("relaxation", step, settings.max_steps),
    )


def relaxation_words(relaxed: Relaxation | None) -> str:
    """How a structure was relaxed, in words."""
    if relaxed is None:
        return "not relaxed"
    words = (
        f"relaxed in {relaxed.steps} steps: forces at most {relaxed.largest_force_eV_per_A:.1e} eV/A, atoms moved by "
        f"up to {relaxed.moved_A:.3f} A"
    )
    stress = relaxed.largest_stress_GPa
    return words if stress is None else f"{words}, stress at most {stress:.1e} GPa"


def _spglib() -> Any:
    try:
        import spglib
    except ImportError:
        raise MissingExtraError("spglib", "phonopy") from None
    return spglib
