"""Velocities of dynamics along normal modes: every mode has a spectrum of its own (docs/theory.md, "Normal modes").

    dQ_m/dt = N^(-1/2) sum_cells sum_i sqrt(m_i) e_m,i . v_i

is the mode's amplitude at wave vector zero in a crystal of N cells.  Its spectrum is one line: at the mode's frequency
in the harmonic limit, shifted and broadened by what is anharmonic (Wang, Chan and Ho, Phys. Rev. B 42, 11276,
1990; Sun, Zhang and Wentzcovitch, Phys. Rev. B 89, 094109, 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from spectra_app.errors import StructureError
from spectra_app.harmonic.modes import NormalModes

Array = NDArray[np.float64]

_BLOCK = 2000  # frames in memory
_STRAIN = 0.03  # between the cell of the modes, repeated, and that of the run
_AWAY_A = 1.5  # farther from its place than that, root mean square of the structure, an atom is another one


def mode_velocities(
    velocities_A_per_fs: Any, modes: NormalModes, n_cells: int = 1, places: NDArray[np.int64] | None = None
) -> Array:
    """Velocities along modes [frame, replica, mode], amu^(1/2) A/fs; <dQ/dt^2> = kB T in equilibrium.

    Args:
        velocities_A_per_fs: [frame, replica, atom, xyz], A/fs, cell after cell; may lie in a file.
        modes: of one cell.
        n_cells: cells in the run.
        places: of the modes that are wanted; None: all.

    Raises:
        StructureError: another number of atoms.
    """
    wanted = modes.eigenvectors if places is None else modes.eigenvectors[places]
    frames, replicas, atoms = velocities_A_per_fs.shape[:3]
    n_modes, per_cell = wanted.shape[:2]
    if atoms != n_cells * per_cell:
        raise StructureError("atoms of the run", got=atoms, wanted=f"{n_cells} cells of {per_cell}")
    along = np.sqrt(modes.masses_amu)[None, :, None] * wanted / np.sqrt(n_cells)  # [mode, atom, xyz]
    out = np.empty((frames, replicas, n_modes))
    for start in range(0, frames, _BLOCK):
        block = np.asarray(velocities_A_per_fs[start : start + _BLOCK], dtype=np.float64)
        summed = block.reshape(len(block), replicas, n_cells, per_cell, 3).sum(axis=2)
        out[start : start + _BLOCK] = np.einsum("frix,mix->frm", summed, along)
    return out


def cells_of(one: Atoms, numbers: NDArray[np.int64], positions_A: Array, cell_A: Array) -> int:
    """How many times a cell is in a run that was made of its repetitions, in ASE's order.

    Args:
        one: the cell whose modes are known.
        numbers: [atom], of the run.
        positions_A: [atom, xyz], A, any configuration of the run.
        cell_A: [vector, xyz], A, of the run.

    Raises:
        StructureError: the run is of something else, in another order, or of atoms that left their places.
    """
    what, todo = "modes and run", "Let the run begin with repetitions of the cell whose modes these are"
    repeat = [max(1, round(float(n))) for n in np.linalg.norm(cell_A, axis=1) / one.cell.lengths()]
    large = one.repeat(repeat)
    if not np.array_equal(large.numbers, numbers):
        raise StructureError(
            what, got=f"{len(numbers)} atoms", wanted=f"{len(one)} x {' x '.join(map(str, repeat))}", todo=todo
        )
    strain = np.linalg.solve(large.cell.array, cell_A) - np.eye(3)
    if np.abs(strain).max() > _STRAIN:
        raise StructureError(what, got=f"cells {100 * np.abs(strain).max():.1f} % apart", wanted="the same", todo=todo)
    apart = positions_A - large.positions @ (np.eye(3) + strain)
    apart = find_mic(apart - apart[0], cell_A, pbc=one.pbc)[0]
    apart -= apart.mean(axis=0)
    away = float(np.sqrt((apart**2).sum(axis=1).mean()))
    if away > _AWAY_A:
        raise StructureError(what, got=f"atoms {away:.1f} A from their places", wanted="less", todo=todo)
    return int(np.prod(repeat))
