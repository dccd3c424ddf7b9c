"""Cepstral estimate: the logarithm of the periodogram, smoothed by as few cosines as the data ask for.

The periodogram of n samples, averaged over l equivalent series, is the spectrum times a chi^2 variable of 2 l degrees
of freedom over 2 l, independent from frequency to frequency.  Its logarithm is therefore the log-spectrum plus white
noise of known mean and variance (psi and psi' are the digamma and trigamma functions)::

    ln I_k = ln S_k + (psi(l) - ln l) + noise,   variance psi'(l)        (-0.577 and pi^2/6 for l = 1)

Its Fourier coefficients (cepstrum) C_j carry noise of variance psi'(l)/n, twice that for j = 0, and those of a smooth
spectrum die out: the first P are kept, P minimising Akaike's ``(n / psi'(l)) sum_{j >= P} C_j^2 + 2 P``.  Then ::

    ln S(w) = C_0 + 2 sum_{0<j<P} C_j cos(j w dt),   variance (psi'(l)/n) (2 + 4 sum_{0<j<P} cos^2(j w dt))

which is (4 P - 2) psi'(l)/n at w = 0.  That error knows nothing of the bias of cutting at P, which Akaike's choice
makes as large as the noise; here twice his number is kept, so that one standard error covers two of three points.
Sources: Ercole, Marcolongo and Baroni, Sci. Rep. 7, 15835 (2017), doi 10.1038/s41598-017-15843-2; Bertossa et al.,
Phys. Rev. Lett. 122, 255901 (2019), doi 10.1103/PhysRevLett.122.255901.

Replicas count as equivalent series.  Cartesian components are estimated one by one and then added, so that a crystal
whose axes differ is not biased.  Good for smooth spectra (liquids, transport coefficients); a spectrum of sharp lines
needs nearly all coefficients, and gains nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from spectra_app.errors import ConfigError
from spectra_app.joined import of_equal_length
from spectra_app.spectra import windows
from spectra_app.spectra.density import SpectralDensity, make_transform
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, Plan, make_plan
from spectra_app.spectra.samples import component_blocks, read_samples, row_batches, time_means

Array = NDArray[np.float64]

_MOST_COEFFICIENTS = 2**14
"""Beyond this a spectrum is a set of lines, and the samples of its error would fill the memory."""
_CAUTION = 2.0
"""Coefficients kept, in units of Akaike's number.  His balances the bias of cutting against the noise, and counting the
noise alone covers 44-58% of the truth on sums of damped oscillators (4,000 to 160,000 samples); twice the number leaves
no bias to speak of and covers 63-67%, three times 67-70% with an error a quarter larger."""
_N_SAMPLES = 48
"""Scattered spectra from which errors of derived quantities are taken (their errors are good to a tenth)."""
_SEED = 20170915


@dataclass(frozen=True)
class Cepstrum:
    """Cepstral estimate of the density of one series.

    Attributes:
        coefficients: [coefficient] C_0 ... C_{P-1} of the natural logarithm of the density.
        errors: [coefficient] their standard errors.
    """

    coefficients: Array
    errors: Array

    def log_density(self, size: int) -> Array:
        """Logarithm of the density on the grid of an FFT of this size, [nu]."""
        return cosine_series(self.coefficients, size)

    def log_error(self, size: int) -> Array:
        """Standard error of the logarithm, [nu]: what the module docstring has, summed by one FFT."""
        # (sum_j a_j cos j x)^2 adds in squares: 4 cos^2 = 2 + 2 cos 2 j x.
        n = len(self.coefficients)
        squares = np.zeros(2 * n - 1)
        squares[::2] = self.errors**2  # at twice the quefrency
        squares[0] = 0.0
        ripple = cosine_series(squares, size)
        return np.sqrt(np.maximum(self.errors[0] ** 2 + 2.0 * np.sum(self.errors[1:] ** 2) + ripple, 0.0))


def cosine_series(coefficients: Array, size: int) -> Array:
    """``c_0 + 2 sum_j c_j cos(2 pi j k / size)`` for k = 0 ... size/2."""
    if len(coefficients) > size:
        raise ValueError(f"{len(coefficients)} coefficients on a grid of {size}")
    return np.asarray(2.0 * fft.rfft(coefficients, size).real - coefficients[0])


def cepstrum_of_periodogram(periodogram: Array, n_samples: int, n_series: int) -> Cepstrum:
    """Coefficients that Akaike's criterion keeps, their bias removed.

    Args:
        periodogram: [nu] of ``n_samples // 2 + 1`` frequencies, mean over the series, positive.
        n_samples: number of samples of each series.
        n_series: number l of equivalent, independent series.
    """
    even = n_samples % 2 == 0
    bias = np.full(len(periodogram), special.digamma(n_series) - math.log(n_series))
    # Zero and Nyquist frequency are real: half the degrees of freedom.
    bias[[0, -1] if even else [0]] = special.digamma(0.5 * n_series) - math.log(0.5 * n_series)
    cepstrum = fft.irfft(np.log(periodogram) - bias, n_samples)[: n_samples // 2 + 1]
    variance = float(special.polygamma(1, n_series)) / n_samples
    most = min(max(1, n_samples // 8), _MOST_COEFFICIENTS)
    tail = np.cumsum(cepstrum[::-1] ** 2)[::-1]  # sum over j >= P
    criterion = tail[1 : most + 1] / variance + 2.0 * np.arange(1, most + 1)
    kept = min(most, round(_CAUTION * (1 + int(np.argmin(criterion)))))
    errors = np.full(kept, math.sqrt(variance))
    errors[0] *= math.sqrt(2.0)
    return Cepstrum(cepstrum[:kept].copy(), errors)


def cepstral_density(series: EstimatorInput, weights: Array, settings: EstimatorSettings) -> SpectralDensity:
    """Weighted sums of cepstral densities, with samples scattered by their analytic error.

    Args:
        series: the time series.
        weights: [channel, series], none negative.
        settings: zero padding and grid; resolution and window play no part.

    Raises:
        ConfigError: a channel with negative weights (a cross spectrum), which has no logarithm.
        SeriesError: too few frames.
    """
    if np.any(weights < 0.0):
        raise ConfigError(
            "spectra.method", got="cepstral", wanted="welch or lag", todo="A cross spectrum is not positive"
        )
    values, sentences = of_equal_length(series.values)
    series = dataclasses.replace(series, values=values)
    n = fft.prev_fast_len(make_plan(series, settings).n_samples, real=True)
    cepstra = [one for chunk in _periodograms(series, settings, n) for one in chunk]
    longest = max([1, *(len(c.coefficients) for c in cepstra if c is not None)])
    dt = series.timestep_fs
    wanted = windows.length_for_resolution(settings.resolution_per_cm, dt, "hann", "welch")
    size = fft.next_fast_len(settings.zero_padding * max(2 * longest, min(wanted, n)), real=True)
    transform = make_transform(series, settings, size)
    total, samples = _sum(cepstra, weights, size)
    warnings = tuple(f"The cepstral estimate is {sentence}." for sentence in sentences)
    plan = Plan(
        longest, windows.resolution_of_length(longest, dt, "none", "lag"), (), n, n * series.n_replicas, warnings
    )
    return SpectralDensity(
        omega_per_fs=transform.omega_per_fs,
        total=transform.place(total, size),
        plan=plan,
        correlation=np.zeros((len(weights), 0)),
        correlation_without=np.zeros((0, len(weights), 0)),
        timestep_fs=dt,
        _transform=transform,
        samples=transform.place(samples, size),
    )


def _periodograms(series: EstimatorInput, settings: EstimatorSettings, n: int) -> list[list[Cepstrum | None]]:
    """Cepstra of the components, a chunk of components at a time; None for one that does not move."""
    differenced = series.derivative and settings.derivative == "difference"
    mean = time_means(series, differenced)
    chunks: list[list[Cepstrum | None]] = []
    for components in component_blocks(series, n):
        n_rows = len(series.mixing) if series.mixing is not None else components.stop - components.start
        power = np.zeros((n_rows, n // 2 + 1))
        for replica in range(series.n_replicas):
            block = read_samples(series, 0, n, replica, components, differenced, mean)
            for rows in row_batches(n_rows, 32 * n):
                amplitude = fft.rfft(block[rows], n, workers=settings.threads)
                power[rows] += (amplitude.real**2 + amplitude.imag**2) * (series.timestep_fs / (n * series.n_replicas))
        chunks.append([_one(row, n, series.n_replicas) for row in power])
    return chunks


def _one(periodogram: Array, n: int, n_series: int) -> Cepstrum | None:
    """The cepstrum of one component; the zero frequency that subtracting the mean empties is filled from the next."""
    level = float(np.mean(periodogram))
    if not level > 0.0:
        return None
    floor = np.finfo(np.float64).eps ** 2 * level
    filled = np.maximum(periodogram, floor)
    if periodogram[0] <= floor:
        filled[0] = filled[1]
    return cepstrum_of_periodogram(filled, n, n_series)


def _sum(cepstra: list[Cepstrum | None], weights: Array, size: int) -> tuple[Array, Array]:
    """Densities [channel, nu], and samples [sample, channel, nu] whose standard deviation is the analytic error."""
    n_nu = size // 2 + 1
    total, variance = np.zeros((len(weights), n_nu)), np.zeros((len(weights), n_nu))
    samples = np.zeros((_N_SAMPLES, len(weights), n_nu))
    random = np.random.default_rng(_SEED)
    for weight, cepstrum in zip(weights.T, cepstra, strict=True):
        if cepstrum is None or not np.any(weight):
            continue
        density = np.exp(cepstrum.log_density(size))
        error = density * cepstrum.log_error(size)
        total += weight[:, None] * density
        variance += weight[:, None] ** 2 * error**2
        for sample in samples:
            noise = cepstrum.errors * random.standard_normal(len(cepstrum.errors))
            sample += weight[:, None] * (density * cosine_series(noise, size))
    # The draws stand for correlations only; mean and spread at every point are made exact.
    samples -= samples.mean(axis=0)
    spread = np.sqrt(np.mean(samples**2, axis=0) * _N_SAMPLES / (_N_SAMPLES - 1))
    samples *= np.divide(np.sqrt(variance), spread, out=np.zeros_like(spread), where=spread > 0.0)
    return total, total + samples
