"""Time of electrostatics, energy and gradient, side by side with the codes that do the same.

    python benchmarks/electrostatics_speed.py [--threads 2] [--atoms 192 1536 12288 98304] [--device cpu]
                                              [--csv times.csv] [--figure docs/electrostatics_speed.png] [--clock wall]

Random points at the density of water, smearing 1 A, k cutoff for a tolerance of 1e-4, float32.  Two tasks: ``charges``
(energy of charges) and ``full`` (charges, dipoles, quadrupoles and the one-shot response of charges and dipoles), each
forward plus the gradient by positions and all multipoles.  Peers, where installed: torch-pme (charges; particle mesh
and, where it fits, plain sum; its mesh spacing for the same tolerance) and nvalchemi-toolkit-ops (multipole PME on
Warp; it returns an energy only, so its ``full`` is without response).  All take turns; the table gives the best of
several rounds, on the wall and on the processor, so that a busy machine shows.  With --device cuda the captured graph
of ours is timed beside the eager call.
"""

from __future__ import annotations

import argparse
import csv
import functools
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.lattice import EwaldMethod
from spectra_app.electrostatics.mesh import mesh_available
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.memory import keep_freed_blocks
from spectra_app.structure.system import make_system
from spectra_app.units import COULOMB_CONSTANT

SIGMA, TOLERANCE = 1.0, 1e-4
EDGE_OF_192 = 12.42  # A: 64 molecules of water
MOST_PAIRS = 2**28  # atoms x vectors that a plain sum is asked to do (a few seconds)
PATIENCE_S = 2.0  # a way of computing gets this long for its rounds


@dataclass(frozen=True)
class Case:
    """Random multipoles at the density of water."""

    positions: Tensor
    cell: Tensor
    charges: Tensor
    dipoles: Tensor
    quadrupoles: Tensor
    alpha: Tensor

    @classmethod
    def make(cls, n_atoms: int, device: str) -> Case:
        """Numbers that depend on the number of atoms alone."""
        edge = EDGE_OF_192 * (n_atoms / 192) ** (1 / 3)
        generator = torch.Generator().manual_seed(n_atoms)
        q = torch.randn(n_atoms, generator=generator)
        quad = torch.randn(n_atoms, 3, 3, generator=generator)
        quad = quad + quad.transpose(1, 2)
        tensors = (
            torch.rand(n_atoms, 3, generator=generator) * edge,
            torch.eye(3) * edge,
            q - q.mean(),
            torch.randn(n_atoms, 3, generator=generator),
            quad - torch.diag_embed(quad.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).expand(-1, 3)),
            torch.rand(n_atoms, generator=generator),
        )
        return cls(*(t.to(device) for t in tensors))


@dataclass(frozen=True)
class Timing:
    """One line of the table; milliseconds, the best round."""

    atoms: int
    task: str
    code: str
    wall_ms: float
    processor_ms: float
    rounds: int


def ours(case: Case, task: str, method: EwaldMethod) -> Callable[[], Tensor]:
    """Energy and gradient by this package; the k vectors are made once, as in a run at fixed cell."""
    rank = 0 if task == "charges" else 2
    device, numbers = str(case.cell.device), np.full(len(case.positions), 8)
    system = make_system(case.positions.cpu(), numbers, case.cell.cpu(), device=device, dtype=torch.float32)
    k = prepare_k_vectors(system, reciprocal_cutoff(TOLERANCE, SIGMA, rank), method)

    def evaluate() -> Tensor:
        positions, q, u, quad = (
            t.detach().requires_grad_() for t in (case.positions, case.charges, case.dipoles, case.quadrupoles)
        )
        multipoles = Multipoles(q) if task == "charges" else Multipoles(q, u, quad)
        result = prepare_interaction(system._replace(positions=positions), k, SIGMA, rank).permanent(multipoles)
        energy = result.energy.sum()
        if task == "full":
            energy = energy - 0.5 * (case.alpha[:, None] * result.field**2).sum()
            energy = energy - 0.05 * (case.alpha * result.potential**2).sum()
        energy.backward()
        return energy.detach()

    return evaluate


