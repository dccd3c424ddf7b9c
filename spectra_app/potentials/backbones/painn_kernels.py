"""Loops of the PaiNN backbone over atoms and pairs, forward and backward, on the CPU; ``painn_fused`` calls them.

One pass over the pairs of an atom makes a message without an array of pairs x channels, in the processor's nearest
cache.  Filters act before the sum over neighbours here (after it in ``painn``: the same numbers), which takes half of
the multiplications.

Everywhere ``other`` [atom, slot] holds the neighbours, in the first ``count`` [atom] slots; the table is symmetric, so
what a neighbour hands back is gathered from its own side: Y_h(-d) = -Y_h(d) for first harmonics, else Y_h(d).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spectra_app.potentials.cutoff_kernel import smooth_cutoff

N_HARMONICS = 9
_ROOT3 = math.sqrt(3.0)


@numba.njit(cache=True, fastmath=True)
def pair_functions(  # type: ignore[no-untyped-def]
    vectors, mask, cutoff, frequencies, count, radial, slope, angular, envelope
):  # fmt: skip
    """Fills the fields of a ``features.PairTable`` from pair vectors, A.

    Sines by recurrence; ``frequencies`` [basis], A^-1, may be multiples of pi/cutoff as they are rounded to float32.
    """
    n_radial = radial.shape[2]
    scale = math.sqrt(2.0 / cutoff)
    for i in range(len(count)):
        count[i] = 0
        for s in range(mask.shape[1]):
            count[i] += mask[i, s]
        for s in range(count[i]):
            x, y, z = np.float64(vectors[i, s, 0]), np.float64(vectors[i, s, 1]), np.float64(vectors[i, s, 2])
            d = math.sqrt(x * x + y * y + z * z)
            inverse = 1.0 / d
            u = d / cutoff
            f, df = smooth_cutoff(u, cutoff)
            envelope[i, s, 0], envelope[i, s, 1] = f, df
            angle = math.pi * u
            first, last, now = 2.0 * math.cos(angle), 0.0, math.sin(angle)
            c_last, c_now = 1.0, math.cos(angle)
            for b in range(n_radial):
                w = frequencies[b]
                more = (w - (b + 1) * math.pi / cutoff) * d
                sine, cosine = now + more * c_now, c_now - more * now
                radial[i, s, b] = scale * sine * f * inverse
                slope[i, s, b] = scale * inverse * (w * cosine * f + sine * (df - f * inverse))
                last, now = now, first * now - last
                c_last, c_now = c_now, first * c_now - c_last
            x, y, z = x * inverse, y * inverse, z * inverse
            angular[i, s, 0] = 1.0
            angular[i, s, 1], angular[i, s, 2], angular[i, s, 3] = x, y, z
            angular[i, s, 4], angular[i, s, 5], angular[i, s, 6] = _ROOT3 * x * y, _ROOT3 * y * z, _ROOT3 * x * z
            angular[i, s, 7] = 0.5 * _ROOT3 * (x * x - y * y)
            angular[i, s, 8] = 1.5 * z * z - 0.5


@numba.njit(cache=True, fastmath=True)
def pair_gradients(vectors, count, slope, angular, d_radial, d_angular, out):  # type: ignore[no-untyped-def]
    """Gradient by the pair vectors [atom, slot, xyz] from those by radial basis and harmonics; adjoint of the above."""
    n_radial = slope.shape[2]
    for i in range(len(count)):
        for s in range(count[i]):
            g = d_angular[i, s]
            x, y, z = angular[i, s, 1], angular[i, s, 2], angular[i, s, 3]
            inverse = (x * vectors[i, s, 0] + y * vectors[i, s, 1] + z * vectors[i, s, 2]) ** -1.0
            gx = g[1] + _ROOT3 * (y * g[4] + z * g[6] + x * g[7])
            gy = g[2] + _ROOT3 * (x * g[4] + z * g[5] - y * g[7])
            gz = g[3] + _ROOT3 * (y * g[5] + x * g[6]) + 3.0 * z * g[8]
            along = gx * x + gy * y + gz * z
            radially = 0.0
            for b in range(n_radial):
                radially += d_radial[i, s, b] * slope[i, s, b]
            radially -= along * inverse
            out[i, s, 0] = radially * x + gx * inverse
            out[i, s, 1] = radially * y + gy * inverse
            out[i, s, 2] = radially * z + gz * inverse


@numba.njit(cache=True, fastmath=True)
def sum_by_element(radial, angular, other, count, species, out):  # type: ignore[no-untyped-def]
    """Adds to ``out`` [atom, harmonic, element, basis] the sum over neighbours of that element of Y_h R_b."""
    n_radial = radial.shape[2]
    for i in range(len(count)):
        for s in range(count[i]):
            z = species[other[i, s]]
            for h in range(N_HARMONICS):
                for b in range(n_radial):
                    out[i, h, z, b] += angular[i, s, h] * radial[i, s, b]


@numba.njit(cache=True, fastmath=True)
def sum_by_element_backward(radial, angular, other, count, species, d_out, d_radial, d_angular):  # type: ignore[no-untyped-def]
    """Adds to the gradients by radial basis and harmonics."""
    n_radial = radial.shape[2]
    for i in range(len(count)):
        for s in range(count[i]):
            z = species[other[i, s]]
            for h in range(N_HARMONICS):
                total = d_out[i, h, z, 0] * radial[i, s, 0]
                for b in range(1, n_radial):
                    total += d_out[i, h, z, b] * radial[i, s, b]
                d_angular[i, s, h] += total
                for b in range(n_radial):
                    d_radial[i, s, b] += d_out[i, h, z, b] * angular[i, s, h]
