"""Loops of the heads over pairs, forward and backward, on the CPU; ``pairs_fused`` calls them.

Conventions of ``backbones.painn_kernels``: neighbours ``other`` [atom, slot] in the first ``count`` [atom] slots;
``reverse`` [atom * slot] is the place of the pair seen from its other end; the directions are the harmonics
``angular`` 1 to 3 of a ``backbones.PairTable``.
"""

from __future__ import annotations

import math

import numba

SWITCHED, GAUSSIAN, OVERLAP = range(3)


@numba.njit(cache=True, fastmath=True)
def bonds(distance_of, count, other, species, radii, envelope, form, at, width, length, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, slot, 2]: ``bonds.bond_weights`` or ``flow_weights``, and the derivative by the distance."""
    for i in range(len(count)):
        for s in range(count[i]):
            d = math.sqrt(distance_of[i, s, 0] ** 2 + distance_of[i, s, 1] ** 2 + distance_of[i, s, 2] ** 2)
            total = radii[species[i]] + radii[species[other[i, s]]]
            ratio = d / total
            if form == GAUSSIAN:
                t = math.exp(1.0 - ratio * ratio)
                dt = -2.0 * ratio / total * t
            elif form == OVERLAP:
                t = math.exp((total - d) / length)
                dt = -t / length
            else:
                t = 1.0 / (1.0 + math.exp((ratio - at) / width))
                dt = -t * (1.0 - t) / (width * total)
            out[i, s, 0] = t * envelope[i, s, 0]
            out[i, s, 1] = dt * envelope[i, s, 0] + t * envelope[i, s, 1]


@numba.njit(cache=True, fastmath=True)
def moved(radial, count, other, nodes, scale, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, slot] = scale sum_b R_b (g_i - g_j + a_i h_j - h_i a_j) of nodes (g, a, h) [atom, 3 basis]."""
    n = radial.shape[2]
    for i in range(len(count)):
        for s in range(count[i]):
            j, total = other[i, s], 0.0
            for b in range(n):
                total += radial[i, s, b] * (
                    nodes[i, b]
                    - nodes[j, b]
                    + nodes[i, n + b] * nodes[j, 2 * n + b]
                    - nodes[i, 2 * n + b] * nodes[j, n + b]
                )
            out[i, s] = scale * total


@numba.njit(cache=True, fastmath=True)
def moved_backward(radial, count, other, reverse, nodes, scale, d_out, d_nodes, d_radial):  # type: ignore[no-untyped-def]
    """Adds to the gradients by nodes and radial basis."""
    n, n_slots = radial.shape[2], radial.shape[1]
    flat = d_out.reshape(-1)
    for i in range(len(count)):
        for s in range(count[i]):
            j, own = other[i, s], scale * d_out[i, s]
            both = own - scale * flat[reverse[i * n_slots + s]]
            for b in range(n):
                r = radial[i, s, b]
                d_nodes[i, b] += r * both
                d_nodes[i, n + b] += r * nodes[j, 2 * n + b] * both
                d_nodes[i, 2 * n + b] -= r * nodes[j, n + b] * both
                d_radial[i, s, b] += own * (
                    nodes[i, b]
                    - nodes[j, b]
                    + nodes[i, n + b] * nodes[j, 2 * n + b]
                    - nodes[i, 2 * n + b] * nodes[j, n + b]
                )


@numba.njit(cache=True, fastmath=True)
def kappa(radial, count, other, nodes, bonded, scale, out, inner):  # type: ignore[no-untyped-def]
    """``out`` [atom, slot] = scale softplus(x) w, ``inner`` x = sum_b R_b (k_i + k_j), w the bond."""
    for i in range(len(count)):
        for s in range(count[i]):
            j, x = other[i, s], 0.0
            for b in range(radial.shape[2]):
                x += radial[i, s, b] * (nodes[i, b] + nodes[j, b])
            inner[i, s] = x
            out[i, s] = scale * (max(x, 0.0) + math.log1p(math.exp(-abs(x)))) * bonded[i, s, 0]


