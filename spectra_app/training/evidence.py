"""Do the data know of charges?  Whether a network of the same reach could do without a model's electrostatics.

A model that was trained on forces without any long range (of another machine-learned potential, for example) has
charges all the same: within the reach of its network they are as good a basis as any, and the network takes back what
is wrong.  Their weight in the forces does not tell them from real ones.  What tells is whether the same network, its
electrostatics switched off, can learn to give the same forces: then the data never needed charges.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.errors import ModelError
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import Neighbors, concatenate_neighbors
from spectra_app.structure.system import System, concatenate, with_gradients
from spectra_app.training.optimizers import Muon
from spectra_app.zoo import EVIDENCE_FILE

LEAST_NEED = 3.0  # forces that need electrostatics, over the error of the forces (docs/labels.md says why)
NO_NEED = 1.0  # below this nothing speaks for charges
MOST_STEPS = 1000  # of learning; more change little
LEAST_STEPS = 100  # less learns too little to say anything
STEPS_SHARE = 0.1  # of those of the training
MOST_KNOWN = 64  # structures to learn from
MOST_HELD_OUT = 16  # to test on
FEW_FRAMES = 8  # together: less say nothing
BATCH = 2  # structures for a step
LEARNING_RATE = 5e-3  # at its peak; then a cosine to zero
WARMUP = 0.02  # share of the steps in which it rises
EMA = 0.98  # decay of the moving average of the weights
_CLIP = 10.0  # largest norm of the gradient

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
    def learned(self) -> bool:
        """Whether the forces determine the charges."""
        return self.need >= LEAST_NEED

    @property
    def sentence(self) -> str:
        """What was found, and what it means."""
        what = (
            f"electrostatic forces are {self.electrostatic_meV_per_A:.0f} of {self.forces_meV_per_A:.0f} meV/A (rms); "
            f"the network without them comes within {self.needed_meV_per_A:.1f} meV/A of the model's forces, "
            f"{self.need:.2g} times their error"
        )
        if self.learned:
            return f"the forces need the charges: {what}"
        found = "hint at charges and do not prove them" if self.need >= NO_NEED else "do not prove the charges"
        return (
            f"the forces {found}: {what}. Check Born charges or dipoles against a reference before "
            "you trust a spectrum: the range of the teacher or the structures may be short, or the frames too few "
            "(docs/labels.md)"
        )


def evidence_json(evidence: ChargeEvidence) -> str:
    """As JSON text; units are in the names."""
    facts = asdict(evidence) | {"charge_need": evidence.need, "charges_learned": evidence.learned}
    return json.dumps(facts, indent=1) + "\n"


def read_evidence(folder: Path) -> ChargeEvidence | None:
    """What training found out of a model; None where it did not.

    Args:
        folder: of the model.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / EVIDENCE_FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return ChargeEvidence(**{name.name: facts[name.name] for name in fields(ChargeEvidence)})
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{path}", got="damaged", todo="Remove it: nothing else depends on it") from None


def measure_evidence(
    model: Potential,
    known: Sequence[Structure],
    held_out: Sequence[Structure],
    labels: Sequence[Tensor],
    n_steps: int = MOST_STEPS,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> ChargeEvidence | None:
    """Let the network of a model learn the forces of the whole, and see what it cannot.

    Args:
        model: the potential.
        known: structures to learn from, in the model's dtype and on its device, with tables complete to its cutoff; of
            many, some.
        held_out: structures to test on; likewise.
        labels: forces [atom, xyz], eV/A, of these.
        n_steps: of learning.
        seed: of the order.
        progress: told after every step how many are done.

    Returns:
        None of a model without electrostatics, of too few structures or steps.
    """
    if not model.variant.electrostatic or n_steps < LEAST_STEPS or not held_out:
        return None
    if len(known) + len(held_out) < FEW_FRAMES:
        return None
    known = known[:: -(-len(known) // MOST_KNOWN)]
    places = range(0, len(held_out), -(-len(held_out) // MOST_HELD_OUT))
    short = copy.deepcopy(model)
    short.variant, short.engine, short.training_range = parse_variant("sr"), "eager", None
    targets = [_forces(model, *structure) for structure in known]
    short.requires_grad_(False)
    short.backbone.requires_grad_(True)
    short.energy_head.requires_grad_(True)
    short = _learn(short, known, targets, n_steps, seed, progress)
    bare = copy.copy(model)
    bare.variant = short.variant
    sums, count = torch.zeros(4, dtype=torch.float64), 0
    for place in places:
        whole = _forces(model, *held_out[place]).double()
        parts = (
            whole,
            whole - _forces(bare, *held_out[place]).double(),
            whole - _forces(short, *held_out[place]).double(),
            whole - labels[place].double(),
        )
        sums += torch.stack([(part * part).sum() for part in parts]).cpu()
        count += whole.numel()
    rms = [1e3 * math.sqrt(float(value) / count) for value in sums]
    # The network as it was is one that does without; of few structures it may learn nothing better.
    return ChargeEvidence(rms[0], rms[1], min(rms[1], rms[2]), rms[3], len(places), n_steps)


def _learn(
    short: Potential,
    known: Sequence[Structure],
    targets: Sequence[Tensor],
    n_steps: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Potential:
    """The network after steps towards forces, averaged over the last of them."""
    optimizer, order, average = Muon(short, LEARNING_RATE), torch.Generator().manual_seed(seed), copy.deepcopy(short)
    places: list[int] = []
    for step in range(n_steps):
        if len(places) < BATCH:
            places = torch.randperm(len(known), generator=order).tolist()
        chosen, places = places[:BATCH], places[BATCH:]
        system = concatenate([known[place][0] for place in chosen])
        neighbors = concatenate_neighbors([known[place][1] for place in chosen])
        with torch.enable_grad():
            moving, _ = with_gradients(system, True, False)
            energy = short.evaluate(moving, neighbors, None, responses=False).energy.sum()
            (gradient,) = torch.autograd.grad(energy, moving.positions, create_graph=True)
            loss = ((gradient + torch.cat([targets[place] for place in chosen])) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(short.parameters(), _CLIP)
        share = min(1.0, (step + 1.0) / (WARMUP * n_steps)) * 0.5 * (1.0 + math.cos(math.pi * step / n_steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * share
        optimizer.step()
        with torch.no_grad():
            decay = min(EMA, (1.0 + step) / (10.0 + step))
            torch._foreach_lerp_(list(average.parameters()), list(short.parameters()), 1.0 - decay)
        if progress is not None:
            progress(step + 1)
    return average


def _forces(model: Potential, system: System, neighbors: Neighbors) -> Tensor:
    """[atom, xyz], eV/A, without graph."""
    with torch.enable_grad():
        moving, _ = with_gradients(system, True, False)
        k = model.k_vectors(system) if model.variant.electrostatic else None
        energy = model.evaluate(moving, neighbors, k, responses=False).energy.sum()
        (gradient,) = torch.autograd.grad(energy, moving.positions)
    return -gradient.detach()
