"""Loops over atoms and reciprocal vectors of the smooth part of the split sum, on the CPU; ``far`` calls them.

S(k) = sum_i (A_i + i B_i) exp(i k.r_i) with A = q - k.Q.k/2 and B = k.u; ``k`` [xyz, k], A^-1, and ``weights`` w [k]
are padded by zeros to whole blocks; ``waves`` [block, atom, 2, k of the block] hold cosines and sines; ``moments`` and
``sources`` as in ``near_kernels``.  U = sum w |S|^2, and p + i n = S* exp(i k.r_i).

Block by block S is made and used: waves that do not fit the caches are read once for both, and for all sources
(1,536 atoms, 2,300 vectors: 29 MB).
"""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 64  # vectors whose waves at all atoms stay in the processor's cache between the two passes over them
_LONGEST = 32  # run
_LANES = 16  # runs are written in multiples of it


@numba.njit(cache=True)
def runs_of(integers):  # type: ignore[no-untyped-def]
    """Vectors [k, vector] that follow one another in n_3: start, length, n_1, n_2 and first n_3 [run, 5].

    Also returns the largest integer.
    """
    found, n_runs, reach = np.empty((len(integers), 5), np.int64), 0, 0
    for k in range(len(integers)):
        n1, n2, n3 = int(integers[k, 0]), int(integers[k, 1]), int(integers[k, 2])
        reach = max(reach, abs(n1), abs(n2), abs(n3))
        if n_runs > 0:
            last = found[n_runs - 1]
            if last[1] < _LONGEST and last[2] == n1 and last[3] == n2 and last[4] + last[1] == n3:
                last[1] += 1
                continue
        found[n_runs] = (k, 1, n1, n2, n3)
        n_runs += 1
    return found[:n_runs].copy(), reach


