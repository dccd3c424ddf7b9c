"""How well one number tells that a model extrapolates: candidates beside force errors, and the chosen one at work.

    python benchmarks/extrapolation.py [--data ../shared/data] [--dynamics FOLDER]

Needs the reference data of development beside the repository; says so and stops where it is missing.  Training and
held-out frames are those that the recipes of the shipped models draw with their seeds.  With ``--dynamics`` runs of 0.8
ps at several temperatures are made there (those that are there already are taken as they are; minutes each).  Prints
the tables of docs/extrapolation.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import read
from ase.spacegroup import crystal
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from spectra_app import Simulation, extrapolation, load_model, read_run
from spectra_app.config import MDSettings, TrainFile, parse_settings
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.training_range import nearest_by_element
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.training.dataset import split_frames
from spectra_app.training.evaluation import read_structures
from spectra_app.training.range_fit import FOLDS, Environments, edge, fit_range
from spectra_app.zoo import find_model

DATA = {"water": "water_pbe0_ts", "quartz": "quartz_pbe"}
PICKS = 300  # environments per element of the nearest-neighbour candidate
WORST = 0.02  # share of atoms that count as the worst
ROUNDS = 40  # of the timing


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--dynamics", type=Path)
    options = parser.parse_args()
    if not (options.data / DATA["water"] / "train.extxyz").is_file():
        raise SystemExit(f"skipped: no reference data at {options.data} (give --data)")
    torch.set_num_threads(1)
    for name in DATA:
        compare_candidates(name, options.data)
    for name in DATA:
        situations(name, options.data, options.dynamics)
    cost()


def split(name: str, data: Path) -> tuple[list[Atoms], list[Atoms]]:
    """Training and held-out frames of a shipped model."""
    recipe = yaml.safe_load((find_model(name) / "training.yaml").read_text(encoding="utf-8"))
    settings = parse_settings(TrainFile, recipe).training
    frames = read_structures(data / DATA[name] / "train.extxyz")
    parts = split_frames(len(frames), settings.validation_fraction, settings.test_fraction, settings.seed)
    return [frames[i] for i in parts[0]], [frames[i] for i in (*parts[1], *parts[2])]


def start_of(name: str) -> Atoms:
    """The start structure of a shipped model."""
    atoms = read(find_model(name) / "start.extxyz", index=-1)
    assert isinstance(atoms, Atoms)
    return atoms


# Candidates: what is measured of an atom, and how far it is from the training atoms -------------------------------


def seen(model: Potential, frames: Iterable[Atoms]) -> dict[str, np.ndarray]:
    """Features of every atom, frame by frame: scalars, last hidden layer, norms of all ranks, nearest distances."""
    parts: list[dict[str, np.ndarray]] = []
    for number, atoms in enumerate(frames):
        system = from_ase(atoms, dtype=model.dtype)
        neighbors, species = build_neighbors(system, model.cutoff), model.species_index[system.numbers]
        with torch.no_grad():
            pair = PairGeometry(system, neighbors, model.cutoff)
            found = model.backbone(system, species, neighbors, pair)
            hidden = model.energy_head.network[1](model.energy_head.network[0](found.scalars))
            nearest = nearest_by_element(species, neighbors, pair.distance, model.cutoff, len(model.species))[0]
            norms = torch.cat([found.scalars, found.vectors.norm(dim=1), found.rank2.flatten(1, 2).norm(dim=1)], dim=1)
        tensors = {"scalars": found.scalars, "hidden": hidden, "norms": norms, "nearest": nearest, "species": species}
        columns = {key: tensor.numpy() for key, tensor in tensors.items()}
        parts.append(columns | {"frame": np.full(len(atoms), number)})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def mahalanobis(of: np.ndarray, species: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Distance from the mean of an element in units of its covariance."""
    fits = {}
    for element in np.unique(species):
        mine = of[species == element].astype(float)
        covariance = np.cov(mine.T) + 1e-3 * np.trace(np.cov(mine.T)) / of.shape[1] * np.eye(of.shape[1])
        fits[element] = mine.mean(axis=0), np.linalg.inv(np.linalg.cholesky(covariance)).T

    def distance(values: np.ndarray, elements: np.ndarray) -> np.ndarray:
        result = np.empty(len(values))
        for element, (mean, whiten) in fits.items():
            here = elements == element
            result[here] = np.linalg.norm((values[here] - mean) @ whiten, axis=1)
        return result

    return distance


