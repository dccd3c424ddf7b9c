"""The finished set: extended XYZ that training reads as it is, and a file beside it that says how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from spectra_app.errors import DatasetError
from spectra_app.files import atomic_path
from spectra_app.labels.calculation import Label
from spectra_app.labels.candidates import Candidate

UNITS = {"energy": "eV", "forces": "eV/A", "stress": "eV/A^3, positive under tension", "positions": "A", "charge": "e"}


def labelled(candidate: Candidate, label: Label) -> Atoms:
    """A structure with its labels as ASE keeps them: energy (eV), forces (eV/A), stress (eV/A^3), dipole (e A).

    Args:
        candidate: the structure.
        label: of it.
    """
    atoms = Atoms(
        candidate.atoms.numbers, candidate.atoms.positions, cell=candidate.atoms.cell.array, pbc=candidate.atoms.pbc
    )
    if label.charge_e is not None:
        atoms.info["charge"] = float(label.charge_e)
    if "multiplicity" in candidate.atoms.info:
        atoms.info["multiplicity"] = int(candidate.atoms.info["multiplicity"])
    atoms.info["origin"] = candidate.origin.replace('"', "'")
    results: dict[str, Any] = {"energy": label.energy_eV, "forces": label.forces_eV_per_A}
    if label.stress_eV_per_A3 is not None:
        results["stress"] = label.stress_eV_per_A3.reshape(9)[[0, 4, 8, 5, 2, 1]]  # Voigt: xx yy zz yz xz xy
    if label.dipole_eA is not None:
        results["dipole"] = label.dipole_eA
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def sidecar_path(output: Path) -> Path:
    """Of the file that says how a set was made."""
    return output.with_name(f"{output.name}.yaml")


def write_set(output: Path, frames: Sequence[Atoms], facts: dict[str, Any]) -> None:
    """Write both files; the set is there only when everything is.

    Args:
        output: extended XYZ.
        frames: with labels.
        facts: of the file beside it.

    Raises:
        DatasetError: the disk is full, or the folder cannot be written.
    """
    text = yaml.safe_dump({"units": UNITS, **_simple(facts)}, sort_keys=False, allow_unicode=True, width=100)
    with atomic_path(sidecar_path(output), DatasetError) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_path(output, DatasetError) as temporary:
        write(temporary, list(frames), format="extxyz")


def read_sidecar(output: Path) -> dict[str, Any] | None:
    """What the file beside a set says; None where there is none, or another kind of file."""
    path = sidecar_path(output)
    if not path.is_file():
        return None
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return facts if isinstance(facts, dict) else None


def _simple(value: Any) -> Any:
    """Plain numbers, strings, lists and mappings."""
    if isinstance(value, dict):
        return {str(key): _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
