from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from spectra_app import read_run
from spectra_app.couplings.evaluator import Evaluator, SystemMaker
from spectra_app.couplings.recording import CoupledRun, RunRecorder
from spectra_app.errors import SimulationError, StructureError, TrajectoryError
from spectra_app.structure.neighbors import build_neighbors
from tests.toy_potential import ToyPotential, dumbbells


def test_table_is_reused_while_it_is_complete_also_in_a_cell_that_changes() -> None:
    atoms, model = dumbbells(), ToyPotential()
    maker, evaluate = SystemMaker(atoms.numbers), Evaluator(model, skin_A=0.6, engine="eager")
    rng = np.random.default_rng(1)
    strain = np.zeros((3, 3))
    for _ in range(60):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        strain = 0.9 * strain + rng.normal(scale=0.01, size=(3, 3))  # shear too, and a rotation
        deformation = np.eye(3) + strain
        system = maker([atoms.positions @ deformation], [atoms.cell.array @ deformation])
        fresh = model(system, build_neighbors(system, model.cutoff))
        found = evaluate(system, stress=True)
        np.testing.assert_allclose(found.energy, fresh.energy, rtol=1e-12)
        np.testing.assert_allclose(found.forces, fresh.forces, atol=1e-11)
    assert 1 < evaluate.n_tables < 40


def test_several_structures_are_one_batch_and_others_begin_anew() -> None:
    first, second = dumbbells(seed=1), dumbbells(seed=2)
    model = ToyPotential()
    maker, evaluate = SystemMaker(first.numbers), Evaluator(model, engine="eager")
    both = evaluate(maker([first.positions, second.positions], [first.cell.array, second.cell.array]))
    alone = [evaluate(maker([atoms.positions], [atoms.cell.array])) for atoms in (first, second)]
    np.testing.assert_allclose(both.energy, torch.cat([one.energy for one in alone]), rtol=1e-12)
    assert evaluate.n_tables == 3


def test_what_cannot_be_treated_is_one_line() -> None:
    atoms = dumbbells()
    evaluate = Evaluator(ToyPotential(), engine="eager")
    nitrogen = atoms.numbers.copy()
    nitrogen[0] = 7
    strange = SystemMaker(nitrogen)([atoms.positions], [atoms.cell.array])
    with pytest.raises(StructureError, match=r"element N: wanted only H, O, Ar"):
        evaluate(strange)
    with pytest.raises(StructureError, match=r"pbc = \[True, False, False\], wanted all three"):
        SystemMaker(atoms.numbers, (True, False, False))([atoms.positions], [atoms.cell.array])
    with pytest.raises(StructureError, match="were taken for bohr"):
        SystemMaker(atoms.numbers)([atoms.positions * 0.53], [atoms.cell.array * 0.53])
    with pytest.raises(StructureError, match=r"atom 1 and a periodic image: got 0.350 A apart"):
        SystemMaker(atoms.numbers)([atoms.positions], [np.diag([60.0, 60.0, 0.35])])
    model = ToyPotential()
    model.fail_at = 1
    with pytest.raises(SimulationError, match="energy and forces at call 1 of the model: got NaN"):
        Evaluator(model, engine="eager")(SystemMaker(atoms.numbers)([atoms.positions], [atoms.cell.array]))


def test_slab_keeps_the_height_of_its_start() -> None:
    atoms = dumbbells()
    maker = SystemMaker(atoms.numbers, (True, True, False))
    first = maker([atoms.positions], [atoms.cell.array])
    second = maker([atoms.positions * [1.0, 1.0, 1.01]], [atoms.cell.array])
    assert maker.slab
    assert bool(first.slab.all())
    assert float(first.cell[0, 2, 2]) > atoms.cell[2, 2] + 10.0
    torch.testing.assert_close(first.cell, second.cell)


def test_open_structure_has_no_cell() -> None:
    water = molecule("H2O")
    system = SystemMaker(water.numbers, (False, False, False))([water.positions], [np.diag([99.0, 99.0, 99.0])])
    assert not bool(system.periodic.any())
    assert float(system.cell.abs().sum()) == 0.0


def coupled(**changes: object) -> CoupledRun:
    atoms = dumbbells()
    settings = {"program": "test", "numbers": atoms.numbers, "masses_amu": atoms.get_masses(), "timestep_fs": 0.5}
    return CoupledRun(**(settings | {"cell_A": atoms.cell.array} | changes))  # type: ignore[arg-type]


def test_recorder_writes_what_the_model_gave(tmp_path: Path) -> None:
    atoms, model = dumbbells(), ToyPotential()
    maker, evaluate = SystemMaker(atoms.numbers), Evaluator(model, engine="eager")
    rng = np.random.default_rng(4)
    dipoles, alphas = [], []
    velocities = rng.normal(scale=0.01, size=atoms.positions.shape)
    with RunRecorder(tmp_path / "run.h5", model, coupled(record_stride=2, integrator="velocity-verlet")) as recorder:
        for step in range(10, 240, 2):
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
            system = maker([atoms.positions], [atoms.cell.array])
            prediction = evaluate(system)
            assert recorder.is_due(step)
            assert step == 10 or not recorder.is_due(step + 1)
            recorder.add(step, system, prediction, velocities)
            dipoles.append(1.5**0.5 * prediction.dipole[0].numpy())
            alphas.append(1.5 * prediction.polarizability[0].numpy())
    run = read_run(tmp_path / "run.h5")
    np.testing.assert_allclose(run.dipole_eA[:, 0], dipoles, rtol=1e-12)
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV[:, 0], alphas, rtol=1e-12)
    np.testing.assert_allclose(run.time_fs, 1.0 * np.arange(115))
    np.testing.assert_allclose(run.stored_positions_A[-1][0], atoms.positions)
    np.testing.assert_allclose(run.velocities_A_per_fs[3][0], velocities, rtol=1e-6)
    np.testing.assert_allclose(run.cell_A, atoms.cell.array)
    assert run.complete
    assert run.metadata["created_by"] == "test"
    assert run.metadata["integrator"] == {"name": "velocity-verlet", "timestep_fs": 0.5}
    doubled = (atoms.get_masses()[:, None] * velocities**2).sum() * 103.642696
    np.testing.assert_allclose(run.temperature_K[:, 0], doubled / (45 * 8.617333262e-5), rtol=1e-6)


def test_recorder_refuses_frames_out_of_rhythm_and_files_that_exist(tmp_path: Path) -> None:
    atoms, model = dumbbells(), ToyPotential()
    system = SystemMaker(atoms.numbers)([atoms.positions], [atoms.cell.array])
    prediction = Evaluator(model, engine="eager")(system)
    recorder = RunRecorder(tmp_path / "run.h5", model, coupled(record_stride=2))
    recorder.add(4, system, prediction)
    with pytest.raises(SimulationError, match="got step 7, wanted step 6: frames evenly spaced"):
        recorder.add(7, system, prediction)
    recorder.finish()
    with pytest.raises(TrajectoryError, match="got an existing file"):
        RunRecorder(tmp_path / "run.h5", model, coupled())
    assert np.isnan(read_run(tmp_path / "run.h5").temperature_K[0, 0])