def nearest_pick(of: np.ndarray, species: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Distance to the nearest of environments that are picked one by one, each the farthest from those before."""
    picks = {}
    for element in np.unique(species):
        mine = of[species == element].astype(float)
        chosen, distance = [0], ((mine - mine[0]) ** 2).sum(axis=1)
        while len(chosen) < PICKS:
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, ((mine - mine[chosen[-1]]) ** 2).sum(axis=1))
        picks[element] = mine[chosen]

    def to_nearest(values: np.ndarray, elements: np.ndarray) -> np.ndarray:
        result = np.empty(len(values))
        for element, some in picks.items():
            here = elements == element
            result[here] = cdist(values[here], some).min(axis=1) if here.any() else 0.0
        return result

    return to_nearest


CANDIDATES: dict[str, tuple[str, Callable[..., Callable[..., np.ndarray]]]] = {
    "last hidden layer, Mahalanobis": ("hidden", mahalanobis),
    "scalar features, Mahalanobis (chosen)": ("scalars", mahalanobis),
    "scalars and norms of vectors and tensors, Mahalanobis": ("norms", mahalanobis),
    f"scalar features, nearest of {PICKS} picked": ("scalars", nearest_pick),
    "nearest distances, Mahalanobis (chosen)": ("nearest", mahalanobis),
}


def compare_candidates(name: str, data: Path) -> None:
    """Every candidate in units of its own edge, beside the force errors of atoms."""
    model = load_model(name)
    train, held_out = split(name, data)
    check = read_structures(data / DATA["quartz"] / "response_check.extxyz") if name == "quartz" else held_out
    known, test = seen(model, train), seen(model, check)
    errors = np.concatenate([force_errors(model, atoms) for atoms in check])
    few = max(1, int(WORST * len(errors)))
    worst = set(np.argsort(-errors)[:few])
    print(f"\n{name}: {len(check)} held-out frames with forces")
    print(f"{'candidate':<56}{'rank correlation by element':<30}{'recall':>8}{'median':>8}{'largest':>9}")
    for title, (key, make) in CANDIDATES.items():
        measured = np.empty(len(known["frame"]))
        for fold in range(FOLDS):
            out = known["frame"] % FOLDS == fold
            measured[out] = make(known[key][~out], known["species"][~out])(known[key][out], known["species"][out])
        units = np.array([edge(largest(measured, known, element)) for element in range(len(model.species))])
        value = make(known[key], known["species"])(test[key], test["species"]) / units[test["species"]]
        ranks = [
            f"{symbol} {spearmanr(value[test['species'] == k], errors[test['species'] == k])[0]:.2f}"
            for k, symbol in enumerate(model.species)
        ]
        hit = len(worst & set(np.argsort(-value)[:few])) / few
        frames = [value[test["frame"] == k].max() for k in range(len(check))]
        print(f"{title:<56}{', '.join(ranks):<30}{hit:>8.2f}{np.median(frames):>8.2f}{max(frames):>9.2f}")
    both = fit_range(environments_of(known), model.species, model.cutoff, "")
    value = np.concatenate([values(model, both, atoms) for atoms in check])
    bins = np.quantile(value, [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
    print("force error (rms, meV/A) of atoms by their extrapolation:")
    for low, high in itertools.pairwise(bins):
        some = errors[(value >= low) & (value <= high)]
        print(f"  {low:5.2f} to {high:5.2f}: {1e3 * np.sqrt(np.mean(some**2)):7.1f}   ({len(some)} atoms)")
    top = int(value.reshape(len(check), -1).max(axis=1).argmax())
    print(f"  frame with the largest value: {top}; with the largest error: {int(errors.argmax()) // len(check[0])}")


def largest(measured: np.ndarray, known: dict[str, np.ndarray], element: int) -> np.ndarray:
    """[frame], largest value of an element."""
    here = known["species"] == element
    frame = known["frame"][here]
    return np.maximum.reduceat(measured[here], np.flatnonzero(np.diff(frame, prepend=-1)))


def environments_of(known: dict[str, np.ndarray]) -> Environments:
    """As the fit takes them."""
    return Environments(known["scalars"], known["nearest"].astype(float), known["species"], known["frame"])


def values(model: Potential, known: torch.nn.Module, atoms: Atoms) -> np.ndarray:
    """[atom], extrapolation of a structure with a range of training data."""
    model.training_range = known  # type: ignore[assignment]
    report = extrapolation(model, atoms)
    assert report is not None
    return np.array(report.by_atom)


def force_errors(model: Potential, atoms: Atoms) -> np.ndarray:
    """[atom], length of the error of the force, eV/A."""
    system = from_ase(atoms, dtype=model.dtype)
    forces = model(system, build_neighbors(system, model.cutoff)).forces
    assert forces is not None
    return np.asarray(np.linalg.norm(forces.numpy() - atoms.get_forces(), axis=1))


# The chosen measure at work ---------------------------------------------------------------------------------------


def situations(name: str, data: Path, folder: Path | None) -> None:
    """What it says of structures that were trained on, that are ordinary, and that are not."""
    model, start = load_model(name), start_of(name)
    _, held_out = split(name, data)
    print(f"\n{name}{'':<34}{'frames':>8}{'median':>8}{'largest':>9}{'beyond 1':>10}")
    show(model, "held-out frames", held_out)
    if name == "water":
        show(
            model,
            "DFPT frames (O-H up to 1.22 A)",
            read_structures(data / "water_polarizability/response_check.extxyz"),
        )
        show(model, "RPBE-D3 frames", read_structures(data / "water_rpbe_d3/train.extxyz"))
        for distance_A in (0.8, 0.85, 0.9, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.6):
            stretches(model, start, distance_A)
        for factor in (0.94, 0.97, 1.03, 1.06, 1.1, 1.3):
            show(model, f"molecules apart {factor:g} times", [apart(start, factor)])
        show(model, "one molecule", [molecule("H2O")])
    else:
        show(model, "response_check", read_structures(data / DATA[name] / "response_check.extxyz"))
        for share in (-0.1, -0.05, 0.05, 0.1):
            strained = start.copy()
            strained.set_cell(start.cell * (1.0 + share), scale_atoms=True)
            show(model, f"lengths {share:+.0%}", [strained])
        stishovite = crystal(
            ["Si", "O"], [(0, 0, 0), (0.306, 0.306, 0)], spacegroup=136, cellpar=[4.18, 4.18, 2.67, 90, 90, 90]
        )
        show(model, "stishovite (Si with six O)", [stishovite.repeat(2)])
        show(
            model,
            "beta-cristobalite",
            [crystal(["Si", "O"], [(0, 0, 0), (0.125,) * 3], spacegroup=227, cellpar=[7.16] * 3 + [90] * 3)],
        )
        show(model, "cut surface", [cut(start)])
    if folder is not None:
        for kelvin in (298, 350, 450) if name == "water" else (300, 600):
            show(model, f"dynamics at {kelvin} K", dynamics(model, name, start, kelvin, folder))


def show(model: Potential, title: str, frames: list[Atoms]) -> None:
    """One line of the table."""
    reports = [extrapolation(model, atoms) for atoms in frames]
    largest_values = np.array([report.largest for report in reports if report is not None])
    median, beyond = np.median(largest_values), (largest_values > 1.0).mean()
    print(f"{title:<40}{len(frames):>8}{median:>8.2f}{largest_values.max():>9.2f}{beyond:>10.3f}", flush=True)


def stretches(model: Potential, start: Atoms, distance_A: float) -> None:
    """One O-H bond after the other of another length: smallest and median value, and how often its atoms are named."""
    oxygens, hydrogens = (np.flatnonzero(start.numbers == z) for z in (8, 1))
    found, named, told = [], 0, 0
    for oxygen in oxygens[::4]:
        atoms = start.copy()
        hydrogen = hydrogens[atoms.get_distances(oxygen, hydrogens, mic=True).argmin()]
        atoms.set_distance(oxygen, hydrogen, distance_A, fix=0, mic=True)
        report = extrapolation(model, atoms)
        assert report is not None
        found.append(report.largest)
        named += report.atom in (oxygen, hydrogen)
        told += report.distance is not None and {report.distance.atom, report.distance.other} >= {oxygen, hydrogen}
    n, beyond = len(found), np.mean(np.array(found) > 1.0)
    words = f"smallest {min(found):.2f}; atom named {named} of {n}, distance told {told} of {n}"
    line = f"one O-H of {distance_A:4.2f} A{'':<22}{n:>8}{np.median(found):>8.2f}{max(found):>9.2f}{beyond:>10.3f}"
    print(f"{line}  {words}", flush=True)


def apart(atoms: Atoms, factor: float) -> Atoms:
    """Molecules moved apart as they are."""
    oxygens, hydrogens = (np.flatnonzero(atoms.numbers == z) for z in (8, 1))
    positions = atoms.positions * factor
    for hydrogen in hydrogens:
        bonds = atoms.get_distances(hydrogen, oxygens, mic=True, vector=True)
        nearest = np.linalg.norm(bonds, axis=1).argmin()
        positions[hydrogen] = positions[oxygens[nearest]] - bonds[nearest]
    return Atoms(atoms.numbers, positions, cell=atoms.cell.array * factor, pbc=True)


def cut(atoms: Atoms) -> Atoms:
    """A crystal with vacuum along its third vector."""
    cell = atoms.cell.array.copy()
    cell[2] *= 2.0
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)


def dynamics(model: Potential, name: str, start: Atoms, kelvin: int, folder: Path) -> list[Atoms]:
    """Configurations 10 fs apart of 0.8 ps in a heat bath, after 0.1 ps at the temperature of the start, else 0.4."""
    path = folder / f"md_{name}_{kelvin}.h5"
    if not path.exists():
        settings = MDSettings(
            ensemble="nvt", temperature_K=kelvin, timestep_fs=0.5, steps=1600, record_stride=20, trajectory_stride=20,
            equilibration_steps=800 if kelvin > 300 else 200, engine="compiled",
        )  # fmt: skip
        Simulation(model, start, settings, path).run()
        model.engine = "eager"
    run = read_run(path)
    return [Atoms(run.numbers, frame[0], cell=start.cell, pbc=True) for frame in np.asarray(run.positions_A)]


def cost() -> None:
    """Time of an evaluation with and without it, in turns, one thread."""
    model, start = load_model("water"), start_of("water")
    system = from_ase(start, dtype=model.dtype)
    neighbors, known = build_neighbors(system, model.cutoff + 0.5), model.training_range
    print("\nenergy, forces and polarizability of 192 atoms, one thread, fastest of", ROUNDS)
    for engine in ("eager", "compiled"):
        model.engine = engine
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for told in (False, True):
                model.training_range = known if told else None
                began = time.process_time()
                model(system, neighbors)
                times[told].append(time.process_time() - began)
        without, with_it = (1e3 * min(times[told]) for told in (False, True))
        print(f"  {engine:<10}{without:7.2f} ms without, {with_it:7.2f} ms with: {100 * (with_it / without - 1):+.1f}%")


if __name__ == "__main__":
    main()
