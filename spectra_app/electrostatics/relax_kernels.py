"""Conjugate gradients of self-consistent response in compiled loops, on the CPU; ``relaxed`` calls them.

``self_consistent`` has the equations, and the same iterations in torch as the reference.  Potential and field phi, and
the charges and dipoles that answer them, stand side by side [source, atom, 4].  ``near`` and ``far`` are the arrays of
either part of a split sum, ``uniform`` what they leave out (``cluster.Uniform``), ``chi`` the susceptibility:
neighbours and kappa [atom, slot], alpha [atom, xyz, xyz].
"""

from __future__ import annotations

import numba
import numpy as np

from spectra_app.electrostatics import far_kernels, near_kernels

_near_act, _far_act = near_kernels.act, far_kernels.act
_near_quadrupoles = near_kernels.act_of_quadrupoles
_near_energy, _far_energy = near_kernels.energy, far_kernels.energy
DONE, UNBOUNDED, STALLED = 0, 1, 2


@numba.njit(cache=True, fastmath=True)
def _answer(chi, phi, which, out):  # type: ignore[no-untyped-def]
    """Sets ``out`` of some sources: dq_i = -sum_j kappa_ij (Phi_i - Phi_j), du_i = alpha_i E_i."""
    other, kappa, alpha = chi
    for s in which:
        for i in range(len(other)):
            total = phi.dtype.type(0.0)
            for slot in range(other.shape[1]):
                total += kappa[i, slot] * (phi[s, other[i, slot], 0] - phi[s, i, 0])
            out[s, i, 0] = total
            x, y, z = phi[s, i, 1], phi[s, i, 2], phi[s, i, 3]
            for a in range(3):
                out[s, i, 1 + a] = x * alpha[i, 0, a] + y * alpha[i, 1, a] + z * alpha[i, 2, a]


@numba.njit(cache=True, fastmath=True)
def _sums(uniform, sources, moments):  # type: ignore[no-untyped-def]
    """Sums over the charges and dipoles [atom, 4 or more] of one structure, and quadrupoles of ``moments``, if any.

    Returns:
        Q; sum q (Sigma^2 - sigma^2); of a slab M and G (``slab``), G without what is alike for all charges.
    """
    x, y, z = uniform.normal
    charge, spread, moment, second = 0.0, 0.0, 0.0, 0.0
    for i in range(len(sources)):
        q, height = sources[i, 0], uniform.heights[i]
        along = sources[i, 1] * x + sources[i, 2] * y + sources[i, 3] * z
        charge += q
        spread += q * uniform.excess[i]
        moment += q * height + along
        second += q * (height * height + uniform.wider[i]) + (along + along) * height
    for i in range(len(moments)):
        m = moments[i]
        second += x * (x * m[4] + 2.0 * (y * m[5] + z * m[6])) + y * (y * m[7] + 2.0 * z * m[8]) + z * z * m[9]
    return charge, spread, moment, second


@numba.njit(cache=True, fastmath=True)
def _uniform_field(uniform, charge, spread, moment, second, i, out):  # type: ignore[no-untyped-def]
    """Sets potential and field of one atom [4] to those which the sums of ``_sums`` make there."""
    height, excess = uniform.heights[i], uniform.excess[i]
    of_slab = moment * height - 0.5 * (second + charge * (height * height + uniform.wider[i])) - charge * uniform.level
    out[0] = uniform.slab * of_slab - uniform.background * (charge * excess + spread)
    field = -uniform.slab * (moment - charge * height)
    for a in range(3):
        out[1 + a] = field * uniform.normal[a]


@numba.njit(cache=True, fastmath=True)
def _act(near, far, uniform, sources, which, moments, out):  # type: ignore[no-untyped-def]
    """Sets ``out`` of some sources: the potentials and fields that their charges and dipoles make.

    The quadrupoles of ``moments`` [atom, 10], which may be empty, belong to source 0.
    """
    for s in which:
        charge, spread, moment, second = _sums(uniform, sources[s], moments if s == 0 else moments[:0])
        for i in range(len(sources[s])):
            _uniform_field(uniform, charge, spread, moment, second, i, out[s, i])
    first, other, geometry = near
    _near_act(first, other, geometry, sources, which, out)
    waves, k, weights, own = far
    _far_act(waves, k, weights, own, sources, which, moments, out)
    if len(moments):
        _near_quadrupoles(first, other, geometry, moments, out[0])


@numba.njit(cache=True, fastmath=True)
def _inner(answer, phi):  # type: ignore[no-untyped-def]
    """-(chi a, b) of one source [atom, 4], chi a given."""
    total = 0.0
    for i in range(len(phi)):
        total -= answer[i, 0] * phi[i, 0]
        total += answer[i, 1] * phi[i, 1] + answer[i, 2] * phi[i, 2] + answer[i, 3] * phi[i, 3]
    return total