def torch_pme(case: Case, way: str) -> Callable[[], Tensor]:
    """Charges by torch-pme: the smeared part alone, so the list of near pairs is empty."""
    import torchpme

    potential = torchpme.CoulombPotential(smearing=SIGMA, prefactor=COULOMB_CONSTANT)
    if way == "mesh":
        calculator = torchpme.PMECalculator(potential, mesh_spacing=SIGMA / 2, interpolation_nodes=4)
    else:  # its wavelength counts half: the largest vector of its box is pi over it
        calculator = torchpme.EwaldCalculator(potential, math.pi / reciprocal_cutoff(TOLERANCE, SIGMA, 0))
    calculator = calculator.to(case.cell)
    no_pairs = torch.zeros(0, 2, dtype=torch.int64, device=case.cell.device)

    def evaluate() -> Tensor:
        positions, q = case.positions.detach().requires_grad_(), case.charges.detach().requires_grad_()
        potentials = calculator(q[:, None], case.cell, positions, no_pairs, positions.new_zeros(0))
        energy = (q[:, None] * potentials).sum()
        energy.backward()
        return energy.detach()

    return evaluate


def nvalchemi(case: Case, task: str, way: str) -> Callable[[], Tensor]:
    """Multipoles by nvalchemi-toolkit-ops; smearing alone, so nothing is left in real space (alpha to infinity)."""
    from nvalchemiops.torch.interactions import electrostatics as peer
    from nvalchemiops.torch.interactions.electrostatics.pme_multipole import multipole_pme_reciprocal_space

    edge, sigma = float(case.cell[0, 0]), SIGMA / math.sqrt(2.0)
    points = 2 * math.ceil(0.5 * edge / (0.4 * SIGMA))
    cutoff = reciprocal_cutoff(TOLERANCE, SIGMA, 0 if task == "charges" else 2)

    def evaluate() -> Tensor:
        leaves = (case.positions, case.charges, case.dipoles, case.quadrupoles)
        positions, q, u, quad = (t.detach().requires_grad_() for t in leaves)
        moments = peer.pack_multipole_moments(q) if task == "charges" else peer.pack_multipole_moments(q, u, quad)
        if way == "mesh":
            energy = multipole_pme_reciprocal_space(
                positions, moments, case.cell, sigma=sigma, alpha=1e4, mesh_dimensions=(points,) * 3, spline_order=6
            ).sum()
        else:
            energy = peer.multipole_electrostatic_energy(
                positions, moments, case.cell, sigma=sigma, k_cutoff=cutoff
            ).sum()
        energy.backward()
        return energy.detach()

    return evaluate


def ways(case: Case, task: str) -> dict[str, Callable[[], Callable[[], Tensor]]]:
    """Everything that can be timed here, by name; made when asked for."""
    n_vectors = (reciprocal_cutoff(TOLERANCE, SIGMA, 2) * float(case.cell[0, 0])) ** 3 / (12 * math.pi**2)
    few = len(case.positions) * n_vectors < MOST_PAIRS
    found: dict[str, Callable[[], Callable[[], Tensor]]] = {}
    if few or case.cell.is_cuda:
        found["ours, sum"] = lambda: ours(case, task, "sum")
    if mesh_available() and not case.cell.is_cuda:
        found["ours, mesh"] = lambda: ours(case, task, "mesh")
    peers: list[tuple[str, str, Callable[[str], Callable[[], Tensor]]]] = [
        ("torchpme", "torch-pme", lambda way: torch_pme(case, way)),
        ("nvalchemiops", "nvalchemi", lambda way: nvalchemi(case, task, way)),
    ]
    for module, name, make in peers:
        if module == "torchpme" and task == "full":
            continue
        try:
            __import__(module)
        except ImportError:
            print(f"{name}: not installed, skipped")
            continue
        if few:
            found[f"{name}, sum"] = functools.partial(make, "sum")
        found[f"{name}, mesh"] = functools.partial(make, "mesh")
    return found


def measure(evaluate: Callable[[], Tensor], on_gpu: bool) -> tuple[float, float, int]:
    """Best wall and processor time of a call [ms], and the number of rounds."""
    walls: list[float] = []
    processors: list[float] = []
    began = time.perf_counter()
    while len(walls) < 3 or (time.perf_counter() - began < PATIENCE_S and len(walls) < 200):
        wall, processor = time.perf_counter(), time.process_time()
        evaluate()
        if on_gpu:
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        if time.perf_counter() - began > 10 * PATIENCE_S:
            break
    return 1e3 * min(walls), 1e3 * min(processors), len(walls)


