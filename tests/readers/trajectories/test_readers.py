"""Every format gives back the motion it was written from: positions unwrapped, units A and fs."""

from __future__ import annotations

from pathlib import Path

import ase.io
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units

from spectra_app.errors import StructureError, TrajectoryError
from spectra_app.readers.trajectories import open_trajectory
from spectra_app.readers.trajectories.frames import Frame, unwrap
from tests.toy_potential import dumbbells

N_FRAMES, STEP_FS = 12, 2.0
CELL = np.array([[8.0, 0.0, 0.0], [1.5, 8.5, 0.0], [-1.0, 0.7, 7.5]])  # triclinic, oriented as GROMACS wants it


@pytest.fixture
def motion() -> tuple[Atoms, np.ndarray, np.ndarray]:
    """Start, positions [frame, atom, xyz] that leave the cell, velocities."""
    atoms = dumbbells()
    atoms.set_cell(CELL)
    velocities = np.random.default_rng(0).normal(scale=0.12, size=(len(atoms), 3))
    times = np.arange(N_FRAMES) * STEP_FS
    return atoms, atoms.positions + times[:, None, None] * velocities, velocities


def images(motion: tuple[Atoms, np.ndarray, np.ndarray], wrap: bool, velocities: bool = False) -> list[Atoms]:
    atoms, positions, speeds = motion
    frames = []
    for place in positions:
        frame = atoms.copy()
        frame.set_positions(place)
        if wrap:
            frame.wrap()
        if velocities:
            frame.set_velocities(speeds / units.fs)
        frames.append(frame)
    return frames


def check(trajectory, motion, atol: float, velocities: bool = False) -> None:  # type: ignore[no-untyped-def]
    atoms, positions, speeds = motion
    assert trajectory.timestep_fs == pytest.approx(STEP_FS, rel=1e-4)
    np.testing.assert_array_equal(trajectory.numbers, atoms.numbers)
    np.testing.assert_allclose(trajectory.masses_amu, atoms.get_masses())
    for _ in range(2):  # may be read again
        frames = list(trajectory.frames())
        assert len(frames) == N_FRAMES
        found = np.stack([frame.positions_A for frame in frames])
        np.testing.assert_allclose(found - found[0], positions - positions[0], atol=atol)
        if velocities:
            np.testing.assert_allclose(frames[3].velocities_A_per_fs, speeds, atol=atol)
        np.testing.assert_allclose(frames[5].cell_A, CELL, atol=1e-4)
    # The motion does leave the cell: without unwrapping this test would fail.
    assert np.abs((positions[-1] - positions[0]) @ np.linalg.inv(CELL)).max() > 0.5


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("name", ["a.extxyz", "a.traj"])
def test_ase_formats(tmp_path: Path, motion, name: str, wrap: bool) -> None:  # type: ignore[no-untyped-def]
    ase.io.write(tmp_path / name, images(motion, wrap, velocities=True))
    check(open_trajectory(tmp_path / name, timestep_fs=STEP_FS), motion, 1e-7, velocities=True)


def test_extxyz_with_times(tmp_path: Path, motion) -> None:  # type: ignore[no-untyped-def]
    frames = images(motion, True)
    for index, frame in enumerate(frames):
        frame.info["time_fs"] = 100.0 + index * STEP_FS
    ase.io.write(tmp_path / "a.extxyz", frames)
    check(open_trajectory(tmp_path / "a.extxyz"), motion, 1e-7)
    frames[7].info["time_fs"] += 1.0
    ase.io.write(tmp_path / "b.extxyz", frames)
    with pytest.raises(TrajectoryError, match="frame 7: got 3 fs after the frame before, wanted 2 fs"):
        list(open_trajectory(tmp_path / "b.extxyz").frames())


@pytest.mark.parametrize("name", ["a.xtc", "a.trr", "a.dcd", "a.nc"])
def test_mdanalysis_formats(tmp_path: Path, motion, name: str) -> None:  # type: ignore[no-untyped-def]
    import MDAnalysis

    atoms, _, speeds = motion
    with_velocities = name in ("a.trr", "a.nc")
    universe = MDAnalysis.Universe.empty(len(atoms), trajectory=True, velocities=with_velocities)
    options = {"velocities": True} if name == "a.nc" else {}
    with MDAnalysis.Writer(str(tmp_path / name), n_atoms=len(atoms), dt=STEP_FS / 1e3, istep=1, **options) as writer:
        for index, frame in enumerate(images(motion, True)):
            moment = universe.trajectory.ts
            moment.positions = frame.positions
            moment.dimensions = frame.cell.cellpar()
            moment.data["time"], moment.frame = index * STEP_FS / 1e3, index
            if with_velocities:
                moment.velocities = speeds * 1e3
            writer.write(universe.atoms)
    ase.io.write(tmp_path / "start.extxyz", atoms)
    with pytest.raises(TrajectoryError, match="--topology"):
        open_trajectory(tmp_path / name)
    # XTC rounds to 0.01 A.
    atol = 0.03 if name == "a.xtc" else 3e-5
    check(open_trajectory(tmp_path / name, tmp_path / "start.extxyz"), motion, atol, with_velocities)


