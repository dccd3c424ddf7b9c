"""What looks like an array behaves like one."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_app.arrays import FrameArray, StoredSeries

WHOLE = np.random.default_rng(0).normal(size=(11, 2, 3))


class Counting(FrameArray):
    """Frames of an array in memory; remembers what was read."""

    def __init__(self) -> None:
        self.shape, self.dtype, self.slices = WHOLE.shape, WHOLE.dtype, []

    def read(self, frames, rest):
        self.slices.append(frames)
        return WHOLE[(frames, *rest)]


@pytest.mark.parametrize("make", [Counting, lambda: StoredSeries.from_chunks([WHOLE[:4], WHOLE[4:]])])
@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(3),
        slice(None),
        slice(2, 9, 3),
        slice(-4, None),
        slice(5, 2),
        (slice(None), 1),
        (slice(0, 5), slice(None), [0, 2]),
        (4, 1),
        (-2, slice(None), 2),
    ],
)
def test_every_index_gives_what_numpy_gives(make, key):
    array = make()
    np.testing.assert_array_equal(array[key], WHOLE[key])
    assert (len(array), array.ndim, array.shape) == (11, 3, (11, 2, 3))


def test_whole_arrays_and_other_dtypes():
    np.testing.assert_array_equal(np.asarray(Counting()), WHOLE)
    assert np.asarray(Counting(), dtype=np.float32).dtype == np.float32


def test_a_frame_reads_one_frame_and_what_is_outside_is_refused():
    array = Counting()
    array[-1]
    assert array.slices == [slice(10, 11, 1)]
    for frame in (11, -12):
        with pytest.raises(IndexError):
            array[frame]
    with pytest.raises(IndexError, match="read forwards"):
        array[::-1]
