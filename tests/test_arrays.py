"""What looks like an array behaves like one."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from spectra_app import arrays
from spectra_app.arrays import FrameArray, RecordedArray, StoredSeries

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


@pytest.mark.parametrize("block_frames", [1, 3, 4, 11, 100])
@pytest.mark.parametrize("in_blocks", [True, False])
@pytest.mark.parametrize("names", ["x", ["a", "b"]])
def test_recorded_arrays_are_those_of_the_file(tmp_path, monkeypatch, names, in_blocks, block_frames):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["a"], file["b"] = WHOLE, WHOLE[:, 0], WHOLE[:, 1]
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_frames * WHOLE[0].nbytes)
    opened = []

    def reopen():
        opened.append(1)
        return h5py.File(path)

    recorded = RecordedArray(reopen, names, WHOLE.shape, WHOLE.dtype, in_blocks=in_blocks)
    assert not opened
    for key in (
        0, -1, slice(None), slice(2, 9, 3), slice(1, None, 5), slice(-4, None), slice(5, 2), (slice(0, 5), 1),
        (slice(3, 10, 2), 0, 2), (4, 1), (slice(None), slice(0, 1)), [1, 5, 2], np.arange(11) > 6, (..., 0),
        slice(11, 20),
    ):  # fmt: skip
        np.testing.assert_array_equal(recorded[key], WHOLE[key])
    if block_frames == 100:
        assert len(opened) == 1  # kept


def test_arithmetic_and_means_are_numpys(monkeypatch):
    array = Counting()
    np.testing.assert_array_equal(2.0 * array - array[0], 2.0 * WHOLE - WHOLE[0])
    np.testing.assert_array_equal(array > 0, WHOLE > 0)
    np.testing.assert_array_equal(np.isfinite(array), True)
    assert array.size == WHOLE.size
    for block_bytes in (arrays.BLOCK_BYTES, 100):
        monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
        for axis in (None, 0, 1, (0, 1)):
            np.testing.assert_allclose(np.mean(array, axis=axis), WHOLE.mean(axis=axis), rtol=1e-13)
    np.testing.assert_array_equal(np.std(array, axis=0), WHOLE.std(axis=0))
    np.testing.assert_array_equal(array.ravel(), WHOLE.ravel())
    np.testing.assert_array_equal(array.reshape(-1, 3), WHOLE.reshape(-1, 3))