def captured(evaluate: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same call as a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            evaluate()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        energy = evaluate()

    def replay() -> Tensor:
        graph.replay()
        return energy

    return replay


def compare(n_atoms: int, task: str, device: str, codes: tuple[str, ...], peers_to: int) -> list[Timing]:
    """Time every way at one size, and print its line."""
    case, timings, reference = Case.make(n_atoms, device), [], None
    for name, make in ways(case, task).items():
        if not name.startswith(codes) or (n_atoms > peers_to and not name.startswith("ours")):
            continue
        try:
            evaluate = make()
            energy = float(evaluate())
            candidates = {name: evaluate}
            if device != "cpu" and name.startswith("ours"):
                candidates[f"{name}, graph"] = captured(evaluate)
        except Exception as error:  # a code that cannot do this must not end the comparison
            print(f"{n_atoms:7d}  {task:8s} {name:18s} failed: {str(error).splitlines()[0][:70]}")
            continue
        for label, call in candidates.items():
            timings.append(Timing(n_atoms, task, label, *measure(call, device != "cpu")))
            reference = energy if reference is None else reference
            scale = COULOMB_CONSTANT * float((case.charges**2).sum()) / (math.sqrt(2 * math.pi) * SIGMA)
            same = "" if task == "full" and not name.startswith("ours") else f"{abs(energy - reference) / scale:8.1e}"
            line = timings[-1]
            ratio = line.wall_ms / timings[0].wall_ms
            print(
                f"{n_atoms:7d}  {task:8s} {label:18s} {line.wall_ms:10.2f} ms {line.processor_ms:10.2f} ms "
                f"{ratio:7.2f}x {same:>9s}  ({line.rounds})",
                flush=True,
            )
    return timings


def read_times(path: Path) -> list[Timing]:
    """Lines of a table written before."""
    kinds = {"atoms": int, "task": str, "code": str, "wall_ms": float, "processor_ms": float, "rounds": int}
    with path.open(newline="") as file:
        return [Timing(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)]


def draw(timings: list[Timing], path: Path, clock: str, subtitle: str) -> None:
    """Time against the number of atoms, one panel per task."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    titles = {"charges": "charges", "full": "charges, dipoles, quadrupoles, response"}
    for axes, task in zip(panels, titles, strict=True):
        for code in dict.fromkeys(t.code for t in timings):
            line = sorted((t.atoms, getattr(t, f"{clock}_ms")) for t in timings if t.task == task and t.code == code)
            if line:
                thick = 2.2 if code.startswith("ours") else 1.2
                axes.loglog(*zip(*line, strict=True), marker="o", markersize=4, linewidth=thick, label=code)
        mesh = sorted(
            (t.atoms, getattr(t, f"{clock}_ms")) for t in timings if t.task == task and t.code == "ours, mesh"
        )
        if mesh:
            n = np.array([mesh[0][0], mesh[-1][0]], dtype=float)
            guide = n * np.log(n)
            axes.loglog(n, 0.6 * mesh[-1][1] * guide / guide[-1], "k:", linewidth=1, label="N log N")
        axes.set(title=titles[task], xlabel="atoms")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("energy and gradient, ms")
    figure.suptitle(subtitle, fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the table; write it and the figure where wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 1536, 12288, 98304])
    parser.add_argument("--tasks", nargs="+", choices=("charges", "full"), default=["charges", "full"])
    parser.add_argument("--codes", nargs="+", default=["ours", "torch-pme", "nvalchemi"])
    parser.add_argument("--peers-to", type=int, default=12288, help="the most atoms given to the other codes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="what the figure shows")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--with", dest="earlier", type=Path, nargs="*", default=[], help="earlier times for the figure")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run without --device")
    warnings.simplefilter("ignore")  # Warp's about missing GPUs
    torch.set_num_threads(options.threads)
    keep_freed_blocks()
    name = torch.cuda.get_device_name() if options.device != "cpu" else f"CPU, threads: {options.threads}"
    print(f"{name}, torch {torch.__version__}, float32, tolerance {TOLERANCE:g}")
    print("  atoms  task     code                     wall      processor    wall/first  energy off  (rounds)")
    rest = (options.device, tuple(options.codes), options.peers_to)
    timings = [t for n in options.atoms for task in options.tasks for t in compare(n, task, *rest)]
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(asdict(timings[0])))
            writer.writeheader()
            writer.writerows(asdict(t) for t in timings)
    for path in options.earlier:
        timings += read_times(path)
    if options.figure:
        subtitle = f"{options.clock} time, {name}, float32, tolerance {TOLERANCE:g}, smearing {SIGMA} A"
        draw(timings, options.figure, options.clock, subtitle)


if __name__ == "__main__":
    main()