@numba.njit(cache=True, fastmath=True)
def _add(by, change, values):  # type: ignore[no-untyped-def]
    """Adds to values [atom, 4] a multiple of others [atom, 4 or more]."""
    for i in range(len(values)):
        for a in range(4):
            values[i, a] += by * change[i, a]


@numba.njit(cache=True, fastmath=True)
def _set(values, first, second, by):  # type: ignore[no-untyped-def]
    """Sets values [atom, 4] to ``first`` plus ``by`` times ``second``."""
    for i in range(len(values)):
        for a in range(4):
            values[i, a] = first[i, a] + by * second[i, a]


@numba.njit(cache=True, fastmath=True)
def solve(near, far, uniform, chi, moments, direct, warm, tolerances, most, phi, residual):  # type: ignore[no-untyped-def]
    """Fills phi [source, atom, 4] and its residual at the end: every source to its tolerance relative to the guess.

    Source 0 answers the permanent multipoles, ``moments`` [atom, 10]; the others, uniform fields, whose ``direct``
    answers are [source - 1, atom, 4].  Phi begins as it is (``warm``), or as what permanent multipoles and direct
    answers make.  ``most`` iterations are done.

    Returns:
        ``DONE``; ``UNBOUNDED``: a direction of negative curvature; ``STALLED``: more iterations are needed.
    """
    n_sources = len(phi)
    everyone, one = np.arange(n_sources), phi.dtype.type(1.0)
    answer, image, direction = np.zeros_like(phi), np.empty_like(phi), np.zeros_like(phi)
    new = image  # free when it is wanted
    size, wanted, moving = np.zeros(n_sources), np.zeros(n_sources), everyone
    # Turn -2 makes a first guess, -1 its residual, and the others iterate: one place applies the interaction, so that
    # it is compiled once.
    for turn in range(-1 if warm else -2, most):
        bare = turn == -2 or (turn == -1 and warm)
        if turn == -1:
            _answer(chi, phi, everyone, answer)
        if bare:
            _add(one, moments, answer[0])
            for m in range(len(direct)):
                _add(one, direct[m], answer[m + 1])
        if turn >= 0:
            moving = np.nonzero(size > wanted)[0]
            if len(moving) == 0:
                return DONE
        _act(near, far, uniform, answer, moving, moments if bare else moments[:0], image)
        for s in moving:
            if turn == -2:
                _set(phi[s], image[s], image[s], phi.dtype.type(0.0))
                continue
            if turn == -1:
                _set(residual[s], image[s], phi[s], -one if warm else phi.dtype.type(0.0))
                continue
            _set(image[s], direction[s], image[s], -one)
            curvature = _inner(answer[s], image[s])
            if curvature <= 0.0:
                return UNBOUNDED
            step = phi.dtype.type(size[s] / curvature)
            _add(step, direction[s], phi[s])
            _add(-step, image[s], residual[s])
        if turn == -1:
            _answer(chi, phi, everyone, new)
            for s in everyone:
                wanted[s] = tolerances[s] ** 2 * _inner(new[s], phi[s])
        if turn >= -1:
            _answer(chi, residual, moving, new)
            for s in moving:
                last, size[s] = size[s], _inner(new[s], residual[s])
                ratio = phi.dtype.type(size[s] / last) if turn >= 0 else phi.dtype.type(0.0)
                _set(direction[s], residual[s], direction[s], ratio)
                _set(answer[s], new[s], answer[s], ratio)  # chi is linear
    return STALLED


@numba.njit(cache=True, fastmath=True)
def _uniform_energy(uniform, moments, by_atom):  # type: ignore[no-untyped-def]
    """The energy that sums of pairs and of vectors leave out; adds its gradients by moments and positions."""
    charge, spread, moment, second = _sums(uniform, moments, moments)
    normal, found = uniform.normal, np.empty(4, moments.dtype)
    for i in range(len(moments)):
        m, out = moments[i], by_atom[i]
        _uniform_field(uniform, charge, spread, moment, second, i, found)
        along = m[1] * normal[0] + m[2] * normal[1] + m[3] * normal[2]
        force = uniform.slab * (moment * m[0] - charge * (m[0] * uniform.heights[i] + along))
        out[0] += found[0]
        place = 4
        for a in range(3):
            out[1 + a] -= found[1 + a]
            out[10 + a] += force * normal[a]
            for b in range(a, 3):
                out[place] -= 0.5 * uniform.slab * charge * normal[a] * normal[b]
                place += 1
    of_slab = moment * moment - charge * (second + charge * uniform.level)
    return 0.5 * uniform.slab * of_slab - uniform.background * charge * spread


