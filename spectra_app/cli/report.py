"""What is said about a spectrum at the end of a command: length verdict, resolution, main peaks with errors."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra_app.spectra import Spectrum

MAIN_PEAKS = 6  # lines of the summary


def describe_spectrum(spectrum: Spectrum) -> list[str]:
    """A spectrum in a few lines for a person."""
    report, unit = spectrum.report, spectrum.columns()[spectrum.main].unit
    length = f"{report.duration_ps:.4g} ps" + (f" in {report.n_replicas} replicas" if report.n_replicas > 1 else "")
    lines = [
        f"{spectrum.title}: {length} at {report.timestep_fs:g} fs; resolution {report.resolution_per_cm:.3g} cm^-1, "
        f"Nyquist {report.nyquist_per_cm:.0f} cm^-1",
        f"  {report.sentence}",
    ]
    strongest = sorted(spectrum.peaks, key=lambda peak: -peak.height)[:MAIN_PEAKS]
    for peak in sorted(strongest, key=lambda peak: peak.position_per_cm):
        position = _with_error(peak.position_per_cm, peak.position_error_per_cm, 0)
        height = f"{peak.height:.3g}" + (f" +- {peak.height_error:.1g}" if math.isfinite(peak.height_error) else "")
        scale = "" if unit == "1" else f" {unit}"
        lines.append(f"  peak {position} cm^-1   height {height}{scale}   width {peak.width_per_cm:.0f} cm^-1")
    return lines


def spectrum_facts(spectrum: Spectrum) -> dict[str, Any]:
    """The numbers of a spectrum that a program may want."""
    return {
        "title": spectrum.title,
        "quantity": spectrum.main,
        "unit": spectrum.columns()[spectrum.main].unit,
        "parameters": dict(spectrum.parameters),
        "report": asdict(spectrum.report),
        "peaks": [asdict(peak) for peak in spectrum.peaks],
        "history": list(spectrum.history),
    }


def _with_error(value: float, error: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"{text} +- {max(error, 10.0**-digits):.{digits}f}" if math.isfinite(error) else text
