"""Neighbour tables of fixed capacity, made on the device: what they hold changes, their shapes do not.

Every pair of a structure is looked at, O(N^2), at its nearest image: exact where no face of a cell is nearer to the
opposite one than twice the cutoff.  Flatter cells, whose images count, are searched by the host
(``structure.neighbors``) and copied into the same room.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spectra_app.structure.neighbors import SLOT_MULTIPLE, Neighbors, build_neighbors
from spectra_app.structure.system import System

_MARGIN = 1.15  # of the slots, above what the first table needs
_MOST_DISTANCES = 2**24  # that are looked at in one go


def capacity(n_neighbors: int) -> int:
    """Slots with some room above the largest number of neighbours."""
    return -(-int(_MARGIN * n_neighbors + 2) // SLOT_MULTIPLE) * SLOT_MULTIPLE


def has_nearest_images(system: System, cutoff: float) -> bool:
    """Whether at most one image of every atom is within a cutoff, A; reads the cells."""
    cells = system.cell.detach().cpu().double().numpy()[system.periodic.cpu().numpy()]
    heights = [1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0) for cell in cells]
    return all(bool((height > 2.0 * cutoff).all()) for height in heights)


def nearest_image_table(system: System, inverse: Tensor | None, cutoff: float, slots: int) -> tuple[Neighbors, Tensor]:
    """The table of structures of one size; nothing is read back.

    Args:
        system: float64, all of them periodic, or all open.
        inverse: of the cells [structure, xyz, vector], A^-1; None for open structures.
        cutoff: A.
        slots: capacity.

    Returns:
        the table, shifts in float64, neighbours in ascending order; the largest number of neighbours (a scalar on the
        device): above ``slots`` the table is not complete.
    """
    n_structures, n_places = system.n_structures, system.sizes[0]
    r = system.positions.reshape(n_structures, n_places, 3)
    rows = max(1, _MOST_DISTANCES // (n_structures * n_places))
    parts = [
        _rows(r, system.cell, inverse, slice(start, min(start + rows, n_places)), cutoff, slots)
        for start in range(0, n_places, rows)
    ]
    other, shift, count = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
    first = n_places * torch.arange(n_structures, device=r.device)[:, None, None]
    place = torch.arange(slots, device=r.device)
    mask = place < count[..., None]  # [structure, place, slot]
    own = torch.arange(n_structures * n_places, device=r.device)[:, None]
    other, mask = (other + first).flatten(0, 1), mask.flatten(0, 1)
    # Slots in order of atom and neighbour are sorted; where (j, i) stands is found by bisection.
    n_atoms = n_structures * n_places
    keys = torch.where(mask, own * (n_atoms + 1) + other, own * (n_atoms + 1) + n_atoms).flatten()
    found = torch.searchsorted(keys, (other * (n_atoms + 1) + own).flatten())
    flat = torch.arange(n_atoms * slots, device=r.device)
    reverse = torch.where(mask.flatten(), found.clamp(max=n_atoms * slots - 1), flat)
    other = torch.where(mask, other, own)
    shift = torch.where(mask[..., None], shift.flatten(0, 1), 0.0)
    return Neighbors(other, shift, mask, reverse, cutoff), count.max()


def _rows(
    r: Tensor, cell: Tensor, inverse: Tensor | None, rows: slice, cutoff: float, slots: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of some atoms: places and shifts of neighbours [structure, row, slot, ...], their numbers [structure, row]."""
    vectors = r[:, None] - r[:, rows, None]  # [structure, row, place, xyz] = r_j - r_i
    images = torch.zeros_like(vectors)
    if inverse is not None:
        images = -torch.round(vectors @ inverse[:, None])
        vectors = vectors + images @ cell[:, None]
    places = torch.arange(r.shape[1], device=r.device)
    inside = ((vectors * vectors).sum(-1) < cutoff * cutoff) & (places != places[rows, None])
    count = inside.sum(-1)
    slot = inside.cumsum(-1) - 1
    slot = torch.where(inside & (slot < slots), slot, slots)  # the last one takes what is not there
    shape = (*count.shape, slots + 1)
    other = torch.zeros(shape, dtype=torch.int64, device=r.device).scatter(2, slot, places.expand(inside.shape))
    shift = r.new_zeros(*shape, 3).scatter(2, slot[..., None].expand(images.shape), images)
    return other[..., :slots], shift[..., :slots, :], count


def searched_table(system: System, cutoff: float, slots: int) -> tuple[Neighbors, int]:
    """As ``nearest_image_table``, by the host and of any structures."""
    table = build_neighbors(system, cutoff)
    n_atoms, found = table.other.shape
    most = int(table.mask.sum(1).max())
    if found >= slots:
        other, shift, mask = (x[:, :slots] for x in (table.other, table.shift, table.mask))
        rows, place = table.reverse // found, table.reverse % found
        reverse = (rows * slots + place.clamp(max=slots - 1)).reshape(n_atoms, found)[:, :slots]
        return Neighbors(other, shift, mask, reverse.reshape(-1), cutoff), most
    own, more = torch.arange(n_atoms, device=table.other.device)[:, None], slots - found
    other = torch.cat([table.other, own.expand(-1, more)], dim=1)
    shift = torch.cat([table.shift, table.shift.new_zeros(n_atoms, more, 3)], dim=1)
    mask = torch.cat([table.mask, table.mask.new_zeros(n_atoms, more)], dim=1)
    reverse = ((table.reverse // found) * slots + table.reverse % found).reshape(n_atoms, found)
    empty = own * slots + torch.arange(found, slots, device=own.device)
    return Neighbors(other, shift, mask, torch.cat([reverse, empty], dim=1).reshape(-1), cutoff), most
