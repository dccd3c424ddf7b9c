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
    accumulator = OriginSums(len(series), n_lags, n_origins, workers)
    accumulator.add(series, n_origins, np.eye(len(series)))
    return accumulator.result()


class OriginSums:
    """Weighted sums of x(t) x(t + lag) over the time origins of many parts of a series, with one inverse transform.

    Of a part with n origins followed by the frames that they reach, |FFT|^2 counts the pairs whose earlier frame is an
    origin and those within the frames after; the second |FFT|^2, of these few frames alone, is taken off again.  That
    is two thirds of the work of correlating origins with all frames.

    Args:
        n_channels: number of weighted sums.
        n_lags: number of lags, beginning with lag 0.
        longest: largest number of origins of a part.
        workers: threads of scipy.fft.
    """

    def __init__(self, n_channels: int, n_lags: int, longest: int, workers: int = 1) -> None:
        self._n_lags, self._workers = n_lags, workers
        # Room for the largest lag, so that nothing wraps around.
        self.size = fft.next_fast_len(longest + 2 * n_lags - 2, real=True)
        self._tail_size = fft.next_fast_len(max(2 * n_lags - 2, 2), real=True)
        self._power = np.zeros((n_channels, self.size // 2 + 1))
        self._tail = np.zeros((n_channels, self._tail_size // 2 + 1))

    def add(self, series: NDArray[np.float64], n_origins: int, weights: NDArray[np.float64]) -> None:
        """Add a part.

        Args:
            series: [component, frame]; frames beyond the last one count as absent.
            n_origins: number of time origins, from the first frame.
            weights: [channel, component].
        """
        n_used = min(series.shape[-1], n_origins + self._n_lags - 1)
        self._power += weights @ _power(series[:, :n_used], self.size, self._workers)
        if n_used > n_origins:
            self._tail += weights @ _power(series[:, n_origins:n_used], self._tail_size, self._workers)

    def result(self) -> NDArray[np.float64]:
        """The sums [channel, lag], unit squared."""
        whole = fft.irfft(self._power, self.size)[:, : self._n_lags]
        return np.asarray(whole - fft.irfft(self._tail, self._tail_size)[:, : self._n_lags])


def _power(series: NDArray[np.float64], size: int, workers: int) -> NDArray[np.float64]:
    """|FFT|^2 [component, nu] of zero-padded series [component, frame]."""
    parts = fft.rfft(series, size, workers=workers).view(np.float64)
    parts *= parts
    return np.asarray(parts[..., ::2] + parts[..., 1::2])


def autocorrelation(series: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Autocorrelation of a series, mean over time origins, by FFT.

    Args:
        series: [frame] or [component, frame], any unit.
        n_lags: number of lags, beginning with lag 0; at most the number of frames.

    Returns:
        [lag] or [component, lag], unit squared.
    """
    n = series.shape[-1]
    sums = origin_sums(np.atleast_2d(series), n, n_lags) / (n - np.arange(n_lags))
    return sums.reshape(*series.shape[:-1], n_lags)
