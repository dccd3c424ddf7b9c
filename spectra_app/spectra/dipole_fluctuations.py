"""How the dipole of a cell fluctuates: its moments, how many independent values a run holds, and whether it diffuses.

Everything comes from one pass over a series M(t) [frame, replica, xyz]:

Independent values.  For a Gaussian process, which the dipole of many molecules is, the variance of a time average of
squares follows from the correlation function alone (Isserlis)::

    Var <M_a^2> = (2 C_a(0)^2 / N) I,   I = sum_k (1 - |k|/N) rho(k)^2,   rho = C / C(0)

over N frames of all replicas; for a Debye relaxation of time tau, I is tau in frames.  Squares are never negative, so
the sum is cut off where it has settled (at 5 half widths, as Sokal does for correlations) without harm from a
correlation function that oscillates.

Slow modes.  The cosine transform of the run has the modes k = 1, 2, ... of wavelengths 2T/k and knows nothing of a
constant in M, whose origin is often arbitrary.  Their mean squares p_k follow

    bound:      p_k = B / (1 + (k/kappa)^2)         one relaxation of time T/(pi kappa), not slower than T/5
    diffusing:  p_k = A/k^2 + C                     mean square displacement in proportion to time

and each p_k scatters as chi^2 of 3 R degrees of freedom over R replicas, so that the two compare by their likelihoods
(Whittle).  B is also the variance of the run's mean, times the number of frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]
Verdict = Literal["bound", "undecided", "diffusing"]

_PIECE_NUMBERS = 2**20
"""Numbers of a series taken at once (8 MB)."""
_THIN_NUMBERS = 2**18
"""Numbers kept for the correlation function; what is thinned out can only make the error too large, by some 0.1%."""
_BLOCK_NUMBERS = 2**20
_MOST_BLOCKS = 1024
_FEWEST = 256
"""At least so many frames are kept, or blocks are made, of every replica."""
_SETTLED = 5.0
_MODES = 32
"""Slowest modes that are looked at.  With 32 a single run of 20 relaxation times is never taken for a diffusing one."""
_SLOWEST = 5.0 / math.pi
"""Least kappa: a run of five relaxation times.  Slower ones give no static constant, and look like diffusion."""
_ALARM = 1.5
"""Difference of the logarithms of the likelihoods from which M diffuses.  At 1.5 an alarm is false in 2% of single runs
of 6 relaxation times, in 1% of 10, in 0.2% of 4 replicas of 6, never for oscillators; it is raised for every second
single run of mobile ions, and for 9 of 10 with four replicas."""
_DOUBT = -1.5
"""Above this the run cannot tell: 96% of single runs of ions, half of those of 6 relaxation times, 6% of 20."""
_LONGEST_WAVES = 3.0
"""So many of the slowest modes must be those of the diffusion: a single high one is chance."""


@dataclass(frozen=True, eq=False)
class DipoleSeries:
    """What one pass over a series keeps.

    Attributes:
        n_frames: per replica.
        origin: [xyz] subtracted from every frame for the sake of rounding.
        counts: [block] frames of each of a few blocks.
        sums: [block, replica, xyz] of M - origin.
        squares: [block, replica, xyz, xyz] of products of M - origin.
        thin: [sample, replica, xyz] every so many frames, minus the origin.
        stride: that number.
        means: [fine block, replica, xyz] of many short blocks, minus the origin.
    """

    n_frames: int
    origin: Array
    counts: Array
    sums: Array
    squares: Array
    thin: Array
    stride: int
    means: Array

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return int(self.sums.shape[1])

    @property
    def mean(self) -> Array:
        """[replica, xyz] mean of M - origin."""
        return np.asarray(self.sums.sum(axis=0) / self.n_frames)


def read_dipoles(values: Any, n_blocks: int) -> DipoleSeries:
    """One pass over a series [frame, replica, xyz], a piece at a time, in some coarse blocks."""
    n_frames, n_replicas = int(values.shape[0]), int(values.shape[1])
    origin = np.asarray(values[:1], dtype=np.float64).mean(axis=(0, 1))
    n_fine = min(n_frames, max(_FEWEST, min(_MOST_BLOCKS, _BLOCK_NUMBERS // (3 * n_replicas))))
    coarse, fine = _owners(n_frames, n_blocks), _owners(n_frames, n_fine)
    stride = math.ceil(n_frames / max(_FEWEST, _THIN_NUMBERS // (3 * n_replicas)))
    sums, squares = np.zeros((n_blocks, n_replicas, 3)), np.zeros((n_blocks, n_replicas, 3, 3))
    means, thin = np.zeros((n_fine, n_replicas, 3)), []
    step = max(1, _PIECE_NUMBERS // (3 * n_replicas))
    for start in range(0, n_frames, step):
        piece = np.asarray(values[start : start + step], dtype=np.float64) - origin
        stop = start + len(piece)
        thin.append(piece[(-start) % stride :: stride].copy())
        _add(means, fine[start:stop], piece)
        for block in np.unique(coarse[start:stop]):
            part = piece[coarse[start:stop] == block]
            sums[block] += part.sum(axis=0)
            squares[block] += np.einsum("tra,trc->rac", part, part)
    means /= np.bincount(fine)[:, None, None]
    counts = np.bincount(coarse).astype(np.float64)
    return DipoleSeries(n_frames, origin, counts, sums, squares, np.concatenate(thin), stride, means)


def _owners(n_frames: int, n_blocks: int) -> NDArray[np.int64]:
    """[frame] number of the block that a frame belongs to."""
    return np.asarray(np.arange(n_frames) * n_blocks // n_frames)


def _add(totals: Array, owner: NDArray[np.int64], piece: Array) -> None:
    """Add the frames of a piece to the totals of their blocks."""
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    totals[owner[first]] += np.add.reduceat(piece, first, axis=0)


@dataclass(frozen=True, eq=False)
class Memory:
    """How long a dipole remembers.

    Attributes:
        frames: I of the module docstring, in frames of the series: a Debye relaxation time.
        per_axis: [xyz] the same for each axis by itself.
    """

    frames: float
    per_axis: Array


def memory_of(series: DipoleSeries, shift: Array, missing: float) -> Memory:
    """Memory of a series.

    Args:
        series: the samples.
        shift: [replica, xyz] what is subtracted from M - origin: the mean.
        missing: variance of the mean that was subtracted with it, e^2 A^2 per axis; 0 where the mean is known.
    """
    x = series.thin - shift
    n, n_replicas = x.shape[:2]
    size = fft.next_fast_len(2 * n, real=True)
    correlation = np.empty((3, n))
    for axis in range(3):
        amplitude = fft.rfft(x[..., axis], size, axis=0)
        power = (amplitude.real**2 + amplitude.imag**2).sum(axis=1)
        correlation[axis] = fft.irfft(power, size)[:n] / ((n - np.arange(n)) * n_replicas)
    total = correlation.sum(axis=0)
    correlation += missing * correlation[:, :1] / (total[0] / 3.0)
    weight = 2.0 * (1.0 - np.arange(n) / n)
    weight[0] = 1.0
    half = 0.5 * np.cumsum(weight * _squared(correlation.sum(axis=0)))
    settled = np.flatnonzero(np.arange(n) >= _SETTLED * half)
    window = int(settled[0]) if settled.size else n - 1
    # The square of noise is positive: a correlation function of one axis alone, known to I/(N R), is long by itself.
    noise = 1.0 + 2.0 * window / (n * n_replicas)
    axes = np.array([np.sum((weight * _squared(c))[: window + 1]) for c in correlation]) / noise
    return Memory(2.0 * float(half[window]) * series.stride, np.maximum(axes, 1.0) * series.stride)


def _squared(correlation: Array) -> Array:
    """Square of the normalised correlation function; of a series that does not move, that of white noise."""
    if not correlation[0] > 0.0:
        return np.asarray(np.arange(len(correlation)) == 0, dtype=np.float64)
    return np.asarray((correlation / correlation[0]) ** 2)


@dataclass(frozen=True)
class Mobility:
    """Whether the dipole of a cell is bound or diffuses.

    Attributes:
        verdict: ``bound``, ``diffusing``, or ``undecided`` where the run is too short to tell diffusion from a slow
            relaxation.
        log_likelihood_ratio: of diffusing over bound.
        mean_variance: variance of the mean of one replica that a bound dipole has, e^2 A^2 per axis.
        kappa: of the bound fit; the run is pi kappa relaxation times long.
        degrees_of_freedom: of each mode.
    """

    verdict: Verdict
    log_likelihood_ratio: float
    mean_variance: float
    kappa: float
    degrees_of_freedom: float


def mobility_of(series: DipoleSeries) -> Mobility:
    """Compare the slowest modes of a series with those of a bound and of a diffusing dipole."""
    n = len(series.means)
    n_modes = max(4, min(_MODES, n // 2))
    modes = fft.dct(series.means, axis=0, norm="ortho")[1 : n_modes + 1]
    per_axis = np.mean(modes**2, axis=(0, 1))
    if not per_axis.sum() > 0.0:
        return Mobility("bound", -math.inf, 0.0, math.inf, 3.0)
    # Axes that move more count more: three equal ones are three degrees of freedom.
    freedom = float(series.n_replicas * per_axis.sum() ** 2 / np.sum(per_axis**2))
    power = np.mean(modes**2, axis=(1, 2))
    power = np.maximum(power, 1e-12 * power.max())
    k = np.arange(1.0, n_modes + 1.0)
    kappas = np.geomspace(_SLOWEST, 50.0 * n_modes, 80)
    floors = np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 60)])
    bound = 1.0 / (1.0 + (k / kappas[:, None]) ** 2)
    moving = 1.0 / k**2 + floors[:, None]
    levels, likelihoods = _profile(power, bound, freedom)
    _, rivals = _profile(power, moving, freedom)
    best, rival = int(np.argmax(likelihoods)), int(np.argmax(rivals))
    ratio = float(rivals[rival] - likelihoods[best])
    verdict: Verdict = "bound"
    if floors[rival] * _LONGEST_WAVES**2 <= 1.0 and ratio > _DOUBT:
        verdict = "diffusing" if ratio > _ALARM else "undecided"
    return Mobility(verdict, ratio, float(levels[best]) / n, float(kappas[best]), freedom)


def _profile(power: Array, shapes: Array, freedom: float) -> tuple[Array, Array]:
    """Best level [shape] of every shape [shape, mode], and the logarithm of its likelihood but for a constant."""
    levels = np.mean(power / shapes, axis=1)
    return levels, -0.5 * freedom * (power.size * np.log(levels) + np.log(shapes).sum(axis=1))
