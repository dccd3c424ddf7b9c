"""From the density of dM/dt to everything an infrared spectrum has: one number of eps_inf, or its tensor.

Number:  ``eps = eps_inf + chi``, chi from the trace over three axes: a liquid, a cubic crystal, a powder of neither.
Tensor:  along each polarization e (unit vector) ``eps_e = e . eps_inf . e + chi_e``, chi_e from the density of
e . dM/dt (``eps''_e = b S_e / (2 eps0 V omega)``), and from eps_e the optical constants, reflectivity and loss of light
polarized along e.  Where e is a principal axis of the crystal, that is what is measured with polarized light; where it
is not, ``-Im 1/eps_e`` is still the loss of a longitudinal wave along e, and n, k and R are those of eps_e alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.errors import ConfigError
from spectra_app.spectra import prefactors
from spectra_app.spectra.assemble import Arrays
from spectra_app.spectra.optics import kramers_kronig, loss_function, optical_constants

Array = NDArray[np.float64]
Polarizations = Literal["laboratory", "principal"]

_ORTHOGONAL = 1e-6
"""Largest deviation of the polarizations from an orthonormal set, and of eps_inf from a symmetric tensor."""

POLARIZED_COLUMNS: dict[str, tuple[str, str]] = {
    "eps_real": ("1", "real part of the dielectric function, with eps_inf"),
    "eps_imag": ("1", "imaginary part of the dielectric function"),
    "refractive_index": ("1", "refractive index n"),
    "extinction": ("1", "extinction coefficient k"),
    "absorption_per_cm": ("cm^-1", "absorption coefficient 4 pi nu k (Napierian)"),
    "reflectivity": ("1", "reflectivity at normal incidence"),
    "loss": ("1", "loss function -Im(1/eps)"),
}
"""Columns of every polarization: unit and description."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Polarizations along which a crystal is looked at.

    Attributes:
        vectors: label -> [xyz] unit vector; ``xx``, ``yy``, ``zz`` in the laboratory, otherwise ``1``, ``2``, ``3``.
        eps_inf: [axis] high-frequency constants along them.
    """

    vectors: dict[str, Array]
    eps_inf: Array

    @property
    def matrix(self) -> Array:
        """[axis, xyz]."""
        return np.stack(list(self.vectors.values()))


def make_axes(eps_inf: Array, polarizations: Polarizations | ArrayLike) -> Axes:
    """Polarizations of a tensor eps_inf.

    Args:
        eps_inf: [xyz, xyz] symmetric, no eigenvalue below 1.
        polarizations: ``laboratory``: x, y, z; ``principal``: eigenvectors of eps_inf by rising eigenvalue; or three
            orthonormal vectors [axis, xyz].

    Raises:
        ConfigError: eps_inf not symmetric or below 1; polarizations neither a name nor orthonormal.
    """
    if eps_inf.shape != (3, 3) or not np.allclose(eps_inf, eps_inf.T, rtol=_ORTHOGONAL, atol=_ORTHOGONAL):
        raise ConfigError("eps_inf", got=eps_inf.tolist(), wanted="a number or a symmetric 3 x 3 tensor")
    values, vectors = np.linalg.eigh(eps_inf)
    if not values[0] >= 1.0:
        raise ConfigError("eps_inf", got=f"an eigenvalue {values[0]:.4g}", wanted="at least 1")
    labels = ("1", "2", "3")
    if isinstance(polarizations, str):
        if polarizations not in ("laboratory", "principal"):
            raise ConfigError(
                "polarizations", got=repr(polarizations), wanted="laboratory, principal or [axis, xyz] vectors"
            )
        labels = ("xx", "yy", "zz") if polarizations == "laboratory" else labels
        matrix = np.eye(3) if polarizations == "laboratory" else vectors.T
    else:
        matrix = np.asarray(polarizations, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=_ORTHOGONAL):
            raise ConfigError("polarizations", got=matrix.tolist(), wanted="three orthonormal vectors [axis, xyz]")
    along = np.einsum("ia,ab,ib->i", matrix, eps_inf, matrix)
    return Axes(dict(zip(labels, matrix, strict=True)), along)


@dataclass(frozen=True, eq=False)
class InfraredQuantities:
    """A function of densities [channel, nu] on the full grid; what ``assemble`` is given.

    Attributes:
        omega_per_fs: [nu] uniform from zero, rad/fs.
        factor: [nu] exchange of the quantum correction.
        temperature_K: temperature.
        volume_A3: volume of the cell; None for a molecule.
        eps_inf: a number, or None where eps' is not wanted.
        axes: polarizations of a tensor eps_inf, or None.
        n_molecules: molecules in the cell, or None.
    """

    omega_per_fs: Array
    factor: Array
    temperature_K: float
    volume_A3: float | None
    eps_inf: float | None
    axes: Axes | None
    n_molecules: float | None

    @property
    def main(self) -> str:
        """Name of the main quantity."""
        return "intensity_km_per_mol" if self.volume_A3 is None else "alpha_n_per_cm"

    def compute(self, channels: Array) -> Arrays:
        """All quantities [nu] by name; the point at zero frequency of those divided by it is a placeholder."""
        if self.volume_A3 is None:
            return {self.main: self.compute_main(channels)}
        trace = self.factor * self._trace(channels)
        cell = _cell(self.omega_per_fs, trace, self.temperature_K, self.volume_A3, self.eps_inf, self.n_molecules)
        if self.axes is not None:
            cell.update(self._polarized(self.factor * channels, self.axes, self.volume_A3))
            cell["eps_real"] = np.mean([cell[f"eps_real_{label}"] for label in self.axes.vectors], axis=0)
        return cell

    def compute_main(self, channels: Array) -> Array:
        """The main quantity alone: neither Kramers-Kronig nor what follows."""
        trace = self._trace(channels)
        if self.volume_A3 is None:
            return np.asarray(prefactors.molar_intensity_per_density(self.temperature_K) * self.factor * trace)
        return prefactors.absorption_per_density(self.temperature_K, self.volume_A3) * self.factor * trace

    def _trace(self, channels: Array) -> Array:
        """Density of all three axes."""
        return np.asarray(channels[0] if self.axes is None else channels.sum(axis=0))

    def _polarized(self, channels: Array, axes: Axes, volume_A3: float) -> Arrays:
        """Quantities of every polarization, by ``<name>_<label>``."""
        out: Arrays = {}
        omega = self.omega_per_fs
        scale = prefactors.beta(self.temperature_K) / (2.0 * units.EPSILON_0 * volume_A3)
        for (label, high), density in zip(zip_axes(axes), channels, strict=True):
            weighted = scale * density
            imag = np.divide(weighted, omega, out=np.zeros_like(weighted), where=omega > 0.0)
            real = high + kramers_kronig(omega, weighted)
            one = {"eps_real": real, "eps_imag": imag, **optical_constants(omega, real, imag)}
            one["loss"] = loss_function(real, imag)
            out |= {f"{name}_{label}": values for name, values in one.items()}
        return out


def zip_axes(axes: Axes) -> list[tuple[str, float]]:
    """(label, eps_inf) of every polarization."""
    return list(zip(axes.vectors, axes.eps_inf.tolist(), strict=True))


def _cell(
    omega: Array, trace: Array, temperature_K: float, volume_A3: float, eps_inf: float | None, n_molecules: float | None
) -> Arrays:
    """Everything a cell has, on the full grid; the point at zero frequency is a placeholder."""
    eps_imag = np.zeros_like(trace)
    eps_imag[1:] = prefactors.susceptibility_per_density(omega[1:], temperature_K, volume_A3) * trace[1:]
    out = {
        "alpha_n_per_cm": prefactors.absorption_per_density(temperature_K, volume_A3) * trace,
        "eps_imag": eps_imag,
    }
    if eps_inf is not None:
        scale = prefactors.beta(temperature_K) / (6.0 * units.EPSILON_0 * volume_A3)
        out["eps_real"] = eps_inf + kramers_kronig(omega, scale * trace)
        out.update(optical_constants(omega, out["eps_real"], eps_imag))
    if n_molecules is not None:
        out.update(_molar(out, volume_A3, n_molecules))
    return out


def _molar(cell: Arrays, volume_A3: float, n_molecules: float) -> Arrays:
    """Per mole of molecules: decadic absorptivity [L/mol/cm] and, from alpha n, the intensity [km/mol per cm^-1].

    alpha = ln(10) epsilon c_molar; c_molar = N / (N_A V) in mol/L with 1 A^3 = 1e-27 L.  km/mol: alpha n / c_molar with
    1 L mol^-1 cm^-1 = 0.1 m^2/mol and 1 km/mol per cm^-1 = 10 m^2/mol.
    """
    molar_per_litre = n_molecules / (units.AVOGADRO * volume_A3 * 1e-27)
    out = {"intensity_km_per_mol": cell["alpha_n_per_cm"] / molar_per_litre * 1e-2}
    if "absorption_per_cm" in cell:
        out["molar_absorptivity"] = cell["absorption_per_cm"] / (math.log(10.0) * molar_per_litre)
    return out
