"""Loops over pairs of the short part of the split sum, on the CPU; ``near`` calls them.

With r = r_i - r_j of a pair's own image, the radial functions b_0 = T(r), b_{n+1} = -(1/r) db_n/dr, and a = u.r,
A = Q r, c = r.A of either end, the energy of a pair is sum_n b_n t_n,

    t_0 = q_i q_j                                       t_1 = q_i a_j - q_j a_i + u_i.u_j
    t_2 = -a_i a_j + (q_j c_i + q_i c_j)/2 - A_i.u_j + A_j.u_i + Q_i:Q_j/2
    t_3 = (c_i a_j - c_j a_i)/2 - A_i.A_j               t_4 = c_i c_j/4

``first`` [atom + 1] says where the pairs of every atom i begin, ``other`` [pair] is j; ``geometry`` [row, pair] holds
r (three rows) and b_0 ... b_5.  ``moments`` [atom, 10] are charge, dipole and the components xx, xy, xz, yy, yz, zz of
the quadrupole, by which gradients are taken, too; ``sources`` [source, atom, 4] are charge and dipole alone.

The longest loop works on blocks of a table of fixed size: then a compiler can see that no two of its rows overlap, and
takes eight or sixteen pairs at once (192 atoms, 16,800 pairs, float32: 0.25 ms instead of 0.55).
"""

from __future__ import annotations

import math

import numba
import numpy as np

N_FUNCTIONS = 6  # b_0 ... b_5: gradients of quadrupoles with quadrupoles
N_MOMENTS = 10
_LANES = 8  # N_FUNCTIONS, padded
_BLOCK = 128  # pairs


@numba.njit(cache=True, fastmath=True)
def pairs_within(  # type: ignore[no-untyped-def]
    positions, cells, batch, first, other, shift, kinds, tables, step, reach, begin, found, listed, geometry
):  # fmt: skip
    """Pairs of a list that are within reach, with their ``geometry``.

    Fills ``begin`` (their ``first``), ``found`` (their ``other``) and their places ``listed`` [pair] in the list.
    ``tables`` [kind, kind, place, 4, lane] hold coefficients of a cubic in t, r^2/step = place + t, of all functions.
    """
    n_atoms, total = len(positions), 0
    row = np.empty(_LANES, geometry.dtype)
    for i in range(n_atoms):
        begin[i] = total
        cell = cells[batch[i]]
        px, py, pz = np.float64(positions[i, 0]), np.float64(positions[i, 1]), np.float64(positions[i, 2])
        others, shifts = other[first[i] : first[i + 1]], shift[first[i] : first[i + 1]]
        for pair in range(len(others)):
            j = others[pair]
            s0, s1, s2 = shifts[pair, 0], shifts[pair, 1], shifts[pair, 2]
            x = px - positions[j, 0] - (s0 * cell[0, 0] + s1 * cell[1, 0] + s2 * cell[2, 0])
            y = py - positions[j, 1] - (s0 * cell[0, 1] + s1 * cell[1, 1] + s2 * cell[2, 1])
            z = pz - positions[j, 2] - (s0 * cell[0, 2] + s1 * cell[1, 2] + s2 * cell[2, 2])
            squared = x * x + y * y + z * z
            if not squared < reach * reach:
                continue
            found[total], listed[total] = j, first[i] + pair
            geometry[0, total], geometry[1, total], geometry[2, total] = x, y, z
            place = int(squared / step)
            t = geometry.dtype.type(squared / step - place)
            c = tables[kinds[i], kinds[j], place]
            for n in range(_LANES):
                row[n] = c[0, n] + t * (c[1, n] + t * (c[2, n] + t * c[3, n]))
            for n in range(N_FUNCTIONS):
                geometry[3 + n, total] = row[n]
            total += 1
    begin[n_atoms] = total


@numba.njit(cache=True, fastmath=True)
def act(first, other, geometry, sources, which, out):  # type: ignore[no-untyped-def]
    """Adds potential and field of the sources in ``which``, others untouched, to ``out`` [source, atom, 4]."""
    zero = geometry.dtype.type(0.0)
    for s in which:
        for i in range(len(first) - 1):
            qi, ux, uy, uz = sources[s, i, 0], sources[s, i, 1], sources[s, i, 2], sources[s, i, 3]
            potential = fx = fy = fz = zero
            others, of_pair = other[first[i] : first[i + 1]], geometry[:, first[i] : first[i + 1]]
            for p in range(len(others)):
                j = others[p]
                x, y, z = of_pair[0, p], of_pair[1, p], of_pair[2, p]
                b0, b1, b2 = of_pair[3, p], of_pair[4, p], of_pair[5, p]
                qj, vx, vy, vz = sources[s, j, 0], sources[s, j, 1], sources[s, j, 2], sources[s, j, 3]
                ai, aj = ux * x + uy * y + uz * z, vx * x + vy * y + vz * z
                potential += b0 * qj + b1 * aj
                along = b1 * qj + b2 * aj
                fx += along * x - b1 * vx
                fy += along * y - b1 * vy
                fz += along * z - b1 * vz
                along = b2 * ai - b1 * qi
                out[s, j, 0] += b0 * qi - b1 * ai
                out[s, j, 1] += along * x - b1 * ux
                out[s, j, 2] += along * y - b1 * uy
                out[s, j, 3] += along * z - b1 * uz
            out[s, i, 0] += potential
            out[s, i, 1] += fx
            out[s, i, 2] += fy
            out[s, i, 3] += fz


