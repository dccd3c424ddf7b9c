"""Time of the backbone ``cace`` beside the original package, on one structure: forces, and one step of training.

    git clone https://github.com/BingqingCheng/cace FOLDER && pip install matscipy
    python benchmarks/cace_peer.py --cace FOLDER [--repeat 1] [--rounds 7] [--json FILE]

FOLDER holds the original's package ``cace`` (CC BY-NC 4.0: a peer here, nothing of it is in this repository); without
it, or without what it imports, the script says so and stops.  Both have random weights, short range only, the same
cutoff, l = 3, nu = 3, the same atoms and pairs, one thread and single precision; neighbours are found beforehand.  The
original's settings are those of its water example (6 Bessel functions mixed into 12, embedding 3 of both elements, so
108 products per invariant; readout of 32 and 16), with and without its one message layer.  Ours runs with its defaults,
without messages, and without messages with as many channels and Bessel functions as the original.  All take turns in
one process; the table holds the least CPU time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ase import Atoms

from spectra_app.config import CACESettings, ModelSettings
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase, with_gradients

CUTOFF_A = 4.5
SYMBOLS = ("H", "O")


class Contender(NamedTuple):
    """One model on one structure.

    Attributes:
        name: of the row.
        parameters: how many numbers it trains.
        forces: evaluates energy and forces.
        learn: energy, forces, and the gradient of a loss on both by all weights.
    """

    name: str
    parameters: int
    forces: Callable[[], Any]
    learn: Callable[[], Any]


def main() -> None:
    """Print the table."""
    options = read_options()
    original = import_original(options.cace)
    torch.set_num_threads(1)
    atoms = start_structure("water", None, (options.repeat,) * 3)
    contenders = [
        ours("cace, products only", atoms, {"layers": 0}),
        ours("cace, products only, 108 channels", atoms, {"layers": 0, "channels": 108, "n_radial": 6}),
        theirs("original, products only", original, atoms, 0),
        ours("cace, 1 message layer (default)", atoms, {"layers": 1}),
        theirs("original, 1 message layer", original, atoms, 1),
    ]
    rows = measure(contenders, options.rounds)
    machine = f"{platform.machine()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    print(f"{len(atoms)} atoms, cutoff {CUTOFF_A} A; {machine}")
    print("| model | parameters | forces, ms | training step, ms |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['model']} | {row['parameters']} | {row['forces_ms']:.1f} | {row['training_ms']:.1f} |")
    if options.json:
        options.json.write_text(json.dumps({"atoms": len(atoms), "cutoff_A": CUTOFF_A, "rows": rows}, indent=1))


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cace", type=Path, help="folder that holds the original's package cace")
    parser.add_argument("--repeat", type=int, default=1, help="64 molecules of water, repeated along every vector")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every model")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser.parse_args()


def import_original(folder: Path | None) -> Any:
    """The original's package, from a folder."""
    if folder is None or not (folder / "cace" / "__init__.py").is_file():
        raise SystemExit(f"skipped: no package cace in {folder} (give --cace the folder of a clone of it)")
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("cace")
    except ImportError as missing:
        raise SystemExit(f"skipped: the original does not import here: {missing} (it needs matscipy)") from missing


def ours(name: str, atoms: Atoms, keys: dict[str, int]) -> Contender:
    """Our backbone with its energy head."""
    torch.manual_seed(0)
    backbone = CACESettings(cutoff_A=CUTOFF_A, **keys)
    potential = Potential(ModelSettings(backbone=backbone, variant="sr"), SYMBOLS)
    system = from_ase(atoms).to(dtype=torch.float32)
    neighbors = build_neighbors(system, CUTOFF_A)

    def learn() -> None:
        potential.zero_grad()
        moving, _ = with_gradients(system, True, False)
        energy = potential.evaluate(moving, neighbors, None, responses=False).energy
        backward_of_loss(energy, torch.autograd.grad(energy.sum(), moving.positions, create_graph=True)[0])

    def forces() -> None:
        potential(system, neighbors, polarizability=False)

    return Contender(name, count(potential), forces, learn)


def theirs(name: str, original: Any, atoms: Atoms, layers: int) -> Contender:
    """The original's representation with its readout, as its example builds them."""
    torch.manual_seed(0)
    modules = original.modules
    representation = original.representations.Cace(
        zs=[1, 8],
        n_atom_basis=3,
        embed_receiver_nodes=True,
        cutoff=CUTOFF_A,
        cutoff_fn=modules.PolynomialCutoff(cutoff=CUTOFF_A),
        radial_basis=modules.BesselRBF(cutoff=CUTOFF_A, n_rbf=6, trainable=True),
        n_radial_basis=12,
        max_l=3,
        max_nu=3,
        num_message_passing=layers,
        type_message_passing=["Bchi"],
    )
    readout = modules.Atomwise(n_layers=3, output_key="energy", n_hidden=[32, 16], add_linear_nn=True)
    data = original.data.AtomicData.from_atoms(atoms, cutoff=CUTOFF_A)
    batch = torch.zeros(len(atoms), dtype=torch.int64)

    def evaluate(create_graph: bool) -> tuple[torch.Tensor, torch.Tensor]:
        positions = data["positions"].detach().requires_grad_(True)
        given = {
            "positions": positions,
            "atomic_numbers": data["atomic_numbers"],
            "edge_index": data["edge_index"],
            "shifts": data["shifts"],
            "cell": data["cell"],
            "batch": batch,
        }
        energy = readout(representation(given))["energy"]
        return energy, torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)[0]

    evaluate(False)  # makes the layers whose size it finds out itself
    network = torch.nn.ModuleList([representation, readout])

    def learn() -> None:
        network.zero_grad()
        backward_of_loss(*evaluate(True))

    return Contender(name, count(network), lambda: evaluate(False), learn)


def backward_of_loss(energy: torch.Tensor, forces: torch.Tensor) -> None:
    """Gradient by the weights of a loss of energy and forces."""
    (forces.square().mean() + 1e-6 * energy.square().sum()).backward()


def count(network: torch.nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure(contenders: list[Contender], rounds: int) -> list[dict[str, Any]]:
    """Least CPU time of every contender's two tasks, ms, the contenders taking turns."""
    least = {one.name: [float("inf")] * 2 for one in contenders}
    for _ in range(rounds + 1):  # the first turn warms up: its times are no minima
        for one in contenders:
            for task, act in enumerate((one.forces, one.learn)):
                before = time.process_time()
                act()
                least[one.name][task] = min(least[one.name][task], 1e3 * (time.process_time() - before))
    return [
        {"model": one.name, "parameters": one.parameters, "forces_ms": forces, "training_ms": training}
        for one, (forces, training) in zip(contenders, least.values(), strict=True)
    ]


if __name__ == "__main__":
    main()
