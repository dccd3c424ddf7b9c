"""The harmonic limit of a structure in a folder: what ``spectra-app harmonic`` and a recipe do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spectra_app.config import HarmonicSettings, ModelChoice
from spectra_app.jobs.extrapolation import ExtrapolationReport, extrapolation
from spectra_app.jobs.harmonic_files import write_harmonic
from spectra_app.jobs.harmonic_store import STORE_FILE
from spectra_app.jobs.harmonic_structure import Progress
from spectra_app.jobs.normal_modes import harmonic_limit
from spectra_app.jobs.opened_model import opened_model

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.harmonic.limit import HarmonicLimit


@dataclass(frozen=True)
class HarmonicResult:
    """A harmonic limit and its files.

    Attributes:
        limit: normal modes, with everything that follows from them.
        files: everything written.
        extrapolation: how far the relaxed structure is outside the model's training data; None: not known.
    """

    limit: HarmonicLimit
    files: tuple[Path, ...]
    extrapolation: ExtrapolationReport | None


def normal_modes_of(
    choice: str | ModelChoice,
    structure: Atoms,
    settings: HarmonicSettings,
    folder: Path,
    *,
    device: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    eps_inf: float | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> HarmonicResult:
    """Normal modes of a structure, with every table and figure of them in a folder.

    What takes time is kept there (``derivatives.h5``): with the same model, structure and relaxation it is not done
    again, whatever else changes.

    Args:
        choice: the model, or the two.
        structure: crystal, slab or molecule.
        settings: of the modes and of what is drawn.
        folder: of all files; is made where it is missing.
        device: torch device; ``auto`` takes a GPU where there is one.
        dtype: of the network.
        eps_inf: high-frequency dielectric constant that the model's charges are scaled with where ``settings`` give
            no number; None: the model's.
        progress: called with the stage, what is done of it, and its length.
        say: told what was imported for a calculator, and that kept work fits.

    Raises:
        SpectraAppError: see ``harmonic_limit`` and ``opened_model``.
    """
    from spectra_app.plotting.harmonic_figure import save_harmonic_figures

    number = settings.eps_inf if isinstance(settings.eps_inf, float) else eps_inf
    model = opened_model(choice, device, dtype, number, say)
    store = folder / STORE_FILE
    limit = harmonic_limit(model, structure, settings, progress, store=store, say=say)
    files = [*write_harmonic(limit, folder, settings), *save_harmonic_figures(limit, folder), store]
    return HarmonicResult(limit, tuple(files), extrapolation(model, limit.atoms))
