"""Infrared and Raman strengths of normal modes in absolute units (docs/theory.md, "Normal modes").

    infrared  p_ma = sum_ib Z*_i,ab e_m,ib/sqrt(m_i),   I_m = N_A/(12 eps0 c^2) |p_m|^2  [km/mol]
    Raman     a'_m = d alpha/d Q_m [A^2 amu^(-1/2)],    S_m = 45 a^2 + 7 gamma^2         [A^4/amu]

(E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations, ch. 3 and 7; D. A. Long, The Raman Effect, ch. 5.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.harmonic.modes import NormalModes
from spectra_app.spectra.raman import parse_porto

Array = NDArray[np.float64]

KM_PER_MOL_PER_E2_PER_AMU = (
    units.AVOGADRO * 1e-13 * units.FORCE_TO_ACCELERATION / (12.0 * units.EPSILON_0 * units.SPEED_OF_LIGHT**2)
)
"""Infrared intensity of a mode with |p|^2 = 1 e^2/amu [km/mol]."""


@dataclass(frozen=True, eq=False)
class InfraredStrengths:
    """Infrared strengths of modes.

    Attributes:
        charges: [mode, xyz], d mu/d Q, e amu^(-1/2).
        intensities_km_per_mol: [mode], km/mol of the structure (molecule or cell).
    """

    charges: Array
    intensities_km_per_mol: Array

    @property
    def oscillator_strengths(self) -> Array:
        """[mode, xyz, xyz], e^2/amu: what the dielectric function is made of."""
        return np.asarray(self.charges[:, :, None] * self.charges[:, None, :])


@dataclass(frozen=True, eq=False)
class RamanStrengths:
    """Raman strengths of modes.

    Attributes:
        tensors: [mode, xyz, xyz], d alpha/d Q, A^2 amu^(-1/2), of the polarizability volume alpha/(4 pi eps0).
    """

    tensors: Array

    @property
    def isotropic(self) -> Array:
        """[mode], a'^2 = (tr/3)^2, A^4/amu."""
        return np.asarray((np.trace(self.tensors, axis1=1, axis2=2) / 3.0) ** 2)

    @property
    def anisotropic(self) -> Array:
        """[mode], gamma'^2 = (3/2) tr beta^2, A^4/amu."""
        mean = np.trace(self.tensors, axis1=1, axis2=2) / 3.0
        beta = self.tensors - mean[:, None, None] * np.eye(3)
        return np.asarray(1.5 * (beta * beta).sum(axis=(1, 2)))

    @property
    def activities_A4_per_amu(self) -> Array:  # noqa: N802 (a unit keeps its case)
        """[mode], 45 a'^2 + 7 gamma'^2, A^4/amu: a powder or gas, incident light polarized, all light at 90 degrees."""
        return 45.0 * self.isotropic + 7.0 * self.anisotropic

    @property
    def depolarization(self) -> Array:
        """[mode], 3 gamma'^2/(45 a'^2 + 4 gamma'^2), at most 3/4; NaN for a mode without Raman activity."""
        below = 45.0 * self.isotropic + 4.0 * self.anisotropic
        seen = below > 1e-10 * max(float(below.max(initial=0.0)), 1e-300)
        return np.where(seen, 3.0 * self.anisotropic / np.where(seen, below, 1.0), np.nan)

    def of_geometry(self, porto: str) -> Array:
        """[mode], |e_out . d alpha/dQ . e_in|^2, A^4/amu, of an oriented crystal; e.g. ``z(xy)z``.

        Raises:
            ConfigError: not a Porto symbol.
        """
        incident, scattered = parse_porto(porto)
        return np.asarray(np.einsum("a,mab,b->m", scattered, self.tensors, incident) ** 2)


def infrared_strengths(modes: NormalModes, born_e: Array) -> InfraredStrengths:
    """Infrared strengths.

    Args:
        modes: normal modes.
        born_e: [atom, field, displacement], e, physical.
    """
    charges = np.einsum("iab,mib->ma", born_e, modes.displacements)
    return InfraredStrengths(charges, KM_PER_MOL_PER_E2_PER_AMU * (charges**2).sum(axis=1))


def raman_strengths(modes: NormalModes, raman_e2A_per_eV: Array) -> RamanStrengths:
    """Raman strengths.

    Args:
        modes: normal modes.
        raman_e2A_per_eV: [atom, displacement, xyz, xyz], d alpha/d r, e^2 A/eV, physical.
    """
    tensors = units.polarizability_to_a3(1.0) * np.einsum("ibcd,mib->mcd", raman_e2A_per_eV, modes.displacements)
    return RamanStrengths(tensors)


def stick_spectrum(
    wavenumber_per_cm: ArrayLike, frequencies_per_cm: Array, strengths: Array, width_per_cm: float
) -> Array:
    """Lines of unit area times their strengths [nu], per cm^-1: Lorentzians of a full width at half maximum.

    Args:
        wavenumber_per_cm: [nu], cm^-1.
        frequencies_per_cm: [mode], cm^-1; imaginary ones (negative) are left out.
        strengths: [mode], any unit.
        width_per_cm: full width at half maximum, cm^-1.
    """
    x, real = np.asarray(wavenumber_per_cm, dtype=float), frequencies_per_cm > 0.0
    half = 0.5 * width_per_cm
    shapes = half / np.pi / ((x[:, None] - frequencies_per_cm[real]) ** 2 + half**2)
    return np.asarray(shapes @ strengths[real])
