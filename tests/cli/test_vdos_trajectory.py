"""``spectra-app vdos`` of trajectories of other programs, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from tests.cli.conftest import Outcome, water_box
from tests.toy_potential import ToyPotential, dumbbells

pytestmark = pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")


def vibrating(velocities: bool, n_frames: int = 400) -> list[Atoms]:
    """Two atoms that vibrate at 1000 cm^-1, 1 fs apart."""
    omega = 2 * np.pi * 2.99792458e-5 * 1000.0
    frames = []
    for frame in range(n_frames):
        atoms = Atoms("OH", [[1, 1, 1], [2, 1, 1]], cell=[5, 5, 5], pbc=True)
        moved = np.array([[0.02, 0.01, 0.0], [-0.1, 0.0, 0.15]])
        atoms.positions += moved * np.sin(omega * frame)
        if velocities:
            atoms.set_velocities(moved * omega * np.cos(omega * frame) / units.fs)
        frames.append(atoms)
    return frames


def frames_of_water(n_frames: int) -> list[Atoms]:
    """The water box with a massless site on every bisector, which vibrates as a whole."""
    box = water_box()
    for oxygen in range(0, 24, 3):
        arms = box.positions[oxygen + 1 : oxygen + 3] - box.positions[oxygen]
        box += Atoms("X", [box.positions[oxygen] + 0.13 * arms.sum(axis=0)])
    frames = []
    for frame in range(n_frames):
        moved = box.copy()
        moved.positions += 0.02 * np.sin(0.1 * frame + np.arange(8).repeat(3)[[*range(24), *range(0, 24, 3)], None])
        frames.append(moved)
    return frames


@pytest.mark.parametrize("velocities", [True, False])
def test_density_of_states_of_a_trajectory(cli, tmp_path: Path, velocities: bool) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "t.extxyz", vibrating(velocities))
    words = (
        "vdos",
        tmp_path / "t.extxyz",
        "--timestep-fs",
        "1",
        "--resolution-per-cm",
        "200",
        "-o",
        tmp_path / "v.csv",
    )
    done: Outcome = cli(*words, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["peaks"][0]["position_per_cm"] == pytest.approx(1000.0, abs=20.0)
    assert found["parameters"]["quantity"] == ("velocities" if velocities else "positions")
    assert ("rates of the positions" in done.err) != velocities
    assert (tmp_path / "v.csv").is_file()


def test_virtual_sites_are_left_out_with_a_word(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "t.extxyz", frames_of_water(300))
    done: Outcome = cli(
        "vdos", tmp_path / "t.extxyz", "--timestep-fs", "1", "--resolution-per-cm", "300", "-o", tmp_path / "v.csv"
    )
    assert done.code == 0, done.err
    assert "8 virtual sites (X) left out" in done.err


def test_what_is_missing_or_too_much_is_said(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "t.extxyz", vibrating(True, 5))
    done: Outcome = cli("vdos", tmp_path / "t.extxyz")
    assert done.code == 5
    assert "Give it with --timestep-fs" in done.err
    (tmp_path / "t.trr").write_bytes(b"\x00\x00\x07\xc9 not a whole file")
    done = cli("vdos", tmp_path / "t.trr", "--topology", tmp_path / "t.extxyz")
    assert done.code == 5
    assert "trajectory" in done.err
    assert "HDF5" not in done.err
    done = cli("vdos", tmp_path / "none.h5")
    assert (done.code, "no such file" in done.err) == (5, True)


def test_options_that_a_run_file_answers_itself_are_refused(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    Simulation(ToyPotential(), dumbbells(), MDSettings(steps=5, equilibration_steps=0), tmp_path / "run.h5").run()
    done: Outcome = cli("vdos", tmp_path / "run.h5", "--timestep-fs", "1")
    assert (done.code, "--timestep-fs for" in done.err, "a run file says it itself" in done.err) == (2, True, True)
