"""Before a spectrum: the settings of the estimator, the series as it is read, and the lengths that follow from both."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.joined import replica_lengths, shared_frames
from spectra_app.spectra import windows
from spectra_app.spectra.verlet import TimestepCorrection
from spectra_app.spectra.windows import Estimator, Method, WindowName

MIN_FRAMES = 32
"""Below this no two segments with a peak in them exist."""

_PIECE_BYTES = 8 * 2**20
"""What is read at once from a series that is not in memory: all components of a few frames."""

_DEFAULTS = SpectraSettings()

_MAX_GROUPS = 40
"""Largest number of jackknife groups; more replicas than this are pooled."""


@dataclass(frozen=True)
class EstimatorSettings:
    """How a time series becomes a spectrum.

    Attributes:
        resolution_per_cm: wanted full width at half maximum of the window's spectral kernel.
        window: data window (welch) or lag window (lag), named as in scipy; none is a boxcar.
        method: ``welch`` averages half-overlapping segments; ``lag`` windows the full-length correlation function;
            ``cepstral`` smooths the log-periodogram (cepstral.py), chooses its own resolution and needs no window.
        derivative: how d/dt is taken (module docstring).
        overlap: fraction that neighbouring segments share (welch).
        zero_padding: points per independent point of the spectrum, at least 2.
        max_wavenumber_per_cm: end of the result; None keeps everything up to Nyquist.
        blocks: at least this many jackknife groups, where the run is long enough.
        precision: wanted relative error of the bands, for the verdict.
        workers: threads of the FFTs; 0 takes the cores of this process.
    """

    resolution_per_cm: float = _DEFAULTS.resolution_per_cm
    window: WindowName = _DEFAULTS.window
    method: Estimator = _DEFAULTS.method
    derivative: Literal["difference", "direct"] = _DEFAULTS.derivative
    overlap: float = _DEFAULTS.overlap
    zero_padding: int = _DEFAULTS.zero_padding
    max_wavenumber_per_cm: float | None = _DEFAULTS.max_wavenumber_per_cm
    blocks: int = _DEFAULTS.blocks
    precision: float = _DEFAULTS.precision
    workers: int = 0

    def __post_init__(self) -> None:
        checks = {
            "resolution_per_cm": (self.resolution_per_cm > 0, "a positive number of cm^-1"),
            "window": (self.window in ("hann", "gaussian", "blackman", "none"), "hann, gaussian, blackman or none"),
            "method": (self.method in ("welch", "lag", "cepstral"), "welch, lag or cepstral"),
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
    names = [field.name for field in fields(EstimatorSettings) if field.name in SpectraSettings.model_fields]
    return EstimatorSettings(**{name: getattr(settings, name) for name in names})


@dataclass(frozen=True)
class EstimatorInput:
    """A time series as the estimators read it: a slice at a time, so it may be a memory map or an HDF5 dataset.

    Attributes:
        values: [frame, replica, component...], any real type.
        timestep_fs: time between frames.
        derivative: True: the spectrum of dx/dt is wanted.
        mixing: [series, component] linear map applied to every frame, or None.
        remove_mean: subtract the mean of every component first (spectra of x itself, not of a rate).
        differenced: the values are forward differences over the time step already (sfg.py), to be corrected as such.
        correction: of the integration time step, which the density then carries, or None.
    """

    values: Any
    timestep_fs: float
    derivative: bool = False
    mixing: NDArray[np.float64] | None = None
    remove_mean: bool = False
    differenced: bool = False
    correction: TimestepCorrection | None = None

    @property
    def n_frames(self) -> int:
        """Frames of the longest replica."""
        return int(self.values.shape[0])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[replica] frames; not the same for all where runs of unequal length were joined."""
        return replica_lengths(self.values)

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return int(self.values.shape[1])

    @property
    def n_components(self) -> int:
        """Components as stored, before mixing."""
        return math.prod(self.values.shape[2:])

    def read(self, frames: slice, replica: int, components: slice) -> NDArray[np.float64]:
        """A piece as [series, frame] float64, contiguous in time for the FFT.

        From a file all components of a few frames come at once and the wanted ones are kept, so that memory is that of
        the result.
        """
        start, stop, _ = frames.indices(self.n_frames)
        if isinstance(self.values, np.ndarray):
            return self._arranged(self.values[start:stop, replica], components)
        n_rows = len(self.mixing) if self.mixing is not None else components.stop - components.start
        out = np.empty((n_rows, stop - start))
        step = max(1, _PIECE_BYTES // (8 * self.n_components))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            out[:, first - start : last - start] = self._arranged(self.values[first:last, replica], components)
        return out

    def _arranged(self, block: Any, components: slice) -> NDArray[np.float64]:
        """[frame, component...] as [series, frame]."""
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
        n_samples: samples per replica, after differencing; of replicas of unequal length the most that enough have.
        n_total: samples of all replicas that are used.
        warnings: sentences if the resolution had to be widened, or replicas left out.
    """

    length: int
    resolution_per_cm: float
    groups: tuple[tuple[tuple[int, NDArray[np.int64]], ...], ...]
    n_samples: int
    n_total: int
    warnings: tuple[str, ...]


def make_plan(series: EstimatorInput, settings: EstimatorSettings) -> Plan:
    """Choose the segment length (or number of lags) and split the run into jackknife groups.

    A single run keeps at least two segments side by side (three with their overlap), replicas one each; where that is
    shorter than the resolution wants, the resolution is widened and said so.  Of replicas of unequal length each gives
    as many segments (time origins) as it has, and one that is shorter than a segment none.

    Raises:
        SeriesError: fewer than ``MIN_FRAMES`` frames.
    """
    differenced = series.derivative and settings.derivative == "difference"
    lengths = series.lengths - int(differenced)
    n, n_long = shared_frames(lengths)
    dt, window = series.timestep_fs, settings.window
    method: Method = "lag" if settings.method == "lag" else "welch"
    wanted = windows.length_for_resolution(settings.resolution_per_cm, dt, window, method)
    if n < MIN_FRAMES:
        todo = f"{settings.resolution_per_cm:g} cm^-1 need at least {2 * wanted + 1} frames of {dt:g} fs"
        raise SeriesError(
            "length of the series", got=f"{n + int(differenced)} frames", wanted=MIN_FRAMES + 1, todo=todo
        )
    longest = n // 2 if n_long == 1 or method == "lag" else n
    length = min(wanted, longest)
    resolution = windows.resolution_of_length(length, dt, window, method)
    warnings: tuple[str, ...] = ()
    if length < wanted:
        warnings = (
            f"{n * dt / 1000:.3g} ps are too short for a resolution of {settings.resolution_per_cm:.3g} cm^-1; "
            f"widened to {resolution:.3g} cm^-1 ({2 * wanted * dt / 1000:.3g} ps needed).",
        )
    used = lengths >= length
    if not used.all():
        segment = f"{length * dt / 1000:.3g} ps"
        warnings += (f"{np.sum(~used)} of {len(used)} replicas are shorter than {segment}, one segment: left out.",)
    marks = [(r, _marks(int(k), length, settings)) for r, k in enumerate(lengths) if used[r]]
    total = int(lengths[used].sum())
    return Plan(length, resolution, _group(marks, lengths, total, settings), n, total, warnings)


def _marks(n: int, length: int, settings: EstimatorSettings) -> NDArray[np.int64]:
    """Where the segments of a replica of n samples begin, or the edges of its intervals of time origins."""
    if settings.method != "lag":
        n_segments = 1 + math.ceil((n - length) / max(1, round(length * (1.0 - settings.overlap))))
        return np.round(np.linspace(0, n - length, n_segments)).astype(np.int64)  # the last segment ends with the run
    n_chunks = max(settings.blocks, math.ceil(n / max(8 * length, 2**15)))
    return np.round(np.linspace(0, n, n_chunks + 1)).astype(np.int64)


def _group(
    marks: list[tuple[int, NDArray[np.int64]]], lengths: NDArray[np.int64], total: int, settings: EstimatorSettings
) -> tuple[tuple[tuple[int, NDArray[np.int64]], ...], ...]:
    """Jackknife groups: blocks of each replica, as many as its length is worth, and whole replicas together."""
    parts: list[tuple[int, NDArray[np.int64]]] = []
    extra = 0 if settings.method != "lag" else 1  # origins are intervals between marks, segments begin at marks
    for replica, own in marks:
        n_pieces = len(own) - extra
        blocks = min(n_pieces, math.ceil(settings.blocks * int(lengths[replica]) / total))
        edges = np.round(np.linspace(0, n_pieces, blocks + 1)).astype(int)
        parts += [(replica, own[edges[b] : edges[b + 1] + extra]) for b in range(blocks)]
    n_groups = min(len(parts), max(_MAX_GROUPS, settings.blocks))
    splits = np.round(np.linspace(0, len(parts), n_groups + 1)).astype(int)
    return tuple(tuple(parts[splits[g] : splits[g + 1]]) for g in range(n_groups))
