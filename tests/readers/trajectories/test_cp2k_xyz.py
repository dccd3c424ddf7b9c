"""CP2K's positions with the cell and velocity files beside them, in the form its manual shows."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from spectra_app.errors import TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.readers.trajectories import open_trajectory
from spectra_app.runs import read_run
from tests.toy_potential import ToyPotential, dumbbells

BOHR_PER_TIME = 0.529177210544 / 0.024188843266  # atomic unit of velocity, A/fs
FRAMES = 6


def write_xyz(path: Path, symbols: list[str], values: np.ndarray, steps: range) -> None:
    lines = []
    for step, frame in zip(steps, values, strict=True):
        lines += [f"{len(symbols):8d}", f" i = {step:8d}, time = {0.5 * step:12.3f}, E = {-17.1:20.10f}"]
        lines += [f"  {s:<2s} {x:19.10f} {y:19.10f} {z:19.10f}" for s, (x, y, z) in zip(symbols, frame, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def write_cells(path: Path, cells: np.ndarray, steps: range) -> None:
    names = [f"{v}{c} [Angstrom]" for v in "ABC" for c in "xyz"]
    lines = ["#   Step   Time [fs]   " + "   ".join(names) + "   Volume [Angstrom^3]"]
    for step, cell in zip(steps, cells, strict=True):
        numbers = [0.5 * step, *cell.ravel(), np.linalg.det(cell)]
        lines.append(f"{step:8d}" + "".join(f" {v:18.10f}" for v in numbers))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray, np.ndarray]:
    """A wrapped trajectory in a cell that grows: path, unwrapped positions, velocities, cells."""
    atoms = dumbbells()
    rng = np.random.default_rng(4)
    speeds = rng.normal(scale=0.05, size=(len(atoms), 3))
    steps = range(0, 10 * FRAMES, 10)
    cell = atoms.cell.array + np.array([[0, 0, 0], [0.3, 0, 0], [0, -0.2, 0]])
    cells = np.stack([cell * (1.0 + 1e-4 * k) for k in range(FRAMES)])
    fractions = atoms.positions @ np.linalg.inv(cell) + (np.arange(FRAMES) * 0.11)[:, None, None]
    positions = fractions @ cells
    wrapped = (fractions % 1.0) @ cells
    symbols = atoms.get_chemical_symbols()
    write_xyz(tmp_path / "W-pos-1.xyz", symbols, wrapped, steps)
    write_xyz(tmp_path / "W-vel-1.xyz", symbols, np.stack([speeds] * FRAMES) / BOHR_PER_TIME, steps)
    write_cells(tmp_path / "W-1.cell", cells, steps)
    return tmp_path / "W-pos-1.xyz", positions, speeds, cells


def test_positions_cells_velocities_and_times(project) -> None:  # type: ignore[no-untyped-def]
    path, positions, speeds, cells = project
    trajectory = open_trajectory(path)
    assert trajectory.timestep_fs == pytest.approx(5.0)
    frames = list(trajectory.frames())
    assert len(frames) == FRAMES
    found = np.stack([frame.positions_A for frame in frames])
    # An atom keeps its image: a lattice vector of the growing cell is all that may differ.
    shift = found - positions
    whole = np.stack([shift[k] @ np.linalg.inv(cells[k]) for k in range(FRAMES)])
    np.testing.assert_allclose(whole, np.broadcast_to(np.rint(whole[0]), whole.shape), atol=1e-6)
    np.testing.assert_allclose(frames[2].velocities_A_per_fs, speeds, atol=1e-8)
    np.testing.assert_allclose([frame.cell_A for frame in frames], cells, atol=1e-9)


def test_it_is_recorded_like_any_other(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = record_trajectory(project[0], ToyPotential(bonds=False), tmp_path / "run.h5", batch_size=4)
    run = read_run(result.path)
    assert (result.n_frames, result.timestep_fs) == (FRAMES, 5.0)
    np.testing.assert_allclose(run.volume_A3[:, 0], np.linalg.det(project[3]), rtol=1e-8)


def test_a_constant_cell_may_be_printed_once(project) -> None:  # type: ignore[no-untyped-def]
    path, _, _, cells = project
    write_cells(path.with_name("W-1.cell"), cells[:1], range(1))
    assert all(np.allclose(frame.cell_A, cells[0]) for frame in open_trajectory(path).frames())
    write_cells(path.with_name("W-1.cell"), cells[[0, 3]], range(0, 60, 30))
    with pytest.raises(TrajectoryError, match="got step 0, wanted the cell of step 10"):
        list(open_trajectory(path).frames())


def test_what_is_missing_is_asked_for(project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = project[0]
    path.with_name("W-1.cell").unlink()
    with pytest.raises(TrajectoryError, match=r"cell of .*got no W-1\.cell beside it.*--topology"):
        open_trajectory(path)
    atoms = dumbbells()
    ase.io.write(tmp_path / "start.extxyz", atoms)
    trajectory = open_trajectory(path, tmp_path / "start.extxyz")
    np.testing.assert_allclose(trajectory.first.cell_A, atoms.cell.array)
    vel = path.with_name("W-vel-1.xyz")
    vel.write_text("\n".join(vel.read_text().splitlines()[: 2 * (len(atoms) + 2)]) + "\n")
    with pytest.raises(TrajectoryError, match=r"velocities .*got the end, wanted step 20"):
        list(open_trajectory(path, tmp_path / "start.extxyz").frames())
    vel.unlink()
    assert open_trajectory(path, tmp_path / "start.extxyz").first.velocities_A_per_fs is None
    path.write_text(path.read_text()[:-40])
    with pytest.raises(TrajectoryError, match="frame 5: got EOFError"):
        list(open_trajectory(path, tmp_path / "start.extxyz").frames())
