"""The immutable record of one structure or a batch of structures, and its validation at the border.

A batch concatenates the atoms of its structures; ``batch`` says which structure an atom belongs to.  Structures of
different size and cell, periodic and open, live in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

MINIMUM_DISTANCE_A = 0.4  # no bond is shorter (H2: 0.74 A); closer atoms are a mistake in the input


class System(NamedTuple):
    """A batch of structures.

    Attributes:
        positions: [atom, xyz], A; unwrapped where the caller follows atoms in time.
        numbers: [atom], atomic numbers.
        cell: [structure, vector, xyz], A; row vectors, zeros for an open structure.
        periodic: [structure], True for three-dimensional periodicity, False for open boundaries.
        batch: [atom], index of the atom's structure, ascending.
        charge: [structure], total charge, e.
        sizes: number of atoms of each structure (host integers: no device synchronisation to read them).
    """

    positions: Tensor
    numbers: Tensor
    cell: Tensor
    periodic: Tensor
    batch: Tensor
    charge: Tensor
    sizes: tuple[int, ...]

    @property
    def n_structures(self) -> int:
        """Number of structures in the batch."""
        return len(self.sizes)

    @property
    def volume(self) -> Tensor:
        """[structure], A^3; 0 for an open structure."""
        return torch.linalg.det(self.cell).abs()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> System:
        """The same batch on another device, floating-point fields in another dtype."""
        return System(
            self.positions.to(device=device, dtype=dtype),
            self.numbers.to(device=device),
            self.cell.to(device=device, dtype=dtype),
            self.periodic.to(device=device),
            self.batch.to(device=device),
            self.charge.to(device=device, dtype=dtype),
            self.sizes,
        )


def make_system(
    positions: np.ndarray | Tensor,
    numbers: np.ndarray | Tensor,
    cell: np.ndarray | Tensor | None = None,
    charge: float = 0.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> System:
    """Record of one structure.

    Args:
        positions: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell: [vector, xyz], A, row vectors; None for open boundaries.
        charge: total charge, e.
        device: where the tensors live.
        dtype: floating-point type.
    """
    pos = torch.as_tensor(np.asarray(positions) if not torch.is_tensor(positions) else positions)
    pos = pos.to(device=device, dtype=dtype)
    n_atoms = pos.shape[0]
    periodic = cell is not None
    box = torch.zeros(3, 3) if cell is None else torch.as_tensor(np.asarray(cell))
    return System(
        positions=pos,
        numbers=torch.as_tensor(np.asarray(numbers), dtype=torch.int64).to(device),
        cell=box.to(device=device, dtype=dtype)[None],
        periodic=torch.tensor([periodic], device=device),
        batch=torch.zeros(n_atoms, dtype=torch.int64, device=device),
        charge=torch.tensor([charge], device=device, dtype=dtype),
        sizes=(n_atoms,),
    )


def concatenate(systems: Sequence[System]) -> System:
    """One batch of several records (on the same device and dtype)."""
    offset, batches = 0, []
    for system in systems:
        batches.append(system.batch + offset)
        offset += system.n_structures
    return System(
        positions=torch.cat([s.positions for s in systems]),
        numbers=torch.cat([s.numbers for s in systems]),
        cell=torch.cat([s.cell for s in systems]),
        periodic=torch.cat([s.periodic for s in systems]),
        batch=torch.cat(batches),
        charge=torch.cat([s.charge for s in systems]),
        sizes=tuple(size for s in systems for size in s.sizes),
    )


def sum_by_structure(values: Tensor, system: System) -> Tensor:
    """Sum per-atom values [atom, ...] into [structure, ...].

    A single structure (molecular dynamics) is a plain sum, several times faster than a scatter on the CPU.
    """
    if system.n_structures == 1:
        return values.sum(dim=0, keepdim=True)
    out = values.new_zeros((system.n_structures, *values.shape[1:]))
    return out.index_add(0, system.batch, values)


def from_ase(
    atoms: Atoms,
    charge: float | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    name: str = "structure",
) -> System:
    """Record of an ``ase.Atoms``, checked: finite positions, no overlapping atoms, all-or-none periodicity.

    Args:
        atoms: the structure; ``atoms.info["charge"]`` is its total charge unless ``charge`` is given.
        charge: total charge, e.
        device: where the tensors live.
        dtype: floating-point type.
        name: how the structure is called in an error.

    Raises:
        StructureError: NaN, no atoms, mixed periodicity, flat cell, or atoms on top of each other.
    """
    positions = np.asarray(atoms.get_positions(), dtype=float)
    check_structure(positions, np.asarray(atoms.cell.array), np.asarray(atoms.pbc, dtype=bool), name)
    return make_system(
        positions,
        atoms.get_atomic_numbers(),
        np.asarray(atoms.cell.array) if atoms.pbc.all() else None,
        float(atoms.info.get("charge", 0.0)) if charge is None else charge,
        device,
        dtype,
    )


def check_structure(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, name: str = "structure") -> None:
    """Refuse what no model can treat.

    Args:
        positions: [atom, xyz], A.
        cell: [vector, xyz], A.
        pbc: [vector], periodic along each cell vector.
        name: how the structure is called in the error.

    Raises:
        StructureError: see the messages.
    """
    if positions.shape[0] == 0:
        raise StructureError(f"{name}", got="no atoms", wanted="at least one")
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise StructureError(f"{name}, position of atom {atom}", got="NaN or infinity", wanted="finite numbers in A")
    if pbc.any() and not pbc.all():
        raise StructureError(
            f"{name}, periodicity",
            got=f"pbc = {pbc.tolist()}",
            wanted="all three directions periodic, or none",
            todo="For a slab use a periodic cell with vacuum",
        )
    if pbc.all() and (not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-3):
        raise StructureError(
            f"{name}, cell",
            got=f"volume {abs(np.linalg.det(cell)):.2g} A^3",
            wanted="three independent vectors in A",
        )
    _check_overlaps(positions, cell if pbc.all() else None, name)


def _check_overlaps(positions: np.ndarray, cell: np.ndarray | None, name: str) -> None:
    """Refuse two atoms (or an atom and an image) closer than ``MINIMUM_DISTANCE_A``."""
    from scipy.spatial import cKDTree  # here: 0.2 s of import that a molecular-dynamics step never needs

    if cell is None:
        tree, box = cKDTree(positions), None
    else:
        # A KD-tree knows orthorhombic boxes only: wrap into the cell and add the images of atoms near its faces.
        fractional = positions @ np.linalg.inv(cell)
        fractional -= np.floor(fractional)
        heights = abs(np.linalg.det(cell)) / np.linalg.norm(
            np.cross(np.roll(cell, -1, axis=0), np.roll(cell, -2, axis=0)), axis=1
        )
        margin = MINIMUM_DISTANCE_A / heights
        images = [fractional]
        for axis in range(3):
            points = np.concatenate(images)
            near = points[points[:, axis] < margin[axis]]
            shifted = near.copy()
            shifted[:, axis] += 1.0
            images.append(shifted)
        tree, box = cKDTree(np.concatenate(images) @ cell), positions.shape[0]
    pairs = tree.query_pairs(MINIMUM_DISTANCE_A, output_type="ndarray")
    if len(pairs):
        i, j = (int(k) for k in pairs[0])
        distance = float(np.linalg.norm(tree.data[i] - tree.data[j]))
        label = f"atoms {i} and {j}" if box is None or max(i, j) < box else f"atom {min(i, j)} and a periodic image"
        raise StructureError(
            f"{name}, {label}",
            got=f"{distance:.3f} A apart",
            wanted=f"at least {MINIMUM_DISTANCE_A} A",
            todo="Check the units (A) and the cell",
        )
