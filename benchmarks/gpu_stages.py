"""The parts of ``gpu_report``: each measures one thing and tells every result as soon as it has it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from md_step import NEVER

from spectra_app.config import MDSettings
from spectra_app.electrostatics.interaction import prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.multipoles import Multipoles
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import electrostatic_energy
from spectra_app.jobs.simulation import Simulation
from spectra_app.jobs.structures import start_structure
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase

Tell = Callable[[str, Any], None]
MODEL = "water"


class Given(NamedTuple):
    """What a part is asked for.

    Attributes:
        device: torch device.
        quick: a rehearsal: few steps, small cells.
        seconds: time that it has.
        out: folder for files of its own.
    """

    device: str
    quick: bool
    seconds: float
    out: Path


def tests(given: Given, tell: Tell) -> None:
    """The tests that need a GPU."""
    report = given.out / "tests.xml"
    places = ["tests/dynamics", "tests/potentials", "tests/electrostatics", "tests/physics"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", f"--junitxml={report}", *(places[:1] if given.quick else places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tell("exit_code", done.returncode)
    tell("output_tail", (done.stdout + done.stderr)[-6000:])
    passed = skipped = 0
    failed: list[dict[str, str | None]] = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            failed.append({"test": case.get("name"), "message": (bad[0].get("message") or "")[:500]})
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    for name, value in (("passed", passed), ("skipped", skipped), ("failed", failed)):
        tell(name, value)


def precision(given: Given, tell: Tell) -> None:
    """Energy, forces and responses beside the CPU in double precision; energy drift in single precision."""
    atoms = start_structure(MODEL, None)
    found: dict[str, Any] = {}
    for device, dtype in (("cpu", torch.float64), (given.device, torch.float64), (given.device, torch.float32)):
        model = load_model(MODEL, device=device, dtype=dtype)
        system = from_ase(atoms, dtype=model.dtype).to(device)
        prediction = model(system, build_neighbors(system, model.cutoff))
        values = {
            "energy_meV_per_atom": prediction.energy * 1e3 / len(atoms),
            "forces_meV_per_A": prediction.forces * 1e3,
            "dipole_eA": prediction.dipole,
            "polarizability_e2A2_per_eV": prediction.polarizability,
        }
        numbers = {name: value.double().cpu().numpy() for name, value in values.items()}
        if not found:
            found = numbers
            tell("magnitude", {name: float(np.abs(value).max()) for name, value in numbers.items()})
            continue
        errors = {name: float(np.abs(value - found[name]).max()) for name, value in numbers.items()}
        tell(f"largest difference, {given.device} {dtype} and cpu float64", errors)
    with _engines(given.device):
        for engine in ("eager", "graph"):
            steps = 20 if given.quick else 1000 if engine == "eager" else 4000
            model = load_model(MODEL, device=given.device)
            settings = {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": engine, "seed": 1}
            result = Simulation(model, atoms, MDSettings.model_validate(settings)).run()
            tell(f"drift_meV_per_atom_per_ps, float32, {engine}, {steps} steps",
                 result.energy_drift_meV_per_atom_per_ps)  # fmt: skip


def single(given: Given, tell: Tell) -> None:
    """One replica: engines, recorded and not; where the time of a captured step goes."""
    atoms, model = start_structure(MODEL, None), load_model(MODEL, device=given.device)
    with _engines(given.device):
        for engine in ("graph", "eager"):
            for recorded in (True,) if given.quick else (True, False):
                steps = 2 if given.quick else 400 if engine == "graph" else 60
                tell(f"{len(atoms)} atoms, {engine}, {_word(recorded)}", _row(model, atoms, engine, 1, steps, recorded))
        tell("run file included", _with_file(model, atoms, 36 if given.quick else 3000))
        with contextlib.suppress(RuntimeError):
            tell("kernels of a recorded step", _kernels(model, atoms, given))


def batches(given: Given, tell: Tell) -> None:
    """Replicas in one batch until they gain no more; atoms that are evaluated together."""
    from spectra_app.dynamics.engine import graph

    atoms, model = start_structure(MODEL, None), load_model(MODEL, device=given.device)
    began, best, chosen = time.monotonic(), 0.0, 1
    with _engines(given.device):
        for replicas in (1, 2) if given.quick else (1, 4, 16, 32, 64, 128, 256, 512):
            row = _row(model, atoms, "graph", replicas, 4 if given.quick else max(24, 200 // replicas), True)
            tell(f"{replicas} replicas", row)
            if row["atom_steps_per_s"] > best:
                chosen = replicas
            gain, best = row["atom_steps_per_s"] / max(best, 1.0), max(best, row["atom_steps_per_s"])
            if gain < 1.02 or time.monotonic() - began > 0.6 * given.seconds:
                break
        before = graph.GraphSteps.__init__.__defaults__
        for group in (384,) if given.quick else (2048, 4096, 16384, 65536):
            graph.GraphSteps.__init__.__defaults__ = (group,)
            row = _row(model, atoms, "graph", chosen, 4 if given.quick else 24, True)
            tell(f"{chosen} replicas, {group} atoms evaluated together", row)
        graph.GraphSteps.__init__.__defaults__ = before


def large(given: Given, tell: Tell) -> None:
    """Larger cells, 12,288 atoms in the end."""
    model = load_model(MODEL, device=given.device)
    with _engines(given.device):
        for repeats in (1,) if given.quick else (2, 3, 4):
            atoms = start_structure(MODEL, None).repeat(repeats)
            for engine in ("graph", "eager"):
                steps = 4 if given.quick or engine == "eager" else 24 if repeats == 2 else 10
                tell(f"{len(atoms)} atoms, {engine}, recorded", _row(model, atoms, engine, 1, steps, True))


def fused(given: Given, tell: Tell) -> None:
    """An experiment: the evaluation traced to one list of operations, which torch's own compiler makes kernels of."""
    from torch.fx.experimental.proxy_tensor import make_fx

    from spectra_app.dynamics.engine.static_forces import Room, StaticForces

    Room.__new__.__defaults__ = (4, 2)  # enough from the beginning: more would be compiled anew
    plain = StaticForces.predict
    kept: dict[Any, tuple[Any, tuple[str, ...], Any]] = {}

    def predict(self: StaticForces, place: int, positions: Any, recorded: bool, guess: Any) -> Any:
        key = (id(self), place, recorded, self.room)
        if key not in kept:
            began = time.perf_counter()
            names: list[str] = []
            kind: list[Any] = []

            def tensors(positions: Any, guess: Any) -> list[Any]:
                prediction: Any = plain(self, place, positions, recorded, guess)
                names[:] = [name for name in prediction._fields if getattr(prediction, name) is not None]
                kind[:] = [type(prediction)]
                return [getattr(prediction, name) for name in names]

            tensors(positions, guess)  # makes what is made once
            traced = make_fx(tensors)(positions, guess)
            traced.graph.eliminate_dead_code()
            traced.recompile()
            compiled = torch.compile(traced, dynamic=False) if positions.device.type == "cuda" else traced
            expected, found = traced(positions, guess), compiled(positions, guess)
            worst = max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))
            tell(
                f"recorded {recorded}, {self.room}",
                {
                    "operations": len(traced.graph.nodes),
                    "made_in_s": time.perf_counter() - began,
                    "difference": worst,
                },
            )
            kept[key] = compiled, tuple(names), kind[0]
        function, fields, prediction_of = kept[key]
        missing = dict.fromkeys(prediction_of._fields)
        return prediction_of(**(missing | dict(zip(fields, function(positions, guess), strict=True))))

    atoms, model = start_structure(MODEL, None), load_model(MODEL, device=given.device)
    StaticForces.predict = predict  # type: ignore[method-assign]
    try:
        with _engines(given.device):
            for replicas in (1,) if given.quick else (1, 64):
                steps = 3 if given.quick else 200 if replicas == 1 else 24
                tell(f"{replicas} replicas", _row(model, atoms, "graph", replicas, steps, True))
            if not given.quick:
                tell("kernels of a recorded step", _kernels(model, atoms, given))
    finally:
        StaticForces.predict = plain  # type: ignore[method-assign]


