"""Series that stay on disk: what fits is an array, what does not is read a slice of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.arrays import SlicedSeries, StoredSeries
from spectra_app.errors import SeriesError

IN_MEMORY_BYTES = 128 * 2**20
"""A series up to this size is an array: 5 million frames of a dipole, 1.8 million of a polarizability."""


def collect(chunks: Iterator[NDArray[np.float64]]) -> NDArray[np.float64] | StoredSeries:
    """Chunks [frame, ...] as one array, or as a temporary file where they are more than ``IN_MEMORY_BYTES``."""
    held: list[NDArray[np.float64]] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += chunk.nbytes
        if size > IN_MEMORY_BYTES:
            return _to_disk(chain(held, chunks))
    return np.concatenate(held)


def _to_disk(chunks: Iterator[NDArray[np.float64]]) -> StoredSeries:
    try:
        return StoredSeries.from_chunks(chunks)
    except OSError as error:
        raise SeriesError(
            "temporary file of a series", got=error.strerror or error, todo="Let TMPDIR name a folder with more space"
        ) from None


def open_npy(path: Path, factor: float) -> NDArray[np.float64] | SlicedSeries:
    """The array of an .npy file; a large one is read slice by slice.

    A memory map would do the same, but its pages count as memory of the process.

    Raises:
        SeriesError: not such a file, or cut off.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(file)
            offset = file.tell()
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        if path.stat().st_size < offset + size:
            raise ValueError(f"{path.stat().st_size} bytes of {offset + size}")
        if fortran or not shape or dtype.hasobject or size <= IN_MEMORY_BYTES:
            return np.load(path, allow_pickle=False).astype(np.float64) * factor
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise SeriesError(f"table {path}", got=f"unreadable ({error})", wanted="an array saved by numpy") from None
    row = int(np.prod(shape[1:], dtype=np.int64))

    def read(start: int, stop: int) -> NDArray:
        with path.open("rb") as file:
            file.seek(offset + start * row * dtype.itemsize)
            return np.fromfile(file, dtype=dtype, count=(stop - start) * row).reshape(-1, *shape[1:])

    return SlicedSeries(read, shape, factor)
