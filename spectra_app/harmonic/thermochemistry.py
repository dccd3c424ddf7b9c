"""Thermochemistry from normal modes: a molecule as ideal gas of rigid rotors, a crystal as harmonic oscillators.

Written out here, and compared with ``ase.thermochemistry`` in the tests, because that one takes the number of
vibrations from the shape of the molecule and cannot leave out the imaginary ones of a transition state.
(D. A. McQuarrie, Statistical Mechanics, ch. 6 and 8.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_app.harmonic.modes import Kind, NormalModes, moments_of_inertia
from spectra_app.units import (
    AMU_A2_PER_FS2_TO_EV,
    BOLTZMANN,
    EV_PER_A3_TO_GPA,
    HBAR,
    wavenumber_to_angular_frequency,
)

Array = NDArray[np.float64]

_GPA_PER_BAR = 1e-4


@dataclass(frozen=True)
class Thermochemistry:
    """Energies of one molecule or cell, without the electronic energy.

    Attributes:
        zero_point_eV: eV.
        internal_energy_eV: thermal energy with the zero-point energy, eV (of a molecule: the enthalpy H = U + kT).
        entropy_eV_per_K: eV/K.
        free_energy_eV: of a molecule G = H - TS, of a crystal F = U - TS, eV.
        temperature_K: K.
        model: "ideal gas" or "harmonic".
        left_out: imaginary modes, which have no part in it.
    """

    zero_point_eV: float
    internal_energy_eV: float
    entropy_eV_per_K: float
    free_energy_eV: float
    temperature_K: float
    model: str
    left_out: int


def thermochemistry(
    modes: NormalModes,
    positions_A: Array,
    kind: Kind,
    *,
    temperature_K: float,
    pressure_bar: float = 1.0,
    symmetry_number: int = 1,
    spin: float = 0.0,
) -> Thermochemistry:
    """Zero-point energy, enthalpy, entropy and free energy.

    Args:
        modes: normal modes; imaginary ones have no part in it.
        positions_A: [atom, xyz], A.
        kind: a molecule is an ideal gas, anything else a set of oscillators.
        temperature_K: K.
        pressure_bar: of the gas, bar.
        symmetry_number: rotational, of the molecule.
        spin: total electronic spin of the molecule.
    """
    kt = BOLTZMANN * temperature_K
    quanta = HBAR * wavenumber_to_angular_frequency(1.0) * modes.frequencies_per_cm[modes.frequencies_per_cm > 0.0]
    zero_point = 0.5 * float(quanta.sum())
    x = quanta / kt
    excited = np.exp(-x)
    inner = zero_point + float((quanta * excited / -np.expm1(-x)).sum())
    entropy = BOLTZMANN * float((x * excited / -np.expm1(-x) - np.log(-np.expm1(-x))).sum())
    model = "harmonic"
    if kind == "molecule":
        model = "ideal gas"
        moments = moments_of_inertia(modes.masses_amu, positions_A)
        inner += (2.5 + 0.5 * len(moments)) * kt  # with pV = kT: the enthalpy
        entropy += BOLTZMANN * (
            _translation(float(modes.masses_amu.sum()), kt, pressure_bar)
            + _rotation(moments, kt, symmetry_number)
            + math.log(2.0 * spin + 1.0)
        )
    free = inner - temperature_K * entropy
    return Thermochemistry(zero_point, inner, entropy, free, temperature_K, model, len(modes.imaginary))


def _translation(mass_amu: float, kt: float, pressure_bar: float) -> float:
    """Entropy over k of a particle in the volume kT/p (Sackur and Tetrode)."""
    wave = 2.0 * math.pi * HBAR / math.sqrt(2.0 * math.pi * mass_amu * AMU_A2_PER_FS2_TO_EV * kt)  # A
    volume = kt / (pressure_bar * _GPA_PER_BAR / EV_PER_A3_TO_GPA)
    return math.log(volume / wave**3) + 2.5


def _rotation(moments_amu_A2: Array, kt: float, symmetry_number: int) -> float:
    """Entropy over k of a classical rigid rotor with three moments of inertia, two equal ones, or none."""
    if len(moments_amu_A2) == 0:
        return 0.0
    temperatures = 2.0 * moments_amu_A2 * AMU_A2_PER_FS2_TO_EV * kt / HBAR**2  # kT over the rotational constant
    if len(moments_amu_A2) == 2:
        return math.log(math.sqrt(float(temperatures.prod())) / symmetry_number) + 1.0
    return math.log(math.sqrt(math.pi * float(temperatures.prod())) / symmetry_number) + 1.5
