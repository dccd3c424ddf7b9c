"""Time of electrostatics in cells that are mostly vacuum: atoms open, in wider and wider boxes, and as a layer.

Energy, response and gradient by positions and all multipoles; processor time of the best round.  ``--plain`` times the
sum over all vectors of the cell too.

    python benchmarks/vacuum_speed.py --plain
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.lattice import EwaldMethod
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.electrostatics.vacuum import choose_ways
from spectra_app.structure.system import System, make_system

SIGMA, TOLERANCE, PATIENCE_S = 1.0, 1e-4, 2.0


def molecule(n_atoms: int, edge: float | None) -> System:
    """A drop at the density of water, open or in a cubic box."""
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64) * (10.0 * n_atoms) ** (1 / 3)
    cell = None if edge is None else np.eye(3) * edge
    return make_system(positions, np.full(n_atoms, 8), cell, dtype=torch.float32)


def layer(n_atoms: int, vacuum: float) -> System:
    """A layer 8 A thick at the density of water under vacuum, periodic in three directions."""
    width = (10.0 * n_atoms / 8.0) ** 0.5
    cell = np.diag([width, width, 8.0 + vacuum])
    fractional = torch.rand(n_atoms, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positions = fractional * torch.tensor([width, width, 8.0])
    return make_system(positions, np.full(n_atoms, 8), cell, dtype=torch.float32)


def multipoles(n_atoms: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random charges, dipoles and quadrupoles."""
    generator = torch.Generator().manual_seed(1)
    q, u, quad = (torch.randn(shape, generator=generator) for shape in (n_atoms, (n_atoms, 3), (n_atoms, 3, 3)))
    quad = quad + quad.transpose(1, 2)
    return q - q.mean(), 0.3 * u, 0.1 * (quad - quad.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3))


def measure(system: System, method: EwaldMethod) -> tuple[float, float, str]:
    """Best processor time [ms], energy [eV], and the way that was taken."""
    k = prepare_k_vectors(system, reciprocal_cutoff(TOLERANCE, SIGMA, 2), method)
    values = multipoles(len(system.positions))
    way = "open" if k is None else choose_ways(system, k, SIGMA)[0][0].kind

    def evaluate() -> float:
        r, *m = (t.detach().clone().requires_grad_() for t in (system.positions, *values))
        result = prepare_interaction(system._replace(positions=r), k, SIGMA).permanent(Multipoles(*m))
        energy = result.energy.sum() - 0.05 * (result.field**2).sum() - 0.01 * (result.potential**2).sum()
        energy.backward()
        return float(result.energy)

    energy = evaluate()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < PATIENCE_S and len(times) < 200):
        start = time.process_time()
        evaluate()
        times.append(time.process_time() - start)
    return 1e3 * min(times), energy, way


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", action="store_true", help="also the plain sum over all vectors")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = [
        (f"{n} atoms, box {edge or 'none'}", molecule(n, edge))
        for n in (15, 60, 200)
        for edge in (None, 20.0, 40.0, 60.0)
    ]
    cases += [(f"{n} atoms, layer, vacuum {v:g}", layer(n, v)) for n in (192, 768) for v in (20.0, 40.0, 80.0)]
    for name, system in cases:
        methods: tuple[EwaldMethod, ...] = ("auto", "sum") if options.plain and bool(system.periodic) else ("auto",)
        for method in methods:
            best, energy, way = measure(system, method)
            print(f"{name:32s} {method:5s} {way:8s} {best:10.1f} ms {energy:14.5f} eV", flush=True)


if __name__ == "__main__":
    main()
