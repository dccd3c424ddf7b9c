from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units

from spectra_app import read_run
from spectra_app.errors import ConfigError, MissingExtraError, StructureError, TrajectoryError
from spectra_app.potentials.calculator import SpectraCalculator
from tests.couplings.conftest import N_STEPS, TIMESTEP_FS, OwnRun
from tests.toy_potential import ToyPotential, dumbbells

ts = pytest.importorskip("torch_sim", reason="needs the extra torchsim")

from torch_sim.integrators.md import MDState  # noqa: E402

from spectra_app.couplings.torchsim import TorchSimModel, TorchSimRecorder, property_calculators  # noqa: E402

FLOAT = torch.float64
CPU = torch.device("cpu")


def wrapper(**changes: object) -> TorchSimModel:
    return TorchSimModel(ToyPotential(), engine="eager", **changes)  # type: ignore[arg-type]


def state_of(own: OwnRun, copies: int = 1):  # type: ignore[no-untyped-def]
    """A state that goes on with the velocities of our own run."""
    state = ts.initialize_state([own.atoms.copy() for _ in range(copies)], CPU, FLOAT)
    momenta = own.atoms.get_masses()[:, None] * own.atoms.get_velocities()  # ASE's unit of time is TorchSim's
    fields = {name: getattr(state, name) for name in ("positions", "masses", "cell", "pbc", "atomic_numbers")}
    return MDState(
        **fields,
        system_idx=state.system_idx,
        momenta=torch.from_numpy(np.concatenate([momenta] * copies)),
        energy=torch.zeros(copies, dtype=FLOAT),
        forces=torch.zeros_like(state.positions),
    )


def test_batched_energies_forces_and_stresses_are_those_of_the_calculator() -> None:
    structures = [dumbbells(seed=1), dumbbells(4, seed=2), dumbbells(seed=3)]
    structures[1].set_cell([[7.0, 0.5, 0.0], [0.0, 8.0, 0.7], [0.3, 0.0, 9.0]])  # TorchSim's cell is transposed
    found = wrapper(polarizability=True)(ts.initialize_state(structures, CPU, FLOAT))
    start = 0
    for k, atoms in enumerate(structures):
        atoms.calc = SpectraCalculator(ToyPotential())
        stop = start + len(atoms)
        np.testing.assert_allclose(found["energy"][k], atoms.get_potential_energy(), rtol=1e-12)
        np.testing.assert_allclose(found["forces"][start:stop], atoms.get_forces(), atol=1e-11)
        np.testing.assert_allclose(found["stress"][k], atoms.get_stress(voigt=False), atol=1e-12)
        np.testing.assert_allclose(found["dipole"][k], atoms.get_dipole_moment(), rtol=1e-11)
        np.testing.assert_allclose(found["polarizability"][k], atoms.calc.results["polarizability"], rtol=1e-11)
        start = stop
    assert found["forces"].dtype == FLOAT


def test_nve_of_torchsim_repeats_our_own_run_although_it_wraps(own_run: OwnRun, tmp_path: Path) -> None:
    model = wrapper(interval_fs=TIMESTEP_FS)
    recorder = TorchSimRecorder(
        tmp_path / "run.h5", model, timestep_fs=TIMESTEP_FS, record_stride=2, integrator="velocity-verlet"
    )
    state = state_of(own_run, copies=2)
    state.positions -= 1.3  # bonds that lie across the faces of the cell
    final = ts.integrate(
        state,
        model,
        integrator=ts.nve,
        n_steps=N_STEPS,
        temperature=400.0,
        timestep=TIMESTEP_FS * 1e-3,
        trajectory_reporter=recorder,
    )
    assert float(final.positions.min()) >= 0.0
    run = read_run(tmp_path / "run.h5")
    assert run.n_replicas == 2
    assert recorder.n_frames == len(run.time_fs) == N_STEPS // 2
    assert run.metadata["integrator"] == {"name": "velocity-verlet", "timestep_fs": TIMESTEP_FS}
    reported = slice(1, N_STEPS + 1, 2)  # TorchSim reports from the first step on
    for replica in range(2):
        moved = np.asarray(run.dipole_eA)[:, replica] - run.dipole_eA[0, replica]
        reference = own_run.dipole_eA[reported]
        np.testing.assert_allclose(moved, reference - reference[0], atol=2e-4)
        np.testing.assert_allclose(run.temperature_K[:, replica], own_run.temperature_K[reported], rtol=1e-3)
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV[:, 1], own_run.polarizability[reported], atol=2e-4)
    total = run.energy_eV[:, 0] + 1.5 * (len(own_run.atoms) - 1) * units.kB * run.temperature_K[:, 0]
    assert np.ptp(total) < 0.05 * np.ptp(run.energy_eV[:, 0])


