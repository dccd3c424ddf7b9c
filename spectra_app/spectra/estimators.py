"""Spectral density of a time series: Welch segments, or the full-length correlation function with a lag window.

Definition, two-sided: ``S(omega) = int dt exp(-i omega t) <x(0) x(t)>``, unit of x squared times fs.  Every density
here is a weighted sum of autospectra, ``S_channel = sum_i weight[channel, i] S_i``; cross terms come in by the
polarization identity ``S_xy = (S_{x+y} - S_{x-y}) / 4`` (see dielectric.py).

Derivatives.  A spectrum of dx/dt is taken from forward differences, whose transfer function is known exactly, so the
density is multiplied by ``((omega dt / 2) / sin(omega dt / 2))^2``, between 1 and (pi/2)^2.  Differencing first also keeps
the huge low-frequency part of a dipole series from leaking into the bands.  ``direct`` takes omega^2 S_x instead: better
below the resolution (relaxation), worse above it where a window with high side lobes is used.

Both estimators end in one object, the windowed correlation function of finite length, in total and without each group of
blocks or replicas (jackknife); zero padding it interpolates the spectrum and adds no information.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import windows
from spectra_app.spectra.correlation import origin_sums
from spectra_app.spectra.windows import Method, WindowName

MIN_FRAMES = 32
"""Below this no two segments with a peak in them exist."""

_BATCH_BYTES = 32 * 2**20
"""Working memory of one batch of transforms; larger batches are no faster (they leave the cache)."""

_MAX_GROUPS = 40
"""Largest number of jackknife groups; more replicas than this are pooled."""


@dataclass(frozen=True)
class EstimatorSettings:
    """How a time series becomes a spectrum.

    Attributes:
        resolution_per_cm: wanted full width at half maximum of the window's spectral kernel.
        window: data window (welch) or lag window (lag), named as in scipy; none is a boxcar.
        method: ``welch`` averages half-overlapping segments; ``lag`` windows the full-length correlation function.
        derivative: how d/dt is taken (module docstring).
        overlap: fraction that neighbouring segments share (welch).
        zero_padding: points per independent point of the spectrum, at least 2.
        max_wavenumber_per_cm: end of the result; None keeps everything up to Nyquist.
        blocks: at least this many jackknife groups, where the run is long enough.
        precision: wanted relative error of the bands, for the verdict.
        workers: threads of the FFTs; 0 takes the cores of this process.
    """

    resolution_per_cm: float = 20.0
    window: WindowName = "hann"
    method: Method = "welch"
    derivative: Literal["difference", "direct"] = "difference"
    overlap: float = 0.5
    zero_padding: int = 4
    max_wavenumber_per_cm: float | None = 4500.0
    blocks: int = 5
    precision: float = 0.1
    workers: int = 0

    def __post_init__(self) -> None:
        checks = {
            "resolution_per_cm": (self.resolution_per_cm > 0, "a positive number of cm^-1"),
            "window": (self.window in ("hann", "gaussian", "blackman", "none"), "hann, gaussian, blackman or none"),
            "method": (self.method in ("welch", "lag"), "welch or lag"),
            "derivative": (self.derivative in ("difference", "direct"), "difference or direct"),
            "overlap": (0 <= self.overlap < 1, "0 <= overlap < 1"),
            "zero_padding": (self.zero_padding >= 2, "at least 2"),
            "max_wavenumber_per_cm": (self.max_wavenumber_per_cm is None or self.max_wavenumber_per_cm > 0, "> 0"),
            "blocks": (self.blocks >= 2, "at least 2"),
            "precision": (self.precision > 0, "a positive fraction"),
            "workers": (self.workers >= 0, "0 or a number of threads"),
        }
        for name, (good, wanted) in checks.items():
            if not good:
                raise ConfigError(f"spectra.{name}", got=repr(getattr(self, name)), wanted=wanted)

    @property
    def threads(self) -> int:
        """Number of FFT threads."""
        if self.workers:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def as_estimator_settings(settings: EstimatorSettings | SpectraSettings | None) -> EstimatorSettings:
    """Estimator settings from themselves, from the ``spectra`` section of a configuration, or the defaults (None)."""
    if settings is None:
        return EstimatorSettings()
    if isinstance(settings, EstimatorSettings):
        return settings
    return EstimatorSettings(
        resolution_per_cm=settings.resolution_per_cm,
        window=settings.window,
        max_wavenumber_per_cm=settings.max_wavenumber_per_cm,
        blocks=settings.blocks,
    )


@dataclass(frozen=True)
class Series:
    """A time series as the estimators read it: a slice at a time, so it may be a memory map or an HDF5 dataset.

    Attributes:
        values: [frame, replica, component...], any real type.
        timestep_fs: time between frames.
        derivative: True: the spectrum of dx/dt is wanted.
        mixing: [series, component] linear map applied to every frame, or None.
        remove_mean: subtract the mean of every component first (spectra of x itself, not of a rate).
    """

    values: Any
    timestep_fs: float
    derivative: bool = False
    mixing: NDArray[np.float64] | None = None
    remove_mean: bool = False

    @property
    def n_frames(self) -> int:
        """Frames per replica."""
        return int(self.values.shape[0])

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return int(self.values.shape[1])

    @property
    def n_components(self) -> int:
        """Components as stored, before mixing."""
        return math.prod(self.values.shape[2:])

    def read(self, frames: slice, replica: int, components: slice) -> NDArray[np.float64]:
        """A piece as [series, frame] float64, contiguous in time for the FFT."""
        block = self.values[frames, replica]
        block = np.asarray(block).reshape(len(block), -1)[:, components]
        if self.mixing is not None:
            return np.asarray(self.mixing @ block.T.astype(np.float64))
        return np.ascontiguousarray(block.T, dtype=np.float64)


@dataclass(frozen=True)
class Plan:
    """Lengths that follow from the wanted resolution and the length of the run.

    Attributes:
        length: samples per segment, or number of lags.
        resolution_per_cm: resolution reached.
        groups: per group, the (replica, first, last) of its segments (starts) or of its time origins.
        n_samples: samples per replica, after differencing.
        warnings: sentence if the resolution had to be widened.
    """

    length: int
    resolution_per_cm: float
    groups: tuple[tuple[tuple[int, NDArray[np.int64]], ...], ...]
    n_samples: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SpectralDensity:
    """Two-sided spectral density on a uniform grid from zero to Nyquist.

    Attributes:
        omega_per_fs: [nu] angular frequency.
        total: [channel, nu], unit of the series squared times fs.
        plan: lengths and groups it came from.
        correlation: [channel, lag] windowed correlation of the recorded differences or values.
        correlation_without: [group, channel, lag] the same without each group.
    """

    omega_per_fs: NDArray[np.float64]
    total: NDArray[np.float64]
    plan: Plan
    correlation: NDArray[np.float64]
    correlation_without: NDArray[np.float64]
    timestep_fs: float
    _factor: NDArray[np.float64] = field(repr=False)
    _size: int = field(repr=False)

    @property
    def wavenumber_per_cm(self) -> NDArray[np.float64]:
        """[nu] wavenumber, cm^-1."""
        return np.asarray(units.angular_frequency_to_wavenumber(1.0) * self.omega_per_fs)

    def without_each_group(self) -> Iterator[NDArray[np.float64]]:
        """The density [channel, nu] without each group in turn; nothing for a single group."""
        if len(self.correlation_without) > 1:
            for correlation in self.correlation_without:
                yield _density(correlation, self.timestep_fs, self._size) * self._factor


def spectral_density(series: Series, weights: NDArray[np.float64], settings: EstimatorSettings) -> SpectralDensity:
    """Weighted sums of the autospectra of a series, with leave-one-group-out copies.

    Args:
        series: the time series.
        weights: [channel, series], any unit.
        settings: method, window, resolution.

    Raises:
        SeriesError: fewer than ``MIN_FRAMES`` frames.
    """
    plan = make_plan(series, settings)
    differenced = series.derivative and settings.derivative == "difference"
    accumulate = _welch_sums if settings.method == "welch" else _lag_sums
    sums, counts = accumulate(series, weights, settings, plan, differenced)
    correlation = sums.sum(axis=0) / counts.sum(axis=0)
    if len(sums) > 1:
        without = (sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts)
    else:
        without = correlation[None]
    if settings.method == "lag":
        taper = windows.lag_window(settings.window, plan.length)
        correlation, without = correlation * taper, without * taper
    size = fft.next_fast_len(settings.zero_padding * plan.length, real=True)
    omega = 2.0 * math.pi * np.arange(size // 2 + 1) / (size * series.timestep_fs)
    factor = _derivative_factor(omega, series.timestep_fs, series.derivative, differenced)
    return SpectralDensity(
        omega_per_fs=omega,
        total=_density(correlation, series.timestep_fs, size) * factor,
        plan=plan,
        correlation=correlation,
        correlation_without=without,
        timestep_fs=series.timestep_fs,
        _factor=factor,
        _size=size,
    )


def make_plan(series: Series, settings: EstimatorSettings) -> Plan:
    """Choose the segment length (or number of lags) and split the run into jackknife groups.

    A single run keeps at least two segments side by side (three with their overlap), replicas one each; where that is
    shorter than the resolution wants, the resolution is widened and said so.

    Raises:
        SeriesError: fewer than ``MIN_FRAMES`` frames.
    """
    differenced = series.derivative and settings.derivative == "difference"
    n = series.n_frames - int(differenced)
    dt, window, method = series.timestep_fs, settings.window, settings.method
    wanted = windows.length_for_resolution(settings.resolution_per_cm, dt, window, method)
    if n < MIN_FRAMES:
        todo = f"{settings.resolution_per_cm:g} cm^-1 need at least {2 * wanted + 1} frames of {dt:g} fs"
        raise SeriesError("length of the series", got=f"{series.n_frames} frames", wanted=f"{MIN_FRAMES + 1}", todo=todo)
    longest = n // 2 if series.n_replicas == 1 or method == "lag" else n
    length = min(wanted, longest)
    resolution = windows.resolution_of_length(length, dt, window, method)
    warnings: tuple[str, ...] = ()
    if length < wanted:
        warnings = (
            f"{n * dt / 1000:.3g} ps are too short for a resolution of {settings.resolution_per_cm:.3g} cm^-1; "
            f"widened to {resolution:.3g} cm^-1 ({2 * wanted * dt / 1000:.3g} ps needed).",
        )
    if method == "welch":
        n_segments = 1 + math.ceil((n - length) / max(1, round(length * (1.0 - settings.overlap))))
        marks = np.round(np.linspace(0, n - length, n_segments)).astype(np.int64)  # the last segment ends with the run
    else:
        n_chunks = max(settings.blocks, math.ceil(n / max(8 * length, 2**15)))
        marks = np.round(np.linspace(0, n, n_chunks + 1)).astype(np.int64)
    return Plan(length, resolution, _group(marks, series.n_replicas, settings), n, warnings)


def _group(
    marks: NDArray[np.int64], n_replicas: int, settings: EstimatorSettings
) -> tuple[tuple[tuple[int, NDArray[np.int64]], ...], ...]:
    """Jackknife groups: blocks of each replica, and whole replicas together where there are many."""
    n_pieces = len(marks) if settings.method == "welch" else len(marks) - 1
    blocks = min(n_pieces, math.ceil(settings.blocks / n_replicas))
    edges = np.round(np.linspace(0, n_pieces, blocks + 1)).astype(int)
    extra = 0 if settings.method == "welch" else 1  # origins are intervals between marks, segments begin at marks
    parts = [
        (replica, marks[edges[b] : edges[b + 1] + extra]) for replica in range(n_replicas) for b in range(blocks)
    ]
    n_groups = min(len(parts), max(_MAX_GROUPS, settings.blocks))
    splits = np.round(np.linspace(0, len(parts), n_groups + 1)).astype(int)
    return tuple(tuple(parts[splits[g] : splits[g + 1]]) for g in range(n_groups))


def _component_chunks(series: Series, bytes_per_component: int) -> list[slice]:
    """Slices of the stored components whose transforms fit into one batch; mixed components stay together."""
    n = series.n_components
    step = n if series.mixing is not None else max(1, min(n, _BATCH_BYTES // max(1, bytes_per_component)))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _read(
    series: Series, start: int, stop: int, replica: int, components: slice, differenced: bool, mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Samples [series, sample] from start to stop, differenced to a rate or with the mean taken off."""
    block = series.read(slice(start, stop + int(differenced)), replica, components)
    if differenced:
        return np.diff(block, axis=-1) / series.timestep_fs
    if mean.size:
        block -= mean[replica, components, None] if series.mixing is None else (series.mixing @ mean[replica])[:, None]
    return block


