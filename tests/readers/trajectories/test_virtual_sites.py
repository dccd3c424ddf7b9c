"""Virtual sites of water models are known in every format that has them, and left out."""

from __future__ import annotations

from pathlib import Path

import ase.io
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from spectra_app.errors import TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.readers.trajectories import open_trajectory
from spectra_app.readers.trajectories.frames import Trajectory
from spectra_app.readers.trajectories.virtual_sites import is_site_name
from spectra_app.runs import read_run
from tests.toy_potential import ToyPotential

N_FRAMES, STEP_FS, N_WATER = 4, 2.0, 8
BOX = 6.2


def waters(rng: np.random.Generator, offset_A: float = 0.1546, lone_pairs: bool = False) -> tuple[Atoms, np.ndarray]:
    """Molecules in a small box with their sites after them, some across faces, and velocities [particle, xyz], A/fs."""
    box = Atoms(cell=[BOX] * 3, pbc=True)
    for place in np.ndindex(2, 2, 2):
        one = molecule("H2O")
        one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
        one.translate(np.array(place) * BOX / 2 - one.positions[0])
        arms = one.positions[1:] - one.positions[0]
        bisector = arms.sum(axis=0) / np.linalg.norm(arms.sum(axis=0))
        normal = np.cross(*arms) / np.linalg.norm(np.cross(*arms))
        sites = [offset_A * bisector]
        if lone_pairs:  # TIP5P: 0.7 A from O, 109.47 degrees
            sites = [0.7 * (np.cos(0.955) * -bisector + sign * np.sin(0.955) * normal) for sign in (1, -1)]
        box += one + Atoms(f"X{len(sites)}", positions=one.positions[0] + np.array(sites))
    box.wrap()
    velocities = rng.normal(scale=0.003, size=(N_WATER, 1, 3)).repeat(len(box) // N_WATER, axis=1).reshape(-1, 3)
    return box, velocities


def frames_of(box: Atoms, velocities: np.ndarray) -> list[Atoms]:
    frames = []
    for index in range(N_FRAMES):
        frame = box.copy()
        frame.positions += index * STEP_FS * velocities
        frame.wrap()
        frame.set_array("momenta", None)
        frames.append(frame)
    return frames


def check(trajectory: Trajectory, box: Atoms, velocities: np.ndarray, word: str, atol: float) -> None:
    atoms = box.numbers > 0
    assert trajectory.left_out == word
    np.testing.assert_array_equal(trajectory.numbers, box.numbers[atoms])
    np.testing.assert_allclose(trajectory.masses_amu, box.get_masses()[atoms])
    found = np.stack([frame.positions_A for frame in trajectory.frames()])
    assert found.shape == (N_FRAMES, 3 * N_WATER, 3)
    moved = STEP_FS * (N_FRAMES - 1) * velocities[atoms]
    np.testing.assert_allclose(found[-1] - found[0], moved, atol=atol)
    place = (found[0] - box.positions[atoms]) / BOX
    np.testing.assert_allclose(place, np.rint(place), atol=atol)


def write_gro(path: Path, box: Atoms, names: list[str]) -> None:
    per_water = len(names)
    lines = ["water", f"{len(box)}"]
    for k, place in enumerate(box.positions / 10.0):
        lines.append(
            f"{k // per_water + 1:5d}{'SOL':<5s}{names[k % per_water]:>5s}{k + 1:5d}"
            + "".join(f"{x:8.3f}" for x in place)
        )
    path.write_text("\n".join([*lines, f"{BOX / 10:10.5f}" * 3, ""]))


def write_mdanalysis(path: Path, frames: list[Atoms], velocities: np.ndarray | None = None) -> None:
    universe = MDAnalysis.Universe.empty(len(frames[0]), trajectory=True, velocities=velocities is not None)
    with MDAnalysis.Writer(str(path), len(frames[0])) as writer:
        for index, frame in enumerate(frames):
            universe.atoms.positions = frame.positions
            universe.dimensions = [BOX, BOX, BOX, 90, 90, 90]
            if velocities is not None:
                universe.atoms.velocities = velocities * 1e3
            universe.trajectory.ts.data["time"] = universe.trajectory.ts.time = index * STEP_FS * 1e-3
            universe.trajectory.ts.frame = index
            writer.write(universe.atoms)


@pytest.mark.parametrize("name", ["MW", "M", "VS1"])
def test_gromacs_names(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    box, velocities = waters(rng)
    write_gro(tmp_path / "w.gro", box, ["OW", "HW1", "HW2", name])
    write_mdanalysis(tmp_path / "w.xtc", frames_of(box, velocities))
    trajectory = open_trajectory(tmp_path / "w.xtc", tmp_path / "w.gro")
    check(trajectory, box, velocities, f"8 virtual sites ({name}) left out", 0.02)


def test_lone_pairs_of_five_point_water(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng, lone_pairs=True)
    write_gro(tmp_path / "w.gro", box, ["OW", "HW1", "HW2", "LP1", "LP2"])
    write_mdanalysis(tmp_path / "w.trr", frames_of(box, velocities), velocities)
    trajectory = open_trajectory(tmp_path / "w.trr", tmp_path / "w.gro")
    check(trajectory, box, velocities, "16 virtual sites (LP1, LP2) left out", 1e-4)
    np.testing.assert_allclose(trajectory.first.velocities_A_per_fs, velocities[box.numbers > 0], atol=1e-7)


def test_pdb_without_element_of_the_site(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng)
    lines = [f"CRYST1{BOX:9.3f}{BOX:9.3f}{BOX:9.3f}  90.00  90.00  90.00 P 1           1"]
    for k, (x, y, z) in enumerate(box.positions):
        name, element = [("OW", "O"), ("HW1", "H"), ("HW2", "H"), ("MW", "")][k % 4]
        coordinates = f"{x:8.3f}{y:8.3f}{z:8.3f}"
        lines.append(
            f"ATOM  {k + 1:5d} {name:^4s} SOL A{k // 4 + 1:4d}    {coordinates}  1.00  0.00          {element:>2s}"
        )
    (tmp_path / "w.pdb").write_text("\n".join([*lines, "END", ""]))
    write_mdanalysis(tmp_path / "w.dcd", frames_of(box, velocities))
    trajectory = open_trajectory(tmp_path / "w.dcd", tmp_path / "w.pdb", timestep_fs=STEP_FS)
    check(trajectory, box, velocities, "8 virtual sites (MW) left out", 1e-4)


def test_topology_that_gives_a_mass_of_zero(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng, offset_A=0.6)  # far enough from O for no rule but that of the mass
    rows = [f"{k + 1} {k // 4 + 1} {[1, 2, 2, 3][k % 4]} 0.0 {x} {y} {z}" for k, (x, y, z) in enumerate(box.positions)]
    edges = "\n".join(f"0.0 {BOX} {c}lo {c}hi" for c in "xyz")
    (tmp_path / "w.data").write_text(
        f"water\n\n{len(box)} atoms\n3 atom types\n\n{edges}\n\nMasses\n\n1 15.999\n2 1.008\n3 0.0\n\n"
        "Atoms # full\n\n" + "\n".join(rows) + "\n"
    )
    write_mdanalysis(tmp_path / "w.xtc", frames_of(box, velocities))
    trajectory = open_trajectory(tmp_path / "w.xtc", tmp_path / "w.data")
    assert trajectory.left_out is not None
    assert trajectory.left_out.startswith("8 virtual sites")
    check(trajectory, box, velocities, trajectory.left_out, 0.02)


def test_extended_xyz_with_x(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng)
    frames = frames_of(box, velocities)
    for frame in frames:
        frame.set_velocities(velocities / units.fs)
    ase.io.write(tmp_path / "w.extxyz", frames)
    result = record_trajectory(tmp_path / "w.extxyz", ToyPotential(bonds=False), tmp_path / "r.h5", timestep_fs=STEP_FS)
    assert (result.n_atoms, result.left_out) == (24, "8 virtual sites (X) left out")
    run = read_run(tmp_path / "r.h5")
    assert run.metadata["left_out"] == result.left_out
    np.testing.assert_allclose(run.velocities_A_per_fs[1, 0], velocities[box.numbers > 0], atol=1e-7)


@pytest.mark.parametrize("given", ["element", "species"])
def test_lammps_dump(tmp_path: Path, rng: np.random.Generator, given: str) -> None:
    box, velocities = waters(rng)
    text = ""
    for step, frame in enumerate(frames_of(box, velocities)):
        kind = [("O", 1), ("H", 2), ("H", 2), ("X", 3)]
        rows = [
            f"{k + 1} {kind[k % 4][0 if given == 'element' else 1]} {x:.9f} {y:.9f} {z:.9f}"
            for k, (x, y, z) in enumerate(frame.positions)
        ]
        bounds = f"0 {BOX}\n" * 3
        text += f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(box)}\nITEM: BOX BOUNDS pp pp pp\n{bounds}"
        text += f"ITEM: ATOMS id {'element' if given == 'element' else 'type'} x y z\n" + "\n".join(rows) + "\n"
    (tmp_path / "w.lammpstrj").write_text(text)
    species, word = (None, "X") if given == "element" else (["O", "H", "MW"], "MW")
    trajectory = open_trajectory(tmp_path / "w.lammpstrj", timestep_fs=STEP_FS, species=species)
    check(trajectory, box, velocities, f"8 virtual sites ({word}) left out", 1e-6)


def test_site_that_is_called_an_element_is_known_by_its_place(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng)
    called = box.copy()
    called.numbers[box.numbers == 0] = 2
    ase.io.write(tmp_path / "w.extxyz", frames_of(called, velocities))
    trajectory = open_trajectory(tmp_path / "w.extxyz", timestep_fs=STEP_FS)
    check(trajectory, box, velocities, "8 virtual sites (He) left out", 1e-6)


def test_particle_without_element_elsewhere_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng)
    box.positions[7] += 1.2
    ase.io.write(tmp_path / "w.extxyz", frames_of(box, velocities))
    with pytest.raises(TrajectoryError, match=r"atom 7 \(X\): got no element, and no virtual site"):
        open_trajectory(tmp_path / "w.extxyz", timestep_fs=STEP_FS)


def test_frame_without_its_sites_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    box, velocities = waters(rng)
    frames = frames_of(box, velocities)
    frames[2] = frames[2][box.numbers > 0]
    ase.io.write(tmp_path / "w.traj", frames)
    trajectory = open_trajectory(tmp_path / "w.traj", timestep_fs=STEP_FS)
    with pytest.raises(TrajectoryError, match="atoms that change"):
        list(trajectory.frames())


def test_names() -> None:
    assert all(is_site_name(name) for name in ("MW", "M", "mw1", "EP", "EPW", "LP1", "LPA", "VS", "X", "IW"))
    assert not any(
        is_site_name(name) for name in ("O", "H", "MG", "Mn", "W", "I", "V", "CM", "EU", "Li", "P", "MO", "LA")
    )
