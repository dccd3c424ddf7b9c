"""Loops over pairs of the short part of the split sum, on the CPU; ``near`` calls them.

With r = r_i - r_j of a pair's own image, the radial functions b_0 = T(r), b_{n+1} = -(1/r) db_n/dr, and a = u.r,
A = Q r, c = r.A of either end, the energy of a pair is sum_n b_n t_n,

    t_0 = q_i q_j                                       t_1 = q_i a_j - q_j a_i + u_i.u_j
    t_2 = -a_i a_j + (q_j c_i + q_i c_j)/2 - A_i.u_j + A_j.u_i + Q_i:Q_j/2
    t_3 = (c_i a_j - c_j a_i)/2 - A_i.A_j               t_4 = c_i c_j/4

Quadrupoles are given and derived by their components xx, xy, xz, yy, yz, zz.
"""

from __future__ import annotations

import math

import numba
import numpy as np

N_FUNCTIONS = 6  # b_0 ... b_5: gradients of quadrupoles with quadrupoles


@numba.njit(cache=True, fastmath=True)
def pairs_within(positions, cells, batch, i, j, shift, kinds, tables, step, reach, n_functions, who, shifts, r, b):  # type: ignore[no-untyped-def]
    """Pairs within reach: atoms ``who`` [pair, 2], ``shifts`` and r [pair, xyz], and b [pair, function].

    ``tables`` [kind, kind, place, function + 1] hold the functions on a grid of r^2 of the given step: between two
    places a cubic with the right slopes, db_n/d(r^2) = -b_{n+1}/2.

    Returns:
        how many pairs there are.
    """
    found = 0
    for pair in range(len(i)):
        first, second, cell = i[pair], j[pair], cells[batch[i[pair]]]
        x = np.float64(positions[first, 0]) - positions[second, 0]
        y = np.float64(positions[first, 1]) - positions[second, 1]
        z = np.float64(positions[first, 2]) - positions[second, 2]
        for v in range(3):
            x -= shift[pair, v] * cell[v, 0]
            y -= shift[pair, v] * cell[v, 1]
            z -= shift[pair, v] * cell[v, 2]
        squared = x * x + y * y + z * z
        if not squared < reach * reach:
            continue
        who[found, 0], who[found, 1] = first, second
        shifts[found, 0], shifts[found, 1], shifts[found, 2] = shift[pair, 0], shift[pair, 1], shift[pair, 2]
        r[found, 0], r[found, 1], r[found, 2] = x, y, z
        place = int(squared / step)
        t = squared / step - place
        rest = 1.0 - t
        low, high = tables[kinds[first], kinds[second], place], tables[kinds[first], kinds[second], place + 1]
        left, right = rest * rest * (1.0 + 2.0 * t), t * t * (3.0 - 2.0 * t)
        up, down = -0.5 * step * t * rest * rest, 0.5 * step * t * t * rest
        for n in range(n_functions):
            b[found, n] = left * low[n] + right * high[n] + up * low[n + 1] + down * high[n + 1]
        found += 1
    return found


@numba.njit(cache=True, fastmath=True)
def act(who, r, b, n_pairs, charges, dipoles, potential, field):  # type: ignore[no-untyped-def]
    """Adds potentials [atom, source] and fields [atom, source, xyz] of charges and dipoles of the same shapes."""
    n_sources = charges.shape[1]
    for p in range(n_pairs):
        i, j = who[p, 0], who[p, 1]
        x, y, z, b0, b1, b2 = r[p, 0], r[p, 1], r[p, 2], b[p, 0], b[p, 1], b[p, 2]
        for s in range(n_sources):
            qi, qj = charges[i, s], charges[j, s]
            ux, uy, uz = dipoles[i, s, 0], dipoles[i, s, 1], dipoles[i, s, 2]
            vx, vy, vz = dipoles[j, s, 0], dipoles[j, s, 1], dipoles[j, s, 2]
            ai, aj = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z
            potential[i, s] += b0 * qj + b1 * aj
            potential[j, s] += b0 * qi - b1 * ai
            along = b1 * qj + b2 * aj
            field[i, s, 0] += along * x - b1 * vx
            field[i, s, 1] += along * y - b1 * vy
            field[i, s, 2] += along * z - b1 * vz
            along = b2 * ai - b1 * qi
            field[j, s, 0] += along * x - b1 * ux
            field[j, s, 1] += along * y - b1 * uy
            field[j, s, 2] += along * z - b1 * uz


