"""The lines of normal modes in a run of the crystal: what anharmonicity does to each of them."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_app.config import SpectraSettings
from spectra_app.errors import StructureError
from spectra_app.jobs.policy import integration_of
from spectra_app.joined import JoinedReplicas, equal_parts
from spectra_app.spectra import VDOS, SpectrumWarning, timestep_from_times, vdos

if TYPE_CHECKING:
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.harmonic.shifts import ModeShift, ModeShifts
    from spectra_app.runs import Run

_SAME_MASS = 1e-6
_COARSER = (1.0, 1.5, 2.0, 3.0)  # times the resolution: of one mode little is sampled
_POINTS = 32  # of the spectrum per independent one: a line narrower than the window is drawn to the nearest point
_AT_ONCE = 2**25  # numbers of mode velocities in memory: 256 MiB


def mode_shifts(run: Run, limit: HarmonicLimit, settings: SpectraSettings | None = None) -> ModeShifts:
    """The lines of the modes of a crystal in a run of it.

    Args:
        run: of repetitions of the cell of the modes.
        limit: normal modes.
        settings: of the estimator; None takes the defaults.

    Raises:
        StructureError: a molecule, which turns; a run of other atoms or masses, or without velocities or positions.
    """
    from spectra_app.harmonic.projection import cells_of
    from spectra_app.harmonic.shifts import ModeShifts

    positions, cell = run.stored_positions_A, run.mean_cell_A
    if limit.kind == "molecule" or cell is None:
        raise StructureError("modes in dynamics", got="a molecule, which turns", wanted="a crystal or slab")
    if run.velocities_A_per_fs is None or positions is None or len(positions) < 2:
        raise StructureError("modes in dynamics", got="no stored velocities", wanted="a run of md")
    n_cells = cells_of(limit.atoms, run.numbers, np.asarray(equal_parts(positions)[0][0, 0]), cell)
    if not np.allclose(np.tile(limit.modes.masses_amu, n_cells), run.masses_amu, rtol=_SAME_MASS):
        raise StructureError("modes in dynamics", got="masses of other isotopes", wanted="those of the run")
    chosen = settings or SpectraSettings()
    given = {"timestep_fs": timestep_from_times(run.trajectory_time_fs), **integration_of(run, chosen)}
    rows = [
        _row(_line(velocities, len(places), chosen, given), places, limit)
        for places, velocities in _lines(run.velocities_A_per_fs, limit, n_cells)
    ]
    volume = abs(float(np.linalg.det(cell))) / n_cells / float(limit.atoms.cell.volume)
    return ModeShifts(tuple(rows), float(np.mean(run.temperature_K)), n_cells, volume)


def _line(velocities: Any, n_modes: int, settings: SpectraSettings, given: dict[str, Any]) -> VDOS:
    """Spectrum of a set of modes at the finest resolution, of the wanted one and coarser ones, that shows its line."""
    for factor in _COARSER:
        points = max(settings.zero_padding, _POINTS)
        change = {"resolution_per_cm": factor * settings.resolution_per_cm, "zero_padding": points}
        coarser = settings.model_copy(update=change)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpectrumWarning)  # of a short run every line would say it again
            line = vdos(velocities, np.ones(n_modes), degrees_of_freedom=float(n_modes), settings=coarser, **given)
        if line.peaks:
            break
    return line


def _lines(velocities: Any, limit: HarmonicLimit, n_cells: int) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Places of each set of modes, and their velocities as atoms of mass one that move along x have them."""
    from spectra_app.harmonic.projection import mode_velocities

    parts = equal_parts(velocities)
    groups = [places for places in limit.modes.groups() if limit.modes.frequencies_per_cm[places[0]] > 0.0]
    at_once = max(1, _AT_ONCE // sum(part.shape[0] * part.shape[1] for part in parts))
    for start in range(0, len(groups), at_once):
        some = groups[start : start + at_once]
        known = [mode_velocities(part, limit.modes, n_cells, np.concatenate(some)) for part in parts]
        ends = list(itertools.accumulate((len(places) for places in some), initial=0))
        for places, (begin, end) in zip(some, itertools.pairwise(ends), strict=True):
            padded = [np.zeros((*part.shape[:2], end - begin, 3)) for part in known]
            for target, part in zip(padded, known, strict=True):
                target[..., 0] = part[..., begin:end]
            yield places, padded[0] if len(padded) == 1 else JoinedReplicas(padded)


def _row(line: VDOS, places: NDArray[np.int64], limit: HarmonicLimit) -> ModeShift:
    """The highest band of a mode's spectrum."""
    from spectra_app.harmonic.shifts import ModeShift

    top = max(line.peaks, key=lambda peak: peak.height, default=None)
    return ModeShift(
        first=int(places[0]) + 1,
        last=int(places[-1]) + 1,
        representation=limit.representations[int(places[0])],
        harmonic_per_cm=float(limit.modes.frequencies_per_cm[places].mean()),
        md_per_cm=None if top is None else _finite(top.position_per_cm),
        md_error_per_cm=None if top is None else _finite(top.position_error_per_cm),
        width_per_cm=None if top is None else _finite(top.width_per_cm),
        width_error_per_cm=None if top is None else _finite(top.width_error_per_cm),
        resolution_per_cm=float(line.report.resolution_per_cm),
        temperature_K=line.temperature_K,
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
