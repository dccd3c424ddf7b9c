"""The immutable record of one structure or a batch of structures, and its validation at the border.

A batch concatenates the atoms of its structures; ``batch`` says which structure an atom belongs to.  Structures of
different size and cell, periodic, slabs and open, live in one batch.

A slab is periodic along two vectors and open along its normal.  Inside, it has a cell that is periodic in three
directions, whose third vector is perpendicular to the other two and holds vacuum; electrostatics takes the
interaction of the images along the normal out again (DOI 10.1063/1.479595).
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
MINIMUM_VACUUM_A = 15.0  # above a slab: more than any cutoff, and room for molecules that leave the surface
VACUUM_RATIO = 1.5  # vacuum over the widest lateral spacing L: images differ from open space by exp(-2 pi 1.5) = 8e-5


class System(NamedTuple):
    """A batch of structures.

    Attributes:
        positions: [atom, xyz], A; unwrapped where the caller follows atoms in time.
        numbers: [atom], atomic numbers.
        cell: [structure, vector, xyz], A; row vectors, zeros for an open structure.
        periodic: [structure], True for a cell (periodic in three directions, or a slab), False for open boundaries.
        batch: [atom], index of the atom's structure, ascending.
        charge: [structure], total charge, e.
        sizes: number of atoms of each structure (host integers: no device synchronisation to read them).
        slab: [structure], True where only the first two cell vectors are periodic: the third is perpendicular to them
            and holds vacuum, and positions are never wrapped along it.  None: no slab in the batch.
    """

    positions: Tensor
    numbers: Tensor
    cell: Tensor
    periodic: Tensor
    batch: Tensor
    charge: Tensor
    sizes: tuple[int, ...]
    slab: Tensor | None = None

    @property
    def n_structures(self) -> int:
        """Number of structures in the batch."""
        return len(self.sizes)

    @property
    def alike(self) -> bool:
        """Whether all structures have the same number of atoms."""
        return self.sizes.count(self.sizes[0]) == len(self.sizes)

    @property
    def volume(self) -> Tensor:
        """[structure], A^3; 0 for an open structure; of a slab with its vacuum, hence without meaning by itself."""
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
            None if self.slab is None else self.slab.to(device=device),
        )


def make_system(
    positions: np.ndarray | Tensor,
    numbers: np.ndarray | Tensor,
    cell: np.ndarray | Tensor | None = None,
    charge: float = 0.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    slab: bool = False,
) -> System:
    """Record of one structure.

    Args:
        positions: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell: [vector, xyz], A, row vectors; None for open boundaries.
        charge: total charge, e.
        device: where the tensors live.
        dtype: floating-point type.
        slab: the cell is that of a slab, from ``slab_cell``.

    Raises:
        StructureError: a charged slab: an infinite charged plane has no finite energy.
    """
    if slab and abs(charge) > 1e-9:
        raise StructureError(
            "charge of a slab", got=f"{charge:g} e", wanted="0: an infinite charged plane has no finite energy"
        )
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
        slab=torch.tensor([True], device=device) if slab else None,
    )


def concatenate(systems: Sequence[System]) -> System:
    """One batch of several records (on the same device and dtype)."""
    offset, batches = 0, []
    for system in systems:
        batches.append(system.batch + offset)
        offset += system.n_structures
    slab = None
    if any(s.slab is not None for s in systems):
        slab = torch.cat([torch.zeros_like(s.periodic) if s.slab is None else s.slab for s in systems])
    return System(
        positions=torch.cat([s.positions for s in systems]),
        numbers=torch.cat([s.numbers for s in systems]),
        cell=torch.cat([s.cell for s in systems]),
        periodic=torch.cat([s.periodic for s in systems]),
        batch=torch.cat(batches),
        charge=torch.cat([s.charge for s in systems]),
        sizes=tuple(size for s in systems for size in s.sizes),
        slab=slab,
    )


def select_structures(system: System, structures: Tensor, atoms: Tensor) -> System:
    """The given structures of a batch as a batch of their own.

    Args:
        system: the batch.
        structures: [selected], places of the structures, ascending.
        atoms: [selected atom], places of their atoms, ascending.
    """
    renumber = torch.zeros(system.n_structures, dtype=torch.int64, device=atoms.device)
    renumber[structures] = torch.arange(len(structures), device=atoms.device)
    return system._replace(
        positions=system.positions[atoms],
        numbers=system.numbers[atoms],
        cell=system.cell[structures],
        periodic=system.periodic[structures],
        batch=renumber[system.batch[atoms]],
        charge=system.charge[structures],
        slab=None if system.slab is None else system.slab[structures],
        sizes=tuple(system.sizes[int(s)] for s in structures),
    )


def sum_by_structure(values: Tensor, system: System) -> Tensor:
    """Sum per-atom values [atom, ...] into [structure, ...].

    Structures of one size are plain sums: faster than a scatter on the CPU, and in a fixed order on a GPU.
    """
    if system.n_structures == 1:
        return values.sum(dim=0, keepdim=True)
    if system.alike:
        return values.reshape(system.n_structures, -1, *values.shape[1:]).sum(dim=1)
    out = values.new_zeros((system.n_structures, *values.shape[1:]))
    return out.index_add(0, system.batch, values)


def with_gradients(system: System, positions: bool, strain: bool) -> tuple[System, Tensor | None]:
    """The batch with positions (and a symmetric strain of positions and cell) that require gradients."""
    r = system.positions.detach()
    if positions:
        r = r.requires_grad_(True)
    if not strain:
        return system._replace(positions=r), None
    eps = torch.zeros_like(system.cell).requires_grad_(True)
    symmetric = 0.5 * (eps + eps.transpose(1, 2))
    moved = r + (r[:, None, :] @ symmetric[system.batch])[:, 0]
    return system._replace(positions=moved, cell=system.cell + system.cell @ symmetric), eps


def from_ase(
    atoms: Atoms,
    charge: float | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    name: str = "structure",
) -> System:
    """Record of an ``ase.Atoms``, checked: finite positions, no overlapping atoms, periodicity that can be treated.

    Periodic along two vectors (any two: ``pbc = [T, T, F]``, ``[T, F, T]`` or ``[F, T, T]``) means a slab; its cell
    is that of ``slab_cell``, with the open vector last.

    Args:
        atoms: the structure; ``atoms.info["charge"]`` is its total charge unless ``charge`` is given.
        charge: total charge, e.
        device: where the tensors live.
        dtype: floating-point type.
        name: how the structure is called in an error.

    Raises:
        StructureError: NaN, no atoms, one periodic direction only, flat cell, a charged slab, or atoms on top of each
            other.
    """
    positions = np.asarray(atoms.get_positions(), dtype=float)
    cell, pbc = np.asarray(atoms.cell.array), np.asarray(atoms.pbc, dtype=bool)
    check_structure(positions, cell, pbc, name)
    slab = pbc.sum() == 2
    return make_system(
        positions,
        atoms.get_atomic_numbers(),
        slab_cell(positions, cell, pbc) if slab else cell if pbc.all() else None,
        float(atoms.info.get("charge", 0.0)) if charge is None else charge,
        device,
        dtype,
        slab,
    )


def slab_cell(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Cell [vector, xyz], A, of a slab: its two periodic vectors, and along their normal enough vacuum.

    The third vector has the length of the open cell vector along the normal where that leaves enough vacuum, else that
    of the slab and the vacuum: ``VACUUM_RATIO`` times the widest lateral spacing, at least ``MINIMUM_VACUUM_A``.
    Molecular dynamics keeps the cell of its start.

    Args:
        positions: [atom, xyz], A; the slab as it stands, not wrapped along its normal.
        cell: [vector, xyz], A; the open vector may be missing (zero) or tilted.
        pbc: [vector], False for one of the three.
    """
    first, second, normal = slab_axes(cell, pbc)
    height = positions @ normal
    wanted = float(height.max() - height.min()) + _vacuum(first, second)
    given = abs(float(cell[int(np.argmin(pbc))] @ normal))
    return np.stack([first, second, max(given, wanted) * normal])


