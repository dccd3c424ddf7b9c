"""Velocities of a run, whose configurations are stored apart for every replica, as one array."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from spectra_app import arrays, run_spectrum
from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError
from spectra_app.runs import read_run
from spectra_app.runs.layout import replica_names
from spectra_app.spectra import vdos
from tests.runs.synthetic import write_run


def stored(path: Path, n_replicas: int) -> np.ndarray:
    """Velocities as they stand in the file [tframe, replica, atom, xyz]."""
    with h5py.File(path) as file:
        return np.stack([file[f"particles/{name}/velocity/value"][()] for name in replica_names(n_replicas)], axis=1)


@pytest.mark.parametrize("block_bytes", [arrays.BLOCK_BYTES, 3000])
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_slices_are_those_of_the_array(
    tmp_path: Path, n_replicas: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    run = read_run(write_run(tmp_path / "run.h5", 1400, n_replicas=n_replicas))
    velocities, found = stored(run.path, n_replicas), run.velocities_A_per_fs
    assert found is not None
    assert found.shape == velocities.shape
    last = n_replicas - 1
    keys = (slice(3, 50), (slice(600, 900), last), (slice(0, 9, 2), 0, 2), 5, (-1, last), (slice(None), slice(0, 1)))
    for key in keys:
        np.testing.assert_array_equal(found[key], velocities[key])
    np.testing.assert_array_equal(np.asarray(found), velocities)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")
@pytest.mark.parametrize("block_bytes", [arrays.BLOCK_BYTES, 3000])
def test_density_of_states_equals_that_in_memory(
    tmp_path: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    run = read_run(write_run(tmp_path / "run.h5", 1400, n_replicas=2))
    found = run_spectrum(run, "vdos", resolution_per_cm=100.0, correct_timestep=False)
    wanted = vdos(
        stored(run.path, 2),
        run.masses_amu,
        timestep_fs=2.0,
        symbols=list("OHHOHH"),
        degrees_of_freedom=15,
        settings=SpectraSettings(resolution_per_cm=100.0),
    )
    np.testing.assert_allclose(found.total, wanted.total, rtol=1e-12)
    np.testing.assert_allclose(found.total_error, wanted.total_error, rtol=1e-9)
    np.testing.assert_allclose(found.elements["H"], wanted.elements["H"], rtol=1e-12)


def test_run_without_velocities_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "none.h5", 100, velocities=False)
    assert read_run(path).velocities_A_per_fs is None
    with pytest.raises(SeriesError, match=r"velocities in .*none"):
        run_spectrum(path, "vdos")
