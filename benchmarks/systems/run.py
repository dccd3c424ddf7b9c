"""Architectures x variants on one system at one budget: one training each, then errors of forces and of responses.

    python benchmarks/systems/run.py water --quick                        # two rungs of painn, ten minutes
    python benchmarks/systems/run.py water --backbones painn,cace --variants sr,uiu,puQipiu --minutes 6
    python benchmarks/systems/run.py water quartz --table docs/benchmarks.md   # train nothing, renew tables
    python benchmarks/systems/run.py water --times                        # ms per step of dynamics of what is trained

A system is a recipe beside this script (``water.yaml``): data, cutoffs, settings of the training.  The budget is the
CPU time of one thread (--minutes), the same for every architecture and variant, or --steps as the recipe's epochs say.
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
from statistics import mean, pstdev
from typing import Any, NamedTuple

import torch
from ase import Atoms
from pydantic import Field

from spectra_app.config import MDSettings, Settings, TrainFile, TrainingSettings, load_settings, parse_settings
from spectra_app.electrostatics import parse_variant
from spectra_app.errors import MissingExtraError
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import read_structure
from spectra_app.potentials.backbones import build_backbone
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.training.dataset import split_frames
from spectra_app.training.evaluation import evaluate_file, evaluate_structures, read_structures
from spectra_app.training.resume import CHECKPOINT_FILE
from spectra_app.training.trainer import train

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
MEASURED = HERE / "measured"
METRICS_FILE, TIMES_FILE, CLAIM_FILE = "metrics.json", "times.json", "running.pid"
ENDLESS = 100_000  # epochs; the minutes end the training


class SystemRecipe(Settings):
    """What is trained on a system, how, and what is checked.

    Attributes:
        title: for the heading.
        train: labels, relative to the folder of reference data.
        check: file with labels of responses; None: there are none.
        check_has_energies: whether that file has energies and forces of the same level of theory.
        split_by: key in the comments of the frames, or "formula"; errors of frames held out (``test_fraction``) are
            given for each of its values too.
        quick: variants of ``--quick``.
        model: keys of the architecture.
        backbones: keys of single architectures.
        training: settings of the training.
    """

    title: str
    train: Path
    check: Path | None = None
    check_has_energies: bool = False
    split_by: str | None = None
    quick: tuple[str, ...]
    model: dict[str, Any] = Field({})
    backbones: dict[str, dict[str, Any]] = Field({})
    training: dict[str, Any] = Field({})


class Cell(NamedTuple):
    """One training of the table."""

    system: str
    backbone: str
    variant: str
    budget: str
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the output folder."""
        return "-".join(map(str, self))


COLUMNS = (
    ("parameters", "parameters", ",.0f"),
    ("epochs", "epochs", ".0f"),
    ("forces_rmse_meV_per_A", "forces, meV/A", ".1f"),
    ("energy_rmse_meV_per_atom", "energy, meV/atom", ".2f"),
    ("stress_rmse_GPa", "stress, GPa", ".3f"),
    ("dipole_r2", "dipole R2", ".3f"),
    ("born_r2", "Born R2", ".3f"),
    ("polarizability_pearson_diagonal", "alpha r, diagonal", ".2f"),
    ("polarizability_pearson_offdiagonal", "off-diagonal", ".2f"),
    ("polarizability_slope_diagonal", "slope, diagonal", ".2f"),
    ("polarizability_slope_offdiagonal", "off-diagonal", ".2f"),
    ("cpu_minutes", "CPU minutes", ".1f"),
    ("ms_per_step", "ms per MD step", ".0f"),
)


