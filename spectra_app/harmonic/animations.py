"""Files in which viewers move the modes: extended XYZ, XYZ with vibration vectors (Jmol), Molden."""

from __future__ import annotations

import io
import math

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from spectra_app.harmonic.modes import NormalModes
from spectra_app.units import BOHR_TO_ANGSTROM

Array = NDArray[np.float64]

AMPLITUDE_A = 0.3  # largest displacement of an atom in a film
FRAMES = 20


def unit_displacements(modes: NormalModes) -> Array:
    """[mode, atom, xyz] of the modes, the largest displacement of an atom being 1."""
    largest = np.linalg.norm(modes.displacements, axis=2).max(axis=1)
    return np.asarray(modes.displacements / largest[:, None, None])


def film_extxyz(atoms: Atoms, modes: NormalModes, mode: int) -> str:
    """One period of a mode as frames of an extended-XYZ file, with its frequency."""
    shape = unit_displacements(modes)[mode]
    frames = []
    for phase in 2.0 * math.pi * np.arange(FRAMES) / FRAMES:
        frame = Atoms(
            numbers=atoms.numbers,
            positions=atoms.positions + AMPLITUDE_A * math.sin(phase) * shape,
            cell=atoms.cell,
            pbc=atoms.pbc,
        )
        frame.info.update(mode=mode + 1, wavenumber_per_cm=float(modes.frequencies_per_cm[mode]))
        frames.append(frame)
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    return text.getvalue()


def modes_xyz(atoms: Atoms, modes: NormalModes) -> str:
    """All modes as frames of an XYZ file with vibration vectors behind the positions, as Jmol and others read it."""
    lines: list[str] = []
    for mode, (frequency, shape) in enumerate(zip(modes.frequencies_per_cm, unit_displacements(modes), strict=True)):
        lines += [str(len(atoms)), f"mode {mode + 1}: {frequency:.2f} cm^-1"]
        for symbol, place, vector in zip(atoms.symbols, atoms.positions, shape, strict=True):
            numbers = " ".join(f"{value:12.6f}" for value in (*place, *vector))
            lines.append(f"{symbol:<2} {numbers}")
    return "\n".join(lines) + "\n"


def modes_molden(atoms: Atoms, modes: NormalModes, intensities_km_per_mol: Array | None) -> str:
    """All modes in Molden's format: sections FREQ, FR-COORD (bohr), FR-NORM-COORD, and INT where they are known."""
    lines = ["[Molden Format]", "[FREQ]", *(f"{value:.4f}" for value in modes.frequencies_per_cm)]
    if intensities_km_per_mol is not None:
        lines += ["[INT]", *(f"{value:.6f}" for value in intensities_km_per_mol)]
    lines.append("[FR-COORD]")
    for symbol, place in zip(atoms.symbols, atoms.positions / BOHR_TO_ANGSTROM, strict=True):
        lines.append(f"{symbol:<2} " + " ".join(f"{value:14.8f}" for value in place))
    lines.append("[FR-NORM-COORD]")
    for mode, shape in enumerate(unit_displacements(modes)):
        lines.append(f"vibration {mode + 1}")
        lines += [" ".join(f"{value:12.6f}" for value in vector) for vector in shape]
    return "\n".join(lines) + "\n"
