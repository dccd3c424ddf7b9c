"""Engine graph, uncaptured on the CPU (captured where there is CUDA): the reference's steps, with static shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch.utils._python_dispatch import TorchDispatchMode

from spectra_app.config import MDSettings, ModelSettings
from spectra_app.dynamics import (
    MDState,
    MolecularDynamics,
    ObservableBlock,
    Recorder,
    TrajectoryBlock,
    equilibration,
    forces,
    make_particles,
)
from spectra_app.dynamics.engine import GraphSteps, why_not_static
from spectra_app.dynamics.engine import graph as graph_module
from spectra_app.dynamics.engine.graph import Kind
from spectra_app.dynamics.engine.static_forces import Room
from spectra_app.dynamics.equilibration import Equilibration, EquilibrationReport
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.state import state_from_dict, state_to_dict
from spectra_app.electrostatics import boys, transforms
from spectra_app.errors import ConfigError, SimulationError
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials import Potential
from spectra_app.runs.reader import read_run
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import concatenate, from_ase
from spectra_app.training.range_fit import measure_training_range
from tests.dynamics.without_numbers import on_meta
from tests.random_weights import with_known_material, with_random_weights
from tests.toy_potential import ToyPotential, dumbbells

MOLECULE = np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
CPU = torch.device("cpu")


def waters(n: int = 4, box: float | None = 8.2) -> Atoms:
    """Molecules that do not touch: in a cell with one image of each atom in reach, in a small one, or in none."""
    places = 3.3 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])[:n]
    atoms = Atoms("OH2" * n, np.concatenate([MOLECULE + place for place in places]))
    if box is not None:
        atoms.cell, atoms.pbc = [box, box + 0.1, box - 0.1], True
    return atoms


def model(device: torch.device = CPU, **settings: object) -> Potential:
    torch.manual_seed(3)
    given = {
        "variant": "puQipiu", "channels": 8, "n_radial": 4, "cutoff_A": 3.5, "ewald_tolerance": 1e-4,
        "response": "self-consistent", "response_tolerance": 1e-9, **settings,
    }  # fmt: skip
    potential = Potential(ModelSettings.model_validate(given), ("H", "O"), eps_inf=1.8)
    potential = with_known_material(with_random_weights(potential, 1.2)).double()
    rng, known = np.random.default_rng(4), []
    for _ in range(4):
        atoms = waters()
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        system = from_ase(atoms)
        known.append((system, build_neighbors(system, potential.cutoff)))
    potential.training_range = measure_training_range(potential, known)
    return potential.to(device)


class Memory:
    """A writer that keeps blocks."""

    def __init__(self) -> None:
        self.observables: list[ObservableBlock] = []
        self.trajectory: list[TrajectoryBlock] = []

    def append_observables(self, block: ObservableBlock) -> None:
        self.observables.append(block)

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        self.trajectory.append(block)

    def end_replica(self, replica: int, last_step: int, reason: str) -> None:
        self.ended = (replica, last_step, reason)

    def all(self) -> dict[str, np.ndarray]:
        values = self.observables[0].values
        found = {name: np.concatenate([block.values[name] for block in self.observables]) for name in values}
        for name in ("step", "positions_A", "velocities_A_per_fs", "cell_A"):
            found[f"trajectory {name}"] = np.concatenate([getattr(block, name) for block in self.trajectory])
        return found | {"step": np.concatenate([block.step for block in self.observables])}


class Run:
    """One run by an engine, with what it recorded."""

    def __init__(
        self,
        potential: PotentialLike,
        atoms: list[Atoms],
        engine: str,
        group_atoms: int | None = None,
        **settings: object,
    ) -> None:
        given = {
            "ensemble": "nve", "equilibration_steps": 10, "steps": 26, "trajectory_stride": 3, "skin_A": 0.3,
            "temperature_K": 400.0, "dtype": "float64", "replicas": len(atoms), **settings,
        }  # fmt: skip
        md = MDSettings.model_validate(given)
        system = concatenate([from_ase(one) for one in atoms]).to(device=potential.device)
        masses = torch.from_numpy(np.concatenate([one.get_masses() for one in atoms]))
        potential.engine = engine
        self.dynamics = MolecularDynamics(potential, make_particles(system, masses, len(atoms)), md)
        self.memory = Memory()
        strides = md.timestep_fs, md.record_stride, md.trajectory_stride
        told = potential.training_range is not None
        self.recorder = Recorder(
            self.dynamics.particles, potential.scale, self.memory, *strides, True, has_extrapolation=told
        )
        self.engine: Any = self.dynamics.engine_for(self.recorder)
        if group_atoms is not None:
            forces = self.engine.forces
            self.engine.forces = type(forces)(
                potential, system.to(dtype=torch.float64), md.skin_A, md.timestep_fs, forces._record_fs, group_atoms
            )
        self.dynamics.engine = self.engine

    def go(self, state: MDState | None = None, after_step: Callable[[MDState], MDState] | None = None) -> MDState:
        last = self.dynamics.run(self.recorder, state, after_step)
        self.recorder.flush()
        return last


def agree(one: Run, other: Run, within: float = 1e-11) -> Run:
    """Two runs of the same give the same; the second one is static nearly everywhere."""
    first, second = one.go(), other.go()
    assert first.step == second.step
    for name in ("positions", "velocities", "forces", "energy", "reservoir"):
        torch.testing.assert_close(getattr(second, name), getattr(first, name), rtol=0, atol=within)
    wanted, found = one.memory.all(), other.memory.all()
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        scale = 1e3 if name == "temperature" else 1.0
        np.testing.assert_allclose(found[name], values, rtol=0, atol=scale * within, err_msg=name)
    assert other.engine.n_static >= first.step - 8  # until the predictors have their history
    return other


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ensemble": "nvt", "record_stride": 3},
        {"ensemble": "nvt", "thermostat": "langevin", "equilibration_steps": 0},
        {"ensemble": "nvt", "thermostat": "nose-hoover"},
        {"record_stride": 10**9, "trajectory_stride": 10**9},
    ],
    ids=["nve", "bussi", "langevin", "nose-hoover", "not recorded"],
)
def test_steps_are_those_of_eager(settings: dict[str, object]) -> None:
    run = agree(*(Run(model(), [waters()], engine, **settings) for engine in ("eager", "graph")))
    assert run.engine.n_rebuilds > 3  # atoms have left the skin
    assert run.engine.forces.room.fields > run.engine.forces.room.answers > 0


def test_an_automatic_equilibration_ends_where_that_of_eager_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(watching: Equilibration, state: MDState) -> EquilibrationReport:
        assert len(watching._samples) == state.step // 10
        return EquilibrationReport(state.step, 0.5, "settled" if state.step >= 20 else "undecided", 10, "", ())

    monkeypatch.setattr(equilibration, "LOOK_STEPS", 10)
    monkeypatch.setattr(Equilibration, "_judge", judge)
    settings = {"equilibration": "auto", "equilibration_max_steps": 50}
    run = agree(*(Run(model(), [waters()], engine, **settings) for engine in ("eager", "graph")))
    assert run.dynamics.equilibration.steps == 21
    assert run.memory.all()["step"].tolist() == list(range(27))


def test_replicas_in_groups() -> None:
    atoms = [waters(), waters(), waters(box=None), waters(box=8.6), waters(box=8.6)]
    settings = {"ensemble": "nvt", "temperature_K": (300.0, 500.0, 200.0, 400.0, 350.0), "steps": 12}
    runs = (Run(model(), atoms, engine, group, **settings) for engine, group in (("eager", None), ("graph", 24)))
    run = agree(*runs)
    assert [group.system.sizes for group in run.engine.forces._groups] == [(12, 12), (12,), (12, 12)]


def test_a_large_batch_is_evaluated_in_groups_by_every_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = [waters(), waters(box=8.6), waters(), waters(box=None)]
    whole = Run(model(), atoms, "eager", steps=8).go()
    monkeypatch.setattr(forces, "GROUP_ATOMS", 24)
    run = Run(model(), atoms, "eager", steps=8)
    calls: list[int] = []
    evaluate = type(run.dynamics.force_field.model).forward

    def counted(self, system, *rest, **given):  # type: ignore[no-untyped-def]
        calls.append(system.n_structures)
        return evaluate(self, system, *rest, **given)

    monkeypatch.setattr(Potential, "forward", counted)
    parts = run.go()
    assert calls[:4] == [2, 2, 2, 2]
    for name in ("positions", "velocities", "forces", "energy", "fields"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("settings", "box"),
    [
        ({"variant": "sr"}, 8.2),
        ({"variant": "puiu", "response": "one-shot"}, 8.2),
        ({"variant": "uiqiu", "element_sigma_A": {"O": 1.2}}, 8.2),
        ({}, None),
        ({}, 6.6),  # images of one atom: the host searches
    ],
    ids=["sr", "one-shot", "atomic charges, two widths", "open", "small cell"],
)
def test_models_and_boundaries(settings: dict[str, object], box: float | None) -> None:
    agree(*(Run(model(**settings), [waters(box=box)], engine) for engine in ("eager", "graph")))


def test_too_little_room_is_made_more_and_nothing_is_lost() -> None:
    """Slots for a neighbour, one iteration: the run is that of a large room, and every growth has a reason."""
    wanted = Run(model(), [waters()], "eager")
    tight = Run(model(), [waters()], "graph")
    prepare = tight.engine.prepare
    tight.engine.prepare = lambda state: prepare(state._replace(room=tuple(Room(4, 1, 1))))
    agree(wanted, tight)
    assert tight.engine.forces.room.slots > 4
    assert tight.engine.forces.room.fields > 1


@pytest.mark.parametrize("settings", [{}, {"ensemble": "nvt", "thermostat": "langevin", "record_stride": 2}])
def test_a_restart_goes_on_bit_for_bit_however_steps_are_cut(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run(model(), [waters()], "graph", **settings)
    last, states = whole.go(), []

    def keep(state: MDState) -> MDState:
        if state.step >= 21 and not states:
            states.append(state_to_dict(state))
        return state

    monkeypatch.setattr(GraphSteps, "steps_at_once", 3)
    Run(model(), [waters()], "graph", **settings).go(after_step=keep)
    monkeypatch.setattr(GraphSteps, "steps_at_once", 7)
    again = Run(model(), [waters()], "graph", **settings).go(state_from_dict(states[0], CPU))
    assert again.room == last.room
    for name in ("positions", "velocities", "forces", "energy", "reservoir", "fields", "answers"):
        assert torch.equal(getattr(again, name), getattr(last, name)), name


def test_without_a_skin_every_step_makes_its_own_table() -> None:
    runs = [Run(model(variant="sr"), [waters()], engine, skin_A=0.0, steps=10) for engine in ("eager", "graph")]
    first, second = (run.go() for run in runs)
    torch.testing.assert_close(second.positions, first.positions, rtol=0, atol=1e-11)


class Watch(TorchDispatchMode):
    """Operations with the shapes that they see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[torch.Size, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        tensors = (x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor))
        self.seen.append((str(func), tuple(x.shape for x in tensors)))
        return func(*args, **(kwargs or {}))