def main() -> None:
    """Train what is missing, then print or write the tables."""
    options = read_options()
    recipes = {name: load_settings(SystemRecipe, HERE / f"{name}.yaml") for name in options.systems}
    missing = [str(options.data / r.train) for r in recipes.values() if not (options.data / r.train).is_file()]
    if missing and options.table is None and not options.publish:
        raise SystemExit(f"skipped: no reference data at {missing[0]} (give --data)")
    if options.publish:
        publish(options.output, options.systems)
    for name, recipe in recipes.items() if options.table is None and not options.publish else ():
        for cell in cells(options, name, recipe):
            settings = settings_of(cell, recipe, options)
            folder = options.output / cell.folder
            if not available(settings):
                print(f"{cell.folder}: {cell.backbone} is not installed here, left out", flush=True)
            elif options.times:
                measure_time(settings, folder, options.data)
            elif claim(folder):
                try:
                    run(settings, recipe, folder, options.data)
                finally:
                    (folder / CLAIM_FILE).unlink(missing_ok=True)
    for name, recipe in recipes.items():
        text = table(options.output, name, recipe)
        if options.table is None:
            print(text)
        else:
            from pages import renew_section  # of the folder above

            renew_section(options.table, name, text)


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", choices=sorted(path.stem for path in HERE.glob("*.yaml")))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path("results") / "systems", help="folder of all trainings")
    parser.add_argument("--backbones", default="painn", help="comma-separated")
    parser.add_argument("--variants", default="sr,uiu,puQipiu", help="comma-separated")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="CPU minutes of one thread for every training")
    budget.add_argument("--steps", action="store_true", help="the epochs of the recipe for every training instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of split, initial weights and order")
    parser.add_argument("--quick", action="store_true", help="two rungs of painn, four minutes each")
    parser.add_argument("--times", action="store_true", help="train nothing, time a step of dynamics of each model")
    parser.add_argument("--publish", action="store_true", help="train nothing, keep numbers of what is finished")
    parser.add_argument("--table", type=Path, help="train nothing, renew the tables of this page")
    return parser.parse_args()


def cells(options: argparse.Namespace, name: str, recipe: SystemRecipe) -> list[Cell]:
    """What is asked for."""
    if options.quick:
        return [Cell(name, "painn", variant, "4min", options.seeds[0]) for variant in recipe.quick]
    budget = "steps" if options.steps else f"{options.minutes or 6.0:g}min"
    return [
        Cell(name, backbone, variant, budget, seed)
        for seed in options.seeds
        for variant in options.variants.split(",")
        for backbone in options.backbones.split(",")
    ]


def settings_of(cell: Cell, recipe: SystemRecipe, options: argparse.Namespace) -> TrainFile:
    """Settings of one training."""
    training = recipe.training | {
        "data": [str(options.data / recipe.train)],
        "output": str(options.output / cell.folder),
        "seed": cell.seed,
        "patience": ENDLESS,
        "check_charges": False,  # costs time that is none of the budget
    }
    if cell.budget != "steps":
        minutes = float(cell.budget.removesuffix("min"))
        training |= {"epochs": ENDLESS, "max_minutes": minutes, "clock": "cpu"}
    model = recipe.model | recipe.backbones.get(cell.backbone, {})
    model |= {"backbone": cell.backbone, "variant": cell.variant}
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
    if (folder / METRICS_FILE).is_file() or (MEASURED / f"{folder.name}.json").is_file():
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
    result = train(settings, resume=(folder / CHECKPOINT_FILE).is_file())
    metrics: dict[str, Any] = {
        key.removeprefix("test_"): value for key, value in result.model.card.errors.items() if key.startswith("test_")
    }
    if recipe.check and (recipe.check_has_energies or parse_variant(settings.model.variant).responds):
        metrics |= evaluate_file(load_model(folder), data / recipe.check)
    if recipe.split_by is not None:
        metrics |= errors_by(recipe.split_by, load_model(folder), settings.training)
    metrics |= {
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "epochs": len(result.history),
        "steps": result.steps,
        "cpu_minutes": result.history[-1].seconds / 60.0 if settings.training.clock == "cpu" else float("nan"),
    }
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    print(f"{time.strftime('%H:%M:%S')} {folder.name}: {metrics}", flush=True)


def errors_by(key: str, model: Potential, settings: TrainingSettings) -> dict[str, float]:
    """Errors of the frames held out for each value of a key: ``forces_rmse_meV_per_A, VALUE`` and so on."""
    frames = read_structures(settings.data[0])
    groups: dict[str, list[Atoms]] = {}
    for place in split_frames(len(frames), settings.validation_fraction, settings.test_fraction, settings.seed)[2]:
        atoms = frames[place]
        value = atoms.get_chemical_formula() if key == "formula" else atoms.info[key]
        groups.setdefault(str(value), []).append(atoms)
    return {
        f"{name}, {value if key == 'formula' else f'{key}={value}'}": error
        for value, group in groups.items()
        for name, error in evaluate_structures(model, group, settings.keys).items()
        if name.endswith("_rmse_meV_per_A") or name.startswith("energy_rmse")
    }


