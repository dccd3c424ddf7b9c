"""Infrared and Raman spectra, dielectric functions and Born charges from energies and forces alone.

The public names are imported when first used: ``import spectra_app`` costs no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra_app.born import born_charges
    from spectra_app.couplings.ase_potential import AsePotential
    from spectra_app.couplings.open_model import load_model
    from spectra_app.jobs import run_recipe, run_spectrum, series_spectrum
    from spectra_app.jobs.extrapolation import extrapolation
    from spectra_app.jobs.labelling import label_structures
    from spectra_app.jobs.normal_modes import harmonic_limit
    from spectra_app.jobs.simulation import Simulation
    from spectra_app.runs import read_run
    from spectra_app.spectra.infrared import infrared_spectrum
    from spectra_app.spectra.raman import raman_spectrum
    from spectra_app.spectra.vdos import vdos

# Threads of OpenMP that wait for others do not spin: beside another job on a busy machine spinning ones kept the cores
# from those they waited for, and a step took twenty times as long.  Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

__all__ = [
    "AsePotential",
    "Simulation",
    "__version__",
    "born_charges",
    "extrapolation",
    "harmonic_limit",
    "infrared_spectrum",
    "label_structures",
    "load_model",
    "raman_spectrum",
    "read_run",
    "run_recipe",
    "run_spectrum",
    "series_spectrum",
    "vdos",
]

_HOME = {
    "AsePotential": "spectra_app.couplings.ase_potential",
    "load_model": "spectra_app.couplings.open_model",
    "Simulation": "spectra_app.jobs.simulation",
    "infrared_spectrum": "spectra_app.spectra",
    "raman_spectrum": "spectra_app.spectra",
    "vdos": "spectra_app.spectra",
    "born_charges": "spectra_app.born",
    "extrapolation": "spectra_app.jobs.extrapolation",
    "harmonic_limit": "spectra_app.jobs.normal_modes",
    "label_structures": "spectra_app.jobs.labelling",
    "read_run": "spectra_app.runs",
    "run_recipe": "spectra_app.jobs",
    "run_spectrum": "spectra_app.jobs",
    "series_spectrum": "spectra_app.jobs",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'spectra_app' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names for completion and ``help``."""
    return sorted(__all__)
