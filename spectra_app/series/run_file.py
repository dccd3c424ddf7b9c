"""Long run files: the recorded series read a slice at a time, with what the spectrum needs beside it.

``trajectory.read_run`` holds a run in memory; ten million frames with polarizabilities would be 2 GB.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError, TrajectoryError
from spectra_app.frame_array import FrameArray
from spectra_app.series.arrays import BLOCK_NUMBERS
from spectra_app.series.clock import Clock
from spectra_app.series.request import Series
from spectra_app.series.storage import SlicedSeries
from spectra_app.trajectory.layout import replica_names
from spectra_app.trajectory.writer import open_h5, open_run_file

LONG_FRAMES = 500_000
"""From here on a run file is read in slices: below, everything recorded is less than 110 MB a replica."""

_METADATA = "parameters/spectra_app/metadata"


def is_run_file(path: Path) -> bool:
    """Whether a file is one of ``spectra-app md`` or ``record``."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with open_h5(path) as file:
            return _METADATA in file
    except OSError:  # cut off: read_run says so
        return True


def is_long_run(path: Path) -> bool:
    """Whether a run file has ``LONG_FRAMES`` or more."""
    if not is_run_file(path):
        return False
    try:
        with open_h5(path) as file:
            return len(file["observables/dipole/value"]) >= LONG_FRAMES
    except (OSError, KeyError):
        return False


def open_run(path: Path, quantity: str) -> Series:
    """The dipoles or polarizabilities [frame, replica, ...] of a run file, read in slices.

    Args:
        path: a run file.
        quantity: ``dipole`` or ``polarizability``.

    Raises:
        TrajectoryError: nothing of the kind recorded.
        SeriesError: uneven times.
    """
    with open_h5(path) as file:
        observables = file["observables"]
        if quantity not in observables:
            raise TrajectoryError(f"{quantity} in {path}", got="none", wanted="a model that predicts it")
        metadata: dict[str, Any] = json.loads(file[_METADATA].asstr()[()])
        element = observables[quantity]
        n_frames = min(len(group[part]) for group in observables.values() for part in ("time", "value"))
        if n_frames < 2:
            raise SeriesError(f"run file {path}", got=f"{n_frames} frames", wanted="a time series")
        clock = Clock(path, "time", "fs")
        for start in range(0, n_frames, BLOCK_NUMBERS):
            clock.add(element["time"][start : min(start + BLOCK_NUMBERS, n_frames)])
        shape = (n_frames, *element["value"].shape[1:])
        mean_K: float | None = _mean(observables["temperature"]["value"], n_frames)
        volume = _mean(observables["volume"]["value"], n_frames) if "volume" in observables else None
        if volume is None and metadata.get("cell_A") is not None:
            volume = float(abs(np.linalg.det(np.array(metadata["cell_A"], dtype=float))))

    def read(start: int, stop: int) -> NDArray:
        with open_h5(path) as again:
            return again[f"observables/{quantity}/value"][start:stop]

    if mean_K is None or not np.isfinite(mean_K):  # decorated trajectories without velocities
        mean_K = metadata.get("temperature_K")
    return Series(
        SlicedSeries(read, shape, 1.0),
        clock.mean_step() or float("nan"),
        "dipole" if quantity == "dipole" else "polarizability",
        "hdf5",
        volume,
        mean_K,
        eps_inf=metadata.get("eps_inf") if volume is not None else None,
    )


class ReplicaSeries(FrameArray):
    """Datasets [frame, ...] of the replicas of a run seen as [frame, replica, ...], without reading them.

    Args:
        file: stays open as long as the object lives.
        names: of the datasets, one per replica.
        n_frames: frames that are complete in all.
    """

    def __init__(self, file: h5py.File, names: list[str], n_frames: int) -> None:
        self._file = file
        self._datasets = [file[name] for name in names]
        self.shape = (n_frames, len(names), *self._datasets[0].shape[1:])
        self.dtype = self._datasets[0].dtype

    def read(self, frames: slice, rest: tuple[Any, ...]) -> NDArray:
        """See ``FrameArray.read``; of one replica nothing else is read."""
        if rest and isinstance(rest[0], int | np.integer):
            return np.asarray(self._datasets[rest[0]][frames][:, *rest[1:]])
        return np.stack([data[frames] for data in self._datasets], axis=1)[:, *rest]

    def close(self) -> None:
        """Close the file now; otherwise it closes with the object."""
        self._file.close()


@dataclass(frozen=True)
class RunVelocities:
    """The stored velocities of a run file, read in slices.

    Attributes:
        values: [frame, replica, atom, xyz], A/fs.
        timestep_fs: time between stored configurations.
        numbers: [atom], atomic numbers.
        masses_amu: [atom], amu.
    """

    values: ReplicaSeries
    timestep_fs: float
    numbers: NDArray[np.int64]
    masses_amu: NDArray[np.float64]


def open_velocities(path: Path) -> RunVelocities:
    """The velocities of a run file; memory does not grow with their number.

    Args:
        path: a run file, also one that still grows.

    Raises:
        TrajectoryError: no such file, damaged, or not a run file.
        SeriesError: no stored velocities, too few frames, or uneven times.
    """
    with open_run_file(path) as file:
        names = replica_names(len(file["particles"]))
        groups = [file["particles"][name] for name in names]
        if "velocity" not in groups[0]:
            raise SeriesError(
                f"velocities in {path}", got="none", wanted="a run of md, or a recorded trajectory with velocities"
            )
        n_frames = min(len(group["velocity"][part]) for group in groups for part in ("step", "time", "value"))
        if n_frames < 2:
            raise SeriesError(f"velocities in {path}", got=f"{n_frames} frames", wanted="a time series")
        clock = Clock(path, "time", "fs")
        for start in range(0, n_frames, BLOCK_NUMBERS):
            clock.add(groups[0]["velocity"]["time"][start : min(start + BLOCK_NUMBERS, n_frames)])
        numbers, masses = groups[0]["species"][()], groups[0]["mass"][()]
    values = ReplicaSeries(open_h5(path), [f"particles/{name}/velocity/value" for name in names], n_frames)
    return RunVelocities(values, clock.mean_step() or math.nan, numbers, masses)


def _mean(dataset: h5py.Dataset, n_frames: int) -> float:
    """Mean over frames and replicas, block by block."""
    total = sum(
        float(np.sum(dataset[start : min(start + BLOCK_NUMBERS, n_frames)]))
        for start in range(0, n_frames, BLOCK_NUMBERS)
    )
    return total / (n_frames * dataset.shape[1])
