"""Frames per second of ``spectra-app record``: one frame per model call against batches of frames.

    python benchmarks/spectra_record.py [--frames 48] [--batches 1,2,4,8,16] [--device auto] [--molecules 64]

The trajectory is the start structure of the shipped water model, shaken and wrapped, as extended XYZ; the time holds
reading, unwrapping, neighbour search, model, and writing.  Fewer molecules are cut out in a cell of their own: the
smaller the system, the more of a call is overhead that a batch shares.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from spectra_app.jobs.annotate import record_trajectory
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.folder import load_model


def shaken(start: Atoms, n_frames: int) -> list[Atoms]:
    """Frames that wander by 0.02 A a step."""
    rng = np.random.default_rng(0)
    positions = start.get_positions()
    frames = []
    for _ in range(n_frames):
        positions = positions + rng.normal(scale=0.01, size=positions.shape)
        frame = start.copy()
        frame.set_positions(positions)
        frame.wrap()
        frames.append(frame)
    return frames


def some_molecules(start: Atoms, count: int) -> Atoms:
    """A cell with ``count`` of the water molecules and the same density."""
    if 3 * count >= len(start):
        return start
    shrink = (3 * count / len(start)) ** (1.0 / 3.0)
    whole = start.copy()
    part = whole[: 3 * count]
    centre = part.get_positions().reshape(count, 3, 3)
    oxygen = centre[:, :1]
    grid = int(np.ceil(count ** (1.0 / 3.0)))
    places = np.array(list(np.ndindex(grid, grid, grid)))[:count]
    part.set_cell(start.cell.array * shrink)
    spacing = part.cell.lengths()[0] / grid
    vectors = centre - oxygen
    vectors -= np.rint(vectors @ np.linalg.inv(start.cell.array)) @ start.cell.array
    part.set_positions((vectors + (places[:, None] + 0.5) * spacing).reshape(-1, 3))
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--molecules", type=int, default=64)
    options = parser.parse_args()
    model = load_model("water", device=options.device)
    start = some_molecules(start_structure("water", None), options.molecules)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "t.extxyz", shaken(start, options.frames))
        record_trajectory(folder / "t.extxyz", model, folder / "warm.h5", timestep_fs=0.5)
        print(f"{len(start)} atoms on {model.device}\n{'frames per call':>16}{'frames/s':>10}{'ratio':>8}")
        single = None
        for batch in map(int, options.batches.split(",")):
            output = folder / f"{batch}.h5"
            result = record_trajectory(folder / "t.extxyz", model, output, timestep_fs=0.5, batch_size=batch)
            rate = 1e3 / result.ms_per_frame
            single = single or rate
            print(f"{batch:>16}{rate:>10.1f}{rate / single:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
