"""What the summary of a run states: facts gathered from the objects of the other rooms, nothing computed twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_app.arrays import Frames
from spectra_app.born.report import BornReport
from spectra_app.harmonic.shifts import ModeShifts
from spectra_app.joined import JoinedReplicas, equal_parts, replica_mean
from spectra_app.plotting.curves import Array
from spectra_app.plotting.harmonic_facts import HarmonicFacts, harmonic_facts
from spectra_app.plotting.panels import RunTrace
from spectra_app.plotting.protocols import CardLike, ReportedSpectrum, RunLike
from spectra_app.units import G_PER_CM3_PER_AMU_PER_A3

if TYPE_CHECKING:
    from spectra_app.harmonic.limit import HarmonicLimit

DRIFT_LIMIT_MEV = 1.0  # meV/atom/ps; above this the time step is too long or the forces are rough
TEMPERATURE_LIMIT = 0.03  # relative distance from the thermostat's temperature worth a warning
PEAKS_SHOWN = 6
ERROR_FRAMES = ("test", "validation")  # of a card's errors, the better first
_BLOCKS = 10


@dataclass(frozen=True)
class ModelFacts:
    """The model, from its card.

    Attributes:
        name: of the model.
        variant: of its electrostatics.
        hash: of its weights.
        data: what it was trained on.
        forces_rmse_meV_per_A: error of the force components on frames held out; None where the card states none.
        forces_rmse_of: of which frames: ``test`` (never used) or ``validation`` (chose the epoch); None likewise.
        eps_inf: the value used.
    """

    name: str
    variant: str
    hash: str
    data: str
    forces_rmse_meV_per_A: float | None
    forces_rmse_of: str | None
    eps_inf: float | None


@dataclass(frozen=True)
class RunFacts:
    """The simulation; a drift or temperature that is not recorded is None; of merged runs the longest duration."""

    n_atoms: int
    n_runs: int
    n_replicas: int
    n_frames: int
    duration_ps: float
    temperature_K: float | None
    temperature_error_K: float | None
    target_K: float | None
    energy_drift_meV_per_atom_per_ps: float | None
    density_g_per_cm3: float | None
    ms_per_step: float | None
    complete: bool
    equilibration: str | None = None
    drifted: bool = False


@dataclass(frozen=True)
class PeakFacts:
    """One band of a spectrum; an error that is not known is None."""

    position_per_cm: float
    position_error_per_cm: float | None
    height: float
    height_error: float | None
    width_per_cm: float


@dataclass(frozen=True)
class SpectrumFacts:
    """One spectrum: what it is, how far it can be trusted, its highest peaks in order of wavenumber."""

    name: str
    title: str
    column: str
    unit: str
    duration_ps: float
    resolution_per_cm: float
    nyquist_per_cm: float
    verdict: str
    sentence: str
    notes: tuple[str, ...]
    peaks: tuple[PeakFacts, ...]


@dataclass(frozen=True)
class BornFacts:
    """Born charges of the run's structure: isotropic mean and spread per element, the sum rule, the reference."""

    mean_e: dict[str, float]
    std_e: dict[str, float]
    sum_rule_max_e: float
    rmse_e: float | None
    r2: float | None


@dataclass(frozen=True)
class OutputFile:
    """A file of the results folder (path relative to it) and what it is."""

    path: str
    description: str


@dataclass(frozen=True)
class Summary:
    """Everything the page says; parts that were not computed are None or empty."""

    title: str
    created: str
    version: str
    folder: str
    seconds: float | None
    model: ModelFacts | None
    run: RunFacts | None
    spectra: tuple[SpectrumFacts, ...]
    born: BornFacts | None
    warnings: tuple[str, ...]
    files: tuple[OutputFile, ...]
    extrapolation: str | None = None
    harmonic: HarmonicFacts | None = None
    shifts: ModeShifts | None = None


