"""What the recipe of quartz gives, as the tables of its page: every mode in dynamics beside its harmonic frequency.

    spectra-app run workflows/quartz.yaml
    python benchmarks/quartz_recipe.py [--results results/quartz] [--page docs/quartz.md]

The line of a mode is that of its own coordinate (shifts.csv); maxima are those of the spectra of the oriented crystal
in which the species is alone: A2 in eps'' along z, E in eps'' across it and in z(xy)z, A1 in x(zz)x.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from pages import renew_section
from scipy.signal import find_peaks

NEAR_PER_CM = 20.0  # of the mode's own line, or of its harmonic frequency
PROMINENT = 0.02  # of the highest point of the channel


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/quartz"))
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    options = parser.parse_args()
    if not (options.results / "shifts.csv").is_file():
        raise SystemExit(f"skipped: no results in {options.results} (run the recipe, or give --results)")
    text = report(options.results)
    print(text)
    if options.page:
        renew_section(options.page, "recipe", text)


def report(folder: Path) -> str:
    """The table of modes, and the run in a sentence."""
    comments, shifts = read_table(folder / "shifts.csv")
    infrared, raman = (read_columns(folder / f"{name}.csv") for name in ("ir", "raman"))
    across = 0.5 * (infrared["eps_imag_xx"] + infrared["eps_imag_yy"])
    channels = {
        ("infrared", "A2"): (infrared["wavenumber_per_cm"], infrared["eps_imag_zz"]),
        ("infrared", "E"): (infrared["wavenumber_per_cm"], across),
        ("Raman", "A1"): (raman["wavenumber_per_cm"], raman["x(zz)x"]),
        ("Raman", "E"): (raman["wavenumber_per_cm"], raman["z(xy)z"]),
    }
    lines = [
        "| symmetry | harmonic | its line in dynamics | shift | width | infrared maximum | Raman maximum |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in shifts:
        name = row["representation"]
        expected = float(row["md_per_cm"] or row["harmonic_per_cm"])
        found = [maximum(channels, (kind, name), expected) for kind in ("infrared", "Raman")]
        line, shift, width = "", "", ""
        if row["md_per_cm"]:
            line = with_error(row["md_per_cm"], row["md_error_per_cm"])
            shift = f"{float(row['shift_per_cm']):+.1f}"
            narrow = float(row["width_per_cm"]) < 1.3 * float(row["resolution_per_cm"])
            width = f"< {1.3 * float(row['resolution_per_cm']):.0f}" if narrow else f"{float(row['width_per_cm']):.0f}"
        lines.append(
            f"| {name} | {float(row['harmonic_per_cm']):.1f} | {line} | {shift} | {width} | {' | '.join(found)} |"
        )
    run = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["run"]
    lines += [
        "",
        f"All in cm^-1; {run['n_replicas']} x {run['duration_ps']:.0f} ps at {run['temperature_K']:.0f} +- "
        f"{run['temperature_error_K']:.0f} K. {comments[0].rpartition('; ')[2]}.",
    ]
    return "\n".join(lines)


def maximum(
    channels: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], channel: tuple[str, str], expected: float
) -> str:
    """Wavenumber of the highest maximum of a channel near a mode; empty where there is none."""
    if channel not in channels:
        return ""
    nu, values = channels[channel]
    tops, _ = find_peaks(values, prominence=PROMINENT * values.max())
    near = [top for top in tops if abs(nu[top] - expected) < NEAR_PER_CM]
    if not near:
        return ""
    top = max(near, key=lambda place: values[place])
    left, middle, right = np.log(values[top - 1 : top + 2])  # a parabola in the logarithm: exact for a Gaussian
    return f"{nu[top] + 0.5 * (nu[1] - nu[0]) * (left - right) / (left - 2.0 * middle + right):.0f}"


def with_error(value: str, error: str) -> str:
    return f"{float(value):.1f} +- {float(error):.1f}" if error else f"{float(value):.1f}"


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Lines of comment, and rows of a CSV."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [line for line in lines if line.startswith("#")], list(rows)


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a spectrum by name, units left out."""
    _, rows = read_table(path)
    return {name.partition(" [")[0]: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


if __name__ == "__main__":
    main()