@numba.njit(cache=True, fastmath=True)
def _times(m, x, y, z):  # type: ignore[no-untyped-def]
    """A symmetric matrix, by the last six of ten moments, times a vector."""
    return m[4] * x + m[5] * y + m[6] * z, m[5] * x + m[7] * y + m[8] * z, m[6] * x + m[8] * y + m[9] * z


@numba.njit(cache=True, fastmath=True)
def act_of_quadrupoles(first, other, geometry, moments, out):  # type: ignore[no-untyped-def]
    """Adds potential and field of the quadrupoles alone to ``out`` [atom, 4]."""
    half = geometry.dtype.type(0.5)
    for i in range(len(first) - 1):
        others, of_pair = other[first[i] : first[i + 1]], geometry[:, first[i] : first[i + 1]]
        for p in range(len(others)):
            j = others[p]
            x, y, z, b2, b3 = of_pair[0, p], of_pair[1, p], of_pair[2, p], of_pair[5, p], of_pair[6, p]
            ax, ay, az = _times(moments[i], x, y, z)
            bx, by, bz = _times(moments[j], x, y, z)
            ci, cj = half * (ax * x + ay * y + az * z), half * (bx * x + by * y + bz * z)
            out[i, 0] += b2 * cj
            out[j, 0] += b2 * ci
            out[i, 1] += b3 * cj * x - b2 * bx
            out[i, 2] += b3 * cj * y - b2 * by
            out[i, 3] += b3 * cj * z - b2 * bz
            out[j, 1] += b2 * ax - b3 * ci * x
            out[j, 2] += b2 * ay - b3 * ci * y
            out[j, 3] += b2 * az - b3 * ci * z