def slab_axes(cell: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two periodic vectors [xyz], A, of a slab in cyclic order, and its unit normal [xyz]."""
    open_axis = int(np.argmin(pbc))
    first, second = cell[(open_axis + 1) % 3], cell[(open_axis + 2) % 3]
    normal = np.cross(first, second)
    return first, second, normal / np.linalg.norm(normal)


def check_vacuum(system: System, reach_A: float) -> None:
    """Refuse slabs whose images along the normal have come near: an atom has left the surface.

    Args:
        system: a batch with slabs.
        reach_A: A, range of the neighbour table.

    Raises:
        StructureError: less vacuum than half of what ``slab_cell`` gives, or than ``reach_A``.
    """
    assert system.slab is not None
    slabs = system.slab.tolist()
    for structure, positions in enumerate(torch.split(system.positions.detach(), list(system.sizes))):
        if not slabs[structure]:
            continue
        cell = system.cell[structure].detach().cpu().double().numpy()
        length = float(np.linalg.norm(cell[2]))
        height = positions.cpu().double().numpy() @ (cell[2] / length)
        left = length - float(height.max() - height.min())
        wanted = max(reach_A, 0.5 * _vacuum(cell[0], cell[1]))
        if not left >= wanted:
            raise StructureError(
                "vacuum of the slab",
                got=f"{left:.1f} A left of a cell {length:.1f} A high",
                wanted=f"at least {wanted:.1f} A",
                todo="An atom has left the surface: take a lower temperature or a longer third cell vector",
            )


def _vacuum(first: np.ndarray, second: np.ndarray) -> float:
    """Wanted vacuum, A: the slowest decay along the normal is exp(-G z), G the shortest lateral reciprocal vector."""
    lateral = np.stack([first, second])
    metric = np.linalg.inv(lateral @ lateral.T)
    steps = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4), indexing="ij"), axis=-1).reshape(-1, 2)
    squares = np.einsum("ni,ij,nj->n", steps, metric, steps)
    spacing = 1.0 / float(np.sqrt(squares[squares > 0.0].min()))
    return max(MINIMUM_VACUUM_A, VACUUM_RATIO * spacing)


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
    if pbc.sum() == 1:
        raise StructureError(
            f"{name}, periodicity",
            got=f"pbc = {pbc.tolist()}",
            wanted="all three directions periodic, two (a slab), or none",
            todo="For a wire use a periodic cell with vacuum",
        )
    periodic = cell[pbc] if pbc.sum() == 2 else cell
    extent = float(np.sqrt(max(np.linalg.det(periodic @ periodic.T), 0.0)))  # volume, or area of a slab
    if pbc.any() and (not np.isfinite(periodic).all() or not extent > 1e-3):
        raise StructureError(
            f"{name}, cell",
            got=f"volume {extent:.2g} A^3" if pbc.all() else f"area {extent:.2g} A^2",
            wanted=f"{'three' if pbc.all() else 'two'} independent vectors in A",
        )
    if pbc.sum() == 2:
        cell = slab_cell(positions, cell, pbc)
    _check_overlaps(positions, cell if pbc.any() else None, name)


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
