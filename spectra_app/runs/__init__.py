"""The run file: how it is laid out and how it is read, at any length and without torch."""

from __future__ import annotations

from spectra_app.runs.joining import join_runs
from spectra_app.runs.opening import is_run_file
from spectra_app.runs.reader import Run, read_run

__all__ = ["Run", "is_run_file", "join_runs", "read_run"]
