"""The time step of a file that is read once, in blocks: from its times, its step numbers or the user."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError

EVEN = 1e-3
"""Largest relative unevenness of the time step (file formats round times)."""
DIGITS = 8
"""Significant digits that times of text files are trusted to."""


class Clock:
    """Checks that times, or step numbers, are evenly spaced, block by block.

    Args:
        path: for messages.
        name: what the file calls the column.
        unit: ``fs`` for times, ``steps`` for step numbers.
    """

    def __init__(self, path: Path, name: str, unit: str) -> None:
        self._path, self._name, self._unit = path, name, unit
        self._first = self._last = math.nan
        self._count = 0
        self.step = math.nan

    def add(self, times: NDArray[np.float64]) -> None:
        """Times (fs) or step numbers [frame] of the next block.

        Raises:
            SeriesError: not rising evenly; names the frame.
        """
        whole = times if self._count == 0 else np.concatenate([[self._last], times])
        steps = np.diff(whole)
        if math.isnan(self.step) and len(steps):
            self.step = float(np.median(steps))
        # Printed times are rounded: allow for their last digit beside the relative tolerance.
        slack = EVEN * abs(self.step) + 2.0 * 10.0 ** (-DIGITS) * np.abs(whole[1:])
        wrong = ~(np.abs(steps - self.step) <= slack)
        if wrong.any() or self.step <= 0.0:
            index = int(np.argmax(wrong)) if wrong.any() else 0
            frame = self._count + index + int(self._count == 0)
            raise SeriesError(
                f"column {self._name} of {self._path}, time step before frame {frame}",
                got=f"{steps[index]:.6g} {self._unit}",
                wanted=f"{self.step:.6g} {self._unit} as elsewhere" if self.step > 0 else "rising times",
                todo="Remove doubled frames and join runs only where they continue at the same stride",
            )
        self._first = float(whole[0]) if self._count == 0 else self._first
        self._last = float(whole[-1])
        self._count += len(times)

    def mean_step(self) -> float | None:
        """Mean spacing, or None with fewer than two frames."""
        return (self._last - self._first) / (self._count - 1) if self._count > 1 else None


def decide_timestep(path: Path, given_fs: float | None, found_fs: float | None) -> float:
    """Time between rows, fs: the option, checked against what the file says.

    Raises:
        SeriesError: neither is there, or they contradict each other.
    """
    step = given_fs if given_fs is not None else found_fs
    if step is None or not step > 0:
        raise SeriesError(
            f"time step of {path}", got=given_fs, wanted="the time between rows", todo="Say --timestep-fs 0.5"
        )
    if found_fs is not None and abs(step - found_fs) > EVEN * found_fs:
        raise SeriesError(f"--timestep-fs for {path}", got=given_fs, wanted=f"{found_fs:g}, as its time column says")
    return step
