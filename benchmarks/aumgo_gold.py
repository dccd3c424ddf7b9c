"""Au2 on MgO(001), pure and with aluminium 11 A below: does a model know which way the gold lies?

    python benchmarks/aumgo_gold.py sr=results/systems/aumgo-painn-sr-4min-0 qeq=... [--figure docs/aumgo_gold.png]

Trains nothing.  Every model relaxes Au2 upright over an oxygen and lying over two magnesiums, on the slab as it stands
in the data (the mean over all frames, which were rattled by 0.02 A; held fixed), with and without the dopant; then the
upright Au2 is lifted as it is.  Beside it stand the energies that the potential that made the labels has for these
structures.  On the pure slab lying Au2 is held there by symmetry: it would gain 0.6 eV by turning and sliding.
Energies of both forms on one slab are of the same atoms, so no constant is fitted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read
from ase.optimize import BFGS
from pages import renew_section

from spectra_app import load_model
from spectra_app.potentials import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system

GOLD = 79
TEACHER_MEV = {0: 948.0, 1: -18.0}  # E(lying) - E(upright) by the potential of the labels, by ``doped``
STARTS_A = {  # where gold begins: over an O of the surface, which is that of lower z; over Mg at x = 3.02 and 6.03
    "upright": np.array([[1.51, 1.51, 8.13], [1.51, 1.51, 5.60]]),
    "lying": np.array([[3.24, 6.03, 7.74], [5.81, 6.03, 7.74]]),
}
MOST_TURNED = 0.25  # sine of the angle by which Au2 may have turned
FORCE_TOLERANCE_EV_PER_A = 0.01
LIFTS_A = np.linspace(-0.2, 0.5, 15)  # as far as the data reach


class Relaxed(NamedTuple):
    """One relaxed structure.

    Attributes:
        energy_eV: its energy.
        atoms: the structure.
        kept: whether Au2 still points where it did at the beginning.
    """

    energy_eV: float
    atoms: Atoms
    kept: bool


def main() -> None:
    """Print the table, and write what was asked for."""
    options = read_options()
    path = options.data / "aumgo_4g" / "train.extxyz"
    if not path.is_file():
        raise SystemExit(f"skipped: no reference data at {path} (give --data)")
    torch.set_num_threads(1)
    frames: list[Atoms] = read(path, ":")  # type: ignore[assignment]
    found = {}
    for name, _, folder in (one.rpartition("=") for one in options.models):
        model = load_model(folder)
        found[name or model.variant.name] = study(model, frames)
        print(table({name or model.variant.name: found[name or model.variant.name]}), flush=True)
    text = table(found)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.page:
        renew_section(options.page, "aumgo gold", text)
    if options.figure:
        draw(found, options.figure)


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER", help="trained models, in the order of the table")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--figure", type=Path, help="write the figure to this file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--page", type=Path, help="renew the table between its marks in this page")
    return parser.parse_args()


def study(model: Potential, frames: list[Atoms]) -> dict[str, Any]:
    """Relaxed energies and curves of one model; keys as ``table`` and ``draw`` read them."""
    out: dict[str, Any] = {}
    for doped in (0, 1):
        of_kind = [atoms for atoms in frames if int(atoms.info["doped"]) == doped]
        slab = mean_slab(of_kind)
        best = {form: relax_gold(model, slab, start) for form, start in STARTS_A.items()}
        difference = 1e3 * (best["lying"].energy_eV - best["upright"].energy_eV)
        upright = best["upright"].atoms
        out[str(doped)] = {
            "lying_minus_upright_meV": difference,
            "kept": bool(best["lying"].kept and best["upright"].kept),
            "gold_charge_e": {form: gold_charge(model, one.atoms) for form, one in best.items()},
            "frames_height_A": float(np.mean([lowest_height(a) for a in of_kind if stands(a)])),
            "height_A": (lowest_height(upright) + LIFTS_A).tolist(),
            "lifted_eV": [energy_of(model, lifted(upright, lift)) for lift in LIFTS_A],
        }
    return out


def mean_slab(frames: list[Atoms]) -> Atoms:
    """The first frame with all atoms but the gold at their mean places."""
    first = frames[0].copy()
    lengths = first.cell.lengths()
    moved = np.stack([atoms.positions - first.positions for atoms in frames])
    moved -= np.round(moved / lengths) * lengths  # the cell is a box
    still = first.numbers != GOLD
    first.positions[still] += moved.mean(axis=0)[still]
    return first


def stands(atoms: Atoms) -> bool:
    """Whether Au2 is upright."""
    first, second = atoms.positions[atoms.numbers == GOLD]
    return bool(abs(second[2] - first[2]) > np.linalg.norm((second - first)[:2]))


def lowest_height(atoms: Atoms) -> float:
    """Distance of the nearer gold atom from the mean plane of the surface it stands on (the side of lower z), A."""
    gold = atoms.numbers == GOLD
    slab = atoms.positions[~gold, 2]
    surface = slab[slab < slab.min() + 1.0].mean()
    return float(surface - atoms.positions[gold, 2].max())


def relax_gold(model: Potential, slab: Atoms, start_A: np.ndarray) -> Relaxed:
    """Au2 from a start [gold, xyz], the slab held."""
    gold = slab.numbers == GOLD
    atoms = slab.copy()
    atoms.positions[gold] = start_A
    atoms.set_constraint(FixAtoms(mask=~gold))
    atoms.calc = model.calculator()
    with BFGS(atoms, logfile=None) as search:
        search.run(fmax=FORCE_TOLERANCE_EV_PER_A, steps=100)
    first, second = atoms.positions[gold]
    turned = np.cross(start_A[1] - start_A[0], second - first)
    sine = np.linalg.norm(turned) / np.linalg.norm(start_A[1] - start_A[0]) / np.linalg.norm(second - first)
    return Relaxed(float(atoms.get_potential_energy()), atoms.copy(), bool(sine < MOST_TURNED))


def lifted(atoms: Atoms, lift_A: float) -> Atoms:
    """Au2 further away from the surface, as it is."""
    out = atoms.copy()
    out.positions[out.numbers == GOLD, 2] -= lift_A
    return out


def energy_of(model: Potential, atoms: Atoms) -> float:
    """Energy of a structure, eV."""
    one = atoms.copy()
    one.calc = model.calculator()
    return float(one.get_potential_energy())


def gold_charge(model: Potential, atoms: Atoms) -> float:
    """Latent charge of both gold atoms together, e."""
    system = make_system(atoms.positions, atoms.numbers, atoms.cell.array)
    neighbors = build_neighbors(system, model.cutoff)
    single, pairs = system.to(dtype=model.dtype), neighbors.to(dtype=model.dtype)
    found = model(single, pairs, forces=False, polarizability=False)
    return float(found.charges[torch.as_tensor(atoms.numbers == GOLD)].sum())


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each model, the labels' own first."""
    lines = [
        "| variant | undoped, meV | doped, meV | charge of Au2, undoped: upright, lying | doped |",
        "|---|---|---|---|---|",
        f"| labels | {TEACHER_MEV[0]:+.0f} | {TEACHER_MEV[1]:+.0f} | | |",
    ]
    for name, both in found.items():
        numbers = [f"{both[d]['lying_minus_upright_meV']:+.0f}{'' if both[d]['kept'] else ' (turned)'}" for d in "01"]
        charges = [", ".join(f"{both[d]['gold_charge_e'][form]:+.2f}" for form in STARTS_A) for d in "01"]
        lines.append(f"| `{name}` | {' | '.join(numbers + charges)} |")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Energies of lying against upright Au2, and the curves of the lifted one: of the first and of the last model.

    Dotted: mean heights of upright Au2 in the frames.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, *curves = figure.subplots(1, 3, width_ratios=[1.3, 1.0, 1.0])
    names = ["labels", *found]
    for doped, color, word in ((0, "C0", "pure"), (1, "C3", "with Al")):
        values = [TEACHER_MEV[doped], *(both[str(doped)]["lying_minus_upright_meV"] for both in found.values())]
        places = np.arange(len(names)) + (0.2 if doped else -0.2)
        left.bar(places, values, 0.38, color=color, label=word)
    left.set_xticks(np.arange(len(names)), names, rotation=60)
    left.axhline(0.0, color="0.4", lw=0.8)
    left.set_ylabel("E(lying) - E(upright), meV")
    left.set_ylim(top=1.35 * max(TEACHER_MEV.values()))
    left.legend(frameon=False)
    curves[1].sharex(curves[0])
    curves[1].sharey(curves[0])
    for axes, name in zip(curves, (next(iter(found)), list(found)[-1]), strict=True):
        for doped, color, word in ((0, "C0", "pure"), (1, "C3", "with Al")):
            one = found[name][str(doped)]
            energies = np.array(one["lifted_eV"])
            axes.plot(one["height_A"], energies - energies.min(), color=color, label=word)
            axes.axvline(one["frames_height_A"], color=color, lw=0.8, ls=":")
        axes.set_title(name)
        axes.set_xlabel("height of the nearer Au, A")
    curves[0].set_ylabel("energy of upright Au2, eV")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