@numba.njit(cache=True, fastmath=True)
def potentials(who, r, b, n_pairs, q, u, quad, potential, field):  # type: ignore[no-untyped-def]
    """Adds potentials [atom] and fields [atom, xyz] of charges, dipoles and quadrupoles."""
    for p in range(n_pairs):
        i, j = who[p, 0], who[p, 1]
        x, y, z, b0, b1, b2, b3 = r[p, 0], r[p, 1], r[p, 2], b[p, 0], b[p, 1], b[p, 2], b[p, 3]
        ax, ay, az = _times(quad[i], x, y, z)
        bx, by, bz = _times(quad[j], x, y, z)
        ci, cj = ax * x + ay * y + az * z, bx * x + by * y + bz * z
        ai, aj = u[i, 0] * x + u[i, 1] * y + u[i, 2] * z, u[j, 0] * x + u[j, 1] * y + u[j, 2] * z
        potential[i] += b0 * q[j] + b1 * aj + 0.5 * b2 * cj
        potential[j] += b0 * q[i] - b1 * ai + 0.5 * b2 * ci
        along = b1 * q[j] + b2 * aj + 0.5 * b3 * cj
        field[i, 0] += along * x - b1 * u[j, 0] - b2 * bx
        field[i, 1] += along * y - b1 * u[j, 1] - b2 * by
        field[i, 2] += along * z - b1 * u[j, 2] - b2 * bz
        along = b2 * ai - b1 * q[i] - 0.5 * b3 * ci
        field[j, 0] += along * x - b1 * u[i, 0] + b2 * ax
        field[j, 1] += along * y - b1 * u[i, 1] + b2 * ay
        field[j, 2] += along * z - b1 * u[i, 2] + b2 * az


@numba.njit(cache=True, fastmath=True)
def _times(m, x, y, z):  # type: ignore[no-untyped-def]
    """A symmetric matrix, by its components, times a vector."""
    return m[0] * x + m[1] * y + m[2] * z, m[1] * x + m[3] * y + m[4] * z, m[2] * x + m[4] * y + m[5] * z


@numba.njit(cache=True, fastmath=True)
def _add_square(m, s, x, y, z, k, ux, uy, uz):  # type: ignore[no-untyped-def]
    """Adds s r r + k (r u + u r)/2 to components."""
    m[0] += s * x * x + k * x * ux
    m[1] += s * x * y + 0.5 * k * (x * uy + y * ux)
    m[2] += s * x * z + 0.5 * k * (x * uz + z * ux)
    m[3] += s * y * y + k * y * uy
    m[4] += s * y * z + 0.5 * k * (y * uz + z * uy)
    m[5] += s * z * z + k * z * uz


