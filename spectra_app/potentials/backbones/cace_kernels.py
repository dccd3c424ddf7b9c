"""Loops of the CACE backbone over pairs, forward and backward, on the CPU; ``cace_fused`` calls them.

Everywhere ``other`` [atom, slot] holds the neighbours, in the first ``count`` [atom] slots.  Pairs have ``angular``
[atom, slot, 16], the harmonics of ``traceless.harmonics``, and ``radial`` [atom, slot, basis].  As in
``message_kernels``, what an innermost loop reads and writes stands in one table of fixed width: a compiler then sees
that no two rows overlap, and takes eight or sixteen channels at once.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spectra_app.potentials.cutoff_kernel import smooth_cutoff

N_HARMONICS = 16
_ROOT3 = math.sqrt(3.0)
_OUTER, _MIDDLE, _INNER = math.sqrt(10.0) / 4.0, math.sqrt(15.0), math.sqrt(6.0) / 4.0  # of the third harmonics
_BLOCK = 64  # channels
_RADIAL, _SENT, _MESSAGE, _ROWS = 0, 1, 2, 3  # rows of the table; the last are one for each harmonic


@numba.njit(cache=True, fastmath=True)
def pair_functions(vectors, mask, cutoff, frequencies, count, radial, slope, angular):  # type: ignore[no-untyped-def]
    """Fills ``count``, ``radial`` with its ``slope`` by the distance, and ``angular`` from pair vectors, A."""
    scale = math.sqrt(2.0 / cutoff)
    for i in range(len(count)):
        count[i] = 0
        for s in range(mask.shape[1]):
            count[i] += mask[i, s]
        for s in range(count[i]):
            x, y, z = np.float64(vectors[i, s, 0]), np.float64(vectors[i, s, 1]), np.float64(vectors[i, s, 2])
            d = math.sqrt(x * x + y * y + z * z)
            inverse = 1.0 / d
            f, df = smooth_cutoff(d / cutoff, cutoff)
            for b in range(len(frequencies)):
                w = frequencies[b]
                sine, cosine = math.sin(w * d), math.cos(w * d)
                radial[i, s, b] = scale * sine * f * inverse
                slope[i, s, b] = scale * inverse * (w * cosine * f + sine * (df - f * inverse))
            x, y, z = x * inverse, y * inverse, z * inverse
            flat, a = x * x - y * y, angular[i, s]
            a[0], a[1], a[2], a[3] = 1.0, x, y, z
            a[4], a[5], a[6] = _ROOT3 * x * y, _ROOT3 * y * z, _ROOT3 * x * z
            a[7], a[8] = 0.5 * _ROOT3 * flat, 1.5 * z * z - 0.5
            a[9], a[10] = _OUTER * x * (flat - 2.0 * y * y), _OUTER * y * (flat + 2.0 * x * x)
            a[11], a[12] = _MIDDLE * x * y * z, 0.5 * _MIDDLE * z * flat
            near = _INNER * (5.0 * z * z - 1.0)
            a[13], a[14], a[15] = near * x, near * y, z * (2.5 * z * z - 1.5)


@numba.njit(cache=True, fastmath=True)
def pair_gradients(vectors, count, slope, angular, d_radial, d_angular, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [atom, slot, xyz], the gradient by the pair vectors; adjoint of ``pair_functions``."""
    for i in range(len(count)):
        for s in range(count[i]):
            g = d_angular[i, s]
            x, y, z = angular[i, s, 1], angular[i, s, 2], angular[i, s, 3]
            inverse = (x * vectors[i, s, 0] + y * vectors[i, s, 1] + z * vectors[i, s, 2]) ** -1.0
            xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
            gx = g[1] + _ROOT3 * (y * g[4] + z * g[6] + x * g[7])
            gy = g[2] + _ROOT3 * (x * g[4] + z * g[5] - y * g[7])
            gz = g[3] + _ROOT3 * (y * g[5] + x * g[6]) + 3.0 * z * g[8]
            outer, near = 3.0 * _OUTER * (xx - yy), _INNER * (5.0 * zz - 1.0)
            gx += outer * g[9] + 6.0 * _OUTER * xy * g[10] + _MIDDLE * (yz * g[11] + xz * g[12]) + near * g[13]
            gy += outer * g[10] - 6.0 * _OUTER * xy * g[9] + _MIDDLE * (xz * g[11] - yz * g[12]) + near * g[14]
            gz += _MIDDLE * (xy * g[11] + 0.5 * (xx - yy) * g[12]) + 10.0 * _INNER * (xz * g[13] + yz * g[14])
            gz += (7.5 * zz - 1.5) * g[15]
            along = gx * x + gy * y + gz * z
            radially = -along * inverse
            for b in range(slope.shape[2]):
                radially += d_radial[i, s, b] * slope[i, s, b]
            out[i, s, 0] = radially * x + gx * inverse
            out[i, s, 1] = radially * y + gy * inverse
            out[i, s, 2] = radially * z + gz * inverse


@numba.njit(cache=True, fastmath=True)
def sum_by_element(radial, angular, other, count, species, out):  # type: ignore[no-untyped-def]
    """Adds to ``out`` [atom, element, harmonic, basis] the sum over neighbours of that element of Y_h R_b."""
    for i in range(len(count)):
        for s in range(count[i]):
            rows = out[i, species[other[i, s]]]
            for h in range(len(rows)):
                y = angular[i, s, h]
                for b in range(radial.shape[2]):
                    rows[h, b] += y * radial[i, s, b]