@pytest.mark.parametrize("columns", ["x", "xu", "xs"])
def test_lammps_dump(tmp_path: Path, motion, columns: str) -> None:  # type: ignore[no-untyped-def]
    lines = []
    rng = np.random.default_rng(1)
    for index, frame in enumerate(images(motion, wrap=columns != "xu")):
        values = frame.get_scaled_positions(wrap=False) if columns == "xs" else frame.positions
        names = "xs ys zs" if columns == "xs" else ("xu yu zu" if columns == "xu" else "x y z")
        # Bounds of the enclosing box: xlo + min(0, xy, xz, xy + xz), ...
        lines += [
            "ITEM: TIMESTEP", f"{40 * index}", "ITEM: NUMBER OF ATOMS", f"{len(frame)}",
            "ITEM: BOX BOUNDS xy xz yz pp pp pp", "-1.0 9.5 1.5", "0.0 9.2 -1.0", "0.0 7.5 0.7",
            f"ITEM: ATOMS id type {names}",
        ]  # fmt: skip
        order = rng.permutation(len(frame))
        kinds = {"H": 2, "O": 1}
        lines += [f"{a + 1} {kinds[frame.symbols[a]]} {values[a][0]} {values[a][1]} {values[a][2]}" for a in order]
    dump = tmp_path / "a.lammpstrj"
    dump.write_text("\n".join(lines) + "\n")
    check(open_trajectory(dump, timestep_fs=STEP_FS, species=("O", "H")), motion, 1e-7)
    with pytest.raises(TrajectoryError, match="a column 'element', or the symbols of types"):
        open_trajectory(dump, timestep_fs=STEP_FS)
    with pytest.raises(TrajectoryError, match=r"time step of .*none in the file"):
        open_trajectory(dump, species=("O", "H"))
    dump.write_text("\n".join(lines[:-5]) + "\n")
    with pytest.raises(TrajectoryError, match="frame 11: got EOFError"):
        list(open_trajectory(dump, timestep_fs=STEP_FS, species=("O", "H")).frames())
    lines[9 + 16 + 1 : 9 + 16 + 2] = ["41"]
    dump.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrajectoryError, match="frame 2: got 39 steps after"):
        list(open_trajectory(dump, timestep_fs=STEP_FS, species=("O", "H")).frames())


def test_xdatcar(tmp_path: Path, motion) -> None:  # type: ignore[no-untyped-def]
    order = np.argsort(motion[0].numbers, kind="stable")
    atoms, positions, speeds = motion
    motion = atoms[order], positions[:, order], speeds[order]
    ase.io.write(tmp_path / "XDATCAR", images(motion, True), format="vasp-xdatcar")
    check(open_trajectory(tmp_path / "XDATCAR", timestep_fs=STEP_FS), motion, 1e-5)


def test_truncated_and_strange_files(tmp_path: Path, motion) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.extxyz"
    ase.io.write(path, images(motion, True))
    path.write_text("\n".join(path.read_text().splitlines()[:-5]))
    with pytest.raises(TrajectoryError, match=r"a\.extxyz.*wanted"):
        list(open_trajectory(path, timestep_fs=STEP_FS).frames())
    (tmp_path / "b.extxyz").write_text("this is no trajectory\n")
    with pytest.raises(TrajectoryError, match="wanted a readable trajectory"):
        open_trajectory(tmp_path / "b.extxyz", timestep_fs=STEP_FS)
    ase.io.write(tmp_path / "c.extxyz", motion[0])
    with pytest.raises(TrajectoryError, match="at least two"):
        open_trajectory(tmp_path / "c.extxyz", timestep_fs=STEP_FS)
    with pytest.raises(TrajectoryError, match="no such file"):
        open_trajectory(tmp_path / "d.extxyz", timestep_fs=STEP_FS)


def test_ambiguous_jump_is_refused() -> None:
    start = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    frames = [Frame(start, CELL), Frame(start, CELL), Frame(start + np.array([[0, 0, 0], [0, 3.8, 0]]), CELL)]
    with pytest.raises(TrajectoryError, match=r"frame 2: got atom 1 moved by 0\.4. of the cell"):
        list(unwrap(iter(frames), Path("x")))


def test_unwrapped_positions_pass_unchanged() -> None:
    start = np.array([[1.0, 1.0, 1.0], [20.0, 2.0, -12.0]])
    frames = [Frame(start + 0.1 * k, CELL) for k in range(4)]
    for before, after in zip(frames, unwrap(iter(frames), Path("x")), strict=True):
        np.testing.assert_array_equal(before.positions_A, after.positions_A)


def test_trajectory_in_another_unit_is_refused(tmp_path: Path, motion) -> None:  # type: ignore[no-untyped-def]
    frames = images(motion, False)
    for frame in frames:
        frame.set_cell(CELL * 0.529177, scale_atoms=True)
    ase.io.write(tmp_path / "a.extxyz", frames)
    with pytest.raises(StructureError, match=r"frame 0, atoms .* A apart.*0\.5\d times .*for bohr"):
        open_trajectory(tmp_path / "a.extxyz", timestep_fs=STEP_FS)


def test_time_step_of_rounded_times_is_their_mean(tmp_path: Path, motion) -> None:  # type: ignore[no-untyped-def]
    atoms, positions, _ = motion
    universe = MDAnalysis.Universe.empty(len(atoms), trajectory=True)
    with MDAnalysis.Writer(str(tmp_path / "a.xtc"), n_atoms=len(atoms)) as writer:
        for index in range(400):
            universe.atoms.positions = positions[0]
            universe.dimensions = [8, 8.5, 7.5, 90, 90, 90]
            # 100 ps in single precision: steps of 7.6e-6 ps
            universe.trajectory.ts.frame, universe.trajectory.ts.time = index, 100.0 + index * 5e-4
            writer.write(universe.atoms)
    ase.io.write(tmp_path / "a.xyz", atoms)
    assert open_trajectory(tmp_path / "a.xtc", tmp_path / "a.xyz").timestep_fs == pytest.approx(0.5, rel=1e-4)
    assert open_trajectory(tmp_path / "a.xtc", tmp_path / "a.xyz", timestep_fs=0.7).timestep_fs == 0.7
