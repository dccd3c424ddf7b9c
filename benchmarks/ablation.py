"""What every rung of the ladder of variants is worth: one training each, same frames, same number of steps, same seed.

    python benchmarks/ablation.py                               # all sets and variants, about 2 hours on one core
    python benchmarks/ablation.py --sets quartz_pbe --variants p,puiu --scale 0.2
    python benchmarks/ablation.py --table docs/ablation.md      # train nothing, renew the tables in this page

Needs the reference data of development (--data); says so and stops where it is missing.  Finished trainings are
kept in --output and not repeated, a killed one continues from its checkpoint, and several of these commands may share
one output folder.  Force errors are on frames that were neither trained on nor used to choose an epoch; responses
(dipole, Born charges, polarizability) were in no training at all.  Rows are means over the seeds (--seed) found.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from spectra_app.config import TrainFile, parse_settings
from spectra_app.electrostatics import parse_variant
from spectra_app.potentials.folder import load_model
from spectra_app.training.evaluation import evaluate_file
from spectra_app.training.resume import CHECKPOINT_FILE
from spectra_app.training.trainer import train

VARIANTS = ("sr", "q", "uiu", "uiqiu", "p", "pu", "puiu", "puQipiu")
METRICS_FILE = "metrics.json"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


class DataSet(NamedTuple):
    """What is trained on a set, how, and what is checked.

    Attributes:
        cutoff_A: of the environment, A.
        check: file with labels of responses.
        has_energies: whether that file has energies and forces too.
        training: settings of the training.
    """

    cutoff_A: float
    check: str
    has_energies: bool
    training: dict[str, Any]


SETS = {
    # No second file of this level of theory: four frames are held out, and responses are those of another functional.
    "water_rpbe_d3": DataSet(
        3.5,
        "water_polarizability/response_check.extxyz",
        False,
        {"epochs": 50, "batch_size": 1, "validation_fraction": 0.1, "test_fraction": 0.1, "eps_inf": 1.78},
    ),
    "quartz_pbe": DataSet(
        4.5,
        "quartz_pbe/response_check.extxyz",
        True,
        {"epochs": 25, "batch_size": 1, "validation_fraction": 0.06, "eps_inf": 2.38},
    ),
    "dipeptides_spice": DataSet(
        3.5,
        "dipeptides_spice/response_check.extxyz",
        True,
        {"epochs": 20, "batch_size": 2, "validation_fraction": 0.06},
    ),
}
COLUMNS = (
    ("forces_rmse_meV_per_A", "forces, meV/A", ".1f"),
    ("energy_rmse_meV_per_atom", "energy, meV/atom", ".2f"),
    ("stress_rmse_GPa", "stress, GPa", ".3f"),
    ("dipole_r2", "dipole R2", ".3f"),
    ("born_r2", "Born R2", ".3f"),
    ("born_rmse_e", "Born RMSE, e", ".3f"),
    ("polarizability_pearson_diagonal", "alpha r, diagonal", ".3f"),
    ("polarizability_pearson_offdiagonal", "alpha r, off-diagonal", ".3f"),
    ("polarizability_slope_diagonal", "slope, diagonal", ".2f"),
    ("polarizability_slope_offdiagonal", "slope, off-diagonal", ".2f"),
    ("steps", "steps", ".0f"),
    ("seeds", "seeds", "d"),
    ("cpu_minutes", "CPU minutes", ".1f"),
)


def main() -> None:
    """Train what is missing, then write or print the table."""
    options = read_options()
    if not (options.data / "quartz_pbe").is_dir():
        raise SystemExit(f"skipped: no reference data at {options.data} (give --data)")
    for name in options.sets.split(","):
        for variant in options.variants.split(",") if options.table is None else ():
            folder = options.output / f"{name}-{variant}-{options.seed}"
            if claim(folder):
                try:
                    run(options, name, variant, folder)
                finally:
                    (folder / "running.pid").unlink(missing_ok=True)
    text = table(options.output, options.sets.split(","), options.variants.split(","))
    if options.table is None:
        print(text)
    else:
        renew_tables(options.table, text)


def renew_tables(page: Path, text: str) -> None:
    """Put the text between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path("results") / "ablation", help="folder of all trainings")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, comma-separated")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="variants, comma-separated")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of epochs of every set")
    parser.add_argument("--seed", type=int, default=0, help="of split, initial weights and order")
    parser.add_argument("--table", type=Path, help="train nothing, renew the tables of this page")
    return parser.parse_args()


def claim(folder: Path) -> bool:
    """Whether this process may train in the folder: not finished, and no living process works there."""
    if (folder / METRICS_FILE).is_file():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "running.pid"
    try:
        os.kill(int(mark.read_text()), 0)
        return False
    except (FileNotFoundError, ValueError, ProcessLookupError):
        mark.write_text(str(os.getpid()))
        return True


def run(options: argparse.Namespace, name: str, variant: str, folder: Path) -> None:
    """One training and its evaluation; the numbers go to metrics.json in its folder."""
    data = SETS[name]
    recipe = dict(data.training)
    recipe["epochs"] = max(1, round(recipe["epochs"] * options.scale))
    training = recipe | {
        "data": [str(options.data / name / "train.extxyz")],
        "output": str(folder),
        "patience": recipe["epochs"],
        "seed": options.seed,
    }
    model = {"variant": variant, "cutoff_A": data.cutoff_A}
    settings = parse_settings(TrainFile, {"model": model, "training": training})
    print(f"{time.strftime('%H:%M:%S')} {name} {variant}: {recipe['epochs']} epochs", flush=True)
    before = time.process_time()
    result = train(settings, resume=(folder / CHECKPOINT_FILE).is_file())
    metrics: dict[str, Any] = {
        key.removeprefix("test_"): value for key, value in result.model.card.errors.items() if key.startswith("test_")
    }
    if data.has_energies or parse_variant(variant).responds:
        metrics |= evaluate_file(load_model(folder), options.data / data.check)
    metrics["steps"], metrics["cpu_minutes"] = result.steps, (time.process_time() - before) / 60.0
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    print(f"{time.strftime('%H:%M:%S')} {name} {variant}: {metrics}", flush=True)


def table(output: Path, sets: list[str], variants: list[str]) -> str:
    """Markdown tables of the finished trainings, one per data set, each row a mean over seeds."""
    blocks = []
    for name in sets:
        rows: dict[str, dict[str, Any]] = {}
        for variant in variants:
            found = [
                json.loads(p.read_text(encoding="utf-8")) for p in output.glob(f"{name}-{variant}-*/{METRICS_FILE}")
            ]
            if found:
                rows[variant] = {key: mean(one[key] for one in found) for key in found[0]} | {"seeds": len(found)}
        columns = [column for column in COLUMNS if any(column[0] in metrics for metrics in rows.values())]
        lines = [f"### {name}", "", "| variant | " + " | ".join(words for _, words, _ in columns) + " |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for variant, metrics in rows.items():
            cells = [format(metrics[key], form) if key in metrics else "" for key, _, form in columns]
            lines.append(f"| `{variant}` | " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


if __name__ == "__main__":
    main()
