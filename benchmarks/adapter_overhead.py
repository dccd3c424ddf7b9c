"""What heads, electrostatics and recording cost on top of a library's own model, per step of molecular dynamics.

    python benchmarks/adapter_overhead.py --backbone mace [--rounds 5] [--steps 10] [--json FILE]

192 atoms of water, one thread, float32.  Two loops take turns in one process, each with the network of the same
architecture and weights: velocity Verlet of ASE with the library's calculator (energy and forces), and ours with the
variant ``puQipiu``, dipole and polarizability recorded at every step.  Times are those of the process, per step, the
minimum over the rounds; the weights are random and the short-range energies small, so that nothing flies apart.

A third row is our loop without electrostatics: what the library's layers cost inside it.  Run it in the environment of
the library (docs/backbones.md).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase import units as ase_units
from ase.data import atomic_numbers
from ase.io import read
from ase.md.verlet import VelocityVerlet

from spectra_app.config import MDSettings, ModelSettings, parse_settings
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.scale import PhysicalScale

START = Path(__file__).parents[1] / "models" / "water" / "start.extxyz"
SPECIES = ("H", "O")
HEADS: dict[str, Any] = {
    "variant": "puQipiu",
    "alpha": "bonds",
    "heads": {"cutoff_A": 3.5},
    "oxidation_states": {"H": 1, "O": -2},
}
SMALL_ENERGY = 1e-3  # eV, unit of the short-range energies
FEW = 6  # steps after which a run file is as complete as after many: Born charges of four configurations
NEVER = 10**9


def mace_calculator(model: Potential) -> Any:
    """The library's calculator of a model's network."""
    from spectra_app.potentials.backbones.mace import MACEBackbone, library_arguments
    from spectra_app.potentials.backbones.mace_library import mace_modules, quiet

    ours = model.backbone
    assert isinstance(ours, MACEBackbone)
    numbers = {"atomic_numbers": [atomic_numbers[symbol] for symbol in SPECIES]}
    scale = {"atomic_inter_scale": float(model.energy_scale), "atomic_inter_shift": 0.0}
    with quiet():
        arguments = library_arguments(ours.settings, len(SPECIES))
        theirs = mace_modules().ScaleShiftMACE(**{**arguments, **numbers, **scale})
        theirs.load_state_dict(dict(ours.network.named_parameters()), strict=False)
        from mace.calculators import MACECalculator

        return MACECalculator(models=theirs, default_dtype="float32")


def nequip_calculator(model: Potential) -> Any:
    """The calculator of nequip with a model's network, NequIP or Allegro, as its own constructor makes it."""
    from spectra_app.potentials.backbones.nequip_file import library_at_work
    from spectra_app.potentials.backbones.nequip_library import LibraryBackbone

    ours = model.backbone
    assert isinstance(ours, LibraryBackbone)
    s: Any = ours.settings
    shared = {
        "seed": 0,
        "model_dtype": "float32",
        "type_names": list(SPECIES),
        "r_max": s.cutoff_A,
        "l_max": s.l_max,
        "parity": s.parity,
        "num_layers": s.layers,
        "avg_num_neighbors": ours.neighbors_norm()["avg_num_neighbors"],
        "per_type_energy_scales": float(model.energy_scale),
        "per_type_energy_shifts": 0.0,
    }
    with library_at_work():
        from nequip.ase import NequIPCalculator
        from nequip.integrations.utils import basic_transforms

        if s.name == "nequip":
            from nequip.model import NequIPGNNModel

            own = {"num_features": s.channels, "radial_mlp_width": s.radial_width, "num_bessels": s.n_radial}
            theirs = NequIPGNNModel(**shared, **own)
        else:
            from allegro.model import AllegroModel

            radial = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": s.n_radial}
            own = {"num_scalar_features": s.channels, "num_tensor_features": s.tensor_channels}
            theirs = AllegroModel(**shared, **own, radial_chemical_embed=radial)
        weights = {f"model.func.{name}": value for name, value in ours.network.named_parameters()}
        assert set(weights) == {name for name, _ in theirs.named_parameters()}
        theirs.load_state_dict(weights, strict=False)
        transforms = basic_transforms(
            theirs.metadata, s.cutoff_A, list(SPECIES), {symbol: symbol for symbol in SPECIES}
        )
        return NequIPCalculator(theirs.eval(), "cpu", transforms=transforms)


