"""Barium titanate: Born charges, polarization and polarizability beside density-functional theory.

    python benchmarks/batio3_response.py [--model FOLDER] [--page docs/batio3.md] [--only born]

The model learned energies, forces and stress of 47 configurations of the tetragonal phase (``spectra-app train`` with
the settings of ``systems/batio3.yaml``).  The reference is Born charges, polarization (up to quanta) and polarizability
of eight other configurations by finite fields (Quantum ESPRESSO, PBE), which no training saw.  Needs the reference data
of development (--data); says so and stops where it is missing.  Modes and switching: ``batio3_switching.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from batio3_switching import MODEL, OXYGEN, TITANIUM, computed, nearest, titanium_offsets, write

from spectra_app import born_charges, load_model
from spectra_app.born.tensors import regression_slope, symmetric_eigenvalues
from spectra_app.potentials import Potential
from spectra_app.training.evaluation import pearson, r_squared, read_structures, rmse, slope
from spectra_app.units import E_PER_A2_TO_C_PER_M2, EPSILON_0, EV_PER_A3_TO_GPA

SECTIONS = ("errors", "scale", "born", "polarization")
DENSE_EPS_INF = 6.5  # cubic phase, dense meshes of k
ALONG, ACROSS = "along the polar axis", "across it"
ORDER = [
    *(f"{symbol}, {way}" for symbol in ("Ba", "Ti") for way in (ALONG, ACROSS)),
    f"O, parallel to Ti-O-Ti, {ALONG}",
    f"O, parallel to Ti-O-Ti, {ACROSS}",
    "O, perpendicular to Ti-O-Ti",
    *(f"off the diagonal, {symbol}" for symbol in ("Ba", "Ti", "O")),
]


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default=MODEL, help="folder of a model trained with systems/batio3.yaml")
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="some of the tables")
    options = parser.parse_args()
    reference = options.data / "batio3_pbe" / "response_check.extxyz"
    if not reference.is_file():
        raise SystemExit(f"skipped: no reference data at {reference} (give --data)")
    model = load_model(options.model, dtype="float64")
    checked = [Checked.of(model, frame) for frame in read_structures(reference)]
    makers = {
        "errors": lambda: errors(checked),
        "scale": lambda: scale(checked, model.eps_inf),
        "born": lambda: born_by_direction(checked),
        "polarization": lambda: polarization(checked),
    }
    write({name: makers[name] for name in options.only}, options.page)


class Checked(NamedTuple):
    """A labelled frame and what the model says of it; pairs are (model, DFT).

    Attributes:
        atoms: with labels.
        walls: whether titanium stands on both sides of its oxygens along the polar axis.
        energies: eV.
        forces: [atom, xyz], eV/A.
        stresses: [6], GPa.
        born: [atom, field, displacement], e.
        dipoles: [xyz], e A; the polarization times volume, of DFT up to quanta.
        eps: [xyz, xyz], 1 + alpha/(eps0 V).
    """

    atoms: Atoms
    walls: bool
    energies: tuple[float, float]
    forces: tuple[np.ndarray, np.ndarray]
    stresses: tuple[np.ndarray, np.ndarray]
    born: tuple[np.ndarray, np.ndarray]
    dipoles: tuple[np.ndarray, np.ndarray]
    eps: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, model: Potential, frame: Atoms) -> Checked:
        """One frame."""
        ours, offsets = computed(model, frame), titanium_offsets(frame)[:, 2]
        alphas = ours.get_property("polarizability"), _label(frame, "polarizability").reshape(3, 3)
        stresses = ours.get_property("stress", ours.atoms), frame.get_stress()
        return cls(
            frame,
            bool(offsets.min() < 0.0 < offsets.max()),
            (ours.get_property("energy"), frame.get_potential_energy()),
            (ours.get_property("forces"), frame.get_forces()),
            (EV_PER_A3_TO_GPA * stresses[0], EV_PER_A3_TO_GPA * stresses[1]),
            (born_charges(model, ours.atoms).born_e, frame.arrays["born_charges"].reshape(-1, 3, 3)),
            (ours.get_property("dipole"), _label(frame, "polarization")),
            (_eps(alphas[0], frame), _eps(alphas[1], frame)),
        )


def _eps(alpha: np.ndarray, frame: Atoms) -> np.ndarray:
    return np.eye(3) + alpha / (EPSILON_0 * frame.get_volume())


def _label(frame: Atoms, name: str) -> np.ndarray:
    """A label of a frame: ASE keeps some names as results of a calculator."""
    return np.asarray(frame.info[name] if name in frame.info else frame.calc.results[name], dtype=float)


def both(checked: list[Checked], name: str) -> tuple[np.ndarray, np.ndarray]:
    """A quantity of the model and of DFT, atoms or frames joined."""
    pairs = [getattr(one, name) for one in checked]
    join = np.concatenate if name in ("forces", "born") else np.stack
    return join([pair[0] for pair in pairs]), join([pair[1] for pair in pairs])


def errors(checked: list[Checked]) -> str:
    """Errors of forces, stress and responses: single domain, and with domain walls."""
    lines = [
        "| frames | number | energy, meV/atom | forces, meV/A | stress, GPa | Born R2 | Born slope | Born RMSE, e "
        "| 1 + chi across, along: model | DFT |",
        "|---" * 10 + "|",
    ]
    for name, walls in (("one domain", (False,)), ("two domains", (True,)), ("all", (False, True))):
        some = [one for one in checked if one.walls in walls]
        born, energies = both(some, "born"), np.subtract(*both(some, "energies")) / len(some[0].atoms)
        eps = [f"{np.diag(e.mean(axis=0))[:2].mean():.2f}, {e.mean(axis=0)[2, 2]:.2f}" for e in both(some, "eps")]
        lines.append(
            f"| {name} | {len(some)} | {1e3 * energies.std():.2f} | {1e3 * rmse(*both(some, 'forces')):.1f} "
            f"| {rmse(*both(some, 'stresses')):.3f} | {r_squared(*born):.4f} | {regression_slope(*born):.2f} "
            f"| {rmse(*born):.3f} | {eps[0]} | {eps[1]} |"
        )
    ours, theirs = both(checked, "eps")
    diagonal = np.eye(3, dtype=bool)
    words = [
        f"{name} correlation {pearson(ours[:, part], theirs[:, part]):.2f}, "
        f"{slope(ours[:, part], theirs[:, part]):.2f} of DFT's fluctuations"
        for name, part in (("diagonal", diagonal), ("off the diagonal", ~diagonal))
    ]
    return "\n".join([*lines, "", f"Polarizability of the eight frames: {'; '.join(words)}."])


def scale(checked: list[Checked], given: float | None) -> str:
    """Born charges and differences of P if eps_inf were another: both go with its root, nothing is trained again."""
    eps_inf = 1.0 if given is None else given
    (ours, theirs), (mine, other) = both(checked, "born"), both(checked, "dipoles")
    numbers = np.concatenate([one.atoms.numbers for one in checked])
    single = [k for k, one in enumerate(checked) if not one.walls]
    first, second = (np.asarray(single)[places] for places in np.triu_indices(len(single), 1))
    fitted = float((ours * theirs).sum() / (ours * ours).sum())
    lines = [
        "| eps_inf | Born R2 | slope | RMSE, e | Ba | Ti | O | differences of P, one domain: x, y, z, e A |",
        "|---" * 8 + "|",
    ]
    for name, factor in (
        (f"{eps_inf:g}, DFT's finite field in this cell", 1.0),
        (f"{DENSE_EPS_INF:g}, dense meshes of k, cubic", (DENSE_EPS_INF / eps_inf) ** 0.5),
        (f"{eps_inf * fitted**2:.2f}, fitted to DFT's Born charges", fitted),
    ):
        gap = nearest(factor * (mine[first] - mine[second]) - (other[first] - other[second]), _lengths(checked))
        by_element = [f"{rmse(factor * ours[numbers == z], theirs[numbers == z]):.3f}" for z in (56, TITANIUM, OXYGEN)]
        lines.append(
            f"| {name} | {r_squared(factor * ours, theirs):.4f} | {regression_slope(factor * ours, theirs):.2f} "
            f"| {rmse(factor * ours, theirs):.3f} | {' | '.join(by_element)} "
            f"| {', '.join(f'{value:.2f}' for value in np.sqrt((gap**2).mean(axis=0)))} |"
        )
    chance = ", ".join(f"{value:.2f}" for value in _lengths(checked) / np.sqrt(12.0))
    return "\n".join([*lines, "", f"Differences of P by chance, even over the quantum e R: {chance} e A."])


def _lengths(checked: list[Checked]) -> np.ndarray:
    return np.asarray(checked[0].atoms.cell.lengths())


def born_by_direction(checked: list[Checked]) -> str:
    """Born charges by element and by the direction in which the atom is moved, all frames together."""
    ours, theirs = both(checked, "born")
    labels = np.concatenate([directions(one.atoms) for one in checked])
    numbers = np.concatenate([one.atoms.numbers for one in checked])
    lines = ["| charge, e | DFT | model | RMSE | slope | R2 within the row |", "|---" * 6 + "|"]
    lines += [_row(name, ours[labels == name], theirs[labels == name]) for name in ORDER]
    for symbol, number in (("Ba", 56), ("Ti", TITANIUM), ("O", OXYGEN)):
        values = (symmetric_eigenvalues(tensors[numbers == number]).T for tensors in (ours, theirs))
        for place, mine, other in zip(("lowest", "middle", "highest"), *values, strict=True):
            lines.append(_row(f"{symbol}, {place} eigenvalue", mine, other))
    return "\n".join(lines)


def directions(frame: Atoms) -> np.ndarray:
    """What every component of a Born charge is called [atom, field, displacement]; oxygens by the axis of their chain.

    The chain of an oxygen runs through the two Ti that are nearest to it.
    """
    names = np.empty((len(frame), 3, 3), dtype=object)
    first, second, distance, vectors = neighbor_list("ijdD", frame, 3.4)
    for atom, symbol in enumerate(frame.get_chemical_symbols()):
        names[atom], chain = f"off the diagonal, {symbol}", -1
        if symbol == "O":
            around = np.flatnonzero((first == atom) & (frame.numbers[second] == TITANIUM))
            low, high = around[np.argsort(distance[around])[:2]]
            chain = int(np.abs(vectors[high] - vectors[low]).argmax())
        for axis, way in enumerate((ACROSS, ACROSS, ALONG)):
            if symbol != "O":
                names[atom, axis, axis] = f"{symbol}, {way}"
            else:
                parallel = f"parallel to Ti-O-Ti, {way}"
                names[atom, axis, axis] = f"O, {parallel if axis == chain else 'perpendicular to Ti-O-Ti'}"
    return names


def _row(name: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    return (
        f"| {name} | {theirs.mean():+.2f} +- {theirs.std():.2f} | {ours.mean():+.2f} +- {ours.std():.2f} "
        f"| {rmse(ours, theirs):.3f} | {regression_slope(ours, theirs):.2f} | {r_squared(ours, theirs):.2f} |"
    )


def polarization(checked: list[Checked]) -> str:
    """Differences of P between frames beside DFT's, up to quanta e R: of one domain, and across from one to two."""
    ours, theirs = both(checked, "dipoles")
    cell, walls = _lengths(checked), np.array([one.walls for one in checked])
    first, second = np.triu_indices(len(checked), 1)
    mine = ours[first] - ours[second]
    gap = nearest(mine - (theirs[first] - theirs[second]), cell)
    whole = mine - gap  # DFT's, on the branch that is nearest to the model's
    alike, apart = ~walls[first] & ~walls[second], walls[first] != walls[second]
    rows = {
        "quantum e R": cell,
        "by chance, even over the quantum, RMS": cell / np.sqrt(12.0),
        "DFT, one domain, on the branch nearest to the model's, RMS": _rms(whole[alike]),
        "model - DFT, one domain, RMS": _rms(gap[alike]),
        "the same, largest": np.abs(gap[alike]).max(axis=0),
        "slope of the model over DFT, one domain": [slope(mine[alike, k], whole[alike, k]) for k in range(3)],
        "correlation, one domain": [pearson(mine[alike, k], whole[alike, k]) for k in range(3)],
        "model - DFT, one domain and two, RMS": _rms(gap[apart]),
    }
    lines = ["| differences of P of pairs of frames, e A per 135 atoms | x | y | z |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |" for name, values in rows.items()]
    per_area = E_PER_A2_TO_C_PER_M2 / checked[0].atoms.get_volume()
    polar = float(ours[~walls, 2].mean())
    other = float(theirs[~walls][0, 2] + nearest(theirs[~walls] - theirs[~walls][0], cell)[:, 2].mean())
    below = other + np.floor((polar - other) / cell[2]) * cell[2]
    branches = ", ".join(f"{(below + k * cell[2]) * per_area:.3f}" for k in range(3))
    words = (
        f"Mean P_z of the frames of one domain: {polar * per_area:.3f} C/m^2 in the model; DFT allows {branches}, ..."
    )
    return "\n".join([*lines, "", words])


def _rms(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((values**2).mean(axis=0)))


if __name__ == "__main__":
    main()
