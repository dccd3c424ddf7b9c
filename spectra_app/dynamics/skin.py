"""How long a table of neighbours with a skin lasts, in cells that keep, scale or change their shape."""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.structure.system import System

FLATTEST = 0.5  # of the start: a cell that is flatter has lost its shape


def beyond_skin(positions: Tensor, reference: Tensor, skin_A: float) -> Tensor:
    """By how much every atom has moved further than a table allows [atom], A; positive: it is not valid.

    A table complete to cutoff + skin stays valid while no atom moves more than skin / 2.

    Args:
        positions: [atom, xyz], A.
        reference: those of the table, likewise.
        skin_A: extra range of the table, A.
    """
    moved = positions - reference
    return (moved * moved).sum(dim=1).sqrt() - 0.5 * skin_A


def beyond_skin_scaled(
    positions: Tensor,
    cell: Tensor,
    reference: Tensor,
    reference_cell: Tensor,
    batch: Tensor,
    cutoff: float,
    skin_A: float,
) -> Tensor:
    """The same in cells that have been scaled by s: measured in the scaled frame.

    The budget shrinks to (cutoff + skin - cutoff / s) / 2.

    Args:
        positions: [atom, xyz], A.
        cell: [replica, vector, xyz], A.
        reference: positions of the table, likewise.
        reference_cell: cell of the table, likewise.
        batch: [atom], replica of an atom.
        cutoff: of the model, A.
        skin_A: extra range of the table, A.
    """
    scale = (torch.linalg.det(cell) / torch.linalg.det(reference_cell)) ** (1.0 / 3.0)  # [replica]
    budget = 0.5 * (cutoff + skin_A - cutoff / scale).clamp(max=skin_A)
    moved = positions / scale[batch][:, None] - reference
    return (moved * moved).sum(dim=1).sqrt() - budget[batch]


def beyond_skin_strained(
    positions: Tensor,
    cell: Tensor,
    reference: Tensor,
    reference_cell: Tensor,
    batch: Tensor,
    cutoff: float,
    skin_A: float,
) -> Tensor:
    """The same in cells of any shape; arguments as in ``beyond_skin_scaled``.

    N = h^-1 h_0 takes a pair to the frame of the table and makes it no longer than 1 + |N - 1| times (Frobenius norm),
    which stands in place of 1 / s.
    """
    back = torch.linalg.inv_ex(cell).inverse @ reference_cell  # [replica, xyz, xyz]
    distortion = (back - torch.eye(3, dtype=back.dtype, device=back.device)).square().sum(dim=(1, 2)).sqrt()
    budget = 0.5 * (skin_A - cutoff * distortion)
    moved = (positions[:, :, None] * back[batch]).sum(dim=1) - reference
    return (moved * moved).sum(dim=1).sqrt() - budget[batch]


def flat_cells(cell: Tensor, start: System) -> dict[int, str]:
    """Replicas whose cell has lost its shape, and what was found; reads the cells back to the host.

    A liquid does not resist shear: its cell wanders until the atoms between two faces are nearer than ``FLATTEST``
    of what they were.

    Args:
        cell: [replica, vector, xyz], A.
        start: the replicas at the start.
    """
    heights = [1.0 / torch.linalg.inv_ex(each).inverse.norm(dim=1) for each in (cell, start.cell)]  # [replica, vector]
    flattest = (heights[0] / heights[1]).amin(dim=1).tolist()
    return {k: f"{ratio:.2g} of its height at the start" for k, ratio in enumerate(flattest) if not ratio > FLATTEST}
