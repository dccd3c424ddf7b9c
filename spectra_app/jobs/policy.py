"""What a spectrum of a run takes from it: volume, temperature, eps_inf, time step, boundary rule, notes.

The only place where this is decided: Python, recipes and commands come here, whatever the length of the run.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from ase.data import chemical_symbols

from spectra_app.config import NumberOrTensor, SpectraSettings
from spectra_app.errors import SeriesError
from spectra_app.jobs.extrapolation import run_extrapolation
from spectra_app.spectra import InfraredSpectrum, SpectrumWarning, compare_f_sum, f_sum, timestep_from_times

if TYPE_CHECKING:
    from spectra_app.arrays import Boundary, FrameArray
    from spectra_app.runs import Run
    from spectra_app.spectra import Spectrum

S = TypeVar("S", bound="Spectrum")

_RUNS_NAMED = 6
"""Runs of a merged spectrum that are named."""


def obstacle(kind: str, boundary: Boundary, settings: SpectraSettings) -> Literal["cell", "volume"] | None:
    """What stands in the way of a spectrum of a system with these boundaries.

    A dielectric function is a property of a material that fills its cell; the infrared spectrum of a slab refers to a
    volume that its cell, which is mostly vacuum, does not tell.

    Args:
        kind: of spectrum.
        boundary: of the system.
        settings: of the spectrum.

    Returns:
        "cell": one that is periodic in three directions is needed; "volume": that of the settings is.
    """
    if kind == "dielectric" and boundary != "periodic":
        return "cell"
    return "volume" if kind == "ir" and boundary == "slab" and settings.volume_A3 is None else None


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
        raise SeriesError(
            f"temperature of {run.path}", got="none", wanted="kelvin", todo="Give temperature_K (--temperature-K)"
        )
    return float(target)


def timestep_of(run: Run) -> float:
    """Time between the recorded frames, fs.

    Raises:
        SeriesError: fewer than two frames, or uneven times.
    """
    return timestep_from_times(np.asarray(run.time_fs))


def integration_of(run: Run, settings: SpectraSettings) -> dict[str, Any]:
    """Time step, fs, and kind of the integrator whose effect a spectrum is freed of; nothing where it stays in.

    A trajectory of another code does not say how it was integrated.
    """
    if not settings.correct_timestep:
        return {}
    known = run.metadata.get("integrator")
    if known is not None:
        name = {"velocity-verlet": "verlet", "langevin-baoab": "baoab"}[known["name"]]
        return {"integration_timestep_fs": float(known["timestep_fs"]), "integrator": name}
    if run.integration_timestep_fs is None:
        return {}
    md = run.metadata.get("configuration", {}).get("md", {})  # of files that do not say it
    langevin = md.get("ensemble") == "nvt" and md.get("thermostat") == "langevin"
    return {"integration_timestep_fs": run.integration_timestep_fs, "integrator": "baoab" if langevin else "verlet"}


def eps_inf_of(run: Run, settings: SpectraSettings) -> NumberOrTensor:
    """High-frequency dielectric constant of the material: the settings' one, else that of the model of the run.

    None for a molecule and for a slab: their dipoles are not screened by a medium that fills the cell.
    """
    if not run.periodic:
        return None
    return settings.eps_inf if settings.eps_inf is not None else run.eps_inf


def volume_of(run: Run, settings: SpectraSettings, kind: str = "ir") -> float | None:
    """The volume that a spectrum refers to, A^3: the settings' one, else the mean of the run; None: a molecule.

    Raises:
        SeriesError: an infrared spectrum of a slab, whose cell is mostly vacuum; or a dielectric function of anything
            but a cell that is periodic in three directions.
    """
    missing = obstacle(kind, run.boundary, settings)
    if missing == "volume":
        raise SeriesError(
            f"volume of {run.path}",
            got="a slab, whose cell is mostly vacuum",
            wanted="area times thickness of the slab, A^3",
            todo="Give volume_A3 (--volume-A3; in a recipe: spectra.volume_A3)",
        )
    if missing == "cell":
        got = "a slab" if run.slab else "an isolated molecule"
        raise SeriesError(
            f"dielectric function of {run.path}", got=got, wanted="a cell that is periodic in three directions"
        )
    if settings.volume_A3 is not None:
        return settings.volume_A3
    return None if run.volume_A3 is None else float(np.mean(run.volume_A3))


def quanta_of(run: Run) -> np.ndarray | None:
    """Quanta of polarization [vector, xyz], e A: the cell vectors times e, where every atom carries a whole charge.

    None where atoms of the model carry no integers, or where the cell changes.
    """
    integers = run.metadata.get("oxidation_states") is not None
    fixed = run.cell_A is not None and run.cell_A.ndim == 2
    return np.asarray(run.cell_A) if integers and fixed and run.boundary == "periodic" else None


def bound_dipole_of(run: Run) -> dict[str, Any]:
    """What is known of a dipole that no charge can have carried through the cell: ``mobile_ions``, ``origin_eA``.

    Where oxidation states say what every atom carries, and the same neutral molecules stand at beginning, middle and
    end of a run, its dipole is bound however it wanders within a run that is short; where they are stored whole, zero
    is zero.  Empty where that is not known.
    """
    from spectra_app.runs.molecules import find_molecules  # with torch, which other spectra do without

    if run.joined:
        known = [bound_dipole_of(one) for one in run.joined]
        return {key: value for key, value in known[0].items() if all(key in one for one in known)}
    states, stored = run.metadata.get("oxidation_states"), run.stored_positions_A
    if states is None or stored is None or run.cell_A is None or len(run.trajectory_step) == 0:
        return {}
    carried = np.array([states.get(chemical_symbols[z], np.nan) for z in run.numbers.tolist()], dtype=float)
    last = len(run.trajectory_step) - 1
    first: np.ndarray | None = None
    whole = True
    for frame in sorted({0, last // 2, last}):
        for replica, positions in enumerate(np.asarray(stored[frame])):
            cell = np.asarray(run.cell_A if run.cell_A.ndim == 2 else run.cell_A[frame, replica])
            found = find_molecules(positions, run.numbers, cell)
            if found.endless or not (np.bincount(found.number, carried) == 0.0).all():
                return {}
            first = found.number if first is None else first
            if not np.array_equal(found.number, first):
                return {}
            whole = whole and not found.shift.any()
    return {"mobile_ions": False, **({"origin_eA": np.zeros(3)} if whole else {})}


def with_runs(spectrum: S, run: Run) -> S:
    """A spectrum of several runs with the sentence that says so."""
    if not run.joined:
        return spectrum
    names = [f"{one.path} {one.duration_ps:.3g} ps" for one in run.joined]
    shown = names if len(names) <= _RUNS_NAMED else [*names[: _RUNS_NAMED - 1], f"{len(names) - _RUNS_NAMED + 1} more"]
    sentence = f"merged: {len(names)} runs, {run.n_replicas} replicas in all ({', '.join(shown)})"
    return replace(spectrum, history=(*spectrum.history, sentence))


def with_f_sum(spectrum: S, run: Run) -> S:
    """An infrared spectrum of a run with the sentence on its f-sum, where the run holds Born charges."""
    if run.born_e is None or not isinstance(spectrum, InfraredSpectrum) or run.boundary == "slab":
        return spectrum
    if spectrum.parameters.get("quantum_factor") not in ("none", "harmonic"):
        return spectrum
    symbols = [chemical_symbols[z] for z in run.numbers.tolist()]
    volume = None if spectrum.alpha_n_per_cm is None else spectrum.parameters["volume_A3"]
    expected = f_sum(run.born_e, run.masses_amu, volume, symbols)
    return replace(spectrum, history=(*spectrum.history, compare_f_sum(spectrum, expected).sentence))


def contributions_of(run: Run, quantity: Literal["dipole", "polarizability"]) -> FrameArray:
    """What each part contributes to the dipole [frame, replica, part, xyz], e A, or polarizability, e^2 A^2/eV.

    Raises:
        SeriesError: the run has none of this kind.
    """
    if run.joined:
        raise SeriesError("contributions of the parts", got=f"{len(run.joined)} runs", wanted="one")
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
    field = np.asarray(run.field_V_per_A)
    strongest = float(np.linalg.norm(field, axis=1).max())
    if np.ptp(field, axis=0).max() == 0.0:
        return (
            f"the run is in a static external field of {strongest:.3g} V/A: this is the spectrum of the polarized "
            "material, and its average over directions is not that of a powder"
        )
    return (
        f"the run is in an external field that changes in time (up to {strongest:.3g} V/A): fluctuation formulas hold "
        "in equilibrium only; analyse dipole against field_V_per_A instead (docs/fields.md)"
    )


def ended_note(run: Run) -> str | None:
    """One sentence on replicas of a run that went wrong; None where all is well."""
    if not run.ended:
        return None
    which = ", ".join(str(one.replica) for one in run.ended)
    first = run.ended[0]
    what = (
        f"replica{'s' if len(run.ended) > 1 else ''} {which} of {run.path} went wrong "
        f"(replica {first.replica} after recorded step {first.last_step}: {first.reason})"
    )
    ended = {one.replica for one in run.ended}
    if not ended.isdisjoint(run.replicas):
        return f"{what}: this is of the record up to there, whose end is not to be trusted"
    return f"{what} and {'are' if len(run.ended) > 1 else 'is'} left out: this is of the other {run.n_replicas}"


def with_run_notes(spectrum: S, run: Run) -> S:
    """A spectrum of a run, with how far the run went outside the training data of its model.

    It carries a warning where that is far, where an external field acted, or where replicas went wrong.
    """
    found = run_extrapolation(run)
    if found is not None and not found.outside:
        spectrum = replace(spectrum, history=(*spectrum.history, found.sentence))
    far = found.sentence if found is not None and found.outside else None
    for note in (field_note(run), far, *(ended_note(one) for one in run.joined or (run,))):
        if note is not None:
            warnings.warn(note, SpectrumWarning, stacklevel=3)
            report = replace(spectrum.report, warnings=(*spectrum.report.warnings, note))
            spectrum = replace(spectrum, report=report)
    return spectrum
