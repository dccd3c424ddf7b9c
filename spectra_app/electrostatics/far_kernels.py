"""Loops over atoms and reciprocal vectors of the smooth part of the split sum, on the CPU; ``far`` calls them.

S(k) = sum_i (A_i + i B_i) exp(i k.r_i) with A = q - k.Q.k/2 and B = k.u; ``waves`` [atom, 2, k] holds all cosines, then
all sines, of the first of its columns; ``modes`` [2, k] real and imaginary part of S; ``k`` [xyz, k], A^-1; ``moments``
and ``sources`` as in ``near_kernels``.  With w(k) the weights, U = sum w |S|^2, and p + i n = S* exp(i k.r_i).
"""

from __future__ import annotations

import numba
import numpy as np

PADDING = 32  # columns of the waves beyond the vectors, and the longest run
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
            if last[1] < PADDING and last[2] == n1 and last[3] == n2 and last[4] + last[1] == n3:
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
    width = 2 * reach + 1 + PADDING
    cosines, sines = np.zeros((3, width), waves.dtype), np.zeros((3, width), waves.dtype)
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
        cosine, sine, c3, s3 = waves[i, 0], waves[i, 1], cosines[2], sines[2]
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


@numba.njit(cache=True, fastmath=True)
def modes_of(waves, k, source, modes):  # type: ignore[no-untyped-def]
    """Sets ``modes`` of charges and dipoles, the first four columns of ``source`` [atom, 4 or more]."""
    n_k = k.shape[1]
    cosine_sum, sine_sum = modes[0], modes[1]
    for a in range(n_k):
        cosine_sum[a] = sine_sum[a] = 0.0
    for i in range(len(source)):
        cosine, sine = waves[i, 0], waves[i, 1]
        charge, ux, uy, uz = source[i, 0], source[i, 1], source[i, 2], source[i, 3]
        for a in range(n_k):
            odd = ux * k[0, a] + uy * k[1, a] + uz * k[2, a]
            cosine_sum[a] += charge * cosine[a] - odd * sine[a]
            sine_sum[a] += charge * sine[a] + odd * cosine[a]


@numba.njit(cache=True, fastmath=True)
def add_modes_of_quadrupoles(waves, k, moments, modes):  # type: ignore[no-untyped-def]
    """Adds to ``modes`` those of the last six of ten moments."""
    n_k = k.shape[1]
    cosine_sum, sine_sum = modes[0], modes[1]
    half = moments.dtype.type(0.5)
    for i in range(len(moments)):
        cosine, sine, m = waves[i, 0], waves[i, 1], moments[i]
        xx, xy, xz, yy, yz, zz = -half * m[4], -m[5], -m[6], -half * m[7], -m[8], -half * m[9]
        for a in range(n_k):
            x, y, z = k[0, a], k[1, a], k[2, a]
            even = x * (xx * x + xy * y + xz * z) + y * (yy * y + yz * z) + zz * z * z
            cosine_sum[a] += even * cosine[a]
            sine_sum[a] += even * sine[a]


@numba.njit(cache=True, fastmath=True)
def _weighed(weights, modes):  # type: ignore[no-untyped-def]
    """2 w S, real and imaginary part [k] each."""
    n_k = len(weights)
    real, imaginary = np.empty(n_k, modes.dtype), np.empty(n_k, modes.dtype)
    for a in range(n_k):
        real[a], imaginary[a] = 2.0 * weights[a] * modes[0, a], 2.0 * weights[a] * modes[1, a]
    return real, imaginary


@numba.njit(cache=True, fastmath=True)
def potentials(waves, k, weights, modes, out):  # type: ignore[no-untyped-def]
    """Adds potentials and fields of modes, self-terms included, to ``out`` [atom, 4]."""
    n_k = k.shape[1]
    real, imaginary = _weighed(weights, modes)
    zero = modes.dtype.type(0.0)
    for i in range(len(out)):
        cosine, sine = waves[i, 0], waves[i, 1]
        total = x = y = z = zero
        for a in range(n_k):
            total += real[a] * cosine[a] + imaginary[a] * sine[a]
            n = real[a] * sine[a] - imaginary[a] * cosine[a]
            x += n * k[0, a]
            y += n * k[1, a]
            z += n * k[2, a]
        out[i, 0] += total
        out[i, 1] += x
        out[i, 2] += y
        out[i, 3] += z


@numba.njit(cache=True, fastmath=True)
def act(waves, k, weights, own, sources, which, out):  # type: ignore[no-untyped-def]
    """Adds potential and field of the sources in ``which``, without self-terms, to ``out`` [source, atom, 4]."""
    modes = np.empty((2, k.shape[1]), k.dtype)
    for s in which:
        modes_of(waves, k, sources[s], modes)
        potentials(waves, k, weights, modes, out[s])
        for i in range(len(waves)):
            out[s, i, 0] -= own[0] * sources[s, i, 0]
            for a in range(1, 4):
                out[s, i, a] += own[1] * sources[s, i, a]


@numba.njit(cache=True, fastmath=True)
def act_of_quadrupoles(waves, k, weights, moments, out):  # type: ignore[no-untyped-def]
    """Adds potential and field of the quadrupoles alone to ``out`` [atom, 4]."""
    modes = np.zeros((2, k.shape[1]), k.dtype)
    add_modes_of_quadrupoles(waves, k, moments, modes)
    potentials(waves, k, weights, modes, out)


@numba.njit(cache=True, fastmath=True)
def energy(waves, k, weights, own, moments, by_atom):  # type: ignore[no-untyped-def]
    """The energy, without self-terms; adds its gradients by moments and positions [atom, 10 + xyz]."""
    n_k = k.shape[1]
    modes = np.empty((2, n_k), k.dtype)
    modes_of(waves, k, moments, modes)
    add_modes_of_quadrupoles(waves, k, moments, modes)
    real, imaginary = _weighed(weights, modes)
    total, self_energy = 0.0, 0.0
    for a in range(n_k):
        total += np.float64(weights[a]) * (np.float64(modes[0, a]) ** 2 + np.float64(modes[1, a]) ** 2)
    zero, half = k.dtype.type(0.0), k.dtype.type(0.5)
    for i in range(len(moments)):
        cosine, sine, m, out = waves[i, 0], waves[i, 1], moments[i], by_atom[i]
        charge, ux, uy, uz = m[0], m[1], m[2], m[3]
        xx, xy, xz, yy, yz, zz = -half * m[4], -m[5], -m[6], -half * m[7], -m[8], -half * m[9]
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
            px, py = -half * p * x, -half * p * y
            qxx += px * x
            qxy += px * y
            qxz += px * z
            qyy += py * y
            qyz += py * z
            qzz -= half * p * z * z
        found = (by_q, by_x, by_y, by_z, qxx, qxy, qxz, qyy, qyz, qzz)
        for c in range(10):
            unit = own[0 if c == 0 else 1 if c < 4 else 2]
            times = 2.0 if c == 5 or c == 6 or c == 8 else 1.0
            self_energy += times * np.float64(unit) * np.float64(m[c]) ** 2
            out[c] += found[c] - unit * m[c]
        out[10] += gx
        out[11] += gy
        out[12] += gz
    return total - 0.5 * self_energy
