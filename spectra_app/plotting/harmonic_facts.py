"""What the summary of a recipe states about normal modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectra_app.harmonic.polar_modes import static_tensor

if TYPE_CHECKING:
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.spectra import Spectrum

_SHOWN = 6  # bands


@dataclass(frozen=True)
class HarmonicFacts:
    """Normal modes: how many, where they lie, which are strongest, and what the relaxation took.

    Attributes:
        kind: crystal, slab or molecule.
        n_modes: vibrations; rigid motions are none.
        lowest_per_cm: lowest real frequency, cm^-1; None without one.
        highest_per_cm: highest, cm^-1; None without one.
        imaginary_per_cm: imaginary ones as positive numbers, cm^-1.
        infrared_per_cm: strongest infrared bands in order of wavenumber, cm^-1; empty without charges.
        raman_per_cm: strongest Raman bands likewise; empty without polarizability.
        eps_static: [xyz], diagonal of a crystal's static dielectric tensor at fixed cell; None otherwise.
        zero_point_eV: zero-point energy, eV.
        relaxation: in words.
    """

    kind: str
    n_modes: int
    lowest_per_cm: float | None
    highest_per_cm: float | None
    imaginary_per_cm: tuple[float, ...]
    infrared_per_cm: tuple[float, ...]
    raman_per_cm: tuple[float, ...]
    eps_static: tuple[float, ...] | None
    zero_point_eV: float
    relaxation: str


def harmonic_facts(limit: HarmonicLimit) -> HarmonicFacts:
    """The facts of a harmonic limit."""
    frequencies = limit.modes.frequencies_per_cm
    real = frequencies[frequencies > 0.0]
    return HarmonicFacts(
        kind=limit.kind,
        n_modes=len(frequencies),
        lowest_per_cm=float(real.min()) if len(real) else None,
        highest_per_cm=float(real.max()) if len(real) else None,
        imaginary_per_cm=tuple((-frequencies[limit.modes.imaginary]).tolist()),
        infrared_per_cm=_strongest(limit.infrared_spectrum),
        raman_per_cm=_strongest(limit.raman_spectrum),
        eps_static=None if limit.cell is None else tuple(np.diag(static_tensor(limit.cell)).tolist()),
        zero_point_eV=limit.thermochemistry.zero_point_eV,
        relaxation=limit.relaxation,
    )


def harmonic_line(facts: HarmonicFacts) -> str:
    """The facts for a person, a few lines."""
    ends = "" if facts.lowest_per_cm is None else f", {facts.lowest_per_cm:.1f} to {facts.highest_per_cm:.1f} cm^-1"
    saddle = ", ".join(f"{frequency:.1f}i" for frequency in facts.imaginary_per_cm)
    lines = [f"{facts.n_modes} of a {facts.kind}{ends}" + (f", imaginary: {saddle} cm^-1" if saddle else "")]
    for name, bands in (("infrared", facts.infrared_per_cm), ("Raman", facts.raman_per_cm)):
        if bands:
            lines.append(f"strongest {name} bands: {', '.join(f'{band:.0f}' for band in bands)} cm^-1")
    if facts.eps_static is not None:
        lines.append(
            f"static dielectric constants at fixed cell: {', '.join(f'{eps:.2f}' for eps in facts.eps_static)}"
        )
    return "\n".join([*lines, facts.relaxation])


def _strongest(spectrum: Spectrum | None) -> tuple[float, ...]:
    if spectrum is None:
        return ()
    bands = sorted(spectrum.peaks, key=lambda band: -band.height)[:_SHOWN]
    return tuple(sorted(band.position_per_cm for band in bands))
