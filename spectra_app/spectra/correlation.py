"""Time correlation functions: the definition written out, and the same sums by fast Fourier transform.

``C(k) = (1 / (n - k)) sum_t x(t) x(t + k)``.  The fast routine takes the sum over time origins in a part of the series
only, so that the parts of a long series add up to the sum over the whole, exactly, in bounded memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def autocorrelation_reference(series: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Autocorrelation of a series by its definition: slow, obvious, the reference of the tests.

    Args:
        series: [frame], any unit.
        n_lags: number of lags, beginning with lag 0.

    Returns:
        [lag], unit squared: mean of x(t) x(t + lag) over the frames - lag time origins.
    """
    n = len(series)
    return np.array([np.mean([series[t] * series[t + lag] for t in range(n - lag)]) for lag in range(n_lags)])


def origin_sums(series: NDArray[np.float64], n_origins: int, n_lags: int, workers: int = 1) -> NDArray[np.float64]:
    """Sums of x(t) x(t + lag) over the time origins t < n_origins, by FFT.

    Args:
        series: [component, frame]; frames beyond the last one count as absent.
        n_origins: number of time origins, from the first frame.
        n_lags: number of lags, beginning with lag 0.
        workers: threads of scipy.fft.

    Returns:
        [component, lag], unit squared.
    """
    size = origin_transform_length(n_origins, n_lags)
    spectra = origin_spectra(series, n_origins, n_lags, size, workers)
    return np.asarray(fft.irfft(spectra, size, workers=workers)[..., :n_lags])


def origin_transform_length(n_origins: int, n_lags: int) -> int:
    """Length of a transform with room for the largest lag, so that nothing wraps around."""
    return fft.next_fast_len(n_origins + 2 * n_lags - 2, real=True)


def origin_spectra(
    series: NDArray[np.float64], n_origins: int, n_lags: int, size: int, workers: int = 1
) -> NDArray[np.complex128]:
    """What ``origin_sums`` transforms back, to be added up before that: one inverse transform serves many parts.

    Args:
        series: [component, frame]; frames beyond the last one count as absent.
        n_origins: number of time origins, from the first frame.
        n_lags: number of lags, beginning with lag 0.
        size: length of the transforms, at least ``origin_transform_length``.
        workers: threads of scipy.fft.

    Returns:
        [component, nu], unit squared.
    """
    n_used = min(series.shape[-1], n_origins + n_lags - 1)
    ahead = fft.rfft(series[..., :n_used], size, workers=workers)
    origins = fft.rfft(series[..., :n_origins], size, workers=workers)
    np.conj(origins, out=origins)
    ahead *= origins
    return np.asarray(ahead)


def autocorrelation(series: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Autocorrelation of a series, mean over time origins, by FFT.

    Args:
        series: [frame] or [component, frame], any unit.
        n_lags: number of lags, beginning with lag 0; at most the number of frames.

    Returns:
        [lag] or [component, lag], unit squared.
    """
    n = series.shape[-1]
    return origin_sums(series, n, n_lags) / (n - np.arange(n_lags))
