"""The f-sum rule: what the integral of an infrared spectrum must be, from Born charges and masses alone.

The current of a cell is ``J = sum_i Z*_i v_i``.  Classical velocities have ``<v_ia v_jb> = kB T / m_i`` for i = j and
a = b and zero otherwise, whatever the positions, so that ``<J^2> = kB T sum_i tr(Z*_i Z*_i^T) / m_i`` and
(docs/theory.md, "f-sum rule")::

    cell:      int_0^inf alpha n domega = pi / (6 eps0 c V) sum_i tr(Z*_i Z*_i^T) / m_i
               int_0^inf alpha n dnu    = 1 / (12 eps0 c^2 V) sum_i ...              over wavenumber, omega = 2 pi c nu
    molecule:  int_0^inf A dnu          = N_A / (12 eps0 c^2) sum_i ...              974.88 km/mol per e^2/amu

Only equal times enter, so the sum divides exactly into elements.  Where the bands of a spectrum belong to single
elements (the stretch of a hydrogen), band and element can be compared too.

Equipartition holds for the mean over a long run.  At any time the energy of a harmonic mode scatters by all of itself
(it is exponentially distributed), so that the integrals of runs in which modes exchange no energy scatter by

    (delta/sum)^2 = sum_k I_k^2 / (sum_k I_k)^2,    I_k the eigenvalues of Z*_i Z*_i^T / m_i of all atoms,

as if every atom vibrated along the axes of its own charges: 7.7% of 64 molecules of water.  Where modes exchange their
energy in a time tau, the square of this falls with the length T of a run as f(T) = 2/x - 2 (1 - e^-x)/x^2, x = T/tau.
Blocks of a run see of it what differs from block to block; the rest is added to the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import guards
from spectra_app.spectra.integrals import BandIntegral

if TYPE_CHECKING:
    from spectra_app.spectra.infrared import InfraredSpectrum

Array = NDArray[np.float64]

_PER_A2_TO_PER_CM2 = 1e16
_A_TO_KM = 1e-13
_EXCHANGE_PS = 5.0
"""Time in which modes exchange their energy, ps.  Of two runs of liquid water, 50 ps each, integrals of pieces of 5, 10
and 25 ps scatter by 7.5, 5.9 and 4.6%; this and a stationary spectrum (3.3, 2.3 and 1.5%) give 7.4, 6.2 and 4.6%.  A
Langevin thermostat makes it shorter."""
_AGREE = 2.0
"""Standard errors within which integral and sum are said to agree."""
_KNOWN = 0.02
"""Least relative error of the comparison: time step, table that ends at some wavenumber, kinetic temperature."""


@dataclass(frozen=True)
class FSum:
    """What the integral of an infrared spectrum over wavenumber must be.

    Attributes:
        value: ``cm^-2`` for a cell (integral of alpha n over wavenumber), ``km/mol`` for a molecule.
        error: standard error of the mean over the frames; NaN for one frame.
        unit: of both.
        by_element: symbol (or ``all``) -> its part; they add up to the value.
        by_element_error: symbol -> standard error.
        n_frames: frames of Born charges.
        energy_spread: relative scatter of the integral where modes exchange no energy (module docstring).
    """

    value: float
    error: float
    unit: str
    by_element: Mapping[str, float]
    by_element_error: Mapping[str, float]
    n_frames: int
    energy_spread: float

    @property
    def over_angular_frequency(self) -> float:
        """The integral over angular frequency: value times 2 pi c, the unit times rad cm/fs."""
        return 2.0 * math.pi * units.SPEED_OF_LIGHT_CM_PER_FS * self.value


@dataclass(frozen=True)
class FSumComparison:
    """The integral of a computed spectrum beside the sum rule.

    Attributes:
        expected: the sum rule.
        integral: of the spectrum, from zero to the end of its table.
        bands: integrals over the bands that the spectrum was asked for.
        ratio: integral over sum.
        ratio_error: its standard error, from both and from energies of modes that the run was too short to exchange.
        agrees: within two standard errors (of at least 2%).
        sentence: all of it.
    """

    expected: FSum
    integral: BandIntegral
    bands: tuple[BandIntegral, ...]
    ratio: float
    ratio_error: float
    agrees: bool
    sentence: str


def f_sum(born_e: Any, masses_amu: ArrayLike, volume_A3: Any = None, symbols: Sequence[str] | None = None) -> FSum:
    """The integral that equipartition demands of an infrared spectrum (module docstring).

    Args:
        born_e: [atom, xyz, xyz] or [frame, atom, xyz, xyz] e, Born charges of the whole cell or molecule, of a few
            frames of the run; either order of the two Cartesian indices.
        masses_amu: [atom] amu.
        volume_A3: volume of the cell, a number or an array to be averaged; None for an isolated molecule.
        symbols: [atom] names by which the sum is divided; None gives the total only.

    Raises:
        SeriesError: another shape, numbers that are not finite, masses or volume not positive.
    """
    born = np.asarray(born_e, dtype=np.float64)
    if born.ndim == 3:
        born = born[None]
    if born.ndim != 4 or born.shape[2:] != (3, 3) or not born.shape[0]:
        raise SeriesError("shape of born_e", got=born.shape, wanted="[atom, 3, 3] or [frame, atom, 3, 3]")
    if not np.all(np.isfinite(born)):
        raise SeriesError("born_e", got="NaN or infinity", wanted="finite charges")
    masses = np.asarray(masses_amu, dtype=np.float64)
    if masses.shape != born.shape[1:2] or not np.all(masses > 0.0):
        raise SeriesError("masses_amu", got=f"shape {masses.shape}", wanted=f"{born.shape[1]} positive numbers of amu")
    names = ["all"] * len(masses) if symbols is None else list(symbols)
    if len(names) != len(masses):
        raise SeriesError("symbols", got=f"{len(names)} names", wanted=f"one per atom, {len(masses)}")
    per_atom = np.einsum("fiab,fiab->fi", born, born) / masses  # [frame, atom] e^2/amu
    scale = 1.0 / (12.0 * units.EPSILON_0 * units.AMU_A2_PER_FS2_TO_EV * units.SPEED_OF_LIGHT**2)  # A per e^2/amu
    if volume_A3 is None:
        per_atom *= scale * units.AVOGADRO * _A_TO_KM
    else:
        volume = guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
        per_atom *= scale * _PER_A2_TO_PER_CM2 / volume
    groups = {name: np.array([other == name for other in names]) for name in dict.fromkeys(names)}
    parts = {name: _mean(per_atom[:, member].sum(axis=1)) for name, member in groups.items()}
    value, error = _mean(per_atom.sum(axis=1))
    return FSum(
        value=value,
        error=error,
        unit="km/mol" if volume_A3 is None else "cm^-2",
        by_element={name: part[0] for name, part in parts.items()},
        by_element_error={name: part[1] for name, part in parts.items()},
        n_frames=len(born),
        energy_spread=_energy_spread(born, masses),
    )


def compare_f_sum(spectrum: InfraredSpectrum, expected: FSum) -> FSumComparison:
    """The integral of a spectrum beside what the f-sum rule demands.

    Args:
        spectrum: of the same system as the Born charges.
        expected: of :func:`f_sum`.

    Raises:
        ConfigError: a cell beside a molecule, or a spectrum with another quantum factor than the harmonic one, for
            which the classical sum does not hold.
    """
    wanted = "km/mol" if spectrum.alpha_n_per_cm is None else "cm^-2"
    if expected.unit != wanted:
        raise ConfigError(
            "f-sum", got=expected.unit, wanted=wanted, todo="Give f_sum the volume where the spectrum has one"
        )
    factor = spectrum.parameters.get("quantum_factor")
    if factor not in ("none", "harmonic"):
        raise ConfigError("quantum_factor", got=factor, wanted="none or harmonic, for which the classical sum holds")
    integral = spectrum.integral
    assert integral is not None
    ratio = integral.value / expected.value
    unseen = expected.energy_spread * _unseen_by_blocks(spectrum)
    relative = np.array([integral.error / integral.value, expected.error / expected.value, unseen])
    error = abs(ratio) * float(np.hypot.reduce(np.nan_to_num(relative, nan=0.0)))
    agrees = abs(ratio - 1.0) <= _AGREE * max(error, _KNOWN)
    percent = f"{100.0 * ratio:.1f} +- {100.0 * error:.1f}%"
    sentence = (
        f"f-sum: the spectrum integrates to {_written(integral.value, integral.error)} {wanted}, "
        f"Born charges and masses demand {_written(expected.value, expected.error)} ({percent})"
    )
    if len(expected.by_element) > 1:
        shares = ", ".join(f"{name} {100.0 * part / expected.value:.0f}%" for name, part in expected.by_element.items())
        sentence += f"; by element: {shares}"
    if not agrees:
        sentence += "; they differ: temperature, time step, volume, or charges of another model or structure"
    return FSumComparison(expected, integral, spectrum.bands, ratio, error, agrees, sentence + ".")


def _energy_spread(born: Array, masses: Array) -> float:
    """Relative scatter of the sum if every mode keeps its energy, from Born charges [frame, atom, xyz, xyz]."""
    strengths = np.linalg.eigvalsh(np.einsum("fiab,ficb->fiac", born, born)) / masses[:, None]
    return float(np.sqrt(np.mean(np.sum(strengths**2, axis=(1, 2)))) / np.mean(np.sum(strengths, axis=(1, 2))))


def _unseen_by_blocks(spectrum: InfraredSpectrum) -> float:
    """How much of the scatter of energies an error over the blocks and replicas of a spectrum does not contain, 0 to 1.

    Of R runs of length T the mean has the variance F = f(T)/R.  G blocks of the length B give on the average
    (f(B) - F)/(G - 1) for it, which is F where every block is a run.
    """
    report, blocks = spectrum.report, spectrum.parameters["blocks"]
    assert isinstance(blocks, int)
    whole = report.duration_ps / report.n_replicas
    pieces = math.ceil(blocks / report.n_replicas)
    groups = pieces * report.n_replicas
    scatter = _left_after(whole) / report.n_replicas
    if spectrum.parameters["method"] == "cepstral":  # its error knows nothing of energies
        return math.sqrt(scatter)
    return math.sqrt(max(0.0, scatter - (_left_after(whole / pieces) - scatter) / (groups - 1)))


def _left_after(time_ps: float) -> float:
    """Share of the variance of energies that a mean over a time has, f(T/tau)."""
    x = time_ps / _EXCHANGE_PS
    return 2.0 / x - 2.0 * (1.0 - math.exp(-x)) / x**2


def _written(value: float, error: float) -> str:
    """A number and its error, where it is known."""
    return f"{value:.4g}" + (f" +- {error:.2g}" if math.isfinite(error) else "")


def _mean(values: Array) -> tuple[float, float]:
    """Mean over frames and its standard error."""
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
