from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.errors import SimulationError, StoppedError, TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.jobs.simulation import Simulation
from spectra_app.readers.trajectories import open_trajectory
from spectra_app.runs import read_run
from tests.toy_potential import ToyPotential, dumbbells


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """A run that stores what it records."""
    settings = MDSettings(steps=60, equilibration_steps=10, record_stride=2, trajectory_stride=2)
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "md.h5").run()
    return tmp_path / "md.h5"


@pytest.mark.parametrize("batch_size", [1, 7])
def test_decoration_equals_recording_during_the_run(run_path: Path, tmp_path: Path, batch_size: int) -> None:
    result = record_trajectory(run_path, ToyPotential(), tmp_path / "again.h5", batch_size=batch_size)
    during, after = read_run(run_path), read_run(tmp_path / "again.h5")
    assert result.n_frames == len(after.step) == 31
    assert result.timestep_fs == after.metadata["timestep_fs"] == 1.0
    assert after.complete
    np.testing.assert_allclose(after.time_fs, during.time_fs)
    np.testing.assert_allclose(after.dipole_eA, during.dipole_eA, atol=1e-11)
    np.testing.assert_allclose(after.polarizability_e2A2_per_eV, during.polarizability_e2A2_per_eV, atol=1e-11)
    np.testing.assert_allclose(after.energy_eV, during.energy_eV, atol=1e-10)
    np.testing.assert_allclose(after.screening, during.screening, atol=1e-12)
    np.testing.assert_allclose(after.temperature_K, during.temperature_K, rtol=1e-5)  # velocities stored as float32
    np.testing.assert_allclose(after.positions_A, during.positions_A, atol=1e-12)
    np.testing.assert_allclose(after.velocities_A_per_fs, during.velocities_A_per_fs, rtol=1e-6)
    assert after.conserved_eV is None
    np.testing.assert_allclose(after.cell_A, during.cell_A)
    assert after.volume_A3 == pytest.approx(during.volume_A3)


@pytest.mark.parametrize("kind", ["run file", "extxyz", "dump"])
def test_slab_is_decorated_as_one(tmp_path: Path, kind: str) -> None:
    atoms = dumbbells()
    atoms.pbc = [True, True, False]
    atoms.cell[2] *= 0.0 if kind == "extxyz" else 4.0
    settings = MDSettings(steps=40, equilibration_steps=0, record_stride=2, trajectory_stride=2, temperature_K=600.0)
    Simulation(ToyPotential(), atoms, settings, tmp_path / "md.h5").run()
    during, source = read_run(tmp_path / "md.h5"), tmp_path / "md.h5"
    images = [Atoms(atoms.numbers, frame, cell=atoms.cell, pbc=atoms.pbc) for frame in during.positions_A[:, 0]]
    if kind == "extxyz":
        source = tmp_path / "t.extxyz"
        ase.io.write(source, images)
    if kind == "dump":
        source = tmp_path / "t.lammpstrj"
        text = ""
        for step, image in enumerate(images):
            bounds = "\n".join(f"0 {length}" for length in image.cell.lengths())
            rows = "\n".join(f"{n + 1} {a.symbol} {a.x:.12f} {a.y:.12f} {a.z:.12f}" for n, a in enumerate(image))
            text += (
                f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(image)}\nITEM: BOX BOUNDS pp pp ff\n{bounds}\n"
            )
            text += f"ITEM: ATOMS id element x y z\n{rows}\n"
        source.write_text(text)
    record_trajectory(source, ToyPotential(), tmp_path / "again.h5", timestep_fs=1.0)
    after = read_run(tmp_path / "again.h5")
    assert after.slab
    assert after.volume_A3 is None
    np.testing.assert_allclose(after.energy_eV, during.energy_eV, atol=1e-6)
    np.testing.assert_allclose(after.dipole_eA, during.dipole_eA, atol=1e-6)
    np.testing.assert_allclose(np.asarray(after.cell_A), during.cell_A, atol=1e-9)


class Interrupting(ToyPotential):
    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.n_calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(*args, **kwargs)