DEPENDS_ON_NUMBERS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_to_copy", "index.Tensor_bool")


def static_run(**settings: object) -> tuple[Run, MDState]:
    """A run in the middle, about to make static steps."""
    run = Run(model(), [waters(), waters()], "graph", **{"equilibration_steps": 5, "steps": 7, **settings})
    return run, run.go()


@pytest.mark.parametrize("kind", [Kind(False, True), Kind(True, False)])
def test_a_step_has_static_shapes_and_reads_nothing_back(kind: Kind) -> None:
    run, state = static_run(temperature_K=(900.0, 700.0))
    counts, watches = [], []
    for seed in (1, 2):
        noise = torch.randn(state.positions.shape, generator=torch.manual_seed(seed), dtype=torch.float64)
        shifted = state.positions + 0.15 * noise
        given = run.engine._fill(state._replace(reference_positions=shifted, positions=shifted))
        run.engine._ring.load(given)
        run.engine._at.zero_()
        step = run.engine._step_of(kind, given)
        step()  # constants are made at the first call
        run.engine._at.zero_()
        watch = Watch()
        with watch:
            step()
        watches.append(watch.seen)
        counts.append(int(run.engine.forces.tables[0].mask.sum()))
    assert counts[0] != counts[1]  # other neighbours
    assert watches[0] == watches[1]  # through the same operations of the same shapes
    assert len(watches[0]) > 500
    assert not [name for name, _ in watches[0] if any(bad in name for bad in DEPENDS_ON_NUMBERS)]
    # Numbers of the host that are put on the device: single ones travel with a kernel, tables have to be copied.
    assert {shapes for name, shapes in watches[0] if "lift_fresh" in name} <= {(torch.Size([]),)}


