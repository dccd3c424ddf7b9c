"""One door for every format: what a file is, by its content, and its series in our units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError
from spectra_app.readers.series import cp2k, ipi_extras
from spectra_app.readers.series.array_files import check_finite, read_hdf5, read_npy, read_npz
from spectra_app.readers.series.branches import BranchFollower
from spectra_app.readers.series.clock import Clock, decide_timestep
from spectra_app.readers.series.ipi import ipi_layout
from spectra_app.readers.series.layouts import Layout, gpumd_layout, lammps_layout, table_layout, travis_layout
from spectra_app.readers.series.request import Request, Series
from spectra_app.readers.series.storage import collect
from spectra_app.readers.series.text import Head, read_head, read_rows

TEXT_SUFFIXES = (".csv", ".txt", ".dat", ".tsv")
ARRAY_SUFFIXES = (".npy", ".npz")
_LAMMPS_TITLES = ("Time-averaged data for fix", "Fix print output for fix", "TimeStep ")
_GPUMD_NAMES = ("dipole", "polarizability", "dpdt")
_LAYOUTS: dict[str, Callable[[Head, Request], Layout]] = {
    "table": table_layout, "gpumd": gpumd_layout, "lammps": lammps_layout, "ipi": ipi_layout, "travis": travis_layout,
}  # fmt: skip


def open_series(path: Path | str, request: Request) -> Series:
    """Open the series of another code.

    A long series stays on disk: the array-like in ``values`` reads the frames that are asked for (a text file is
    copied to a temporary file in one pass).

    Args:
        path: any file of ``FORMATS``.
        request: what it is and how to read it.

    Raises:
        SeriesError: no such file; unit, time step or columns that nobody told; a damaged file (with the line); NaN;
            jumps by a polarization quantum that were not asked to be removed.
    """
    path = Path(path)
    if not path.is_file():
        raise SeriesError(
            f"table {path}", got="no such file", wanted=f"one of {' '.join(TEXT_SUFFIXES + ARRAY_SUFFIXES)}"
        )
    kind = find_format(path) if request.format == "auto" else request.format
    if kind in ("npy", "npz", "hdf5"):
        series = {"npy": read_npy, "npz": read_npz, "hdf5": read_hdf5}[kind](path, request)
        check_finite(series.values, path)
        return _unwrap_array(series, path, request)
    if kind == "cp2k" and request.quantity == "dipole":
        head = read_head(path, cp2k.iteration_to_step)
        if not cp2k.is_dipole_trajectory(head):
            return _Assembly(path, request, kind).moments()
        return _Assembly(path, request, kind).table(head, cp2k.dipole_layout(head, request))
    head = read_head(path)
    if kind == "ipi" and ipi_extras.is_extras(head):
        return _Assembly(path, request, kind).extras()
    if not head.width:
        raise SeriesError(f"table {path}", got="no numbers", wanted="one row per time step")
    layout = cp2k.polar_layout(head, request) if kind == "cp2k" else _LAYOUTS[kind](head, request)
    return _Assembly(path, request, kind).table(head, layout)


def find_format(path: Path) -> str:
    """A key of ``FORMATS`` by the content of a file: signatures of binary files, headers of text."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY") or path.suffix.lower() == ".npy":
        return "npy"
    if start.startswith(b"PK\x03\x04") or path.suffix.lower() == ".npz":
        return "npz"
    if start == b"\x89HDF\r\n\x1a\n" or path.suffix.lower() in (".h5", ".hdf5"):
        return "hdf5"
    head = read_head(path)
    if cp2k.is_dipole_trajectory(head) or cp2k.is_polar_trajectory(head) or cp2k.has_moments(head):
        return "cp2k"
    comments = head.comments
    if any("-->" in line for line in comments) or ipi_extras.is_extras(head):
        return "ipi"
    if any(line.startswith(_LAMMPS_TITLES) for line in comments):
        return "lammps"
    if any(line.startswith(("format_version", "dt_output")) for line in comments):
        return "gpumd"
    if not comments and path.suffix == ".out" and path.name.lower().startswith(_GPUMD_NAMES):
        return "gpumd"
    if any("Polarizability_XX" in line or "PolElDipXX" in line for line in head.before):
        return "travis"
    return "table"


def _unwrap_array(series: Series, path: Path, request: Request) -> Series:
    """Branch jumps out of an array in memory (single run)."""
    if not request.unwrap:
        return series
    values = np.asarray(series.values)
    if request.cell is None or values.ndim != 2:
        raise SeriesError(f"--unwrap for {path}", got="no cell", wanted="--cell-A and one run [frame, xyz]")
    follower = BranchFollower(path)
    whole = follower.add(values, request.cell)
    return Series(whole, series.timestep_fs, series.quantity, series.format, branch_jumps=follower.jumps)


