"""What the ranks of one atom say to each other in PaiNN, forward and backward, in loops over atoms on the CPU.

``painn_fused`` calls them.  Tensors stand as five components t on ``painn.RANK2_BASIS``, T = sum_m t_m B_m:

    T_xx, T_yy = +-t_3/sqrt2 - t_4/sqrt6,  T_zz = 2 t_4/sqrt6,  T_xy = t_0/sqrt2,  T_yz = t_1/sqrt2,  T_xz = t_2/sqrt2

Rows of one atom are gathered in a table of fixed size first: then a compiler can see that no two of them overlap, and
takes eight or sixteen channels at once (192 atoms, backward: 0.2 ms instead of 0.6).
"""

from __future__ import annotations

import math

import numba
import numpy as np

_R2, _R6 = math.sqrt(0.5), math.sqrt(1.0 / 6.0)
_BLOCK = 64  # channels
_N_MIXED, _N_GATES = 16, 8


@numba.njit(cache=True, fastmath=True)
def _matrix(a, b, c, d, e, r2, r6):  # type: ignore[no-untyped-def]
    """T_xx, T_xy, T_xz, T_yy, T_yz, T_zz of five components."""
    return r2 * d - r6 * e, r2 * a, r2 * c, -r2 * d - r6 * e, r2 * b, (r6 + r6) * e


@numba.njit(cache=True, fastmath=True)
def _dyad(x, y, z, u, v, w, r2, r6):  # type: ignore[no-untyped-def]
    """Components of (x, y, z)(u, v, w)^T, traceless and symmetric."""
    xx, yy, zz = x * u, y * v, z * w
    return r2 * (x * v + y * u), r2 * (y * w + z * v), r2 * (x * w + z * u), r2 * (xx - yy), r6 * (zz + zz - xx - yy)


@numba.njit(cache=True, fastmath=True)
def _product(xx, xy, xz, yy, yz, zz, aa, ab, ac, bb, bc, cc, r2, r6):  # type: ignore[no-untyped-def]
    """Components of the product of two symmetric matrices, traceless and symmetric."""
    p = xx * aa + xy * ab + xz * ac
    q = xy * ab + yy * bb + yz * bc
    r = xz * ac + yz * bc + zz * cc
    first = xx * ab + xy * bb + xz * bc + xy * aa + yy * ab + yz * ac
    second = xy * ac + yy * bc + yz * cc + xz * ab + yz * bb + zz * bc
    third = xx * ac + xy * bc + xz * cc + xz * aa + yz * ab + zz * ac
    return r2 * first, r2 * second, r2 * third, r2 * (p - q), r6 * (r + r - p - q)


@numba.njit(cache=True, fastmath=True)
def _load(rows, start, n, w):  # type: ignore[no-untyped-def]
    """Copies channels of rows [row, channel] into as many of the table."""
    for m in range(len(rows)):
        row, to = rows[m, start : start + n], w[m]
        for c in range(n):
            to[c] = row[c]


@numba.njit(cache=True, fastmath=True)
def _store(w, start, n, rows):  # type: ignore[no-untyped-def]
    """The reverse."""
    for m in range(len(rows)):
        row, of = rows[m, start : start + n], w[m]
        for c in range(n):
            row[c] = of[c]


@numba.njit(cache=True, fastmath=True)
def _load_atom(i, s, v, t, left, right, left2, right2, gates, start, n, w):  # type: ignore[no-untyped-def]
    """Rows 0 to 15: mixed vectors and tensors; 16 to 23: gates; 24 to 32: scalar, vector, tensor (or gradients)."""
    _load(left[i], start, n, w[0:])
    _load(right[i], start, n, w[3:])
    _load(left2[i], start, n, w[6:])
    _load(right2[i], start, n, w[11:])
    _load(gates[i], start, n, w[16:])
    _load(s[i : i + 1], start, n, w[24:])
    _load(v[i], start, n, w[25:])
    _load(t[i], start, n, w[28:])


