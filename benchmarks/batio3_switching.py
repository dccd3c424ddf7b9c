"""Barium titanate without a reference: modes of its cells, a hysteresis loop, dynamics through a switch.

    python benchmarks/batio3_switching.py [--model FOLDER] [--page docs/batio3.md] [--only modes] [--ps 2]

What is printed must hold whatever the material: P changes by the integral of Z* along the displacements and never by a
quantum, the two branches of a loop are mirror images, imaginary modes are named, energy is conserved.  The model is
one trained with ``systems/batio3.yaml``; beside density-functional theory it stands in ``batio3_response.py``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from pages import renew_section

from spectra_app import born_charges, harmonic_limit, load_model
from spectra_app.config import HarmonicSettings, MDSettings
from spectra_app.harmonic.relaxation import relax
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials import Potential
from spectra_app.runs import read_run
from spectra_app.units import E_PER_A2_TO_C_PER_M2

CELL_A = (3.966, 4.304)  # of the data: a and c of one formula unit
OFFSET_A = 0.29  # how far Ti stands from the middle of its oxygens there
TITANIUM, OXYGEN = 22, 8


SECTIONS = ("modes", "hysteresis", "dynamics")
MODEL = "results/batio3"  # folder of a model trained with systems/batio3.yaml


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help="folder of a model trained with systems/batio3.yaml")
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="some of the tables")
    parser.add_argument("--ps", type=float, default=2.0, help="length of the dynamics")
    options = parser.parse_args()
    makers = {
        "modes": lambda: modes(load_model(options.model, dtype="float64")),
        "hysteresis": lambda: hysteresis(load_model(options.model, dtype="float64")),
        "dynamics": lambda: dynamics(load_model(options.model), options.ps),
    }
    write({name: makers[name] for name in options.only}, options.page)


def write(makers: Mapping[str, Callable[[], str]], page: Path | None) -> None:
    """Print every table as soon as it is there, and put it into the page."""
    for name, make in makers.items():
        text = make()
        print(text, end="\n\n", flush=True)
        if page:
            renew_section(page, f"batio3 {name}", text)


def unit_cell(offset_A: float = OFFSET_A, cell_A: tuple[float, float] = CELL_A) -> Atoms:
    """One formula unit, 5 atoms; Ti stands ``offset_A`` above the middle of its oxygens."""
    a, c = cell_A
    places = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)]
    atoms = Atoms("BaTiO3", scaled_positions=places, cell=(a, a, c), pbc=True)
    atoms.positions[1, 2] += 0.5 * offset_A
    atoms.positions[2:, 2] -= 0.5 * offset_A
    return atoms


def titanium_offsets(frame: Atoms) -> np.ndarray:
    """How far every Ti stands from the middle of its six nearest O [Ti, xyz], A."""
    first, second, distance, vectors = neighbor_list("ijdD", frame, 3.6)
    found = []
    for atom in np.flatnonzero(frame.numbers == TITANIUM):
        around = np.flatnonzero((first == atom) & (frame.numbers[second] == OXYGEN))
        found.append(-vectors[around[np.argsort(distance[around])[:6]]].mean(axis=0))
    return np.asarray(found)


def nearest(values: np.ndarray, quanta: np.ndarray) -> np.ndarray:
    """Values [..., xyz] less whole quanta [xyz], nearest to zero."""
    return values - np.round(values / quanta) * quanta


def computed(model: Potential, atoms: Atoms) -> Any:
    """The calculator of a copy without labels, called once."""
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    plain.calc = model.calculator()
    plain.get_potential_energy()
    return plain.calc


def modes(model: Potential) -> str:
    """Normal modes of the tetragonal and the cubic cell."""
    side = (CELL_A[0] ** 2 * CELL_A[1]) ** (1.0 / 3.0)
    starts: dict[str, tuple[Atoms, Literal["positions", "cell"]]] = {
        "tetragonal, cell of the data": (unit_cell(), "positions"),
        "tetragonal, relaxed cell": (unit_cell(), "cell"),
        "cubic, volume of the data": (unit_cell(0.0, (side, side)), "positions"),
        "cubic, relaxed cell": (unit_cell(0.0, (4.03, 4.03)), "cell"),
    }
    limits = {name: harmonic_limit(model, atoms, HarmonicSettings(relax=way)) for name, (atoms, way) in starts.items()}
    energies = {name: computed(model, limit.atoms).get_property("energy") for name, limit in limits.items()}
    lines = []
    for name, limit in limits.items():
        assert limit.infrared is not None
        born, (a, _, c) = born_charges(model, limit.atoms).born_e, limit.atoms.cell.lengths()
        dipole = nearest(computed(model, limit.atoms).get_property("dipole"), limit.atoms.cell.lengths())[2]
        polarization = dipole / limit.atoms.get_volume() * E_PER_A2_TO_C_PER_M2
        squares = (limit.infrared.charges**2).sum(axis=1)
        groups = [
            f"{limit.representations[int(group[0])] or ''} {_wave(limit.modes.frequencies_per_cm[group].mean())} "
            f"({squares[group].sum():.2f})"
            for group in limit.modes.groups()
        ]
        lines += [
            f"- **{name}** ({limit.spacegroup}): a {a:.3f} A, c/a {c / a:.3f}, Ti "
            f"{abs(titanium_offsets(limit.atoms)[0, 2]):.3f} A from the middle of its oxygens, "
            f"{1e3 * (energies[name] - min(energies.values())):.0f} meV per formula unit above the lowest; "
            f"Z* of Ti {_three(np.diag(born[1]))}, of O in the chain along c {_three(np.diag(born[2]))}, of Ba "
            f"{_three(np.diag(born[0]))}; P {abs(polarization):.3f} C/m^2.",
            f"  Modes, cm^-1 (sum of squared charges, e^2/amu): {', '.join(groups)}.",
            *(f"  Said: {warning}." for warning in limit.warnings),
        ]
    return "\n".join(lines)


def _wave(frequency: float) -> str:
    return f"{frequency:.0f}" if frequency >= 0.0 else f"**{-frequency:.0f}i**"


def _three(values: np.ndarray) -> str:
    return ", ".join(f"{value:+.2f}" for value in values)


class Branch(NamedTuple):
    """One way of a loop.

    Attributes:
        fields: [step], V/A, along the polar axis.
        atoms: [step], relaxed in that field, never wrapped.
        dipoles: [step], e A along the axis, P without alpha.F, as the positions stand.
    """

    fields: np.ndarray
    atoms: list[Atoms]
    dipoles: np.ndarray

    @property
    def switch(self) -> int:
        """The step before the largest change."""
        return int(np.abs(np.diff(self.dipoles)).argmax())


def hysteresis(model: Potential, largest: float = 0.6, step: float = 0.02) -> str:
    """A loop at zero temperature, and P through the switch against the integral of Z*."""
    fields = np.arange(largest, -largest - 0.5 * step, -step)
    down = follow(model, unit_cell(), fields)
    up = follow(model, down.atoms[-1], -fields)
    k = down.switch
    before, after = down.atoms[k], down.atoms[k + 1]
    per_area = E_PER_A2_TO_C_PER_M2 / before.get_volume()
    at_zero = np.interp(0.0, -down.fields, down.dipoles), np.interp(0.0, up.fields, up.dipoles)
    besides = np.delete(np.abs(np.diff(down.dipoles)), k)
    mirrored = down.dipoles + up.dipoles - (down.dipoles[0] + up.dipoles[0])
    rows = {
        "switch on the way down and up at, V/A": f"{down.fields[k + 1]:+.2f}, {up.fields[up.switch + 1]:+.2f}",
        "P at zero field, half the opening of the loop, C/m^2": f"{0.5 * (at_zero[0] - at_zero[1]) * per_area:.3f}",
        "Ti from the middle of its oxygens before and after the switch, A": f"{titanium_offsets(before)[0, 2]:+.3f}, "
        f"{titanium_offsets(after)[0, 2]:+.3f}",
        "jump of P, e A per formula unit": f"{down.dipoles[k + 1] - down.dipoles[k]:+.5f}",
        "integral of Z* dr along the jump, e A": f"{integral_of_born(model, before, after):+.5f}",
        "quantum e c, e A": f"{before.cell.lengths()[2]:.3f}",
        "largest change of P in another step of the field, e A": f"{besides.max():.3f}",
        "P(F) on the way down + P(-F) on the way up, largest, e A": f"{np.abs(mirrored).max():.1e}",
    }
    return "\n".join(["| one formula unit, cell of the data, 0 K | |", "|---|---|", *_rows(rows)])


def _rows(rows: dict[str, str]) -> list[str]:
    return [f"| {name} | {value} |" for name, value in rows.items()]


def follow(model: Potential, start: Atoms, fields: np.ndarray) -> Branch:
    """Relax in one field after the other, each from the structure before; positions are never wrapped."""
    atoms, found, dipoles = start, [], []
    for field in fields:
        calculator = model.calculator(field_V_per_A=(0.0, 0.0, float(field)))
        atoms = relax(atoms, calculator, force_eV_per_A=1e-4).atoms
        found.append(atoms.copy())
        dipoles.append(float(computed(model, atoms).get_property("dipole")[2]))
    return Branch(fields, found, np.asarray(dipoles))


def integral_of_born(model: Potential, before: Atoms, after: Atoms, points: int = 12) -> float:
    """Integral of Z*_z . dr along the straight line between two structures, e A (Gauss-Legendre)."""
    places, weights = np.polynomial.legendre.leggauss(points)
    moved, total = after.positions - before.positions, 0.0
    for place, weight in zip(0.5 * (places + 1.0), 0.5 * weights, strict=True):
        between = before.copy()
        between.positions += place * moved
        total += weight * float(np.einsum("ib,ib->", born_charges(model, between).born_e[:, 2], moved))
    return total


def dynamics(model: Potential, ps: float, largest: float = 0.3, temperature_K: float = 300.0) -> str:
    """40 atoms at 300 K in a field that falls from 0 to -``largest`` V/A and returns to 0."""
    half_fs = 500.0 * ps

    def field(time_fs: float) -> tuple[float, float, float]:
        return 0.0, 0.0, -largest * min(1.0, max(0.0, 1.5 - abs(time_fs / half_fs - 1.0) * 1.5))

    start = unit_cell().repeat((2, 2, 2))
    settings = MDSettings(
        timestep_fs=1.0,
        temperature_K=temperature_K,
        thermostat_time_fs=100.0,
        equilibration_steps=500,
        steps=round(1000 * ps),
        trajectory_stride=10,
        seed=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        Simulation(model, start, settings, Path(folder) / "run.h5", field=field).run()
        run = read_run(Path(folder) / "run.h5")
        dipole, conserved = np.asarray(run.dipole_eA)[:, 0, 2], np.asarray(run.conserved_eV)[:, 0]
        temperature, applied = np.asarray(run.temperature_K)[:, 0], np.asarray(run.field_V_per_A)[:, 2]
        positions = np.asarray(run.positions_A)[:, 0]
    first, last = (start.copy() for _ in range(2))
    first.positions, last.positions = positions[0], positions[-1]
    per_area, tenth = E_PER_A2_TO_C_PER_M2 / start.get_volume(), max(1, len(dipole) // 10)
    middle = 0.5 * (dipole[:tenth].mean() + dipole[-tenth:].mean())
    crossing = int(np.argmax(dipole < middle)) if dipole.min() < middle else -1
    slope = np.polyfit(np.arange(len(conserved)) * 1e-3, conserved, 1)[0] / len(start) * 1e3
    rows = {
        "mean temperature, K": f"{temperature.mean():.0f}",
        "P before and after less their mean, C/m^2": f"{(dipole[:tenth].mean() - middle) * per_area:+.3f}, "
        f"{(dipole[-tenth:].mean() - middle) * per_area:+.3f}",
        "field where P passes the middle, V/A": f"{applied[crossing]:+.3f}",
        "Ti from the middle of its oxygens before and after, mean, A": f"{titanium_offsets(first)[:, 2].mean():+.3f}, "
        f"{titanium_offsets(last)[:, 2].mean():+.3f}",
        "change of P from the first to the last frame, e A": f"{dipole[-1] - dipole[0]:+.3f}",
        "integral of Z* dr between them, e A": f"{integral_of_born(model, first, last, 8):+.3f}",
        "largest change of P in a step of 1 fs, e A (quantum e R)": f"{np.abs(np.diff(dipole)).max():.3f} "
        f"({start.cell.lengths()[2]:.2f})",
        "drift of the conserved energy, meV/atom/ps": f"{slope:+.3f}",
        "its spread, meV/atom": f"{conserved.std() / len(start) * 1e3:.3f}",
    }
    return "\n".join([f"| 40 atoms, {ps:g} ps, {temperature_K:g} K | |", "|---|---|", *_rows(rows)])


if __name__ == "__main__":
    main()
