"""Messages of PaiNN from neighbour to neighbour, forward and backward, in loops over pairs on the CPU.

``painn_fused`` calls them; conventions of ``painn_kernels``.  ``filters`` [basis, 4 * channel] are of the ranks 0, 1, 2
and of what is carried; ``sent`` [atom, 4, channel] is what an atom sends, and the three vectors that it carries over.

All that the innermost loops read and write stands in one table of fixed width: a compiler can see that no two of its
rows overlap, and takes eight or sixteen channels at once.
"""

from __future__ import annotations

import numba
import numpy as np

_BLOCK = 64  # channels
_GROUP = 4  # functions of the basis that are taken at once
_AT_SENT, _AT_ROWS, _AT_THEIRS, _AT_SUMS, _N_ROWS = 4, 8, 17, 30, 34  # from 0 on: filters; from 26 on: their gradients


@numba.njit(cache=True, fastmath=True)
def _weights_of(filters, n_channels, start, n, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [group, 4 function + rank, channel of the block]; zeros beyond the last function."""
    for b in range(_GROUP * len(out)):
        for rank in range(4):
            to = out[b // _GROUP, 4 * (b % _GROUP) + rank]
            for c in range(n):
                to[c] = filters[b, rank * n_channels + start + c] if b < len(filters) else 0.0


@numba.njit(cache=True, fastmath=True)
def _at(radial, b):  # type: ignore[no-untyped-def]
    """One function of the basis, zero beyond the last."""
    return radial[b] if b < len(radial) else radial.dtype.type(0.0)


@numba.njit(cache=True, fastmath=True, inline="always")  # else the table has no fixed size there
def _filters_at(radial, weights, n, w):  # type: ignore[no-untyped-def]
    """Rows 0 to 3: the four filters at one distance, sum_b R_b w_b."""
    for g in range(len(weights)):
        f, b = weights[g], _GROUP * g
        p, q, r, s = _at(radial, b), _at(radial, b + 1), _at(radial, b + 2), _at(radial, b + 3)
        if g == 0:
            for c in range(n):
                w[0, c] = p * f[0, c] + q * f[4, c] + r * f[8, c] + s * f[12, c]
                w[1, c] = p * f[1, c] + q * f[5, c] + r * f[9, c] + s * f[13, c]
                w[2, c] = p * f[2, c] + q * f[6, c] + r * f[10, c] + s * f[14, c]
                w[3, c] = p * f[3, c] + q * f[7, c] + r * f[11, c] + s * f[15, c]
        else:
            for c in range(n):
                w[0, c] += p * f[0, c] + q * f[4, c] + r * f[8, c] + s * f[12, c]
                w[1, c] += p * f[1, c] + q * f[5, c] + r * f[9, c] + s * f[13, c]
                w[2, c] += p * f[2, c] + q * f[6, c] + r * f[10, c] + s * f[14, c]
                w[3, c] += p * f[3, c] + q * f[7, c] + r * f[11, c] + s * f[15, c]


@numba.njit(cache=True, fastmath=True, inline="always")
def _load_four(values, first, start, n, w, at):  # type: ignore[no-untyped-def]
    """Copies channels of four rows [row, channel] into the table."""
    p, q = values[first, start : start + n], values[first + 1, start : start + n]
    r, s = values[first + 2, start : start + n], values[first + 3, start : start + n]
    for c in range(n):
        w[at, c], w[at + 1, c], w[at + 2, c], w[at + 3, c] = p[c], q[c], r[c], s[c]


@numba.njit(cache=True, fastmath=True)
def _store(w, start, n, values):  # type: ignore[no-untyped-def]
    """Copies rows of the table into channels of rows [row, channel]."""
    for m in range(len(values)):
        row, of = values[m, start : start + n], w[m]
        for c in range(n):
            row[c] = of[c]


@numba.njit(cache=True, fastmath=True)
def message(radial, angular, other, count, filters, sent, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [atom, harmonic, channel] = sum_j Y_h W_l sent_j, with what is carried on the first ones."""
    n_channels = sent.shape[2]
    w = np.zeros((_N_ROWS, _BLOCK), sent.dtype)
    weights = np.zeros((-(-radial.shape[2] // _GROUP), 4 * _GROUP, _BLOCK), sent.dtype)
    for start in range(0, n_channels, _BLOCK):
        n = min(_BLOCK, n_channels - start)
        _weights_of(filters, n_channels, start, n, weights)
        for i in range(len(count)):
            for m in range(9):
                for c in range(n):
                    w[_AT_ROWS + m, c] = 0.0
            for s in range(count[i]):
                j, y = other[i, s], angular[i, s]
                _filters_at(radial[i, s], weights, n, w)
                _load_four(sent[j], 0, start, n, w, _AT_SENT)
                y1, y2, y3, y4, y5, y6, y7, y8 = y[1], y[2], y[3], y[4], y[5], y[6], y[7], y[8]
                for c in range(n):
                    from_j, moved = w[4, c], w[3, c]
                    first, second = w[1, c] * from_j, w[2, c] * from_j
                    w[8, c] += w[0, c] * from_j
                    w[9, c] += y1 * first + moved * w[5, c]
                    w[10, c] += y2 * first + moved * w[6, c]
                    w[11, c] += y3 * first + moved * w[7, c]
                    w[12, c] += y4 * second
                    w[13, c] += y5 * second
                    w[14, c] += y6 * second
                    w[15, c] += y7 * second
                    w[16, c] += y8 * second
            _store(w[_AT_ROWS:], start, n, out[i])


@numba.njit(cache=True, fastmath=True)
def message_backward(  # type: ignore[no-untyped-def]
    radial, angular, other, count, filters, sent, d_out, d_radial, d_angular, d_sent
):
    """Gradients by what is sent (set), and by radial basis and harmonics (added to)."""
    n_channels, n_radial, zero = sent.shape[2], radial.shape[2], sent.dtype.type(0.0)
    w = np.zeros((_N_ROWS, _BLOCK), sent.dtype)
    weights = np.zeros((-(-n_radial // _GROUP), 4 * _GROUP, _BLOCK), sent.dtype)
    for start in range(0, n_channels, _BLOCK):
        n = min(_BLOCK, n_channels - start)
        _weights_of(filters, n_channels, start, n, weights)
        for i in range(len(count)):
            for m in range(9):
                p = d_out[i, m, start : start + n]
                for c in range(n):
                    w[_AT_ROWS + m, c] = p[c]
            for m in range(4):
                for c in range(n):
                    w[_AT_SUMS + m, c] = 0.0
            for s in range(count[i]):
                j, y = other[i, s], angular[i, s]
                _filters_at(radial[i, s], weights, n, w)
                _load_four(sent[j], 0, start, n, w, _AT_SENT)
                theirs = d_out[j]
                _load_four(theirs, 1, start, n, w, _AT_THEIRS + 1)
                _load_four(theirs, 5, start, n, w, _AT_THEIRS + 5)
                p = theirs[0, start : start + n]
                for c in range(n):
                    w[_AT_THEIRS, c] = p[c]
                y1, y2, y3, y4, y5, y6, y7, y8 = y[1], y[2], y[3], y[4], y[5], y[6], y[7], y[8]
                t1 = t2 = t3 = t4 = t5 = t6 = t7 = t8 = zero
                for c in range(n):
                    w0, w1, w2, w3 = w[0, c], w[1, c], w[2, c], w[3, c]
                    # i as a sender to j
                    first = -(y1 * w[18, c] + y2 * w[19, c] + y3 * w[20, c])
                    second = y4 * w[21, c] + y5 * w[22, c] + y6 * w[23, c] + y7 * w[24, c] + y8 * w[25, c]
                    w[30, c] += w0 * w[17, c] + w1 * first + w2 * second
                    w[31, c] += w3 * w[18, c]
                    w[32, c] += w3 * w[19, c]
                    w[33, c] += w3 * w[20, c]
                    # i as the receiver
                    from_j = w[4, c]
                    g1, g2, g3, g4, g5, g6, g7, g8 = (
                        w[9, c], w[10, c], w[11, c], w[12, c], w[13, c], w[14, c], w[15, c], w[16, c]
                    )  # fmt: skip
                    w[26, c] = w[8, c] * from_j
                    w[27, c] = (y1 * g1 + y2 * g2 + y3 * g3) * from_j
                    w[28, c] = (y4 * g4 + y5 * g5 + y6 * g6 + y7 * g7 + y8 * g8) * from_j
                    w[29, c] = g1 * w[5, c] + g2 * w[6, c] + g3 * w[7, c]
                    first, second = w1 * from_j, w2 * from_j
                    t1 += g1 * first
                    t2 += g2 * first
                    t3 += g3 * first
                    t4 += g4 * second
                    t5 += g5 * second
                    t6 += g6 * second
                    t7 += g7 * second
                    t8 += g8 * second
                row = d_angular[i, s]
                row[1] += t1
                row[2] += t2
                row[3] += t3
                row[4] += t4
                row[5] += t5
                row[6] += t6
                row[7] += t7
                row[8] += t8
                for g in range(len(weights)):
                    f = weights[g]
                    t1 = t2 = t3 = t4 = zero
                    for c in range(n):
                        w0, w1, w2, w3 = w[26, c], w[27, c], w[28, c], w[29, c]
                        t1 += w0 * f[0, c] + w1 * f[1, c] + w2 * f[2, c] + w3 * f[3, c]
                        t2 += w0 * f[4, c] + w1 * f[5, c] + w2 * f[6, c] + w3 * f[7, c]
                        t3 += w0 * f[8, c] + w1 * f[9, c] + w2 * f[10, c] + w3 * f[11, c]
                        t4 += w0 * f[12, c] + w1 * f[13, c] + w2 * f[14, c] + w3 * f[15, c]
                    for m, total in enumerate((t1, t2, t3, t4)):
                        if _GROUP * g + m < n_radial:
                            d_radial[i, s, _GROUP * g + m] += total
            _store(w[_AT_SUMS:], start, n, d_sent[i])
