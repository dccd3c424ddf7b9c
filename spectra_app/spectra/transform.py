"""From a correlation function to its spectral density on a grid, every known factor of the record divided out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, interpolate

from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings
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
