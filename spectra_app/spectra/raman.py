"""Raman spectra in absolute units from a series of polarizabilities (Placzek, non-resonant)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.prefactors import RamanPrefactor
from spectra_app.spectra.raman_table import RAMAN_COLUMNS, RamanTable
from spectra_app.spectra.verlet import Integrator, timestep_correction

Array = NDArray[np.float64]

_NO_SIGNAL = 1e-6
"""Below this share of the highest VV intensity a depolarization ratio is noise over noise, and NaN."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RamanSpectrum(RamanTable):
    """Raman spectrum of the whole cell or molecule, in the unit of the prefactor (see ``units``); arrays are [nu]."""

    total: Array = field(metadata=RAMAN_COLUMNS["total"])
    total_error: Array = field(metadata=RAMAN_COLUMNS["total_error"])
    vv: Array = field(metadata=RAMAN_COLUMNS["vv"])
    vv_error: Array = field(metadata=RAMAN_COLUMNS["vv_error"])
    vh: Array = field(metadata=RAMAN_COLUMNS["vh"])
    vh_error: Array = field(metadata=RAMAN_COLUMNS["vh_error"])
    isotropic: Array = field(metadata=RAMAN_COLUMNS["isotropic"])
    isotropic_error: Array = field(metadata=RAMAN_COLUMNS["isotropic_error"])
    anisotropic: Array = field(metadata=RAMAN_COLUMNS["anisotropic"])
    anisotropic_error: Array = field(metadata=RAMAN_COLUMNS["anisotropic_error"])
    depolarization: Array = field(metadata=RAMAN_COLUMNS["depolarization"])
    depolarization_error: Array = field(metadata=RAMAN_COLUMNS["depolarization_error"])

    @property
    def title(self) -> str:
        """What this is."""
        return "Raman spectrum"


def parse_porto(geometry: str) -> tuple[Array, Array]:
    """Polarizations of a Porto symbol ``k_in(e_in e_out)k_out``, e.g. ``z(xy)-z`` (Damen, Phys. Rev. 142, 570).

    Args:
        geometry: letters x, y, z, the directions with an optional minus sign.

    Returns:
        e_in [xyz] and e_out [xyz].

    Raises:
        ConfigError: not of this form, or a polarization along its own direction of travel.
    """
    wanted = "k_in(e_in e_out)k_out, e.g. z(xx)z, with polarizations across the directions"
    match = re.fullmatch(r"-?([xyz])\(([xyz])\s*([xyz])\)-?([xyz])", geometry.replace(" ", "").replace("\u0305", ""))
    if match is None or match[1] == match[2] or match[4] == match[3]:
        raise ConfigError("polarization geometry", got=repr(geometry), wanted=wanted)
    axes = np.eye(3)
    return axes["xyz".index(match[2])], axes["xyz".index(match[3])]


