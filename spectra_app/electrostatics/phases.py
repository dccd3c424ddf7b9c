"""Tables of cos and sin of atoms x reciprocal vectors, by products of three one-dimensional phases.

    exp(i kappa.f) = exp(2 pi i n_1 f_1) exp(2 pi i n_2 f_2) exp(2 pi i n_3 f_3)

Vectors that follow one another in n_3 share the first two factors, so an entry costs one complex multiplication
instead of a cosine and a sine: 192 atoms x 2,724 vectors in 0.3 ms instead of 3 ms, one thread, float32.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from spectra_app.structure.loops import may_use_loops


def waves(fractional: Tensor, integers: Tensor) -> Tensor:
    """All cosines, then all sines.

    Args:
        fractional: [structure, place, vector], no gradient.
        integers: [structure, k, vector].

    Returns:
        [structure, place, 2 k].
    """
    if not may_use_loops(fractional.device):
        return waves_by_trigonometry(fractional, integers)
    n_structures, n_places, _ = fractional.shape
    table = fractional.new_empty(n_structures, n_places, 2 * integers.shape[1])
    for f, n, rows in zip(fractional, integers, table, strict=True):
        _fill(f.numpy(), n.numpy(), rows.numpy())
    return table


def waves_by_trigonometry(fractional: Tensor, integers: Tensor) -> Tensor:
    """``waves`` as they are defined: the way on a GPU and in compiled code, and the reference on a CPU."""
    phase = (2.0 * math.pi * fractional) @ integers.transpose(1, 2)
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)


@numba.njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _fill(fractional: np.ndarray, integers: np.ndarray, table: np.ndarray) -> None:
    n_k = len(integers)
    runs, n_runs = np.empty((n_k, 5), np.int64), 0  # start, end, n_1, n_2, first n_3
    reach = 0
    for k in range(n_k):
        n1, n2, n3 = int(integers[k, 0]), int(integers[k, 1]), int(integers[k, 2])
        reach = max(reach, abs(n1), abs(n2), abs(n3))
        if k > 0:
            last = runs[n_runs - 1]
            if last[2] == n1 and last[3] == n2 and last[4] + k - last[0] == n3:
                last[1] = k + 1
                continue
        runs[n_runs] = (k, k + 1, n1, n2, n3)
        n_runs += 1
    cosines, sines = np.empty((3, 2 * reach + 1), table.dtype), np.empty((3, 2 * reach + 1), table.dtype)
    for i in range(len(fractional)):
        for axis in range(3):
            angle = 2.0 * np.pi * np.float64(fractional[i, axis])
            c1, s1 = np.cos(angle), np.sin(angle)
            c, s = 1.0, 0.0  # powers of one phase in double precision: their error stays below that of a float32 sine
            for m in range(reach + 1):
                cosines[axis, reach + m], sines[axis, reach + m] = c, s
                cosines[axis, reach - m], sines[axis, reach - m] = c, -s
                c, s = c * c1 - s * s1, c * s1 + s * c1
        for r in range(n_runs):
            start, end = runs[r, 0], runs[r, 1]
            x, y, z = reach + runs[r, 2], reach + runs[r, 3], reach + runs[r, 4] - start
            a = cosines[0, x] * cosines[1, y] - sines[0, x] * sines[1, y]
            b = cosines[0, x] * sines[1, y] + sines[0, x] * cosines[1, y]
            for k in range(start, end):
                table[i, k] = a * cosines[2, z + k] - b * sines[2, z + k]
                table[i, n_k + k] = a * sines[2, z + k] + b * cosines[2, z + k]
