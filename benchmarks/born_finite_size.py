"""Finite-size error of Born charges from a periodic P(k) of atomic charges, isolated from everything else.

    python benchmarks/born_finite_size.py                                   # the shipped models that fit
    python benchmarks/born_finite_size.py --quartz FOLDER --figure docs/born_finite_size.png --json numbers.json

One model, one set of latent charges q_i = z_i + sum_j p_ij, two formulas for their part of Z*: the pairs' own vectors
(exact in any cell) and the derivative of P(k) at the smallest k of the cell.  Both have the same limit in a large cell,
and the part of the latent dipoles is the same in both; what differs is the finite-size error.  The structure is
repeated 1x1x1, 2x2x2, ...: nothing changes but the k that the cell allows.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.spacegroup import crystal

from spectra_app.electrostatics.polarization import (
    atomic_born_charges,
    atomic_moments,
    gradient_of_vector,
    pair_moments,
)
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.zoo import model_names

WATER_REPEATS, QUARTZ_REPEATS = (1, 2, 3), (1, 2, 3, 4, 6)
FULL_MOST_ATOMS = 2000  # up to here the whole Born charges of the repeated cell are compared too


@dataclass(frozen=True)
class Row:
    """One cell of one material; charges in e, physical (scaled with eps_e).

    Attributes:
        material: its name.
        repeat: the structure is repeated so often along each vector.
        n_atoms: of the repeated cell.
        length_A: cube root of its volume.
        born_rms_e: root mean square component of Z*, dipoles included.
        charges_rms_e: the same of the part of the charges, without the dipoles.
        error_rms_e: of the periodic form.
        error_max_e: largest component of the same.
        sum_rule_e: largest component of sum_i Z*_i over the atoms of the unrepeated cell, per atom, periodic form.
        pair_sum_rule_e: the same of the pair form.
        pair_change_e: largest change of the pair form against the unrepeated cell.
        full_change_e: the same of the whole Z*, with dipoles and response; NaN where the cell is too large.
        seconds: of one core, both forms.
    """

    material: str
    repeat: int
    n_atoms: int
    length_A: float
    born_rms_e: float
    charges_rms_e: float
    error_rms_e: float
    error_max_e: float
    sum_rule_e: float
    pair_sum_rule_e: float
    pair_change_e: float
    full_change_e: float
    seconds: float


def quartz() -> Atoms:
    """Alpha-quartz (P3_2 2 1), nine atoms, as measured by Levien, Prewitt and Weidner, Am. Mineral. 65, 920 (1980)."""
    places = [(0.4697, 0.0, 2.0 / 3.0), (0.4135, 0.2669, 0.1191 + 2.0 / 3.0)]
    return crystal(["Si", "O"], places, spacegroup=154, cellpar=[4.916, 4.916, 5.4054, 90, 90, 120])


def charge_parts(model: Potential, atoms: Atoms, n_home: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Part of the permanent latent charges in Z* of the first atoms, by both formulas [atom, field, displacement].

    Latent charges are semi-local, so no lattice sum enters, and cells of thousands of atoms take seconds.
    """
    system = from_ase(atoms, dtype=model.dtype)
    neighbors = build_neighbors(system, model.cutoff)
    with torch.enable_grad():
        system = system._replace(positions=system.positions.detach().requires_grad_(True))
        species = model.species_index[system.numbers]
        pair = PairGeometry(system, neighbors, model.cutoff)
        features = model.backbone(system, species, neighbors, pair)
        unit = model.scale.charge_units(system)
        own = system._replace(charge=model.sign * unit * system.charge)  # as in Potential.evaluate
        sigma = model.widths[0] if len(set(model.widths)) == 1 else Smearing(model.widths, species)
        latents = model.latent_head(own, species, neighbors, pair, features, unit, sigma)
        moments = atomic_moments(system, latents.fixed_charges, None) + pair_moments(latents.moved, pair.vectors)
        by_pairs = gradient_of_vector(moments.sum(0), system.positions)[:n_home]
        by_k = atomic_born_charges(system, latents.multipoles.charges, None)[:n_home]
    return by_pairs.detach(), by_k.detach()


