r"""The sum-frequency spectrum of the surface of the shipped model's water beside what is published of measured ones.

    python benchmarks/water_interface.py --make slab.extxyz
    spectra-app md slab.extxyz -m water -o slab.h5 --parts molecules --ensemble nvt --timestep-fs 0.75 --steps 70000 \
        --temperature-K 298 --equilibration-steps 7000 --record-stride 4 --trajectory-stride 40
    spectra-app sfg slab.h5 -o sfg --resolution-per-cm 80 --width-A 9
    python benchmarks/water_interface.py --results sfg.csv --page docs/spectra.md --figure docs/water_sfg.png

Published: Im chi(2) of the air/water interface (ssp) by phase-sensitive detection, Nihonyanagi, Kusaka, Inoue,
Adhikari, Yamaguchi and Tahara, J. Chem. Phys. 143, 124707 (2015), DOI 10.1063/1.4931485: a positive line of O-H that
points out of the water near 3700 cm^-1, a negative band of hydrogen-bonded O-H from some 3200 to 3500 cm^-1, and below
it no positive band, which earlier measurements had.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from pages import renew_section
from quartz_recipe import read_columns

from spectra_app import load_model
from spectra_app.jobs.structures import read_structure
from spectra_app.zoo import find_model

N_MOLECULES = 96
HEIGHT_A = 60.0  # of the box, of no meaning to a slab
BOND_A = 1.25
RELAXED_EV_PER_A = 0.5


class Feature(NamedTuple):
    """A window of the spectrum, and what measurement has there.

    Attributes:
        name: of the band.
        window_per_cm: where to look, cm^-1.
        sign: of the measured band.
        measured: in words.
    """

    name: str
    window_per_cm: tuple[float, float]
    sign: int
    measured: str


FEATURES = (
    Feature("O-H pointing out", (3640.0, 3950.0), 1, "positive, near 3700"),
    Feature("hydrogen-bonded O-H", (3150.0, 3640.0), -1, "negative, 3200 to 3500"),
    Feature("below", (2700.0, 3150.0), 0, "no positive band"),
)


def main() -> None:
    """Make the slab, or print what its spectrum shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=Path, help="write the slab here, and end")
    parser.add_argument("--results", type=Path, default=Path("sfg.csv"))
    parser.add_argument("--page", type=Path, help="renew the table in this page")
    parser.add_argument("--figure", type=Path, help="draw Im chi(2)")
    options = parser.parse_args()
    if options.make is not None:
        made = slab(read_structure(find_model("water") / "start.extxyz"))
        made.calc = load_model("water").calculator()
        FIRE(made, logfile=None).run(fmax=RELAXED_EV_PER_A, steps=200)  # fresh surfaces would throw molecules off
        write(options.make, Atoms(made.numbers, made.positions, cell=made.cell, pbc=made.pbc))
        return
    if not options.results.is_file():
        raise SystemExit(f"skipped: no spectrum {options.results} (make one as above)")
    columns = read_columns(options.results)
    text = report(columns)
    print(text)
    if options.page is not None:
        renew_section(options.page, "interface", text)
    if options.figure is not None:
        draw(columns, options.figure)


def slab(liquid: Atoms) -> Atoms:
    """The lower molecules of two cells of the liquid on top of each other, whole, normal along z."""
    double = liquid.repeat((1, 1, 2))
    first, second, vectors = neighbor_list("ijD", double, BOND_A)
    molecules = []
    for oxygen in np.flatnonzero(double.numbers == 8):
        bonds = vectors[(first == oxygen) & (double.numbers[second] == 1)]
        assert len(bonds) == 2, f"oxygen {oxygen} has {len(bonds)} hydrogen atoms"
        place = double.positions[oxygen] * [1, 1, 0] + [0, 0, double.positions[oxygen, 2] % double.cell[2, 2]]
        molecules.append(np.vstack([place, place + bonds]))
    lowest = sorted(molecules, key=lambda molecule: molecule[0, 2])[:N_MOLECULES]
    cell = [*liquid.cell.lengths()[:2], HEIGHT_A]
    made = Atoms("OH2" * N_MOLECULES, np.vstack(lowest), cell=cell, pbc=(True, True, False))
    made.positions[:, 2] += 0.5 * HEIGHT_A - made.positions[:, 2].mean()
    return made


def report(columns: dict[str, np.ndarray]) -> str:
    """Table of the features: the extreme of each window and its integral with error."""
    nu = columns["wavenumber_per_cm"]
    values, errors = columns["ssp_imag"], columns["ssp_imag_error"]
    lines = ["| | here: extreme, cm^-1 | height, 1e-22 m^2/V | measured |", "|---|---|---|---|"]
    for feature in FEATURES:
        inside = (nu >= feature.window_per_cm[0]) & (nu < feature.window_per_cm[1])
        signed = values[inside] * (feature.sign or 1)
        top = int(signed.argmax())
        lines.append(
            f"| {feature.name} | {nu[inside][top]:.0f} | {values[inside][top]:+.2f} +- {errors[inside][top]:.2f} | "
            f"{feature.measured} |"
        )
    return "\n".join(lines)


def draw(columns: dict[str, np.ndarray], path: Path) -> None:
    """Im chi(2) of the O-H stretch with its error; grey: where the measured bands are."""
    import matplotlib.pyplot as plt

    nu, values, errors = columns["wavenumber_per_cm"], columns["ssp_imag"], columns["ssp_imag_error"]
    inside = (nu >= 2700.0) & (nu <= 4100.0)
    figure, panel = plt.subplots(figsize=(7.0, 3.5), layout="constrained")
    panel.axhline(0.0, color="black", lw=0.6)
    for (begin, end), word in (((3200.0, 3500.0), "measured: negative"), ((3660.0, 3740.0), "positive")):
        panel.axvspan(begin, end, color="0.9")
        panel.text(
            0.5 * (begin + end), 0.97, word, transform=panel.get_xaxis_transform(), ha="center", va="top", size=8
        )
    panel.fill_between(nu[inside], (values - errors)[inside], (values + errors)[inside], alpha=0.3, lw=0)
    panel.plot(nu[inside], values[inside])
    panel.set(xlim=(2700, 4100), xlabel="wavenumber (cm$^{-1}$)", ylabel="Im $\\chi^{(2)}_{ssp}$ (10$^{-22}$ m$^2$/V)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
