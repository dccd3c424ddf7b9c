"""Labelled structures from an analytic potential: Morse bonds plus smeared fixed charges."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import write
from torch import Tensor

from spectra_app.units import COULOMB_CONSTANT

CHARGES = {8: -0.7, 1: 0.35}  # e


def analytic_energy(positions: Tensor, numbers: np.ndarray, charges: bool = True) -> Tensor:
    """Morse potential between all unlike atoms and repulsion between like ones, plus Coulomb energy, eV."""
    q = torch.tensor([CHARGES[int(z)] for z in numbers], dtype=torch.float64)
    unlike = torch.as_tensor(numbers[:, None] != numbers[None, :])
    upper = torch.triu(torch.ones(len(numbers), len(numbers), dtype=torch.bool), 1)
    vectors = positions[:, None] - positions[None, :]
    distance = torch.sqrt((vectors**2).sum(-1) + torch.eye(len(numbers), dtype=torch.float64))
    morse = 3.0 * (1.0 - torch.exp(-2.0 * (distance - 0.98))) ** 2 * torch.exp(-((distance / 1.6) ** 8))
    repulsion = 200.0 * torch.exp(-5.0 * distance)
    coulomb = COULOMB_CONSTANT * q[:, None] * q[None, :] * torch.erf(distance / math.sqrt(2.0)) / distance
    pair = torch.where(unlike, morse, repulsion) + float(charges) * coulomb
    return (pair * upper).sum() - 400.0 * float((numbers == 8).sum()) - 13.0 * float((numbers == 1).sum())


def water_like_frames(
    n_frames: int,
    n_molecules: int = 2,
    seed: int = 0,
    distances: tuple[float, float] = (2.9, 2.9),
    shake: float = 0.06,
    charges: bool = True,
) -> list[Atoms]:
    """Rows of bent triatomic molecules at distances within a range [A], shaken, with energy and forces."""
    rng = np.random.default_rng(seed)
    molecule = np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    frames = []
    for _ in range(n_frames):
        pieces = []
        row = 0.0
        for _ in range(n_molecules):
            axis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            pieces.append(molecule @ axis + np.array([row, 0, 0]) + rng.normal(scale=shake, size=(3, 3)))
            row += rng.uniform(*distances)
        numbers = np.array([8, 1, 1] * n_molecules)
        positions = torch.tensor(np.concatenate(pieces), dtype=torch.float64, requires_grad=True)
        energy = analytic_energy(positions, numbers, charges)
        forces = -torch.autograd.grad(energy, positions)[0]
        atoms = Atoms(numbers, positions.detach().numpy())
        atoms.info["energy"] = float(energy.detach())
        atoms.arrays["forces"] = forces.numpy()
        frames.append(atoms)
    return frames


def write_frames(path: Path, frames: list[Atoms], **changes: float) -> Path:
    """Write frames, optionally with the energies, forces or positions multiplied by a factor."""
    scaled = []
    for atoms in frames:
        copy = atoms.copy()
        copy.info["energy"] = atoms.info["energy"] * changes.get("energy", 1.0)
        copy.arrays["forces"] = atoms.arrays["forces"] * changes.get("forces", 1.0)
        copy.positions *= changes.get("positions", 1.0)
        scaled.append(copy)
    write(path, scaled, format="extxyz")
    return path
