"""What made a run file: versions of everything that computes."""

from __future__ import annotations

import platform

import numpy as np
import torch

from spectra_app import __version__


def versions() -> dict[str, str]:
    """Versions of spectra-app, Python, torch and numpy."""
    return {
        "spectra_app": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