def build_summary(
    *,
    title: str,
    created: str,
    version: str,
    folder: Path | str,
    card: CardLike | None = None,
    eps_inf: float | None = None,
    run: RunLike | None = None,
    spectra: Mapping[str, ReportedSpectrum] | None = None,
    born: BornReport | None = None,
    files: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    seconds: float | None = None,
    extrapolation: str | None = None,
    harmonic: HarmonicLimit | None = None,
    shifts: ModeShifts | None = None,
) -> Summary:
    """The facts of a run.

    Args:
        title: what was run.
        created: ISO date and time.
        version: of spectra-app.
        folder: where the results are.
        card: of the model.
        eps_inf: dimensionless; the value used.
        run: recorded series.
        spectra: {short name: result}.
        born: report of the Born charges.
        files: {path relative to the folder: one-line description}.
        warnings: further sentences.
        seconds: s; wall time of the whole.
        extrapolation: how far the run went outside the training data, in words, and not once more for each spectrum.
        harmonic: normal modes.
        shifts: their lines in the dynamics.
    """
    facts = None if run is None else run_facts(run)
    found = tuple(_spectrum_facts(name, spectrum) for name, spectrum in (spectra or {}).items())
    notes = [*warnings, *_run_warnings(facts)]
    notes += [] if harmonic is None else [f"normal modes: {sentence}" for sentence in harmonic.warnings]
    for name, spectrum in (spectra or {}).items():
        notes += [f"{name}: {sentence}" for sentence in spectrum.report.warnings if sentence != extrapolation]
    return Summary(
        title=title,
        created=created,
        version=version,
        folder=str(folder),
        seconds=seconds,
        model=None if card is None else _model_facts(card, eps_inf),
        run=facts,
        spectra=found,
        born=None if born is None else _born_facts(born),
        warnings=tuple(dict.fromkeys(notes)),
        files=tuple(OutputFile(path, description) for path, description in (files or {}).items()),
        extrapolation=extrapolation,
        harmonic=None if harmonic is None else harmonic_facts(harmonic),
        shifts=shifts,
    )


def run_facts(run: RunLike) -> RunFacts:
    """Length, temperature with its error, energy drift and density of a recorded run.

    The error of the temperature is that of the mean of ten blocks; the drift is the slope of a straight line through
    the conserved energy, averaged over replicas.

    Args:
        run: recorded series.
    """
    settled = run.metadata.get("equilibration")
    time_ps = np.asarray(run.time_fs, dtype=np.float64) / 1000.0
    n_atoms, temperature = len(run.numbers), replica_mean(run.temperature_K)
    mean = error = density = None
    if np.isfinite(temperature).all() and len(temperature) >= _BLOCKS:
        blocks = np.array([block.mean() for block in np.array_split(temperature, _BLOCKS)])
        mean, error = float(np.mean(run.temperature_K)), float(blocks.std(ddof=1) / math.sqrt(_BLOCKS))
    drift = None if run.conserved_eV is None else _drift(run.conserved_eV, time_ps)
    if run.volume_A3 is not None:
        density = G_PER_CM3_PER_AMU_PER_A3 * float(np.sum(run.masses_amu)) / float(np.mean(run.volume_A3))
    return RunFacts(
        n_atoms=n_atoms,
        n_runs=max(1, len(run.joined)),
        n_replicas=run.temperature_K.shape[1],
        n_frames=len(time_ps),
        duration_ps=float(time_ps[-1] - time_ps[0]) if len(time_ps) else 0.0,
        temperature_K=mean,
        temperature_error_K=error,
        target_K=_number(run.metadata, "temperature_K"),
        energy_drift_meV_per_atom_per_ps=None if drift is None else drift * 1000.0 / n_atoms,
        density_g_per_cm3=density,
        ms_per_step=_number(run.metadata, "ms_per_step"),
        complete=bool(run.metadata["complete"]) if "complete" in run.metadata else True,
        equilibration=None if settled is None else settled["sentence"],
        drifted=settled is not None and settled["verdict"] == "drifting",
    )


def _drift(energy_eV: Frames, time_ps: Array) -> float | None:
    """Slope, eV/ps, of energies [frame, replica], over replicas, and over runs by their frames; None: no line."""
    slopes, weights = [], []
    for part in equal_parts(energy_eV):
        time, energy = time_ps[: len(part)], np.asarray(part, dtype=np.float64).mean(axis=1)
        if len(time) <= 2 or not np.isfinite(energy).all():
            return None
        slopes.append(np.polyfit(time - time.mean(), energy - energy.mean(), 1)[0])
        weights.append(part.shape[0] * part.shape[1])
    return float(np.average(slopes, weights=weights))