def test_interrupted_decoration_resumes(run_path: Path, tmp_path: Path) -> None:
    record_trajectory(run_path, ToyPotential(), tmp_path / "whole.h5", batch_size=5)
    output = tmp_path / "parts.h5"
    with pytest.raises(StoppedError, match=r"after 20 frames.*--restart"):
        record_trajectory(run_path, Interrupting(), output, batch_size=5)
    assert not read_run(output).complete
    with pytest.raises(TrajectoryError, match="an existing file"):
        record_trajectory(run_path, ToyPotential(), output, batch_size=5)
    with pytest.raises(SimulationError, match="restart, charge: got 1"):
        record_trajectory(run_path, ToyPotential(), output, charge=1.0, restart=True)
    model = ToyPotential()
    record_trajectory(run_path, model, output, batch_size=5, restart=True)
    assert model.n_calls == 3  # only what was missing
    whole, parts = read_run(tmp_path / "whole.h5"), read_run(output)
    np.testing.assert_array_equal(parts.dipole_eA, whole.dipole_eA)
    np.testing.assert_array_equal(parts.step, whole.step)
    np.testing.assert_array_equal(parts.positions_A, whole.positions_A)


def test_wrapped_frames_without_velocities(run_path: Path, tmp_path: Path) -> None:
    during = read_run(run_path)
    frames = []
    for positions in during.positions_A[:, 0]:
        frame = dumbbells()
        frame.set_positions(positions + 3.9)  # bonds cross the faces
        frame.wrap()
        frames.append(frame)
    ase.io.write(tmp_path / "a.extxyz", frames)
    trajectory = open_trajectory(tmp_path / "a.extxyz", timestep_fs=1.0)
    # The toy's bonds know no images: no springs here, the dipole is sum q r of unwrapped positions.
    model = ToyPotential(bonds=False)
    model.card = type(model.card)(has_alpha=False)
    record_trajectory(trajectory, model, tmp_path / "a.h5", store_trajectory=False, temperature_K=310.0)
    run = read_run(tmp_path / "a.h5")
    latent = run.dipole_latent_eA - run.dipole_latent_eA[0]
    np.testing.assert_allclose(latent, during.dipole_latent_eA - during.dipole_latent_eA[0], atol=1e-6)
    assert np.isnan(run.temperature_K).all()
    assert run.polarizability_e2A2_per_eV is None
    assert run.metadata["temperature_K"] == 310.0
    assert run.cell_A.shape == (3, 3)
    assert len(run.trajectory_step) == 0
    with pytest.raises(TrajectoryError, match="no stored positions"):
        run.positions_A  # noqa: B018


def test_molecules_cut_by_the_faces_are_made_whole(tmp_path: Path) -> None:
    # Four O-H dumbbells across a face: wrapped, each would add a lattice vector times its charge to the dipole.
    places = np.array([[0.1, 1.0, 1.0], [2.9, 3.5, 0.2], [5.0, 0.1, 4.4], [7.9, 7.9, 7.9]])
    whole = Atoms("OH" * 4, np.repeat(places, 2, axis=0), cell=[8.0, 8.0, 8.0], pbc=True)
    whole.positions[1::2] -= [0.5, 0.6, 0.4]
    cut = whole.copy()
    cut.wrap()
    assert np.abs(cut.positions - whole.positions).max() > 7.0
    runs = []
    for name, atoms in (("whole", whole), ("cut", cut)):
        ase.io.write(tmp_path / f"{name}.extxyz", [atoms] * 3)
        record_trajectory(tmp_path / f"{name}.extxyz", Ions(), tmp_path / f"{name}.h5", timestep_fs=1.0)
        runs.append(read_run(tmp_path / f"{name}.h5"))
    np.testing.assert_allclose(runs[1].dipole_latent_eA, runs[0].dipole_latent_eA, atol=1e-6)
    vectors = np.diff(runs[1].positions_A[0, 0], axis=0)[::2]
    np.testing.assert_allclose(vectors, np.tile([-0.5, -0.6, -0.4], (4, 1)), atol=1e-6)


def test_several_replicas_are_refused(tmp_path: Path) -> None:
    settings = MDSettings(steps=4, equilibration_steps=0, replicas=2)
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "md.h5").run()
    with pytest.raises(TrajectoryError, match="replica_0, replica_1, wanted one group"):
        record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "again.h5")


