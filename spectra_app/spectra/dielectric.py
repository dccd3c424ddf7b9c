"""Dielectric function of a cell (full tensor), with the static constant or the conductivity of the same series."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.joined import of_equal_length
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.conductivity import StaticConductivity
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.optics import kramers_kronig
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.result import Spectrum
from spectra_app.spectra.static_dielectric import Mean, StaticDielectricConstant, StaticResponse, static_response
from spectra_app.spectra.stream import integrate
from spectra_app.spectra.verlet import Integrator, timestep_correction
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
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
        static: static dielectric constant from the fluctuations of the same series; None where there is none (mobile
            ions, a mean dipole that is not zero).
        conductivity: at zero frequency, where the dipole diffuses or may do so; None otherwise.
        static_sentence: the static constant, or why there is none.
    """

    eps_real: Array
    eps_imag: Array
    eps_real_error: Array
    eps_imag_error: Array
    mean_real: Array
    mean_imag: Array
    mean_real_error: Array
    mean_imag_error: Array
    static: StaticDielectricConstant | None
    conductivity: StaticConductivity | None = None
    static_sentence: str

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
    mean: Mean | None = None,
    origin_eA: ArrayLike | None = None,
    quanta_eA: ArrayLike | None = None,
    mobile_ions: bool | None = None,
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> DielectricFunction:
    """Tensor ``eps_ab = eps_inf + chi_ab``, ``chi''_ab = b/(2 eps0 V omega) S_ab`` (symmetric part, of dM/dt).

    Cross densities come from ``S_xy = (S_{x+y} - S_x - S_y)/2``; the real part from Kramers-Kronig.  Below the
    resolution the window decides (it cuts off a relaxation slower than a segment): see `static_dielectric_constant`.
    Where the dipole diffuses, eps'' contains ``sigma/(eps0 omega)``.

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, physical and unwrapped, or its time derivative in e A/fs
            with ``quantity="current"``; the static constant is then that of the integrated series.
        timestep_fs: time between frames.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        eps_inf: high-frequency dielectric constant: a number, or the tensor [xyz, xyz].
        quantity: what the series is.
        integration_timestep_fs: time step of the integration (not of the record), whose known effect on wavenumbers and
            intensities is taken off (verlet.py); None leaves it in.
        integrator: ``verlet``, or ``baoab`` where the recorded part itself ran with that thermostat.
        mean: of the static constant: ``zero`` (a liquid), ``replica`` or ``pooled``; None takes zero for dipoles and
            replica for currents, whose integral has no known origin.
        origin_eA: as in ``static_dielectric_constant``.
        quanta_eA: as in ``static_dielectric_constant``.
        mobile_ions: as in ``static_dielectric_constant``.
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
    series = EstimatorInput(
        values, float(timestep_fs), derivative=quantity == "dipole", mixing=mixing, correction=correction
    )
    density = spectral_density(series, weights, settings)
    omega = density.omega_per_fs
    scale = prefactors.beta(temperature_K) / (2.0 * units.EPSILON_0 * volume)

    def compute(six: Array) -> Arrays:
        return _tensor(omega, scale * six, tensor)

    parts = assemble(series, density, settings, compute, "imag", keep_zero=False, warnings=warnings)
    if quantity == "current":
        values = integrate(values, float(timestep_fs))
    response = static_response(
        values,
        temperature_K=temperature_K,
        volume_A3=volume,
        eps_inf=tensor,
        mean=mean or ("zero" if quantity == "dipole" else "replica"),
        origin_eA=origin_eA,
        quanta_eA=quanta_eA,
        mobile_ions=mobile_ions,
        timestep_fs=float(timestep_fs),
        blocks=min(max(10, settings.blocks), len(of_equal_length(values)[0]) // 2),
        checks="off",
    )
    report = parts.report
    if response.constant is None:
        guards.emit((response.sentence,))
        report = dataclasses.replace(report, warnings=(*report.warnings, response.sentence))
    return DielectricFunction(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            "dielectric: eps''_ab = S_ab/(2 eps0 V kB T omega), eps' by Kramers-Kronig plus eps_inf",
            response.sentence,
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "volume_A3": volume,
            "eps_inf": high.tolist(),
            "quantity": quantity,
            **_static_parameters(response),
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        static=response.constant,
        conductivity=response.conductivity,
        static_sentence=response.sentence,
        **_fields(parts.values, parts.errors),
    )


def _tensor(omega: Array, loss: Array, eps_inf: Array) -> Arrays:
    """Elements and trace/3 of both parts, ``real_xx`` ..., from ``omega eps''`` of the six elements [element, nu]."""
    out: Arrays = {}
    for i, name in enumerate(COMPONENTS):
        out[f"real_{name}"] = eps_inf[_PAIRS[i]] + kramers_kronig(omega, loss[i])
        out[f"imag_{name}"] = np.divide(loss[i], omega, out=np.zeros_like(loss[i]), where=omega > 0)
    for part in ("real", "imag"):
        out[part] = (out[f"{part}_xx"] + out[f"{part}_yy"] + out[f"{part}_zz"]) / 3.0
    return out


def _fields(values: Arrays, errors: Arrays) -> Arrays:
    """Values and errors as the fields of a dielectric function."""
    fields: Arrays = {}
    for part in ("real", "imag"):
        names = [f"{part}_{name}" for name in COMPONENTS]
        fields[f"eps_{part}"] = np.stack([values[name] for name in names], axis=-1)
        fields[f"eps_{part}_error"] = np.stack([errors[name] for name in names], axis=-1)
        fields[f"mean_{part}"], fields[f"mean_{part}_error"] = values[part], errors[part]
    return fields


def _static_parameters(response: StaticResponse) -> dict[str, object]:
    """The static constant and the conductivity in numbers; None where there is none."""
    constant, conductivity = response.constant, response.conductivity
    numbers: dict[str, object] = {
        "static_dielectric_constant": None if constant is None else constant.value,
        "static_dielectric_constant_error": None if constant is None else constant.error,
    }
    if constant is not None:
        numbers |= {"static_mean": constant.mean, "relaxation_times": constant.relaxation_times}
    if conductivity is not None:
        numbers["static_conductivity_S_per_m"] = conductivity.value_S_per_m
        numbers["static_conductivity_error_S_per_m"] = conductivity.error_S_per_m
    return numbers
