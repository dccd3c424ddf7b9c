"""Dielectric function of a cell (full tensor), and the static dielectric constant with its error."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.optics import kramers_kronig
from spectra_app.spectra.plan import EstimatorSettings, Series, as_estimator_settings
from spectra_app.spectra.result import Column, Spectrum
from spectra_app.spectra.stream import integrate
from spectra_app.spectra.uncertainty import jackknife_error
from spectra_app.spectra.verlet import Integrator, timestep_correction

Array = NDArray[np.float64]

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
_PIECE_NUMBERS = 2**20
"""Numbers of a series taken at once into the sums of the static constant (8 MB)."""
_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False, kw_only=True)
class DielectricFunction(Spectrum):
    """Complex dielectric tensor of a cell.

    Attributes:
        eps_real: [nu, 6] in the order of ``COMPONENTS`` (Voigt: xx yy zz yz xz xy), with eps_inf.
        eps_imag: [nu, 6].
        eps_real_error: [nu, 6].
        eps_imag_error: [nu, 6].
        mean_real: [nu] trace/3 of the real part.
        mean_imag: [nu] trace/3 of the imaginary part.
        mean_real_error: [nu].
        mean_imag_error: [nu].
        static: static dielectric constant from the fluctuations of the same series.
    """

    eps_real: Array
    eps_imag: Array
    eps_real_error: Array
    eps_imag_error: Array
    mean_real: Array
    mean_imag: Array
    mean_real_error: Array
    mean_imag_error: Array
    static: StaticDielectricConstant

    @property
    def title(self) -> str:
        """What this is."""
        return "Dielectric function"

    @property
    def main(self) -> str:
        """The trace of the imaginary part."""
        return "eps_imag"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "INFRARED SPECTRUM"

    def columns(self) -> dict[str, Column]:
        """Table: trace/3 first (``eps_real``, ``eps_imag``), then ``eps_real_xx`` ... in Voigt order, with errors."""
        table = {"wavenumber_per_cm": Column(self.wavenumber_per_cm, "cm^-1", "wavenumber")}
        for part, word in (("real", "real"), ("imag", "imaginary")):
            mean = f"{word} part of the dielectric function, trace/3"
            table[f"eps_{part}"] = Column(getattr(self, f"mean_{part}"), "1", mean)
            errors = getattr(self, f"mean_{part}_error")
            table[f"eps_{part}_error"] = Column(errors, "1", f"standard error of the {mean}")
        for part, word in (("real", "real"), ("imag", "imaginary")):
            for i, name in enumerate(COMPONENTS):
                text = f"{word} part of the dielectric tensor, {name}"
                table[f"eps_{part}_{name}"] = Column(getattr(self, f"eps_{part}")[:, i], "1", text)
                errors = getattr(self, f"eps_{part}_error")[:, i]
                table[f"eps_{part}_{name}_error"] = Column(errors, "1", f"standard error of the {text}")
        return table


def dielectric_function(
    dipole_eA: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any,
    eps_inf: ArrayLike,
    quantity: Literal["dipole", "current"] = "dipole",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> DielectricFunction:
    """Tensor ``eps_ab = eps_inf + chi_ab``, ``chi''_ab = b/(2 eps0 V omega) S_ab`` (symmetric part, of dM/dt).

    Cross densities come from ``S_xy = (S_{x+y} - S_x - S_y)/2``; the real part from Kramers-Kronig.  Below the
    resolution the window decides (it cuts off a relaxation slower than a segment): see `static_dielectric_constant`.

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, physical and unwrapped, or its time derivative in e A/fs
            with ``quantity="current"``; the static constant is then that of the integrated series, whose unknown
            origin drops out of the fluctuations.
        timestep_fs: time between frames.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        eps_inf: high-frequency dielectric constant: a number, or the tensor [xyz, xyz].
        quantity: what the series is.
        integration_timestep_fs: time step of the integration (not of the record), whose known effect on wavenumbers and
            intensities is taken off (verlet.py); None leaves it in.
        integrator: ``verlet``, or ``baoab`` where the recorded part itself ran with that thermostat.
        settings: estimator; None takes the defaults.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad time step, temperature or volume.
        ConfigError: eps_inf neither a number nor 3 x 3; unknown quantity.
    """
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    volume = guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    if quantity not in ("dipole", "current"):
        raise ConfigError("quantity", got=repr(quantity), wanted="dipole or current")
    high = np.asarray(eps_inf, dtype=np.float64)
    if high.shape not in ((), (3, 3)):
        raise ConfigError("eps_inf", got=f"shape {high.shape}", wanted="a number or a 3 x 3 tensor")
    tensor = high if high.shape else float(high) * np.eye(3)
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    warnings = guards.check_series(values, "dipole", checks, continuous=quantity == "dipole")
    mixing = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=np.float64)
    weights = np.eye(6)
    for row, (a, b) in enumerate(_PAIRS[3:], start=3):
        weights[row] *= 0.5
        weights[row, [a, b]] = -0.5
    correction = timestep_correction(
        integration_timestep_fs, float(timestep_fs), "positions" if quantity == "dipole" else "velocities", integrator
    )
    series = Series(values, float(timestep_fs), derivative=quantity == "dipole", mixing=mixing, correction=correction)
    density = spectral_density(series, weights, settings)
    omega = density.omega_per_fs
    scale = prefactors.beta(temperature_K) / (2.0 * units.EPSILON_0 * volume)

    def compute(six: Array) -> Arrays:
        out: Arrays = {}
        for i, name in enumerate(COMPONENTS):
            loss = scale * six[i]
            out[f"real_{name}"] = tensor[_PAIRS[i]] + kramers_kronig(omega, loss)
            out[f"imag_{name}"] = np.divide(loss, omega, out=np.zeros_like(loss), where=omega > 0)
        for part in ("real", "imag"):
            out[part] = (out[f"{part}_xx"] + out[f"{part}_yy"] + out[f"{part}_zz"]) / 3.0
        return out

    parts = assemble(series, density, settings, compute, "imag", keep_zero=False, warnings=warnings)
    blocks = min(max(10, settings.blocks), values.shape[0] // 2)
    if quantity == "current":
        values = integrate(values, float(timestep_fs))
    static = static_dielectric_constant(
        values, temperature_K=temperature_K, volume_A3=volume, eps_inf=tensor, blocks=blocks, checks="off"
    )
    fields: dict[str, Array] = {}
    for part in ("real", "imag"):
        names = [f"{part}_{name}" for name in COMPONENTS]
        fields[f"eps_{part}"] = np.stack([parts.values[name] for name in names], axis=-1)
        fields[f"eps_{part}_error"] = np.stack([parts.errors[name] for name in names], axis=-1)
        fields[f"mean_{part}"], fields[f"mean_{part}_error"] = parts.values[part], parts.errors[part]
    return DielectricFunction(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            "dielectric: eps''_ab = S_ab/(2 eps0 V kB T omega), eps' by Kramers-Kronig plus eps_inf",
            static.sentence,
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "volume_A3": volume,
            "eps_inf": high.tolist(),
            "quantity": quantity,
            "static_dielectric_constant": static.value,
            "static_dielectric_constant_error": static.error,
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        static=static,
        **fields,
    )


@dataclass(frozen=True, eq=False)
class StaticDielectricConstant:
    """Static dielectric constant from the fluctuations of the cell dipole.

    Attributes:
        value: trace/3 of the tensor.
        error: its standard error (jackknife).
        tensor: [xyz, xyz].
        tensor_error: [xyz, xyz].
        eps_inf: what was added.
        running: [block] the value from the first block, the first two, ...: has it settled?
        sentence: value, error and what to think of it.
    """

    value: float
    error: float
    tensor: Array
    tensor_error: Array
    eps_inf: Array
    running: Array
    sentence: str


def static_dielectric_constant(
    dipole_eA: Any,
    *,
    temperature_K: float,
    volume_A3: Any,
    eps_inf: ArrayLike,
    mean: Literal["replica", "pooled", "zero"] = "replica",
    blocks: int = 10,
    checks: Checks = "error",
) -> StaticDielectricConstant:
    """``eps_ab = eps_inf + (<M_a M_b> - <M_a><M_b>) / (eps0 V kB T)``, tinfoil (Neumann, Mol. Phys. 50, 841).

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, physical and unwrapped.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        eps_inf: high-frequency dielectric constant: a number, or the tensor [xyz, xyz].
        mean: ``replica``: every replica's own mean (the constant part of P is a gauge); ``pooled``: one mean;
            ``zero``: the mean of a liquid, known to vanish, which removes the bias of short runs.
        blocks: at least this many jackknife blocks, over time and replicas together.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad temperature or volume.
        ConfigError: unknown name for the mean.
    """
    guards.check_positive("temperature_K", temperature_K, "K")
    volume = guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    sentences = guards.check_series(values, "dipole", checks, continuous=True)
    if mean not in ("replica", "pooled", "zero"):
        raise ConfigError("mean", got=repr(mean), wanted="replica, pooled or zero")
    if len(values) < 2 * blocks:
        raise SeriesError("length of the series", got=f"{len(values)} frames", wanted=f"{2 * blocks}")
    guards.emit(sentences)
    high = np.asarray(eps_inf, dtype=np.float64) * (np.eye(3) if np.ndim(eps_inf) == 0 else 1.0)
    scale = prefactors.beta(temperature_K) / (units.EPSILON_0 * volume)
    # An origin near the mean, for the sake of rounding only: the covariance does not see it.
    origin = np.zeros(3) if mean == "zero" else np.asarray(values[:1], dtype=np.float64).mean(axis=(0, 1))
    counts, sums, squares = _moments(values, origin, max(1, math.ceil(blocks / values.shape[1])))

    def tensor_of(keep: NDArray[np.bool_]) -> Array:
        n, first = counts * keep, (sums * keep[..., None]).sum(axis=1)  # [replica, block], [replica, xyz]
        second = (squares * keep[..., None, None]).sum(axis=(0, 1))
        per_replica = n.sum(axis=1)
        if mean == "replica":
            second = second - np.einsum("ra,rc,r->ac", first, first, 1.0 / np.maximum(per_replica, 1))
        elif mean == "pooled":
            second = second - np.outer(first.sum(axis=0), first.sum(axis=0)) / n.sum()
        return np.asarray(high + scale * second / n.sum())

    everything = np.ones(counts.shape, dtype=bool)
    tensor = tensor_of(everything)
    without = []
    for index in np.ndindex(*counts.shape):
        keep = everything.copy()
        keep[index] = False
        without.append(tensor_of(keep))
    rest = np.stack(without)
    value, error = float(np.trace(tensor)) / 3.0, float(jackknife_error(np.trace(rest, axis1=1, axis2=2) / 3.0))
    block = np.arange(counts.shape[1])
    running = [np.trace(tensor_of(everything & (block <= last))) / 3.0 for last in block]
    relative = error / max(value - float(np.trace(high)) / 3.0, 1e-12)
    settled = "settled" if relative < 0.1 else "not settled: run longer than many dielectric relaxation times"
    return StaticDielectricConstant(
        value=value,
        error=error,
        tensor=tensor,
        tensor_error=jackknife_error(rest),
        eps_inf=high,
        running=np.array(running),
        sentence=f"Static dielectric constant {value:.4g} +- {error:.2g}, eps_inf included ({settled}).",
    )


def _moments(values: Any, origin: Array, n_blocks: int) -> tuple[Array, Array, Array]:
    """Counts [replica, block], sums [replica, block, xyz], sums of products [replica, block, xyz, xyz] of a series.

    A piece of the series at a time, measured from an origin [xyz].
    """
    n_frames, n_replicas = values.shape[:2]
    edges = np.round(np.linspace(0, n_frames, n_blocks + 1)).astype(int)
    counts = np.tile(np.diff(edges).astype(np.float64), (n_replicas, 1))
    sums, squares = np.zeros((n_replicas, n_blocks, 3)), np.zeros((n_replicas, n_blocks, 3, 3))
    step = max(1, _PIECE_NUMBERS // (3 * n_replicas))
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        for first in range(start, stop, step):
            piece = np.asarray(values[first : min(first + step, stop)], dtype=np.float64) - origin
            sums[:, block] += piece.sum(axis=0)
            squares[:, block] += np.einsum("tra,trc->rac", piece, piece)
    return counts, sums, squares
