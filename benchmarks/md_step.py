"""Time of one molecular-dynamics step against the number of atoms and of replicas, by engine, beside ASE's loop.

    python benchmarks/md_step.py [--sizes 1 2] [--replicas 1 4] [--steps 100] [--rounds 3] [--json FILE] [--figure FILE]

``--sizes n`` repeats the model's start structure n times along every cell vector (water: 192, 1,536, 5,184, 12,288
atoms for 1, 2, 3, 4).  Variants take turns in one process, so that a busy machine hurts all alike; the table holds the
minimum over the rounds, and the load average says how busy it was.  ASE's velocity Verlet runs the same model through
its calculator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.md.verlet import VelocityVerlet

from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential

NEVER = 10**9
ASE_LOOP = "ASE velocity Verlet"


@dataclass
class Timing:
    """One row.

    Attributes:
        engine: of the run, or ASE's loop.
        recorded: dipole and polarizability at every step.
        n_atoms: of one replica.
        replicas: in one batch.
        ms_per_step: minimum over the rounds.
        atom_steps_per_s: atoms times replicas over that time.
    """

    engine: str
    recorded: bool
    n_atoms: int
    replicas: int
    ms_per_step: float
    atom_steps_per_s: float


def simulate(model: Potential, atoms: Atoms, engine: str, replicas: int, steps: int, record: bool) -> float:
    """Time per step [ms] of our loop at constant energy."""
    stride: dict[str, int] = {} if record else {"record_stride": NEVER, "trajectory_stride": NEVER}
    settings = MDSettings.model_validate(
        {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": engine, "replicas": replicas, **stride}
    )
    with tempfile.TemporaryDirectory() as folder:
        return Simulation(model, atoms, settings, Path(folder) / "run.h5" if record else None).run().ms_per_step


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


def measure(
    model: Potential, atoms: Atoms, replicas: int, steps: int, rounds: int, engines: tuple[str, ...]
) -> list[Timing]:
    """All variants of one size."""
    variants = [(engine, recorded) for engine in engines for recorded in (True, False)]
    if replicas == 1:
        variants.append((ASE_LOOP, True))
    times: dict[tuple[str, bool], list[float]] = {variant: [] for variant in variants}
    for turn in range(rounds + 1):
        for engine, recorded in variants:
            n = steps if turn else 3  # the first turn compiles
            if engine == ASE_LOOP:
                model.engine = "eager"
                found = simulate_ase(model, atoms, n)
            else:
                found = simulate(model, atoms, engine, replicas, n, recorded)
            if turn:
                times[engine, recorded].append(found)
    rows = []
    for (engine, recorded), values in times.items():
        best = min(values)
        rows.append(Timing(engine, recorded, len(atoms), replicas, best, 1e3 * len(atoms) * replicas / best))
    return rows


def device_name(model: Potential) -> str:
    """What the times are of."""
    import torch

    if model.device.type == "cuda":
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.processor() or platform.machine()}, {cores} cores, {torch.get_num_threads()} threads"


def draw(rows: list[Timing], title: str, path: Path) -> None:
    """Time per step against the number of atoms."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for engine, recorded in dict.fromkeys((row.engine, row.recorded) for row in rows if row.replicas == 1):
        points = [row for row in rows if (row.engine, row.recorded, row.replicas) == (engine, recorded, 1)]
        label = engine + ("" if engine == ASE_LOOP else ", recorded" if recorded else ", not recorded")
        x, y = [row.n_atoms for row in points], [row.ms_per_step for row in points]
        axes.loglog(x, y, "o-" if recorded else "o--", label=label)
    axes.set(xlabel="atoms", ylabel="time of a step, ms", title=title)
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="water")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1])
    parser.add_argument("--engines", nargs="+", default=None)
    parser.add_argument("--steps", type=int, default=100, help="for 192 atoms; fewer in proportion to more atoms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    model = load_model(options.model, device=options.device)
    engines = tuple(options.engines or model.engines)
    device = device_name(model)
    print(f"model {model.card.name} ({model.card.variant}), float32, {device}, load {os.getloadavg()[0]:.1f}")
    print(f"{'engine':<22}{'recorded':<10}{'atoms':>7}{'replicas':>10}{'ms per step':>13}{'atom-steps/s':>14}")
    rows: list[Timing] = []
    for size in options.sizes:
        atoms = start_structure(options.model, None).repeat(size)
        for replicas in options.replicas:
            steps = max(5, round(options.steps / (size**3 * replicas)))
            for row in measure(model, atoms, replicas, steps, options.rounds, engines):
                rows.append(row)
                recorded = "yes" if row.recorded else "no"
                print(
                    f"{row.engine:<22}{recorded:<10}{row.n_atoms:>7}{row.replicas:>10}{row.ms_per_step:>13.1f}"
                    f"{row.atom_steps_per_s:>14.0f}"
                )
    if options.json:
        report = {
            "device": device,
            "model": model.card.name,
            "load": os.getloadavg(),
            "rows": [asdict(r) for r in rows],
        }
        options.json.write_text(json.dumps(report, indent=1))
    if options.figure:
        draw(rows, f"model {model.card.name}, {device}", options.figure)


if __name__ == "__main__":
    main()
