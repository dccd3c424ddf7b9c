"""Calculators of ASE as models: what is recorded of them, by which rules, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write

from spectra_app import AsePotential, Simulation, born_charges, load_model, read_run
from spectra_app.config import MDSettings
from spectra_app.couplings.calculator_source import CalculatorWarning
from spectra_app.dynamics.foreign import Use
from spectra_app.dynamics.molecular_dynamics import Progress
from spectra_app.errors import CalculatorError, ConfigError, ModelError, StoppedError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.runs import Run
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import concatenate, from_ase
from tests.springs_calculator import Springs, pairs
from tests.toy_potential import ToyPotential

SPEC = "ase:tests.springs_calculator:springs"


def settings(**changes: Any) -> MDSettings:
    """A short run at constant energy, every step recorded and stored."""
    usual = {"ensemble": "nve", "steps": 60, "equilibration_steps": 0, "temperature_K": 200.0, "timestep_fs": 0.5}
    return MDSettings(**{**usual, "record_stride": 1, "trajectory_stride": 1, "seed": 4, **changes})


def run_of(model: AsePotential, atoms: Atoms, output: Path, **changes: Any) -> Run:
    """A run that is made."""
    Simulation(model, atoms, settings(**changes), output).run()
    return read_run(output)


def exact(calculator: Springs, run: Run, name: str = "dipole") -> np.ndarray:
    """What the calculator says at the stored positions [frame, replica, ...]."""
    cells = None if run.cell_A is None else np.asarray(run.cell_A)
    found = []
    for frame, replicas in enumerate(np.asarray(run.stored_positions_A)):
        boxes = [None if cells is None else cells if cells.ndim == 2 else cells[frame, k] for k in range(len(replicas))]
        found.append([calculator.values(one, box)[name] for one, box in zip(replicas, boxes, strict=True)])
    return np.array(found)


# --- what is recorded -------------------------------------------------------------------------------------------------
def test_an_isolated_structure_has_the_dipole_of_its_calculator(tmp_path: Path) -> None:
    calculator = Springs(("dipole", "polarizability"), second=0.05)
    run = run_of(AsePotential(calculator), pairs(), tmp_path / "run.h5")
    np.testing.assert_allclose(run.dipole_eA, exact(calculator, run), rtol=1e-12)
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV, exact(calculator, run, "polarizability"), rtol=1e-12)
    np.testing.assert_allclose(run.energy_eV, exact(calculator, run, "energy"), rtol=1e-12)
    assert np.ptp(np.asarray(run.conserved_eV)) < 0.03 * np.ptp(np.asarray(run.energy_eV))
    assert run.metadata["model_name"] == "Springs"
    assert run.metadata["calculators"]["energy"]["class"] == "tests.springs_calculator.Springs"
    assert calculator.n_calls == 61, "the first structure was evaluated more than once"
    assert calculator.asked[-1] == ("energy", "forces", "dipole", "polarizability")


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (("polarization",), "auto"),
        (("dipole",), "cell"),
        (("born_charges",), "auto"),
        (("dipole", "born_charges"), "auto"),
        (("molecular_dipoles",), "auto"),
        (("atomic_dipoles",), "auto"),
        (("dipole", "polarization", "born_charges"), "born"),
    ],
)
def test_every_way_to_know_the_dipole_of_a_cell_gives_the_same(
    gives: tuple[str, ...], said: Any, tmp_path: Path
) -> None:
    calculator = Springs(gives, charge_e=1.5, second=0.05)
    run = run_of(AsePotential(calculator, periodic_dipole=said), pairs(4, 7.0), tmp_path / "run.h5")
    found, wanted = np.asarray(run.dipole_eA), exact(calculator, run)
    assert np.abs(wanted - wanted[0]).max() > 0.1
    # Born charges are integrated along the way: exact to second order in a step of 0.01 A.
    path = "born_charges" in gives
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], atol=2e-5 if path else 1e-10)
    assert (run.born_e is not None) == path


def test_a_calculator_may_say_that_its_dipole_is_that_of_the_cell(tmp_path: Path) -> None:
    run = run_of(AsePotential(Springs(periodic_dipole="cell")), pairs(4, 7.0), tmp_path / "run.h5")
    np.testing.assert_allclose(run.dipole_eA, exact(Springs(), run), atol=1e-10)


@pytest.mark.parametrize(("gives", "said"), [("born_charges", "auto"), ("dipole", "cell")])
def test_a_slab_is_periodic_along_two_vectors_for_its_calculator(gives: str, said: Any, tmp_path: Path) -> None:
    atoms, calculator = pairs(4, 7.0), Springs((gives,), charge_e=1.5)
    atoms.pbc = [True, False, True]
    run = run_of(AsePotential(calculator, periodic_dipole=said), atoms, tmp_path / "run.h5")
    wanted = exact(calculator, run)
    np.testing.assert_allclose(run.dipole_eA - run.dipole_eA[0], wanted - wanted[0], atol=1e-10)
    assert run.slab
    assert calculator.seen.pbc.tolist() == [True, True, False]
    np.testing.assert_allclose(calculator.seen.cell.array[:2], atoms.cell.array[[2, 0]])
    with pytest.raises(ModelError, match="for a slab: got only energy, forces, polarization"):
        AsePotential(Springs(("polarization",))).check_system(from_ase(atoms))


@pytest.mark.parametrize("gives", ["polarization", "born_charges"])
def test_replicas_and_constant_pressure(gives: str, tmp_path: Path) -> None:
    calculator = Springs((gives, "stress", "polarizability"), charge_e=1.0)
    change = {"ensemble": "npt", "replicas": 2, "steps": 30, "temperature_K": 300.0}
    run = run_of(AsePotential(calculator), pairs(4, 7.0), tmp_path / "run.h5", **change)
    volumes = np.asarray(run.volume_A3)
    assert np.abs(volumes / volumes[0] - 1.0).max() > 1e-5
    # In the frame of the cell: changes of s_i times the cell, and charges that are fixed.
    cells = np.asarray(run.cell_A)
    reduced = np.einsum("frix,frxv->friv", np.asarray(run.stored_positions_A), np.linalg.inv(cells))
    steps = np.einsum(
        "i,friv,frvx->frx", np.tile([1.0, -1.0], 4), np.diff(reduced, axis=0), 0.5 * (cells[1:] + cells[:-1])
    )
    np.testing.assert_allclose(np.diff(np.asarray(run.dipole_eA), axis=0), steps, atol=1e-11)
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV, exact(calculator, run, "polarizability"), rtol=1e-12)


def test_two_calculators_and_only_recorded_steps_ask_the_second(tmp_path: Path) -> None:
    moves, tells = Springs(("polarizability",), k_eV_per_A2=20.0), Springs(("dipole",), charge_e=0.9)
    run = run_of(AsePotential(moves, tells), pairs(), tmp_path / "run.h5", record_stride=3, trajectory_stride=3)
    np.testing.assert_allclose(run.dipole_eA, exact(tells, run), rtol=1e-12)
    np.testing.assert_allclose(run.energy_eV, exact(moves, run, "energy"), rtol=1e-12)
    assert run.polarizability_e2A2_per_eV is None
    assert (moves.n_calls, tells.n_calls) == (61, 21)
    assert set(moves.asked) == {("energy", "forces")}
    assert tells.asked[-1] == ("dipole",)


def test_a_trajectory_is_recorded_frame_by_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [pairs(4, 7.0) for _ in range(7)]
    for frame in frames:
        frame.positions += 0.05 * rng.normal(size=frame.positions.shape)
    write(tmp_path / "way.extxyz", frames)
    for gives in ("polarization", "born_charges"):
        calculator = Springs((gives,), charge_e=1.0)
        record_trajectory(tmp_path / "way.extxyz", AsePotential(calculator), tmp_path / f"{gives}.h5", timestep_fs=1.0)
        run = read_run(tmp_path / f"{gives}.h5")
        wanted = exact(calculator, run)
        np.testing.assert_allclose(np.asarray(run.dipole_eA) - run.dipole_eA[0], wanted - wanted[0], atol=1e-10)
        assert calculator.n_calls == 7


def test_dipoles_alone_are_enough_for_a_trajectory_and_not_for_dynamics(tmp_path: Path) -> None:
    class Dipoles(Springs):
        implemented_properties = ["dipole"]  # noqa: RUF012

        def calculate(self, *given: Any, **named: Any) -> None:
            super().calculate(*given, **named)
            self.results = {"dipole": self.results["dipole"]}

    write(tmp_path / "way.extxyz", [pairs(), pairs()])
    record_trajectory(tmp_path / "way.extxyz", AsePotential(Dipoles()), tmp_path / "way.h5", timestep_fs=1.0)
    run = read_run(tmp_path / "way.h5")
    np.testing.assert_allclose(run.dipole_eA, exact(Springs(), run), rtol=1e-12)
    assert np.isnan(run.energy_eV).all()
    with pytest.raises(ModelError, match="energy of calculator Dipoles: got only dipole, wanted energy"):
        Simulation(AsePotential(Dipoles()), pairs(), settings())


class Careless(Springs):
    """Keeps the atoms themselves, no copy of them, and has electrons at a temperature."""

    def calculate(self, *given: Any, **named: Any) -> None:
        super().calculate(*given, **named)
        self.atoms = given[0]
        self.results["free_energy"] = self.results["energy"]
        self.results["energy"] += 0.1 * self.n_calls  # whose forces are not ours


def test_the_energy_is_the_one_of_the_forces_and_every_step_is_computed(tmp_path: Path) -> None:
    calculator = Careless()
    run = run_of(AsePotential(calculator), pairs(), tmp_path / "run.h5")
    np.testing.assert_allclose(run.energy_eV, exact(Springs(), run, "energy"), rtol=1e-12)
    np.testing.assert_allclose(run.dipole_eA, exact(Springs(), run), rtol=1e-12)
    assert calculator.n_calls == 61


def test_calculators_see_charges_and_info_of_the_structure() -> None:
    atoms = pairs()
    atoms.set_initial_charges(np.arange(8.0))
    atoms.info.update(spin=3, charge=1)
    calculator = Springs()
    Simulation(AsePotential(calculator), atoms, settings())
    assert calculator.seen.info["spin"] == 3
    assert calculator.seen.info["charge"] == 1
    np.testing.assert_array_equal(calculator.seen.get_initial_charges(), np.arange(8.0))


# --- with a model of ours ---------------------------------------------------------------------------------------------
def test_a_model_of_ours_gives_the_response_or_the_energy(tmp_path: Path, model_folder: Path) -> None:
    ours, atoms = load_model(model_folder, dtype="float64"), pairs(4, 7.0)
    both = AsePotential(Springs(("polarization",)), ours)
    run = run_of(both, atoms, tmp_path / "response.h5", steps=5)
    assert run.metadata["calculators"]["response"]["class"].endswith("Potential")
    system = from_ase(Atoms(atoms.numbers, run.stored_positions_A[-1, 0], cell=atoms.cell, pbc=True))
    alone = ours(system, build_neighbors(system, ours.cutoff))
    dipole = ours.scale.vectors(alone.dipole, system)
    np.testing.assert_allclose(run.dipole_eA[-1], dipole.numpy(), atol=1e-9)
    np.testing.assert_allclose(run.energy_eV, exact(Springs(), run, "energy"), rtol=1e-12)
    assert run.eps_inf == ours.eps_inf
    born = both.born_charges(system, build_neighbors(system, both.cutoff))
    torch.testing.assert_close(born, ours.born_charges(system, build_neighbors(system, ours.cutoff)))

    other = AsePotential(ours, Springs(("polarization", "polarizability")))
    run = run_of(other, atoms, tmp_path / "energy.h5", steps=5)
    system = from_ase(Atoms(atoms.numbers, run.stored_positions_A[-1, 0], cell=atoms.cell, pbc=True))
    alone = ours(system, build_neighbors(system, ours.cutoff))
    np.testing.assert_allclose(run.energy_eV[-1], alone.energy.numpy(), rtol=1e-9)
    wanted = exact(Springs(), run)
    np.testing.assert_allclose(run.dipole_eA - run.dipole_eA[0], wanted - wanted[0], atol=1e-10)
    assert other.scale.eps_e == 1.0
    with pytest.raises(ConfigError, match="two models of ours"):
        AsePotential(ours, ours)
    with pytest.raises(ConfigError, match="a model of ours, wanted a calculator"):
        AsePotential(ours)


@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_model_of_ours_may_be_on_another_device(place: str, model_folder: Path) -> None:
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    ours, here = load_model(model_folder, place, "float64"), load_model(model_folder, "cpu", "float64")
    atoms, fixed = pairs(4, 7.0), Springs(("polarization", "polarizability"))
    for first, second in ((fixed, ours), (ours, fixed)):
        found = []
        for other in (ours, here):
            one, two = (other if part is ours else part for part in (first, second))
            model = AsePotential(one, two)
            system = from_ase(atoms, device=model.device)
            model.check_system(system)
            found.append(model(system, build_neighbors(system, model.cutoff), stress=False))
        assert found[0].forces is not None
        for name in ("energy", "forces", "dipole", "polarizability"):
            value = getattr(found[0], name)
            assert value.device.type == place
            torch.testing.assert_close(value.cpu(), getattr(found[1], name), rtol=1e-8, atol=1e-9)


def test_named_in_words(tmp_path: Path, model_folder: Path) -> None:
    model = load_model(f"{SPEC}('dipole', charge_e=0.7)")
    assert isinstance(model, AsePotential)
    atoms = pairs()
    run = run_of(model, atoms, tmp_path / "run.h5", steps=3)
    np.testing.assert_allclose(run.dipole_eA, exact(Springs(charge_e=0.7), run), rtol=1e-12)
    said = run.metadata["calculators"]["energy"]
    assert said["specification"] == f"{SPEC}('dipole', charge_e=0.7)"
    assert said["module"] == "tests.springs_calculator"
    assert model.notices[0].startswith("imported tests.springs_calculator")
    two = load_model(f"{SPEC}('dipole')", response=str(model_folder))
    assert two.card.hash != load_model(f"{SPEC}('dipole')").card.hash
    assert "response" in two.card.source
    debye = load_model(f"{SPEC}('dipole')", dipole_unit="D")
    assert debye.card.hash != load_model(f"{SPEC}('dipole')").card.hash, "a unit changes the results"
    with pytest.raises(ConfigError, match="both models of ours"):
        load_model("water", response=str(model_folder))
    with pytest.raises(ModelError, match=r"mace.model.*A checkpoint of MACE: -m \"ase:mace.calculators"):
        load_model("mace.model")


# --- units ------------------------------------------------------------------------------------------------------------
def test_units_are_said_stated_or_known() -> None:
    atoms = pairs()
    system = from_ase(atoms)
    table = build_neighbors(system, 0.0)
    plain = Springs().values(atoms.positions, None)
    scaled = {"D": 0.2081943, "au": 0.529177, "eA": 1.0}
    for unit, factor in scaled.items():
        model = AsePotential(Springs(), dipole_unit=unit)  # type: ignore[arg-type]
        model.check_system(system)
        np.testing.assert_allclose(model(system, table).dipole[0], factor * plain["dipole"], rtol=1e-6)
    for unit, factor in {"A3": 1 / 14.39964, "au": 0.529177**2 / 27.21139, "epm2/V": 1e-4, "e2A2/eV": 1.0}.items():
        good = 0.05 / factor  # of the size of atoms
        model = AsePotential(Springs(("dipole", "polarizability"), alpha=good), polarizability_unit=unit)  # type: ignore[arg-type]
        model.check_system(system)
        np.testing.assert_allclose(model(system, table).polarizability[0], plain["polarizability"], rtol=1e-5)
    stating = Springs()
    stating.dipole_unit = "D"
    model = AsePotential(stating)
    model.check_system(system)
    np.testing.assert_allclose(model(system, table).dipole[0], 0.2081943 * plain["dipole"], rtol=1e-6)
    with pytest.raises(ConfigError, match="dipole_unit"):
        AsePotential(Springs(), dipole_unit="debye")  # type: ignore[arg-type]


def test_unlikely_numbers_are_warned_of() -> None:
    water = from_ase(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]))
    with pytest.warns(CalculatorWarning, match=r"a dipole of 1.84 e A of a molecule 0.97 A wide.*is it debye"):
        AsePotential(Springs(charge_e=1.9)).check_system(water)
    with pytest.warns(CalculatorWarning, match=r"A\^3, .* times that of the free atoms.*is it another unit"):
        AsePotential(Springs(("dipole", "polarizability"), alpha=1.0)).check_system(water)


# --- Born charges -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("gives", ["born_charges", "dipole", "polarization"])
def test_born_charges_are_given_or_differences_of_the_dipole(gives: str) -> None:
    atoms = pairs(3, None if gives == "dipole" else 8.0)
    atoms.positions -= [3.0, 0.0, 0.0]
    calculator = Springs((gives,), charge_e=0.8, second=0.1)
    report = born_charges(AsePotential(calculator), atoms)
    wanted = calculator.values(atoms.positions, None)["born_charges"]
    assert np.abs(wanted - np.swapaxes(wanted, 1, 2)).max() < 1e-12
    np.testing.assert_allclose(report.born_e, wanted, atol=1e-10 if gives == "born_charges" else 3e-5)
    assert calculator.n_calls == (1 if gives == "born_charges" else 1 + 6 * len(atoms))


# --- restarts and failures --------------------------------------------------------------------------------------------
class Stopping(Springs):
    """Asks the process to stop, as a queue does, at one of its calls."""

    stops_at = 25

    def calculate(self, *given: Any, **named: Any) -> None:
        super().calculate(*given, **named)
        if self.n_calls == self.stops_at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize("gives", ["dipole", "polarization", "born_charges"])
def test_restarts_are_exact(gives: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = pairs(4, None if gives == "dipole" else 7.0)
    options = {"ensemble": "nvt", "thermostat": "langevin", "replicas": 2, "record_stride": 2}
    whole = run_of(AsePotential(Springs((gives,), second=0.1)), atoms, tmp_path / "whole.h5", **options)
    model = AsePotential(Stopping((gives,), second=0.1))
    with pytest.raises(StoppedError):
        Simulation(model, atoms, settings(**options), tmp_path / "parts.h5").run()
    monkeypatch.setattr(Stopping, "stops_at", 0)
    again = AsePotential(Stopping((gives,), second=0.1))
    Simulation(again, atoms, settings(**options), tmp_path / "parts.h5").run(restart=True)
    parts = read_run(tmp_path / "parts.h5")
    for name in ("dipole_eA", "energy_eV", "stored_positions_A"):
        np.testing.assert_array_equal(np.asarray(getattr(parts, name)), np.asarray(getattr(whole, name)))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"fails_at": 40}, "calculator Springs: got CalculationFailed: SCF not converged"),
        ({"nan_at": 40}, "forces of atom 3, calculator Springs: got NaN"),
    ],
)
def test_a_calculator_that_fails_at_a_step_is_one_line_and_the_record_is_kept(
    fault: dict[str, int], says: str, tmp_path: Path
) -> None:
    with pytest.raises(
        CalculatorError, match=rf"step 39 \(equilibration included\), {says}.*39 recorded frames up to there are in"
    ) as caught:
        run_of(AsePotential(Springs(**fault)), pairs(), tmp_path / "run.h5")
    assert "\n" not in str(caught.value)
    run = read_run(tmp_path / "run.h5")
    assert len(run.time_fs) == 39
    np.testing.assert_allclose(run.dipole_eA, exact(Springs(), run), rtol=1e-12)


def test_after_a_failure_a_restart_goes_on(tmp_path: Path) -> None:
    whole = run_of(AsePotential(Springs()), pairs(), tmp_path / "whole.h5")
    path, failing = tmp_path / "run.h5", AsePotential(Springs(fails_at=40))
    with pytest.raises(CalculatorError):
        Simulation(failing, pairs(), settings(), path, checkpoint_s=0.0).run()
    Simulation(AsePotential(Springs()), pairs(), settings(), path).run(restart=True)
    run = read_run(path)
    assert run.complete
    assert not run.ended
    np.testing.assert_array_equal(np.asarray(run.dipole_eA), np.asarray(whole.dipole_eA))


def test_of_several_replicas_only_the_one_that_fails_stops(tmp_path: Path) -> None:
    class Partly(Springs):
        def calculate(self, atoms: Atoms, *given: Any) -> None:
            super().calculate(atoms, *given)
            if np.linalg.norm(atoms.positions[1] - atoms.positions[0]) > 1.05:
                raise RuntimeError("bond too long")

    calculator = Partly()
    result = Simulation(
        AsePotential(calculator), pairs(), settings(replicas=4, temperature_K=600.0), tmp_path / "run.h5"
    ).run()
    assert 1 <= len(result.failures) < 4
    assert "RuntimeError: bond too long" in result.failures[0].reason


def test_slow_calculators_are_told_of_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectra_app.dynamics.molecular_dynamics._QUIET_S", 0.02)
    told: list[Progress] = []
    Simulation(AsePotential(Springs(seconds=0.015)), pairs(), settings(steps=12), progress=told.append).run()
    assert len(told) >= 5
    assert told[0].step < 5
    assert told[0].remaining_s > told[-1].remaining_s >= 0.0
    assert np.isfinite(told[0].temperature_K)


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "box", "changes", "error", "says"),
    [
        (EMT, None, {}, ModelError, "dipole of calculator EMT for an isolated structure: got only .*--response"),
        (EMT, 7.0, {}, ModelError, "dipole of calculator EMT for a periodic cell: got only"),
        (Springs, 7.0, {}, ModelError, "got dipole, energy, forces: a dipole that dep.*--periodic-dipole cell"),
        (partial(Springs, ("atomic_dipoles", "charges")), 7.0, {}, ModelError, "got only atomic_dipoles, charges"),
        (partial(Springs, ("polarization",)), 7.0, {"ensemble": "npt"}, ModelError, "stress of calculator Springs"),
        (Springs, None, {"field_V_per_A": (0.0, 0.0, 0.1)}, ConfigError, "external field: got model Springs"),
        (Springs, None, {"parts": "molecules"}, ConfigError, "--parts: got calculator Springs"),
        (Springs, None, {"replicas": 2, "processes": 2}, ConfigError, "2 with a calculator of another program"),
        (Springs, None, {"engine": "compiled"}, ConfigError, "compiled, which model 'Springs' does not have"),
        (partial(Springs, fails_at=1), None, {}, CalculatorError, "calculator Springs: got CalculationFailed"),
    ],
)
def test_refusals_before_anything_is_written(
    model: Callable[[], Any],
    box: float | None,
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
    tmp_path: Path,
) -> None:
    atoms = pairs(4, box)
    with pytest.raises(error, match=says) as caught:
        Simulation(AsePotential(model()), atoms, settings(**changes), tmp_path / "run.h5").run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run.h5").exists()


def test_an_element_that_a_calculator_does_not_know_is_one_line() -> None:
    atoms = Atoms("XeXe", [[0, 0, 0], [0, 0, 3.0]])
    with pytest.raises(CalculatorError, match=r"calculator EMT: got .*Xe"):
        AsePotential(EMT(), Springs()).check_use(from_ase(atoms), Use(forces=True))


class Flat(Springs):
    """Gives a dipole of two components."""

    def calculate(self, *given: Any, **named: Any) -> None:
        super().calculate(*given, **named)
        self.results["dipole"] = np.zeros(2)


def test_a_result_of_another_shape_is_one_line() -> None:
    with pytest.raises(CalculatorError, match=r"dipole of calculator Flat: got shape \(2,\), wanted \(3,\)"):
        AsePotential(Flat()).check_system(from_ase(pairs()))


def test_structures_of_one_run_are_known_in_one_way() -> None:
    model = AsePotential(Springs(("dipole", "born_charges")))
    model.check_system(from_ase(pairs()))
    with pytest.raises(ModelError, match="got dipole for one structure, born_charges for another"):
        model.check_system(concatenate([from_ase(pairs(4, 7.0))]))


def test_models_of_ours_are_not_asked(tmp_path: Path) -> None:
    result = Simulation(ToyPotential(), pairs(4, 7.0), settings(steps=2, dtype="float64"), tmp_path / "run.h5").run()
    assert "calculators" not in read_run(tmp_path / "run.h5").metadata
    assert result.n_frames == 3