@numba.njit(cache=True, fastmath=True)
def kappa_backward(radial, count, other, reverse, nodes, bonded, scale, inner, d_out, d_nodes, d_radial, d_bonded):  # type: ignore[no-untyped-def]
    """Adds to the gradients by nodes, radial basis and bonds."""
    n_slots = radial.shape[1]
    flat = d_out.reshape(-1)
    for i in range(len(count)):
        for s in range(count[i]):
            j, x = other[i, s], inner[i, s]
            slope = scale * bonded[i, s, 0] / (1.0 + math.exp(-x))
            d_bonded[i, s] += d_out[i, s] * scale * (max(x, 0.0) + math.log1p(math.exp(-abs(x))))
            own = d_out[i, s] * slope
            both = own + flat[reverse[i * n_slots + s]] * slope
            for b in range(radial.shape[2]):
                d_nodes[i, b] += radial[i, s, b] * both
                d_radial[i, s, b] += own * (nodes[i, b] + nodes[j, b])


@numba.njit(cache=True, fastmath=True)
def _along(table, radial):  # type: ignore[no-untyped-def]
    """sum_b table_b R_b; zero for an empty table."""
    total = 0.0
    for b in range(len(table)):
        total += table[b] * radial[b]
    return total


@numba.njit(cache=True, fastmath=True)
def roots(radial, angular, count, other, species, bonded, envelope, elements, bonds, contacts, out):  # type: ignore[no-untyped-def]
    """``out`` [atom, xyz, xyz], R_i of ``bond_polarizability``.

    ``bonds`` and ``contacts`` [2, element, element, basis]: isotropic and anisotropic numbers; without contacts, their
    basis is empty.
    """
    for i in range(len(count)):
        z = species[i]
        number = 1.0 + elements[z]
        for a in range(3):
            for b in range(3):
                out[i, a, b] = 0.0
        for s in range(count[i]):
            y, own = species[other[i, s]], radial[i, s]
            bond, contact = bonded[i, s, 0], envelope[i, s, 0] - bonded[i, s, 0]
            scale = bond * _along(bonds[0, z, y], own) + contact * _along(contacts[0, z, y], own)
            stretch = bond * _along(bonds[1, z, y], own) + contact * _along(contacts[1, z, y], own)
            number += scale - stretch / 3.0
            for a in range(3):
                for b in range(3):
                    out[i, a, b] += stretch * angular[i, s, a + 1] * angular[i, s, b + 1]
        for a in range(3):
            out[i, a, a] += number


@numba.njit(cache=True, fastmath=True)
def roots_backward(  # type: ignore[no-untyped-def]
    radial, angular, count, other, species, bonded, envelope, bonds, contacts, d_out, d_radial, d_bonded, d_direction,
    d_distance,
):  # fmt: skip
    """Adds to the gradients by radial basis, bonds, directions and distances."""
    for i in range(len(count)):
        z, g = species[i], d_out[i]
        trace = g[0, 0] + g[1, 1] + g[2, 2]
        for s in range(count[i]):
            y, own, along = species[other[i, s]], radial[i, s], 0.0
            bond, contact = bonded[i, s, 0], envelope[i, s, 0] - bonded[i, s, 0]
            of_bond, of_contact = _along(bonds[1, z, y], own), _along(contacts[1, z, y], own)
            stretch = bond * of_bond + contact * of_contact
            for a in range(3):
                row = 0.0
                for b in range(3):
                    row += (g[a, b] + g[b, a]) * angular[i, s, b + 1]
                along += 0.5 * row * angular[i, s, a + 1]
                d_direction[i, s, a] += stretch * row
            by_stretch = along - trace / 3.0
            by_bond = trace * _along(bonds[0, z, y], own) + by_stretch * of_bond
            by_contact = trace * _along(contacts[0, z, y], own) + by_stretch * of_contact
            d_bonded[i, s] += by_bond - by_contact
            d_distance[i, s] += by_contact * envelope[i, s, 1]
            for b in range(bonds.shape[3]):
                d_radial[i, s, b] += bond * (trace * bonds[0, z, y, b] + by_stretch * bonds[1, z, y, b])
            for b in range(contacts.shape[3]):
                d_radial[i, s, b] += contact * (trace * contacts[0, z, y, b] + by_stretch * contacts[1, z, y, b])