def electrostatics(given: Given, tell: Tell) -> None:
    """Charges, dipoles, quadrupoles and their self-consistent response alone: energy, gradient, polarizability."""
    for repeats in (1,) if given.quick else (1, 2, 4):
        atoms = start_structure(MODEL, None).repeat(repeats)
        system = from_ase(atoms, dtype=torch.float32).to(given.device)
        generator, n = torch.Generator().manual_seed(1), len(atoms)
        quadrupoles = 0.1 * torch.randn(n, 3, 3, generator=generator)
        quadrupoles = 0.5 * (quadrupoles + quadrupoles.transpose(1, 2))
        quadrupoles -= torch.eye(3) * quadrupoles.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        charges = torch.tensor([-0.8 if z == 8 else 0.4 for z in atoms.numbers])
        given_multipoles = (charges, 0.1 * torch.randn(n, 3, generator=generator), quadrupoles)
        multipoles = Multipoles(*(x.to(system.positions) for x in given_multipoles))
        neighbors = build_neighbors(system, 3.5)
        alpha = (0.03 * torch.eye(3)).expand(n, 3, 3).to(system.positions)
        k = prepare_k_vectors(system, 6.0)

        def evaluate(system=system, k=k, multipoles=multipoles, alpha=alpha, neighbors=neighbors) -> None:  # type: ignore[no-untyped-def]
            moved = system._replace(positions=system.positions.clone().requires_grad_(True))
            vectors = torch.zeros(*neighbors.other.shape, 3).to(alpha)
            relaxed = electrostatic_energy(
                moved, prepare_interaction(moved, k, 1.0), multipoles, Susceptibility(alpha, None, neighbors, vectors),
                1e-5, True, True,
            )  # fmt: skip
            torch.autograd.grad(relaxed.energy.sum(), moved.positions)
            _wait(given.device)

        evaluate()
        times = []
        for _ in range(2 if given.quick else 10):
            began = time.perf_counter()
            evaluate()
            times.append(time.perf_counter() - began)
        tell(f"{n} atoms, eager", {"ms": 1e3 * min(times)})


