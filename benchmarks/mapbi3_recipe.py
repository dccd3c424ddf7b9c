"""Bands of MAPbI3 in the results of the recipe beside normal modes and published ones, as a table of its page.

    spectra-app run mapbi3
    spectra-app harmonic models/mapbi3/start.extxyz -m mapbi3 -o results/mapbi3_harmonic --max-steps 3000
    python benchmarks/mapbi3_recipe.py --results results/mapbi3 --harmonic results/mapbi3_harmonic --page docs/mapbi3.md

A band is a window: its place the highest maximum in it, its strength the integral of alpha n as what it is of the
f-sum, sum |p|^2 in e^2/amu of four formula units (docs/theory.md, "f-sum rule").  Published: frequencies and infrared
activities of the harmonic modes by perturbation theory (PBEsol) of Brivio et al., Phys. Rev. B 92, 144308 (2015), DOI
10.1103/PhysRevB.92.144308, tables MAPbI3-Orthorhombic_PeakTable.csv and MAPbI3-Tetragonal_PeakTable.csv in
https://github.com/WMD-group/Phonons, summed over each window.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pages import renew_section
from quartz_recipe import read_columns, read_table
from scipy.signal import find_peaks

from spectra_app.jobs.structures import read_structure
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, EPSILON_0, SPEED_OF_LIGHT_CM_PER_FS
from spectra_app.zoo import find_model

PROMINENT = 0.1  # of the highest point of the window


class Band(NamedTuple):
    """A window of the spectra, with what is published of it.

    Attributes:
        name: what moves.
        window_per_cm: where it begins and ends, cm^-1.
        modes: where the harmonic modes lie, orthorhombic; tetragonal, cm^-1.
        activity: their infrared activities, summed, orthorhombic and tetragonal, e^2/amu of four formula units.
    """

    name: str
    window_per_cm: tuple[float, float]
    modes: str
    activity: tuple[float, float]


BANDS = (
    Band("cage, CH3NH3 as a whole", (10.0, 110.0), "15-104; 17-110", (3.01, 3.32)),
    Band("CH3NH3 turning and moving", (110.0, 220.0), "110-155; 112-172", (0.89, 0.62)),
    Band("torsion about C-N", (220.0, 480.0), "370-372; 302-310", (0.01, 0.05)),
    Band("rocking", (800.0, 950.0), "893-905; 884-906", (1.22, 0.56)),
    Band("C-N stretch", (950.0, 1100.0), "1006-1008; 1008-1010", (0.06, 0.07)),
    Band("rocking", (1150.0, 1330.0), "1237-1244; 1224-1235", (0.15, 0.11)),
    Band("CH3 and NH3 bends", (1330.0, 1500.0), "1379-1431; 1373-1458", (0.58, 0.67)),
    Band("NH3 bends", (1500.0, 1700.0), "1545-1561; 1532-1563", (0.06, 1.75)),
    Band("C-H and N-H stretches", (2800.0, 3500.0), "2971-3139; 2978-3230", (16.0, 12.2)),
)


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/mapbi3"))
    parser.add_argument("--harmonic", type=Path, default=Path("results/mapbi3_harmonic"))
    parser.add_argument("--page", type=Path, help="renew the table in this page")
    parser.add_argument("--figure", type=Path, help="draw both spectra with the normal modes")
    options = parser.parse_args()
    if not (options.results / "ir.csv").is_file():
        raise SystemExit(f"skipped: no results in {options.results} (run the recipe, or give --results)")
    text = report(options.results, options.harmonic)
    print(text)
    if options.page:
        renew_section(options.page, "recipe", text)
    if options.figure:
        draw(options.results, options.harmonic, options.figure)


def report(folder: Path, harmonic: Path) -> str:
    """The table of bands, and the run in a sentence."""
    infrared, raman = (read_columns(folder / f"{name}.csv") for name in ("ir", "raman"))
    nu, strength = normal_modes(harmonic / "modes.csv")
    axis, absorption = infrared["wavenumber_per_cm"], infrared["alpha_n_per_cm"]
    volume = read_structure(find_model("mapbi3") / "start.extxyz").get_volume()
    lines = [
        "| band | infrared | Raman | normal modes | of DFPT | strength | of normal modes | of DFPT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    total = np.zeros(4)
    for band in BANDS:
        tops = [
            maxima(spectrum["wavenumber_per_cm"], spectrum[column], band.window_per_cm)
            for spectrum, column in ((infrared, "alpha_n_per_cm"), (raman, "total"))
        ]
        inside = (nu >= band.window_per_cm[0]) & (nu < band.window_per_cm[1])
        sums = np.array(
            [activity(axis, absorption, band.window_per_cm, volume), strength[inside].sum(), *band.activity]
        )
        total += sums
        span = f"{nu[inside].min():.0f}-{nu[inside].max():.0f}" if inside.any() else ""
        lines.append(
            f"| {band.name} | {tops[0]} | {tops[1]} | {span} | {band.modes} | {sums[0]:.2f} | {sums[1]:.2f} | "
            f"{sums[2]:.2f}; {sums[3]:.2f} |"
        )
    run = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["run"]
    lines += [
        f"| all |  |  |  |  | {total[0]:.1f} | {total[1]:.1f} | {total[2]:.1f}; {total[3]:.1f} |",
        "",
        f"cm^-1; strength in e^2/amu of four formula units; DFPT: orthorhombic; tetragonal. {run['n_replicas']} x "
        f"{run['duration_ps']:.0f} ps at {run['temperature_K']:.0f} +- {run['temperature_error_K']:.0f} K.",
    ]
    return "\n".join(lines)


def draw(folder: Path, harmonic: Path, path: Path) -> None:
    """Infrared and Raman spectrum, cage and molecules apart, each scaled to its highest point; lines: normal modes."""
    import matplotlib.pyplot as plt

    nu, strength = normal_modes(harmonic / "modes.csv")
    figure, panels = plt.subplots(2, 2, figsize=(9.0, 5.0), width_ratios=(1, 2.5), layout="constrained")
    spectra = [read_columns(folder / f"{name}.csv") for name in ("ir", "raman")]
    names = (("alpha_n_per_cm", "infrared, absorption"), ("total", "Raman"))
    for row, (spectrum, (column, words)) in zip(panels, zip(spectra, names, strict=True), strict=True):
        axis, values, errors = spectrum["wavenumber_per_cm"], spectrum[column], spectrum[f"{column}_error"]
        for panel, (begin, end) in zip(row, ((10.0, 400.0), (800.0, 3450.0)), strict=True):
            inside = (axis >= begin) & (axis <= end)
            top = values[inside].max()
            panel.plot(axis[inside], values[inside] / top, color="tab:blue", lw=1.2)
            low, high = (values - errors)[inside] / top, (values + errors)[inside] / top
            panel.fill_between(axis[inside], low, high, color="tab:blue", alpha=0.25, lw=0)
            if column != "total":
                near = (nu >= begin) & (nu <= end)
                panel.vlines(nu[near], 0.0, strength[near] / strength[near].max(), color="tab:orange", lw=0.8)
            panel.set(xlim=(begin, end), ylim=(0.0, 1.25), yticks=[], xlabel="wavenumber (cm$^{-1}$)")
        row[0].set_ylabel(words)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def normal_modes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers, cm^-1, and |p|^2, e^2/amu, of the modes in a table of ``harmonic``."""
    _, rows = read_table(path)
    nu = np.array([float(row["wavenumber_per_cm"]) for row in rows])
    squares = [[float(row[f"dipole_derivative_{axis}_e_per_sqrt_amu"]) ** 2 for axis in "xyz"] for row in rows]
    return nu, np.sum(squares, axis=1)


def activity(axis: np.ndarray, absorption: np.ndarray, window: tuple[float, float], volume_A3: float) -> float:
    """Sum of |p|^2 of a window, e^2/amu, from the integral of alpha n (cm^-1 over cm^-1)."""
    inside = (axis >= window[0]) & (axis < window[1])
    area = np.trapezoid(absorption[inside], axis[inside])
    return float(12.0 * EPSILON_0 * SPEED_OF_LIGHT_CM_PER_FS**2 * volume_A3 * area * AMU_A2_PER_FS2_TO_EV)


def maxima(axis: np.ndarray, values: np.ndarray, window: tuple[float, float], most: int = 2) -> str:
    """Wavenumbers of the highest maxima in a window, the highest first."""
    inside = np.flatnonzero((axis >= window[0]) & (axis < window[1]))
    tops, _ = find_peaks(values[inside], prominence=PROMINENT * values[inside].max())
    highest = sorted(tops, key=lambda place: -values[inside][place])[:most]
    return ", ".join(f"{axis[inside][place]:.0f}" for place in highest)


if __name__ == "__main__":
    main()