def measure(material: str, model: Potential, atoms: Atoms, repeats: tuple[int, ...]) -> list[Row]:
    """One row per repeated cell."""
    small = from_ase(atoms, dtype=model.dtype)
    neighbors = build_neighbors(small, model.cutoff)
    whole = model.born_charges(small, neighbors)
    scale = float(torch.sqrt(model.scale.eps_e_of(small)[0]))  # latent to physical
    rows: list[Row] = []
    first = None
    for repeat in repeats:
        cell = atoms.repeat(repeat)
        began = time.process_time()
        by_pairs, by_k = (scale * part for part in charge_parts(model, cell, len(atoms)))
        seconds = time.process_time() - began
        first = by_pairs if first is None else first
        change = float("nan")
        if len(cell) <= FULL_MOST_ATOMS:
            system = from_ase(cell, dtype=model.dtype)
            again = model.born_charges(system, build_neighbors(system, model.cutoff))[: len(atoms)]
            change = float((again - whole).abs().max())
        error = by_k - by_pairs
        rows.append(
            Row(
                material,
                repeat,
                len(cell),
                float(cell.get_volume() ** (1.0 / 3.0)),
                float(whole.square().mean().sqrt()),
                float(by_pairs.square().mean().sqrt()),
                float(error.square().mean().sqrt()),
                float(error.abs().max()),
                float(by_k.sum(0).abs().max()) / len(atoms),
                float(by_pairs.sum(0).abs().max()) / len(atoms),
                float((by_pairs - first).abs().max()),
                change,
                seconds,
            )
        )
        print(_line(rows[-1]), flush=True)
    return rows


HEADER = (
    "| cell | atoms | length, A | RMS error, e | largest, e | of Z* | of the charges' part | sum rule, e per atom "
    "| pair form: sum rule | pair form: change | whole Z*: change | core s |"
)


def _line(row: Row) -> str:
    name = f"{row.material} {row.repeat}x{row.repeat}x{row.repeat}"
    return (
        f"| {name} | {row.n_atoms} | {row.length_A:.1f} | {row.error_rms_e:.5f} | {row.error_max_e:.4f} "
        f"| {100 * row.error_rms_e / row.born_rms_e:.1f} % "
        f"| {100 * row.error_rms_e / row.charges_rms_e:.1f} % | {row.sum_rule_e:.5f} | {row.pair_sum_rule_e:.0e} "
        f"| {row.pair_change_e:.0e} | {'' if np.isnan(row.full_change_e) else f'{row.full_change_e:.0e}'} "
        f"| {row.seconds:.1f} |"
    )


def draw(rows: list[Row], path: Path) -> None:
    """RMS error against the length of the cell, with lines of slope -2 through the last points."""
    from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, house_style, new_figure, save_figure

    with house_style():
        figure = new_figure("one")
        axes = figure.add_subplot()
        for colour, material in zip(PALETTE, dict.fromkeys(row.material for row in rows), strict=False):
            own = [row for row in rows if row.material == material]
            length = np.array([row.length_A for row in own])
            error = np.array([row.error_rms_e for row in own])
            axes.loglog(length, error, "o-", color=colour, label=f"{material}, $P(k)$", ms=4, lw=1)
            axes.loglog(length, error[-1] * (length / length[-1]) ** -2.0, ":", color=MUTED_COLOUR, lw=1)
        axes.plot([], [], ":", color=MUTED_COLOUR, lw=1, label=r"slope $-2$")
        axes.set_xlabel(r"cell length $V^{1/3}$, Å")
        axes.set_ylabel("RMS error of Z*, e")
        axes.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
        axes.set_xticks([], minor=True)
        axes.legend()
        save_figure(figure, path)


def main() -> None:
    """Print the table; write figure and numbers where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--water", default="water", help="model of water with pair charges")
    parser.add_argument("--quartz", default="quartz" if "quartz" in model_names() else None, help="model of quartz")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEADER + "\n" + "|---" * 12 + "|")
    water = start_structure("water", None)
    rows = measure("water", load_model(options.water, dtype="float64"), water, WATER_REPEATS)
    if options.quartz is not None:
        rows += measure("quartz", load_model(options.quartz, dtype="float64"), quartz(), QUARTZ_REPEATS)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"largest memory {memory:.1f} GB")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if options.figure is not None:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
