"""Trajectories of any program: formats known by name and content, frames unwrapped and checked."""

from __future__ import annotations

from spectra_app.readers.trajectories.dispatch import open_trajectory

__all__ = ["open_trajectory"]
