"""Static dielectric constant from the fluctuations of a cell's dipole, with an error that knows the relaxation time.

``eps_ab = eps_inf + (<M_a M_b> - <M_a><M_b>) / (eps0 V kB T)``, tinfoil boundary (Neumann, Mol. Phys. 50, 841, 1983,
doi 10.1080/00268978300102721; docs/theory.md, "Static dielectric constant").

The mean.  In an isotropic liquid <M> = 0, and a run of few relaxation times must not put its own mean there: that takes
off the variance of this mean, 2 tau/T of all of it (true 71.8: 51 from six relaxation times).  Zero means zero of M
itself, so the origin of a recorded M must be known: molecules made whole, or an origin or the quanta of polarization
given; a mean that cannot be that of zero is refused.  Where only the run's mean can be taken (a ferroelectric crystal,
an unknown origin), the variance of this mean is added back as the slowest modes of the run have it.

The error is that of Gaussian fluctuations with the run's own memory (dipole_fluctuations.py).  Where mobile ions make M
diffuse there is no static constant; the conductivity answers instead (conductivity.py).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spectra_app import units
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.joined import of_equal_length
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.conductivity import StaticConductivity, static_conductivity
from spectra_app.spectra.dipole_fluctuations import DipoleSeries, Mobility, memory_of, mobility_of, read_dipoles
from spectra_app.spectra.guards import Checks

Array = NDArray[np.float64]
Mean = Literal["zero", "replica", "pooled"]

_OFFSET_PROBABILITY = 1e-3
"""Of a mean that far from zero by chance, below which it is refused."""
_LEAST_OFFSET = 3.0
"""Least square of a mean, in units of its expected variance, that is refused: many replicas do not make the form of the
relaxation known better than this."""
_KNOWN_QUANTUM = 3.0
"""Standard errors of the mean that half a quantum of polarization must hold, so that the right one is taken off."""
_SETTLED = 0.1


@dataclass(frozen=True, eq=False)
class StaticDielectricConstant:
    """Static dielectric constant from the fluctuations of the cell dipole.

    Attributes:
        value: trace/3 of the tensor.
        error: its standard error, from the relaxation time.
        tensor: [xyz, xyz].
        tensor_error: [xyz, xyz].
        eps_inf: what was added.
        running: [block] the value from the first block, the first two, ...: has it settled?
        mean: what was taken as the mean: ``zero``, ``replica`` or ``pooled``.
        relaxation_times: length of the run in relaxation times of a Debye liquid with the same memory, all replicas.
        relaxation_fs: that time; NaN where the time step was not given.
        sentence: value, error and what to think of it.
    """

    value: float
    error: float
    tensor: Array
    tensor_error: Array
    eps_inf: Array
    running: Array
    mean: Mean
    relaxation_times: float
    relaxation_fs: float
    sentence: str


@dataclass(frozen=True)
class StaticResponse:
    """The static constant, or why there is none and what there is instead.

    Attributes:
        constant: the static dielectric constant; None where it is refused.
        conductivity: of a dipole that diffuses, or that may; None otherwise.
        sentence: either, or the reason.
    """

    constant: StaticDielectricConstant | None
    conductivity: StaticConductivity | None
    sentence: str


def static_dielectric_constant(
    dipole_eA: Any,
    *,
    temperature_K: float,
    volume_A3: Any,
    eps_inf: ArrayLike,
    mean: Mean = "zero",
    origin_eA: ArrayLike | None = None,
    quanta_eA: ArrayLike | None = None,
    mobile_ions: bool | None = None,
    timestep_fs: float | None = None,
    blocks: int = 10,
    checks: Checks = "error",
) -> StaticDielectricConstant:
    """``eps_ab = eps_inf + (<M_a M_b> - <M_a><M_b>) / (eps0 V kB T)``, tinfoil (Neumann, Mol. Phys. 50, 841).

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, physical and unwrapped.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        eps_inf: high-frequency dielectric constant: a number, or the tensor [xyz, xyz].
        mean: ``zero``: that of a liquid, known by symmetry; ``replica``: every replica's own (crystals, ferroelectrics,
            an unknown origin), its variance added back; ``pooled``: one mean of all, as it is.
        origin_eA: [xyz] or [replica, xyz], e A: the recorded M that stands for zero (molecules cut by the cell's
            boundary shift it by charges times cell vectors); with ``mean="zero"``.
        quanta_eA: [vector, xyz], e A: M is defined up to sums of these (cell vectors times e, where every atom carries
            an integer charge); the sum nearest to each replica's mean is taken off; with ``mean="zero"``.
        mobile_ions: True refuses, False does not look, neither at the mean where ``origin_eA`` is given; None judges by
            the series itself.
        timestep_fs: time between frames, for the relaxation time and a conductivity.
        blocks: points of ``running``.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad temperature or volume; a dipole that diffuses; a
            mean that is not zero.
        ConfigError: unknown name for the mean; origin or quanta of a wrong shape.
    """
    found = static_response(
        dipole_eA,
        temperature_K=temperature_K,
        volume_A3=volume_A3,
        eps_inf=eps_inf,
        mean=mean,
        origin_eA=origin_eA,
        quanta_eA=quanta_eA,
        mobile_ions=mobile_ions,
        timestep_fs=timestep_fs,
        blocks=blocks,
        checks=checks,
    )
    if found.constant is None:
        raise SeriesError(found.sentence.removesuffix("."))
    return found.constant


def static_response(
    dipole_eA: Any,
    *,
    temperature_K: float,
    volume_A3: Any,
    eps_inf: ArrayLike,
    mean: Mean = "zero",
    origin_eA: ArrayLike | None = None,
    quanta_eA: ArrayLike | None = None,
    mobile_ions: bool | None = None,
    timestep_fs: float | None = None,
    blocks: int = 10,
    checks: Checks = "error",
) -> StaticResponse:
    """The static constant where there is one, otherwise the reason, and the conductivity of a dipole that diffuses.

    Args:
        dipole_eA: as all arguments of :func:`static_dielectric_constant`.
        temperature_K: temperature.
        volume_A3: volume.
        eps_inf: high-frequency dielectric constant.
        mean: ``zero``, ``replica`` or ``pooled``.
        origin_eA: M that stands for zero.
        quanta_eA: quanta of polarization.
        mobile_ions: what is known about them.
        timestep_fs: time between frames; without it no conductivity is computed.
        blocks: points of ``running``.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad temperature or volume.
        ConfigError: unknown name for the mean; origin or quanta of a wrong shape.
    """
    guards.check_positive("temperature_K", temperature_K, "K")
    volume = guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    sentences = guards.check_series(values, "dipole", checks, continuous=True)
    if mean not in ("zero", "replica", "pooled"):
        raise ConfigError("mean", got=repr(mean), wanted="zero, replica or pooled")
    values, cut = of_equal_length(values)
    sentences += tuple(f"The static dielectric constant is {sentence}." for sentence in cut)
    if len(values) < 2 * blocks:
        raise SeriesError("length of the series", got=f"{len(values)} frames", wanted=f"{2 * blocks}")
    series = read_dipoles(values, blocks)
    mobility = mobility_of(series)
    moving = mobility.verdict == "diffusing" if mobile_ions is None else mobile_ions
    doubt = mobile_ions is None and mobility.verdict == "undecided"
    conductivity = None
    if (moving or doubt) and timestep_fs is not None:
        conductivity = static_conductivity(
            values, timestep_fs=timestep_fs, temperature_K=temperature_K, volume_A3=volume, checks="off"
        )
    guards.emit(sentences)
    if moving:
        return StaticResponse(None, conductivity, _moving_sentence(mobile_ions, conductivity))
    if mean == "zero" and mobile_ions is False and origin_eA is not None:  # nothing is left to judge
        origin = _vectors("origin_eA", origin_eA, series.n_replicas) - series.origin
        shift, refusal = np.broadcast_to(origin, series.mean.shape), None
    else:
        shift, refusal = _shift(series, mobility, mean, origin_eA, quanta_eA)
    if refusal is not None:
        return StaticResponse(None, conductivity, refusal)
    high = np.asarray(eps_inf, dtype=np.float64) * (np.eye(3) if np.ndim(eps_inf) == 0 else 1.0)
    scale = prefactors.beta(temperature_K) / (units.EPSILON_0 * volume)
    constant = _constant(series, mobility, mean, shift, high, scale, timestep_fs)
    if doubt:
        constant = dataclasses.replace(constant, sentence=f"{constant.sentence} {_doubt_sentence(conductivity)}")
    return StaticResponse(constant, conductivity, constant.sentence)


def _moving_sentence(mobile_ions: bool | None, conductivity: StaticConductivity | None) -> str:
    """Why there is no static constant."""
    why = "its mean square displacement grows with time" if mobile_ions is None else "mobile ions were named"
    answer = "The conductivity answers instead" if conductivity is None else conductivity.sentence.removesuffix(".")
    return f"Static dielectric constant: got a cell dipole that diffuses ({why}), wanted bound charges. {answer}."


def _shift(
    series: DipoleSeries, mobility: Mobility, mean: Mean, origin_eA: ArrayLike | None, quanta_eA: ArrayLike | None
) -> tuple[Array, str | None]:
    """What to take off M - origin [replica, xyz], and the reason where that cannot be said."""
    averages = series.mean
    if mean == "replica":
        return averages, None
    if mean == "pooled":
        return np.tile(averages.mean(axis=0), (series.n_replicas, 1)), None
    zero = np.broadcast_to(_vectors("origin_eA", origin_eA, series.n_replicas) - series.origin, averages.shape)
    if quanta_eA is not None:
        quanta = np.asarray(quanta_eA, dtype=np.float64)
        if quanta.shape != (3, 3) or not abs(float(np.linalg.det(quanta))) > 0.0:
            raise ConfigError("quanta_eA", got=f"shape {quanta.shape}", wanted="three vectors [vector, xyz] in e A")
        half = 0.5 * float(np.min(np.linalg.norm(quanta, axis=1)))
        if half < _KNOWN_QUANTUM * math.sqrt(mobility.mean_variance):
            return zero, (
                "Static dielectric constant: got a mean dipole known to "
                f"+- {math.sqrt(mobility.mean_variance):.2g} e A, wanted one that tells quanta of {2.0 * half:.3g} e A "
                "apart. Run longer, give the origin of M (molecules made whole), or take mean='replica'."
            )
        zero = zero + np.round((averages - zero) @ np.linalg.inv(quanta)) @ quanta
    offsets = averages - zero
    # The mean of a bound dipole scatters with the variance of the slowest modes, known as well as they are.
    known = max(4.0, mobility.kappa) * mobility.degrees_of_freedom
    limit = max(_LEAST_OFFSET, float(stats.f.isf(_OFFSET_PROBABILITY, mobility.degrees_of_freedom, known)))
    if float(np.mean(offsets**2)) > limit * mobility.mean_variance:
        worst = offsets[int(np.argmax(np.sum(offsets**2, axis=1)))]
        text = ", ".join(f"{x:.3g}" for x in worst)
        return zero, (
            f"Static dielectric constant: got a mean dipole of ({text}) e A, wanted zero, as in a liquid. "
            "Give the origin of M where molecules are cut by the cell's boundary (origin_eA or quanta_eA), "
            "or take the run's own mean of a crystal (mean='replica')."
        )
    return np.asarray(zero), None


def _vectors(name: str, given: ArrayLike | None, n_replicas: int) -> Array:
    """[xyz] or [replica, xyz]; zero where nothing is given."""
    vectors = np.zeros(3) if given is None else np.asarray(given, dtype=np.float64)
    if vectors.shape not in ((3,), (n_replicas, 3)):
        raise ConfigError(name, got=f"shape {vectors.shape}", wanted=f"[3] or [{n_replicas}, 3], e A")
    return vectors


def _constant(
    series: DipoleSeries,
    mobility: Mobility,
    mean: Mean,
    shift: Array,
    high: Array,
    scale: float,
    timestep_fs: float | None,
) -> StaticDielectricConstant:
    """The constant from the moments about a shift [replica, xyz] of M - origin."""
    missing = mobility.mean_variance if mean == "replica" else 0.0
    per_block = (
        series.squares
        - np.einsum("bra,rc->brac", series.sums, shift)
        - np.einsum("ra,brc->brac", shift, series.sums)
        + series.counts[:, None, None, None] * np.einsum("ra,rc->rac", shift, shift)
    ).sum(axis=1)
    counts = series.counts * series.n_replicas
    covariance = per_block.sum(axis=0) / counts.sum()
    growth = 1.0 + missing / max(float(np.trace(covariance)) / 3.0, np.finfo(np.float64).tiny)
    covariance = covariance * growth
    running = np.trace(np.cumsum(per_block, axis=0), axis1=1, axis2=2) / np.cumsum(counts)
    memory = memory_of(series, shift, missing)
    frames = series.n_frames * series.n_replicas
    variances = np.diag(covariance)
    # A liquid's axes are alike; a crystal's are taken one by one.
    axes = np.full(3, memory.frames) if mean == "zero" else memory.per_axis
    trace_error = math.sqrt(2.0 * float(np.sum(axes * variances**2)) / frames)
    if mean == "zero":
        trace_error = float(variances.sum()) * math.sqrt(2.0 * memory.frames / (3.0 * frames))
    # What was added back is known as well as the slowest modes, and errs the same way.
    slow = max(1.0, mobility.kappa) * mobility.degrees_of_freedom
    trace_error += 3.0 * missing * math.sqrt(2.0 / slow)
    pairs = np.outer(variances, variances) + covariance**2
    tensor_error = scale * np.sqrt(pairs * np.sqrt(np.outer(axes, axes)) / frames)
    tensor = np.asarray(high + scale * covariance)
    value, error = float(np.trace(tensor)) / 3.0, scale * trace_error / 3.0
    times = frames / memory.frames
    return StaticDielectricConstant(
        value=value,
        error=error,
        tensor=tensor,
        tensor_error=np.asarray(tensor_error),
        eps_inf=high,
        running=np.asarray(np.trace(high) / 3.0 + scale * growth * running / 3.0),
        mean=mean,
        relaxation_times=times,
        relaxation_fs=math.nan if timestep_fs is None else memory.frames * timestep_fs,
        sentence=_sentence(value, error, float(np.trace(high)) / 3.0, mean, times),
    )


def _sentence(value: float, error: float, high: float, mean: Mean, times: float) -> str:
    """The result for a person."""
    words = {"zero": "mean dipole zero", "replica": "each replica's own mean dipole", "pooled": "one mean dipole"}
    settled = "settled" if error < _SETTLED * max(value - high, 1e-12) else "not settled: run longer"
    return (
        f"Static dielectric constant {value:.4g} +- {error:.2g}, eps_inf included "
        f"({words[mean]}; {times:.3g} relaxation times; {settled})."
    )


def _doubt_sentence(conductivity: StaticConductivity | None) -> str:
    """What to think of a run that cannot tell."""
    text = (
        "The run cannot tell a slow relaxation from a dipole that diffuses: if ions move, there is no static constant "
    )
    if conductivity is None:
        return f"{text}but a conductivity."
    return f"{text}but a {conductivity.sentence[0].lower()}{conductivity.sentence[1:]}"
