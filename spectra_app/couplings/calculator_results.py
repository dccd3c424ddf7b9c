"""What an ASE calculator gives, as checked numbers in our units, by the rules of docs/calculators.md.

One ``Atoms`` object is moved along and evaluated; nothing but the calculator's own work is done at a step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from spectra_app.config import CalculatorSettings
from spectra_app.couplings.calculator_source import (
    RESPONSES,
    DipoleSource,
    Geometry,
    check_polarizability,
    check_units,
    find_source,
    listed,
    stated_dipole_unit,
)
from spectra_app.errors import CalculatorError, ModelError
from spectra_app.readers.series.request import DIPOLE_UNITS, POLARIZABILITY_UNITS


class Wanted(NamedTuple):
    """What is asked of a calculator at a structure."""

    energy: bool = False
    forces: bool = False
    stress: bool = False
    response: bool = False


class Values(NamedTuple):
    """Results of a calculator in our units; None where not asked for or not given.

    Attributes:
        energy: eV, the one that the forces are derivatives of.
        forces: [atom, xyz], eV/A.
        stress: [xyz, xyz], eV/A^3, positive under tension.
        dipole: [xyz], e A.
        polarizability: [xyz, xyz], e^2 A^2/eV.
        born: [atom, field, displacement], e.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    dipole: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    born: np.ndarray | None = None


