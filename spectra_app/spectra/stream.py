"""EstimatorInput longer than memory: chunks in, an array-like out whose frames are read a slice at a time.

Every estimator, guard and spectrum of this package asks a series only for its shape and for slices of frames
(``plan.EstimatorInput``): a NumPy array, an HDF5 dataset, a memory map and the classes below give the same numbers.
A stream that can be read only once (text of another code, a pipe) is laid down in an unnamed temporary file first:
one pass over the stream, 8 bytes a number on disk, next to nothing in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_app.arrays import JoinedSeries, OneReplica, StoredSeries

__all__ = ["JoinedSeries", "OneReplica", "StoredSeries", "integrate"]

_READ_BYTES = 32 * 2**20
"""Largest piece integrated at once."""
_IN_MEMORY_BYTES = 128 * 2**20
"""An integrated series up to this size is an array."""


def integrate(rates: Any, timestep_fs: float) -> Any:
    """The series of which rates were recorded, zero in the first frame: trapezoids, a piece at a time.

    A mode of frequency w comes out smaller by ``(w dt / 2) / tan(w dt / 2)`` (4% at 3500 cm^-1 and 1 fs); nothing
    accumulates unless motions faster than Nyquist are folded to zero frequency.

    Args:
        rates: [frame, replica, component...], unit per fs.
        timestep_fs: time between frames.

    Returns:
        [frame, replica, component...], an array or a `StoredSeries`.
    """
    frame = 8 * int(np.prod(rates.shape[1:], dtype=np.int64))
    step = max(1, _READ_BYTES // frame)

    def pieces() -> Iterator[NDArray[np.float64]]:
        total, last = np.zeros(rates.shape[1:]), None
        for start in range(0, len(rates), step):
            block = np.asarray(rates[start : start + step], dtype=np.float64)
            before = np.concatenate([block[:1] if last is None else last[None], block[:-1]])
            increments = 0.5 * timestep_fs * (block + before)
            if last is None:
                increments[0] = 0.0
            out = total + np.cumsum(increments, axis=0)
            total, last = out[-1], block[-1]
            yield out

    fits = frame * len(rates) <= _IN_MEMORY_BYTES
    return np.concatenate(list(pieces())) if fits else StoredSeries.from_chunks(pieces())
