"""The density of states of trajectories of other programs: the same from each format, with and without velocities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units

from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError, TrajectoryError
from spectra_app.jobs import trajectory_vdos as trajectory_velocities
from spectra_app.jobs.trajectory_vdos import read_velocities, vdos_of_trajectory
from spectra_app.spectra import VDOS, vdos
from spectra_app.spectra.stream import StoredSeries
from spectra_app.units import SPEED_OF_LIGHT_CM_PER_FS

pytestmark = pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")  # 0.5 ps are few

STEP_FS, N_FRAMES = 1.0, 500
CELL = np.diag([7.0, 8.0, 9.0])
LINES_PER_CM = {8: 600.0, 1: 3000.0}  # every atom of an element vibrates at this wavenumber
SETTINGS = SpectraSettings(resolution_per_cm=200.0)
Motion = tuple[Atoms, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def motion() -> Motion:
    """Two molecules that cross a face of the cell: start, positions (whole) and velocities [frame, atom, xyz]."""
    rng = np.random.default_rng(5)
    start = np.array([[6.8, 1, 1], [7.6, 1.3, 1], [6.5, 1.9, 1], [3, 5, 5], [3.9, 5, 5], [2.7, 5.9, 5]])
    atoms = Atoms("OH2OH2", positions=start, cell=CELL, pbc=True)
    time = np.arange(N_FRAMES)[:, None, None] * STEP_FS
    omega = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * np.array([LINES_PER_CM[z] for z in atoms.numbers])[:, None]
    speed = np.sqrt(300 * 8.617e-5 / (103.64270 * atoms.get_masses()))[:, None] * np.ones(3)  # A/fs, of 300 K
    phase = rng.uniform(0, 2 * np.pi, size=(6, 3))
    positions = start + speed / omega * np.sqrt(2) * np.sin(omega * time + phase)
    velocities = speed * np.sqrt(2) * np.cos(omega * time + phase)
    return atoms, positions, velocities


@pytest.fixture(scope="module")
def expected(motion: Motion) -> VDOS:
    """Of the velocities themselves."""
    atoms, _, velocities = motion
    return vdos(
        velocities, atoms.get_masses(), timestep_fs=STEP_FS, symbols=atoms.get_chemical_symbols(),
        degrees_of_freedom=15, settings=SETTINGS,
    )  # fmt: skip


def images(motion: Motion, velocities: bool) -> list[Atoms]:
    atoms, positions, speeds = motion
    frames = []
    for place, speed in zip(positions, speeds, strict=True):
        frame = Atoms(atoms.numbers, place, cell=CELL, pbc=True)
        frame.wrap()
        if velocities:
            frame.set_velocities(speed / units.fs)
        frames.append(frame)
    return frames


def write_mdanalysis(path: Path, motion: Motion, velocities: bool) -> None:
    _, positions, speeds = motion
    universe = MDAnalysis.Universe.empty(6, trajectory=True, velocities=velocities)
    box = np.diag(CELL)
    more = {"velocities": velocities} if path.suffix == ".nc" else {}
    with MDAnalysis.Writer(str(path), 6, dt=STEP_FS * 1e-3, **more) as writer:
        for index, (place, speed) in enumerate(zip(positions, speeds, strict=True)):
            universe.atoms.positions = place % box
            universe.dimensions = [*box, 90, 90, 90]
            if velocities:
                universe.atoms.velocities = speed * 1e3
            universe.trajectory.ts.frame = index
            universe.trajectory.ts.time = index * STEP_FS * 1e-3
            writer.write(universe.atoms)


def write_dump(path: Path, motion: Motion, velocities: bool) -> None:
    text = []
    for step, frame in enumerate(images(motion, velocities)):
        bounds = "\n".join(f"0 {length}" for length in frame.cell.lengths())
        text.append(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n6\nITEM: BOX BOUNDS pp pp pp\n{bounds}")
        text.append("ITEM: ATOMS id element x y z" + (" vx vy vz" if velocities else ""))
        speeds = motion[2][step] * 1e3  # metal: A/ps
        for n, atom in enumerate(frame):
            speed = " ".join(f"{v:.9f}" for v in speeds[n]) if velocities else ""
            text.append(f"{n + 1} {atom.symbol} {atom.x:.9f} {atom.y:.9f} {atom.z:.9f} {speed}")
    path.write_text("\n".join(text) + "\n")


def write_ase(path: Path, motion: Motion, velocities: bool) -> None:
    kind = "vasp-xdatcar" if path.name == "XDATCAR" else None
    ase.io.write(path, images(motion, velocities), format=kind)


CASES: list[tuple[str, Callable[[Path, Motion, bool], None], bool, dict[str, object], float]] = [
    ("t.trr", write_mdanalysis, True, {"topology": "t.xyz"}, 1e-5),
    ("t.trr", write_mdanalysis, False, {"topology": "t.xyz"}, 2e-2),
    ("t.nc", write_mdanalysis, True, {"topology": "t.xyz"}, 1e-5),
    ("t.dcd", write_mdanalysis, False, {"topology": "t.xyz", "timestep_fs": STEP_FS}, 2e-2),
    ("t.lammpstrj", write_dump, True, {"lammps_units": "metal", "timestep_fs": STEP_FS}, 1e-5),
    ("t.lammpstrj", write_dump, False, {"timestep_fs": STEP_FS}, 2e-2),
    ("t.extxyz", write_ase, True, {"timestep_fs": STEP_FS}, 1e-5),
    ("t.extxyz", write_ase, False, {"timestep_fs": STEP_FS}, 2e-2),
    ("XDATCAR", write_ase, False, {"timestep_fs": STEP_FS}, 2e-2),
]


@pytest.mark.parametrize(("name", "write", "velocities", "given", "tolerance"), CASES)
def test_every_format_gives_the_density_of_states(
    tmp_path: Path,
    motion: Motion,
    expected: VDOS,
    name: str,
    write: Callable[[Path, Motion, bool], None],
    velocities: bool,
    given: dict[str, object],
    tolerance: float,
) -> None:
    write(tmp_path / name, motion, velocities)
    ase.io.write(tmp_path / "t.xyz", motion[0])
    if "topology" in given:
        given = {**given, "topology": tmp_path / "t.xyz"}
    found, notes = vdos_of_trajectory(tmp_path / name, SETTINGS, **given)  # type: ignore[arg-type]
    assert any("no velocities" in note for note in notes) != velocities
    step = found.wavenumber_per_cm[1]
    for number, symbol in ((8, "O"), (1, "H")):
        curve = found.elements[symbol]
        assert found.wavenumber_per_cm[curve.argmax()] == pytest.approx(LINES_PER_CM[number], abs=40.0)
        # Differences of positions are corrected: 3000 cm^-1 at 1 fs would have 3% too little, 8% at 1.6 fs.
        near = np.abs(found.wavenumber_per_cm - LINES_PER_CM[number]) < 500.0
        atoms = int((motion[0].numbers == number).sum())
        assert step * curve[near].sum() == pytest.approx(15.0 * atoms / 6.0, rel=0.02)
    np.testing.assert_allclose(found.total, expected.total, atol=tolerance * expected.total.max())
    assert found.temperature_K == pytest.approx(expected.temperature_K, rel=2e-3)


def test_long_trajectories_stay_on_disk(tmp_path: Path, motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ase(tmp_path / "t.traj", motion, True)
    write_ase(tmp_path / "p.traj", motion, False)
    whole = {name: read_velocities(tmp_path / name, timestep_fs=1.0) for name in ("t.traj", "p.traj")}
    monkeypatch.setattr(trajectory_velocities, "IN_MEMORY_BYTES", 4000)
    monkeypatch.setattr(trajectory_velocities, "CHUNK_BYTES", 1000)
    for name, kept in whole.items():
        found = read_velocities(tmp_path / name, timestep_fs=1.0)
        assert isinstance(found.values, StoredSeries)
        assert isinstance(kept.values, np.ndarray)
        np.testing.assert_array_equal(np.asarray(found.values), kept.values)
        here = vdos_of_trajectory(tmp_path / name, SETTINGS, timestep_fs=1.0)[0]
        there = vdos(
            kept.values, kept.masses_amu, timestep_fs=1.0, symbols=list("OHHOHH"), degrees_of_freedom=15,
            quantity=kept.quantity, settings=SETTINGS, checks="off",
        )  # fmt: skip
        np.testing.assert_allclose(here.total, there.total, rtol=1e-12, atol=1e-15)


def test_a_breathing_cell_moves_no_atom(tmp_path: Path, motion: Motion) -> None:
    atoms, positions, _ = motion
    rng = np.random.default_rng(0)
    frames, far = [], np.array([[0, 0, 0], [3, 0, 0], [0, 0, 0], [0, -2, 5], [0, 0, 0], [0, 0, 1]])
    cells = CELL * (1.0 + 0.01 * np.sin(0.5 * np.arange(50)))[:, None, None]
    for cell in cells:
        frames.append(Atoms(atoms.numbers, (atoms.get_scaled_positions() + far) @ cell, cell=cell, pbc=True))
    ase.io.write(tmp_path / "t.traj", frames)
    found = read_velocities(tmp_path / "t.traj", timestep_fs=1.0)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-12)
    inner = (positions - positions[0])[:50] @ np.linalg.inv(CELL) + 0.01 * rng.normal(size=3)
    moved = [Atoms(atoms.numbers, (f.get_scaled_positions(wrap=False) + u) @ f.cell.array, cell=f.cell, pbc=True)
             for f, u in zip(frames, inner, strict=True)]  # fmt: skip
    ase.io.write(tmp_path / "m.traj", moved)
    found = read_velocities(tmp_path / "m.traj", timestep_fs=1.0)
    middle = 0.5 * (cells[1:] + cells[:-1])
    np.testing.assert_allclose(np.diff(found.values, axis=0), np.diff(inner, axis=0) @ middle, atol=1e-12)


def test_time_step_is_the_mean_of_rounded_times(tmp_path: Path, motion: Motion) -> None:
    # From 100 ps on, single-precision picoseconds are rounded to 8e-3 fs.
    _, positions, speeds = motion
    universe = MDAnalysis.Universe.empty(6, trajectory=True, velocities=True)
    with MDAnalysis.Writer(str(tmp_path / "t.trr"), 6) as writer:
        for index in range(200):
            universe.atoms.positions, universe.atoms.velocities = positions[index], speeds[index] * 1e3
            universe.dimensions = [7, 8, 9, 90, 90, 90]
            universe.trajectory.ts.frame, universe.trajectory.ts.time = index, 100.0 + index * 1e-3
            writer.write(universe.atoms)
    ase.io.write(tmp_path / "t.xyz", motion[0])
    assert read_velocities(tmp_path / "t.trr", tmp_path / "t.xyz").timestep_fs == pytest.approx(1.0, rel=1e-4)


def test_what_is_missing_is_said(tmp_path: Path, motion: Motion) -> None:
    frames = images(motion, True)[:6]
    frames[4].set_array("momenta", None)
    ase.io.write(tmp_path / "t.traj", frames)
    with pytest.raises(SeriesError, match=r"velocities of .*frame 4: got none, wanted velocities in every frame"):
        read_velocities(tmp_path / "t.traj", timestep_fs=1.0)
    with pytest.raises(TrajectoryError, match=r"time step of .*Give it with --timestep-fs"):
        read_velocities(tmp_path / "t.traj")
    write_mdanalysis(tmp_path / "t.trr", motion, True)
    with pytest.raises(TrajectoryError, match=r"coordinates without elements.*--topology"):
        read_velocities(tmp_path / "t.trr")


def test_wrapped_positions_without_their_cell_are_refused(tmp_path: Path, motion: Motion) -> None:
    frames = images(motion, False)
    for index, frame in enumerate(frames):
        frame.positions[:, 0] += 0.002 * index
        frame.wrap()
        frame.pbc = False
    ase.io.write(tmp_path / "t.traj", frames)
    with pytest.raises(SeriesError, match=r"jump"):
        vdos_of_trajectory(tmp_path / "t.traj", SETTINGS, timestep_fs=1.0)