@pytest.mark.parametrize("kind", [Kind(False, True), Kind(True, False), Kind(True, True)])
def test_a_step_needs_no_numbers_at_all(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device meta no number exists: a whole step goes through, on the way that a GPU takes."""
    monkeypatch.setattr(boys, "_tables", {})
    monkeypatch.setattr(transforms, "_raised_on", {})
    for atoms in ([waters(), waters()], [waters(3, None)]):
        settings = {"thermostat": "langevin", "ensemble": "nvt", "equilibration_steps": 5, "steps": 6}
        run = Run(model(response_tolerance=1e-4), atoms, "graph", **settings)
        state = run.go()
        run.engine._noise_of(kind, state)
        state = on_meta((run.engine, state))[1]
        run.engine._step_of(kind, state)()
        assert run.engine._columns.is_meta


def test_the_proof_can_fail() -> None:
    state = on_meta(torch.ones(3))
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(state.max())
    with pytest.raises((RuntimeError, NotImplementedError)):
        state[state > 0.5]
    with pytest.raises(RuntimeError):
        state + torch.tensor([1.0, 2.0, 3.0])


def test_tables_keep_their_memory_while_there_is_room() -> None:
    run, state = static_run()
    places = [column.data_ptr() for table in run.engine.forces.tables for column in table[:4]]
    shifted = state._replace(reference_positions=state.positions + 0.05)
    assert run.engine._fill(shifted).room == state.room
    assert [column.data_ptr() for table in run.engine.forces.tables for column in table[:4]] == places


def test_what_goes_wrong_is_said_as_by_eager() -> None:
    said = []
    for engine in ("eager", "graph"):
        toy = ToyPotential(bond_k=3000.0)
        run = Run(toy, [dumbbells()], engine, timestep_fs=3.0, steps=200, temperature_K=300.0)
        with pytest.raises(SimulationError, match="a stable run at 300 K"):
            run.go()
        toy = ToyPotential()
        run = Run(toy, [dumbbells()], engine, steps=100, temperature_K=300.0)
        evaluate, start = toy._energy, torch.from_numpy(dumbbells().positions)

        def broken(stretched, *rest, evaluate=evaluate, start=start):  # type: ignore[no-untyped-def]
            far = (stretched - start).abs().max() > 0.15
            return evaluate(stretched, *rest) * torch.where(far, torch.nan, 1.0)

        toy._energy = broken  # type: ignore[method-assign]
        with pytest.raises(SimulationError) as error:
            run.go()
        said.append(str(error.value))
    assert "nan A in one step" in said[0]
    assert said[1] == said[0]


def test_runs_that_cannot_be_static_are_refused_with_the_reason() -> None:
    system = from_ase(waters())
    assert why_not_static(system, MDSettings(), False, False) is None
    assert why_not_static(system, MDSettings(ensemble="npt"), False, False) == "a changing cell (md.ensemble npt)"
    assert why_not_static(system, MDSettings(), True, False) == "an external field"
    assert why_not_static(system, MDSettings(), False, True) == "contributions of parts (md.parts)"
    slab = waters()
    slab.pbc = [True, True, False]
    assert why_not_static(from_ase(slab), MDSettings(), False, False) == "a slab"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_captured_steps_are_those_of_eager(device_cuda: torch.device, dtype: torch.dtype) -> None:
    within = 1e-9 if dtype == torch.float64 else 2e-3
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    for settings in ({}, {"ensemble": "nvt"}, {"ensemble": "nvt", "thermostat": "langevin", "record_stride": 3}):
        runs = [
            Run(model(device_cuda, response_tolerance=tolerance).to(dtype), [waters(), waters()], engine, **settings)
            for engine in ("eager", "graph")
        ]
        agree(*runs, within=within)
        assert all(step._graph is not None for step in runs[1].engine._steps.values())


@pytest.mark.gpu
def test_a_captured_run_restarts_bit_for_bit(device_cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Any]] = []

    def keep(state: MDState) -> MDState:
        if state.step >= 21 and not states:
            states.append(state_to_dict(state))
        return state

    last = Run(model(device_cuda), [waters(), waters()], "graph", ensemble="nvt").go(after_step=keep)
    monkeypatch.setattr(GraphSteps, "steps_at_once", 5)
    again = Run(model(device_cuda), [waters(), waters()], "graph", ensemble="nvt").go(
        state_from_dict(states[0], device_cuda)
    )
    assert torch.equal(again.positions, last.positions)
    assert torch.equal(again.velocities, last.velocities)
    assert graph_module.MOST_STEPS > 5


@pytest.mark.gpu
def test_a_gpu_goes_where_the_cpu_goes(device_cuda: torch.device) -> None:
    runs = [Run(model(device), [waters()], "graph", equilibration_steps=0, steps=20) for device in (CPU, device_cuda)]
    start = state_to_dict(runs[0].dynamics.start()[0])
    first, second = (run.go(state_from_dict(start, run.engine._reference.device, (0,))) for run in runs)
    assert runs[1].engine.n_static > 12
    assert float((first.positions - start["positions"]).abs().max()) > 0.01
    for name in ("positions", "velocities", "forces", "energy"):
        torch.testing.assert_close(getattr(second, name).cpu(), getattr(first, name), rtol=0, atol=1e-9)


def test_the_facade_refuses_graph_on_a_cpu() -> None:
    from spectra_app.dynamics.engine import choose_engine

    with pytest.raises(ConfigError, match=r"md.engine: got graph, which model .* does not have on cpu, wanted auto or"):
        choose_engine("graph", model(), from_ase(waters()), 1000)


@pytest.fixture
def graph_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine graph where there is no CUDA: what a user of a GPU sees, uncaptured."""
    own = Potential.engines
    assert own.fget is not None
    monkeypatch.setattr(Potential, "engines", property(lambda model: (*own.fget(model), "graph")))


@pytest.mark.usefixtures("graph_on_cpu")
def test_a_run_file_says_graph_and_a_restart_goes_on_with_it(tmp_path: Path) -> None:
    settings = {"equilibration_steps": 5, "trajectory_stride": 1, "temperature_K": 300.0, "skin_A": 0.3}

    def run(name: str, steps: int, restart: bool = False, **more: object) -> Path:
        md = MDSettings.model_validate({**settings, "steps": steps, **more})
        Simulation(model(), waters(), md, tmp_path / name).run(restart=restart)
        return tmp_path / name

    whole = read_run(run("whole.h5", 24, engine="graph"))
    run("parts.h5", 11, engine="graph")
    parts = read_run(run("parts.h5", 24, restart=True))  # auto
    eager = read_run(run("eager.h5", 24, engine="eager"))
    assert whole.metadata["engine"] == parts.metadata["engine"] == "graph"
    for name in ("energy", "dipole", "polarizability", "conserved"):
        first, second, third = (np.asarray(one.observables[name]) for one in (whole, parts, eager))
        assert np.array_equal(first, second), name
        assert first == pytest.approx(third, abs=1e-10), name
    with pytest.raises(ConfigError, match=r"md.engine: got graph with a changing cell \(md.ensemble npt\)"):
        run("npt.h5", 24, engine="graph", ensemble="npt")
    with pytest.raises(ConfigError, match=r"md.engine: got graph with contributions of parts"):
        run("parts_too.h5", 24, engine="graph", parts="molecules")


@pytest.mark.usefixtures("graph_on_cpu")
def test_auto_times_whole_steps_where_they_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def trial(self: MolecularDynamics, recorder: object, n_steps: int = 16) -> Callable[[], float]:
        def timed() -> float:
            name = self.force_field.model.engine
            asked.append(name)
            return {"graph": 1e-3, "compiled": 2e-3, "eager": 3e-3}[name]

        return timed

    monkeypatch.setattr(MolecularDynamics, "trial", trial)
    for given, wanted in (({}, "graph"), ({"ensemble": "npt"}, "compiled")):
        asked.clear()
        simulation = Simulation(model(), waters(), MDSettings.model_validate({"steps": 1000, **given}))
        if not given:
            assert simulation._chosen_engine(1000).name == wanted
            assert set(asked) == {"eager", "compiled", "graph"}
        else:
            assert "graph" not in simulation._chosen_engine(100).name  # npt is never captured
            assert asked == []


@pytest.mark.usefixtures("graph_on_cpu")
def test_a_trial_measures_steps_and_leaves_the_run_alone() -> None:
    simulation = Simulation(model(), waters(), MDSettings.model_validate({"steps": 50, "skin_A": 0.3}))
    simulation.model.engine = "graph"
    timed = simulation.dynamics.trial(simulation._make_recorder([]), 8)
    assert timed() > 0.0
    assert timed() > 0.0
    assert simulation.dynamics.start()[0].step == 0


def test_a_replica_that_goes_wrong_rests_and_the_others_run_on() -> None:
    """One of three breaks at some place: the others are where they are without it."""
    start = torch.from_numpy(dumbbells().positions)
    runs = {}
    for engine in ("eager", "graph"):
        toy = ToyPotential()
        evaluate = toy._energy

        def broken(stretched, *rest, evaluate=evaluate):  # type: ignore[no-untyped-def]
            energy = evaluate(stretched, *rest)
            far = (stretched[len(start) : 2 * len(start)] - start).abs().max() > 0.15
            return energy * torch.where((torch.arange(3) == 1) & far, torch.nan, 1.0)

        toy._energy = broken  # type: ignore[method-assign]
        run = Run(toy, [dumbbells()] * 3, engine, steps=60, temperature_K=300.0, ensemble="nvt", thermostat="langevin")
        runs[engine] = run, run.go()
    for run, _ in runs.values():
        assert list(run.dynamics.watch.failures) == [1]
    n = len(start)
    first, second = (last.positions for _, last in runs.values())
    for atoms in (slice(0, n), slice(2 * n, 3 * n)):
        torch.testing.assert_close(second[atoms], first[atoms], rtol=0, atol=1e-9)
    assert runs["graph"][0].engine.n_static > 30
