"""Reading a time series in blocks that fit the memory: samples, differences, means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_app.joined import equal_parts
from spectra_app.spectra.plan import EstimatorInput

BATCH_BYTES = 8 * 2**20
"""Working memory of one batch of transforms; larger batches are no faster (they leave the cache)."""
_BLOCK_BYTES = 64 * 2**20
"""Largest block of samples held at once; where all components of a stretch are more, the file is read several times."""


def component_blocks(series: EstimatorInput, n_frames: int) -> list[slice]:
    """Slices of the stored components of which so many frames fit into one block; mixed components stay together."""
    n = series.n_components
    step = n if series.mixing is not None else max(1, min(n, _BLOCK_BYTES // (8 * max(1, n_frames))))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def row_batches(n_rows: int, bytes_per_row: int) -> list[slice]:
    """Slices of the rows of a block whose transforms fit into one batch."""
    step = max(1, BATCH_BYTES // max(1, bytes_per_row))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def read_samples(
    series: EstimatorInput,
    start: int,
    stop: int,
    replica: int,
    components: slice,
    differenced: bool,
    mean: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Samples [series, sample] from start to stop, differenced to a rate or with the mean taken off."""
    block = series.read(slice(start, stop + int(differenced)), replica, components)
    if differenced:
        return np.diff(block, axis=-1) / series.timestep_fs
    if mean.size:
        block -= mean[replica, components, None] if series.mixing is None else (series.mixing @ mean[replica])[:, None]
    return block


def time_means(series: EstimatorInput, differenced: bool) -> NDArray[np.float64]:
    """Time means [replica, component] to subtract, or nothing where the series is a rate with zero mean."""
    if differenced or not (series.derivative or series.remove_mean):
        return np.zeros(0)
    return np.concatenate([_time_means(part, series.n_components) for part in equal_parts(series.values)])


def _time_means(values: Any, n_components: int) -> NDArray[np.float64]:
    """Time means [replica, component] of replicas of equal length [frame, replica, component...]."""
    total = np.zeros((values.shape[1], n_components))
    step = max(1, BATCH_BYTES // (8 * total.size))
    for start in range(0, len(values), step):
        block = np.asarray(values[start : start + step], dtype=np.float64).reshape(-1, total.size)
        # A product with ones is a sum that runs at the speed of memory; numpy's over the first axis does not.
        total += (np.ones(len(block)) @ block).reshape(total.shape)
    return total / len(values)
