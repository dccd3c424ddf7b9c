"""Loops of the heads over atoms, forward and backward, on the CPU; ``atoms_fused`` calls them.

``gates`` [atom, gate] are linear in an atom's hidden scalars; ``mixed`` [atom, xyz, 2 product] the left and right
vectors whose dyads make a quadrupole.  Components of tensors as in ``backbones.update_kernels``.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_R2, _R6 = math.sqrt(0.5), math.sqrt(1.0 / 6.0)


@numba.njit(cache=True, fastmath=True)
def dipoles(v, gates, at, scale, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, xyz] = scale sum_c g_c v_c; the gates begin in column ``at``."""
    for i in range(len(v)):
        gate = gates[i, at : at + v.shape[2]]
        for x in range(3):
            row, total = v[i, x], v.dtype.type(0.0)
            for c in range(len(row)):
                total += row[c] * gate[c]
            out[i, x] = scale * total


@numba.njit(cache=True, fastmath=True)
def dipoles_backward(v, gates, at, scale, d_out, d_v, d_gates):  # type: ignore[no-untyped-def]
    """Sets the gradients by vectors and gates."""
    for i in range(len(v)):
        gate, d_gate, rows, d_rows = gates[i, at : at + v.shape[2]], d_gates[i, at : at + v.shape[2]], v[i], d_v[i]
        x, y, z = scale * d_out[i, 0], scale * d_out[i, 1], scale * d_out[i, 2]
        for c in range(len(gate)):
            d_gate[c] = x * rows[0, c] + y * rows[1, c] + z * rows[2, c]
        for c in range(len(gate)):
            d_rows[0, c] = x * gate[c]
        for c in range(len(gate)):
            d_rows[1, c] = y * gate[c]
        for c in range(len(gate)):
            d_rows[2, c] = z * gate[c]