class _Assembly:
    """A text file on its way to a series: times checked, branches followed, volume and temperature averaged."""

    def __init__(self, path: Path, request: Request, kind: str) -> None:
        self._path, self._request, self._kind = path, request, kind
        self._follower = BranchFollower(path)
        self._sums = {"volume": 0.0, "temperature": 0.0}
        self._count = 0

    def table(self, head: Head, layout: Layout) -> Series:
        """A file of columns."""
        clock = None
        if layout.time is not None:
            clock = Clock(self._path, layout.clock_name, "fs")
        elif layout.counter is not None:
            clock = Clock(self._path, layout.clock_name, "steps")
        values = collect(self._blocks(head, layout, clock))
        found = layout.timestep_fs
        if layout.time is not None and clock is not None:
            found = clock.mean_step()
        return self._series(values, layout, found)

    def moments(self) -> Series:
        """A file of CP2K moments."""
        layout = Layout((0, 1, 2), ("x", "y", "z"), self._request.factor(self._path, "D"), "dipole")

        def blocks() -> Iterator[NDArray[np.float64]]:
            for dipoles, quanta in cp2k.read_moments(self._path):
                if quanta is not None:
                    self._sums["volume"] += float(np.abs(np.linalg.det(quanta)).sum())
                self._count += len(dipoles)
                cell = self._request.cell
                yield self._followed(dipoles, quanta if cell is None else cell)

        first = next(chunks := blocks(), None)
        if first is None:
            raise SeriesError(
                f"table {self._path}", got="no dipole moment", wanted="lines 'Dipole moment [Debye]'",
                todo="Switch on &DFT &PRINT &MOMENTS",
            )  # fmt: skip

        def all_blocks() -> Iterator[NDArray[np.float64]]:
            yield first
            yield from chunks

        return self._series(collect(all_blocks()), layout, None, has_volume=self._sums["volume"] > 0.0)

    def extras(self) -> Series:
        """Files of extras of i-PI, of all beads."""
        files = ipi_extras.bead_files(self._path)
        clock = Clock(self._path, "Step", "steps")

        def blocks() -> Iterator[NDArray[np.float64]]:
            for block in ipi_extras.read_extras(files, self._request, clock):
                self._count += len(block)
                yield block if block.ndim == 3 else self._followed(block, self._request.cell)

        values = collect(blocks())
        series = self._series(values, Layout((), (), 1.0, self._request.quantity), None)
        notes = [] if self._request.unit else ["atomic units are taken (--unit says another one)"]
        if len(files) > 1:
            notes.append(f"mean over {len(files)} beads: the estimator of ring-polymer dynamics")
        return replace(series, notes=(*series.notes, *notes))

    def _blocks(self, head: Head, layout: Layout, clock: Clock | None) -> Iterator[NDArray[np.float64]]:
        take = _tensor_index(self._path, layout.order) if self._request.quantity == "polarizability" else slice(None)
        for rows in read_rows(head, layout.clean):
            if clock is not None and layout.time is not None:
                clock.add(rows[:, layout.time[0]] * layout.time[1])
            elif clock is not None and layout.counter is not None:
                clock.add(rows[:, layout.counter])
            for name, place in (("volume", layout.volume), ("temperature", layout.temperature)):
                if place is not None:
                    self._sums[name] += float(rows[:, place[0]].sum()) * place[1]
            block = rows[:, layout.components] * layout.factor
            if not np.isfinite(block).all():
                frame = self._count + int(np.argwhere(~np.isfinite(block))[0, 0])
                raise SeriesError(f"table {self._path}, frame {frame}", got="NaN or infinity", wanted="finite numbers")
            self._count += len(rows)
            if self._request.quantity == "polarizability":
                yield np.asarray(block[:, take])
            else:
                yield self._followed(block, self._request.cell if layout.quantity == "dipole" else None)

    def _followed(self, block: NDArray[np.float64], quanta: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """The block on the branch of the first frame, where the quanta are known; the block itself otherwise."""
        if quanta is None:
            if self._request.unwrap:
                raise SeriesError(
                    f"--unwrap for {self._path}",
                    got="no cell",
                    wanted="the cell of the run",
                    todo="Say --cell-A 9.8,9.8,9.8",
                )
            return block
        whole = self._follower.add(block, quanta)
        return whole if self._request.unwrap else block

    def _series(self, values: Any, layout: Layout, found_fs: float | None, has_volume: bool = False) -> Series:
        if self._count < 2:
            raise SeriesError(f"table {self._path}", got=f"{self._count} frames", wanted="a time series")
        jumps = self._follower.jumps
        if jumps and not self._request.unwrap:
            raise SeriesError(
                f"polarization in {self._path}",
                got=f"{jumps} jumps by a quantum, the first at frame {self._follower.first_jump}",
                wanted="one branch",
                todo="Say --unwrap to remove them",
            )
        step = decide_timestep(self._path, self._request.timestep_fs, found_fs)
        volume = self._sums["volume"] / self._count if layout.volume is not None or has_volume else None
        if volume is None and self._request.cell is not None:
            volume = float(abs(np.linalg.det(self._request.cell)))
        temperature = self._sums["temperature"] / self._count if layout.temperature is not None else None
        notes = (f"{jumps} jumps by a polarization quantum removed",) if jumps else ()
        if layout.quantity == "current":
            notes = (*notes, "the rate dP/dt of the file is taken, not P")
        return Series(values, step, layout.quantity, self._kind, volume, temperature, branch_jumps=jumps, notes=notes)


def _tensor_index(path: Path, order: tuple[str, ...]) -> NDArray[np.int64]:
    """[xyz, xyz] columns of the components of a symmetric tensor, from the names of those there are."""
    place = {component: column for column, component in enumerate(order)}
    index = np.empty((3, 3), dtype=np.int64)
    for a, first in enumerate("xyz"):
        for b, second in enumerate("xyz"):
            column = place.get(first + second, place.get(second + first))
            if column is None:
                raise SeriesError(f"columns of {path}", got=" ".join(order), wanted=f"also a component {first}{second}")
            index[a, b] = column
    return index
