"""Velocities of every format that has them arrive in the run file, in A/fs."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from spectra_app.errors import TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.readers.trajectories import open_trajectory
from spectra_app.readers.trajectories.frames import Frame, check_velocities
from spectra_app.runs import read_run
from tests.toy_potential import ToyPotential, dumbbells

N_FRAMES, STEP_FS = 6, 2.0
KINDS = {"H": 2, "O": 1}


@pytest.fixture
def atoms() -> Atoms:
    return dumbbells()


@pytest.fixture
def speeds(atoms: Atoms) -> np.ndarray:
    """[frame, atom, xyz], A/fs: atoms speed up, so that a frame mistaken for another is seen."""
    start = np.random.default_rng(3).normal(scale=0.004, size=(len(atoms), 3))
    return start * (1.0 + 0.1 * np.arange(N_FRAMES))[:, None, None]


@pytest.fixture
def images(atoms: Atoms, speeds: np.ndarray) -> list[Atoms]:
    """Frames without velocities, wrapped."""
    moved = np.concatenate([np.zeros_like(speeds[:1]), np.cumsum(speeds[:-1], axis=0) * STEP_FS])
    frames = []
    for shift in moved:
        frame = Atoms(atoms.numbers, atoms.positions + shift, cell=atoms.cell, pbc=True)
        frame.wrap()
        frames.append(frame)
    return frames


def write_dump(
    path: Path, images: list[Atoms], speeds: np.ndarray, *, unit_fs: float = 1.0, style: str = "", times: bool = False
) -> None:
    """A LAMMPS dump; ``unit_fs`` is its unit of time, ``style`` what ``dump_modify units yes`` writes."""
    rng, lines = np.random.default_rng(1), ["ITEM: UNITS", style] if style else []
    for index, (image, speed) in enumerate(zip(images, speeds, strict=True)):
        if times:
            lines += ["ITEM: TIME", f"{(7.0 + index * STEP_FS) / unit_fs:.10g}"]
        lines += ["ITEM: TIMESTEP", f"{4 * index}", "ITEM: NUMBER OF ATOMS", f"{len(image)}"]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *(f"0.0 {length:.10f}" for length in image.cell.lengths())]
        lines += ["ITEM: ATOMS id type x y z ix vx vy vz"]
        for a in rng.permutation(len(image)):
            row = (*image.positions[a], 0, *(speed[a] * unit_fs))
            lines.append(f"{a + 1} {KINDS[image.symbols[a]]} " + " ".join(f"{value:.12g}" for value in row))
    path.write_text("\n".join(lines) + "\n")


def recorded(path: Path, folder: Path, **options: object) -> np.ndarray:
    """Velocities [frame, atom, xyz] of the run file that ``record`` makes."""
    record_trajectory(path, ToyPotential(), folder / "run.h5", **options)  # type: ignore[arg-type]
    run = read_run(folder / "run.h5")
    assert run.metadata["timestep_fs"] == pytest.approx(STEP_FS)
    assert run.velocities_A_per_fs is not None
    assert np.isfinite(run.temperature_K).all()
    return run.velocities_A_per_fs[:, 0]


@pytest.mark.parametrize(("style", "unit_fs"), [("metal", 1000.0), ("real", 1.0)])
@pytest.mark.parametrize("said", ["by the user", "by the file", "by both"])
def test_lammps_dump(tmp_path: Path, images, speeds, style: str, unit_fs: float, said: str) -> None:  # type: ignore[no-untyped-def]
    dump = tmp_path / "a.lammpstrj"
    write_dump(dump, images, speeds, unit_fs=unit_fs, style="" if said == "by the user" else style)
    options = {} if said == "by the file" else {"lammps_units": style}
    found = open_trajectory(dump, timestep_fs=STEP_FS, species=("O", "H"), **options)
    velocities = [frame.velocities_A_per_fs for frame in found.frames()]
    np.testing.assert_allclose(np.stack(velocities), speeds, rtol=1e-9)  # type: ignore[arg-type]


def test_lammps_times_have_the_unit_of_the_style(tmp_path: Path, images, speeds) -> None:  # type: ignore[no-untyped-def]
    dump = tmp_path / "a.lammpstrj"
    write_dump(dump, images, speeds, unit_fs=1000.0, style="metal", times=True)
    assert open_trajectory(dump, species=("O", "H")).timestep_fs == pytest.approx(STEP_FS)
    write_dump(dump, images, speeds, unit_fs=1.0, times=True)
    assert open_trajectory(dump, species=("O", "H"), lammps_units="real").timestep_fs == pytest.approx(STEP_FS)


def test_lammps_dump_reaches_the_run_file(tmp_path: Path, images, speeds) -> None:  # type: ignore[no-untyped-def]
    write_dump(tmp_path / "a.dump", images, speeds, unit_fs=1000.0, style="metal")
    found = recorded(tmp_path / "a.dump", tmp_path, timestep_fs=STEP_FS, species=("O", "H"))
    np.testing.assert_allclose(found, speeds, rtol=1e-6)


def test_lammps_units_that_are_missing_or_wrong(tmp_path: Path, images, speeds) -> None:  # type: ignore[no-untyped-def]
    dump, common = tmp_path / "a.lammpstrj", {"timestep_fs": STEP_FS, "species": ("O", "H")}
    write_dump(dump, images, speeds, unit_fs=1000.0)
    with pytest.raises(TrajectoryError, match=r"columns vx vy vz and no unit style, wanted metal .*--lammps-units"):
        open_trajectory(dump, **common)
    with pytest.raises(TrajectoryError, match="got lj, wanted metal or real"):
        open_trajectory(dump, lammps_units="lj", **common)
    with pytest.raises(TrajectoryError, match=r"got .* K, wanted velocities that fit the positions.*--lammps-units"):
        open_trajectory(dump, lammps_units="real", **common)
    write_dump(dump, images, speeds)
    with pytest.raises(TrajectoryError, match=r"got atoms that move .* A between frames"):
        open_trajectory(dump, lammps_units="metal", **common)
    write_dump(dump, images, speeds, style="metal", unit_fs=1000.0)
    with pytest.raises(TrajectoryError, match="got metal in the file, wanted real"):
        open_trajectory(dump, lammps_units="real", **common)


def test_lammps_units_of_a_file_that_is_no_dump_are_refused(tmp_path: Path, images) -> None:  # type: ignore[no-untyped-def]
    ase.io.write(tmp_path / "a.extxyz", images)
    with pytest.raises(TrajectoryError, match="a file that is no LAMMPS dump"):
        open_trajectory(tmp_path / "a.extxyz", timestep_fs=STEP_FS, lammps_units="metal")


def test_gromacs_trr(tmp_path: Path, atoms, images, speeds) -> None:  # type: ignore[no-untyped-def]
    """TRR holds nm/ps; the file is written by MDAnalysis, which takes A/ps."""
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(len(atoms), trajectory=True, velocities=True)
    with MDAnalysis.Writer(str(tmp_path / "a.trr"), n_atoms=len(atoms)) as writer:
        for index, (image, speed) in enumerate(zip(images, speeds, strict=True)):
            moment = universe.trajectory.ts
            moment.positions, moment.velocities = image.positions, 1e3 * speed
            moment.dimensions = image.cell.cellpar()
            moment.data["time"], moment.frame = 1e-3 * index * STEP_FS, index
            writer.write(universe.atoms)
    ase.io.write(tmp_path / "start.extxyz", atoms)
    found = recorded(tmp_path / "a.trr", tmp_path, topology=tmp_path / "start.extxyz")
    np.testing.assert_allclose(found, speeds, rtol=1e-5)


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "GPUMD"])
def test_ase_and_gpumd(tmp_path: Path, images, speeds, name: str) -> None:  # type: ignore[no-untyped-def]
    """ASE stores momenta in its own units; GPUMD's extended XYZ has a column ``vel`` in A/fs."""
    path = tmp_path / ("dump.xyz" if name == "GPUMD" else name)
    for image, speed in zip(images, speeds, strict=True):
        if name == "GPUMD":
            image.arrays["vel"] = speed
        else:
            image.set_velocities(speed / units.fs)
    ase.io.write(path, images, format="extxyz" if name == "GPUMD" else None)
    np.testing.assert_allclose(recorded(path, tmp_path, timestep_fs=STEP_FS), speeds, rtol=1e-5, atol=1e-8)


def test_velocities_of_a_fluid_at_rest_or_far_apart_in_time_pass() -> None:
    """Between frames far apart atoms move less than ballistically, and a start from rest has no velocity at all."""
    rng, mass = np.random.default_rng(0), np.full(50, 16.0)
    start, speed = 20.0 * rng.random((50, 3)), 0.004 * rng.normal(size=(50, 3))
    cell = 20.0 * np.eye(3)
    far = Frame(start + 0.1 * rng.normal(size=(50, 3)), cell, speed)
    check_velocities(Frame(start, cell, speed), far, mass, 500.0, Path("x"))
    rest = Frame(start, cell, np.zeros_like(speed))
    check_velocities(rest, Frame(start + 0.5 * speed, cell, speed), mass, 1.0, Path("x"))


def test_broken_velocities_are_refused(tmp_path: Path, images, speeds) -> None:  # type: ignore[no-untyped-def]
    speeds[2, 0, 0] = np.nan
    write_dump(tmp_path / "a.dump", images, speeds, style="real")
    found = open_trajectory(tmp_path / "a.dump", timestep_fs=STEP_FS, species=("O", "H"))
    with pytest.raises(TrajectoryError, match="frame 2: got velocities of shape"):
        list(found.frames())
