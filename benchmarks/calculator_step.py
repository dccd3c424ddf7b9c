"""What a step costs around a calculator of ASE, beside ASE's own velocity Verlet with the same calculator.

    python benchmarks/calculator_step.py [--atoms 192] [--steps 400] [--rounds 5]

The calculator gives constants, so that its own work is next to nothing, and what it takes is subtracted: copying the
atoms, which ASE's base class does.  Variants take turns in one process on one thread; the table holds the minimum over
the rounds of the process's CPU time per step.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet

from spectra_app import AsePotential, Simulation
from spectra_app.config import MDSettings
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase

SPACING_A = 3.0


class Constants(Calculator):
    """Gives the same whatever the positions; knows the CPU time that it took."""

    implemented_properties = ["energy", "forces", "dipole", "polarizability"]  # noqa: RUF012 (declared so in ase)

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Constants."""
        began = time.process_time()
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        self.results = {
            "energy": 0.0,
            "forces": np.zeros((len(atoms), 3)),
            "dipole": np.zeros(3),
            "polarizability": 0.05 * len(atoms) * np.eye(3),
        }
        self.seconds += time.process_time() - began


def gas(n_atoms: int) -> Atoms:
    """Argon on a grid."""
    side = int(np.ceil(n_atoms ** (1.0 / 3.0)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:n_atoms]
    return Atoms(f"Ar{n_atoms}", SPACING_A * grid)


def one_call(atoms: Atoms, n_steps: int) -> tuple[float, float]:
    """An evaluation with dipole and polarizability: CPU time and the calculator's part of it, s."""
    calculator, system = Constants(), from_ase(atoms)
    model, table = AsePotential(calculator), build_neighbors(system, 0.0)
    model.check_system(system)
    calculator.seconds, began = 0.0, time.process_time()
    for _ in range(n_steps):
        system.positions[0, 0] += 1e-6
        model(system, table)
    return time.process_time() - began, calculator.seconds


def our_step(atoms: Atoms, n_steps: int) -> tuple[float, float]:
    """A recorded step of our dynamics, likewise."""
    calculator = Constants()
    settings = MDSettings(ensemble="nve", steps=n_steps, equilibration_steps=0, temperature_K=1.0)
    run = Simulation(AsePotential(calculator), atoms, settings)
    calculator.seconds, began = 0.0, time.process_time()
    run.run()
    return time.process_time() - began, calculator.seconds


def ase_step(atoms: Atoms, n_steps: int) -> tuple[float, float]:
    """A step of ASE's velocity Verlet, nothing recorded, likewise."""
    moving, calculator = atoms.copy(), Constants()
    moving.calc = calculator
    moving.set_velocities(np.full((len(moving), 3), 1e-5))
    dynamics = VelocityVerlet(moving, timestep=0.5 * units.fs)
    dynamics.run(1)
    calculator.seconds, began = 0.0, time.process_time()
    dynamics.run(n_steps)
    return time.process_time() - began, calculator.seconds


VARIANTS: dict[str, Callable[[Atoms, int], tuple[float, float]]] = {
    "one evaluation through AsePotential": one_call,
    "a recorded step of spectra-app md": our_step,
    "a step of ASE's velocity Verlet": ase_step,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=192)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    atoms = gas(given.atoms)
    best = dict.fromkeys(VARIANTS, float("inf"))
    for _ in range(given.rounds):
        for name, variant in VARIANTS.items():
            total, own = variant(atoms, given.steps)
            best[name] = min(best[name], (total - own) / given.steps)
    print(f"{given.atoms} atoms, CPU time without the calculator's own; load average {os.getloadavg()[0]:.1f}")
    for name, seconds in best.items():
        print(f"  {name:<40} {1e3 * seconds:.3f} ms")


if __name__ == "__main__":
    main()
