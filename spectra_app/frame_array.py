"""Arrays [frame, ...] that are not in memory: what is common to all that read or compute their frames when asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameArray(ABC):
    """Looks like an array: ``shape``, ``dtype``, ``ndim``, ``len``, slices, ``np.asarray``.

    The first index is a frame or a slice of frames that goes forwards; the other axes take any index.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray:
        frames, rest = (key[0], tuple(key[1:])) if isinstance(key, tuple) else (key, ())
        if isinstance(frames, int | np.integer):
            frame = range(len(self))[int(frames)]  # counts from the end where negative, and refuses what is outside
            return np.asarray(self.read(slice(frame, frame + 1, 1), rest)[0])
        frames = slice(*frames.indices(len(self)))
        if frames.step < 0:
            raise IndexError("frames are read forwards")
        return np.asarray(self.read(frames, rest))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    @abstractmethod
    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """Frames [frame, ...], indexed by ``rest`` in their other axes.

        Args:
            frames: start, stop and step > 0 within the array.
            rest: indices of the axes behind the first.
        """
