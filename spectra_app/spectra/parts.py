"""Infrared and Raman spectra in parts that add up to the whole (decomposition.py), in absolute units, with errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.decomposition import TOTAL, Partition, make_partition, partitioned_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.prefactors import RAMAN_UNITS, RamanPrefactor
from spectra_app.spectra.raman import INVARIANT_WEIGHTS, tensor_basis
from spectra_app.spectra.result import Spectrum, error_description
from spectra_app.spectra.verlet import Integrator, Motion, timestep_correction
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]
RamanIntensity = Literal["total", "vv", "vh", "isotropic", "anisotropic"]

_RAMAN_WEIGHTS: dict[RamanIntensity, tuple[float, float]] = {
    "total": (1.0, 7.0 / 45.0),
    "vv": (1.0, 4.0 / 45.0),
    "vh": (0.0, 3.0 / 45.0),
    "isotropic": (1.0, 0.0),
    "anisotropic": (0.0, 1.0),
}
"""Shares of the isotropic and the anisotropic density."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectrumParts(Spectrum):
    """A spectrum and its parts; within each family the parts add up to the total.

    Attributes:
        total: [nu].
        total_error: [nu].
        parts: name -> [nu]; cross-correlations may make a part negative.
        part_errors: name -> [nu].
        families: family -> names of its parts.
        kind_pairs: the two kinds of each part of the family ``kinds``.
        unit: of all of them.
        what: title.
    """

    total: Array
    total_error: Array
    parts: Mapping[str, Array]
    part_errors: Mapping[str, Array]
    families: Mapping[str, tuple[str, ...]]
    kind_pairs: tuple[tuple[str, str], ...]
    unit: str
    what: str

    @property
    def title(self) -> str:
        """What this is."""
        return self.what

    @property
    def main(self) -> str:
        """The total."""
        return TOTAL

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "RAMAN SPECTRUM" if "Raman" in self.what else "INFRARED SPECTRUM"

    def columns(self) -> dict[str, Column]:
        """Table: the total, then every part with its error."""
        table = {"wavenumber_per_cm": Column(self.wavenumber_per_cm, "cm^-1", "wavenumber")}
        table[TOTAL] = Column(self.total, self.unit, "all parts")
        table[f"{TOTAL}_error"] = Column(self.total_error, self.unit, error_description("total"))
        for family, names in self.families.items():
            for name in names:
                table[name] = Column(self.parts[name], self.unit, f"part {name} of the family {family}")
                table[f"{name}_error"] = Column(self.part_errors[name], self.unit, error_description(f"part {name}"))
        return table

    def fractions(self) -> dict[str, float]:
        """Part -> its integral over all wavenumbers of the table, divided by that of the total."""
        whole = float(np.sum(self.total))
        return {name: float(np.sum(part)) / whole if whole else math.nan for name, part in self.parts.items()}

    def shares(self) -> dict[str, Array]:
        """Kind -> [nu] its own part and half of each cross part it has a share in; they add up to the total."""
        out: dict[str, Array] = {}
        for name, pair in zip(self.families["kinds"], self.kind_pairs, strict=True):
            for kind in pair:
                out[kind] = out.get(kind, np.zeros_like(self.total)) + 0.5 * self.parts[name]
        return out