class Ions(ToyPotential):
    """Soft ions: the toy's bonds, which know no images, and what hangs on them are left out."""

    def __init__(self) -> None:
        super().__init__(bonds=False, repulsion=0.05)


def breathing(rng: np.random.Generator, n_frames: int = 25) -> list[Atoms]:
    """Atoms that vibrate and diffuse in a triclinic cell that changes in size and shape."""
    start = dumbbells()
    shape = np.array([[8.0, 0.0, 0.0], [0.9, 8.8, 0.0], [-0.5, 0.4, 7.6]])
    fractional = start.get_scaled_positions() + 0.004 * rng.normal(size=(n_frames, 16, 3)).cumsum(axis=0)
    cells = shape * (1.0 + 0.005 * rng.normal(size=(n_frames, 3, 3)).cumsum(axis=0))
    return [Atoms(start.numbers, f @ cell, cell=cell, pbc=True) for f, cell in zip(fractional, cells, strict=True)]


def test_changing_cell_is_recorded_whatever_the_images(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = breathing(rng)
    images = np.zeros((16, 3))
    images[[0, 3, 7, 12]] = [[2, 0, 0], [200, 0, -1], [0, 2, 2], [-2, 1, 0]]
    kinds = {"here": frames, "there": [f.copy() for f in frames], "wrapped": [f.copy() for f in frames]}
    for frame in kinds["there"]:
        frame.positions += images @ frame.cell.array
    for frame in kinds["wrapped"]:
        frame.wrap()
    dipoles, parts = {}, {}
    for name, moment in kinds.items():
        ase.io.write(tmp_path / f"{name}.traj", moment)
        record_trajectory(tmp_path / f"{name}.traj", Ions(), tmp_path / f"{name}.h5", timestep_fs=1.0, parts="atoms")
        run = read_run(tmp_path / f"{name}.h5")
        dipoles[name], parts[name] = run.dipole_eA[:, 0], np.asarray(run.parts.dipole_eA)[:, 0]
        np.testing.assert_allclose(parts[name].sum(axis=1), dipoles[name], atol=1e-3)  # parts are stored as float32
    charges = 1.5**0.5 * 0.4 * np.array([1.0, -1.0] * 8)
    expected = []
    for first, second in pairwise(frames):
        inner = [frame.positions @ np.linalg.inv(frame.cell.array) for frame in (first, second)]
        expected.append(charges @ (inner[1] - inner[0]) @ (0.5 * (first.cell.array + second.cell.array)))
    for name, tolerance in (("here", 1e-10), ("there", 1e-9), ("wrapped", 1e-10)):
        np.testing.assert_allclose(np.diff(dipoles[name], axis=0), expected, atol=tolerance, err_msg=name)


def test_changing_cell_continues_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    ase.io.write(tmp_path / "t.traj", breathing(rng))
    given = {"timestep_fs": 1.0, "parts": "atoms", "batch_size": 5}
    record_trajectory(tmp_path / "t.traj", Ions(), tmp_path / "whole.h5", **given)

    class Stopping(Ions):
        def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            if self.n_calls == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(*args, **kwargs)

    with pytest.raises(StoppedError):
        record_trajectory(tmp_path / "t.traj", Stopping(), tmp_path / "parts.h5", **given)
    record_trajectory(tmp_path / "t.traj", Ions(), tmp_path / "parts.h5", restart=True, **given)
    whole, parts = read_run(tmp_path / "whole.h5"), read_run(tmp_path / "parts.h5")
    np.testing.assert_array_equal(parts.dipole_eA, whole.dipole_eA)
    np.testing.assert_array_equal(np.asarray(parts.parts.dipole_eA), np.asarray(whole.parts.dipole_eA))


def test_integrator_of_a_run_is_passed_on(run_path: Path, tmp_path: Path) -> None:
    record_trajectory(run_path, ToyPotential(), tmp_path / "again.h5")
    assert read_run(tmp_path / "again.h5").metadata["integrator"] == {"name": "velocity-verlet", "timestep_fs": 0.5}
    ase.io.write(tmp_path / "a.traj", [dumbbells(), dumbbells()])
    record_trajectory(tmp_path / "a.traj", ToyPotential(), tmp_path / "b.h5", timestep_fs=1.0)
    assert read_run(tmp_path / "b.h5").metadata["integrator"] is None
