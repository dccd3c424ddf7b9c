"""Which result of a calculator is the dipole of a spectrum, in which unit, and whether that is likely.

The rules stand in docs/calculators.md: of an isolated structure ``dipole`` is taken as it is; of a cell only what has a
meaning there.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, NamedTuple

import numpy as np

from spectra_app.config import CalculatorSettings
from spectra_app.dynamics.followed_dipole import DipoleRule
from spectra_app.errors import ModelError
from spectra_app.readers.series.request import DIPOLE_UNITS
from spectra_app.units import BOHR_TO_ANGSTROM, COULOMB_CONSTANT

BORN_NAMES = ("born_charges", "born_effective_charges", "becs")
RESPONSES = ("dipole", "polarization", "molecular_dipoles", "atomic_dipoles", "polarizability", *BORN_NAMES)
"""Names of results that are read, besides energy, forces and stress."""

_WHOLE_CHARGE = 1.0  # e: more than this from end to end of a neutral molecule is more likely another unit
_SMALL_EA = 0.5  # e A: no suspicion below
_VOLUMES = (0.2, 3.0)  # polarizability over that of the free atoms; 14 for A^3 taken for e A^2/V

Boundaries = Literal["open", "slab", "periodic"]
_WORDS = {"open": "an isolated structure", "slab": "a slab", "periodic": "a periodic cell"}


class CalculatorWarning(UserWarning):
    """A result of a calculator is unlikely in its unit."""


class Geometry(NamedTuple):
    """One structure as a calculator sees it.

    Attributes:
        positions: [atom, xyz], A, unwrapped.
        numbers: [atom], atomic numbers.
        cell: [vector, xyz], A; zeros for an open structure; of a slab the third vector is its normal.
        boundaries: along which vectors it is periodic.
        charge: total charge, e.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    boundaries: Boundaries
    charge: float = 0.0

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Periodic along each cell vector."""
        return (self.boundaries != "open", self.boundaries != "open", self.boundaries == "periodic")


class DipoleSource(NamedTuple):
    """Where the dipole comes from.

    Attributes:
        rule: how it is known (``dynamics.followed_dipole``).
        name: of the result.
        has_alpha: there is a polarizability.
        born: name of the result with Born charges; None: there are none.
    """

    rule: DipoleRule
    name: str
    has_alpha: bool
    born: str | None


def find_source(
    name: str, calculator: Any, results: dict[str, Any], boundaries: Boundaries, settings: CalculatorSettings
) -> DipoleSource:
    """Where the dipole comes from.

    Args:
        name: of the calculator, in errors.
        calculator: may state ``periodic_dipole = "cell"``: its dipole is that of the cell, up to quanta.
        results: of a first structure.
        boundaries: of the structures.
        settings: what the user says of the results.

    Raises:
        ModelError: there is none that a spectrum can be made of.
    """
    has = {result: results.get(result) is not None for result in RESPONSES}
    born = next((result for result in BORN_NAMES if has[result]), None)
    said, alpha = settings.periodic_dipole, has["polarizability"]
    if boundaries == "open":
        if has["dipole"]:
            return DipoleSource("function", "dipole", alpha, born)
    elif said != "born":
        if has["dipole"] and "cell" in (said, getattr(calculator, "periodic_dipole", None)):
            return DipoleSource("modulo", "dipole", alpha, born)
        if has["polarization"] and boundaries == "periodic":
            return DipoleSource("modulo", "polarization", alpha, born)
        if has["molecular_dipoles"]:
            return DipoleSource("function", "molecular_dipoles", alpha, born)
        if has["atomic_dipoles"] and not np.any(np.abs(results.get("charges", 0.0)) > 1e-9):
            return DipoleSource("function", "atomic_dipoles", alpha, born)
    if born is not None:
        return DipoleSource("path", born, alpha, born)
    what = f"dipole of calculator {name} for {_WORDS[boundaries]}"
    if boundaries == "open" or not has["dipole"]:
        raise ModelError(
            what,
            got=f"only {listed(results)}",
            wanted="a dipole or Born charges",
            todo="Name a second model that gives them: --response MODEL (in Python: response=...)",
        )
    raise ModelError(
        what,
        got=f"{listed(results)}: a dipole that depends on which images of the atoms are meant",
        wanted="a polarization, dipoles of molecules, or Born charges",
        todo="If its dipole is that of the cell up to e times lattice vectors, say --periodic-dipole cell; or name a "
        "second model: --response MODEL",
    )


def check_units(name: str, dipole_eA: np.ndarray | None, dipole_unit: str, geometry: Geometry) -> None:
    """Warn of the dipole of a neutral molecule that is unlikely in its unit.

    Args:
        name: of the calculator.
        dipole_eA: [xyz], e A; None where it comes otherwise.
        dipole_unit: that it was taken to be in.
        geometry: the structure.
    """
    if dipole_eA is None or geometry.boundaries != "open" or abs(geometry.charge) > 1e-9:
        return
    size, found = (float(np.linalg.norm(of)) for of in (np.ptp(geometry.positions, axis=0), dipole_eA))
    if found > max(_WHOLE_CHARGE * size, _SMALL_EA):
        warnings.warn(
            f"calculator {name}: a dipole of {found:.3g} e A of a molecule {size:.2g} A wide, more than a whole charge "
            f"from end to end, taken to be in {dipole_unit}; is it debye? (--dipole-unit D)",
            CalculatorWarning,
            stacklevel=2,
        )


def check_polarizability(name: str, alpha_e2A2_per_eV: np.ndarray | None, unit: str, numbers: np.ndarray) -> None:
    """Warn of a polarizability far from that of the free atoms.

    Args:
        name: of the calculator.
        alpha_e2A2_per_eV: [xyz, xyz], e^2 A^2/eV; None: there is none.
        unit: that it was taken to be in.
        numbers: [atom], atomic numbers.
    """
    if alpha_e2A2_per_eV is None:
        return
    volume = COULOMB_CONSTANT * float(np.trace(alpha_e2A2_per_eV)) / 3.0
    ratio = volume / _free_atoms_A3(numbers)
    if not _VOLUMES[0] <= ratio <= _VOLUMES[1]:
        warnings.warn(
            f"calculator {name}: a polarizability of {volume:.3g} A^3, {ratio:.2g} times that of the free atoms, taken "
            f"to be in {unit}; is it another unit? (--polarizability-unit A3, au)",
            CalculatorWarning,
            stacklevel=2,
        )


def stated_dipole_unit(calculator: Any) -> str:
    """Unit of the dipoles: the calculator's attribute ``dipole_unit``; D for MACE's dipole models; else ASE's, e A.

    ``MACECalculator`` returns what a model was trained on; models of ``AtomicDipolesMACE`` and ``EnergyDipolesMACE``
    work in debye (their fixed charges are converted to it), ``AtomicDielectricMACE`` and ``PolarMACE`` in e A.
    """
    stated = getattr(calculator, "dipole_unit", None)
    if stated in DIPOLE_UNITS:
        return str(stated)
    mace = type(calculator).__module__.split(".")[0] == "mace"
    return "D" if mace and getattr(calculator, "model_type", "") in ("DipoleMACE", "EnergyDipoleMACE") else "eA"


def _free_atoms_A3(numbers: np.ndarray) -> float:  # noqa: N802
    """Sum of the polarizabilities of free atoms, A^3 (table of DOI 10.1103/PhysRevLett.102.073005 in ASE)."""
    from ase.calculators.vdwcorrection import vdWDB_alphaC6
    from ase.data import chemical_symbols

    table: dict[str, Any] = vdWDB_alphaC6
    known = [
        table[symbol][0] for symbol in (chemical_symbols[number] for number in numbers.tolist()) if symbol in table
    ]
    return float(sum(known)) * BOHR_TO_ANGSTROM**3 or math.inf


def listed(results: dict[str, Any]) -> str:
    """Names of the results that are there."""
    return ", ".join(sorted(name for name, value in results.items() if value is not None)) or "no results"
