"""Architectures x variants on one system at one budget: one training each, then errors of forces and of responses.

    python benchmarks/systems/run.py water --quick               # rows of the table again, beside what is published
    python benchmarks/systems/run.py water --backbones painn,cace --variants sr,uiu,puQipiu --minutes 6 --seeds 0 1 2
    python benchmarks/systems/run.py water nacl --table docs/benchmarks.md --figure docs   # train nothing, renew both
    python benchmarks/systems/run.py water --times                        # ms per step of dynamics of what is trained

A system is a recipe beside this script (``water.yaml``): data, cutoffs, settings of the training.  The budget is the
CPU time of one thread (the recipe's minutes, or --minutes), the same for every architecture and variant, or --steps as
the recipe's epochs say.  Seeds are of the initial weights and the order of frames; the frames held out are the same.
Needs the reference data of development (--data); says so and stops where it is missing.  Finished trainings are kept in
--output and not repeated, a killed one continues from its checkpoint, and several of these commands may share one
output folder.  Their numbers, without the models, stand in ``measured`` beside this script (--publish), from which the
tables are made; what stands there is not trained again.  An architecture whose library is not installed is left to the
environment that has it.

Force errors are on frames that were neither trained on nor used to choose an epoch; responses (dipole, Born charges,
polarizability) were in no training at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io import write
from system_cells import HERE, METRICS_FILE, TIMES_FILE, Cell, SystemRecipe, publish, published
from system_tables import compared, draw, table

from spectra_app.config import MDSettings, TrainFile, TrainingSettings, load_settings, parse_settings
from spectra_app.electrostatics import parse_variant
from spectra_app.errors import MissingExtraError
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import read_structure
from spectra_app.potentials.backbones import build_backbone
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.prediction import Prediction
from spectra_app.training.dataset import split_data
from spectra_app.training.evaluation import evaluate_file, evaluate_structures, read_structures
from spectra_app.training.resume import CHECKPOINT_FILE
from spectra_app.training.trainer import train

sys.path.append(str(HERE.parent))
CLAIM_FILE = "running.pid"
ENDLESS = 100_000  # epochs; the minutes end the training


def main() -> None:
    """Train what is missing, then print or write the tables."""
    options = read_options()
    recipes = {name: load_settings(SystemRecipe, HERE / f"{name}.yaml") for name in options.systems}
    for name, recipe in recipes.items():
        if options.publish:
            publish(options.output, name)
        elif options.table is None and options.figure is None:
            if not (options.data / recipe.train).is_file():
                raise SystemExit(f"skipped: no reference data at {options.data / recipe.train} (give --data)")
            for cell in cells(options, name, recipe):
                measure(cell, recipe, options)
    for name, recipe in recipes.items():
        if options.table is not None:
            from pages import renew_section  # of the folder above

            renew_section(options.table, name, table(options.output, name, recipe))
        if options.figure is not None:
            draw(options.output, name, recipe, options.figure / f"benchmarks_{name}.png")
        if options.quick:
            print(comparison(cells(options, name, recipe), options.output))
        elif options.table is None and options.figure is None:
            print(table(options.output, name, recipe))


def measure(cell: Cell, recipe: SystemRecipe, options: argparse.Namespace) -> None:
    """Train a cell or take its time, unless that is done or nothing can be done."""
    settings = settings_of(cell, recipe, options)
    folder = options.output / cell.folder
    if not available(settings):
        print(f"{cell.folder}: {cell.backbone} is not installed here, left out", flush=True)
    elif options.times:
        measure_time(settings, folder, options.data)
    elif (options.quick or cell.folder not in published(cell.system)) and claim(folder):
        try:
            run(settings, recipe, folder, options.data)
        finally:
            (folder / CLAIM_FILE).unlink(missing_ok=True)


def comparison(several: list[Cell], output: Path) -> str:
    """Numbers of trainings made here beside the published ones."""
    texts = []
    for cell in several:
        path = output / cell.folder / METRICS_FILE
        own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        texts.append(f"{cell.folder}\n{compared(own, published(cell.system).get(cell.folder, {}))}")
    return "\n\n".join(texts)


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", choices=sorted(path.stem for path in HERE.glob("*.yaml")))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path("results") / "systems", help="folder of all trainings")
    parser.add_argument("--backbones", default="painn", help="comma-separated")
    parser.add_argument("--variants", default="sr,uiu,puQipiu", help="comma-separated")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, help="CPU minutes of one thread for every training (default: the recipe's)"
    )
    budget.add_argument("--steps", action="store_true", help="the epochs of the recipe for every training instead")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of initial weights and order; the split is one"
    )
    parser.add_argument("--quick", action="store_true", help="rows of the table again, beside what is published")
    parser.add_argument("--times", action="store_true", help="train nothing, time a step of dynamics of each model")
    parser.add_argument("--publish", action="store_true", help="train nothing, keep numbers of what is finished")
    parser.add_argument("--table", type=Path, help="train nothing, renew the tables of this page")
    parser.add_argument("--figure", type=Path, help="train nothing, draw benchmarks_SYSTEM.png into this folder")
    return parser.parse_args()


def cells(options: argparse.Namespace, name: str, recipe: SystemRecipe) -> list[Cell]:
    """What is asked for."""
    minutes = recipe.minutes if options.minutes is None else options.minutes
    budget = "steps" if options.steps else f"{minutes:g}min"
    if options.quick:
        return [Cell(name, "painn", variant, budget, options.seeds[0]) for variant in recipe.quick]
    return [
        Cell(name, backbone, variant, budget, seed)
        for seed in options.seeds
        for variant in options.variants.split(",")
        for backbone in options.backbones.split(",")
    ]


def settings_of(cell: Cell, recipe: SystemRecipe, options: argparse.Namespace) -> TrainFile:
    """Settings of one training."""
    training = recipe.training | {
        "data": [str(options.data / recipe.train), *(str(HERE.parents[1] / path) for path in recipe.own)],
        "test_data": [str(HERE.parents[1] / path) for path in recipe.own_test],
        "output": str(options.output / cell.folder),
        "seed": cell.seed,
        "split_seed": 0,  # the same frames are held out whatever the weights begin with
        "patience": ENDLESS,
        "clock": "cpu",
        "check_charges": False,  # costs time that is none of the budget
    }
    if cell.budget != "steps":
        minutes = float(cell.budget.removesuffix("min"))
        training |= {"epochs": ENDLESS, "max_minutes": minutes}
    model = recipe.model | recipe.backbones.get(cell.backbone, {})
    model |= {"backbone": cell.backbone, "variant": cell.variant}
    if parse_variant(cell.variant).charges != "pair":
        model.pop("oxidation_states", None)  # they are those of charges that move between neighbours
    return parse_settings(TrainFile, {"model": model, "training": training}, cell.folder)


def available(settings: TrainFile) -> bool:
    """Whether the library of the architecture is installed."""
    try:
        build_backbone(settings.model.backbone, 1)
    except MissingExtraError:
        return False
    return True


def claim(folder: Path) -> bool:
    """Whether this process may train in the folder: not finished, and no living process works there."""
    if (folder / METRICS_FILE).is_file():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / CLAIM_FILE
    try:
        os.kill(int(mark.read_text()), 0)
        return False
    except (FileNotFoundError, ValueError, ProcessLookupError):
        mark.write_text(str(os.getpid()))
        return True


def run(settings: TrainFile, recipe: SystemRecipe, folder: Path, data: Path) -> None:
    """One training and its evaluation; the numbers go to metrics.json in its folder."""
    torch.set_num_threads(1)
    print(f"{time.strftime('%H:%M:%S')} {folder.name}", flush=True)
    settings = without_copies(settings, folder)
    result = train(settings, resume=(folder / CHECKPOINT_FILE).is_file())
    metrics: dict[str, Any] = {
        key.removeprefix("test_"): value for key, value in result.model.card.errors.items() if key.startswith("test_")
    }
    if recipe.check and (recipe.check_has_energies or parse_variant(settings.model.variant).responds):
        metrics |= evaluate_file(load_model(folder), data / recipe.check)
    if recipe.split_by is not None:
        metrics |= errors_by(recipe.split_by, recipe.elements, load_model(folder), settings.training)
    parts = [len(part) for part in divided_structures(settings.training)]
    metrics |= {
        "train_frames": parts[0],
        "validation_frames": parts[1],
        "test_frames": metrics["n_structures"] if recipe.check_has_energies else parts[2],
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "epochs": len(result.history),
        "steps": result.steps,
        "cpu_minutes": result.history[-1].seconds / 60.0,
    }
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    print(f"{time.strftime('%H:%M:%S')} {folder.name}: {metrics}", flush=True)


def without_copies(settings: TrainFile, folder: Path) -> TrainFile:
    """The same training without frames that the labels have twice: one held out may not be trained on.

    Args:
        settings: of the training.
        folder: where the labels go that are left, if any are not.
    """
    frames = [atoms for path in settings.training.data for atoms in read_structures(path)]
    first: dict[tuple[Any, ...], Atoms] = {}
    for atoms in frames:
        first.setdefault((*atoms.symbols, *np.round(np.vstack([atoms.cell.array, atoms.positions]), 4).ravel()), atoms)
    if len(first) == len(frames):
        return settings
    path = folder / "different.extxyz"
    write(path, list(first.values()))
    return settings.model_copy(update={"training": settings.training.model_copy(update={"data": (path,)})})


def divided_structures(settings: TrainingSettings) -> list[list[Atoms]]:
    """Frames trained on, validated on and held out."""
    frames = [atoms for path in settings.data for atoms in read_structures(path)]
    train, validation, test = ([frames[place] for place in part] for part in split_data(len(frames), settings))
    return [train, validation, test or [atoms for path in settings.test_data for atoms in read_structures(path)]]


def errors_by(key: str, elements: tuple[str, ...], model: Potential, settings: TrainingSettings) -> dict[str, float]:
    """Errors of the frames held out for each value of a key, and of the forces on single elements among them.

    Names: ``forces_rmse_meV_per_A, KEY=VALUE`` and so on, ``forces_rmse_meV_per_A, ELEMENT, KEY=VALUE``.
    """
    groups: dict[str, list[Atoms]] = {}
    for atoms in divided_structures(settings)[2]:
        value = atoms.get_chemical_formula() if key == "formula" else atoms.info[key]
        groups.setdefault(str(value), []).append(atoms)
    out = {}
    for value, group in groups.items():
        words, single = value if key == "formula" else f"{key}={value}", ElementErrors(elements)
        for name, error in evaluate_structures(model, group, settings.keys, watch=single).items():
            if name.endswith("_rmse_meV_per_A") or name.startswith("energy_rmse"):
                out[f"{name}, {words}"] = error
        for element, error in single.errors().items():
            out[f"forces_rmse_meV_per_A, {element}, {words}"] = error
    return out


class ElementErrors:
    """Watches an evaluation for the errors of forces (labels in eV/A under ASE's name) on single elements."""

    def __init__(self, elements: tuple[str, ...]) -> None:
        self._squares: dict[int, list[np.ndarray]] = {atomic_numbers[element]: [] for element in elements}

    def __call__(self, atoms: Atoms, prediction: Prediction) -> None:
        """Take in one structure."""
        if self._squares and prediction.forces is not None:
            squares = np.square(prediction.forces.cpu().numpy() - atoms.get_forces())
            for number, found in self._squares.items():
                found.append(squares[atoms.numbers == number])

    def errors(self) -> dict[str, float]:
        """Root mean square error of every element by its symbol, meV/A."""
        return {
            chemical_symbols[number]: 1e3 * float(np.concatenate(found).mean()) ** 0.5
            for number, found in self._squares.items()
        }


def measure_time(settings: TrainFile, folder: Path, data: Path) -> None:
    """CPU time of a recorded step of dynamics from the first frame, one thread, minimum of three rounds.

    A round is the difference of a long and a short run, without what both do before their first step.
    """
    if not (folder / METRICS_FILE).is_file():
        return
    torch.set_num_threads(1)
    model = load_model(folder)
    atoms, engine = read_structure(settings.training.data[0]), model.engines[-1]

    def cpu_seconds(steps: int) -> float:
        choices = {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": engine}
        with tempfile.TemporaryDirectory() as place:
            start = time.process_time()
            Simulation(model, atoms, MDSettings.model_validate(choices), Path(place) / "run.h5").run()
            return time.process_time() - start

    cpu_seconds(3)  # compiles
    best = min(cpu_seconds(25) - cpu_seconds(5) for _ in range(3)) / 20.0 * 1e3
    (folder / TIMES_FILE).write_text(json.dumps({"ms_per_step": best, "engine": engine}), encoding="utf-8")
    print(f"{folder.name}: {best:.1f} CPU ms per step of {len(atoms)} atoms, {engine}", flush=True)


if __name__ == "__main__":
    main()