def run_trace(run: RunLike, points: int = 4000) -> RunTrace:
    """Temperature and energy of a run for the overview figure, thinned to a number of points that a page can show.

    Args:
        run: recorded series.
        points: at most twice as many are kept.
    """
    stride = max(1, len(run.time_fs) // points)
    has_conserved = run.conserved_eV is not None
    recorded: Any = run.conserved_eV if has_conserved else run.energy_eV
    changes = [np.asarray(part, dtype=np.float64) - part[:1] for part in equal_parts(recorded)]
    return RunTrace(
        time_ps=np.asarray(run.time_fs, dtype=np.float64)[::stride] / 1000.0,
        temperature_K=replica_mean(run.temperature_K)[::stride],
        energy_meV_per_atom=replica_mean(JoinedReplicas(changes))[::stride] * 1000.0 / len(run.numbers),
        energy_label="conserved energy" if has_conserved else "potential energy",
        target_K=_number(run.metadata, "temperature_K"),
    )


def _model_facts(card: CardLike, eps_inf: float | None) -> ModelFacts:
    forces, frames = None, None
    for kind in ERROR_FRAMES:
        found = _number(card.errors, f"{kind}_forces_rmse_meV_per_A")
        if found is not None:
            forces, frames = found, kind
            break
    return ModelFacts(card.name, card.variant, card.hash, card.data, forces, frames, eps_inf)


def _spectrum_facts(name: str, spectrum: ReportedSpectrum) -> SpectrumFacts:
    highest = sorted(spectrum.peaks, key=lambda peak: -peak.height)[:PEAKS_SHOWN]
    unit = spectrum.columns()[spectrum.main][1]
    return SpectrumFacts(
        name=name,
        title=spectrum.title,
        column=spectrum.main,
        unit="" if unit == "1" else unit,
        duration_ps=spectrum.report.duration_ps,
        resolution_per_cm=spectrum.report.resolution_per_cm,
        nyquist_per_cm=spectrum.report.nyquist_per_cm,
        verdict=str(spectrum.report.verdict.value),
        sentence=spectrum.report.sentence,
        notes=tuple(note for note in spectrum.notes if not note.startswith("extrapolation")),
        peaks=tuple(
            PeakFacts(
                position_per_cm=float(peak.position_per_cm),
                position_error_per_cm=_finite(peak.position_error_per_cm),
                height=float(peak.height),
                height_error=_finite(peak.height_error),
                width_per_cm=float(peak.width_per_cm),
            )
            for peak in sorted(highest, key=lambda peak: peak.position_per_cm)
        ),
    )


def _born_facts(born: BornReport) -> BornFacts:
    return BornFacts(
        mean_e={element.symbol: element.mean_e for element in born.elements},
        std_e={element.symbol: element.std_e for element in born.elements},
        sum_rule_max_e=born.sum_rule_max_e,
        rmse_e=None if born.comparison is None else born.comparison.total.rmse_e,
        r2=None if born.comparison is None else _finite(born.comparison.total.r2),
    )


def _run_warnings(run: RunFacts | None) -> list[str]:
    if run is None:
        return []
    notes = []
    if not run.complete:
        notes.append("the run was interrupted before its last step; restart it for the rest")
    if run.drifted:
        notes.append(
            f"{run.equilibration}: equilibrate until it has settled (md.equilibration auto), or leave out the beginning"
        )
    drift = run.energy_drift_meV_per_atom_per_ps
    if drift is not None and abs(drift) > DRIFT_LIMIT_MEV:
        notes.append(
            f"energy drifts by {drift:+.2f} meV/atom/ps (more than {DRIFT_LIMIT_MEV:g}): use a shorter time step"
        )
    if run.temperature_K is not None and run.target_K and run.temperature_error_K is not None:
        off = run.temperature_K - run.target_K
        if abs(off) > TEMPERATURE_LIMIT * run.target_K and abs(off) > 3.0 * run.temperature_error_K:
            notes.append(f"mean temperature is {off:+.1f} K off the target {run.target_K:g} K: equilibrate for longer")
    return notes


def _number(values: Mapping[str, Any], name: str) -> float | None:
    """A number of a mapping that may lack it (a model without errors, a run without a thermostat)."""
    if name not in values:
        return None
    value = values[name]
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