@numba.njit(cache=True, fastmath=True)
def energy(who, r, b, n_pairs, batch, q, u, quad, out, dq, du, dquad, dr):  # type: ignore[no-untyped-def]
    """Adds energies [structure] and their gradients by charges, dipoles, quadrupoles; sets dr [pair, xyz], by r."""
    for p in range(n_pairs):
        i, j = who[p, 0], who[p, 1]
        x, y, z = r[p, 0], r[p, 1], r[p, 2]
        b0, b1, b2, b3, b4, b5 = b[p, 0], b[p, 1], b[p, 2], b[p, 3], b[p, 4], b[p, 5]
        qi, qj = q[i], q[j]
        ux, uy, uz, vx, vy, vz = u[i, 0], u[i, 1], u[i, 2], u[j, 0], u[j, 1], u[j, 2]
        ai, aj, uv = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z, ux * vx + uy * vy + uz * vz
        m, n = quad[i], quad[j]
        ax, ay, az = _times(m, x, y, z)
        bx, by, bz = _times(n, x, y, z)
        ci, cj = ax * x + ay * y + az * z, bx * x + by * y + bz * z
        av, bu, ab = ax * vx + ay * vy + az * vz, bx * ux + by * uy + bz * uz, ax * bx + ay * by + az * bz
        trace = m[0] * n[0] + m[3] * n[3] + m[5] * n[5] + 2.0 * (m[1] * n[1] + m[2] * n[2] + m[4] * n[4])
        t0, t1 = qi * qj, qi * aj - qj * ai + uv
        t2 = -ai * aj + 0.5 * (qj * ci + qi * cj) - av + bu + 0.5 * trace
        t3, t4 = 0.5 * (ci * aj - cj * ai) - ab, 0.25 * ci * cj
        out[batch[i]] += b0 * t0 + b1 * t1 + b2 * t2 + b3 * t3 + b4 * t4
        dq[i] += b0 * qj + b1 * aj + 0.5 * b2 * cj
        dq[j] += b0 * qi - b1 * ai + 0.5 * b2 * ci
        along = -b1 * qj - b2 * aj - 0.5 * b3 * cj
        du[i, 0] += along * x + b1 * vx + b2 * bx
        du[i, 1] += along * y + b1 * vy + b2 * by
        du[i, 2] += along * z + b1 * vz + b2 * bz
        along = b1 * qi - b2 * ai + 0.5 * b3 * ci
        du[j, 0] += along * x + b1 * ux - b2 * ax
        du[j, 1] += along * y + b1 * uy - b2 * ay
        du[j, 2] += along * z + b1 * uz - b2 * az
        # -r sum b_{n+1} t_n, then the changes of a, A and c: of what multiplies u_i, u_j, A_i, A_j, and Q.
        along = -(b1 * t0 + b2 * t1 + b3 * t2 + b4 * t3 + b5 * t4)
        by_u, by_v = -b1 * qj - b2 * aj - 0.5 * b3 * cj, b1 * qi - b2 * ai + 0.5 * b3 * ci
        by_a, by_b = b2 * qj + b3 * aj + 0.5 * b4 * cj, b2 * qi - b3 * ai + 0.5 * b4 * ci
        ox, oy, oz = _times(m, b2 * vx + b3 * bx, b2 * vy + b3 * by, b2 * vz + b3 * bz)
        sx, sy, sz = _times(n, b2 * ux - b3 * ax, b2 * uy - b3 * ay, b2 * uz - b3 * az)
        dr[p, 0] = along * x + by_u * ux + by_v * vx + by_a * ax + by_b * bx - ox + sx
        dr[p, 1] = along * y + by_u * uy + by_v * vy + by_a * ay + by_b * by - oy + sy
        dr[p, 2] = along * z + by_u * uz + by_v * vz + by_a * az + by_b * bz - oz + sz
        d, e = dquad[i], dquad[j]
        square = 0.5 * b2 * qj + 0.5 * b3 * aj + 0.25 * b4 * cj
        _add_square(d, square, x, y, z, -1.0, b2 * vx + b3 * bx, b2 * vy + b3 * by, b2 * vz + b3 * bz)
        square = 0.5 * b2 * qi - 0.5 * b3 * ai + 0.25 * b4 * ci
        _add_square(e, square, x, y, z, 1.0, b2 * ux - b3 * ax, b2 * uy - b3 * ay, b2 * uz - b3 * az)
        for c in range(6):
            d[c] += 0.5 * b2 * n[c]
            e[c] += 0.5 * b2 * m[c]


@numba.njit(cache=True, fastmath=True)
def gradients(who, shifts, n_pairs, batch, dr, weight, d_positions, d_cells):  # type: ignore[no-untyped-def]
    """Adds to gradients by positions [atom, xyz] and cells [structure, vector, xyz], weighed by structure."""
    for p in range(n_pairs):
        i, j = who[p, 0], who[p, 1]
        s = batch[i]
        for a in range(3):
            g = weight[s] * dr[p, a]
            d_positions[i, a] += g
            d_positions[j, a] -= g
            for v in range(3):
                d_cells[s, v, a] -= shifts[p, v] * g


def function_table(width: float, wide: float, reach: float, step: float, scale: float) -> np.ndarray:
    """``scale`` (b_n of width - b_n of wide) [place, function + 1] on the grid r^2 = 0, step, ... beyond reach^2.

    b_0 = erf(x r)/r with x = 1/(sqrt2 width), and b_n = (2 x/sqrt(pi)) (2 x^2)^n int_0^1 s^{2n} exp(-x^2 r^2 s^2) ds.
    """
    squared = step * np.arange(int(reach**2 / step) + 3)
    found = np.zeros((len(squared), N_FUNCTIONS + 1))
    nodes, weights = np.polynomial.legendre.leggauss(48)
    s, w = 0.5 * (nodes + 1.0), 0.5 * weights
    for sign, sigma in ((1.0, width), (-1.0, wide)):
        x = 1.0 / (math.sqrt(2.0) * sigma)
        exponential = np.exp(-np.outer(x * x * squared, s * s))  # [place, node]
        for n in range(N_FUNCTIONS + 1):
            found[:, n] += sign * 2.0 * x / math.sqrt(math.pi) * (2.0 * x * x) ** n * (exponential @ (w * s ** (2 * n)))
    return scale * found