@numba.njit(cache=True, fastmath=True)
def fill_waves(positions, inverse, runs, reach, waves):  # type: ignore[no-untyped-def]
    """Fills ``waves`` of positions [atom, xyz], A, by products of three phases (``phases``); ``inverse`` of the cell.

    Every run is written in whole registers, and the next one writes over what is too much: loops without a rest are the
    fastest (192 atoms, 823 vectors: 0.10 ms instead of 0.3).  Slices spare the test for negative places.
    """
    width = 2 * reach + 1 + _LONGEST
    cosines, sines = np.zeros((3, width), waves.dtype), np.zeros((3, width), waves.dtype)
    cosine = np.zeros(len(waves) * BLOCK + _LONGEST, waves.dtype)
    sine = np.zeros_like(cosine)
    for i in range(len(positions)):
        for axis in range(3):
            f = 0.0
            for x in range(3):
                f += np.float64(positions[i, x]) * inverse[x, axis]
            angle = 2.0 * np.pi * (f - np.floor(f))
            c1, s1 = np.cos(angle), np.sin(angle)
            c, s = 1.0, 0.0  # powers of one phase in double precision: their error stays below that of a float32 sine
            for m in range(reach + 1):
                cosines[axis, reach + m], sines[axis, reach + m] = c, s
                cosines[axis, reach - m], sines[axis, reach - m] = c, -s
                c, s = c * c1 - s * s1, c * s1 + s * c1
        c3, s3 = cosines[2], sines[2]
        for run in range(len(runs)):
            x, y, z = reach + runs[run, 2], reach + runs[run, 3], reach + runs[run, 4]
            a = cosines[0, x] * cosines[1, y] - sines[0, x] * sines[1, y]
            b = cosines[0, x] * sines[1, y] + sines[0, x] * cosines[1, y]
            n = -(-runs[run, 1] // _LANES) * _LANES
            start, end = runs[run, 0], runs[run, 0] + n
            to_cosine, to_sine, of_cosine, of_sine = cosine[start:end], sine[start:end], c3[z : z + n], s3[z : z + n]
            for m in range(n):
                c, s = of_cosine[m], of_sine[m]
                to_cosine[m] = a * c - b * s
                to_sine[m] = a * s + b * c
        for block in range(len(waves)):
            to, of_cosine, of_sine = waves[block, i], cosine[block * BLOCK :], sine[block * BLOCK :]
            for m in range(BLOCK):
                to[0, m], to[1, m] = of_cosine[m], of_sine[m]


@numba.njit(cache=True, fastmath=True, inline="always")
def _add_modes(source, moments, waves, w, at):  # type: ignore[no-untyped-def]
    """Adds charges and dipoles [atom, 4 or more], and quadrupoles where there are moments, to rows at, at + 1."""
    half = w.dtype.type(0.5)
    for i in range(len(source)):
        charge, ux, uy, uz = source[i, 0], source[i, 1], source[i, 2], source[i, 3]
        cosine, sine = waves[i, 0], waves[i, 1]
        if len(moments):
            m = moments[i]
            xx, xy, xz, yy, yz, zz = -half * m[4], -m[5], -m[6], -half * m[7], -m[8], -half * m[9]
            for a in range(BLOCK):
                x, y, z, c, s = w[0, a], w[1, a], w[2, a], cosine[a], sine[a]
                even = charge + x * (xx * x + xy * y + xz * z) + y * (yy * y + yz * z) + zz * z * z
                odd = ux * x + uy * y + uz * z
                w[at, a] += even * c - odd * s
                w[at + 1, a] += even * s + odd * c
        else:
            for a in range(BLOCK):
                c, s = cosine[a], sine[a]
                odd = ux * w[0, a] + uy * w[1, a] + uz * w[2, a]
                w[at, a] += charge * c - odd * s
                w[at + 1, a] += charge * s + odd * c


@numba.njit(cache=True, fastmath=True)
def act(waves, k, weights, own, sources, which, moments, out):  # type: ignore[no-untyped-def]
    """Adds potential and field of the sources in ``which``, without self-terms, to ``out`` [source, atom, 4].

    The quadrupoles of ``moments`` [atom, 10], which may be empty, belong to source 0.
    """
    zero = k.dtype.type(0.0)
    nothing = moments[:0]
    w = np.zeros((5, BLOCK), k.dtype)  # k; modes
    for block in range(len(waves)):
        at = block * BLOCK
        for x in range(3):
            row = k[x, at : at + BLOCK]
            for a in range(BLOCK):
                w[x, a] = row[a]
        twice = weights[at : at + BLOCK]
        for s in which:
            for a in range(BLOCK):
                w[3, a] = w[4, a] = zero
            _add_modes(sources[s], moments if s == 0 else nothing, waves[block], w, 3)
            for a in range(BLOCK):
                w[3, a] *= twice[a] + twice[a]
                w[4, a] *= twice[a] + twice[a]
            for i in range(waves.shape[1]):
                cosine, sine = waves[block, i, 0], waves[block, i, 1]
                total = x = y = z = zero
                for a in range(BLOCK):
                    total += w[3, a] * cosine[a] + w[4, a] * sine[a]
                    n = w[3, a] * sine[a] - w[4, a] * cosine[a]
                    x += n * w[0, a]
                    y += n * w[1, a]
                    z += n * w[2, a]
                out[s, i, 0] += total
                out[s, i, 1] += x
                out[s, i, 2] += y
                out[s, i, 3] += z
    for s in which:
        for i in range(waves.shape[1]):
            out[s, i, 0] -= own[0] * sources[s, i, 0]
            for a in range(1, 4):
                out[s, i, a] += own[1] * sources[s, i, a]


@numba.njit(cache=True, fastmath=True)
def energy(waves, k, weights, own, moments, by_atom):  # type: ignore[no-untyped-def]
    """The energy, without self-terms; adds its gradients by moments and positions [atom, 10 + xyz]."""
    total, self_energy = 0.0, 0.0
    zero, half = k.dtype.type(0.0), k.dtype.type(0.5)
    w = np.zeros((5, BLOCK), k.dtype)
    for block in range(len(waves)):
        at = block * BLOCK
        for x in range(3):
            row = k[x, at : at + BLOCK]
            for a in range(BLOCK):
                w[x, a] = row[a]
        for a in range(BLOCK):
            w[3, a] = w[4, a] = zero
        _add_modes(moments, moments, waves[block], w, 3)
        of_block = weights[at : at + BLOCK]
        for a in range(BLOCK):
            total += np.float64(of_block[a]) * (np.float64(w[3, a]) ** 2 + np.float64(w[4, a]) ** 2)
            w[3, a] *= of_block[a] + of_block[a]
            w[4, a] *= of_block[a] + of_block[a]
        for i in range(len(moments)):
            cosine, sine, m, out = waves[block, i, 0], waves[block, i, 1], moments[i], by_atom[i]
            charge, ux, uy, uz = m[0], m[1], m[2], m[3]
            xx, xy, xz, yy, yz, zz = -half * m[4], -m[5], -m[6], -half * m[7], -m[8], -half * m[9]
            by_q = by_x = by_y = by_z = gx = gy = gz = zero
            qxx = qxy = qxz = qyy = qyz = qzz = zero
            for a in range(BLOCK):
                x, y, z = w[0, a], w[1, a], w[2, a]
                p = w[3, a] * cosine[a] + w[4, a] * sine[a]
                n = w[3, a] * sine[a] - w[4, a] * cosine[a]
                even = charge + x * (xx * x + xy * y + xz * z) + y * (yy * y + yz * z) + zz * z * z
                force = -(n * even + p * (ux * x + uy * y + uz * z))
                by_q += p
                by_x -= n * x
                by_y -= n * y
                by_z -= n * z
                gx += force * x
                gy += force * y
                gz += force * z
                px, py = -half * p * x, -half * p * y
                qxx += px * x
                qxy += px * y
                qxz += px * z
                qyy += py * y
                qyz += py * z
                qzz -= half * p * z * z
            for c, found in enumerate((by_q, by_x, by_y, by_z, qxx, qxy, qxz, qyy, qyz, qzz, gx, gy, gz)):
                out[c] += found
    for i in range(len(moments)):
        for c in range(10):
            unit = own[0 if c == 0 else 1 if c < 4 else 2]
            times = 2.0 if c == 5 or c == 6 or c == 8 else 1.0
            self_energy += times * np.float64(unit) * np.float64(moments[i, c]) ** 2
            by_atom[i, c] -= unit * moments[i, c]
    return total - 0.5 * self_energy