@contextlib.contextmanager
def _engines(device: str) -> Iterator[None]:
    """Engine graph also without CUDA, uncaptured, for a rehearsal."""
    own = Potential.engines
    if not device.startswith("cuda"):
        Potential.engines = property(lambda model: (*own.fget(model), "graph"))  # type: ignore[assignment, attr-defined]
    try:
        yield
    finally:
        Potential.engines = own  # type: ignore[method-assign]


def _row(model: Potential, atoms: Any, engine: str, replicas: int, steps: int, record: bool) -> dict[str, Any]:
    """Time and memory of steps at constant energy, after those that make and capture what is needed."""
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    timed = _timed(model, atoms, engine, replicas, steps, record)
    began = time.perf_counter()
    timed()
    timed()
    ms, n_atoms = 1e3 * min(timed(), timed()), len(atoms) * replicas
    row = {"ms_per_step": ms, "atom_steps_per_s": 1e3 * n_atoms / ms, "wall_s": time.perf_counter() - began}
    if on_gpu:
        peak = torch.cuda.max_memory_allocated() - before
        row |= {"peak_MB": peak / 2**20, "kB_per_atom": peak / 1000.0 / n_atoms}
    return row


def _timed(model: Potential, atoms: Any, engine: str, replicas: int, steps: int, record: bool) -> Callable[[], float]:
    """Seconds per step, of so many steps, at every call; the run goes on."""
    stride = {} if record else {"record_stride": NEVER, "trajectory_stride": NEVER}
    settings = {"ensemble": "nve", "equilibration_steps": 0, "steps": NEVER, "replicas": replicas, **stride}
    simulation = Simulation(model, atoms, MDSettings.model_validate(settings))
    model.engine = engine
    return simulation.dynamics.trial(simulation._make_recorder([]), steps)


def _with_file(model: Potential, atoms: Any, steps: int) -> dict[str, Any]:
    """A run as a user makes it, its file on the disk."""
    settings = {"ensemble": "nve", "equilibration_steps": 0, "steps": steps, "engine": "graph"}
    with tempfile.TemporaryDirectory() as folder:
        result = Simulation(model, atoms, MDSettings.model_validate(settings), Path(folder) / "run.h5").run()
    return {"ms_per_step": result.ms_per_step, "atom_steps_per_s": 1e3 * len(atoms) / result.ms_per_step}


def _kernels(model: Potential, atoms: Any, given: Given) -> dict[str, Any]:
    """Kernels of some recorded steps by the time that they take, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = model.device.type == "cuda"
    steps = 2 if given.quick else 64
    timed = _timed(model, atoms, "graph", 1, steps, True)
    timed()
    timed()
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        seconds = timed()
    field = "device_time_total" if on_gpu else "self_cpu_time_total"
    rows = [(event.key, event.count / steps, getattr(event, field) / steps) for event in profiler.key_averages()]
    rows.sort(key=lambda row: -row[2])
    return {
        "ms_per_step": 1e3 * seconds,
        "kernels_per_step": sum(row[1] for row in rows),
        "busy_us_per_step": sum(row[2] for row in rows),
        "longest": [{"kernel": name[:90], "per_step": count, "us_per_step": us} for name, count, us in rows[:30]],
    }


def _word(recorded: bool) -> str:
    return "recorded" if recorded else "not recorded"


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Parts are run by ``gpu_report``."""
    print(", ".join(STAGES))


STAGES: dict[str, Callable[[Given, Tell], None]] = {
    "single": single,
    "batches": batches,
    "precision": precision,
    "tests": tests,
    "large": large,
    "electrostatics": electrostatics,
    "fused": fused,
}


if __name__ == "__main__":
    main()