def infrared_parts(
    contributions_eA: Any,
    *,
    kinds: Sequence[str],
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any = None,
    molecules: ArrayLike | None = None,
    positions_A: Any = None,
    cell_A: ArrayLike | None = None,
    distance_edges_A: Sequence[float] = (),
    quantity: Literal["dipole", "current"] = "dipole",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> SpectrumParts:
    """Alpha n of a cell (cm^-1), or the intensity of a molecule (km/mol per cm^-1), in parts.

    Args:
        contributions_eA: [frame, part, xyz] or [frame, replica, part, xyz], e A: dipoles of molecules or atoms that
            add up to the cell's (for atoms Z* u, or e A/fs: Z* v with ``quantity="current"``).
        kinds: [part] element or molecule type.
        timestep_fs: time between frames.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged; None for an isolated molecule.
        molecules: [part] number of its molecule, for intra- and intermolecular parts.
        positions_A: [frame, part, xyz] (or with replicas) A, for distance-resolved parts.
        cell_A: [vector, xyz] A, for the nearest images.
        distance_edges_A: rising distances between the bins, A.
        quantity: what the series is.
        integration_timestep_fs: as in ``infrared_spectrum``.
        integrator: as in ``infrared_spectrum``.
        settings: estimator (Welch); None takes the defaults.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shapes or numbers, NaN, a jump.
        ConfigError: unknown quantity, another estimator, edges that do not rise.
    """
    if quantity not in ("dipole", "current"):
        raise ConfigError("quantity", got=repr(quantity), wanted="dipole or current")
    series, partition = _series(
        contributions_eA, "dipole", (3,), quantity == "dipole", timestep_fs, kinds, molecules, positions_A, cell_A,
        distance_edges_A,
    )  # fmt: skip
    series = _corrected(series, integration_timestep_fs, integrator)
    guards.check_positive("temperature_K", temperature_K, "K")
    guards.refuse_slab(contributions_eA, volume_A3)
    volume = None if volume_A3 is None else guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    if volume is None:
        scale, unit = prefactors.molar_intensity_per_density(temperature_K), "km/mol per cm^-1"
    else:
        scale, unit = prefactors.absorption_per_density(temperature_K, volume), "cm^-1"
    return _parts(
        series,
        partition,
        np.ones(3),
        np.eye(3),
        lambda omega: np.full_like(omega, scale),
        unit,
        "Infrared spectrum in parts",
        {"temperature_K": float(temperature_K), "volume_A3": volume, "quantity": quantity},
        settings,
        checks,
    )


def raman_parts(
    contributions_e2A2_per_eV: Any,
    *,
    kinds: Sequence[str],
    timestep_fs: float,
    temperature_K: float,
    intensity: RamanIntensity = "total",
    laser_nm: float = 532.0,
    prefactor: RamanPrefactor = "stokes",
    molecules: ArrayLike | None = None,
    positions_A: Any = None,
    cell_A: ArrayLike | None = None,
    distance_edges_A: Sequence[float] = (),
    quantity: Literal["polarizability", "derivative"] = "polarizability",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> SpectrumParts:
    """One Raman intensity in parts; arguments as in :func:`infrared_parts` and ``raman_spectrum``.

    Args:
        contributions_e2A2_per_eV: [frame, part, xyz, xyz] or [frame, replica, part, xyz, xyz], adding up to the cell's.
        kinds: [part] element or molecule type.
        timestep_fs: time between frames.
        temperature_K: temperature.
        intensity: ``total`` (VV + VH), ``vv``, ``vh``, ``isotropic`` or ``anisotropic``.
        laser_nm: wavelength of the laser.
        prefactor: ``stokes``, ``reduced`` or ``none``.
        molecules: [part] number of its molecule.
        positions_A: [frame, part, xyz] (or with replicas) A.
        cell_A: [vector, xyz] A.
        distance_edges_A: rising distances, A.
        quantity: what the series is.
        integration_timestep_fs: as in ``infrared_spectrum``.
        integrator: as in ``infrared_spectrum``.
        settings: estimator (Welch).
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shapes or numbers, NaN, a jump.
        ConfigError: unknown name, another estimator, edges that do not rise.
    """
    if intensity not in _RAMAN_WEIGHTS:
        raise ConfigError("intensity", got=repr(intensity), wanted=", ".join(_RAMAN_WEIGHTS))
    if quantity not in ("polarizability", "derivative"):
        raise ConfigError("quantity", got=repr(quantity), wanted="polarizability or derivative")
    series, partition = _series(
        contributions_e2A2_per_eV, "polarizability", (3, 3), quantity == "polarizability", timestep_fs, kinds,
        molecules, positions_A, cell_A, distance_edges_A,
    )  # fmt: skip
    series = _corrected(series, integration_timestep_fs, integrator)
    guards.check_positive("temperature_K", temperature_K, "K")
    guards.check_positive("laser_nm", laser_nm, "nm")

    def factor(omega: Array) -> Array:
        out = np.zeros_like(omega)
        out[1:] = prefactors.raman_factor(prefactor, omega[1:], temperature_K, laser_nm)
        return out

    return _parts(
        series,
        partition,
        np.asarray(_RAMAN_WEIGHTS[intensity]) @ INVARIANT_WEIGHTS,
        tensor_basis(),
        factor,
        RAMAN_UNITS[prefactor],
        f"Raman spectrum ({intensity}) in parts",
        {"temperature_K": float(temperature_K), "laser_nm": float(laser_nm), "prefactor": prefactor},
        settings,
        checks,
    )


def _series(
    values: Any,
    name: str,
    tail: tuple[int, ...],
    derivative: bool,
    timestep_fs: float,
    kinds: Sequence[str],
    molecules: ArrayLike | None,
    positions_A: Any,
    cell_A: ArrayLike | None,
    edges_A: Sequence[float],
) -> tuple[EstimatorInput, Partition]:
    """The series [frame, replica, part, ...] and its partition, both checked."""
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    parts = guards.as_replicas(values, name, (-1, *tail))
    shape = (int(parts.shape[0]), int(parts.shape[1]))
    partition = make_partition(int(parts.shape[2]), kinds, molecules, positions_A, cell_A, edges_A, shape)
    return EstimatorInput(parts, float(timestep_fs), derivative=derivative), partition


def _corrected(series: EstimatorInput, integration_timestep_fs: float | None, integrator: Integrator) -> EstimatorInput:
    """The series with the correction of its integration time step, where one is wanted."""
    motion: Motion = "positions" if series.derivative else "velocities"
    correction = timestep_correction(integration_timestep_fs, series.timestep_fs, motion, integrator)
    return dataclasses.replace(series, correction=correction)


def _parts(
    series: EstimatorInput,
    partition: Partition,
    components: Array,
    mixing: Array,
    factor: Any,
    unit: str,
    what: str,
    parameters: dict[str, object],
    settings: EstimatorSettings | SpectraSettings | None,
    checks: Checks,
) -> SpectrumParts:
    """Densities of the parts times one factor of the frequency."""
    settings = as_estimator_settings(settings)
    # A molecule that turns or an ion that travels drifts; that is no fault of the whole.
    warnings = guards.check_series(series.values, "contributions", checks, continuous=series.derivative, drift=False)
    names, density = partitioned_density(series, components, mixing, partition, settings)
    scale = factor(density.omega_per_fs)

    def compute(channels: Array) -> Arrays:
        return {name: scale * channel for name, channel in zip(names, channels, strict=True)}

    found = assemble(series, density, settings, compute, TOTAL, keep_zero=False, warnings=warnings)
    return SpectrumParts(
        wavenumber_per_cm=found.wavenumber_per_cm,
        peaks=found.peaks,
        report=found.report,
        history=(
            *estimator_history(series, density, settings),
            *found.correction_history,
            f"parts: {len(partition.kinds)} in " + ", ".join(f"{k} ({len(v)})" for k, v in partition.families.items()),
        ),
        parameters={
            **parameters,
            "timestep_fs": series.timestep_fs,
            **found.correction_parameters,
            **estimator_parameters(settings),
        },
        total=found.values[TOTAL],
        total_error=found.errors[TOTAL],
        parts={name: found.values[name] for name in names[1:]},
        part_errors={name: found.errors[name] for name in names[1:]},
        families=partition.families,
        kind_pairs=partition.kind_pairs,
        unit=unit,
        what=what,
    )
