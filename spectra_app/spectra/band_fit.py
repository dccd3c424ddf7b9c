"""The top of a noisy band: a polynomial in the logarithm, fitted by the likelihood of a spectral estimate.

The window of the fit follows the width that it finds.  Half height lies inside the window, so that the two hold on to
each other loosely; a window that ends at half height follows the ripples of the noise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_REACH = 1.4
"""Half widths on either side that the fit sees: half height lies inside, where a polynomial is known best."""
_EDGE = 0.3
"""Half widths over which the weights of the fit fall at its edges: it shall move smoothly with the data."""
_DEGREE = 4
"""Of the polynomial in the logarithm: skewed and flat tops; 2 where there are too few points."""
_FEWEST_POINTS = 1.5
"""Smallest half width of the fit, in points of the grid."""
_MOST_ROUNDS = 25
_SETTLED = 1e-4
"""Change of position and half width, in half widths, at which the fit has found its own window."""
_NEARLY_SETTLED = 0.05
"""The same where the rounds are used up: half the error of a width known to 10%."""
_GRID = np.linspace(-_REACH, _REACH, 281)
"""Where the polynomial is looked at, half widths."""


def fit_band(
    x: NDArray[np.float64], y: NDArray[np.float64], base: float, centre: float, half: float
) -> tuple[float, float, float] | None:
    """Position, height and full width of exp(polynomial) fitted to y within its own half widths; None: no such."""
    narrowest, widest = _FEWEST_POINTS * float(x[1] - x[0]), 0.5 * float(x[-1] - x[0])
    peak = float(np.max(y))
    if not peak > 0.0 or len(y) < 3:
        return None
    guess = np.log(np.maximum(y, 0.05 * peak))
    change = math.inf
    for _ in range(_MOST_ROUNDS):
        half = min(max(half, narrowest), widest)
        u = (x - centre) / half
        weight = np.clip((_REACH + 0.5 * _EDGE - np.abs(u)) / _EDGE, 0.0, 1.0)
        seen = weight > 0.0
        n_points = np.count_nonzero(weight > 0.5)
        if n_points < 3:
            return None
        degree = _DEGREE if n_points > _DEGREE + 2 else 2
        polynomial = _whittle(u[seen], y[seen], base, weight[seen], guess[seen], degree)
        shape = _shape(polynomial, float(u[0]), float(u[-1]))
        if shape is None:
            return None
        shift, top, left, right = shape
        guess = np.clip(np.polyval(polynomial, u), top - 6.0, top + 1.0)  # it is worth nothing far outside
        position, middle, wider = centre + shift * half, 0.5 * (left + right), 0.5 * (right - left)
        centre, half, change = centre + middle * half, wider * half, max(abs(middle), abs(wider - 1.0))
        if change < _SETTLED:
            break
    if change > _NEARLY_SETTLED or not narrowest <= half <= 2.0 * widest:
        return None
    return float(position), math.exp(top), float(2.0 * half)


def _whittle(
    u: NDArray[np.float64],
    y: NDArray[np.float64],
    base: float,
    weight: NDArray[np.float64],
    start: NDArray[np.float64],
    degree: int,
) -> NDArray[np.float64]:
    """Polynomial p(u), highest power first, of the most likely exp(p) where y + base scatters in proportion to itself.

    The likelihood of a gamma variable with logarithmic link, by iterated least squares (McCullagh and Nelder,
    Generalized Linear Models, ch. 8): no logarithm of a noisy number is taken.
    """
    powers = np.vander(u, degree + 1)

    def solve(weights: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = powers * weights[:, None]
        matrix = scaled.T @ powers
        matrix[np.diag_indices_from(matrix)] += 1e-10 * np.trace(matrix)
        return np.asarray(np.linalg.solve(matrix, scaled.T @ target))

    polynomial = solve(weight, start)
    for _ in range(_MOST_ROUNDS):
        logarithm = powers @ polynomial
        model = np.exp(logarithm)
        change = solve(weight * (model / (model + base)) ** 2, (y - model) / model)
        size = float(np.max(np.abs(powers @ change)))
        polynomial = polynomial + change / max(1.0, size)  # a factor e at most: far off, the linear step overshoots
        if size < _SETTLED:
            break
    return polynomial


def _shape(polynomial: NDArray[np.float64], first: float, last: float) -> tuple[float, float, float, float] | None:
    """Maximum of p(u), p there, and where it has fallen by ln 2 on both sides; None: no maximum within half widths.

    Args:
        polynomial: highest power first.
        first: u of the valley below, where the band ends.
        last: u of the valley above.
    """
    p = np.asarray(np.polyval(polynomial, _GRID), dtype=np.float64)
    inner = np.flatnonzero(np.abs(_GRID - np.clip(_GRID, max(first, -1.0), min(last, 1.0))) == 0.0)
    if inner.size < 3:
        return None
    k = int(inner[np.argmax(p[inner])])
    if k in (inner[0], inner[-1]):
        return None
    bend, slope = 0.5 * (p[k - 1] + p[k + 1]) - p[k], 0.5 * (p[k + 1] - p[k - 1])
    offset = -0.5 * slope / bend if bend < 0.0 else 0.0
    spacing = float(_GRID[1] - _GRID[0])
    top = float(p[k] + (slope + bend * offset) * offset)
    # Where it does not fall so far within the window, this asks for a wider one.
    right, left = (spacing * _fall(flank, top - math.log(2.0)) for flank in (p[k:], p[k::-1]))
    at = float(_GRID[k])
    return at + offset * spacing, top, max(at - left, first), min(at + right, last)


def _fall(flank: NDArray[np.float64], level: float) -> float:
    """Points from the start of a flank to where it falls through a level; 1.2 times all where it does not."""
    below = np.flatnonzero(flank < level)
    if not below.size:
        return 1.2 * len(flank)
    k = int(below[0])
    return 0.0 if k == 0 else k - 1 + float((flank[k - 1] - level) / (flank[k - 1] - flank[k]))