@numba.njit(cache=True, fastmath=True)
def handed(  # type: ignore[no-untyped-def]
    vectors, count, other, reverse, species, radii, envelope, given, switch, takes, unbound, out, weights, shares
):
    """``out`` [atom, slot] of ``bonds.charge_handed_back``; ``weights`` [atom, slot, 2] s and derivative, of givers.

    ``given`` [atom], ``switch`` [element, 2], ``takes`` [element], ``shares`` [atom] what a unit of s is worth; ``out``
    begins at zero.
    """
    n_slots = other.shape[1]
    flat = out.reshape(-1)
    for i in range(len(count)):
        x, y = switch[species[i], 0], switch[species[i], 1]
        shares[i] = 0.0
        if x <= 0.0:
            continue
        total = unbound
        for s in range(count[i]):
            z = species[other[i, s]]
            weights[i, s, 0] = weights[i, s, 1] = 0.0
            if takes[z] > 0.0:
                d = math.sqrt(vectors[i, s, 0] ** 2 + vectors[i, s, 1] ** 2 + vectors[i, s, 2] ** 2)
                sum_radii = radii[species[i]] + radii[z]
                t = 1.0 / (1.0 + math.exp((d / sum_radii - x) / y))
                rest = 1.0 - envelope[i, s, 0]
                cut = 1.0 - rest * rest * rest * rest
                weights[i, s, 0] = t * cut
                weights[i, s, 1] = (
                    -t * (1.0 - t) / (y * sum_radii) * cut + t * 4.0 * rest * rest * rest * envelope[i, s, 1]
                )
                total += weights[i, s, 0]
        shares[i] = given[i] / total
        for s in range(count[i]):
            amount = shares[i] * weights[i, s, 0]
            out[i, s] -= amount
            flat[reverse[i * n_slots + s]] += amount


@numba.njit(cache=True, fastmath=True)
def handed_backward(count, reverse, species, switch, weights, shares, unbound, d_out, d_distance):  # type: ignore[no-untyped-def]
    """Adds to the gradient by the distances of givers."""
    n_slots = d_out.shape[1]
    flat = d_out.reshape(-1)
    for i in range(len(count)):
        if switch[species[i], 0] <= 0.0:
            continue
        total, mean = unbound, 0.0
        for s in range(count[i]):
            total += weights[i, s, 0]
            mean += weights[i, s, 0] * (flat[reverse[i * n_slots + s]] - d_out[i, s])
        mean /= total
        for s in range(count[i]):
            gain = flat[reverse[i * n_slots + s]] - d_out[i, s] - mean
            d_distance[i, s] += shares[i] * gain * weights[i, s, 1]


@numba.njit(cache=True, fastmath=True)
def vector_gradients(vectors, angular, count, slope, bonded, d_radial, d_bonded, d_direction, d_distance, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` [atom, slot, xyz], the gradient by the pair vectors, from those by what is made of them."""
    for i in range(len(count)):
        for s in range(count[i]):
            x, y, z = angular[i, s, 1], angular[i, s, 2], angular[i, s, 3]
            d = x * vectors[i, s, 0] + y * vectors[i, s, 1] + z * vectors[i, s, 2]
            total = d_distance[i, s] + d_bonded[i, s] * bonded[i, s, 1]
            for b in range(slope.shape[2]):
                total += d_radial[i, s, b] * slope[i, s, b]
            along = x * d_direction[i, s, 0] + y * d_direction[i, s, 1] + z * d_direction[i, s, 2]
            total -= along / d
            out[i, s, 0] = total * x + d_direction[i, s, 0] / d
            out[i, s, 1] = total * y + d_direction[i, s, 1] / d
            out[i, s, 2] = total * z + d_direction[i, s, 2] / d