@numba.njit(cache=True, fastmath=True)
def quadrupoles(t, gates, at, n_products, mixed, scale, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, xyz, xyz] = scale (sum_m (sum_c g_c t_mc) B_m + traceless symmetric part of sum_k l_k h_k r_k^T).

    Gates h of the products begin in column ``at``, those of the tensors behind them.
    """
    r2, r6 = t.dtype.type(_R2), t.dtype.type(_R6)
    half = t.dtype.type(0.5)
    p, m = np.empty((3, 3), t.dtype), np.empty(5, t.dtype)
    for i in range(len(t)):
        of_products, gate = gates[i, at : at + n_products], gates[i, at + n_products : at + n_products + t.shape[2]]
        for k in range(5):
            row, total = t[i, k], t.dtype.type(0.0)
            for c in range(len(row)):
                total += row[c] * gate[c]
            m[k] = total
        for x in range(3):
            for y in range(3):
                total = t.dtype.type(0.0)
                for k in range(n_products):
                    total += mixed[i, x, k] * of_products[k] * mixed[i, y, n_products + k]
                p[x, y] = total
        third = (p[0, 0] + p[1, 1] + p[2, 2]) / t.dtype.type(3.0)
        out[i, 0, 0] = scale * (r2 * m[3] - r6 * m[4] + p[0, 0] - third)
        out[i, 1, 1] = scale * (-r2 * m[3] - r6 * m[4] + p[1, 1] - third)
        out[i, 2, 2] = scale * ((r6 + r6) * m[4] + p[2, 2] - third)
        out[i, 0, 1] = out[i, 1, 0] = scale * (r2 * m[0] + half * (p[0, 1] + p[1, 0]))
        out[i, 1, 2] = out[i, 2, 1] = scale * (r2 * m[1] + half * (p[1, 2] + p[2, 1]))
        out[i, 0, 2] = out[i, 2, 0] = scale * (r2 * m[2] + half * (p[0, 2] + p[2, 0]))


@numba.njit(cache=True, fastmath=True)
def quadrupoles_backward(t, gates, at, n_products, mixed, scale, d_out, d_t, d_gates, d_mixed):  # type: ignore[no-untyped-def]
    """Sets the gradients by tensors, gates and mixed vectors."""
    r2, r6 = t.dtype.type(_R2), t.dtype.type(_R6)
    half = t.dtype.type(0.5)
    g, m = np.empty((3, 3), t.dtype), np.empty(5, t.dtype)
    for i in range(len(t)):
        first, second = at + n_products, at + n_products + t.shape[2]
        of_products, gate = gates[i, at:first], gates[i, first:second]
        d_products, d_gate = d_gates[i, at:first], d_gates[i, first:second]
        for x in range(3):
            for y in range(3):
                g[x, y] = scale * half * (d_out[i, x, y] + d_out[i, y, x])
        third = (g[0, 0] + g[1, 1] + g[2, 2]) / t.dtype.type(3.0)
        for x in range(3):
            g[x, x] -= third
        m[0], m[1], m[2] = (r2 + r2) * g[0, 1], (r2 + r2) * g[1, 2], (r2 + r2) * g[0, 2]
        m[3], m[4] = r2 * (g[0, 0] - g[1, 1]), r6 * (g[2, 2] + g[2, 2] - g[0, 0] - g[1, 1])
        for c in range(len(d_gate)):
            d_gate[c] = t.dtype.type(0.0)
        for k in range(5):
            row, d_row, by = t[i, k], d_t[i, k], m[k]
            for c in range(len(row)):
                d_row[c] = by * gate[c]
            for c in range(len(row)):
                d_gate[c] += by * row[c]
        for k in range(n_products):
            total = t.dtype.type(0.0)
            for x in range(3):
                of_left, of_right = t.dtype.type(0.0), t.dtype.type(0.0)
                for y in range(3):
                    of_left += g[x, y] * mixed[i, y, n_products + k]
                    of_right += g[x, y] * mixed[i, y, k]
                d_mixed[i, x, k] = of_products[k] * of_left
                d_mixed[i, x, n_products + k] = of_products[k] * of_right
                total += mixed[i, x, k] * of_left
            d_products[k] = total


@numba.njit(cache=True, fastmath=True)
def _stiff(r, number, limit, a, inverse):  # type: ignore[no-untyped-def]
    """Sets ``a`` = number r r and ``inverse`` = (1 + a/limit)^-1 of a symmetric matrix r."""
    for x in range(3):
        for y in range(3):
            a[x, y] = number * (r[x, 0] * r[0, y] + r[x, 1] * r[1, y] + r[x, 2] * r[2, y])
    xx, yy, zz = 1.0 + a[0, 0] / limit, 1.0 + a[1, 1] / limit, 1.0 + a[2, 2] / limit
    xy, xz, yz = a[0, 1] / limit, a[0, 2] / limit, a[1, 2] / limit
    inverse[0, 0], inverse[1, 1], inverse[2, 2] = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    inverse[0, 1] = inverse[1, 0] = xz * yz - xy * zz
    inverse[0, 2] = inverse[2, 0] = xy * yz - xz * yy
    inverse[1, 2] = inverse[2, 1] = xy * xz - xx * yz
    determinant = xx * inverse[0, 0] + xy * inverse[0, 1] + xz * inverse[0, 2]
    for x in range(3):
        for y in range(3):
            inverse[x, y] /= determinant


@numba.njit(cache=True, fastmath=True)
def polarizabilities(roots, number, limits, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, xyz, xyz] = A (1 + A/limit)^-1, A = number R^2, of symmetric roots; see ``stability``."""
    a, inverse = np.empty((3, 3)), np.empty((3, 3))
    for i in range(len(roots)):
        _stiff(roots[i], number, limits[i], a, inverse)
        for x in range(3):
            for y in range(x, 3):
                total = a[x, 0] * inverse[0, y] + a[x, 1] * inverse[1, y] + a[x, 2] * inverse[2, y]
                out[i, x, y] = out[i, y, x] = total


