"""From a run file to its spectra: which arrays of the file each kind of spectrum takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    from spectra_app.frame_array import FrameArray
    from spectra_app.spectra import Spectrum
    from spectra_app.trajectory import Run

S = TypeVar("S", bound="Spectrum")


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


def timestep_of(run: Run) -> float:
    """Time between the recorded frames, fs."""
    from spectra_app.spectra import timestep_from_times

    return timestep_from_times(run.time_fs)


def _eps_inf(run: Run, settings: SpectraSettings) -> float | None:
    value = settings.eps_inf if settings.eps_inf is not None else run.metadata.get("eps_inf")
    return None if value is None else float(value)


def volume_of(run: Run, settings: SpectraSettings) -> np.ndarray | float | None:
    """The volume that an infrared spectrum refers to, A^3: the settings' one, else that of the run; None: a molecule.

    Raises:
        SeriesError: a slab, whose cell is mostly vacuum.
    """
    if settings.volume_A3 is not None:
        return settings.volume_A3
    if run.slab:
        raise SeriesError(
            f"volume of {run.path}",
            got="a slab, whose cell is mostly vacuum",
            wanted="area times thickness of the slab, A^3",
            todo="Give --volume-A3 (in a recipe: spectra.volume_A3)",
        )
    return run.volume_A3


def contributions_of(run: Run, quantity: Literal["dipole", "polarizability"]) -> FrameArray:
    """What each part contributes to the dipole [frame, replica, part, xyz], e A, or polarizability, e^2 A^2/eV.

    Raises:
        SeriesError: the run has none of this kind.
    """
    if run.parts is None:
        raise SeriesError(
            f"contributions in {run.path}",
            got="none",
            wanted="a run recorded with --parts molecules or --parts atoms",
            todo=f"Run: spectra-app record {run.path} -m MODEL -o parts.h5 --parts molecules (or md with --parts)",
        )
    values = run.parts.dipole_eA if quantity == "dipole" else run.parts.polarizability_e2A2_per_eV
    if values is None:
        raise SeriesError(
            f"polarizabilities of the parts in {run.path}",
            got="none",
            wanted="a model with induced dipoles (iu in the name of its variant)",
            todo="Use another model for Raman",
        )
    return values


def centres_of(run: Run) -> FrameArray:
    """Centres of mass of the parts of a run [frame, replica, part, xyz], A.

    Raises:
        SeriesError: no configurations were stored.
    """
    if not len(run.trajectory_step):
        raise SeriesError(
            f"positions in {run.path}", got="none", wanted="stored positions", todo="Record without --no-positions"
        )
    return run.centres_A


def field_note(run: Run) -> str | None:
    """One sentence on the external field of a run; None without one."""
    if run.field_V_per_A is None or not np.any(run.field_V_per_A):
        return None
    strongest = float(np.linalg.norm(run.field_V_per_A, axis=1).max())
    if np.ptp(run.field_V_per_A, axis=0).max() == 0.0:
        return (
            f"the run is in a static external field of {strongest:.3g} V/A: this is the spectrum of the polarized "
            "material, and its average over directions is not that of a powder"
        )
    return (
        f"the run is in an external field that changes in time (up to {strongest:.3g} V/A): fluctuation formulas hold "
        "in equilibrium only; analyse dipole against field_V_per_A instead (docs/fields.md)"
    )


def spectrum_of_run(kind: str, run: Run, settings: SpectraSettings) -> Spectrum:
    """A spectrum of a run, with a warning where an external field acted.

    Args:
        kind: "ir", "raman", "vdos" or "dielectric".
        run: the run.
        settings: of the spectrum.
    """
    return with_field_note(SPECTRA[kind](run, settings), run)


def with_field_note(spectrum: S, run: Run) -> S:
    """A spectrum of a run, with a warning where an external field acted."""
    note = field_note(run)
    if note is None:
        return spectrum
    from spectra_app.spectra import SpectrumWarning

    warnings.warn(note, SpectrumWarning, stacklevel=2)
    return replace(spectrum, report=replace(spectrum.report, warnings=(*spectrum.report.warnings, note)))


def infrared_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Infrared spectrum of a run."""
    from spectra_app.spectra import infrared_spectrum

    return infrared_spectrum(
        run.dipole_eA,
        timestep_fs=timestep_of(run),
        temperature_K=temperature_of(run, settings),
        volume_A3=volume_of(run, settings),
        eps_inf=_eps_inf(run, settings) if run.periodic else None,
        n_molecules=settings.n_molecules if run.periodic else None,
        quantum_factor=settings.quantum_factor,
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
        timestep_fs=timestep_of(run),
        temperature_K=temperature_of(run, settings),
        laser_nm=settings.laser_nm,
        prefactor=settings.prefactor,
        geometries=settings.geometries,
        settings=settings,
    )


def vdos_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Vibrational density of states of a run.

    Raises:
        SeriesError: no stored velocities.
    """
    return vdos_of_file(run.path, settings)


def vdos_of_file(path: Path, settings: SpectraSettings) -> Spectrum:
    """Vibrational density of states of a run file, whose velocities are read in slices.

    Raises:
        SeriesError: no stored velocities.
    """
    from ase.data import chemical_symbols

    from spectra_app.series.run_file import open_velocities
    from spectra_app.spectra import vdos

    run = open_velocities(path)
    return vdos(
        run.values,
        run.masses_amu,
        timestep_fs=run.timestep_fs,
        symbols=[chemical_symbols[z] for z in run.numbers.tolist()],
        degrees_of_freedom=3 * len(run.numbers) - 3,  # the centre of mass is at rest
        settings=settings,
    )


def dielectric_of_run(run: Run, settings: SpectraSettings) -> Spectrum:
    """Dielectric function of a run.

    Raises:
        SeriesError: an isolated molecule, a slab, or no eps_inf.
    """
    from spectra_app.spectra import dielectric_function

    eps_inf = _eps_inf(run, settings)
    if run.volume_A3 is None:
        got = "a slab" if run.slab else "an isolated molecule"
        raise SeriesError(
            f"dielectric function of {run.path}", got=got, wanted="a cell that is periodic in three directions"
        )
    if eps_inf is None:
        raise SeriesError(f"eps_inf of {run.path}", got="none", wanted="a number", todo="Give --eps-inf")
    return dielectric_function(
        run.dipole_eA,
        timestep_fs=timestep_of(run),
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