@numba.njit(cache=True, fastmath=True)
def energy(near, far, uniform, chi, batch, moments, phi, induced, moved, by_atom, by_alpha, by_kappa):  # type: ignore[no-untyped-def]
    """U_elec(m + x) - (x, phi)/2, x = chi phi, of one structure, and its first derivatives at fixed phi [atom, 4].

    Sets the ``induced`` charges and dipoles [atom, 4], the charges ``moved`` [atom, slot] and gradients by alpha and
    kappa; adds to those by moments and positions [atom, 10 + xyz], which are zeros.
    """
    other, kappa, alpha = chi
    n_atoms, n_slots = other.shape
    half = phi.dtype.type(0.5)
    whole, work = moments.copy(), 0.0
    for i in range(n_atoms):
        charge = phi.dtype.type(0.0)
        for s in range(n_slots):
            moved[i, s] = kappa[i, s] * (phi[other[i, s], 0] - phi[i, 0])
            charge += moved[i, s]
        x, y, z = phi[i, 1], phi[i, 2], phi[i, 3]
        induced[i, 0] = charge
        for a in range(3):
            induced[i, 1 + a] = x * alpha[i, 0, a] + y * alpha[i, 1, a] + z * alpha[i, 2, a]
        work += induced[i, 0] * phi[i, 0]
        for a in range(4):
            whole[i, a] += induced[i, a]
        work -= induced[i, 1] * x + induced[i, 2] * y + induced[i, 3] * z
    energies = np.zeros(1)
    first, neighbour, geometry = near
    _near_energy(first, neighbour, geometry, batch, whole, energies, by_atom, np.empty((3, 0), phi.dtype))
    waves, k, weights, own = far
    energies[0] += _far_energy(waves, k, weights, own, whole, by_atom)
    energies[0] += _uniform_energy(uniform, whole, by_atom)
    for i in range(n_atoms):
        own_share = by_atom[i, 0] - half * phi[i, 0]
        for s in range(n_slots):
            by_kappa[i, s] = own_share * (phi[other[i, s], 0] - phi[i, 0])
        for a in range(3):
            for b in range(3):
                by_alpha[i, a, b] = phi[i, 1 + a] * (by_atom[i, 1 + b] + half * phi[i, 1 + b])
    return energies[0] - 0.5 * work


@numba.njit(cache=True, fastmath=True)
def direct_answers(vectors, other, kappa, alpha, out):  # type: ignore[no-untyped-def]
    """Sets ``out`` [field, atom, 4]: charges and dipoles that uniform fields along x, y and z induce by themselves."""
    for i in range(len(other)):
        for m in range(3):
            charge = vectors.dtype.type(0.0)
            for s in range(other.shape[1]):
                charge -= kappa[i, s] * vectors[i, s, m]
            out[m, i, 0] = charge
            for a in range(3):
                out[m, i, 1 + a] = alpha[i, m, a]


@numba.njit(cache=True, fastmath=True)
def stationary(vectors, chi, direct, phi, residual, moments, polarizability):  # type: ignore[no-untyped-def]
    """Sets what makes the dipole stationary, ``moments`` [atom, xyz], and the polarizability by atom, symmetric.

    With x_a the whole answer to a field along a, direct and to the others' answers, and r the residuals, every atom has
    (x_a, r) [atom, field, source] on top of the dipoles of its answers, half of every moved charge's included.
    """
    other, kappa, _alpha = chi
    half = phi.dtype.type(0.5)
    to_others, found = np.empty_like(direct), np.empty((3, 3), phi.dtype)
    _answer(chi, phi[1:], np.arange(3), to_others)
    for i in range(len(other)):
        for m in range(3):
            for a in range(3):
                found[a, m] = direct[m, i, 1 + a] + to_others[m, i, 1 + a]
            for s in range(other.shape[1]):
                if kappa[i, s] != 0.0:
                    difference = phi[1 + m, other[i, s], 0] - phi[1 + m, i, 0]
                    amount = half * kappa[i, s] * (difference - vectors[i, s, m])
                    for a in range(3):
                        found[a, m] -= amount * vectors[i, s, a]
        for a in range(3):
            for m in range(4):
                work = -(direct[a, i, 0] + to_others[a, i, 0]) * residual[m, i, 0]
                for x in range(1, 4):
                    work += (direct[a, i, x] + to_others[a, i, x]) * residual[m, i, x]
                if m == 0:
                    moments[i, a] = work
                else:
                    found[a, m - 1] += work
        for a in range(3):
            for m in range(3):
                polarizability[i, a, m] = half * (found[a, m] + found[m, a])
