"""Time of one molecular-dynamics step of 64 water molecules: recorded every step, not recorded, and through ASE.

    python benchmarks/md_step.py [--steps 200] [--rounds 4] [--device cpu] [--compile]

The variants take turns in one process, so that a noisy machine hurts all alike; the table gives the median over the
rounds and the ratio to the unrecorded run.  ``--compile`` adds the time of energy and forces with and without
torch.compile (needs a C++ compiler).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase import units as ase_units
from ase.md.verlet import VelocityVerlet

from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase


def simulate(model: Potential, atoms: Atoms, steps: int, record: bool, folder: Path) -> float:
    """Time per step [ms] of our loop at constant energy."""
    stride: dict[str, int] = {} if record else {"record_stride": 10**9, "trajectory_stride": 10**9}
    settings = MDSettings(ensemble="nve", equilibration_steps=0, steps=steps, **stride)
    output = folder / f"{time.perf_counter_ns()}.h5" if record else None
    return Simulation(model, atoms, settings, output).run().ms_per_step


def simulate_ase(model: Potential, atoms: Atoms, steps: int) -> float:
    """Time per step [ms] of ASE's velocity Verlet with our calculator: energy, forces, dipole, polarizability."""
    atoms = atoms.copy()
    atoms.calc = model.calculator()
    spread = np.sqrt(ase_units.kB * 300.0 * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, 0.5 * ase_units.fs)
    dynamics.run(2)
    began = time.perf_counter()
    dynamics.run(steps)
    return 1e3 * (time.perf_counter() - began) / steps


def time_compiled(model: Potential, atoms: Atoms, repeats: int = 20) -> dict[str, float]:
    """Time [ms] of energy and forces, plain and compiled."""
    system = from_ase(atoms, dtype=model.dtype, device=model.device)
    neighbors, k = build_neighbors(system, model.cutoff + 0.5), model.k_vectors(system)
    medians = {}
    for name, evaluate in (("plain", model.evaluate), ("compiled", torch.compile(model.evaluate))):
        times = []
        for _ in range(repeats + 3):
            began = time.perf_counter()
            moved = system._replace(positions=system.positions.detach().requires_grad_(True))
            torch.autograd.grad(evaluate(moved, neighbors, k).energy.sum(), moved.positions)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - began))
        medians[name] = float(np.median(times[3:]))
    return medians


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="water")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    model = load_model(options.model, device=options.device)
    atoms = start_structure(options.model, None)
    device = torch.cuda.get_device_name() if model.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    title = f"{model.card.name} ({model.card.variant}), float32, torch {torch.__version__}"
    print(f"{len(atoms)} atoms, model {title}, {device}")
    times: dict[str, list[float]] = {"not recorded": [], "recorded every step": [], "ASE velocity Verlet": []}
    with tempfile.TemporaryDirectory() as folder:
        simulate(model, atoms, 20, True, Path(folder))  # warm up
        for _ in range(options.rounds):
            times["not recorded"].append(simulate(model, atoms, options.steps, False, Path(folder)))
            times["recorded every step"].append(simulate(model, atoms, options.steps, True, Path(folder)))
            times["ASE velocity Verlet"].append(simulate_ase(model, atoms, options.steps // 2))
    base = float(np.median(times["not recorded"]))
    print(f"{'variant':<22}{'ms per step':>12}{'ratio':>8}")
    for name, values in times.items():
        print(f"{name:<22}{np.median(values):>12.1f}{np.median(values) / base:>8.3f}")
    if options.compile:
        for name, value in time_compiled(model, atoms).items():
            print(f"{'energy+forces, ' + name:<26}{value:>8.1f}")


if __name__ == "__main__":
    main()
