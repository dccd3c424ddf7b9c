"""Born charges for other programs: phonopy's BORN file, the layout of Quantum ESPRESSO's ph.x, a plain table.

Every file is written under a temporary name and renamed, so that nothing half-written is ever left looking whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

from spectra_app.born.symmetry import CrystalSymmetry, average_over_symmetry, average_tensor
from spectra_app.born.tensors import Array, IntArray, check_born, isotropic_means
from spectra_app.errors import DatasetError
from spectra_app.files import atomic_path


def write_text(path: Path | str, text: str) -> Path:
    """Write a whole text file atomically (UTF-8, final newline).

    Args:
        path: the file.
        text: its contents.

    Raises:
        SpectraAppError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    return Path(path)


def dielectric_tensor(eps_inf: ArrayLike) -> Array:
    """The high-frequency dielectric constant as a tensor.

    Args:
        eps_inf: dimensionless; a number, three diagonal entries, or [xyz, xyz].

    Returns:
        [xyz, xyz], dimensionless.

    Raises:
        DatasetError: another shape, not finite, or smaller than 1.
    """
    value = np.asarray(eps_inf, dtype=np.float64)
    if value.ndim == 0:
        tensor = float(value) * np.eye(3)
    elif value.shape == (3,):
        tensor = np.diag(value)
    elif value.shape == (3, 3):
        tensor = value
    else:
        raise DatasetError("eps_inf", got=f"shape {value.shape}", wanted="a number, 3 diagonal entries or a 3x3 tensor")
    if not np.isfinite(tensor).all() or np.linalg.eigvalsh(0.5 * (tensor + tensor.T)).min() < 1.0 - 1e-9:
        raise DatasetError("eps_inf", got=np.round(value, 4).tolist(), wanted="finite, at least 1 in every direction")
    return np.asarray(tensor)


def format_phonopy_born(
    born: ArrayLike,
    eps_inf: ArrayLike,
    symmetry: CrystalSymmetry | None = None,
    conversion_factor: float | None = None,
    digits: int = 8,
) -> str:
    """Text of phonopy's BORN file (https://phonopy.github.io/phonopy/input-files.html#born-optional).

    Line 1: the unit conversion factor, or ``default`` (phonopy then takes that of its calculator; 14.4 eV A e^-2 for
    VASP); line 2: eps_inf as xx xy xz yx yy yz zx zy zz; then one line per symmetry-independent atom of the PRIMITIVE
    cell, in the order of the atoms, with Z*_ab row-major, a field, b displacement (phonopy contracts q_a Z*_ab).  A
    conventional cell or supercell may be given: its translations are among the operations, so its orbits are those of
    the primitive cell, and phonopy's ``--pa`` keeps their order.

    Args:
        born: [atom, field, displacement], e.
        eps_inf: dimensionless; number, diagonal or tensor.
        symmetry: operations of the structure; tensors are averaged over them, one line per orbit.  None: one line per
            atom, which phonopy accepts only for a structure without symmetry.
        conversion_factor: number for the first line; None writes ``default``.
        digits: decimals.

    Raises:
        DatasetError: wrong shape of tensors or of eps_inf.
    """
    tensors, dielectric = check_born(born), dielectric_tensor(eps_inf)
    if symmetry is None:
        rows: IntArray = np.arange(len(tensors))
    else:
        check_born(tensors, symmetry.permutations.shape[1])
        tensors, dielectric = average_over_symmetry(tensors, symmetry), average_tensor(dielectric, symmetry)
        rows = symmetry.independent
    first = "default" if conversion_factor is None else f"{conversion_factor:.8f}"
    lines = [first, _nine(dielectric, digits), *(_nine(tensors[row], digits) for row in rows)]
    return "\n".join(lines) + "\n"


def format_espresso(born: ArrayLike, numbers: Sequence[int] | IntArray, eps_inf: ArrayLike | None = None) -> str:
    """Tensors in the layout that Quantum ESPRESSO's ph.x prints: a row per field direction, a column per displacement.

    Args:
        born: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.
        eps_inf: dimensionless; printed before the charges when given.

    Raises:
        DatasetError: wrong shape.
    """
    tensors = check_born(born, len(numbers))
    lines: list[str] = []
    if eps_inf is not None:
        lines += ["          Dielectric constant in cartesian axis", ""]
        lines += [f"          ({row[0]:18.9f}{row[1]:18.9f}{row[2]:18.9f} )" for row in dielectric_tensor(eps_inf)]
        lines.append("")
    lines.append("          Effective charges (d Force / dE) in cartesian axis without acoustic sum rule applied (asr)")
    lines.append("")
    means = isotropic_means(tensors)
    for index, (number, tensor) in enumerate(zip(numbers, tensors, strict=True)):
        lines.append(
            f"           atom {index + 1:6d}   {chemical_symbols[int(number)]:<2}  Mean Z*:{means[index]:16.5f}"
        )
        for axis, row in zip("xyz", tensor, strict=True):
            lines.append(f"      E{axis}  ({row[0]:15.5f}{row[1]:15.5f}{row[2]:15.5f} )")
    return "\n".join(lines) + "\n"


def format_vasp(born: ArrayLike, numbers: Sequence[int] | IntArray) -> str:
    """Tensors in the layout of VASP's OUTCAR: a block per ion, a row per field direction, a column per displacement.

    Args:
        born: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.

    Raises:
        DatasetError: wrong shape.
    """
    tensors = check_born(born, len(numbers))
    lines = [" BORN EFFECTIVE CHARGES (including local field effects) (in |e|, cummulative output)", " " + "-" * 84]
    for index, tensor in enumerate(tensors):
        lines.append(f" ion {index + 1:4d}")
        lines += [f"{axis + 1:5d}" + "".join(f"{value:12.5f}" for value in row) for axis, row in enumerate(tensor)]
    return "\n".join(lines) + "\n"


def format_plain(born: ArrayLike, numbers: Sequence[int] | IntArray) -> str:
    """A whitespace table, one atom a line: symbol and nine numbers (numpy.loadtxt with usecols=range(1, 10)).

    Args:
        born: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.

    Raises:
        DatasetError: wrong shape.
    """
    tensors = check_born(born, len(numbers))
    names = "".join(f"{'Z_' + a + b:>14}" for a in "xyz" for b in "xyz")
    lines = ["# Born effective charges, e; Z_ab = dP_a/dr_b: first index field, second displacement", f"# el{names}"]
    lines += [
        f"{chemical_symbols[int(number)]:<4}" + "".join(f"{value:14.8f}" for value in tensor.ravel())
        for number, tensor in zip(numbers, tensors, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _nine(tensor: Array, digits: int) -> str:
    # + 0.0 turns a rounded -0.0 into 0.0: a file full of minus zeros reads badly
    return " ".join(f"{value + 0.0:{digits + 6}.{digits}f}" for value in np.round(tensor, digits).ravel())
