"""From a run file to its spectra: which arrays of the file each kind of spectrum takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    from spectra_app.spectra import Spectrum
    from spectra_app.trajectory import Run


def temperature_of(run: Run, settings: SpectraSettings) -> float:
    """The temperature that the prefactors take, K.

    The settings' one; else the mean of the recorded kinetic temperature (a constant-energy run has its own); else the
    target of the run.

    Raises:
        SeriesError: none of them is known.
    """
    if settings.temperature_K is not None:
        return settings.temperature_K
    mean = float(np.mean(run.temperature_K))
    if math.isfinite(mean):
        return mean
    target = run.metadata.get("temperature_K")
    if target is None:
        raise SeriesError(f"temperature of {run.path}", got="none", wanted="kelvin", todo="Give --temperature-K")
    return float(target)


def _timestep(run: Run) -> float:
    from spectra_app.spectra import timestep_from_times

    return timestep_from_times(run.time_fs)


def _eps_inf(run: Run, settings: SpectraSettings) -> float | None:
    value = settings.eps_inf if settings.eps_inf is not None else run.metadata.get("eps_inf")
    return None if value is None else float(value)


def infrared_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Infrared spectrum of a run."""
    from spectra_app.spectra import infrared_spectrum

    return infrared_spectrum(
        run.dipole_eA,
        timestep_fs=_timestep(run),
        temperature_K=temperature_of(run, settings),
        volume_A3=run.volume_A3,
        eps_inf=_eps_inf(run, settings) if run.periodic else None,
        settings=settings,
    )


def raman_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Raman spectrum of a run.

    Raises:
        SeriesError: the model of the run has no polarizability.
    """
    from spectra_app.spectra import raman_spectrum

    if run.polarizability_e2A2_per_eV is None:
        raise SeriesError(
            f"polarizability in {run.path}",
            got="none",
            wanted="a model with induced dipoles (iu in the name of its variant)",
            todo="Use another model for Raman",
        )
    return raman_spectrum(
        run.polarizability_e2A2_per_eV,
        timestep_fs=_timestep(run),
        temperature_K=temperature_of(run, settings),
        laser_nm=settings.laser_nm,
        settings=settings,
    )


def vdos_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Vibrational density of states of a run.

    Raises:
        SeriesError: no stored velocities.
    """
    from ase.data import chemical_symbols

    from spectra_app.spectra import timestep_from_times, vdos

    velocities = run.velocities_A_per_fs
    if velocities is None:
        raise SeriesError(f"velocities in {run.path}", got="none", wanted="a run of spectra-app md")
    return vdos(
        velocities,
        run.masses_amu,
        timestep_fs=timestep_from_times(run.trajectory_time_fs),
        symbols=[chemical_symbols[z] for z in run.numbers.tolist()],
        degrees_of_freedom=3 * len(run.numbers) - 3,  # the centre of mass is at rest
        settings=settings,
    )


def dielectric_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Dielectric function of a run.

    Raises:
        SeriesError: an isolated molecule, or no eps_inf.
    """
    from spectra_app.spectra import dielectric_function

    eps_inf = _eps_inf(run, settings)
    if run.volume_A3 is None:
        raise SeriesError(f"volume of {run.path}", got="an isolated molecule", wanted="a periodic cell")
    if eps_inf is None:
        raise SeriesError(f"eps_inf of {run.path}", got="none", wanted="a number", todo="Give --eps-inf")
    return dielectric_function(
        run.dipole_eA,
        timestep_fs=_timestep(run),
        temperature_K=temperature_of(run, settings),
        volume_A3=run.volume_A3,
        eps_inf=eps_inf,
        settings=settings,
    )


SPECTRA: dict[str, Callable[[Run, SpectraSettings], Spectrum]] = {
    "ir": infrared_of_run,
    "raman": raman_of_run,
    "vdos": vdos_of_run,
    "dielectric": dielectric_of_run,
}
