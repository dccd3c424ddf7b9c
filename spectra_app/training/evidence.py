"""Do the data know of charges?  Whether a network of the same reach could do without a model's electrostatics.

A model that was trained on forces without any long range (of another machine-learned potential, for example) has
charges all the same: within the reach of its network they are as good a basis as any, and the network takes back what
is wrong.  Their weight in the forces does not tell them from real ones.  What tells is whether the same network, its
electrostatics switched off, can learn to give the same forces: then the data never needed charges.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System, with_gradients
from spectra_app.training.optimizers import Muon

LEAST_NEED = 0.5  # of the error of the forces; see docs/labels.md
STEPS = 400
LEARNING_RATE = 3e-3
FINAL_SHARE = 0.02  # of the learning rate, at the end of the cosine
FEW_FRAMES = 8  # to learn from and to test on together: less say nothing

Structure = tuple[System, Neighbors]


@dataclass(frozen=True)
class ChargeEvidence:
    """What forces the electrostatics of a model has that its network cannot make.

    Attributes:
        forces_meV_per_A: root mean square force component of the model on frames held out.
        electrostatic_meV_per_A: of its electrostatics, permanent and induced.
        needed_meV_per_A: of what the network without electrostatics could not learn of its forces.
        error_meV_per_A: error of the forces of the model against the labels.
        n_frames: frames held out.
        n_steps: of the network's learning.
    """

    forces_meV_per_A: float
    electrostatic_meV_per_A: float
    needed_meV_per_A: float
    error_meV_per_A: float
    n_frames: int
    n_steps: int

    @property
    def need(self) -> float:
        """Forces that need electrostatics, over the error of the forces."""
        return self.needed_meV_per_A / max(self.error_meV_per_A, 1e-6)

    @property
    def share(self) -> float:
        """Electrostatic forces over all forces."""
        return self.electrostatic_meV_per_A / max(self.forces_meV_per_A, 1e-6)

    @property
    def learned(self) -> bool:
        """Whether the forces determine the charges."""
        return self.need >= LEAST_NEED


def measure_evidence(
    model: Potential,
    known: Sequence[Structure],
    held_out: Sequence[Structure],
    error_meV_per_A: float,
    n_steps: int = STEPS,
    max_seconds: float = 120.0,
    seed: int = 0,
) -> ChargeEvidence:
    """Let the network of a model learn the forces of the whole, and see what it cannot.

    Args:
        model: with electrostatics.
        known: structures to learn from, in the model's dtype and on its device, with tables complete to its cutoff.
        held_out: structures to test on.
        error_meV_per_A: of the forces of the model on frames held out, against the labels.
        n_steps: of learning, one structure each.
        max_seconds: the most wall time; steps are fewer then.
        seed: of the order.
    """
    short = copy.deepcopy(model)
    short.variant, short.engine, short.training_range = parse_variant("sr"), "eager", None
    targets = [_forces(model, *structure) for structure in known]
    short.requires_grad_(False)
    short.backbone.requires_grad_(True)
    short.energy_head.requires_grad_(True)
    taken = _learn(short, known, targets, n_steps, max_seconds, seed)
    sums, count = torch.zeros(3, dtype=torch.float64), 0
    bare = copy.copy(model)
    bare.variant = short.variant
    for structure in held_out:
        whole = _forces(model, *structure).double()
        parts = whole, whole - _forces(bare, *structure).double(), whole - _forces(short, *structure).double()
        sums += torch.stack([(part * part).sum() for part in parts]).cpu()
        count += whole.numel()
    rms = [1e3 * math.sqrt(float(value) / max(count, 1)) for value in sums]
    return ChargeEvidence(rms[0], rms[1], rms[2], error_meV_per_A, len(held_out), taken)


def _learn(
    short: Potential, known: Sequence[Structure], targets: Sequence[Tensor], n_steps: int, max_seconds: float, seed: int
) -> int:
    """Steps of the network towards forces; returns how many it took."""
    optimizer = Muon(short, LEARNING_RATE)
    order = torch.Generator().manual_seed(seed)
    taken, total, paused = 0, n_steps, time.monotonic()
    places: list[int] = []
    while taken < total:
        if not places:
            places = torch.randperm(len(known), generator=order).tolist()
        place = places.pop()
        system, neighbors = known[place]
        moving, _ = with_gradients(system, True, False)
        with torch.enable_grad():
            energy = short.evaluate(moving, neighbors, None, responses=False).energy.sum()
            (gradient,) = torch.autograd.grad(energy, moving.positions, create_graph=True)
            loss = ((gradient + targets[place]) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        share = taken / total
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * share)))
        optimizer.step()
        taken += 1
        if taken == 5:  # the first ones are slower
            paused = time.monotonic()
        if taken == 10:
            total = min(n_steps, max(10, int(max_seconds * 5.0 / max(time.monotonic() - paused, 1e-9))))
    return taken


def _forces(model: Potential, system: System, neighbors: Neighbors) -> Tensor:
    """[atom, xyz], eV/A, without graph."""
    with torch.enable_grad():
        moving, _ = with_gradients(system, True, False)
        k = model.k_vectors(system) if model.variant.electrostatic else None
        energy = model.evaluate(moving, neighbors, k, responses=False).energy.sum()
        (gradient,) = torch.autograd.grad(energy, moving.positions)
    return -gradient.detach()