@numba.njit(cache=True, fastmath=True)
def update(s, v, t, left, right, left2, right2, gates, products):  # type: ignore[no-untyped-def]
    """Adds to scalars, vectors and tensors what the gates [atom, gate, channel] let through.

    ``left``, ``right`` [atom, xyz, channel] and ``left2``, ``right2`` [atom, 5, channel] are mixed vectors and tensors.
    """
    r2, r6, zero = s.dtype.type(_R2), s.dtype.type(_R6), s.dtype.type(0.0)
    w = np.zeros((33, _BLOCK), s.dtype)
    for i in range(len(s)):
        for start in range(0, s.shape[1], _BLOCK):
            n = min(_BLOCK, s.shape[1] - start)
            _load_atom(i, s, v, t, left, right, left2, right2, gates, start, n, w)
            for c in range(n):
                lx, ly, lz, rx, ry, rz = w[0, c], w[1, c], w[2, c], w[3, c], w[4, c], w[5, c]
                a, b, d, e, f = w[6, c], w[7, c], w[8, c], w[9, c], w[10, c]
                h, j, k, m, o = w[11, c], w[12, c], w[13, c], w[14, c], w[15, c]
                dot2 = a * h + b * j + d * k + e * m + f * o
                w[24, c] += w[16, c] + w[17, c] * (lx * rx + ly * ry + lz * rz) + w[19, c] * dot2
                xx, xy, xz, yy, yz, zz = _matrix(a, b, d, e, f, r2, r6)
                keep, turn, keep2 = w[18, c], w[21, c], w[20, c]
                w[25, c] += keep * lx + turn * (xx * rx + xy * ry + xz * rz)
                w[26, c] += keep * ly + turn * (xy * rx + yy * ry + yz * rz)
                w[27, c] += keep * lz + turn * (xz * rx + yz * ry + zz * rz)
                p0 = p1 = p2 = p3 = p4 = zero
                if products:
                    of_vectors, of_tensors = w[22, c], w[23, c]
                    u0, u1, u2, u3, u4 = _dyad(lx, ly, lz, rx, ry, rz, r2, r6)
                    aa, ab, ac, bb, bc, cc = _matrix(h, j, k, m, o, r2, r6)
                    q0, q1, q2, q3, q4 = _product(xx, xy, xz, yy, yz, zz, aa, ab, ac, bb, bc, cc, r2, r6)
                    p0, p1 = of_vectors * u0 + of_tensors * q0, of_vectors * u1 + of_tensors * q1
                    p2, p3 = of_vectors * u2 + of_tensors * q2, of_vectors * u3 + of_tensors * q3
                    p4 = of_vectors * u4 + of_tensors * q4
                w[28, c] += keep2 * a + p0
                w[29, c] += keep2 * b + p1
                w[30, c] += keep2 * d + p2
                w[31, c] += keep2 * e + p3
                w[32, c] += keep2 * f + p4
            _store(w[24:], start, n, s[i : i + 1])
            _store(w[25:], start, n, v[i])
            _store(w[28:], start, n, t[i])


