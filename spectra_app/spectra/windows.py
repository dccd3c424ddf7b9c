"""Windows, and the one definition of resolution: full width at half maximum of a window's spectral kernel, in cm^-1.

A spectrum estimated from pieces of a time series is the true spectrum smeared with a kernel:

- ``welch``: the data of a segment of length T are multiplied by w(t); the kernel is ``|W(nu)|^2``;
- ``lag``: the correlation function up to the lag T is multiplied by w(tau), symmetric and 1 at lag zero (a window that
  is 1 anywhere else destroys the spectrum); the kernel is ``W(nu)``, the transform of w from -T to T.

The width of either kernel is ``width / (c T)`` with a number ``width`` of the window, computed once, numerically.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from spectra_app import units

WindowName = Literal["hann", "gaussian", "blackman", "none"]
Method = Literal["welch", "lag"]
Estimator = Literal["welch", "lag", "cepstral"]

_GAUSSIAN_WIDTHS = 3.0
"""Standard deviations from the centre of a Gaussian window to its edge; the edge is exp(-4.5) = 0.011."""


def _symmetric_window(window: WindowName, n: int, *, periodic: bool) -> NDArray[np.float64]:
    """A symmetric window of n samples by its scipy name; ``none`` is scipy's boxcar."""
    if window == "gaussian":
        name: str | tuple[str, float] = ("gaussian", 0.5 * n / _GAUSSIAN_WIDTHS)
    else:
        name = "boxcar" if window == "none" else window
    return np.asarray(signal.get_window(name, n, fftbins=periodic), dtype=np.float64)


def segment_window(window: WindowName, n: int) -> NDArray[np.float64]:
    """Weights [n] of the samples of a segment (``welch``)."""
    return _symmetric_window(window, n, periodic=True)


def lag_window(window: WindowName, n: int) -> NDArray[np.float64]:
    """Weights [n] of the lags 0 to n - 1 (``lag``): exactly 1 at lag zero, falling to the edge."""
    half = _symmetric_window(window, 2 * n - 1, periodic=False)[n - 1 :]
    return half / half[0]


def correlation_of_window(window: WindowName, n: int) -> NDArray[np.float64]:
    """Weights [n] that a segment's window gives to the lags 0 to n - 1 (``welch``): 1 at lag zero."""
    weights = segment_window(window, n)
    power = np.abs(fft.rfft(weights, 2 * n)) ** 2
    return np.asarray(fft.irfft(power, 2 * n)[:n] / np.sum(weights**2))


@functools.cache
def kernel_width(window: WindowName, method: Method) -> float:
    """Full width at half maximum of the spectral kernel, in units of 1 / T (T: segment length, or largest lag).

    Hann: 1.44 (welch) and 1.00 (lag); none: 0.886 and 0.603.
    """
    n, padding = 2048, 64
    weights = segment_window(window, n) if method == "welch" else lag_window(window, n)
    amplitude = fft.rfft(weights, padding * n)
    kernel = np.abs(amplitude) ** 2 if method == "welch" else 2.0 * amplitude.real - weights[0]
    kernel = kernel / kernel[0]
    first_below = int(np.argmax(kernel < 0.5))
    above, below = kernel[first_below - 1], kernel[first_below]
    half_width = first_below - 1 + (above - 0.5) / (above - below)
    return 2.0 * half_width / padding


def length_for_resolution(resolution_per_cm: float, timestep_fs: float, window: WindowName, method: Method) -> int:
    """Samples per segment (``welch``) or number of lags (``lag``) that give a resolution [cm^-1]."""
    width = kernel_width(window, method)
    return max(2, math.ceil(width / (units.SPEED_OF_LIGHT_CM_PER_FS * timestep_fs * resolution_per_cm)))


def resolution_of_length(length: int, timestep_fs: float, window: WindowName, method: Method) -> float:
    """Resolution [cm^-1] of a segment of ``length`` samples, or of ``length`` lags."""
    return kernel_width(window, method) / (units.SPEED_OF_LIGHT_CM_PER_FS * timestep_fs * length)
