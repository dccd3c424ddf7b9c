"""Opens the run file that ``layout`` describes: finished, growing, or left by a killed process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from spectra_app.errors import TrajectoryError

METADATA = "parameters/spectra_app/metadata"


@contextlib.contextmanager
def open_run_file(path: Path) -> Iterator[h5py.File]:
    """Open a run file for reading, also while it grows or after its writer was killed.

    Raises:
        TrajectoryError: no such file, truncated, damaged, or not a run file.
    """
    if not path.is_file():
        raise TrajectoryError(f"run file {path}", got="no such file", wanted="an HDF5 run file")
    try:
        file = open_h5(path)
    except OSError:
        raise TrajectoryError(
            f"run file {path}",
            got="a truncated or damaged file",
            wanted="an HDF5 file",
            todo="Run the simulation again",
        ) from None
    try:
        with file:
            if METADATA not in file:
                raise TrajectoryError(f"run file {path}", got="an HDF5 file of another program", wanted="a run file")
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise TrajectoryError(
            f"run file {path}", got=f"a damaged file ({error})", todo="Run the simulation again"
        ) from None


def open_h5(path: Path) -> h5py.File:
    """Open any HDF5 file for reading, also a run file that still grows.

    Raises:
        OSError: the file is truncated or damaged.
    """
    return h5py.File(path, "r", libver="latest", swmr=is_growing(path))


def is_growing(path: Path) -> bool:
    """Whether a writer has the file open, or was killed while it had.

    HDF5 itself retries for ever on a file that ends before its superblock says, so that is looked at here
    (HDF5 file format 4.0, II.A: consistency flags at byte 11, end of file at byte 28 of superblock version 3).

    Raises:
        OSError: the file is shorter than it says.
    """
    for _ in range(10):
        with path.open("rb") as file:
            head = file.read(36)
            size = file.seek(0, os.SEEK_END)
        if head[:9] != b"\x89HDF\r\n\x1a\n\x03":
            return False
        if size >= int.from_bytes(head[28:36], "little"):
            return bool(head[11] & 0b101)
        time.sleep(0.02)  # a writer may be between the two
    raise OSError("truncated")


def is_run_file(path: Path) -> bool:
    """Whether a file is one of ``spectra-app md`` or ``record``."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with open_h5(path) as file:
            return METADATA in file
    except OSError:  # cut off: read_run says so
        return True


def is_empty_run(path: Path) -> bool:
    """Whether a file is a run file in which nothing was recorded yet."""
    try:
        with open_h5(path) as file:
            return METADATA in file and len(file["observables/dipole/step"]) == 0
    except (OSError, KeyError):
        return False


@dataclass(frozen=True)
class RunFile:
    """A run file that is opened again for every read, so that it may go on growing meanwhile.

    Attributes:
        path: the file.
        metadata: its metadata when it was first opened; a file with others is another run.
    """

    path: Path
    metadata: str

    @contextlib.contextmanager
    def open(self) -> Iterator[h5py.File]:
        """The open file.

        Raises:
            TrajectoryError: it was damaged, removed or replaced by another run.
        """
        with open_run_file(self.path) as file:
            if file[METADATA].asstr()[()] != self.metadata:
                raise TrajectoryError(
                    f"run file {self.path}",
                    got="another run than when it was opened",
                    wanted="the same file",
                    todo="Read it again",
                )
            yield file