@numba.njit(cache=True, fastmath=True)
def update_backward(  # type: ignore[no-untyped-def]
    ds, dv, dt, left, right, left2, right2, gates, products, d_left, d_right, d_left2, d_right2, d_gates
):  # fmt: skip
    """Gradients by mixed vectors and tensors and by the gates (set)."""
    r2, r6 = ds.dtype.type(_R2), ds.dtype.type(_R6)
    w = np.zeros((33 + _N_MIXED + _N_GATES, _BLOCK), ds.dtype)  # the last rows as the first ones, of gradients
    for i in range(len(ds)):
        for start in range(0, ds.shape[1], _BLOCK):
            n = min(_BLOCK, ds.shape[1] - start)
            _load_atom(i, ds, dv, dt, left, right, left2, right2, gates, start, n, w)
            for c in range(n):
                lx, ly, lz, rx, ry, rz = w[0, c], w[1, c], w[2, c], w[3, c], w[4, c], w[5, c]
                a, b, d, e, f = w[6, c], w[7, c], w[8, c], w[9, c], w[10, c]
                h, j, k, m, o = w[11, c], w[12, c], w[13, c], w[14, c], w[15, c]
                gs, gx, gy, gz = w[24, c], w[25, c], w[26, c], w[27, c]
                t0, t1, t2, t3, t4 = w[28, c], w[29, c], w[30, c], w[31, c], w[32, c]
                xx, xy, xz, yy, yz, zz = _matrix(a, b, d, e, f, r2, r6)
                w[49, c] = gs
                w[50, c] = gs * (lx * rx + ly * ry + lz * rz)
                w[51, c] = gx * lx + gy * ly + gz * lz
                w[52, c] = gs * (a * h + b * j + d * k + e * m + f * o)
                w[53, c] = t0 * a + t1 * b + t2 * d + t3 * e + t4 * f
                turned_x, turned_y = xx * rx + xy * ry + xz * rz, xy * rx + yy * ry + yz * rz
                w[54, c] = gx * turned_x + gy * turned_y + gz * (xz * rx + yz * ry + zz * rz)
                by_dot, by_dot2, keep, keep2, turn = gs * w[17, c], gs * w[19, c], w[18, c], w[20, c], w[21, c]
                hx, hy, hz = turn * gx, turn * gy, turn * gz
                u0, u1, u2, u3, u4 = _dyad(hx, hy, hz, rx, ry, rz, r2, r6)
                dlx, dly, dlz = by_dot * rx + keep * gx, by_dot * ry + keep * gy, by_dot * rz + keep * gz
                drx = by_dot * lx + xx * hx + xy * hy + xz * hz
                dry = by_dot * ly + xy * hx + yy * hy + yz * hz
                drz = by_dot * lz + xz * hx + yz * hy + zz * hz
                da, db, dd = by_dot2 * h + keep2 * t0 + u0, by_dot2 * j + keep2 * t1 + u1, by_dot2 * k + keep2 * t2 + u2
                de, df = by_dot2 * m + keep2 * t3 + u3, by_dot2 * o + keep2 * t4 + u4
                dh, dj, dk, dm, do = by_dot2 * a, by_dot2 * b, by_dot2 * d, by_dot2 * e, by_dot2 * f
                if products:
                    of_vectors, of_tensors = w[22, c], w[23, c]
                    u0, u1, u2, u3, u4 = _dyad(lx, ly, lz, rx, ry, rz, r2, r6)
                    w[55, c] = t0 * u0 + t1 * u1 + t2 * u2 + t3 * u3 + t4 * u4
                    gxx, gxy, gxz, gyy, gyz, gzz = _matrix(t0, t1, t2, t3, t4, r2, r6)
                    dlx += of_vectors * (gxx * rx + gxy * ry + gxz * rz)
                    dly += of_vectors * (gxy * rx + gyy * ry + gyz * rz)
                    dlz += of_vectors * (gxz * rx + gyz * ry + gzz * rz)
                    drx += of_vectors * (gxx * lx + gxy * ly + gxz * lz)
                    dry += of_vectors * (gxy * lx + gyy * ly + gyz * lz)
                    drz += of_vectors * (gxz * lx + gyz * ly + gzz * lz)
                    aa, ab, ac, bb, bc, cc = _matrix(h, j, k, m, o, r2, r6)
                    q0, q1, q2, q3, q4 = _product(gxx, gxy, gxz, gyy, gyz, gzz, aa, ab, ac, bb, bc, cc, r2, r6)
                    w[56, c] = q0 * a + q1 * b + q2 * d + q3 * e + q4 * f
                    p0, p1, p2, p3, p4 = _product(gxx, gxy, gxz, gyy, gyz, gzz, xx, xy, xz, yy, yz, zz, r2, r6)
                    da, db, dd = da + of_tensors * q0, db + of_tensors * q1, dd + of_tensors * q2
                    de, df = de + of_tensors * q3, df + of_tensors * q4
                    dh, dj, dk = dh + of_tensors * p0, dj + of_tensors * p1, dk + of_tensors * p2
                    dm, do = dm + of_tensors * p3, do + of_tensors * p4
                w[33, c], w[34, c], w[35, c], w[36, c], w[37, c], w[38, c] = dlx, dly, dlz, drx, dry, drz
                w[39, c], w[40, c], w[41, c], w[42, c], w[43, c] = da, db, dd, de, df
                w[44, c], w[45, c], w[46, c], w[47, c], w[48, c] = dh, dj, dk, dm, do
            _store(w[33:], start, n, d_left[i])
            _store(w[36:], start, n, d_right[i])
            _store(w[39:], start, n, d_left2[i])
            _store(w[44:], start, n, d_right2[i])
            _store(w[49:], start, n, d_gates[i])


@numba.njit(cache=True, fastmath=True)
def gate_inputs(s, right, right2, small, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [atom, 3, channel]: scalars, and norms of the right factors of vectors and tensors."""
    w = np.zeros((11, _BLOCK), s.dtype)
    for i in range(len(s)):
        for start in range(0, s.shape[1], _BLOCK):
            n = min(_BLOCK, s.shape[1] - start)
            _load(s[i : i + 1], start, n, w[0:])
            _load(right[i], start, n, w[3:])
            _load(right2[i], start, n, w[6:])
            for c in range(n):
                x, y, z, a, b, d, e, f = w[3, c], w[4, c], w[5, c], w[6, c], w[7, c], w[8, c], w[9, c], w[10, c]
                w[1, c] = math.sqrt(x * x + y * y + z * z + small)
                w[2, c] = math.sqrt(a * a + b * b + d * d + e * e + f * f + small)
            _store(w[0:], start, n, out[i])


@numba.njit(cache=True, fastmath=True)
def gate_inputs_backward(right, right2, inputs, d_inputs, d_right, d_right2):  # type: ignore[no-untyped-def]
    """Adds to the gradients by the right factors; those by the norms are divided by the norms."""
    n = inputs.shape[2]
    for i in range(len(inputs)):
        for rank in range(1, 3):
            norm, by_norm = inputs[i, rank], d_inputs[i, rank]
            for c in range(n):
                by_norm[c] /= norm[c]
        for m in range(3):
            by_norm, of, to = d_inputs[i, 1], right[i, m], d_right[i, m]
            for c in range(n):
                to[c] += by_norm[c] * of[c]
        for m in range(5):
            by_norm, of, to = d_inputs[i, 2], right2[i, m], d_right2[i, m]
            for c in range(n):
                to[c] += by_norm[c] * of[c]