def test_polarizability_is_not_evaluated_twice(own_run: OwnRun, tmp_path: Path) -> None:
    model = wrapper()
    recorder = TorchSimRecorder(tmp_path / "run.h5", model, timestep_fs=TIMESTEP_FS, record_stride=1)
    common = {"integrator": ts.nve, "n_steps": 5, "temperature": 300.0, "timestep": 1e-4}
    ts.integrate(state_of(own_run), model, trajectory_reporter=recorder, **common)
    assert model.potential.n_calls == 6


def test_optimizers_of_torchsim_relax_atoms_and_cell() -> None:
    structures = [dumbbells(box=6.5, seed=1), dumbbells(box=6.4, seed=2)]
    for atoms in structures:
        atoms.rattle(0.02, seed=3)
    final = ts.optimize(
        structures,
        wrapper(),
        optimizer=ts.frechet_cell_fire,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=0.02, include_cell_forces=True),
        max_steps=400,
    )
    found = wrapper()(final)
    assert float(found["forces"].norm(dim=1).max()) < 0.05
    volume = torch.linalg.det(final.cell).abs()
    assert float((found["stress"] * volume[:, None, None]).abs().max()) < 16 * 0.022  # the cell's forces are per atom


def test_properties_go_into_torchsims_own_trajectory(own_run: OwnRun, tmp_path: Path) -> None:
    model = wrapper(polarizability=True)
    reporter = ts.TrajectoryReporter(
        [tmp_path / "a.h5", tmp_path / "b.h5"], state_frequency=1, prop_calculators={1: property_calculators(model)}
    )
    common = {"integrator": ts.nve, "n_steps": 3, "temperature": 300.0, "timestep": 1e-4}
    ts.integrate(state_of(own_run, copies=2), model, trajectory_reporter=reporter, **common)
    assert model.potential.n_calls == 4
    with ts.TorchSimTrajectory(tmp_path / "b.h5") as trajectory:
        dipole, alpha = trajectory.get_array("dipole"), trajectory.get_array("polarizability")
    assert dipole.shape == (3, 3)
    assert alpha.shape == (3, 3, 3)
    np.testing.assert_allclose(dipole[0], own_run.dipole_eA[0], atol=0.05)
    # Of a state that the wrapper has not seen it is evaluated.
    other = ts.initialize_state([own_run.atoms], CPU, FLOAT)
    found = property_calculators(wrapper())["polarizability"](other, None)
    np.testing.assert_allclose(found, own_run.polarizability[0], rtol=1e-6)


def test_what_cannot_be_treated_is_one_line(own_run: OwnRun, tmp_path: Path) -> None:
    atoms = own_run.atoms.copy()
    atoms.numbers[0] = 7
    with pytest.raises(StructureError, match="element N: wanted only H, O, Ar"):
        wrapper()(ts.initialize_state([atoms], CPU, FLOAT))
    state = ts.initialize_state([own_run.atoms], CPU, FLOAT)
    fields = {name: getattr(state, name) for name in ("positions", "cell", "atomic_numbers", "system_idx")}
    with pytest.raises(
        ConfigError, match=r"pbc = \[True, True, False\], wanted all three directions periodic, or none"
    ):
        wrapper()(fields | {"pbc": torch.tensor([True, True, False])})
    with pytest.raises(StructureError, match=r"system 0.* were taken for bohr"):
        wrapper()(fields | {"pbc": True, "positions": state.positions * 0.53, "cell": state.cell * 0.53})
    model = wrapper()
    recorder = TorchSimRecorder(tmp_path / "run.h5", model, timestep_fs=0.1)
    two = [dumbbells(), dumbbells(4)]
    with pytest.raises(ConfigError, match="systems of different atoms, wanted replicas of one structure"):
        ts.integrate(
            two, model, integrator=ts.nve, n_steps=1, temperature=300.0, timestep=1e-4, trajectory_reporter=recorder
        )
    (tmp_path / "run.h5").touch()
    with pytest.raises(TrajectoryError, match="got an existing file"):
        TorchSimRecorder(tmp_path / "run.h5", model, timestep_fs=0.1)


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    monkeypatch.delitem(sys.modules, "spectra_app.couplings.torchsim")
    with pytest.raises(MissingExtraError, match=r"Run: pip install 'spectra-app\[torchsim\]'"):
        importlib.import_module("spectra_app.couplings.torchsim")
