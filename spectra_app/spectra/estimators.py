"""Spectral density of a time series: Welch segments, or the full-length correlation function with a lag window.

Definition, two-sided: ``S(omega) = int dt exp(-i omega t) <x(0) x(t)>``, unit of x squared times fs.  Every density
here is a weighted sum of autospectra, ``S_channel = sum_i weight[channel, i] S_i``; cross terms come in by the
polarization identity ``S_xy = (S_{x+y} - S_{x-y}) / 4`` (see dielectric.py).

Derivatives.  A spectrum of dx/dt is taken from forward differences, whose transfer function is known exactly, so the
density is multiplied by ``((omega dt / 2) / sin(omega dt / 2))^2``, between 1 and (pi/2)^2.  Differencing first also
keeps the huge low-frequency part of a dipole series from leaking into the bands.  ``direct`` takes omega^2 S_x instead:
better below the resolution (relaxation), worse above it where a window with high side lobes is used.

Both estimators end in one object, the windowed correlation function of finite length, in total and without each group
of blocks or replicas (jackknife); zero padding it interpolates the spectrum and adds no information.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from spectra_app import units
from spectra_app.spectra import windows
from spectra_app.spectra.correlation import OriginSums
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, Plan, make_plan
from spectra_app.spectra.transform import Transform, make_transform
from spectra_app.spectra.uncertainty import Resampling
from spectra_app.spectra.verlet import TimestepCorrection

_BATCH_BYTES = 8 * 2**20
"""Working memory of one batch of transforms; larger batches are no faster (they leave the cache)."""
_BLOCK_BYTES = 64 * 2**20
"""Largest block of samples held at once; where all components of a stretch are more, the file is read several times."""
_SEGMENTS_PER_READ = 3
"""At least so many segments are read together: at half overlap every frame is then read 1.3 times instead of twice."""


@dataclass(frozen=True)
class SpectralDensity:
    """Two-sided spectral density on a uniform grid from zero to Nyquist.

    Attributes:
        omega_per_fs: [nu] angular frequency.
        total: [channel, nu], unit of the series squared times fs.
        plan: lengths and groups it came from.
        correlation: [channel, lag] windowed correlation of the recorded differences or values; none (cepstral).
        correlation_without: [group, channel, lag] the same without each group.
        timestep_fs: time between samples.
        samples: [sample, channel, nu] densities scattered with the analytic error about the total (cepstral only).
    """

    omega_per_fs: NDArray[np.float64]
    total: NDArray[np.float64]
    plan: Plan
    correlation: NDArray[np.float64]
    correlation_without: NDArray[np.float64]
    timestep_fs: float
    _transform: Transform = field(repr=False)
    _window: NDArray[np.float64] | None = field(default=None, repr=False)
    samples: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def wavenumber_per_cm(self) -> NDArray[np.float64]:
        """[nu] wavenumber, cm^-1."""
        return np.asarray(units.angular_frequency_to_wavenumber(1.0) * self.omega_per_fs)

    @property
    def resampling(self) -> Resampling:
        """What ``resamples`` gives, and so how its spread becomes an error."""
        return "jackknife" if self.samples is None else "samples"

    def resamples(self) -> Iterator[NDArray[np.float64]]:
        """Densities [channel, nu] whose spread is the error: without each group, or scattered samples."""
        return self.without_each_group() if self.samples is None else iter(self.samples)

    def sharpened(self) -> SpectralDensity | None:
        """The density with the broadening by the window taken off to first order; None where no window is known.

        What the window broadens once it broadens twice in much the same way, ``2 S - S * K`` (twicing, Stuetzle and
        Mittal, doi 10.1007/BFb0098496): the correlation is weighted by ``w (2 - w)``, flat at time zero, instead of w.
        """
        if self._window is None:
            return None
        taper = 2.0 - self._window
        correlation = self.correlation * taper
        return dataclasses.replace(
            self,
            total=self._transform.density(correlation),
            correlation=correlation,
            correlation_without=self.correlation_without * taper,
            _window=None,
        )

    @property
    def correction(self) -> TimestepCorrection | None:
        """The correction of the integration time step that it carries."""
        return self._transform.correction

    def without_each_group(self) -> Iterator[NDArray[np.float64]]:
        """The density [channel, nu] without each group in turn; nothing for a single group."""
        if len(self.correlation_without) > 1:
            for correlation in self.correlation_without:
                yield self._transform.density(correlation)


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
        from spectra_app.spectra.cepstral import cepstral_density

        return cepstral_density(series, weights, settings)
    plan = make_plan(series, settings)
    differenced = series.derivative and settings.derivative == "difference"
    accumulate = _welch_sums if settings.method == "welch" else _lag_sums
    sums, counts = accumulate(series, weights, settings, plan, differenced)
    return density_from_sums(series, sums, counts, settings, plan)


def density_from_sums(
    series: EstimatorInput,
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    settings: EstimatorSettings,
    plan: Plan,
) -> SpectralDensity:
    """The density that belongs to sums of correlations by group: windowed, transformed, corrected for differencing.

    Args:
        series: where they come from.
        sums: [group, channel, lag].
        counts: [group, 1, 1] segments or [group, 1, lag] time origins in each.
        settings: of the estimator.
        plan: lengths and groups.
    """
    correlation = sums.sum(axis=0) / counts.sum(axis=0)
    without = correlation[None]
    if len(sums) > 1:
        without = (sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts)
    if settings.method == "lag":
        taper = windows.lag_window(settings.window, plan.length)
        correlation, without = correlation * taper, without * taper
    else:
        taper = windows.correlation_of_window(settings.window, plan.length)
    size = fft.next_fast_len(settings.zero_padding * plan.length, real=True)
    transform = make_transform(series, settings, size)
    return SpectralDensity(
        omega_per_fs=transform.omega_per_fs,
        total=transform.density(correlation),
        plan=plan,
        correlation=correlation,
        correlation_without=without,
        timestep_fs=series.timestep_fs,
        _transform=transform,
        _window=taper,
    )


def component_blocks(series: EstimatorInput, n_frames: int) -> list[slice]:
    """Slices of the stored components of which so many frames fit into one block; mixed components stay together."""
    n = series.n_components
    step = n if series.mixing is not None else max(1, min(n, _BLOCK_BYTES // (8 * max(1, n_frames))))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def row_batches(n_rows: int, bytes_per_row: int) -> list[slice]:
    """Slices of the rows of a block whose transforms fit into one batch."""
    step = max(1, _BATCH_BYTES // max(1, bytes_per_row))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def read_samples(
    series: EstimatorInput,
    start: int,
    stop: int,
    replica: int,
    components: slice,
    differenced: bool,
    mean: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Samples [series, sample] from start to stop, differenced to a rate or with the mean taken off."""
    block = series.read(slice(start, stop + int(differenced)), replica, components)
    if differenced:
        return np.diff(block, axis=-1) / series.timestep_fs
    if mean.size:
        block -= mean[replica, components, None] if series.mixing is None else (series.mixing @ mean[replica])[:, None]
    return block