def measure_time(settings: TrainFile, folder: Path, data: Path) -> None:
    """Time of a recorded step of dynamics from the first frame, one thread, minimum of three rounds."""
    if not (folder / METRICS_FILE).is_file():
        return
    torch.set_num_threads(1)
    model = load_model(folder)
    atoms, engine = read_structure(settings.training.data[0]), model.engines[-1]
    times = []
    for steps in (3, 20, 20, 20):  # the first ones compile
        choices = {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": engine}
        with tempfile.TemporaryDirectory() as place:
            run = Simulation(model, atoms, MDSettings.model_validate(choices), Path(place) / "run.h5").run()
        times.append(run.ms_per_step)
    best = min(times[1:])
    (folder / TIMES_FILE).write_text(json.dumps({"ms_per_step": best, "engine": engine}), encoding="utf-8")
    print(f"{folder.name}: {best:.1f} ms per step of {len(atoms)} atoms, {engine}", flush=True)


def finished(output: Path, name: str) -> dict[str, dict[str, Any]]:
    """Numbers of the finished trainings of a system, by the name of their folder; with times where they were taken."""
    out = {}
    for path in output.glob(f"{name}-*/{METRICS_FILE}"):
        times = path.parent / TIMES_FILE
        out[path.parent.name] = _json(path) | (_json(times) if times.is_file() else {})
    return out


def publish(output: Path, names: list[str]) -> None:
    """Keep the numbers of finished trainings beside this script, a file for each."""
    MEASURED.mkdir(exist_ok=True)
    for name in names:
        for key, metrics in finished(output, name).items():
            (MEASURED / f"{key}.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def table(output: Path, name: str, recipe: SystemRecipe) -> str:
    """Markdown table of the finished trainings: a block per budget, each row a mean over seeds."""
    found: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {}
    kept = {path.stem: path for path in MEASURED.glob(f"{name}-*.json")}
    for key, metrics in sorted(({key: _json(path) for key, path in kept.items()} | finished(output, name)).items()):
        cell = Cell(*key.split("-"))  # type: ignore[arg-type]
        found.setdefault(cell.budget, {}).setdefault((cell.backbone, cell.variant), []).append(metrics)
    blocks = [f"### {recipe.title}"]
    for budget, rows in found.items():
        seeds = {len(several) for several in rows.values()}
        names = sorted({name for several in rows.values() for one in several for name in one})
        columns = [
            (name, words + name.removeprefix(key), form)
            for key, words, form in COLUMNS
            for name in names
            if name == key or name.startswith(f"{key}, ")
        ]
        lines = [
            f"Budget: {_budget_words(budget, recipe)}; {'seeds ' + str(max(seeds)) if max(seeds) > 1 else 'one seed'}.",
            "",
            "| architecture | variant | " + " | ".join(words for _, words, _ in columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for (backbone, variant), several in sorted(rows.items(), key=lambda row: (row[0][0], _rung(row[0][1]))):
            texts = [_number([one[key] for one in several if key in one], form) for key, _, form in columns]
            lines.append(f"| {backbone} | `{variant}` | " + " | ".join(texts) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _budget_words(budget: str, recipe: SystemRecipe) -> str:
    if budget == "steps":
        return f"{recipe.training['epochs']} epochs"
    return f"{budget.removesuffix('min')} CPU minutes of one thread for each training"


def _rung(variant: str) -> tuple[bool, int, str]:
    """Order of the ladders: no electrostatics, atomic charges, charges of pairs."""
    return (variant.startswith("p"), len(variant) if variant != "sr" else 0, variant)


def _number(values: list[float], form: str) -> str:
    """Mean of the seeds, with their spread."""
    if not values:
        return ""
    text = format(mean(values), form)
    return text if len(values) == 1 else f"{text} +- {format(pstdev(values), form)}"


if __name__ == "__main__":
    main()
