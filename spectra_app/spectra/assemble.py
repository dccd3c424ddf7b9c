"""From a spectral density to what every spectrum shares: error bars, peaks, verdict, grid.

A spectrum is a function of a density: a mapping of names to arrays.  It is computed once from all data and once without
each group; nothing here knows which spectrum it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import spectra_app
from spectra_app.spectra import guards
from spectra_app.spectra.density import SpectralDensity
from spectra_app.spectra.integrals import Band, BandIntegral, integrate_bands
from spectra_app.spectra.peaks import Peak, find_peaks, find_signed_peaks
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings
from spectra_app.spectra.uncertainty import (
    LengthReport,
    SpreadAccumulator,
    half_spread,
    judge_length,
    pseudo_values,
    relative_error,
)

Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Assembled:
    """What a spectrum is built from.

    Attributes:
        wavenumber_per_cm: [nu] the part of the grid that is kept.
        values: arrays [nu] by name.
        errors: their standard errors by the same names.
        peaks: bands of the main array.
        report: verdict.
        integrals: of the main array, over all of the table and over each band asked for.
        correction_history: what was done about the integration time step, for the history; nothing where nothing was.
        correction_parameters: the same in numbers, for the parameters.
    """

    wavenumber_per_cm: NDArray[np.float64]
    values: Arrays
    errors: Arrays
    peaks: tuple[Peak, ...]
    report: LengthReport
    integrals: tuple[BandIntegral, ...]
    correction_history: tuple[str, ...] = ()
    correction_parameters: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def fields(self) -> dict[str, NDArray[np.float64]]:
        """Values by name and errors by ``<name>_error``, as the dataclasses of spectra take them."""
        return {**self.values, **{f"{name}_error": error for name, error in self.errors.items()}}


def assemble(
    series: EstimatorInput,
    density: SpectralDensity,
    settings: EstimatorSettings,
    compute: Callable[[NDArray[np.float64]], Arrays],
    main: str,
    *,
    keep_zero: bool,
    warnings: tuple[str, ...],
    signed: bool = False,
    compute_main: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    bands_per_cm: Sequence[Band] = (),
) -> Assembled:
    """Values, errors, peaks and verdict of a spectrum.

    Args:
        series: where it came from, for the report.
        density: spectral densities of all data and without each group.
        settings: of the estimator.
        compute: takes densities [channel, nu] on the full grid to arrays [nu] by name, on the full grid (value at zero
            may be anything finite where ``keep_zero`` is False).
        main: name of the array to search for peaks and to judge.
        keep_zero: keep the point at zero wavenumber.
        warnings: sentences found so far; those about the spectrum are added, and all are sent as warnings.
        signed: the main array has bands of either sign.
        compute_main: the main array alone where that is less work (bands are measured on densities of their own).
        bands_per_cm: bands over which the main array is integrated, besides the whole; its point at zero counts.
    """
    grid = density.wavenumber_per_cm
    end = len(grid)
    if settings.max_wavenumber_per_cm is not None:
        end = min(end, int(np.searchsorted(grid, settings.max_wavenumber_per_cm, side="right")))
    kept = slice(0 if keep_zero else 1, max(end, 3))
    full = compute(density.total)
    suspicions, highest = guards.check_spectrum(grid[1:], np.abs(full[main][1:]) if signed else full[main][1:])
    values = {name: array[kept] for name, array in full.items()}
    accumulators = {name: SpreadAccumulator(density.resampling) for name in values}
    mains: list[NDArray[np.float64]] = []
    whole: list[NDArray[np.float64]] = []
    for resampled in density.resamples():
        for name, array in compute(resampled).items():
            accumulators[name].add(array[kept])
            if name == main:
                whole.append(array[: kept.stop])
                mains.append(array[kept])
    missing = np.full(len(grid[kept]), np.nan)
    errors = {name: accumulators[name].error() if mains else missing for name in values}
    search = find_signed_peaks if signed else find_peaks
    sharp = density.sharpened()
    sharpened = None
    if sharp is not None:
        alone = compute_main or (lambda one: compute(one)[main])
        sharpened = alone(sharp.total)[kept], [alone(one)[kept] for one in sharp.resamples()]
    resolution = density.plan.resolution_per_cm
    peaks = search(grid[kept], values[main], errors[main], mains, resolution, density.resampling, sharpened)
    all_warnings = (*warnings, *density.plan.warnings, *suspicions)
    report = _report(series, density, settings, values[main], errors[main], mains, highest, all_warnings)
    guards.emit(all_warnings)
    lines, numbers = correction_record(density, peaks)
    end = kept.stop  # integrals begin at zero
    integrals = integrate_bands(grid[:end], full[main][:end], whole, density.resampling, bands_per_cm, resolution)
    return Assembled(grid[kept], values, errors, peaks, report, integrals, lines, numbers)


def correction_record(density: SpectralDensity, peaks: Sequence[Peak]) -> tuple[tuple[str, ...], dict[str, object]]:
    """Lines of history and parameters that say how a correction of the time step changed the strongest band."""
    correction = density.correction
    if correction is None:
        return (), {}
    line = (
        f"integration time step {correction.timestep_fs:g} fs ({correction.integrator}): "
        "wavenumbers and intensities corrected"
    )
    numbers: dict[str, object] = {
        "integration_timestep_fs": correction.timestep_fs,
        "integrator": correction.integrator,
    }
    if peaks:
        strongest = max(peaks, key=lambda peak: abs(peak.height)).position_per_cm
        shift, area = correction.effect_at(strongest)
        line += f"; at {strongest:.0f} cm^-1 by -{shift:.1f} cm^-1, area divided by {area:.4f}"
        numbers |= {"timestep_shift_per_cm": shift, "timestep_area_factor": area}
    return (line,), numbers


def _report(
    series: EstimatorInput,
    density: SpectralDensity,
    settings: EstimatorSettings,
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    mains: list[NDArray[np.float64]],
    highest_per_cm: float,
    warnings: tuple[str, ...],
) -> LengthReport:
    """The length verdict of the main array."""
    plan, jackknife = density.plan, density.resampling == "jackknife"
    duration_ps = plan.n_total * series.timestep_fs / 1000.0
    relative = relative_error(values, errors) if mains else math.nan
    wanted_resolution = settings.resolution_per_cm
    if settings.method == "cepstral":
        wanted_resolution = plan.resolution_per_cm  # chosen by the information criterion: no wish can be missed
    verdict, sentence, needed = judge_length(
        relative, settings.precision, duration_ps, plan.resolution_per_cm, wanted_resolution
    )
    return LengthReport(
        verdict=verdict,
        sentence=sentence,
        duration_ps=duration_ps,
        n_frames=series.n_frames,
        n_replicas=series.n_replicas,
        timestep_fs=series.timestep_fs,
        resolution_per_cm=plan.resolution_per_cm,
        wanted_resolution_per_cm=wanted_resolution,
        nyquist_per_cm=float(density.wavenumber_per_cm[-1]),
        highest_per_cm=highest_per_cm,
        relative_error=relative,
        wanted_relative_error=settings.precision,
        half_spread=half_spread(pseudo_values(values, mains)) if mains and jackknife else math.nan,
        needed_ps=needed,
        warnings=warnings,
    )


def estimator_history(series: EstimatorInput, density: SpectralDensity, settings: EstimatorSettings) -> tuple[str, ...]:
    """Lines of the history that every spectrum begins with."""
    plan = density.plan
    errors = f"jackknife over {len(plan.groups)} blocks or replicas"
    if settings.method == "welch":
        pieces = sum(len(starts) for group in plan.groups for _, starts in group)
        how = f"{pieces} segments of {plan.length} samples, {100 * settings.overlap:.0f}% overlap"
    elif settings.method == "lag":
        how = f"full-length correlation function, {plan.length} lags"
    else:
        how = f"log-periodogram of {plan.n_samples} samples, up to {plan.length} cepstral coefficients (Akaike)"
        errors = "variance of the cepstral coefficients"
    window = "none" if settings.method == "cepstral" else settings.window
    rate = ""
    if series.derivative:
        rate = "forward differences, corrected" if settings.derivative == "difference" else "omega^2 times the density"
        rate = f"; rate by {rate}"
    return (
        f"spectra-app {spectra_app.__version__}",
        f"series: {_frames(series)} frames x {series.n_replicas} replicas, {series.timestep_fs:g} fs",
        f"{settings.method}: {how}, window {window}, resolution {plan.resolution_per_cm:.4g} cm^-1{rate}",
        f"errors: {errors}",
    )


def _frames(series: EstimatorInput) -> str:
    """Frames per replica, in words where they are not the same."""
    shortest = int(series.lengths.min())
    return f"{series.n_frames}" if shortest == series.n_frames else f"{shortest} to {series.n_frames}"


def estimator_parameters(settings: EstimatorSettings) -> dict[str, object]:
    """The estimator's settings, named as in the configuration."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name != "workers"}
