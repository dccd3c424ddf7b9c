"""What of a harmonic limit takes time, kept in a file: the relaxed structure and the derivatives at it.

All else follows from them at once: another mass, width, laser, direction or temperature computes nothing again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from spectra_app.config import HarmonicSettings
from spectra_app.files import atomic_path

if TYPE_CHECKING:
    from spectra_app.harmonic.derivatives import Derivatives
    from spectra_app.harmonic.relaxation import Relaxation

Array = NDArray[np.float64]

STORE_FILE = "derivatives.h5"
_FORMAT = 1
_DECISIVE = ("relax", "force_eV_per_A", "max_steps", "symmetry", "primitive", "method", "step_A")
_UNITS = {
    "energy_eV": "eV",
    "forces_eV_per_A": "eV/A",
    "hessian_eV_per_A2": "eV/A^2",
    "asymmetry": "1",
    "born_e": "e",
    "polarizability_e2A2_per_eV": "e^2 A^2/eV",
    "raman_e2A_per_eV": "e^2 A/eV",
}


class Computed(NamedTuple):
    """What takes time.

    Attributes:
        relaxation: with the structure; None where it was not relaxed.
        atoms: whose derivatives these are.
        derivatives: at that structure.
        force_constants: [atom of the cell, atom of the supercell, xyz, xyz], eV/A^2; None without phonons.
        supercell: of the force constants.
    """

    relaxation: Relaxation | None
    atoms: Atoms
    derivatives: Derivatives
    force_constants: Array | None = None
    supercell: tuple[int, ...] | None = None


def identity_of(model: Any, structure: Atoms, settings: HarmonicSettings) -> str:
    """What the results depend on, as a hash: model, structure as it was given, and the settings of the computation.

    Args:
        model: that is asked.
        structure: before its relaxation.
        settings: of the harmonic limit.
    """
    chosen = settings.model_dump(mode="json", include=set(_DECISIVE))
    eps_inf = getattr(model, "eps_inf", None)
    told = [_FORMAT, model.card.hash, str(model.dtype), None if eps_inf is None else np.asarray(eps_inf).tolist()]
    geometry = [structure.numbers.tolist(), structure.positions.tolist(), np.asarray(structure.cell.array).tolist()]
    rest = [structure.pbc.tolist(), float(structure.info.get("charge", 0.0))]
    return hashlib.sha256(json.dumps([*told, *geometry, *rest, chosen], sort_keys=True).encode()).hexdigest()


def read_computed(path: Path, identity: str) -> Computed | None:
    """What the file holds; None where there is no such file, one of something else, or a damaged one.

    Args:
        path: of the file.
        identity: from ``identity_of``.
    """
    from spectra_app.harmonic.derivatives import Derivatives
    from spectra_app.harmonic.relaxation import Relaxation

    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["identity"] != identity:
                return None
            atoms = Atoms(file["numbers"][:], file["positions_A"][:], cell=file["cell_A"][:], pbc=file["pbc"][:])
            if "charge" in file.attrs:
                atoms.info["charge"] = float(file.attrs["charge"])
            relaxed = file["relaxation"].attrs if "relaxation" in file else None
            found: dict[str, Any] = {name: file[name][()] if name in file else None for name in _UNITS}
            constants = file.get("force_constants_eV_per_A2")
            supercell = None if constants is None else tuple(int(n) for n in constants.attrs["supercell"])
            relaxation = None
            if relaxed is not None:
                stress = relaxed.get("largest_stress_GPa")
                relaxation = Relaxation(
                    atoms,
                    int(relaxed["steps"]),
                    float(relaxed["largest_force_eV_per_A"]),
                    None if stress is None else float(stress),
                    float(relaxed["moved_A"]),
                )
            found |= {name: float(found[name]) for name in ("energy_eV", "asymmetry")}
            return Computed(
                relaxation, atoms, Derivatives(**found), None if constants is None else constants[:], supercell
            )
    except (OSError, KeyError):  # another program's file, or half of one
        return None


def write_computed(path: Path, identity: str, computed: Computed) -> None:
    """Keep it, in place of what the file held.

    Args:
        path: of the file.
        identity: from ``identity_of``.
        computed: what is kept.

    Raises:
        SpectraAppError: the folder cannot be written, or the disk is full.
    """
    atoms = computed.atoms
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["identity"] = identity
        if "charge" in atoms.info:
            file.attrs["charge"] = float(atoms.info["charge"])
        file["numbers"], file["pbc"] = atoms.numbers, atoms.pbc
        for name, values in (("positions_A", atoms.positions), ("cell_A", np.asarray(atoms.cell.array))):
            file[name] = values
            file[name].attrs["unit"] = "A"
        if computed.relaxation is not None:
            group = file.create_group("relaxation")
            for name in ("steps", "largest_force_eV_per_A", "largest_stress_GPa", "moved_A"):
                value = getattr(computed.relaxation, name)
                if value is not None:
                    group.attrs[name] = value
        for name, unit in _UNITS.items():
            value = getattr(computed.derivatives, name)
            if value is not None:
                file[name] = value
                file[name].attrs["unit"] = unit
        if computed.force_constants is not None:
            constants = file.create_dataset("force_constants_eV_per_A2", data=computed.force_constants)
            constants.attrs["unit"], constants.attrs["supercell"] = "eV/A^2", computed.supercell