@numba.njit(cache=True, fastmath=True)
def polarizabilities_backward(roots, number, limits, d_out, d_roots):  # type: ignore[no-untyped-def]
    """Sets the gradient by the roots: with M = (1 + A/limit)^-1, d alpha = M dA M."""
    a, inverse, g, h = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for i in range(len(roots)):
        _stiff(roots[i], number, limits[i], a, inverse)
        for x in range(3):
            for y in range(3):
                g[x, y] = 0.5 * number * (d_out[i, x, y] + d_out[i, y, x])
        for x in range(3):
            for y in range(3):
                h[x, y] = g[x, 0] * inverse[0, y] + g[x, 1] * inverse[1, y] + g[x, 2] * inverse[2, y]
        for x in range(3):
            for y in range(3):
                g[x, y] = inverse[x, 0] * h[0, y] + inverse[x, 1] * h[1, y] + inverse[x, 2] * h[2, y]
        for x in range(3):
            for y in range(3):
                total = 0.0
                for z in range(3):
                    total += g[x, z] * roots[i, z, y] + roots[i, x, z] * g[z, y]
                d_roots[i, x, y] = total


@numba.njit(cache=True, fastmath=True)
def bent(kappa, other, count, limits, shares, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, slot] = kappa_ij/(1 + K_i + K_j), K_i = 2 sum_j kappa_ij/limit, ``shares`` [atom]."""
    for i in range(len(count)):
        total = kappa.dtype.type(0.0)
        for s in range(count[i]):
            total += kappa[i, s]
        shares[i] = 2.0 * total / limits[i]
    for i in range(len(count)):
        for s in range(count[i]):
            out[i, s] = kappa[i, s] / (1.0 + shares[i] + shares[other[i, s]])


@numba.njit(cache=True, fastmath=True)
def bent_backward(kappa, other, count, reverse, limits, shares, d_out, d_kappa):  # type: ignore[no-untyped-def]
    """Sets the gradient by kappa."""
    n_slots = kappa.shape[1]
    flat = d_out.reshape(-1)
    for i in range(len(count)):
        by_share = 0.0
        for s in range(count[i]):
            inverse = 1.0 / (1.0 + shares[i] + shares[other[i, s]])
            both = d_out[i, s] + flat[reverse[i * n_slots + s]]
            by_share -= both * kappa[i, s] * inverse * inverse
            d_kappa[i, s] = d_out[i, s] * inverse
        for s in range(count[i]):
            d_kappa[i, s] += 2.0 * by_share / limits[i]


@numba.njit(cache=True, fastmath=True)
def charges(moved, handed, count, fixed, beyond, takes_part, stiffness, whole, out, transfer):  # type: ignore[no-untyped-def]
    """Sums of charge: ``whole`` [atom, slot] moved and handed back, ``out`` [atom] with the fixed charge.

    ``transfer`` [atom] = stiffness/2 (takes part (beyond + sum of what is handed back))^2, eV.
    """
    for i in range(len(count)):
        total, back = 0.0, 0.0
        for s in range(count[i]):
            whole[i, s] = moved[i, s] + handed[i, s]
            total += whole[i, s]
            back += handed[i, s]
        out[i] = fixed[i] + total
        held = takes_part[i] * (beyond[i] + back)
        transfer[i] = 0.5 * stiffness[i] * held * held


@numba.njit(cache=True, fastmath=True)
def charges_backward(handed, count, beyond, takes_part, stiffness, d_whole, d_out, d_transfer, d_moved, d_handed):  # type: ignore[no-untyped-def]
    """Sets the gradients by charge moved and handed back."""
    for i in range(len(count)):
        back = 0.0
        for s in range(count[i]):
            back += handed[i, s]
        by_back = d_transfer[i] * stiffness[i] * takes_part[i] * takes_part[i] * (beyond[i] + back)
        for s in range(count[i]):
            d_moved[i, s] = d_whole[i, s] + d_out[i]
            d_handed[i, s] = d_moved[i, s] + by_back
