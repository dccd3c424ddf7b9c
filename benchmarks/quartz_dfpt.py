"""Harmonic limit of alpha-quartz beside density-functional perturbation theory: frequencies, strengths, LO-TO, eps.

    python benchmarks/quartz_dfpt.py [--model quartz] [--page docs/harmonic.md]

The model learned energies, forces and stress of 134 thermal configurations.  The reference is the DFPT calculation that
lies with them (Quantum ESPRESSO, PBE): transverse modes with their strengths, and the real part of eps averaged over
polarizations.  Needs the reference data of development (--data); says so and stops where it is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pages import renew_section

from spectra_app import harmonic_limit, load_model
from spectra_app.config import HarmonicSettings
from spectra_app.harmonic.limit import HarmonicLimit
from spectra_app.harmonic.polar_modes import PolarModes, Splitting, splittings, static_tensor
from spectra_app.jobs.structures import start_structure
from spectra_app.units import DEBYE_TO_E_ANGSTROM

ALONG = {"0 0 1": (0.0, 0.0, 1.0), "1 0 0": (1.0, 0.0, 0.0)}


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default="quartz")
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    options = parser.parse_args()
    reference = options.data / "quartz_pbe" / "SiO2-IR-dfpt.dat"
    if not reference.is_file():
        raise SystemExit(f"skipped: no reference data at {reference} (give --data)")
    model = load_model(options.model, dtype="float64")
    limit = harmonic_limit(model, start_structure(options.model, None), HarmonicSettings(primitive=True))
    text = report(limit, *read_dfpt(reference))
    print(text)
    if options.page:
        renew_section(options.page, "quartz", text)


def read_dfpt(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies [mode], cm^-1, and |p|^2 [mode], e^2/amu, of the optical modes; the file has (D/A)^2/amu."""
    rows = np.loadtxt(path)
    optical = rows[rows[:, 1] > 1.0]
    return optical[:, 1], optical[:, 3] * DEBYE_TO_E_ANGSTROM**2


def report(limit: HarmonicLimit, frequencies: np.ndarray, strengths: np.ndarray) -> str:
    """Tables: modes, longitudinal modes, sums."""
    assert limit.infrared is not None
    assert limit.cell is not None
    ours = (limit.infrared.charges**2).sum(axis=1)
    gap = limit.modes.frequencies_per_cm - frequencies
    lines = ["| symmetry | model, cm^-1 | DFPT, cm^-1 | model, e^2/amu | DFPT, e^2/amu |", "|---|---|---|---|---|"]
    for places in limit.modes.groups():
        cells = [
            limit.representations[int(places[0])] or "",
            f"{limit.modes.frequencies_per_cm[places].mean():.1f}",
            f"{frequencies[places].mean():.1f}",
            f"{ours[places].sum():.3f}",
            f"{strengths[places].sum():.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    theirs = dfpt_modes(limit, frequencies, strengths)
    lines += ["", "| waves along | LO - TO, model | LO - TO, DFPT | TO, DFPT |", "|---|---|---|---|"]
    worst = 0.0
    for name, direction in ALONG.items():
        for one, other in zip(splittings(limit.cell, direction), splittings(theirs, direction), strict=True):
            worst = max(worst, abs(_gap(one) - _gap(other)))
            lines.append(f"| {name} | {_gap(one):.1f} | {_gap(other):.1f} | {other.transverse_per_cm:.1f} |")
    correlation = np.corrcoef(ours, strengths)[0, 1]
    own, other_static = (np.diag(static_tensor(cell))[[0, 2]] for cell in (limit.cell, theirs))
    lines += [
        "",
        f"Transverse frequencies: mean absolute difference {np.abs(gap).mean():.1f} cm^-1, largest "
        f"{np.abs(gap).max():.1f}. Strengths: correlation {correlation:.4f}, sum {ours.sum() / strengths.sum():.3f} of "
        f"DFPT's. LO - TO: largest difference {worst:.1f} cm^-1. Static dielectric constant across and along the axis: "
        f"{own[0]:.2f}, {own[1]:.2f}; from DFPT's modes {other_static[0]:.2f}, {other_static[1]:.2f} (eps_inf "
        f"{limit.cell.eps_inf[0, 0]:.2f} in all).",
    ]
    return "\n".join(lines)


def dfpt_modes(limit: HarmonicLimit, frequencies: np.ndarray, strengths: np.ndarray) -> PolarModes:
    """The reference's polar modes: A2 along the axis, E across it, in the order of the model's."""
    assert limit.cell is not None
    charges = np.zeros((len(frequencies), 3))
    for places in limit.modes.groups():
        size = np.sqrt(strengths[places].mean())
        if len(places) == 2:
            charges[places[0], 0] = charges[places[1], 1] = size
        elif limit.representations[int(places[0])] == "A2":
            charges[places[0], 2] = size
    centred = frequencies.copy()
    for places in limit.modes.groups():
        centred[places] = frequencies[places].mean()
    return PolarModes(centred, charges, limit.cell.volume_A3, limit.cell.eps_inf)


def _gap(one: Splitting) -> float:
    return one.longitudinal_per_cm - one.transverse_per_cm


if __name__ == "__main__":
    main()
