"""Arrays [frame, ...] that are not in memory: everything that reads or computes its frames when they are asked for.

Every estimator, guard and spectrum asks a series only for its shape and for slices of frames, so that a NumPy array,
a recorded series of a run file, a file of another code and a temporary file give the same numbers.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import SeriesError

BLOCK_BYTES = 32 * 2**20
"""A recorded series is read in blocks of this size: 1.4 million frames of a dipole."""
_KEPT_BLOCKS = 2
"""Blocks that stay in memory: neighbouring segments of a spectrum meet at the edge of two."""
_READ_BYTES = 32 * 2**20
"""Largest piece read at once where a caller asks for one replica of many frames."""

Boundary = Literal["open", "slab", "periodic"]


class FrameArray(NDArrayOperatorsMixin, ABC):
    """Looks like an array: ``shape``, ``dtype``, ``ndim``, ``len``, slices, arithmetic, ``np.asarray``.

    Slices of frames read what they need; arithmetic and NumPy's functions read the whole.

    Attributes:
        shape: of the whole.
        dtype: of the numbers.
        boundary: of the system whose property this is, where it is known.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    boundary: Boundary | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray:
        frames, rest = (key[0], tuple(key[1:])) if isinstance(key, tuple) else (key, ())
        if isinstance(frames, int | np.integer):
            frame = range(len(self))[int(frames)]  # counts from the end where negative, and refuses what is outside
            return np.asarray(self.read(slice(frame, frame + 1, 1), rest)[0])
        if not isinstance(frames, slice) or any(index is Ellipsis or index is None for index in rest):
            return np.asarray(self)[key]  # masks, lists of frames, new axes
        frames = slice(*frames.indices(len(self)))
        if frames.step < 0:
            raise IndexError("frames are read forwards")
        return np.asarray(self.read(frames, rest))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = (np.asarray(value) if isinstance(value, FrameArray) else value for value in inputs)
        return getattr(ufunc, method)(*arrays, **options)

    def mean(self, axis: Any = None, dtype: Any = None, out: None = None, **options: Any) -> Any:
        """Mean; that of everything, and that over frames (axis 0), a block of frames at a time."""
        step = max(1, BLOCK_BYTES // (8 * max(1, self.size // max(1, len(self)))))
        if axis not in (None, 0) or len(self) <= step or options:
            return np.asarray(self).mean(axis=axis, dtype=dtype, **options)
        total = sum(
            np.sum(self[start : start + step], axis=axis, dtype=dtype or np.float64)
            for start in range(0, len(self), step)
        )
        return total / (self.size if axis is None else len(self))

    def std(self, axis: Any = None, dtype: Any = None, out: None = None, **options: Any) -> Any:
        """Standard deviation."""
        return np.asarray(self).std(axis=axis, dtype=dtype, **options)

    def ravel(self) -> NDArray:
        """All numbers in a row."""
        return np.asarray(self).ravel()

    def reshape(self, *shape: Any) -> NDArray:
        """The numbers in another shape."""
        return np.asarray(self).reshape(*shape)

    @abstractmethod
    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """Frames [frame, ...], indexed by ``rest`` in their other axes.

        Args:
            frames: start, stop and step > 0 within the array.
            rest: indices of the axes behind the first.
        """


Frames = np.ndarray | FrameArray
"""What a recorded quantity may be."""


class RecordedArray(FrameArray):
    """Datasets [frame, ...] of an HDF5 file, of one or of several replicas, read when asked for.

    Args:
        open_file: context manager that opens the file anew, so that a run may go on growing, or be replaced, meanwhile.
        names: one dataset [frame, ...]; or a list of one per replica, which is then seen as [frame, replica, ...].
        shape: of the whole, with the frames that were complete when the file was first opened.
        dtype: of the dataset.
        in_blocks: read ``BLOCK_BYTES`` together and keep them, for series that are read from end to end; otherwise,
            where the whole is longer than that, only what is asked for is read.
        boundary: of the system.
        replicas: of one dataset [frame, replica, ...], those that are seen; None: all, or it has none.
    """

    def __init__(
        self,
        open_file: Callable[[], AbstractContextManager[Any]],
        names: str | list[str],
        shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        in_blocks: bool = True,
        boundary: Boundary | None = None,
        replicas: tuple[int, ...] | None = None,
    ) -> None:
        self._open, self._names, self._replicas = open_file, names, replicas
        self.shape, self.dtype, self.boundary = shape, dtype, boundary
        bytes_per_frame = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._block_frames = max(1, BLOCK_BYTES // max(1, bytes_per_frame))
        self._in_blocks = in_blocks or shape[0] <= self._block_frames
        self._blocks: dict[int, NDArray] = {}

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``."""
        if not self._in_blocks:
            return self._from_file(frames, rest)
        size, (start, stop, step) = self._block_frames, (frames.start, frames.stop, frames.step)
        pieces = []
        for number in range(start // size, max(start, stop - 1) // size + 1):
            first = number * size
            begin = start if start >= first else start + -((start - first) // step) * step  # the stride goes on
            pieces.append(self._block(number)[(slice(begin - first, max(0, stop - first), step), *rest)])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _block(self, number: int) -> NDArray:
        block = self._blocks.pop(number, None)
        if block is None:
            first = number * self._block_frames
            block = self._from_file(slice(first, min(first + self._block_frames, len(self)), 1), ())
            block.flags.writeable = False  # every caller sees the same
            while len(self._blocks) >= _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[number] = block  # the latest last
        return block

    def _from_file(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        with self._open() as file:
            if isinstance(self._names, str):
                if self._replicas is None:
                    return np.asarray(file[self._names][(frames, *rest)])
                if rest and isinstance(rest[0], int | np.integer):
                    return np.asarray(file[self._names][(frames, self._replicas[int(rest[0])], *rest[1:])])
                return np.asarray(file[self._names][frames])[:, list(self._replicas)][:, *rest]
            if rest and isinstance(rest[0], int | np.integer):  # of one replica nothing else is read
                return np.asarray(file[self._names[int(rest[0])]][frames])[:, *rest[1:]]
            return np.stack([file[name][frames] for name in self._names], axis=1)[:, *rest]


class SlicedSeries(FrameArray):
    """[frame, ...] float64 numbers of which only the frames asked for are in memory.

    Args:
        read: gives frames start to stop, any real type.
        shape: of the whole.
        factor: to our unit.
    """

    def __init__(self, read: Callable[[int, int], NDArray], shape: tuple[int, ...], factor: float) -> None:
        self._read, self._factor = read, factor
        self.shape = shape
        self.dtype = np.dtype(np.float64)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``."""
        block = np.asarray(self._read(frames.start, max(frames.start, frames.stop)), dtype=np.float64)
        block = block if self._factor == 1.0 else block * self._factor
        return block[(slice(None, None, frames.step), *rest)]


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


class OneReplica(FrameArray):
    """A series [frame, component...] seen as [frame, 1, component...], without reading it."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self.shape = (values.shape[0], 1, *values.shape[1:])
        self.dtype = values.dtype

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``."""
        return np.asarray(self._values[frames])[:, None][(slice(None), *rest)]


class JoinedSeries(FrameArray):
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
        counts = [int(np.prod(part.shape[2:], dtype=np.int64)) for part in parts]
        self.shape = (*parts[0].shape[:2], sum(counts))
        self.dtype = np.dtype(np.float64)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``."""
        replicas = rest[0] if rest else slice(None)
        blocks = [np.asarray(part[frames, replicas], dtype=np.float64) for part in self._parts]
        heads = [block.ndim - len(part.shape[2:]) for block, part in zip(blocks, self._parts, strict=True)]
        flat = [block.reshape(*block.shape[:head], -1) for block, head in zip(blocks, heads, strict=True)]
        return np.concatenate(flat, axis=-1)[(..., *rest[1:])]
