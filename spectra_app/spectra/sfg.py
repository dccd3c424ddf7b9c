"""Vibrational sum-frequency generation: the second-order susceptibility of an interface, in absolute units.

Linear response of the polarizability ``A`` of the interface to an infrared field that acts on its dipole ``M``
(time reversal makes ``<dA/dt(t) dM/dt(0)>`` even in time, classical equilibrium)::

    chi_abc(w) = (i b / (eps0 area w)) int_0^inf dt exp(i w t) <dA_ab/dt(t) dM_c/dt(0)>,   field exp(-i w t)
    Im chi_abc = b / (2 eps0 area w) S(w),  S the two-sided density of the pair;  Re chi from it by Kramers-Kronig

in m^2/V (surface susceptibility).  As in the infrared, the classical form carries the harmonic quantum correction
already; no other is applied unless named.  For an interface that is the same all round its normal z,

    ssp = (xxz + yyz)/2,   sps = (xzx + yzy)/2,   pss = (zxx + zyy)/2 (equal to sps where A is symmetric),   zzz

without Fresnel factors and without the non-resonant background (a constant, mostly real, to be added).
Sources: Morita and Hynes, J. Phys. Chem. B 106, 673 (2002), doi 10.1021/jp0133438; Ohto et al., J. Chem. Phys. 143,
124702 (2015), doi 10.1063/1.4931106.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.interface import InterfaceSeries
from spectra_app.spectra.optics import kramers_kronig
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.prefactors import QuantumFactor
from spectra_app.spectra.result import Spectrum, error_description
from spectra_app.spectra.stream import JoinedSeries
from spectra_app.spectra.verlet import Integrator, Motion, timestep_correction
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]

SFG_UNIT = "1e-22 m^2 V^-1"
_TO_1E22_M2 = 100.0
"""1 A^2/V in units of 1e-22 m^2/V."""

AVERAGES: Mapping[str, tuple[str, ...]] = {
    "ssp": ("xxz", "yyz"),
    "sps": ("xzx", "yzy"),
    "pss": ("zxx", "zyy"),
}
"""Polarizations (sum frequency, visible, infrared) of an isotropic interface, as means of elements."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SFGSpectrum(Spectrum):
    """Second-order surface susceptibility, ``SFG_UNIT``.

    Attributes:
        real: element -> [nu] real part, without non-resonant background.
        imag: element -> [nu] imaginary part; its sign tells which way the molecules point.
        intensity: element -> [nu] squared modulus, unit squared.
        errors: column name (e.g. ``ssp_imag``) -> [nu].
    """

    real: Mapping[str, Array]
    imag: Mapping[str, Array]
    intensity: Mapping[str, Array]
    errors: Mapping[str, Array]

    @property
    def title(self) -> str:
        """What this is."""
        return "Sum-frequency spectrum"

    @property
    def main(self) -> str:
        """The imaginary part of the first element."""
        return f"{next(iter(self.imag))}_imag"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE; the standard has no name for it."""
        return "SUM FREQUENCY SPECTRUM"

    def columns(self) -> dict[str, Column]:
        """Table: imaginary part, real part and squared modulus of every element, each with its error."""
        table = {"wavenumber_per_cm": Column(self.wavenumber_per_cm, "cm^-1", "wavenumber")}
        for name in self.imag:
            for part, values, unit, text in (
                ("imag", self.imag, SFG_UNIT, "imaginary part of chi2"),
                ("real", self.real, SFG_UNIT, "real part of chi2, resonant"),
                ("squared", self.intensity, f"({SFG_UNIT})^2", "squared modulus of chi2, resonant"),
            ):
                column = f"{name}_{part}"
                table[column] = Column(values[name], unit, f"{text}, {name}")
                table[f"{column}_error"] = Column(self.errors[column], unit, error_description(f"{text}, {name}"))
        return table


def sfg_spectrum(
    dipole_eA: Any,
    polarizability_e2A2_per_eV: Any = None,
    *,
    timestep_fs: float,
    temperature_K: float,
    area_A2: Any,
    elements: Sequence[str] = ("ssp",),
    quantity: Literal["series", "rates"] = "series",
    quantum_factor: QuantumFactor = "none",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> SFGSpectrum:
    """Resonant second-order surface susceptibility of one interface.

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, of one interface (half a slab, or weighted); or an
            :class:`~spectra_app.spectra.interface.InterfaceSeries`, which stands for both series.
        polarizability_e2A2_per_eV: [frame, (replica,) xyz, xyz], e^2 A^2/eV, of the same.
        timestep_fs: time between frames.
        temperature_K: temperature.
        area_A2: area of one face, a number or an array to be averaged.
        elements: ``ssp``, ``sps``, ``pss``, or three axes such as ``zzz`` (A_zz with M_z); the first is the main one.
        quantity: ``series``, or ``rates`` where both are time derivatives recorded as such (per fs).
        quantum_factor: as in ``infrared_spectrum``.
        integration_timestep_fs: as in ``infrared_spectrum``.
        integrator: as in ``infrared_spectrum``.
        settings: estimator (welch or lag); None takes the defaults.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shapes, NaN, too few frames, a jump, numbers not positive.
        ConfigError: unknown element or quantity; an estimator without cross spectra.
    """
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    area = guards.check_positive("area_A2", float(np.mean(area_A2)), "A^2")
    if quantity not in ("series", "rates"):
        raise ConfigError("quantity", got=repr(quantity), wanted="series or rates")
    terms = {name: _terms(name) for name in elements}
    faces = 1
    differenced = isinstance(dipole_eA, InterfaceSeries)
    if isinstance(dipole_eA, InterfaceSeries):
        faces = dipole_eA.faces
        dipole_eA, polarizability_e2A2_per_eV = dipole_eA.dipole_rate_eA_per_fs, dipole_eA.polarizability_rate
    continuous = quantity == "series" and not differenced
    dipole = guards.as_replicas(dipole_eA, "dipole", (3,))
    alpha = guards.as_replicas(polarizability_e2A2_per_eV, "polarizability", (3, 3))
    warnings = guards.check_series(dipole, "dipole", checks, continuous=continuous)
    warnings += guards.check_series(alpha, "polarizability", checks, continuous=continuous)
    joined = JoinedSeries(dipole, alpha)
    mixing, weights = _pair_weights(terms, _spread(dipole), _spread(alpha))
    motion: Motion = "positions" if continuous or differenced else "velocities"
    series = EstimatorInput(
        joined,
        float(timestep_fs),
        derivative=continuous,
        mixing=mixing,
        differenced=differenced,
        correction=timestep_correction(integration_timestep_fs, float(timestep_fs), motion, integrator),
    )
    density = spectral_density(series, weights, settings)
    omega = density.omega_per_fs
    factor = np.ones_like(omega)
    factor[1:] = prefactors.quantum_factor(quantum_factor, omega[1:], temperature_K)
    factor *= _TO_1E22_M2 * prefactors.beta(temperature_K) / (2.0 * units.EPSILON_0 * area * faces)

    def compute(channels: Array) -> Arrays:
        out: Arrays = {}
        for name, channel in zip(terms, channels, strict=True):
            loss = factor * channel
            imag = np.divide(loss, omega, out=np.zeros_like(loss), where=omega > 0)
            real = kramers_kronig(omega, loss)
            out |= {f"{name}_imag": imag, f"{name}_real": real, f"{name}_squared": real**2 + imag**2}
        return out

    main = f"{next(iter(terms))}_imag"
    parts = assemble(series, density, settings, compute, main, keep_zero=False, warnings=warnings, signed=True)
    return SFGSpectrum(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            "sfg: Im chi2 = S/(2 eps0 area kB T omega), Re by Kramers-Kronig; no Fresnel factors, no background; "
            f"quantum factor: {quantum_factor} (the harmonic one is contained)",
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "area_A2": area,
            "faces": faces,
            "quantum_factor": quantum_factor,
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        real={name: parts.values[f"{name}_real"] for name in terms},
        imag={name: parts.values[f"{name}_imag"] for name in terms},
        intensity={name: parts.values[f"{name}_squared"] for name in terms},
        errors=parts.errors,
    )


def _terms(name: str) -> tuple[tuple[int, int], ...]:
    """(component of the flattened polarizability, component of the dipole) of every element in a mean."""
    elements = AVERAGES.get(name, (name,))
    if any(len(e) != 3 or set(e) - set("xyz") for e in elements):
        raise ConfigError("sfg element", got=repr(name), wanted="ssp, sps, pss or three axes such as xxz")
    axes = [["xyz".index(letter) for letter in element] for element in elements]
    return tuple((3 * a + b, c) for a, b, c in axes)


def _spread(values: Any) -> float:
    """Typical increment of a series, so that dipole and polarizability can be added without loss of digits."""
    piece = np.asarray(values[: min(len(values), 4096)], dtype=np.float64)
    return float(np.std(np.diff(piece, axis=0))) or 1.0


def _pair_weights(
    terms: Mapping[str, Sequence[tuple[int, int]]], dipole_scale: float, alpha_scale: float
) -> tuple[Array, Array]:
    """Rows [series, 12] of alpha + M and alpha - M in units of their spreads, and weights: S_xy = (S_+ - S_-)/4."""
    pairs = list(dict.fromkeys(pair for pair_list in terms.values() for pair in pair_list))
    mixing, weights = np.zeros((2 * len(pairs), 12)), np.zeros((len(terms), 2 * len(pairs)))
    for k, (ab, c) in enumerate(pairs):
        mixing[2 * k : 2 * k + 2, 3 + ab] = 1.0 / alpha_scale
        mixing[2 * k : 2 * k + 2, c] = np.array([1.0, -1.0]) / dipole_scale
    for row, pair_list in enumerate(terms.values()):
        for pair in pair_list:
            k = pairs.index(pair)
            weight = 0.25 * alpha_scale * dipole_scale / len(pair_list)
            weights[row, [2 * k, 2 * k + 1]] = weight, -weight
    return mixing, weights
