"""Series longer than memory: chunks in, an array-like out whose frames are read a slice at a time.

Every estimator, guard and spectrum of this package asks a series only for its shape and for slices of frames
(``plan.Series``), so that a NumPy array, an HDF5 dataset, a memory map and the classes below give the same numbers.
A stream that can be read only once (text of another code, a pipe) is laid down in an unnamed temporary file first:
one pass over the stream, 8 bytes a number on disk, next to nothing in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import SeriesError
from spectra_app.frame_array import FrameArray

_READ_BYTES = 32 * 2**20
"""Largest piece read at once where a caller asks for one replica of many frames."""
_IN_MEMORY_BYTES = 128 * 2**20
"""An integrated series up to this size is an array."""


class StoredSeries(FrameArray):
    """A series [frame, ...] in an unnamed temporary file, which vanishes with the object.

    Slices of frames read from the file (``pread``, not a memory map: mapped pages would count as memory); the other
    axes take any index.
    """

    def __init__(self, file: Any, tail: tuple[int, ...], n_frames: int, dtype: np.dtype) -> None:
        self._file = file
        self.shape = (n_frames, *tail)
        self.dtype = dtype
        self._frame_bytes = dtype.itemsize * int(np.prod(tail, dtype=np.int64))

    @classmethod
    def from_chunks(
        cls, chunks: Iterable[ArrayLike], *, dtype: Any = np.float64, folder: Path | str | None = None
    ) -> StoredSeries:
        """Take an iterator of chunks to disk.

        Args:
            chunks: arrays [frame, ...], any number of frames each, the other axes the same in all.
            dtype: type on disk; float32 halves the file and is exact enough for a spectrum whose mean is small.
            folder: where the temporary file lies; None takes the system's place (TMPDIR).

        Raises:
            SeriesError: no frame at all, or chunks of different shape.
        """
        kind = np.dtype(dtype)
        file = tempfile.TemporaryFile(dir=folder, prefix="spectra-app-")  # noqa: SIM115 - lives as long as the object
        tail: tuple[int, ...] | None = None
        n_frames = 0
        for number, chunk in enumerate(chunks):
            block = np.ascontiguousarray(chunk, dtype=kind)
            if tail is None:
                tail = block.shape[1:]
            if block.ndim == 0 or block.shape[1:] != tail:
                raise SeriesError(f"shape of chunk {number}", got=block.shape, wanted=("frame", *tail))
            file.write(block.tobytes())
            n_frames += len(block)
        if tail is None or n_frames == 0:
            raise SeriesError("series", got="no frame", wanted="chunks of frames")
        file.flush()
        return cls(file, tail, n_frames, kind)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``."""
        start, stop, step = frames.start, frames.stop, frames.step
        if step == 1 and not rest:
            return self._read(start, stop)  # nothing to leave out: pieces would be copied once more
        per_read = max(1, _READ_BYTES // max(1, self._frame_bytes))
        per_read = max(step, per_read - per_read % step)  # so that the stride goes on across the pieces
        index = (slice(None, None, step), *rest)
        pieces = [self._read(a, min(a + per_read, stop))[index] for a in range(start, max(stop, start + 1), per_read)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read(self, start: int, stop: int) -> NDArray:
        """Frames start to stop, as written."""
        count = max(0, stop - start)
        data = bytearray(count * self._frame_bytes)
        view, offset = memoryview(data), start * self._frame_bytes
        while len(view):  # one call reads at most 2 GiB
            done = os.preadv(self._file.fileno(), [view], offset)
            if done == 0:
                raise OSError(f"temporary file of a series ends at byte {offset}")
            view, offset = view[done:], offset + done
        return np.frombuffer(data, dtype=self.dtype).reshape(count, *self.shape[1:])

    def close(self) -> None:
        """Give the disk space back now; otherwise it goes with the object."""
        self._file.close()

    def __enter__(self) -> StoredSeries:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


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


class OneReplica:
    """A series [frame, component...] seen as [frame, 1, component...], without reading it."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self.shape = (values.shape[0], 1, *values.shape[1:])
        self.dtype = values.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray:
        if not isinstance(key, tuple):
            return np.asarray(self._values[key])[:, None]
        return np.asarray(self._values[key[0]])[:, None][:, *key[1:]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self._values, dtype=dtype)[:, None]


class JoinedSeries:
    """Several series [frame, replica, component...] of one run side by side: [frame, replica, all components].

    Args:
        parts: at least one; frames and replicas the same in all.

    Raises:
        SeriesError: different numbers of frames or replicas.
    """

    def __init__(self, *parts: Any) -> None:
        heads = {tuple(part.shape[:2]) for part in parts}
        if len(heads) != 1:
            raise SeriesError(
                "frames and replicas", got=" and ".join(map(str, heads)), wanted="the same in each series"
            )
        self._parts = parts
        self._counts = [int(np.prod(part.shape[2:], dtype=np.int64)) for part in parts]
        self.shape = (*parts[0].shape[:2], sum(self._counts))
        self.dtype = np.dtype(np.float64)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray:
        blocks = [np.asarray(part[key], dtype=np.float64) for part in self._parts]
        head = blocks[0].ndim - (self._parts[0].ndim if hasattr(self._parts[0], "ndim") else len(self._parts[0].shape))
        axes = 2 + head  # frames and replicas that the key has left standing
        return np.concatenate([block.reshape(*block.shape[:axes], -1) for block in blocks], axis=-1)
