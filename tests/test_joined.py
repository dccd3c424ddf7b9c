"""Replicas of several runs as one series: read like arrays side by side, each to its own end."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.joined import (
    JoinedReplicas,
    equal_parts,
    of_equal_length,
    replica_lengths,
    replica_mean,
    shared_frames,
)


def parts(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(frames, replicas, 3)) for frames, replicas in shapes]


def test_equal_runs_are_the_arrays_side_by_side() -> None:
    given = parts((20, 2), (20, 1))
    joined, whole = JoinedReplicas(given), np.concatenate(given, axis=1)
    np.testing.assert_array_equal(np.asarray(joined), whole)
    np.testing.assert_array_equal(joined[3:17:2, 1:, 2], whole[3:17:2, 1:, 2])
    np.testing.assert_array_equal(joined[:, 2], whole[:, 2])
    np.testing.assert_array_equal(joined[-1], whole[-1])
    assert joined.shape == whole.shape
    assert np.mean(joined) == pytest.approx(whole.mean(), rel=1e-14)
    np.testing.assert_allclose(joined.mean(axis=0), whole.mean(axis=0))
    assert of_equal_length(joined) == (joined, ())


def test_each_replica_of_unequal_runs_ends_where_its_run_ends() -> None:
    long, short = given = parts((20, 1), (12, 2))
    joined = JoinedReplicas(given)
    assert joined.shape == (20, 3, 3)
    assert joined.lengths.tolist() == replica_lengths(joined).tolist() == [20, 12, 12]
    assert equal_parts(joined) == joined.parts
    np.testing.assert_array_equal(joined[:, 0], long[:, 0])
    np.testing.assert_array_equal(joined[10:, 2, 1], short[10:, 1, 1])
    np.testing.assert_array_equal(joined[2:12], np.concatenate([long[2:12], short[2:]], axis=1))
    with pytest.raises(SeriesError, match=r"frames of all runs at once: got runs of 12 to 20 frames"):
        np.asarray(joined)
    everything = np.concatenate([long.ravel(), short.ravel()])
    assert np.mean(joined) == pytest.approx(everything.mean(), rel=1e-13)


def test_what_needs_equal_lengths_gets_most_of_the_whole() -> None:
    assert shared_frames([900, 900, 400, 400]) == (900, 2)
    assert shared_frames([900, 800, 700]) == (700, 3)
    assert shared_frames([900, 100]) == (900, 1)
    assert shared_frames([10, 20]) == (20, 1)  # twice 10 is as much: the longer one
    given = parts((20, 1), (18, 2), (3, 1))
    cut, (sentence,) = of_equal_length(JoinedReplicas(given))
    assert "3 of 4 replicas cut to 18 frames (92%)" in sentence
    np.testing.assert_array_equal(np.asarray(cut), np.concatenate([given[0][:18], given[1]], axis=1))
    np.testing.assert_allclose(np.mean(cut), np.asarray(cut).mean())
    np.testing.assert_array_equal(cut[15:40, 0], given[0][15:18, 0])


def test_mean_over_the_replicas_that_are_still_there() -> None:
    long, short = (part[..., 0] for part in parts((20, 1), (12, 2)))
    mean = replica_mean(JoinedReplicas([long, short]))
    np.testing.assert_allclose(mean[:12], (long[:12, 0] + short.sum(axis=1)) / 3.0)
    np.testing.assert_allclose(mean[12:], long[12:, 0])
    np.testing.assert_allclose(replica_mean(short), short.mean(axis=1))


def test_runs_of_other_shape_are_refused() -> None:
    with pytest.raises(SeriesError, match=r"components of the runs: .*wanted the same in each"):
        JoinedReplicas([np.zeros((5, 1, 3)), np.zeros((5, 1, 4))])
