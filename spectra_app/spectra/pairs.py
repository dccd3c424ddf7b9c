"""Sums over all pairs of parts, by their distance: fast kernels, and beside them the sums as they are defined."""

from __future__ import annotations

import itertools

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK = 256
"""Frequencies that one thread takes at a time: two rows of amplitudes and one of the result stay in the first cache."""


@numba.njit(parallel=True, cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def pair_power_by_bin(real: Array, imag: Array, bins: NDArray[np.int16], n_bins: int) -> Array:  # pragma: no cover
    """``out[b, k] = 2 sum_{i < j, bins[i, j] = b} Re(conj X_ik X_jk)``.

    Threads share the frequencies, so that no two write to one place and the sum does not depend on their number.

    Args:
        real: [part, nu] real part of the amplitudes, any unit.
        imag: [part, nu] imaginary part.
        bins: [part, part] bin of every pair.
        n_bins: number of bins.

    Returns:
        [bin, nu].
    """
    n_parts, n_nu = real.shape
    out = np.zeros((n_bins, n_nu))
    n_blocks = (n_nu + _BLOCK - 1) // _BLOCK
    for block in numba.prange(n_blocks):
        low = block * _BLOCK
        high = min(n_nu, low + _BLOCK)
        for i in range(n_parts):
            for j in range(i):
                b = bins[i, j]
                for k in range(low, high):
                    out[b, k] += 2.0 * (real[i, k] * real[j, k] + imag[i, k] * imag[j, k])
    return out


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def distance_bins(
    positions: Array, cell: Array, inverse: Array, periodic: bool, edges: Array
) -> NDArray[np.int16]:  # pragma: no cover
    """Bin of the shortest distance of every pair: the number of edges at or below it.

    Args:
        positions: [part, xyz] A.
        cell: [vector, xyz] A; not used where not periodic.
        inverse: [xyz, vector] inverse of the cell, 1/A.
        periodic: take the nearest image.
        edges: [edge] A, rising.

    Returns:
        [part, part], symmetric, 0 ... number of edges.
    """
    n = len(positions)
    out = np.zeros((n, n), dtype=np.int16)
    for i in numba.prange(n):
        for j in range(i):
            step = positions[i] - positions[j]
            shortest = step[0] ** 2 + step[1] ** 2 + step[2] ** 2
            if periodic:
                fraction = np.zeros(3)
                for a in range(3):
                    f = step[0] * inverse[0, a] + step[1] * inverse[1, a] + step[2] * inverse[2, a]
                    fraction[a] = f - np.round(f)
                shortest = np.inf
                # The image of rounded fractions is the nearest in a rectangular cell only; its neighbours make it sure.
                for p in range(-1, 2):
                    for q in range(-1, 2):
                        for r in range(-1, 2):
                            d2 = 0.0
                            for x in range(3):
                                d = (
                                    (fraction[0] + p) * cell[0, x]
                                    + (fraction[1] + q) * cell[1, x]
                                    + (fraction[2] + r) * cell[2, x]
                                )
                                d2 += d * d
                            shortest = min(shortest, d2)
            b = 0
            while b < len(edges) and edges[b] ** 2 <= shortest:
                b += 1
            out[i, j] = b
            out[j, i] = b
    return out


def pair_power_by_bin_reference(amplitude: NDArray[np.complex128], bins: NDArray[np.int16], n_bins: int) -> Array:
    """The same sum as its definition has it, over ordered pairs of different parts: slow, the reference of the tests.

    Args:
        amplitude: [part, nu] complex.
        bins: [part, part].
        n_bins: number of bins.
    """
    out = np.zeros((n_bins, amplitude.shape[1]))
    for i, j in itertools.permutations(range(len(amplitude)), 2):
        out[bins[i, j]] += (np.conj(amplitude[i]) * amplitude[j]).real
    return out


def distance_bins_reference(positions: Array, cell: Array | None, edges: Array) -> NDArray[np.int16]:
    """Bins by trying the images of two shells: slow, the reference of the tests.

    Args:
        positions: [part, xyz] A.
        cell: [vector, xyz] A, or None.
        edges: [edge] A.
    """
    n = len(positions)
    shifts = [np.zeros(3)]
    if cell is not None:
        positions = (positions @ np.linalg.inv(cell)) % 1.0 @ cell
        shifts = [np.array(m) @ cell for m in itertools.product(range(-2, 3), repeat=3)]
    out = np.zeros((n, n), dtype=np.int16)
    for i, j in itertools.permutations(range(n), 2):
        distance = min(float(np.linalg.norm(positions[i] - positions[j] + shift)) for shift in shifts)
        out[i, j] = int(np.sum(edges <= distance))
    return out
