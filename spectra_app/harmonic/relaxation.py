"""A structure to the minimum of its energy with ASE's optimizers, with cell and symmetry where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from spectra_app.errors import MissingExtraError, StructureError
from spectra_app.units import EV_PER_A3_TO_GPA

CellWay = Literal["fixed", "volume", "free"]
_MAX_STRAIN = 0.25  # of a relaxation that is still about the structure that was given


class Relaxation(NamedTuple):
    """A relaxed structure.

    Attributes:
        atoms: with the calculator.
        steps: of the optimizer.
        largest_force_eV_per_A: of any atom, eV/A.
        largest_stress_GPa: of any component, GPa; None where the cell was kept.
        moved_A: largest displacement of an atom besides what the cell did, A.
    """

    atoms: Atoms
    steps: int
    largest_force_eV_per_A: float
    largest_stress_GPa: float | None
    moved_A: float


def relax(
    structure: Atoms,
    calculator: Calculator,
    *,
    force_eV_per_A: float = 1e-4,
    cell: CellWay = "fixed",
    symmetry: bool = True,
    max_steps: int = 500,
    progress: Callable[[int, float], None] | None = None,
) -> Relaxation:
    """Relax positions, and the cell of a crystal.

    Args:
        structure: is not changed.
        calculator: ASE's.
        force_eV_per_A: largest force that is left, eV/A.
        cell: ``fixed``, ``volume`` (its shape at this volume), or ``free``.
        symmetry: keep the space group of a crystal (spglib).
        max_steps: of the optimizer.
        progress: called with the step and the largest force.

    Raises:
        StructureError: no minimum within ``max_steps``; a cell that goes to pieces.
        MissingExtraError: ``symmetry`` of a crystal without spglib.
    """
    atoms = structure.copy()
    atoms.calc = calculator
    crystal = bool(atoms.pbc.all())
    if cell != "fixed" and not crystal:
        raise StructureError("relaxation of the cell", got="no periodic cell", wanted="a crystal, or cell: fixed")
    if symmetry and crystal:
        atoms.set_constraint(_symmetry(atoms))
    before, start = np.asarray(atoms.cell.array).copy(), atoms.get_scaled_positions(wrap=False)
    moving = atoms if cell == "fixed" else FrechetCellFilter(atoms, constant_volume=cell == "volume")
    optimizer = BFGS(moving, logfile=None)  # type: ignore[arg-type]  # filters are allowed
    steps = 0
    for converged in optimizer.irun(fmax=force_eV_per_A, steps=max_steps):
        largest = _largest(atoms)
        if not np.isfinite(largest):
            raise StructureError("relaxation", got="forces that are not finite", wanted="a sound structure")
        if crystal and cell != "fixed":
            _check_cell(before, np.asarray(atoms.cell.array))
        if progress is not None:
            progress(steps, largest)
        if converged:
            break
        steps += 1
    largest = _largest(atoms)
    if not converged:
        raise StructureError(
            f"relaxation of {structure.get_chemical_formula()}",
            got=f"forces of {largest:.2g} eV/A after {steps} steps",
            wanted=f"at most {force_eV_per_A:g}",
            todo="Allow more steps (--max-steps), or begin closer to the minimum",
        )
    moved = (
        (atoms.get_scaled_positions(wrap=False) - start) @ atoms.cell.array
        if crystal
        else (atoms.positions - structure.positions)
    )
    stress = None
    if crystal and cell != "fixed":
        stress = float(np.abs(atoms.get_stress(voigt=False)).max()) * EV_PER_A3_TO_GPA
    atoms.set_constraint()
    return Relaxation(atoms, steps, largest, stress, float(np.linalg.norm(moved, axis=1).max()))


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _symmetry(atoms: Atoms) -> object:
    try:
        import spglib  # noqa: F401
    except ImportError:
        raise MissingExtraError("spglib", "phonopy") from None
    from ase.constraints import FixSymmetry

    return FixSymmetry(atoms, symprec=1e-3)


def _check_cell(before: np.ndarray, now: np.ndarray) -> None:
    strain = np.linalg.solve(before, now) - np.eye(3)
    if np.abs(strain).max() > _MAX_STRAIN:
        raise StructureError(
            "relaxation of the cell",
            got=f"a strain of {100 * np.abs(strain).max():.0f} %",
            wanted=f"at most {100 * _MAX_STRAIN:.0f} %: the model does not hold this crystal together",
            todo="Keep the cell (--cell fixed), or use a model that was trained with stress",
        )
