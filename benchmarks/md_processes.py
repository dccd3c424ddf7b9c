"""Replicas of the shipped water model in one batch against the same over processes, one core each.

    python benchmarks/md_processes.py --replicas 2 4 --steps 20

Both take turns, so that what else the machine does hurts both alike; the fastest round counts.  Wall time of a step
of all replicas, recorded.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

import torch

from spectra_app import load_model
from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, Recorder
from spectra_app.dynamics.engine import StepEngine
from spectra_app.dynamics.engine.processes import ProcessEngine
from spectra_app.dynamics.state import MDState
from spectra_app.jobs.batch import make_batch
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials import Potential


@dataclass
class Way:
    """One way to run the replicas.

    Attributes:
        name: of it.
        threads: of this process.
        engine: that makes its steps.
        state: that it goes on from.
        best_s: fastest step of all replicas, s.
    """

    name: str
    threads: int
    engine: StepEngine
    state: MDState
    best_s: float = float("inf")

    def turn(self, n_steps: int) -> None:
        """Some steps, of which the time counts."""
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        for _ in range(max(1, n_steps // 10)):
            self.state = self.engine.advance(self.state, 10).state
        self.best_s = min(self.best_s, (time.perf_counter() - began) / (10 * max(1, n_steps // 10)))


def measure(model: Potential, n_replicas: int, repeat: int, n_steps: int, rounds: int, processes: int) -> list[Way]:
    """The ways, with their times."""
    settings = MDSettings(replicas=n_replicas, equilibration_steps=0, trajectory_stride=10_000)
    batch = make_batch(model, start_structure(model.card.name, None).repeat((repeat, 1, 1)), settings, None)
    ways = []
    with ProcessEngine(model, batch.particles, settings, processes, lambda: 0) as spread:
        for threads in sorted({1, processes}):
            dynamics = MolecularDynamics(model, batch.particles, settings)
            recorder = Recorder(batch.particles, model.scale, None, 0.5, 1, 10_000, True)
            state, _ = dynamics.start()
            ways.append(Way(f"one batch, {threads} threads", threads, dynamics.engine_for(recorder), state))
        ways.append(Way(f"{processes} processes", 1, spread, ways[0].state))
        for turn in range(rounds + 1):
            for way in ways:
                way.turn(n_steps)
                if turn == 0:  # compiles, starts
                    way.best_s = float("inf")
    return ways


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeat", type=int, nargs="+", default=[1], help="cells side by side in a replica")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="compiled")
    options = parser.parse_args()
    model = load_model("water", device="cpu")
    model.engine = options.engine
    print(f"{options.processes} cores, engine {options.engine}, load {os.getloadavg()[0]:.1f}")
    for repeat in options.repeat:
        for n_replicas in options.replicas:
            ways = measure(model, n_replicas, repeat, options.steps, options.rounds, options.processes)
            for way in ways:
                ratio = ways[0].best_s / way.best_s
                print(f"{n_replicas} x {192 * repeat} atoms: {way.name:<24}{1e3 * way.best_s:8.1f} ms, {ratio:.2f}")


if __name__ == "__main__":
    main()