CALCULATORS: dict[str, Callable[[Potential], Any]] = {
    "mace": mace_calculator,
    "nequip": nequip_calculator,
    "allegro": nequip_calculator,
}
"""Name of a backbone -> the library's own calculator of its network."""
ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
    "mace": {
        "default": {"cutoff_A": 4.0},
        "64 channels, max L 1, correlation 3": {"cutoff_A": 4.5, "channels": 64, "max_ell": 3, "correlation": 3},
    },
    "nequip": {"last layer of scalars": {"last_layer": "scalars"}},
    "allegro": {"cutoff 4 A": {"cutoff_A": 4.0}},
}
"""Name of a backbone -> sizes in words -> their keys."""


def potential(backbone: str, keys: dict[str, Any], heads: dict[str, Any]) -> Potential:
    """Untrained, ready for molecular dynamics."""
    torch.manual_seed(1)
    settings = parse_settings(ModelSettings, {"backbone": backbone, **keys, **heads})
    model = Potential(settings, SPECIES, None, SMALL_ENERGY, 1.78)
    model.scale = PhysicalScale(1.78, *((0.3, 1.3) if model.variant.responds else (0.0, 1.0)))
    return model.requires_grad_(False).eval()


def ours(model: Potential, atoms: Atoms, engine: str, record: bool) -> Callable[[int], None]:
    """Our loop of some steps."""
    stride = {"trajectory_stride": 1} if record else {"record_stride": NEVER, "trajectory_stride": NEVER}

    def run(steps: int) -> None:
        words = {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": engine, **stride}
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "run.h5" if record else None
            Simulation(model, atoms, MDSettings.model_validate(words), output).run()

    return run


def library(model: Potential, atoms: Atoms, backbone: str) -> Callable[[int], None]:
    """ASE's loop of some steps."""
    atoms = atoms.copy()
    atoms.calc = CALCULATORS[backbone](model)
    spread = np.sqrt(ase_units.kB * 300.0 * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    return VelocityVerlet(atoms, 0.5 * ase_units.fs).run


def measure(ways: dict[str, Callable[[int], None]], steps: int, rounds: int) -> dict[str, float]:
    """Process time of a step of each, s: of many steps less that of few, so that beginning and end cancel."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            times = []
            for n in (FEW, FEW + steps):
                began = time.process_time()
                run(n)
                times.append(time.process_time() - began)
            if turn:  # the first one compiles
                found[name].append((times[1] - times[0]) / steps)
    return {name: min(values) for name, values in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=sorted(CALCULATORS), required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architectures", nargs="+", help="some of them, by the beginnings of their words")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    atoms = read(START)
    assert isinstance(atoms, Atoms)
    rows = []
    for words, keys in ARCHITECTURES[wanted.backbone].items():
        if wanted.architectures and not words.startswith(tuple(wanted.architectures)):
            continue
        whole, bare = (potential(wanted.backbone, keys, heads) for heads in (HEADS, {"variant": "sr"}))
        ways = {
            "library, ASE": library(bare, atoms, wanted.backbone),
            "ours without electrostatics": ours(bare, atoms, "eager", False),
            "ours, eager, recorded": ours(whole, atoms, "eager", True),
            "ours, compiled, recorded": ours(whole, atoms, "compiled", True),
        }
        times = measure(ways, wanted.steps, wanted.rounds)
        first = times["library, ASE"]
        print(f"{wanted.backbone}, {words}, {len(atoms)} atoms")
        for name, seconds in times.items():
            print(f"  {name:30s} {1e3 * seconds:8.1f} ms  {seconds / first:5.2f}", flush=True)
            rows.append({"architecture": words, "way": name, "ms_per_step": 1e3 * seconds, "ratio": seconds / first})
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
