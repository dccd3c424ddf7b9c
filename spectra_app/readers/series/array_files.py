"""Series in array files: NumPy and HDF5, the run file and other H5MD among the latter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spectra_app.arrays import SlicedSeries
from spectra_app.errors import SeriesError
from spectra_app.readers.series.clock import Clock, decide_timestep
from spectra_app.readers.series.request import Request, Series
from spectra_app.readers.series.storage import IN_MEMORY_BYTES, open_npy

BLOCK_NUMBERS = 2**20
_TIME_UNITS = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
# Units of datasets, as our run file and others write them -> names of request.py.
_UNITS = {
    "e Angstrom": "eA", "eA": "eA", "debye": "D", "D": "D", "e bohr": "au", "au": "au",
    "e+2 Angstrom+2 eV-1": "e2A2/eV", "e2A2/eV": "e2A2/eV", "Angstrom+3": "A3", "A3": "A3", "epm2/V": "epm2/V",
}  # fmt: skip
_TAIL = {"dipole": (3,), "polarizability": (3, 3)}


def read_npy(path: Path, request: Request) -> Series:
    """An .npy file: [frame, (replica,) xyz] or [frame, (replica,) xyz, xyz].

    Raises:
        SeriesError: unreadable, another shape, no unit or no time step.
    """
    values = open_npy(path, request.factor(path))
    check_shape(path, values.shape, request)
    return Series(values, decide_timestep(path, request.timestep_fs, None), request.quantity, "npy")


def read_npz(path: Path, request: Request) -> Series:
    """An array of an .npz file, named by the key unless it is the only one.

    Raises:
        SeriesError: unreadable, no such array, another shape, no unit or no time step.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            name = _choose(path, list(content.files), request.key)
            values = np.asarray(content[name], dtype=np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise SeriesError(f"table {path}", got=f"unreadable ({error})", wanted="an array saved by numpy") from None
    check_shape(path, values.shape, request)
    step = decide_timestep(path, request.timestep_fs, None)
    return Series(values * request.factor(path), step, request.quantity, "npz")


def read_hdf5(path: Path, request: Request) -> Series:
    """A dataset of an HDF5 file, or an H5MD element (a group with ``value`` and ``time``).

    The attribute ``unit`` of the dataset and ``timestep_fs`` or an element's times are believed; a file with
    ``observables/dipole`` or ``observables/polarizability`` needs no key.

    Raises:
        SeriesError: unreadable, no such dataset, another shape, no unit, no or uneven times.
    """
    with _open(path) as file:
        name = _element(path, file, request)
        dataset = file[name]
        times = None
        if isinstance(dataset, h5py.Group):
            dataset, times = dataset["value"], dataset.get("time")
        check_shape(path, dataset.shape, request)
        own = _UNITS.get(str(dataset.attrs.get("unit", "")))
        factor = request.factor(path, own)
        found = float(dataset.attrs["timestep_fs"]) if "timestep_fs" in dataset.attrs else _step(path, times)
        step = decide_timestep(path, request.timestep_fs, found)
        shape, address = dataset.shape, dataset.name
        values: Any = None
        if dataset.dtype.itemsize * math.prod(shape) <= IN_MEMORY_BYTES:
            values = dataset[()].astype(np.float64) * factor

    def read(start: int, stop: int) -> NDArray:
        with _open(path) as again:
            return again[address][start:stop]

    if values is None:
        values = SlicedSeries(read, shape, factor)
    return Series(values, step, request.quantity, "hdf5")


def check_shape(path: Path, shape: tuple[int, ...], request: Request) -> None:
    """[frame, xyz] or [frame, replica, xyz] of dipoles, two times xyz of polarizabilities.

    Raises:
        SeriesError: another shape, or fewer than two frames.
    """
    tail = _TAIL[request.quantity]
    if len(shape) not in (len(tail) + 1, len(tail) + 2) or shape[-len(tail) :] != tail:
        axes = ", ".join(["xyz"] * len(tail))
        raise SeriesError(
            f"array in {path}", got=f"shape {shape}", wanted=f"[frame, {axes}] or [frame, replica, {axes}]"
        )
    if shape[0] < 2:
        raise SeriesError(f"table {path}", got=f"{shape[0]} frames", wanted="a time series")


def check_finite(values: Any, path: Path) -> None:
    """No NaN, looked at block by block.

    Raises:
        SeriesError: names the frame.
    """
    rows = max(1, BLOCK_NUMBERS // math.prod(values.shape[1:]))
    for start in range(0, len(values), rows):
        block = np.asarray(values[start : start + rows])
        if not np.isfinite(block).all():
            frame = start + int(np.argwhere(~np.isfinite(block))[0, 0])
            raise SeriesError(f"table {path}, frame {frame}", got="NaN or infinity", wanted="finite numbers")


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        got = f"'{key}'" if key else f"{len(names)} arrays"
        raise SeriesError(f"arrays in {path}", got=got, wanted=f"one of {', '.join(names)}", todo="Use --key NAME")
    return key


def _element(path: Path, file: h5py.File, request: Request) -> str:
    """Name of the dataset or element that is asked for."""
    if request.key is not None and request.key in file:
        return request.key
    standard = f"observables/{request.quantity}"
    if request.key is None and standard in file:
        return standard
    tail = _TAIL[request.quantity]
    names: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim - len(tail) in (1, 2) and item.shape[-len(tail) :] == tail:
            names.append(name.removesuffix("/value"))

    file.visititems(look)
    if not names:
        raise SeriesError(f"datasets in {path}", got="none", wanted=f"one of shape [frame, {str(tail)[1:-1]}]")
    return _choose(path, names, request.key)


def _step(path: Path, times: Any) -> float | None:
    """Time step of an H5MD element, fs."""
    if times is None or not len(times):
        return None
    unit = str(times.attrs.get("unit", ""))
    if unit not in _TIME_UNITS:
        raise SeriesError(f"unit of times in {path}", got=unit or "none", wanted=", ".join(_TIME_UNITS))
    clock = Clock(path, "time", "fs")
    for start in range(0, len(times), BLOCK_NUMBERS):
        clock.add(np.asarray(times[start : start + BLOCK_NUMBERS], dtype=np.float64) * _TIME_UNITS[unit])
    return clock.mean_step()


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise SeriesError(f"table {path}", got=f"unreadable ({error})", wanted="an HDF5 file") from None
