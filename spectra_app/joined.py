"""Replicas of several runs as one series [frame, replica, ...]: not in memory, and of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.arrays import FrameArray
from spectra_app.errors import SeriesError


class JoinedReplicas(FrameArray):
    """The replicas of several runs of one system side by side, each as long as its run.

    One replica at a time is read to its own end; all of them together only where all have frames.

    Args:
        parts: [frame, replica, component...] each, at least one; the components the same in all.
        frames: only so many of every part are seen, and a shorter part not at all; None takes everything.

    Attributes:
        parts: those that are seen; the replicas of one are equally long.
        lengths: [replica] frames.

    Raises:
        SeriesError: other components in one part than in another.
    """

    def __init__(self, parts: Sequence[Any], frames: int | None = None) -> None:
        tails = {tuple(part.shape[2:]) for part in parts}
        if len(tails) != 1:
            raise SeriesError("components of the runs", got=" and ".join(map(str, tails)), wanted="the same in each")
        self.parts = tuple(part for part in parts if frames is None or len(part) >= frames)
        self._whole = frames is None
        counts = [part.shape[1] for part in self.parts]
        self.lengths: NDArray[np.int64] = np.repeat([frames or len(part) for part in self.parts], counts)
        self._owner = [(part, k) for part, count in zip(self.parts, counts, strict=True) for k in range(count)]
        self.shape = (int(self.lengths.max()), len(self.lengths), *tails.pop())
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        self.boundary = getattr(self.parts[0], "boundary", None)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``.

        Raises:
            SeriesError: frames of all replicas that some do not have.
        """
        if rest and isinstance(rest[0], int | np.integer):
            part, own = self._owner[int(rest[0])]
            stop = min(frames.stop, int(self.lengths[int(rest[0])]))
            return np.asarray(part[(slice(frames.start, stop, frames.step), own, *rest[1:])])
        if frames.stop > self.lengths.min():
            got = f"runs of {self.lengths.min()} to {self.lengths.max()} frames"
            raise SeriesError("frames of all runs at once", got=got, wanted="equal lengths, or one replica at a time")
        block = np.concatenate([np.asarray(part[frames]) for part in self.parts], axis=1)
        return np.asarray(block[(slice(None), *rest)])

    def mean(self, axis: Any = None, dtype: Any = None, out: None = None, **options: Any) -> Any:
        """Mean; that of everything counts every frame of every replica the same."""
        if axis is not None or options or not self._whole:
            return super().mean(axis=axis, dtype=dtype, **options)
        means = [np.mean(part, dtype=dtype or np.float64) for part in self.parts]
        return np.average(means, weights=[part.size for part in self.parts])

    def equal(self) -> JoinedReplicas:
        """The runs that are long enough for the number of frames by which most of the whole is kept, cut to it."""
        return JoinedReplicas(self.parts, shared_frames(self.lengths)[0])


def shared_frames(lengths: ArrayLike) -> tuple[int, int]:
    """Frames, and the replicas that have them, whose product is the largest; the longer ones of two such.

    Args:
        lengths: [replica] frames.
    """
    ordered = np.sort(np.asarray(lengths, dtype=np.int64))[::-1]
    best = int(np.argmax(ordered * np.arange(1, len(ordered) + 1)))
    frames = int(ordered[best])
    return frames, int(np.sum(ordered >= frames))


def equal_parts(values: Any) -> tuple[Any, ...]:
    """Series whose replicas are equally long: the runs that a series was joined of, or a series itself."""
    return values.parts if isinstance(values, JoinedReplicas) else (values,)


def replica_lengths(values: Any) -> NDArray[np.int64]:
    """[replica] frames of a series [frame, replica, ...]."""
    if isinstance(values, JoinedReplicas):
        return values.lengths
    return np.full(values.shape[1], values.shape[0], dtype=np.int64)


def of_equal_length(values: Any) -> tuple[Any, tuple[str, ...]]:
    """A series whose replicas are equally long, for what needs that, and a sentence where frames were left out."""
    lengths = replica_lengths(values)
    if np.ptp(lengths) == 0:
        return values, ()
    cut = values.equal()
    share = 100.0 * float(cut.lengths.sum() / lengths.sum())
    return cut, (f"taken from {len(cut.lengths)} of {len(lengths)} replicas cut to {len(cut)} frames ({share:.0f}%)",)


def replica_mean(values: Any) -> NDArray[np.float64]:
    """Mean [frame] of a series [frame, replica] over the replicas that have the frame."""
    total, count = np.zeros(values.shape[0]), np.zeros(values.shape[0])
    for part in equal_parts(values):
        total[: len(part)] += np.asarray(part, dtype=np.float64).sum(axis=1)
        count[: len(part)] += part.shape[1]
    return np.asarray(total / count)