def raman_spectrum(
    polarizability_e2A2_per_eV: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    laser_nm: float = 532.0,
    prefactor: RamanPrefactor = "stokes",
    quantity: Literal["polarizability", "derivative"] = "polarizability",
    geometries: Sequence[str] | Mapping[str, tuple[Any, Any]] = (),
    average: Literal["none", "powder"] = "none",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> RamanSpectrum:
    """Raman spectrum of an orientationally averaged sample, and of single polarization geometries.

    ``alpha(t) = a 1 + beta``; isotropic: density of da/dt; anisotropic: density of (3/2) tr dbeta/dt dbeta/dt;
    ``VV = iso + 4/45 aniso``, ``VH = aniso/15`` (Long, The Raman Effect, 2002).  No local-field factor is applied.

    Args:
        polarizability_e2A2_per_eV: [frame, xyz, xyz] or [frame, replica, xyz, xyz], e^2 A^2/eV, of the whole system;
            or its time derivative (per fs) with ``quantity="derivative"``.
        timestep_fs: time between frames.
        temperature_K: temperature.
        laser_nm: wavelength of the laser in vacuum (``stokes`` only).
        prefactor: ``stokes``: differential cross-section of first-order Stokes scattering; ``reduced``: Raman activity
            density, free of laser, Bose and frequency factors; ``none``: the density itself (prefactors.py).
        quantity: what the series is.
        geometries: Porto symbols, or name -> (e_in, e_out) vectors [xyz]: the spectrum of e_out.alpha.e_in.
        average: of the geometries: ``none`` for a crystal as it lies in the laboratory, ``powder`` over orientations:
            ``iso cos^2 + aniso (3 + cos^2)/45`` with the angle between e_in and e_out (VV and VH at 0 and 90 degrees).
        integration_timestep_fs: time step of the integration (not of the record), whose known effect on wavenumbers and
            intensities is taken off (verlet.py); None leaves it in.
        integrator: ``verlet``, or ``baoab`` where the recorded part itself ran with that thermostat.
        settings: estimator; None takes the defaults.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, nothing that moves, too few frames, branch jump, bad time step, temperature or
            wavelength.
        ConfigError: unknown prefactor, quantity or geometry.
    """
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    guards.check_positive("laser_nm", laser_nm, "nm")
    if quantity not in ("polarizability", "derivative"):
        raise ConfigError("quantity", got=repr(quantity), wanted="polarizability or derivative")
    if average not in ("none", "powder"):
        raise ConfigError("average", got=repr(average), wanted="none or powder")
    polarizations = _polarizations(geometries)
    values = guards.as_replicas(polarizability_e2A2_per_eV, "polarizability", (3, 3))
    warnings = guards.check_series(values, "polarizability", checks, continuous=quantity == "polarizability")
    warnings += guards.check_tensor_parts(values)
    mixing, weights = _projections(polarizations, average)
    correction = timestep_correction(
        integration_timestep_fs,
        float(timestep_fs),
        "positions" if quantity == "polarizability" else "velocities",
        integrator,
    )
    series = EstimatorInput(
        values, float(timestep_fs), derivative=quantity == "polarizability", mixing=mixing, correction=correction
    )
    density = spectral_density(series, weights, settings)
    omega = density.omega_per_fs
    factor = np.zeros_like(omega)
    factor[1:] = prefactors.raman_factor(prefactor, omega[1:], temperature_K, laser_nm)

    def compute(channels: Array) -> Arrays:
        isotropic, anisotropic = factor * channels[0], factor * channels[1]
        vv, vh = isotropic + 4.0 / 45.0 * anisotropic, anisotropic / 15.0
        signal = vv > _NO_SIGNAL * np.max(vv)
        return {
            "total": vv + vh,
            "vv": vv,
            "vh": vh,
            "isotropic": isotropic,
            "anisotropic": anisotropic,
            "depolarization": np.divide(vh, vv, out=np.full_like(vv, np.nan), where=signal),
            **{f"geometry {name}": factor * channels[2 + i] for i, name in enumerate(polarizations)},
        }

    parts = assemble(series, density, settings, compute, "total", keep_zero=False, warnings=warnings)
    fields = {name: array for name, array in parts.fields().items() if not name.startswith("geometry ")}
    return RamanSpectrum(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            f"raman: Placzek, prefactor {prefactor}, laser {laser_nm:g} nm, spectrum of d(alpha)/dt",
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "laser_nm": float(laser_nm),
            "prefactor": prefactor,
            "quantity": quantity,
            **({"average": average} if polarizations else {}),
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        geometries={name: parts.values[f"geometry {name}"] for name in polarizations},
        geometry_errors={name: parts.errors[f"geometry {name}"] for name in polarizations},
        **fields,
    )


def _polarizations(geometries: Sequence[str] | Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Array, Array]]:
    """Name -> unit vectors e_in, e_out."""
    if isinstance(geometries, str):
        geometries = (geometries,)
    if not isinstance(geometries, Mapping):
        return {name: parse_porto(name) for name in geometries}
    out = {}
    for name, pair in geometries.items():
        vectors = [np.asarray(vector, dtype=np.float64) for vector in pair]
        if len(vectors) != 2 or any(v.shape != (3,) or not np.linalg.norm(v) > 0.0 for v in vectors):
            raise ConfigError(f"polarization geometry {name}", got=repr(pair), wanted="two vectors [xyz], not zero")
        out[name] = (vectors[0] / np.linalg.norm(vectors[0]), vectors[1] / np.linalg.norm(vectors[1]))
    return out


def _projections(polarizations: Mapping[str, tuple[Array, Array]], average: str) -> tuple[Array, Array]:
    """Linear map [series, 9] of alpha to a, five parts of beta, and the geometries; weights of the channels.

    With an orthonormal basis B_k of the symmetric traceless tensors, tr beta beta = sum_k (B_k : alpha)^2, so every
    channel is a sum of autospectra.
    """
    single = [] if average == "powder" else [np.outer(e_out, e_in).ravel() for e_in, e_out in polarizations.values()]
    mixing = np.concatenate([tensor_basis(), *(row[None] for row in single)])
    weights = np.zeros((2 + len(polarizations), len(mixing)))
    weights[:2, :6] = INVARIANT_WEIGHTS
    for i, (e_in, e_out) in enumerate(polarizations.values()):
        if average == "powder":
            cos2 = float(e_in @ e_out) ** 2
            weights[2 + i, :6] = cos2 * INVARIANT_WEIGHTS[0] + (3.0 + cos2) / 45.0 * INVARIANT_WEIGHTS[1]
        else:
            weights[2 + i, 6 + i] = 1.0
    return mixing, weights


INVARIANT_WEIGHTS: Array = np.array([[1.0, 0, 0, 0, 0, 0], [0, 1.5, 1.5, 1.5, 1.5, 1.5]])
"""[isotropic or anisotropic, row of ``tensor_basis``]: a^2, and gamma^2 = (3/2) tr beta beta."""


def tensor_basis() -> Array:
    """Rows [6, 9] that take a flattened tensor to its mean and to five parts whose squares add up to tr beta beta."""
    x, y, z = np.eye(3)

    def symmetric(a: Array, b: Array) -> Array:
        return (np.outer(a, b) + np.outer(b, a)) / math.sqrt(2.0)

    basis = [
        np.eye(3) / 3.0,
        symmetric(x, y),
        symmetric(y, z),
        symmetric(x, z),
        (np.outer(x, x) - np.outer(y, y)) / math.sqrt(2.0),
        (2.0 * np.outer(z, z) - np.outer(x, x) - np.outer(y, y)) / math.sqrt(6.0),
    ]
    return np.stack(basis).reshape(6, 9)
