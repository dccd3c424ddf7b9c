"""Spectral density of a time series: Welch segments, or the full-length correlation function with a lag window.

Definition, two-sided: ``S(omega) = int dt exp(-i omega t) <x(0) x(t)>``, unit of x squared times fs.  Every density
here is a weighted sum of autospectra, ``S_channel = sum_i weight[channel, i] S_i``; cross terms come in by the
polarization identity ``S_xy = (S_{x+y} - S_{x-y}) / 4`` (see dielectric.py).

Derivatives.  A spectrum of dx/dt is taken from forward differences, whose transfer function is known exactly, so the
density is multiplied by ``((omega dt / 2) / sin(omega dt / 2))^2``, between 1 and (pi/2)^2.  Differencing first also
keeps the huge low-frequency part of a dipole series from leaking into the bands.  ``direct`` takes omega^2 S_x instead:
better below the resolution (relaxation), worse above it where a window with high side lobes is used.

Both end in one ``density.SpectralDensity``.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from spectra_app.spectra import samples, windows
from spectra_app.spectra.cepstral import cepstral_density
from spectra_app.spectra.correlation import OriginSums
from spectra_app.spectra.density import SpectralDensity, density_from_sums
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, Plan, make_plan
from spectra_app.spectra.samples import component_blocks, read_samples, row_batches, time_means

_SEGMENTS_PER_READ = 3
"""At least so many segments are read together: at half overlap every frame is then read 1.3 times instead of twice."""


def spectral_density(
    series: EstimatorInput, weights: NDArray[np.float64], settings: EstimatorSettings
) -> SpectralDensity:
    """Weighted sums of the autospectra of a series, with leave-one-group-out copies.

    Args:
        series: the time series.
        weights: [channel, series], any unit.
        settings: method, window, resolution.

    Raises:
        SeriesError: fewer than ``MIN_FRAMES`` frames.
    """
    if settings.method == "cepstral":
        return cepstral_density(series, weights, settings)
    plan = make_plan(series, settings)
    differenced = series.derivative and settings.derivative == "difference"
    accumulate = _welch_sums if settings.method == "welch" else _lag_sums
    sums, counts = accumulate(series, weights, settings, plan, differenced)
    return density_from_sums(series, sums, counts, settings, plan)


def _welch_sums(
    series: EstimatorInput, weights: NDArray[np.float64], settings: EstimatorSettings, plan: Plan, differenced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over segments of the windowed autocorrelation [group, channel, lag], and counts [group, 1, 1]."""
    length = plan.length
    taper = windows.segment_window(settings.window, length)
    taper /= math.sqrt(float(np.sum(taper**2)))
    size = fft.next_fast_len(2 * length, real=True)  # twice the segment: the periodogram's correlation must not wrap
    sums = np.zeros((len(plan.groups), len(weights), length))
    counts = np.array([sum(len(starts) for _, starts in group) for group in plan.groups], dtype=np.float64)
    mean = time_means(series, differenced)
    for g, group in enumerate(plan.groups):
        power = np.zeros((len(weights), size // 2 + 1))
        for replica, starts in group:
            n_batch = max(_SEGMENTS_PER_READ, samples.BATCH_BYTES // (24 * size * weights.shape[1]))
            for first in range(0, len(starts), n_batch):
                batch = starts[first : first + n_batch]
                stop = batch[-1] + length
                for components in component_blocks(series, stop - batch[0]):
                    block = read_samples(series, batch[0], stop, replica, components, differenced, mean)
                    begin = 0 if series.mixing is not None else components.start
                    for rows in row_batches(len(block), 24 * size * len(batch)):
                        pieces = np.stack([block[rows, s - batch[0] : s - batch[0] + length] for s in batch], axis=1)
                        pieces *= taper
                        amplitude = fft.rfft(pieces, size, workers=settings.threads)
                        squares = amplitude.real**2 + amplitude.imag**2  # [series, segment, nu]
                        power += weights[:, begin + rows.start : begin + rows.stop] @ squares.sum(axis=1)
        sums[g] = fft.irfft(power, size)[:, :length]
    return sums, counts[:, None, None]


def _lag_sums(
    series: EstimatorInput, weights: NDArray[np.float64], settings: EstimatorSettings, plan: Plan, differenced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over time origins of x(t) x(t + lag) [group, channel, lag], and numbers of origins [group, 1, lag]."""
    n_lags = plan.length
    lags = np.arange(n_lags)
    sums = np.zeros((len(plan.groups), len(weights), n_lags))
    counts = np.zeros((len(plan.groups), 1, n_lags))
    mean = time_means(series, differenced)
    longest = max(int(np.diff(marks).max()) for group in plan.groups for _, marks in group)
    for g, group in enumerate(plan.groups):
        total = OriginSums(len(weights), n_lags, longest, settings.threads)
        for replica, marks in group:
            n = int(series.lengths[replica]) - int(differenced)
            for start, stop in itertools.pairwise(marks):
                end = min(n, stop + n_lags - 1)
                counts[g, 0] += np.clip(np.minimum(stop, n - lags) - start, 0, None)
                for components in component_blocks(series, end - start):
                    block = read_samples(series, start, end, replica, components, differenced, mean)
                    begin = 0 if series.mixing is not None else components.start
                    for rows in row_batches(len(block), 48 * total.size):
                        columns = slice(begin + rows.start, begin + rows.stop)
                        total.add(block[rows], stop - start, weights[:, columns])
        sums[g] = total.result()
    return sums, counts
