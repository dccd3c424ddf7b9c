"""The right to write a run file: one process at a time, so that a job started twice cannot mix two runs in one file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from spectra_app.errors import TrajectoryError


class Claim:
    """Held from its making until ``release``; the operating system takes it back when the process ends in any way.

    A lock (flock) on a file beside the run file, which a restart replaces.  On a file system that knows no locks there
    is no protection.

    Args:
        output: the run file.

    Raises:
        TrajectoryError: another process writes the run.
        OSError: the folder cannot be written.
    """

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(output.name + ".lock")
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._descriptor)
                raise TrajectoryError(
                    f"run file {output}",
                    got="another process that is writing it",
                    wanted="to be alone",
                    todo="Wait until it ends (squeue, ps), or end it",
                ) from None
            except OSError:  # no locks here
                return
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                    return
            os.close(self._descriptor)  # the one who had it took the file away just now

    def release(self) -> None:
        """Give the right back."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
