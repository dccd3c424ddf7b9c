"""Errors of the shipped water model on frames it never saw, and of its responses against labels it never had.

    python benchmarks/water_accuracy.py [--data ../shared/data]

Needs the reference data of development beside the repository; says so and stops where it is missing.  The held-out
frames are those that the recipe in models/water/training.yaml draws with its seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from spectra_app.config import TrainFile, parse_settings
from spectra_app.potentials.folder import load_model
from spectra_app.training.dataset import split_frames
from spectra_app.training.evaluation import evaluate_file, evaluate_structures, read_structures
from spectra_app.zoo import find_model


def main() -> None:
    """Print one block per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="water")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    trained_on = options.data / "water_pbe0_ts" / "train.extxyz"
    if not trained_on.is_file():
        raise SystemExit(f"skipped: no reference data at {options.data} (give --data)")
    recipe = yaml.safe_load((find_model(options.model) / "training.yaml").read_text(encoding="utf-8"))
    settings = parse_settings(TrainFile, recipe).training
    model = load_model(options.model)
    frames = read_structures(trained_on)
    _, _, test = split_frames(len(frames), settings.validation_fraction, settings.test_fraction, settings.seed)
    blocks = {
        f"PBE0+TS water, {len(test)} frames held out from training": evaluate_structures(
            model, [frames[i] for i in test]
        ),
        "DFPT polarizability of water, 50 frames of 32 H2O": evaluate_file(
            model, options.data / "water_polarizability" / "response_check.extxyz"
        ),
    }
    for title, metrics in blocks.items():
        print(title)
        for name, value in metrics.items():
            print(f"  {name:<38}{value:>10.4g}")


if __name__ == "__main__":
    main()
