"""Force errors of water by the number of frames trained on, with and without response, beside published ones.

    python benchmarks/water_learning_curve.py [--data ../shared/data] [--minutes 4] [--output results/learning]
    python benchmarks/water_learning_curve.py --table docs/benchmarks.md     # train nothing, renew the table

40 frames of 64 H2O, RPBE-D3: four are held out from every training, the same as those of the table of architectures
(``systems/water.yaml``), and the first 8, 16 or 36 of the others are trained and validated on.  Every training gets the
same CPU time of one thread.  Needs the reference data of development; says so and stops where it is missing.  Finished
trainings are kept and not repeated; their numbers stand in ``systems/measured/water_learning.json``.

Published errors are those of the authors' models beside the labels (github.com/ChengUCB/les_fit): 604 frames, others
held out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from ase.io import write
from pages import renew_section

from spectra_app.config import TrainFile, load_settings, parse_settings
from spectra_app.training.dataset import split_frames
from spectra_app.training.evaluation import evaluate_structures, read_structures
from spectra_app.training.resume import CHECKPOINT_FILE
from spectra_app.training.trainer import train

HERE = Path(__file__).parent
sys.path.append(str(HERE / "systems"))
KEPT = HERE / "systems" / "measured" / "water_learning.json"
FRAMES, VARIANTS = (8, 16, 36), ("sr", "puQipiu")
PUBLISHED = (("CACE, latent charges", 20.6), ("MACE", 14.4), ("MACE, latent charges", 10.1))  # meV/A, 604 frames


def main() -> None:
    """Train what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path("results") / "learning")
    parser.add_argument("--minutes", type=float, default=4.0, help="CPU minutes of one thread for each training")
    parser.add_argument("--table", type=Path, help="train nothing, renew the table of this page")
    options = parser.parse_args()
    kept: dict[str, dict[str, float]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    if options.table is not None:
        renew_section(options.table, "water learning", table(kept))
        return
    for n_frames in FRAMES:
        for variant in VARIANTS:
            name = f"{variant}-{n_frames}-{options.minutes:g}min"
            if name not in kept:
                kept[name] = measure(variant, n_frames, options) | {"minutes": options.minutes}
                KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(name, kept[name], flush=True)
    print(table(kept))


def measure(variant: str, n_frames: int, options: argparse.Namespace) -> dict[str, float]:
    """One training, and its errors on the frames held out."""
    from system_cells import SystemRecipe

    torch.set_num_threads(1)
    recipe = load_settings(SystemRecipe, HERE / "systems" / "water.yaml")
    path = options.data / recipe.train
    if not path.is_file():
        raise SystemExit(f"skipped: no reference data at {path} (give --data)")
    frames = read_structures(path)
    shares = recipe.training["validation_fraction"], recipe.training["test_fraction"]
    trained, validated, held_out = split_frames(len(frames), *shares, 0)
    chosen = sorted([*trained, *validated])[:n_frames]
    folder = options.output / f"{variant}-{n_frames}"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "frames.extxyz", [frames[place] for place in chosen])
    training: dict[str, Any] = recipe.training | {
        "data": [str(folder / "frames.extxyz")],
        "output": str(folder / "model"),
        "test_fraction": 0.0,
        "validation_fraction": 0.125,
        "epochs": 100_000,
        "patience": 100_000,
        "max_minutes": options.minutes,
        "clock": "cpu",
        "check_charges": False,
    }
    settings = parse_settings(TrainFile, {"model": recipe.model | {"variant": variant}, "training": training}, variant)
    result = train(settings, resume=(folder / "model" / CHECKPOINT_FILE).is_file())
    errors = evaluate_structures(result.model, [frames[place] for place in held_out])
    return {
        "forces_rmse_meV_per_A": errors["forces_rmse_meV_per_A"],
        "energy_rmse_meV_per_atom": errors["energy_rmse_meV_per_atom"],
        "epochs": len(result.history),
        "test_frames": len(held_out),
    }


def table(kept: dict[str, dict[str, float]]) -> str:
    """Markdown: errors by frames, published ones below."""
    minutes = sorted({numbers["minutes"] for numbers in kept.values()})
    lines = [
        f"RPBE-D3 water, `painn`, {' or '.join(f'{m:g}' for m in minutes)} CPU minutes of one thread each, "
        "one seed; forces on the same four frames held out.",
        "",
        "| frames | " + " | ".join(f"`{variant}`, forces, meV/A | energy, meV/atom" for variant in VARIANTS) + " |",
        "|---" * (1 + 2 * len(VARIANTS)) + "|",
    ]
    for n_frames in FRAMES:
        cells = []
        for variant in VARIANTS:
            found = [numbers for name, numbers in kept.items() if name.startswith(f"{variant}-{n_frames}-")]
            cells += [f"{n['forces_rmse_meV_per_A']:.1f} | {n['energy_rmse_meV_per_atom']:.2f}" for n in found[-1:]]
        lines.append(f"| {n_frames} | " + " | ".join(cells) + " |")
    words = "; ".join(f"{name} {error:g}" for name, error in PUBLISHED)
    return "\n".join([*lines, "", f"Published, trained on 604 frames of the same labels, forces, meV/A: {words}."])


if __name__ == "__main__":
    main()