def time_means(series: EstimatorInput, differenced: bool) -> NDArray[np.float64]:
    """Time means [replica, component] to subtract, or nothing where the series is a rate with zero mean."""
    if differenced or not (series.derivative or series.remove_mean):
        return np.zeros(0)
    total = np.zeros((series.n_replicas, series.n_components))
    step = max(1, _BATCH_BYTES // (8 * series.n_components * series.n_replicas))
    for start in range(0, series.n_frames, step):
        block = np.asarray(series.values[start : start + step], dtype=np.float64).reshape(-1, total.size)
        # A product with ones is a sum that runs at the speed of memory; numpy's over the first axis does not.
        total += (np.ones(len(block)) @ block).reshape(total.shape)
    return total / series.n_frames


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
            n_batch = max(_SEGMENTS_PER_READ, _BATCH_BYTES // (24 * size * weights.shape[1]))
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
    n_lags, n = plan.length, plan.n_samples
    lags = np.arange(n_lags)
    sums = np.zeros((len(plan.groups), len(weights), n_lags))
    counts = np.zeros((len(plan.groups), 1, n_lags))
    mean = time_means(series, differenced)
    longest = max(int(np.diff(marks).max()) for group in plan.groups for _, marks in group)
    for g, group in enumerate(plan.groups):
        total = OriginSums(len(weights), n_lags, longest, settings.threads)
        for replica, marks in group:
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
