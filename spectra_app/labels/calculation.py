"""One calculation: energy, forces and stress of a structure by a calculator of ASE, in eV and A, or why not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

MOST_FLOWED_E = 0.05  # from an ion that is meant to be one
ION_CHARGE = "ion_charge"  # in ``info``: that of the last atom, e, where it is an ion apart from everything else
_TOLD = ("charge", "multiplicity")  # parameters of calculators
_OWN = "_charge_and_multiplicity_of_its_own"  # what it had of these before it was told


@dataclass(frozen=True)
class Label:
    """What a calculation gave.

    Attributes:
        energy_eV: the energy that the forces are derivatives of (the free energy, where a calculator has one).
        forces_eV_per_A: [atom, xyz].
        stress_eV_per_A3: [xyz, xyz], positive under tension, of structures that are periodic in three directions and
            calculators that have it.
        dipole_eA: [xyz], of neutral open structures where the calculator gives it along: for checks, never trained on.
        charge_e: total charge that was computed with; None: nothing was said.
        deaf: the structure is charged, and the calculator has no parameter to be told so.
    """

    energy_eV: float
    forces_eV_per_A: np.ndarray
    stress_eV_per_A3: np.ndarray | None
    dipole_eA: np.ndarray | None
    charge_e: float | None
    deaf: bool = False


class FailedCalculation(Exception):  # noqa: N818  (it is a result as much as an error)
    """A calculation gave no labels; the text says why."""


def calculate(atoms: Atoms, calculator: Any) -> Label:
    """Energy, forces and stress.

    Args:
        atoms: the structure; ``charge`` and ``multiplicity`` in ``info`` are told to the calculator (``tell_charge``).
        calculator: of ASE.

    Raises:
        FailedCalculation: the calculator raised, or gave numbers that are not finite or too few; or the ion of a
            cluster is none any more.
    """
    work = atoms.copy()
    charge = tell_charge(work, calculator)
    work.calc = calculator
    try:
        forces = np.array(work.get_forces(), dtype=float)
        energy = _energy(work)
        stress = _stress(work)
    except Exception as error:  # of somebody else's program: any
        text = " ".join(str(error).split())[:200]
        raise FailedCalculation(f"{type(error).__name__}: {text}" if text else type(error).__name__) from None
    if forces.shape != (len(atoms), 3):
        raise FailedCalculation(f"forces of shape {forces.shape} for {len(atoms)} atoms")
    if not np.isfinite(energy) or not np.isfinite(forces).all():
        raise FailedCalculation("energy or forces that are not finite")
    _check_ion(atoms, calculator)
    dipole = None
    if not atoms.pbc.any() and not charge:
        given = getattr(calculator, "results", {}).get("dipole") if _is_mapping(calculator) else None
        if given is not None and np.shape(given) == (3,) and np.isfinite(given).all():
            dipole = np.array(given, dtype=float)
    return Label(energy, forces, stress, dipole, charge, bool(charge) and not _hears_charge(calculator))


def _check_ion(atoms: Atoms, calculator: Any) -> None:
    """Refuse a cluster whose ion gave its charge away, as far as the calculator knows charges of atoms.

    Raises:
        FailedCalculation: more than ``MOST_FLOWED_E``.
    """
    wanted = atoms.info.get(ION_CHARGE)
    if wanted is None or not _is_mapping(calculator):
        return
    charges = np.asarray(calculator.results.get("charges", ()), dtype=float)
    if charges.shape != (len(atoms),):
        return
    flowed = float(charges[-1]) - float(wanted)
    if abs(flowed) > MOST_FLOWED_E:
        raise FailedCalculation(
            f"the ion {atoms.symbols[-1]} holds {wanted + flowed:+.2f} e instead of {wanted:+g}: beside this molecule "
            "it is none for this calculator; take another of cluster_ions, or clusters of molecules alone"
        )


def _is_mapping(calculator: Any) -> bool:
    return isinstance(getattr(calculator, "results", None), Mapping)


def _energy(atoms: Atoms) -> float:
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except (PropertyNotImplementedError, NotImplementedError, KeyError):
        return float(atoms.get_potential_energy())


def _stress(atoms: Atoms) -> np.ndarray | None:
    if not atoms.pbc.all() or "stress" not in getattr(atoms.calc, "implemented_properties", ["stress"]):
        return None
    with contextlib.suppress(PropertyNotImplementedError, NotImplementedError):
        stress = np.array(atoms.get_stress(voigt=False), dtype=float)
        return stress if stress.shape == (3, 3) and np.isfinite(stress).all() else None
    return None


def tell_charge(atoms: Atoms, calculator: Any) -> float | None:
    """Make total charge and multiplicity known in the ways that calculators look for them.

    A calculator with parameters ``charge`` and ``multiplicity`` (tblite, CP2K, ORCA) or ``spin`` gets them set;
    models that read ``info`` find ``charge`` and ``spin`` there; others find the sums of initial charges and magnetic
    moments.  Nothing is said of what the structure does not know.

    Args:
        atoms: changed in place.
        calculator: changed in place.

    Returns:
        the total charge that the calculation is made with, e; None: the structure does not know it, nor do the
        calculator's parameters.
    """
    charge, multiplicity = atoms.info.get("charge"), atoms.info.get("multiplicity")
    if charge is not None:
        atoms.set_initial_charges([float(charge), *[0.0] * (len(atoms) - 1)])
    if multiplicity is not None:
        atoms.info["spin"] = int(multiplicity)
        atoms.set_initial_magnetic_moments([float(multiplicity - 1), *[0.0] * (len(atoms) - 1)])
    known = _parameters(calculator)
    own: dict[str, Any] = getattr(calculator, _OWN, {key: known[key] for key in _TOLD if key in known})
    with contextlib.suppress(AttributeError):
        setattr(calculator, _OWN, own)  # the next structure may know nothing
    number: float | int | None = charge
    if charge is not None and float(charge).is_integer():
        number = int(charge)  # input files of programs want 1, not 1.0
    wanted = dict(zip(_TOLD, (number, multiplicity), strict=True))
    wanted = {key: own[key] if wanted[key] is None else wanted[key] for key in own}
    new = {key: value for key, value in wanted.items() if value != known[key]}
    if new and hasattr(calculator, "set"):
        calculator.set(**new)
    if charge is not None:
        return float(charge)
    given = own.get("charge")
    return float(given) if isinstance(given, int | float) else None


def _hears_charge(calculator: Any) -> bool:
    """Whether a calculator has a parameter for the total charge."""
    return "charge" in _parameters(calculator)


def _parameters(calculator: Any) -> dict[str, Any]:
    """Parameters with their values, or defaults."""
    named = [getattr(calculator, name, None) for name in ("default_parameters", "parameters")]
    return {key: value for some in named if isinstance(some, Mapping) for key, value in some.items()}
