"""Vectors of the pairs of a table by compiled loops, with one derivative: the fast way on a CPU."""

from __future__ import annotations

import numba
import torch
from torch import Tensor

from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System


def pair_vectors_once(system: System, neighbors: Neighbors, empty_length: float) -> Tensor:
    """As ``neighbors.pair_vectors``, which is the reference: [atom, slot, xyz], A; (empty_length, 0, 0) in empty slots.

    Args:
        system: the structures; positions and cells may require a gradient, of first order.
        neighbors: their table.
        empty_length: A.
    """
    vectors: Tensor = _PairVectors.apply(system.positions, system.cell, system.batch, neighbors, empty_length)
    return vectors


class _PairVectors(torch.autograd.Function):
    """Positions and cells -> vectors."""

    @staticmethod
    def forward(ctx, positions, cell, batch, neighbors, empty_length):  # type: ignore[no-untyped-def]
        ctx.arrays = tuple(x.numpy() for x in (batch, *neighbors[:4]))
        ctx.n_structures = len(cell)
        vectors = positions.new_empty(*neighbors.mask.shape, 3)
        where, boxes = positions.detach().contiguous().numpy(), cell.detach().contiguous().numpy()
        _fill(where, boxes, *ctx.arrays[:4], empty_length, vectors.numpy())
        return vectors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        grad = grad.contiguous()
        by_positions = grad.new_empty(len(grad), 3)
        by_cells = grad.new_zeros(ctx.n_structures if ctx.needs_input_grad[1] else 0, 3, 3)
        _gather(*ctx.arrays, grad.numpy(), by_positions.numpy(), by_cells.numpy())
        return by_positions, by_cells if len(by_cells) else None, None, None, None


@numba.njit(cache=True, fastmath=True)
def _fill(positions, cell, batch, other, shift, mask, empty_length, out):  # type: ignore[no-untyped-def]
    """r_j + S cell - r_i."""
    for i in range(len(positions)):
        h = cell[batch[i]]
        for s in range(other.shape[1]):
            j, x, y, z = other[i, s], shift[i, s, 0], shift[i, s, 1], shift[i, s, 2]
            for a in range(3):
                if mask[i, s]:
                    out[i, s, a] = positions[j, a] - positions[i, a] + (x * h[0, a] + y * h[1, a] + z * h[2, a])
                else:
                    out[i, s, a] = empty_length if a == 0 else 0.0


@numba.njit(cache=True, fastmath=True)
def _gather(batch, other, shift, mask, reverse, grad, by_positions, by_cells):  # type: ignore[no-untyped-def]
    """Sets gradients by positions, of a pair's other end at the place of its reverse; adds those by cells, if any."""
    n_slots = other.shape[1]
    pairs = grad.reshape(-1, 3)
    for i in range(len(other)):
        x, y, z = 0.0, 0.0, 0.0
        for s in range(n_slots):
            if mask[i, s]:
                back = reverse[i * n_slots + s]
                x += pairs[back, 0] - grad[i, s, 0]
                y += pairs[back, 1] - grad[i, s, 1]
                z += pairs[back, 2] - grad[i, s, 2]
                if len(by_cells):
                    for v in range(3):
                        for a in range(3):
                            by_cells[batch[i], v, a] += shift[i, s, v] * grad[i, s, a]
        by_positions[i, 0], by_positions[i, 1], by_positions[i, 2] = x, y, z
