"""What thermostats do to dynamics: a harmonic line and a diffusion constant, beside constant energy and theory.

    python benchmarks/thermostats.py [--tau-fs 500]

A line: 60 copies of 8 atoms on equal springs, velocity autocorrelation ~ exp(-Gamma t) cos(w t), full width 2 Gamma.
Langevin with friction 1/tau has Gamma = 1/(2 tau).  Diffusion: 40 copies of 16 soft spheres, integral of the velocity
autocorrelation; friction adds to collisions: 1/D is larger by m/(k_B T tau), at least.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from scipy.optimize import curve_fit

sys.path.insert(0, str(Path(__file__).parents[1]))

from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, make_particles
from spectra_app.structure.system import from_ase
from spectra_app.units import BOLTZMANN, FORCE_TO_ACCELERATION
from tests.toy_potential import ToyPotential

WAYS = ("nve", "bussi", "nose-hoover", "langevin")
KELVIN = 300.0
SPRING, STEP_FS = 20.0, 4.0
PER_CM_PER_RAD_PER_FS = 1e15 / (2.0 * math.pi * 2.99792458e10)


class Line(NamedTuple):
    """A line: position and full width at half maximum, cm^-1."""

    position_per_cm: float
    width_per_cm: float


def exact_line(tau_fs: float) -> tuple[float, float]:
    """Position of the line of the springs as velocity Verlet has it, and its width from Langevin, cm^-1."""
    omega = math.sqrt(SPRING * FORCE_TO_ACCELERATION / Atoms("Ar").get_masses()[0])
    numerical = 2.0 / STEP_FS * math.asin(0.5 * omega * STEP_FS)
    return numerical * PER_CM_PER_RAD_PER_FS, PER_CM_PER_RAD_PER_FS / tau_fs


def velocities(model: ToyPotential, atoms: Atoms, replicas: int, way: str, tau_fs: float, steps: int) -> np.ndarray:
    """[frame, replica, atom, xyz], A/fs, of a run that begins in equilibrium after a third of it."""
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)
    chosen = {
        "ensemble": "nve" if way == "nve" else "nvt", "thermostat": "bussi" if way == "nve" else way, "skin_A": 2.0,
        "timestep_fs": STEP_FS, "temperature_K": KELVIN, "thermostat_time_fs": tau_fs, "replicas": replicas, "seed": 2,
    }  # fmt: skip
    dynamics = MolecularDynamics(model, particles, MDSettings.model_validate(chosen))
    first = MolecularDynamics(
        model, particles, MDSettings.model_validate({**chosen, "thermostat": "langevin", "thermostat_time_fs": 100.0})
    )
    state, _ = first.start()
    for _ in range(steps // 3):
        state, _ = first._equilibrate(state._replace(streams=state.streams[:1]))
    start, _ = dynamics.start()
    state = state._replace(chain=start.chain)
    found = []
    for _ in range(steps):
        state, _ = dynamics._produce(state)
        found.append(state.velocities.numpy().reshape(replicas, -1, 3))
    return np.stack(found)


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """<v(0) v(t)> [lag] of series [frame, ...], averaged over origins and all else."""
    flat = values.reshape(len(values), -1)
    padded = 2 * len(flat)
    spectrum = np.abs(np.fft.rfft(flat, padded, axis=0)) ** 2
    total = np.fft.irfft(spectrum.sum(axis=1), padded)[:lags]
    return np.asarray(total / (np.arange(len(flat), len(flat) - lags, -1) * flat.shape[1]))


def line(way: str, tau_fs: float, steps: int = 750) -> Line:
    """The line of atoms on springs."""
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3) * 4.0
    atoms = Atoms("Ar8", positions=grid)
    homes = torch.from_numpy(np.tile(grid, (60, 1)))
    model = ToyPotential(onsite=homes, onsite_k=SPRING, repulsion=0.0, bonds=False)
    correlation = autocorrelation(velocities(model, atoms, 60, way, tau_fs, steps), 250)
    time = STEP_FS * np.arange(len(correlation))

    def decaying(t: np.ndarray, rate: float, omega: float) -> np.ndarray:
        return np.asarray(np.exp(-rate * t) * np.cos(omega * t))

    guess = (0.5 / tau_fs, exact_line(tau_fs)[0] / PER_CM_PER_RAD_PER_FS)
    (rate, omega), _ = curve_fit(decaying, time, correlation / correlation[0], p0=guess)
    return Line(omega * PER_CM_PER_RAD_PER_FS, 2.0 * rate * PER_CM_PER_RAD_PER_FS)


def diffusion(way: str, tau_fs: float, steps: int = 1500) -> tuple[float, float]:
    """D of soft spheres and its standard error over replicas, A^2/ps."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)[:16] * 2.6
    atoms = Atoms("Ar16", positions=grid, cell=[7.6] * 3, pbc=True)
    moving = velocities(ToyPotential(bonds=False, repulsion=0.3), atoms, 40, way, tau_fs, steps)
    found = [STEP_FS * float(np.trapezoid(autocorrelation(moving[:, k], 300))) * 1e3 for k in range(40)]
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(40))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tau-fs", type=float, default=500.0)
    tau = parser.parse_args().tau_fs
    position, width = exact_line(tau)
    free = BOLTZMANN * KELVIN * FORCE_TO_ACCELERATION / Atoms("Ar").get_masses()[0] * tau * 1e3
    print(f"line: velocity Verlet {position:.1f} cm^-1; friction 1/tau makes it {width:.1f} cm^-1 wide")
    print(f"{'':<12} {'line, cm^-1':>12} {'width':>8} {'D, A^2/ps':>16}")
    undisturbed = math.nan
    for way in WAYS:
        found, (mean, error) = line(way, tau), diffusion(way, tau)
        undisturbed = mean if way == "nve" else undisturbed
        print(f"{way:<12} {found.position_per_cm:>12.2f} {found.width_per_cm:>8.2f} {mean:>9.3f} +- {error:.3f}")
    print(f"friction added to that of constant energy: D = {1.0 / (1.0 / undisturbed + 1.0 / free):.3f} A^2/ps")


if __name__ == "__main__":
    main()