class CalculatorReader:
    """Asks one calculator.

    Args:
        calculator: of ASE.
        settings: what its results mean.
        name: as errors call it.

    Attributes:
        source: where the dipole comes from; None before ``find_source``.
        has_energy: whether there is an energy; a model of dipoles alone has none.
    """

    def __init__(self, calculator: Any, settings: CalculatorSettings, name: str) -> None:
        self.calculator, self._settings, self.name = calculator, settings, name
        self.dipole_unit = stated_dipole_unit(calculator) if settings.dipole_unit == "auto" else settings.dipole_unit
        self.source: DipoleSource | None = None
        self.has_energy = True
        self._known: dict[bytes, Atoms] = {}
        self._atoms: Atoms | None = None
        self._ready = False

    def remember(self, atoms: Atoms) -> None:
        """Keep what a structure says beyond positions and cell (charges, spin), for all of the same elements."""
        kept = atoms.copy()
        kept.set_constraint()
        self._known[np.asarray(atoms.numbers, dtype=np.int64).tobytes()] = kept

    def evaluate(self, geometry: Geometry, wanted: Wanted) -> Values:
        """Results at a structure.

        Args:
            geometry: the structure.
            wanted: what is asked for.

        Raises:
            CalculatorError: the calculator failed, or gave numbers that are none.
            ModelError: something that is wanted is missing.
        """
        names = self._asked(wanted)
        results = self._results(geometry, names)
        source = self.source if wanted.response else None
        n_atoms = len(geometry.numbers)
        energy = self._energy(results) if wanted.energy else None
        stress = self._stress(results) if wanted.stress else None
        forces = self._needed(results, "forces", (n_atoms, 3)) if wanted.forces else None
        if source is None:
            return Values(energy, forces, stress)
        alpha = self._array(results, "polarizability", (3, 3)) if source.has_alpha else None
        if alpha is not None:
            alpha = 0.5 * (alpha + alpha.T) * POLARIZABILITY_UNITS[self._settings.polarizability_unit]
        born = self._needed(results, source.name, (n_atoms, 3, 3)) if source.rule == "path" else None
        return Values(energy, forces, stress, self._dipole(results, source, geometry), alpha, born)

    def born_charges(self, geometry: Geometry) -> np.ndarray:
        """[atom, field, displacement], e, of a calculator that has them, in one evaluation."""
        assert self.source is not None
        assert self.source.born is not None
        results = self._results(geometry, (self.source.born,))
        return self._needed(results, self.source.born, (len(geometry.numbers), 3, 3))

    def find_source(self, geometry: Geometry) -> DipoleSource:
        """Evaluate a structure and see what there is; every later one is asked for the same.

        Raises:
            CalculatorError: the calculator fails.
            ModelError: no dipole that a spectrum can be made of.
        """
        names = tuple(self._implemented(("energy", "forces", *RESPONSES)))
        results = self._results(geometry, names or ("energy",))
        self.has_energy = results.get("energy") is not None
        self.source = find_source(self.name, self.calculator, results, geometry.boundaries, self._settings)
        found = self.evaluate(geometry, Wanted(response=True))
        check_units(self.name, found.dipole if self.source.name == "dipole" else None, self.dipole_unit, geometry)
        check_polarizability(self.name, found.polarizability, self._settings.polarizability_unit, geometry.numbers)
        return self.source

    # --- the call -----------------------------------------------------------------------------------------------------
    def _implemented(self, names: tuple[str, ...]) -> list[str]:
        """Those that the calculator says it has; calculators that list none are asked for all."""
        listed = getattr(self.calculator, "implemented_properties", None)
        return [name for name in names if listed is None or name in listed]

    def _asked(self, wanted: Wanted) -> tuple[str, ...]:
        names = [name for name in ("energy", "forces", "stress") if getattr(wanted, name)]
        if wanted.response and self.source is not None:
            names += self._implemented((self.source.name,))
            names += self._implemented(("polarizability",)) if self.source.has_alpha else []
        return tuple(dict.fromkeys(names))

    def _results(self, geometry: Geometry, names: tuple[str, ...]) -> dict[str, Any]:
        """Results of the calculator, evaluated where the structure is another one or a name is missing."""
        changes = self._move(geometry)
        calculator, atoms = self.calculator, self._atoms
        there = self._ready and all(calculator.results.get(name) is not None for name in names)
        if changes or not there:
            self._ready = False
            try:
                if changes and hasattr(calculator, "reset"):
                    calculator.reset()
                calculator.calculate(atoms, list(names) or ["energy"], changes or list(all_changes))
            except Exception as error:  # whatever a program meets
                raise CalculatorError(f"calculator {self.name}", got=_told(error), wanted="results") from error
            self._ready = True
        results: dict[str, Any] = calculator.results
        return results

    def _move(self, geometry: Geometry) -> list[str]:
        """Bring the atoms to a structure; what has changed, in ASE's words."""
        atoms = self._atoms
        if atoms is None or not np.array_equal(atoms.numbers, geometry.numbers):
            self._atoms = self._template(geometry)
            return list(all_changes)
        changes = []
        if not np.array_equal(atoms.positions, geometry.positions):
            atoms.positions[:] = geometry.positions
            changes.append("positions")
        if not np.array_equal(atoms.cell.array, geometry.cell):
            atoms.cell[:] = geometry.cell
            changes.append("cell")
        if atoms.pbc.tolist() != list(geometry.pbc):
            atoms.pbc = geometry.pbc
            changes.append("pbc")
        return changes

    def _template(self, geometry: Geometry) -> Atoms:
        known = self._known.get(np.asarray(geometry.numbers, dtype=np.int64).tobytes())
        atoms = Atoms(geometry.numbers) if known is None else known.copy()
        atoms.positions[:] = geometry.positions
        atoms.cell, atoms.pbc = geometry.cell.copy(), geometry.pbc
        if abs(geometry.charge) > 1e-9:
            atoms.info.setdefault("charge", geometry.charge)
        return atoms

    # --- the numbers --------------------------------------------------------------------------------------------------
    def _array(self, results: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        value = results.get(name)
        if value is None:
            return None
        array = np.array(value, dtype=float, order="C")
        if array.size != math.prod(shape):
            raise CalculatorError(f"{name} of calculator {self.name}", got=f"shape {array.shape}", wanted=str(shape))
        array = array.reshape(shape)
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0].tolist()
            where = f" of atom {place[0]}" if len(shape) > 1 and name != "polarizability" else ""
            raise CalculatorError(f"{name}{where}, calculator {self.name}", got="NaN or infinity", wanted="numbers")
        return array

    def _needed(self, results: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
        found = self._array(results, name, shape)
        if found is None:
            raise ModelError(f"{name} of calculator {self.name}", got=f"only {listed(results)}", wanted=name)
        return found

    def _energy(self, results: dict[str, Any]) -> float:
        name = "free_energy" if results.get("free_energy") is not None else "energy"
        return float(self._needed(results, name, ())[()])

    def _stress(self, results: dict[str, Any]) -> np.ndarray:
        found = results.get("stress")
        if found is None:
            raise ModelError(
                f"stress of calculator {self.name}",
                got=f"only {listed(results)}",
                wanted="a stress, which constant pressure needs",
                todo="Take a fixed cell (md.ensemble nve or nvt), or a calculator with stress",
            )
        voigt = np.size(found) == 6
        stress = self._needed(results, "stress", (6,) if voigt else (3, 3))
        return np.asarray(voigt_6_to_full_3x3_stress(stress)) if voigt else stress

    def _dipole(self, results: dict[str, Any], source: DipoleSource, geometry: Geometry) -> np.ndarray:
        if source.rule == "path":
            return np.zeros(3)
        factor = DIPOLE_UNITS[self.dipole_unit]
        if source.name == "polarization":
            return self._needed(results, "polarization", (3,)) * abs(float(np.linalg.det(geometry.cell)))
        if source.name == "dipole":
            return self._needed(results, "dipole", (3,)) * factor
        several = np.asarray(results[source.name])
        shape = (len(several) if several.ndim else 0, 3)
        return np.asarray(self._needed(results, source.name, shape).sum(axis=0)) * factor


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