@numba.njit(cache=True, fastmath=True)
def sum_by_element_backward(radial, angular, other, count, species, d_out, d_radial, d_angular):  # type: ignore[no-untyped-def]
    """Adds to the gradients by radial functions and harmonics."""
    for i in range(len(count)):
        for s in range(count[i]):
            rows, to = d_out[i, species[other[i, s]]], d_radial[i, s]
            for h in range(len(rows)):
                y, total = angular[i, s, h], rows[h, 0] * radial[i, s, 0]
                to[0] += y * rows[h, 0]
                for b in range(1, len(to)):
                    total += rows[h, b] * radial[i, s, b]
                    to[b] += y * rows[h, b]
                d_angular[i, s, h] += total


@numba.njit(cache=True, fastmath=True, inline="always")  # else the table has no fixed size there
def _mixed_radial(radial, mix, start, n, w):  # type: ignore[no-untyped-def]
    """Row of the radial functions of the channels at one distance."""
    for c in range(n):
        w[_RADIAL, c] = 0.0
    for b in range(len(radial)):
        r, row = radial[b], mix[b, start : start + n]
        for c in range(n):
            w[_RADIAL, c] += r * row[c]


@numba.njit(cache=True, fastmath=True)
def message(radial, angular, other, count, mix, sent, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [atom, harmonic, channel] = sum_j Y_h (sum_b R_b mix_b) sent_j; ``mix`` [basis, channel]."""
    w = np.zeros((_ROWS + N_HARMONICS, _BLOCK), sent.dtype)
    for start in range(0, sent.shape[1], _BLOCK):
        n = min(_BLOCK, sent.shape[1] - start)
        for i in range(len(count)):
            w[_ROWS:] = 0.0
            for s in range(count[i]):
                y, row = angular[i, s], sent[other[i, s], start : start + n]
                _mixed_radial(radial[i, s], mix, start, n, w)
                for c in range(n):
                    w[_SENT, c] = row[c]
                for c in range(n):
                    m = w[_RADIAL, c] * w[_SENT, c]
                    w[3, c] += m
                    w[4, c] += y[1] * m
                    w[5, c] += y[2] * m
                    w[6, c] += y[3] * m
                    w[7, c] += y[4] * m
                    w[8, c] += y[5] * m
                    w[9, c] += y[6] * m
                    w[10, c] += y[7] * m
                    w[11, c] += y[8] * m
                    w[12, c] += y[9] * m
                    w[13, c] += y[10] * m
                    w[14, c] += y[11] * m
                    w[15, c] += y[12] * m
                    w[16, c] += y[13] * m
                    w[17, c] += y[14] * m
                    w[18, c] += y[15] * m
            for h in range(out.shape[1]):
                for c in range(n):
                    out[i, h, start + c] = w[_ROWS + h, c]


@numba.njit(cache=True, fastmath=True)
def message_backward(  # type: ignore[no-untyped-def]
    radial, angular, other, count, mix, sent, d_out, d_radial, d_angular, d_sent
):
    """Adds to the gradients by radial functions, harmonics and what is sent."""
    w = np.zeros((_ROWS + N_HARMONICS, _BLOCK), sent.dtype)
    zero = sent.dtype.type(0.0)
    for start in range(0, sent.shape[1], _BLOCK):
        n = min(_BLOCK, sent.shape[1] - start)
        for i in range(len(count)):
            for h in range(d_out.shape[1]):
                for c in range(n):
                    w[_ROWS + h, c] = d_out[i, h, start + c]
            for s in range(count[i]):
                j, y = other[i, s], angular[i, s]
                row, to = sent[j, start : start + n], d_sent[j, start : start + n]
                _mixed_radial(radial[i, s], mix, start, n, w)
                for c in range(n):
                    w[_SENT, c] = row[c]
                t1 = t2 = t3 = t4 = t5 = t6 = t7 = t8 = zero
                for c in range(n):
                    m = w[_RADIAL, c] * w[_SENT, c]
                    t1 += w[4, c] * m
                    t2 += w[5, c] * m
                    t3 += w[6, c] * m
                    t4 += w[7, c] * m
                    t5 += w[8, c] * m
                    t6 += w[9, c] * m
                    t7 += w[10, c] * m
                    t8 += w[11, c] * m
                    w[_MESSAGE, c] = w[3, c] + y[1] * w[4, c] + y[2] * w[5, c] + y[3] * w[6, c] + y[4] * w[7, c]
                    w[_MESSAGE, c] += y[5] * w[8, c] + y[6] * w[9, c] + y[7] * w[10, c] + y[8] * w[11, c]
                for h, total in enumerate((t1, t2, t3, t4, t5, t6, t7, t8)):
                    d_angular[i, s, 1 + h] += total
                t1 = t2 = t3 = t4 = t5 = t6 = t7 = zero
                for c in range(n):
                    m = w[_RADIAL, c] * w[_SENT, c]
                    t1 += w[12, c] * m
                    t2 += w[13, c] * m
                    t3 += w[14, c] * m
                    t4 += w[15, c] * m
                    t5 += w[16, c] * m
                    t6 += w[17, c] * m
                    t7 += w[18, c] * m
                    w[_MESSAGE, c] += y[9] * w[12, c] + y[10] * w[13, c] + y[11] * w[14, c] + y[12] * w[15, c]
                    w[_MESSAGE, c] += y[13] * w[16, c] + y[14] * w[17, c] + y[15] * w[18, c]
                for h, total in enumerate((t1, t2, t3, t4, t5, t6, t7)):
                    d_angular[i, s, 9 + h] += total
                for c in range(n):
                    to[c] += w[_MESSAGE, c] * w[_RADIAL, c]
                    w[_MESSAGE, c] *= w[_SENT, c]
                for b in range(len(mix)):
                    filters, total = mix[b, start : start + n], zero
                    for c in range(n):
                        total += w[_MESSAGE, c] * filters[c]
                    d_radial[i, s, b] += total
