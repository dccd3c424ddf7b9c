"""Loops over atoms and reciprocal vectors of the smooth part of the split sum, on the CPU; ``far`` calls them.

S(k) = sum_i (A_i + i B_i) exp(i k.r_i) with A = q - k.Q.k/2 and B = k.u; ``waves`` [atom, 2 k] holds all cosines, then
all sines; ``modes`` [2, k] real and imaginary part of S; ``k`` [xyz, k], A^-1; quadrupoles by their components xx, xy,
xz, yy, yz, zz.  With w(k) the weights, U = sum w |S|^2, and p + i n = S* exp(i k.r_i).
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath=True)
def modes_of(waves, k, q, u, quad, modes):  # type: ignore[no-untyped-def]
    """Sets ``modes`` of charges [atom], dipoles [atom, xyz] and quadrupoles [atom, 6]; the last may be empty."""
    n_k = k.shape[1]
    cosine_sum, sine_sum = modes[0], modes[1]
    cosine_sum[:] = 0.0
    sine_sum[:] = 0.0
    for i in range(len(q)):
        cosine, sine = waves[i, :n_k], waves[i, n_k:]
        charge, ux, uy, uz = q[i], u[i, 0], u[i, 1], u[i, 2]
        if len(quad):
            m = quad[i]
            xx, xy, xz, yy, yz, zz = -0.5 * m[0], -m[1], -m[2], -0.5 * m[3], -m[4], -0.5 * m[5]
            for a in range(n_k):
                x, y, z = k[0, a], k[1, a], k[2, a]
                even = charge + x * (xx * x + xy * y + xz * z) + y * (yy * y + yz * z) + zz * z * z
                odd = ux * x + uy * y + uz * z
                cosine_sum[a] += even * cosine[a] - odd * sine[a]
                sine_sum[a] += even * sine[a] + odd * cosine[a]
        else:
            for a in range(n_k):
                odd = ux * k[0, a] + uy * k[1, a] + uz * k[2, a]
                cosine_sum[a] += charge * cosine[a] - odd * sine[a]
                sine_sum[a] += charge * sine[a] + odd * cosine[a]


@numba.njit(cache=True, fastmath=True)
def _weighed(weights, modes):  # type: ignore[no-untyped-def]
    """2 w S, real and imaginary part [k] each."""
    n_k = len(weights)
    real, imaginary = np.empty(n_k, modes.dtype), np.empty(n_k, modes.dtype)
    for a in range(n_k):
        real[a], imaginary[a] = 2.0 * weights[a] * modes[0, a], 2.0 * weights[a] * modes[1, a]
    return real, imaginary


@numba.njit(cache=True, fastmath=True)
def potentials(waves, k, weights, modes, potential, field):  # type: ignore[no-untyped-def]
    """Adds potentials [atom] and fields [atom, xyz], self-terms included, of modes."""
    n_k = k.shape[1]
    real, imaginary = _weighed(weights, modes)
    zero = modes.dtype.type(0.0)
    for i in range(len(potential)):
        cosine, sine = waves[i, :n_k], waves[i, n_k:]
        total = x = y = z = zero
        for a in range(n_k):
            total += real[a] * cosine[a] + imaginary[a] * sine[a]
            n = real[a] * sine[a] - imaginary[a] * cosine[a]
            x += n * k[0, a]
            y += n * k[1, a]
            z += n * k[2, a]
        potential[i] += total
        field[i, 0] += x
        field[i, 1] += y
        field[i, 2] += z


@numba.njit(cache=True, fastmath=True)
def gradients(waves, k, weights, modes, u, quad, q, dq, du, dquad, dr):  # type: ignore[no-untyped-def]
    """Sets gradients of sum w |S|^2 by charges, dipoles, quadrupoles (components) and positions."""
    n_k = k.shape[1]
    real, imaginary = _weighed(weights, modes)
    zero = modes.dtype.type(0.0)
    for i in range(len(q)):
        cosine, sine = waves[i, :n_k], waves[i, n_k:]
        charge, ux, uy, uz = q[i], u[i, 0], u[i, 1], u[i, 2]
        m = quad[i]
        xx, xy, xz, yy, yz, zz = -0.5 * m[0], -m[1], -m[2], -0.5 * m[3], -m[4], -0.5 * m[5]
        by_q = by_x = by_y = by_z = gx = gy = gz = zero
        qxx = qxy = qxz = qyy = qyz = qzz = zero
        for a in range(n_k):
            x, y, z = k[0, a], k[1, a], k[2, a]
            p = real[a] * cosine[a] + imaginary[a] * sine[a]
            n = real[a] * sine[a] - imaginary[a] * cosine[a]
            even = charge + x * (xx * x + xy * y + xz * z) + y * (yy * y + yz * z) + zz * z * z
            force = -(n * even + p * (ux * x + uy * y + uz * z))
            by_q += p
            by_x -= n * x
            by_y -= n * y
            by_z -= n * z
            gx += force * x
            gy += force * y
            gz += force * z
            px, py = -0.5 * p * x, -0.5 * p * y
            qxx += px * x
            qxy += px * y
            qxz += px * z
            qyy += py * y
            qyz += py * z
            qzz -= 0.5 * p * z * z
        dq[i] = by_q
        du[i, 0], du[i, 1], du[i, 2] = by_x, by_y, by_z
        dr[i, 0], dr[i, 1], dr[i, 2] = gx, gy, gz
        dquad[i, 0], dquad[i, 1], dquad[i, 2] = qxx, qxy, qxz
        dquad[i, 3], dquad[i, 4], dquad[i, 5] = qyy, qyz, qzz
