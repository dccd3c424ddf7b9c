"""Recognises units that do not fit together, before hours are spent on training."""

from __future__ import annotations

from collections.abc import Sequence

from spectra_app.training.dataset import Frame


def check_units(frames: Sequence[Frame]) -> None:
    """Refuse data whose lengths, energies and forces do not belong to one unit system."""
