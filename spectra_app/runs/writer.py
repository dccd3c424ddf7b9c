"""Writes the run file that ``layout`` describes, readable while it grows.

Single-writer multiple-reader mode keeps the file consistent at every flush: readers may open it at any time, and a
killed process leaves a file that still opens.  Every dataset that will ever be written exists from the start.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spectra_app.dynamics.blocks import TrajectoryBlock
from spectra_app.dynamics.observables import ObservableBlock
from spectra_app.errors import TrajectoryError
from spectra_app.runs.claim import Claim
from spectra_app.runs.layout import REASON_BYTES, RunHeader, create_run_file, replica_names
from spectra_app.runs.opening import open_run_file

FLUSH_SECONDS = 1.0  # readers see new frames at most this late; a flush costs 1-3 ms
COPY_BYTES = 32_000_000  # a restart copies the old file in pieces of about this size
RESERVED_BYTES = 32_000_000  # of free disk space: more than one block and what HDF5 holds back


class RunWriter:
    """Appends blocks to a run file; a context manager.

    Args:
        path: the file.
        header: what it holds.
        overwrite: replace an existing file.

    Raises:
        TrajectoryError: the file exists, cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, header: RunHeader, overwrite: bool = False) -> None:
        if path.exists() and not overwrite:
            raise TrajectoryError(
                f"output {path}",
                got="an existing file",
                todo="Continue it with --restart, replace it with --overwrite, or choose another name",
            )
        self.path = path
        self._header = header
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._claim = Claim(path)
            try:
                # Under its name only when it can be read: a kill leaves a whole file or none.
                new = path.with_name(path.name + ".new")
                self._file = create_run_file(new, header)
                os.replace(new, path)  # a reader may still hold the old file open
            except BaseException:
                self._claim.release()
                raise
        self._flushed = time.monotonic()

    @classmethod
    def resume(cls, path: Path, header: RunHeader, n_observables: int, n_trajectory: int) -> RunWriter:
        """Continue a file from given numbers of frames; later frames are dropped.

        The kept frames are copied to a new file that then replaces the old one: whatever state a kill left the old
        file in, the new one is clean, and a second kill during the copy loses nothing.

        Raises:
            TrajectoryError: the old file is damaged, holds fewer frames, or another process is writing it.
        """
        with explained(path):
            claim = Claim(path)
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            writer = cls(partial, header)
        except BaseException:
            claim.release()
            raise
        writer._claim.release()
        writer._claim = claim
        try:
            with open_run_file(path) as old, explained(partial):
                _copy_frames(old, writer._file, header, n_observables, n_trajectory, path)
                writer.flush()
            os.replace(partial, path)
        except BaseException:
            writer.close()
            partial.unlink(missing_ok=True)
            raise
        writer.path = path
        return writer

    def append_observables(self, block: ObservableBlock) -> None:
        """Add recorded steps.

        Raises:
            TrajectoryError: the disk is full or the file cannot be written.
        """
        group = self._file["observables"]
        with explained(self.path):
            self._check_space()
            for row in self._header.observables:
                _append(group[row.name]["value"], block.values[row.name])
            self._append_clock(group[self._header.observables[0].name], block.step)
            self._flush_if_due()

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        """Add stored configurations.

        Raises:
            TrajectoryError: the disk is full or the file cannot be written.
        """
        if not self._header.positions:
            return
        with explained(self.path):
            self._check_space()
            for replica, name in enumerate(replica_names(self._header.n_replicas)):
                group = self._file["particles"][name]
                _append(group["position/value"], block.positions_A[:, replica])
                if self._header.velocities and block.velocities_A_per_fs is not None:
                    _append(group["velocity/value"], block.velocities_A_per_fs[:, replica])
                if self._header.periodic:
                    _append(group["box/edges/value"], block.cell_A[:, replica])
                if replica == 0:
                    self._append_clock(group["position"], block.step)
            self._flush_if_due()

    def end_replica(self, replica: int, last_step: int, reason: str) -> None:
        """Say that the record of a replica ends with a step, and why.

        Raises:
            TrajectoryError: the disk is full or the file cannot be written.
        """
        with explained(self.path):
            ended = self._file["parameters/spectra_app/ended"]
            ended["reason"][replica] = reason.encode("utf-8", "replace")[:REASON_BYTES]
            ended["last_step"][replica] = last_step

    def note_equilibration(self, report: dict[str, Any]) -> None:
        """Store how the equilibration ended, in values that JSON can hold."""
        with explained(self.path):
            self._file["parameters/spectra_app/equilibration"][()] = np.bytes_(json.dumps(report).encode("ascii"))

    def finish(self, ms_per_step: float) -> None:
        """Mark the run as complete."""
        with explained(self.path):
            parameters = self._file["parameters/spectra_app"]
            parameters["ms_per_step"][()] = ms_per_step
            parameters["complete"][()] = 1
            self._file.flush()

    def flush(self) -> None:
        """Make everything appended so far visible to readers and safe against a kill."""
        with explained(self.path):
            self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Close the file; never raises, so that it cannot hide the error that led here."""
        with contextlib.suppress(Exception):
            self._file.close()
        self._claim.release()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append_clock(self, element: h5py.Group, step: np.ndarray) -> None:
        _append(element["time"], step * self._header.timestep_fs)
        _append(element["step"], step)  # last: a frame exists once its step does

    def _check_space(self) -> None:
        """Refuse to write where the disk is nearly full: HDF5 cannot even close a file whose last write failed."""
        if shutil.disk_usage(self.path.parent).free < RESERVED_BYTES:  # 2 us
            raise OSError(errno.ENOSPC, "No space left on device")

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing into one clear line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = str(error)
        # h5py raises OSError or RuntimeError without errno, with the reason inside a long text.
        if "No space left" in reason or getattr(error, "errno", None) == errno.ENOSPC:
            raise TrajectoryError(
                f"writing {path}", got="no space left on the disk", todo="Free some space and continue with --restart"
            ) from None
        for known in ("File too large", "Permission denied", "Read-only file system", "Disk quota exceeded"):
            if known in reason:
                reason = known
        raise TrajectoryError(
            f"writing {path}", got=reason, todo="Check the disk, then continue with --restart"
        ) from None


def _append(dataset: h5py.Dataset, values: Any) -> None:
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _copy_frames(
    old: h5py.File, new: h5py.File, header: RunHeader, n_observables: int, n_trajectory: int, path: Path
) -> None:
    """Copy the first frames of every growing dataset, piece by piece."""

    def copy(name: str, target: h5py.Dataset, frames: int) -> None:
        if name not in old:
            raise TrajectoryError(
                f"run file {path}", got=f"no {name}", todo="It is of another version: run again without --restart"
            )
        source = old[name]
        if source.shape[0] < frames or source.shape[1:] != target.shape[1:]:
            raise TrajectoryError(
                f"run file {path}",
                got=f"{name} of shape {source.shape}",
                wanted=f"at least {frames} frames of shape {target.shape[1:]}",
                todo="The file does not belong to its checkpoint: run again without --restart",
            )
        row = max(1, int(np.prod(source.shape[1:]))) * source.dtype.itemsize
        piece = max(1, COPY_BYTES // row)
        for start in range(0, frames, piece):
            _append(target, source[start : min(start + piece, frames)])

    for root, frames in (("observables", n_observables), ("particles", n_trajectory)):
        growing: list[str] = []  # linked step and time are visited once

        def collect(name: str, item: Any, growing: list[str] = growing) -> None:
            if isinstance(item, h5py.Dataset) and item.maxshape[:1] == (None,):
                growing.append(name)

        new[root].visititems(collect)
        for name in growing:
            copy(f"{root}/{name}", new[root][name], frames)