@numba.njit(cache=True, fastmath=True)
def energy(first, other, geometry, batch, moments, out, by_atom, by_vectors):  # type: ignore[no-untyped-def]
    """Adds energies [structure] and gradients by moments and positions [atom, 10 + xyz]; ``by_vectors`` [xyz, pair].

    The last, those by r, are set unless there is no room for them.
    """
    half, zero = geometry.dtype.type(0.5), geometry.dtype.type(0.0)
    w = np.empty((32, _BLOCK), geometry.dtype)  # geometry; moments of j; gradients by them, then by r
    for i in range(len(first) - 1):
        own = moments[i]
        q, u0, u1, u2 = own[0], own[1], own[2], own[3]
        m0, m1, m2, m3, m4, m5 = own[4], own[5], own[6], own[7], own[8], own[9]
        gq = gx = gy = gz = h0 = h1 = h2 = h3 = h4 = h5 = rx = ry = rz = zero
        for start in range(first[i], first[i + 1], _BLOCK):
            n = min(_BLOCK, first[i + 1] - start)
            others, of_pair = other[start : start + n], geometry[:, start : start + n]
            for c in range(9):
                for p in range(n):
                    w[c, p] = of_pair[c, p]
            for p in range(n):
                j = others[p]
                for c in range(N_MOMENTS):
                    w[9 + c, p] = moments[j, c]
            total = zero
            for p in range(n):
                x, y, z, b0, b1, b2 = w[0, p], w[1, p], w[2, p], w[3, p], w[4, p], w[5, p]
                b3, b4, b5 = w[6, p], w[7, p], w[8, p]
                qj, v0, v1, v2 = w[9, p], w[10, p], w[11, p], w[12, p]
                n0, n1, n2, n3, n4, n5 = w[13, p], w[14, p], w[15, p], w[16, p], w[17, p], w[18, p]
                ai, aj, uv = u0 * x + u1 * y + u2 * z, v0 * x + v1 * y + v2 * z, u0 * v0 + u1 * v1 + u2 * v2
                ax, ay, az = m0 * x + m1 * y + m2 * z, m1 * x + m3 * y + m4 * z, m2 * x + m4 * y + m5 * z
                bx, by, bz = n0 * x + n1 * y + n2 * z, n1 * x + n3 * y + n4 * z, n2 * x + n4 * y + n5 * z
                ci, cj = half * (ax * x + ay * y + az * z), half * (bx * x + by * y + bz * z)
                trace = m0 * n0 + m3 * n3 + m5 * n5 + (m1 * n1 + m2 * n2 + m4 * n4) / half
                t0, t1 = q * qj, q * aj - qj * ai + uv
                t2 = -ai * aj + qj * ci + q * cj - (ax * v0 + ay * v1 + az * v2) + half * trace
                t2 += bx * u0 + by * u1 + bz * u2
                t3, t4 = ci * aj - cj * ai - (ax * bx + ay * by + az * bz), ci * cj
                total += b0 * t0 + b1 * t1 + b2 * t2 + b3 * t3 + b4 * t4
                # What multiplies q, u.r and r.Q.r of either end: gradients, and ways in which r moves them.
                gq += b0 * qj + b1 * aj + b2 * cj
                w[19, p] = b0 * q - b1 * ai + b2 * ci
                of_u, of_v = -b1 * qj - b2 * aj - b3 * cj, b1 * q - b2 * ai + b3 * ci
                of_a, of_b = b2 * qj + b3 * aj + b4 * cj, b2 * q - b3 * ai + b4 * ci
                gx += of_u * x + b1 * v0 + b2 * bx
                gy += of_u * y + b1 * v1 + b2 * by
                gz += of_u * z + b1 * v2 + b2 * bz
                w[20, p] = of_v * x + b1 * u0 - b2 * ax
                w[21, p] = of_v * y + b1 * u1 - b2 * ay
                w[22, p] = of_v * z + b1 * u2 - b2 * az
                px, py, pz = b2 * v0 + b3 * bx, b2 * v1 + b3 * by, b2 * v2 + b3 * bz
                sx, sy, sz = b2 * u0 - b3 * ax, b2 * u1 - b3 * ay, b2 * u2 - b3 * az
                along = -(b1 * t0 + b2 * t1 + b3 * t2 + b4 * t3 + b5 * t4)
                dx = along * x + of_u * u0 + of_v * v0 + of_a * ax + of_b * bx
                dy = along * y + of_u * u1 + of_v * v1 + of_a * ay + of_b * by
                dz = along * z + of_u * u2 + of_v * v2 + of_a * az + of_b * bz
                dx += (n0 * sx + n1 * sy + n2 * sz) - (m0 * px + m1 * py + m2 * pz)
                dy += (n1 * sx + n3 * sy + n4 * sz) - (m1 * px + m3 * py + m4 * pz)
                dz += (n2 * sx + n4 * sy + n5 * sz) - (m2 * px + m4 * py + m5 * pz)
                rx += dx
                ry += dy
                rz += dz
                w[29, p], w[30, p], w[31, p] = -dx, -dy, -dz
                of_a, of_b, b2 = half * of_a, half * of_b, half * b2
                h0 += of_a * x * x - x * px + b2 * n0
                h1 += of_a * x * y - half * (x * py + y * px) + b2 * n1
                h2 += of_a * x * z - half * (x * pz + z * px) + b2 * n2
                h3 += of_a * y * y - y * py + b2 * n3
                h4 += of_a * y * z - half * (y * pz + z * py) + b2 * n4
                h5 += of_a * z * z - z * pz + b2 * n5
                w[23, p] = of_b * x * x + x * sx + b2 * m0
                w[24, p] = of_b * x * y + half * (x * sy + y * sx) + b2 * m1
                w[25, p] = of_b * x * z + half * (x * sz + z * sx) + b2 * m2
                w[26, p] = of_b * y * y + y * sy + b2 * m3
                w[27, p] = of_b * y * z + half * (y * sz + z * sy) + b2 * m4
                w[28, p] = of_b * z * z + z * sz + b2 * m5
            if by_vectors.shape[1] > 0:
                for c in range(3):
                    for p in range(n):
                        by_vectors[c, start + p] = -w[29 + c, p]
            for p in range(n):
                j = others[p]
                for c in range(N_MOMENTS + 3):
                    by_atom[j, c] += w[19 + c, p]
            out[batch[i]] += total
        for c, g in enumerate((gq, gx, gy, gz, h0, h1, h2, h3, h4, h5, rx, ry, rz)):
            by_atom[i, c] += g


@numba.njit(cache=True, fastmath=True)
def by_cells(first, listed, shifts, batch, by_vectors, out):  # type: ignore[no-untyped-def]
    """Adds gradients by cells [structure, vector, xyz]; ``shifts`` of the whole list."""
    for i in range(len(first) - 1):
        for p in range(first[i], first[i + 1]):
            for v in range(3):
                for a in range(3):
                    out[batch[i], v, a] -= shifts[listed[p], v] * by_vectors[a, p]


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


def cubics(table: np.ndarray, step: float) -> np.ndarray:
    """Coefficients [place, power, lane] of the cubics between the places of ``function_table``, zero in spare lanes.

    Between two places a cubic of the right values and slopes, db_n/d(r^2) = -b_{n+1}/2.
    """
    low, high = table[:-1, :N_FUNCTIONS], table[1:, :N_FUNCTIONS]
    up, down = -0.5 * step * table[:-1, 1:], -0.5 * step * table[1:, 1:]
    found = np.zeros((len(low), 4, _LANES))
    powers = (low, up, 3.0 * (high - low) - 2.0 * up - down, 2.0 * (low - high) + up + down)
    for power, values in enumerate(powers):
        found[:, power, :N_FUNCTIONS] = values
    return found
