"""Stability of the shipped water model: 20 ps at constant energy after equilibration at 300 K.

    python benchmarks/water_nve.py [--ps 20] [--output water_nve.h5]

Prints the drift of the conserved energy, the temperature, the density, the first peak of the oxygen-oxygen radial
distribution function and whether every molecule is still whole.  Repeating the command continues an interrupted run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.folder import load_model
from spectra_app.runs import Run, read_run
from spectra_app.structure.neighbors import neighbor_pairs
from spectra_app.units import G_PER_CM3_PER_AMU_PER_A3

BIN_A = 0.05


def radial_distribution(run: Run, number: int, most_A: float = 6.0, stride: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Distances [bin], A, and g(r) [bin] between the atoms of one element."""
    chosen = np.flatnonzero(run.numbers == number)
    edges = np.arange(0.0, most_A + BIN_A / 2, BIN_A)
    counts, n_frames = np.zeros(len(edges) - 1), 0
    cell = np.asarray(run.cell_A)
    for frame in range(0, len(run.trajectory_step), stride):
        positions = np.asarray(run.positions_A[frame])[0, chosen]
        i, j, shift = neighbor_pairs(positions, cell, most_A)
        distance = np.linalg.norm(positions[j] + shift @ cell - positions[i], axis=1)
        counts += np.histogram(distance, edges)[0]
        n_frames += 1
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    density = len(chosen) / abs(np.linalg.det(cell))
    return 0.5 * (edges[1:] + edges[:-1]), counts / (n_frames * len(chosen) * density * shells)


def hydrogens_per_oxygen(run: Run, bond_A: float = 1.3) -> set[int]:
    """Numbers of hydrogen atoms bound to an oxygen in the last frame: {2} for whole molecules."""
    positions, cell = np.asarray(run.positions_A[len(run.trajectory_step) - 1])[0], np.asarray(run.cell_A)
    i, j, _ = neighbor_pairs(positions, cell, bond_A)
    bound = (run.numbers[i] == 8) & (run.numbers[j] == 1)
    return set(np.bincount(i[bound], minlength=len(positions))[run.numbers == 8].tolist())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="water")
    parser.add_argument("--ps", type=float, default=20.0)
    parser.add_argument("--output", type=Path, default=Path("water_nve.h5"))
    options = parser.parse_args()
    steps = round(options.ps * 1000 / 0.5)
    settings = MDSettings(
        ensemble="nve", steps=steps, equilibration_steps=2000, thermostat_time_fs=100.0, trajectory_stride=20, seed=1
    )
    atoms = start_structure(options.model, None)
    result = Simulation(load_model(options.model), atoms, settings, options.output).run(restart=True)
    run = read_run(options.output)
    distance, g = radial_distribution(run, 8)
    first = int(np.argmax(g[distance < 3.5]))
    density = G_PER_CM3_PER_AMU_PER_A3 * float(run.masses_amu.sum()) / abs(np.linalg.det(np.asarray(run.cell_A)))
    print(f"{options.ps:g} ps, {result.n_atoms} atoms, {result.ms_per_step:.1f} ms per step on {result.device}")
    print(f"energy drift          {result.energy_drift_meV_per_atom_per_ps:+.4f} meV/atom/ps (wanted: below 1)")
    print(f"mean temperature      {result.temperature_K:.1f} K")
    print(f"density               {density:.4f} g/cm^3 (cell of the start structure, fixed)")
    print(f"g_OO first maximum    {distance[first]:.2f} A, height {g[first]:.2f} (experiment 2.80 A, 2.57 at 295 K)")
    print(f"H atoms per O         {sorted(hydrogens_per_oxygen(run))} (whole molecules: [2])")


if __name__ == "__main__":
    main()
