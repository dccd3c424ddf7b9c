"""What is said about a spectrum at the end of a command: length verdict, resolution, main peaks with errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spectra_app.cli.console import say, warn

if TYPE_CHECKING:
    from spectra_app.jobs.extrapolation import ExtrapolationReport
    from spectra_app.spectra import Comparison, Spectrum

MAIN_PEAKS = 6  # lines of the summary


def say_extrapolation(found: ExtrapolationReport | None, model: str) -> None:
    """One line on stderr: how far a job went outside the training data; a warning where it is far.

    Args:
        found: None where the model does not know the range of its training data.
        model: its name or folder.
    """
    from spectra_app.jobs.extrapolation import unknown_extrapolation

    if found is not None and found.outside:
        warn(found.sentence)
    else:
        say(unknown_extrapolation(model) if found is None else found.sentence)


def describe_spectrum(spectrum: Spectrum, comparisons: Sequence[Comparison] = ()) -> list[str]:
    """A spectrum, and what it is beside its references, in a few lines for a person."""
    from spectra_app.spectra import DielectricFunction, SpectrumParts

    report, unit = spectrum.report, spectrum.columns()[spectrum.main].unit
    length = f"{report.duration_ps:.4g} ps" + (f" in {report.n_replicas} replicas" if report.n_replicas > 1 else "")
    lines = [
        f"{spectrum.title}: {length} at {report.timestep_fs:g} fs; resolution {report.resolution_per_cm:.3g} cm^-1, "
        f"Nyquist {report.nyquist_per_cm:.0f} cm^-1",
        f"  {report.sentence}",
    ]
    lines += [f"  {line}" for line in spectrum.notes]
    if isinstance(spectrum, DielectricFunction):
        lines.append(f"  {spectrum.static_sentence}")
    if isinstance(spectrum, SpectrumParts):
        fractions = spectrum.fractions()
        for family, names in spectrum.families.items():
            lines.append(f"  {family}: " + ", ".join(f"{name} {100.0 * fractions[name]:.0f}%" for name in names))
    strongest = sorted(spectrum.peaks, key=lambda peak: -abs(peak.height))[:MAIN_PEAKS]
    for peak in sorted(strongest, key=lambda peak: peak.position_per_cm):
        position = _with_error(peak.position_per_cm, peak.position_error_per_cm, 0)
        scale = "" if unit == "1" else f" {unit}"
        lines.append(
            f"  peak {position} cm^-1   height {_rounded(peak.height, peak.height_error)}{scale}   "
            f"width {_with_error(peak.width_per_cm, peak.width_error_per_cm, 0)} cm^-1   "
            f"integral {_rounded(peak.integral, peak.integral_error)}"
        )
    for comparison in comparisons:
        lines += [f"  {line}" for line in comparison.lines()]
    return lines


def spectrum_facts(spectrum: Spectrum, comparisons: Sequence[Comparison] = ()) -> dict[str, Any]:
    """The numbers of a spectrum that a program may want."""
    from spectra_app.spectra import SpectrumParts

    extra: dict[str, Any] = {}
    if isinstance(spectrum, SpectrumParts):
        families = {family: list(names) for family, names in spectrum.families.items()}
        extra = {"families": families, "fractions": spectrum.fractions()}
    return {
        "title": spectrum.title,
        "quantity": spectrum.main,
        "unit": spectrum.columns()[spectrum.main].unit,
        "parameters": dict(spectrum.parameters),
        "report": asdict(spectrum.report),
        "peaks": [asdict(peak) for peak in spectrum.peaks],
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "history": list(spectrum.history),
        **extra,
    }


def _rounded(value: float, error: float) -> str:
    return f"{value:.3g}" + (f" +- {error:.1g}" if math.isfinite(error) else "")


def _with_error(value: float, error: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"{text} +- {max(error, 10.0**-digits):.{digits}f}" if math.isfinite(error) else text
