"""From correlation functions to a spectral density on a grid, with its resamples: what every estimator ends in.

Every known factor of the record is divided out.  The windowed correlation function of finite length stands there in
total and without each group of blocks or replicas (jackknife); zero padding it interpolates the spectrum and adds no
information.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, interpolate

from spectra_app import units
from spectra_app.spectra import windows
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, Plan
from spectra_app.spectra.uncertainty import Resampling, stretch_of_groups
from spectra_app.spectra.verlet import TimestepCorrection

Array = NDArray[np.float64]

_REFINEMENT = 4
"""Points between which a corrected density is interpolated, per point of its own grid; cubic splines are then exact to
1e-4 of the highest point, for a window with an edge too."""
_LAST = 0.9
"""Share of 2/h at which a corrected grid ends: no mode lies there, and the factor for velocities has its pole."""


@dataclass(frozen=True)
class Transform:
    """The grid of a density, and what takes a correlation (or a density on the grid of its FFT) there.

    Attributes:
        omega_per_fs: [nu] uniform from zero, rad/fs; true angular frequencies where the time step is corrected.
        timestep_fs: time between samples.
        size: of the FFT.
        factor: [nu] on the density as transformed: finite differences, or omega^2.
        correction: of the integration time step, or None.
    """

    omega_per_fs: Array
    timestep_fs: float
    size: int
    factor: Array
    correction: TimestepCorrection | None

    def density(self, correlation: Array) -> Array:
        """Density [..., nu] of correlations [..., lag] that are even in time: dt (c_0 + 2 sum_n c_n cos)."""
        refined = self.size * (1 if self.correction is None else _REFINEMENT)
        cosines = 2.0 * fft.rfft(correlation, refined).real - correlation[..., :1]
        return self.place(np.asarray(self.timestep_fs * cosines), refined)

    def place(self, raw: Array, size: int) -> Array:
        """Density [..., nu] from one on the grid of an FFT of this size [..., FFT point], not corrected in any way."""
        if self.correction is None:
            return raw * self.factor
        grid = np.asarray(2.0 * math.pi * np.arange(size // 2 + 1) / (size * self.timestep_fs), dtype=np.float64)
        seen = np.minimum(self.correction.numerical_frequency(self.omega_per_fs), grid[-1])
        spline = interpolate.CubicSpline(grid, raw, axis=-1)
        return np.asarray(spline(seen) * self.factor * self.correction.density_factor(self.omega_per_fs))


def make_transform(series: EstimatorInput, settings: EstimatorSettings, size: int) -> Transform:
    """The transform of a series to the grid of an FFT of a size, up to its Nyquist frequency.

    With a correction of the time step the points keep their distance and end where the true frequency of the last one
    lies: below 2/h, above which no mode is stable.
    """
    omega: Array = np.asarray(2.0 * math.pi * np.arange(size // 2 + 1) / (size * series.timestep_fs), dtype=np.float64)
    correction = series.correction
    if correction is None:
        return Transform(omega, series.timestep_fs, size, rate_factor(series, omega, settings), None)
    last = min(float(correction.true_frequency(omega[-1:])[0]), _LAST * 2.0 / correction.timestep_fs)
    omega = omega[omega <= last]
    seen = correction.numerical_frequency(omega)
    return Transform(omega, series.timestep_fs, size, rate_factor(series, seen, settings), correction)


def rate_factor(series: EstimatorInput, omega: Array, settings: EstimatorSettings) -> Array:
    """What turns the density of the samples [nu] into that of the true derivative.

    Forward differences have the transfer function ``(sin(w dt/2) / (w dt/2))^2``, between 1 and (2/pi)^2.
    """
    if series.differenced or (series.derivative and settings.derivative == "difference"):
        return np.asarray(np.sinc(omega * series.timestep_fs / (2.0 * math.pi)) ** -2)
    return np.asarray(omega**2) if series.derivative else np.ones_like(omega)


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
        if np.ptp(series.lengths) > 0:
            stretch = stretch_of_groups(counts[:, 0, 0] / counts[:, 0, 0].sum())
            without = correlation + stretch[:, None, None] * (without - correlation)
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