def _means(series: Series, differenced: bool) -> NDArray[np.float64]:
    """Time means [replica, component] to subtract, or nothing where the series is a rate with zero mean."""
    if differenced or not (series.derivative or series.remove_mean):
        return np.zeros(0)
    total = np.zeros((series.n_replicas, series.n_components))
    step = max(1, _BATCH_BYTES // (8 * series.n_components * series.n_replicas))
    for start in range(0, series.n_frames, step):
        block = np.asarray(series.values[start : start + step], dtype=np.float64)
        total += block.reshape(len(block), series.n_replicas, -1).sum(axis=0)
    return total / series.n_frames


def _welch_sums(
    series: Series, weights: NDArray[np.float64], settings: EstimatorSettings, plan: Plan, differenced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over segments of the windowed autocorrelation [group, channel, lag], and counts [group, 1, 1]."""
    length = plan.length
    taper = windows.segment_window(settings.window, length)
    taper /= math.sqrt(float(np.sum(taper**2)))
    size = fft.next_fast_len(2 * length, real=True)  # twice the segment: the periodogram's correlation must not wrap
    sums = np.zeros((len(plan.groups), len(weights), length))
    counts = np.array([sum(len(starts) for _, starts in group) for group in plan.groups], dtype=np.float64)
    mean = _means(series, differenced)
    for g, group in enumerate(plan.groups):
        power = np.zeros((len(weights), size // 2 + 1))
        for replica, starts in group:
            for components in _component_chunks(series, 24 * size):
                n_rows = weights.shape[1] if series.mixing is not None else components.stop - components.start
                n_batch = max(1, _BATCH_BYTES // (24 * size * n_rows))
                chunk_weights = weights if series.mixing is not None else weights[:, components]
                for first in range(0, len(starts), n_batch):
                    batch = starts[first : first + n_batch]
                    block = _read(series, batch[0], batch[-1] + length, replica, components, differenced, mean)
                    pieces = np.stack([block[:, s - batch[0] : s - batch[0] + length] for s in batch], axis=1)
                    pieces *= taper
                    amplitude = fft.rfft(pieces, size, workers=settings.threads)
                    squares = amplitude.real**2 + amplitude.imag**2  # [series, segment, nu]
                    power += chunk_weights @ squares.sum(axis=1)
        sums[g] = fft.irfft(power, size)[:, :length]
    return sums, counts[:, None, None]


def _lag_sums(
    series: Series, weights: NDArray[np.float64], settings: EstimatorSettings, plan: Plan, differenced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over time origins of x(t) x(t + lag) [group, channel, lag], and numbers of origins [group, 1, lag]."""
    n_lags, n = plan.length, plan.n_samples
    lags = np.arange(n_lags)
    sums = np.zeros((len(plan.groups), len(weights), n_lags))
    counts = np.zeros((len(plan.groups), 1, n_lags))
    mean = _means(series, differenced)
    for g, group in enumerate(plan.groups):
        for replica, marks in group:
            for start, stop in zip(marks[:-1], marks[1:], strict=True):
                end = min(n, stop + n_lags - 1)
                counts[g, 0] += np.clip(np.minimum(stop, n - lags) - start, 0, None)
                for components in _component_chunks(series, 48 * (end - start + n_lags)):
                    block = _read(series, start, end, replica, components, differenced, mean)
                    parts = origin_sums(block, stop - start, n_lags, settings.threads)
                    sums[g] += (weights if series.mixing is not None else weights[:, components]) @ parts
    return sums, counts


def _density(correlation: NDArray[np.float64], timestep_fs: float, size: int) -> NDArray[np.float64]:
    """Cosine transform of a correlation [..., lag] that is even in time: dt (c_0 + 2 sum_n c_n cos)."""
    return np.asarray(timestep_fs * (2.0 * fft.rfft(correlation, size).real - correlation[..., :1]))


def _derivative_factor(
    omega: NDArray[np.float64], timestep_fs: float, derivative: bool, differenced: bool
) -> NDArray[np.float64]:
    """What turns the density of the samples into that of the true derivative (module docstring)."""
    if not derivative:
        return np.ones_like(omega)
    if differenced:
        return np.asarray(np.sinc(omega * timestep_fs / (2.0 * math.pi)) ** -2)
    return omega**2
