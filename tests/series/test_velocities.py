"""Velocities of a run file read in slices give the density of states of those in memory."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from spectra_app.cli.compute import vdos_of_file
from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError
from spectra_app.series.run_file import open_velocities
from spectra_app.spectra import vdos
from spectra_app.trajectory.writer import RunHeader, RunWriter


def write_run(path, velocities, numbers, masses):
    """A run file of velocities [frame, replica, atom, xyz], 2 fs apart; None: without."""
    n_replicas = 1 if velocities is None else velocities.shape[1]
    header = RunHeader(numbers, masses, False, n_replicas, 2.0, ("dipole",), True, velocities is not None, {})
    RunWriter(path, header).close()
    if velocities is None:
        return
    with h5py.File(path, "a") as file:
        for replica in range(n_replicas):
            group = file["particles"]["all" if n_replicas == 1 else f"replica_{replica}"]
            for element, values in (("velocity/value", velocities[:, replica]), ("position/value", None)):
                group[element].resize(len(velocities), axis=0)
                if values is not None:
                    group[element][:] = values
            for name, values in (("step", np.arange(len(velocities))), ("time", 2.0 * np.arange(len(velocities)))):
                if len(group["position"][name]) == 0:
                    group["position"][name].resize(len(velocities), axis=0)
                    group["position"][name][:] = values


@pytest.fixture(params=[1, 3])
def run(request, tmp_path):
    rng = np.random.default_rng(0)
    velocities = 0.01 * rng.normal(size=(700, request.param, 4, 3)).astype(np.float32)
    numbers, masses = np.array([8, 1, 1, 8]), np.array([16.0, 1.0, 2.0, 18.0])
    write_run(tmp_path / "run.h5", velocities, numbers, masses)
    return tmp_path / "run.h5", velocities, numbers, masses


def test_slices_are_those_of_the_array(run):
    path, velocities, numbers, masses = run
    found = open_velocities(path)
    assert found.timestep_fs == 2.0
    np.testing.assert_array_equal(found.numbers, numbers)
    np.testing.assert_array_equal(found.masses_amu, masses)
    assert found.values.shape == velocities.shape
    last = velocities.shape[1] - 1
    keys = (slice(3, 50), (slice(600, 900), last), (slice(0, 9, 2), 0, 2), 5, (-1, last), (slice(None), slice(0, 1)))
    for key in keys:
        np.testing.assert_array_equal(found.values[key], velocities[key])
    np.testing.assert_array_equal(np.asarray(found.values), velocities)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")  # white noise reaches Nyquist
def test_density_of_states_equals_that_in_memory(run):
    path, velocities, _, masses = run
    settings = SpectraSettings(resolution_per_cm=100.0)
    found = vdos_of_file(path, settings)
    wanted = vdos(velocities, masses, timestep_fs=2.0, symbols=list("OHHO"), degrees_of_freedom=9, settings=settings)
    np.testing.assert_array_equal(found.total, wanted.total)
    np.testing.assert_array_equal(found.total_error, wanted.total_error)
    np.testing.assert_array_equal(found.elements["H"], wanted.elements["H"])


def test_run_without_velocities_is_refused(tmp_path):
    write_run(tmp_path / "none.h5", None, np.array([8]), np.array([16.0]))
    with pytest.raises(SeriesError, match=r"velocities in .*none"):
        open_velocities(tmp_path / "none.h5")
