"""Hessians of springs between atoms."""

from __future__ import annotations

import numpy as np

LINEAR = np.array([[0.0, 0.0, -1.1], [0.0, 0.0, 0.0], [0.0, 0.0, 1.1]])
TRIANGLE = np.array([[0.0, 1.0, 0.0], [np.sqrt(0.75), -0.5, 0.0], [-np.sqrt(0.75), -0.5, 0.0]])


def hessian(places: np.ndarray, pairs: list[tuple[int, int]], k: float) -> np.ndarray:
    """[3 atom, 3 atom], eV/A^2, of springs of their rest length between atoms."""
    out = np.zeros((len(places), 3, len(places), 3))
    for i, j in pairs:
        way = places[j] - places[i]
        block = k * np.outer(way, way) / (way @ way)
        for a, b, sign in ((i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)):
            out[a, :, b, :] += sign * block
    return out.reshape(3 * len(places), -1)
