"""Dielectric function of a crystal from its modes: transverse and longitudinal frequencies, reflectivity, loss.

    eps_ab(omega) = eps_inf,ab + (1/(eps0 V)) sum_m p_ma p_mb/(omega_m^2 - omega^2 - i omega gamma)

Longitudinal modes of waves along n are the zeros of n . eps(omega) . n without damping, and the eigenvalues of the
dynamical matrix with the non-analytic term (n.p)(n.p)/(eps0 V n.eps_inf.n) (Born and Huang, Dynamical Theory of Crystal
Lattices, ch. II; Gonze and Lee, Phys. Rev. B 55, 10355, 1997; docs/theory.md, "Normal modes").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from spectra_app import units
from spectra_app.errors import ConfigError
from spectra_app.harmonic.modes import DEGENERATE_PER_CM, alike, wavenumbers

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

ACTIVE = 1e-5  # share of the strongest mode's strength along a direction below which a mode is not polar there


@dataclass(frozen=True, eq=False)
class PolarModes:
    """What of a crystal's modes makes its dielectric function.

    Attributes:
        frequencies_per_cm: [mode], transverse, cm^-1; imaginary ones are negative.
        charges: [mode, xyz], p_m, e amu^(-1/2).
        volume_A3: of the cell, A^3.
        eps_inf: [xyz, xyz], high-frequency dielectric tensor.
    """

    frequencies_per_cm: Array
    charges: Array
    volume_A3: float
    eps_inf: Array


@dataclass(frozen=True)
class Splitting:
    """A transverse mode and the longitudinal one that it becomes for waves along a direction.

    Attributes:
        transverse_per_cm: cm^-1.
        longitudinal_per_cm: cm^-1.
        strength: what the mode adds to the static dielectric constant along the direction.
    """

    transverse_per_cm: float
    longitudinal_per_cm: float
    strength: float


def dielectric_function(modes: PolarModes, wavenumber_per_cm: ArrayLike, damping_per_cm: float) -> Complex:
    """Dielectric tensor [nu, xyz, xyz].

    Args:
        modes: polar modes; imaginary ones have no part in it.
        wavenumber_per_cm: [nu], cm^-1; 0 gives the static tensor.
        damping_per_cm: gamma/(2 pi c), full width at half maximum of a line, cm^-1.
    """
    nu = np.asarray(wavenumber_per_cm, dtype=float)[:, None]
    real = modes.frequencies_per_cm > 0.0
    frequency, charges = modes.frequencies_per_cm[real], modes.charges[real]
    resonance = 1.0 / (frequency**2 - nu**2 - 1j * damping_per_cm * nu)  # [nu, mode], cm^2
    strengths = _plasma(modes.volume_A3) * charges[:, :, None] * charges[:, None, :]
    return np.asarray(modes.eps_inf + np.einsum("vm,mab->vab", resonance, strengths))


def absorption_areas(modes: PolarModes) -> Array:
    """Integral of alpha n over the band of each mode [mode], cm^-2, mean over polarizations: pi^2 |p|^2/(3 eps0 V).

    Of any damping: alpha n = 2 pi nu eps'', and the integral of nu eps'' over a band is pi/2 of its strength.

    Args:
        modes: polar modes.
    """
    return np.asarray(math.pi**2 * _plasma(modes.volume_A3) * (modes.charges**2).sum(axis=1) / 3.0)


def static_tensor(modes: PolarModes) -> Array:
    """Static dielectric tensor [xyz, xyz] at fixed cell (without piezoelectric strain)."""
    return np.asarray(dielectric_function(modes, [0.0], 0.0)[0].real)


def splittings(modes: PolarModes, direction: ArrayLike) -> list[Splitting]:
    """Transverse and longitudinal frequencies for waves along a direction, by rising frequency.

    Longitudinal modes go to the transverse ones that they are made of most; a weak mode inside the gap of a strong one
    is pushed down by it.  Of a degenerate set one combination is polar along n.

    Args:
        modes: polar modes.
        direction: [xyz], of any length.
    """
    n = np.asarray(direction, dtype=float)
    n = n / np.linalg.norm(n)
    real = modes.frequencies_per_cm > 0.0
    frequencies, along = modes.frequencies_per_cm[real], modes.charges[real] @ n
    merged: list[tuple[float, float]] = []
    for places in alike(frequencies, DEGENERATE_PER_CM):
        weight = along[places] ** 2
        if weight.sum() > 0.0:
            merged.append((float(weight @ frequencies[places] / weight.sum()), math.sqrt(weight.sum())))
    strongest = max((charge**2 for _, charge in merged), default=0.0)
    polar = [(frequency, charge) for frequency, charge in merged if charge**2 > ACTIVE * strongest]
    if not polar:
        return []
    transverse, charges = (np.array(column) for column in zip(*polar, strict=True))
    eps_inf = float(n @ modes.eps_inf @ n)
    plasma = _plasma(modes.volume_A3)
    squared, made_of = np.linalg.eigh(np.diag(transverse**2) + plasma / eps_inf * np.outer(charges, charges))
    _, partner = linear_sum_assignment(-(made_of**2))
    longitudinal = np.sqrt(squared)[partner]
    strengths = plasma * charges**2 / transverse**2
    return [Splitting(*map(float, one)) for one in zip(transverse, longitudinal, strengths, strict=True)]


def nonanalytic_term(born_e: Array, direction: ArrayLike, volume_A3: float, eps_inf: Array) -> Array:
    """What waves along a direction add to the Hessian at q -> 0 [3 atom, 3 atom], eV/A^2.

    Args:
        born_e: [atom, field, displacement], e.
        direction: [xyz], of any length.
        volume_A3: A^3.
        eps_inf: [xyz, xyz].
    """
    n = np.asarray(direction, dtype=float)
    charge = np.einsum("a,iab->ib", n, born_e).reshape(-1)
    return np.asarray(np.outer(charge, charge) / (units.EPSILON_0 * volume_A3 * float(n @ eps_inf @ n)))


def reflectivity(
    eps: Complex, surface: ArrayLike, in_plane: ArrayLike, angle_degrees: float = 0.0
) -> tuple[Array, Array]:
    """Reflectivity [nu] of light polarized across the plane of incidence (s) and in it (p).

    Fresnel's formulas for a crystal whose principal axes are the surface's normal z, the direction x in the plane of
    incidence and y:  q_s = sqrt(eps_y - sin^2),  q_p = sqrt(eps_x (1 - sin^2/eps_z)).

    Args:
        eps: [nu, xyz, xyz].
        surface: [xyz], normal of the surface.
        in_plane: [xyz], direction of the surface in the plane of incidence.
        angle_degrees: of incidence, from the normal.

    Raises:
        ConfigError: directions that are not perpendicular, axes that are not principal, an angle of 90 degrees or more.
    """
    z, x = (np.asarray(vector, dtype=float) / np.linalg.norm(vector) for vector in (surface, in_plane))
    if abs(float(z @ x)) > 1e-6 or not 0.0 <= angle_degrees < 90.0:
        raise ConfigError(
            "reflectivity",
            got=f"surface {z.tolist()}, in-plane direction {x.tolist()}, {angle_degrees:g} degrees",
            wanted="perpendicular directions and an angle from 0 to below 90 degrees",
        )
    frame = np.stack([x, np.cross(z, x), z])
    turned = np.einsum("pa,vab,qb->vpq", frame, eps, frame)
    mixed = np.abs(turned[:, [0, 0, 1], [1, 2, 2]]).max()
    if mixed > 1e-3 * np.abs(turned).max():
        raise ConfigError(
            "reflectivity",
            got=f"axes between which eps has elements of {mixed:.3g}",
            wanted="a surface and a direction along principal axes of the crystal",
        )
    along_x, along_y, along_z = (turned[:, axis, axis] for axis in range(3))
    sine, cosine = math.sin(math.radians(angle_degrees)), math.cos(math.radians(angle_degrees))
    across = np.sqrt(along_y - sine**2)
    within = np.sqrt(along_x * (1.0 - sine**2 / along_z))
    s = np.abs((cosine - across) / (cosine + across)) ** 2
    p = np.abs((along_x * cosine - within) / (along_x * cosine + within)) ** 2
    return np.asarray(s), np.asarray(p)


def _plasma(volume_A3: float) -> float:
    """1/(eps0 V), cm^-2 for charges in e amu^(-1/2)."""
    return float(wavenumbers(np.array(1.0 / (units.EPSILON_0 * volume_A3))) ** 2)
