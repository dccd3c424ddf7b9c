"""Contributions of molecules and atoms: who is bonded to whom, and that what is recorded adds up, always."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from spectra_app.config import MDSettings, ModelSettings
from spectra_app.dynamics.contributions import PARTS_BYTES, Contributions, sum_by_part
from spectra_app.errors import SimulationError, StoppedError, StructureError, TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials import Potential
from spectra_app.runs import Run, read_run
from spectra_app.runs.molecules import find_molecules, formula_of
from spectra_app.runs.partition import find_parts
from spectra_app.runs.writer import open_run_file
from tests.jobs.test_simulation import SMALL, Interrupting, assert_same_file
from tests.random_weights import with_known_material, with_random_weights
from tests.toy_potential import ToyPotential, dumbbells

CELL = np.array([[9.0, 0.0, 0.0], [4.0, 8.0, 0.0], [-3.0, 2.5, 7.0]])


def mixture() -> Atoms:
    """Three waters, a methanol and a sodium ion in a skewed cell, every atom wrapped into it for itself."""
    rng = np.random.default_rng(3)
    box = Atoms(cell=CELL, pbc=True)
    for name, place in (
        ("H2O", (0, 0, 0)), ("H2O", (0.5, 0, 0.05)), ("CH3OH", (0.5, 0.5, 0.5)), ("H2O", (0, 0.5, 0)),
    ):  # fmt: skip
        one = molecule(name)
        one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
        one.translate(np.array(place) @ CELL - one.get_center_of_mass())
        box += one
    box += Atoms("Na", positions=[box.positions[0] + [1.7, 1.7, 0.2]])  # 2.4 A from an oxygen
    box.wrap()
    return box


def test_molecules_are_found_across_the_faces_of_a_skewed_cell() -> None:
    box = mixture()
    found = find_molecules(box.positions, box.numbers, CELL)
    assert found.number.tolist() == [0] * 3 + [1] * 3 + [2] * 6 + [3] * 3 + [4]
    assert not found.endless
    whole = box.positions + found.shift @ CELL
    assert np.abs(found.shift).max() == 1  # some were cut
    for start in (0, 3, 12):
        bonds = np.linalg.norm(whole[start + 1 : start + 3] - whole[start], axis=1)
        np.testing.assert_allclose(bonds, 0.9686, atol=1e-3)
    parts, _ = find_parts("molecules", box.positions, box.numbers, CELL)
    assert parts.kinds == ("H2O", "H2O", "CH4O", "H2O", "Na")
    atoms, _ = find_parts("atoms", box.positions, box.numbers, CELL)
    assert atoms.kinds[:3] == ("O", "H", "H")
    np.testing.assert_array_equal(atoms.molecules, found.number)


def test_interleaved_atoms_and_an_open_structure() -> None:
    waters = Atoms("OHOHHH", positions=[[0, 0, 0], [1, 0, 0], [9, 0, 0], [-0.2, 0.9, 0], [9, 1, 0], [9, 0, -1]])
    found = find_molecules(waters.positions, waters.numbers, None)
    assert found.number.tolist() == [0, 0, 1, 0, 1, 1]
    assert formula_of(["O", "H", "H"]) == "H2O"


@pytest.mark.parametrize(("atoms", "endless"), [(bulk("Si"), True), (bulk("NaCl", "rocksalt", a=5.64), False)])
def test_a_network_is_no_molecule_and_ions_bond_to_nothing(atoms: Atoms, endless: bool) -> None:
    found = find_molecules(atoms.positions, atoms.numbers, np.asarray(atoms.cell))
    assert found.endless == endless
    assert found.number.tolist() == ([0, 0] if endless else [0, 1])
    if endless:
        with pytest.raises(StructureError, match=r"parts molecules: got bonds .* a network.*--parts atoms"):
            find_parts("molecules", atoms.positions, atoms.numbers, np.asarray(atoms.cell))
        assert find_parts("atoms", atoms.positions, atoms.numbers, np.asarray(atoms.cell))[0].molecules is None


def test_sums_by_part_take_atoms_in_any_order(rng: np.random.Generator) -> None:
    values, part = rng.normal(size=(4, 2, 6, 3)), np.array([1, 0, 1, 2, 0, 1])
    expected = np.stack([values[:, :, part == k].sum(axis=2) for k in range(3)], axis=2)
    np.testing.assert_allclose(sum_by_part(values, part), expected, rtol=1e-14)
    np.testing.assert_array_equal(sum_by_part(values, np.array([3, 0, 1, 5, 4, 2]))[:, :, 3], values[:, :, 0])


def check_sums(path: Path, eps: float = 1e-5) -> None:
    """Contributions of a run file add up to what it says of the whole, to the float32 in which they are stored."""
    run = read_run(path)
    assert run.parts is not None
    dipole = np.asarray(run.parts.dipole_eA)
    assert dipole.dtype == np.float32
    assert dipole.shape == (*run.dipole_eA.shape[:2], len(run.parts.kinds), 3)
    np.testing.assert_allclose(dipole.sum(axis=2), run.dipole_eA, atol=eps * max(1.0, np.abs(dipole).max()))
    assert np.ptp(dipole, axis=0).max() > 100 * eps  # it moves
    alpha = run.parts.polarizability_e2A2_per_eV
    assert (alpha is None) == (run.polarizability_e2A2_per_eV is None)
    if alpha is not None:
        total = run.polarizability_e2A2_per_eV
        np.testing.assert_allclose(np.asarray(alpha).sum(axis=2), total, atol=eps * np.abs(total).max())
        assert np.abs(total).max() > 0.0


@pytest.mark.parametrize("level", ["molecules", "atoms"])
@pytest.mark.parametrize(
    "changes",
    [
        {"ensemble": "nve"},
        {"ensemble": "nvt", "record_stride": 3, "replicas": 1, "steps": 90},
        {"ensemble": "npt", "pressure_GPa": 1.0},
        {"ensemble": "nvt", "thermostat": "langevin", "field_V_per_A": (0.0, 0.1, 0.2)},
    ],
)
def test_contributions_add_up_along_a_run(tmp_path: Path, changes: dict[str, object], level: str) -> None:
    settings = MDSettings.model_validate({**SMALL, **changes, "parts": level})
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "run.h5").run()
    check_sums(tmp_path / "run.h5", 3e-7 * 16)
    run = read_run(tmp_path / "run.h5")
    assert run.parts.kinds == (("HO",) * 8 if level == "molecules" else ("O", "H") * 8)
    assert run.parts.molecules.tolist() == [n if level == "molecules" else n // 2 for n in range(len(run.parts.kinds))]


def tiny_potential(variant: str, response: str, dtype: torch.dtype, device: str = "cpu") -> Potential:
    torch.manual_seed(3)
    settings = ModelSettings(
        channels=4, layers=1, n_radial=4, cutoff_A=3.0, variant=variant, ewald_tolerance=1e-2, response=response
    )
    model = Potential(settings, ("H", "O"), torch.tensor([-13.6, -430.0]), 1e-3, 1.78)
    model = with_known_material(with_random_weights(model))
    model = model.to(dtype=dtype, device=device)
    model.card = dataclasses.replace(model.card, name="tiny")
    return model


VARIANTS = [
    ("p", "one-shot"),
    ("puipiu", "one-shot"),
    ("puQipiu", "self-consistent"),
    ("uiqiu", "one-shot"),
]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("variant", "response"), VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_contributions_of_a_network_add_up(
    tmp_path: Path, variant: str, response: str, periodic: bool, dtype: torch.dtype, device: str
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    atoms = dumbbells(4, 6.0)
    atoms.pbc = periodic
    if not periodic:
        atoms.cell = None
    settings = MDSettings(steps=12, equilibration_steps=0, replicas=2, parts="molecules", temperature_K=1000.0)
    model = tiny_potential(variant, response, dtype, device)
    Simulation(model, atoms, settings, tmp_path / "run.h5").run()
    check_sums(tmp_path / "run.h5", 1e-5 if dtype == torch.float32 else 1e-6)


@pytest.mark.parametrize(("level", "ensemble"), [("molecules", "npt"), ("atoms", "nvt")])
def test_restart_of_a_run_with_parts_continues_bit_for_bit(tmp_path: Path, level: str, ensemble: str) -> None:
    chosen = MDSettings.model_validate({**SMALL, "ensemble": ensemble, "parts": level})
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "whole.h5").run()
    with pytest.raises(StoppedError):
        Simulation(Interrupting(138), dumbbells(), chosen, tmp_path / "two.h5").run()
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "two.h5").run(restart=True)
    assert_same_file(tmp_path / "whole.h5", tmp_path / "two.h5")
    check_sums(tmp_path / "two.h5")
    with pytest.raises(SimulationError, match=r"restart, md.parts: got none, wanted (molecules|atoms) as when"):
        Simulation(ToyPotential(), dumbbells(), chosen.model_copy(update={"parts": "none"}), tmp_path / "two.h5").run(
            restart=True
        )
    if level == "molecules":
        torn = dumbbells()
        torn.positions[1] += torn.positions[1] - torn.positions[0]
        with pytest.raises(SimulationError, match="restart: got other bonds"):
            Simulation(ToyPotential(), torn, chosen, tmp_path / "two.h5").run(restart=True)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_decoration_gives_the_parts_of_the_run_also_after_an_interruption(tmp_path: Path, batch_size: int) -> None:
    settings = MDSettings(
        steps=60, equilibration_steps=10, record_stride=2, trajectory_stride=2, parts="molecules", ensemble="npt"
    )
    Simulation(ToyPotential(), torn_apart(dumbbells()), settings, tmp_path / "md.h5").run()
    again = {"batch_size": batch_size, "parts": "molecules"}
    calls = 4 if batch_size == 7 else 20
    with pytest.raises(StoppedError):
        record_trajectory(tmp_path / "md.h5", Interrupting(calls), tmp_path / "again.h5", **again)
    with pytest.raises(SimulationError, match="restart, parts: got none, wanted molecules"):
        record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "again.h5", restart=True)
    record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "again.h5", restart=True, **again)
    check_sums(tmp_path / "again.h5")
    during, after = read_run(tmp_path / "md.h5"), read_run(tmp_path / "again.h5")
    np.testing.assert_allclose(after.parts.dipole_eA, during.parts.dipole_eA, atol=1e-6)
    np.testing.assert_allclose(
        after.parts.polarizability_e2A2_per_eV, during.parts.polarizability_e2A2_per_eV, atol=1e-6
    )
    assert after.parts.kinds == during.parts.kinds
    check_whole(during)


def torn_apart(atoms: Atoms) -> Atoms:
    """The same structure moved and wrapped atom by atom, so that faces of the cell cut bonds."""
    atoms = atoms.copy()
    atoms.positions -= 1.0
    atoms.wrap()
    assert np.linalg.norm(atoms.positions[1::2] - atoms.positions[::2], axis=1).max() > 3.0
    return atoms


def check_whole(run: Run) -> None:
    """Each bond of 1 A has the dipole of its own length, not one of the cell's."""
    assert run.parts is not None
    dipole = np.linalg.norm(np.asarray(run.parts.dipole_eA), axis=-1)
    assert dipole.max() < 0.4 * 1.5**0.5 * 1.6
    assert dipole.min() > 0.4 * 0.5


def test_molecules_of_a_wrapped_trajectory_are_whole(tmp_path: Path) -> None:
    settings = MDSettings(steps=20, equilibration_steps=0, trajectory_stride=1, ensemble="npt")
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "md.h5").run()
    run = read_run(tmp_path / "md.h5")
    cells = np.broadcast_to(run.cell_A if run.cell_A.ndim == 2 else run.cell_A[:, 0], (21, 3, 3))
    frames = [
        torn_apart(Atoms("OH" * 8, frame, cell=cell, pbc=True))
        for frame, cell in zip(run.positions_A[:, 0], cells, strict=True)
    ]
    ase.io.write(tmp_path / "t.extxyz", frames)
    record_trajectory(tmp_path / "t.extxyz", ToyPotential(), tmp_path / "r.h5", timestep_fs=1.0, parts="molecules")
    check_sums(tmp_path / "r.h5")
    check_whole(read_run(tmp_path / "r.h5"))


def test_killed_run_leaves_readable_contributions(tmp_path: Path) -> None:
    settings = MDSettings.model_validate({**SMALL, "parts": "molecules", "steps": 80})
    child = os.fork()
    if child == 0:  # dies without closing anything
        kill = Interrupting(75, signal.SIGKILL)
        Simulation(kill, dumbbells(), settings, tmp_path / "run.h5", checkpoint_s=0.001).run()
        os._exit(1)
    os.waitpid(child, 0)
    check_sums(tmp_path / "run.h5")
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "run.h5").run(restart=True)
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "whole.h5").run()
    assert_same_file(tmp_path / "whole.h5", tmp_path / "run.h5")


def test_centres_are_those_of_mass_at_the_nearest_configuration(tmp_path: Path) -> None:
    settings = MDSettings.model_validate({**SMALL, "ensemble": "npt", "parts": "molecules", "trajectory_stride": 3})
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    centres = run.centres_A
    assert centres.shape == (232, 2, 8, 3)
    weights = np.array([15.999, 1.008]) / 17.007
    pairs = run.positions_A.reshape(-1, 2, 8, 2, 3)
    # Frame 100 is nearest to the configuration at step 99; its cell is stretched to the mean of all.
    expected = np.einsum("rpak,a->rpk", pairs[33], weights)
    expected = expected @ np.linalg.inv(run.cell_A[33]) @ run.cell_A.mean(axis=(0, 1))
    np.testing.assert_allclose(centres[100], expected, atol=1e-10)
    np.testing.assert_allclose(centres[99:102, 1][1], expected[1], atol=1e-10)
    np.testing.assert_allclose(np.asarray(centres)[231, 0], centres[231, 0], atol=1e-12)


def test_a_run_without_parts_has_none_and_large_parts_come_in_small_blocks(tmp_path: Path) -> None:
    Simulation(ToyPotential(), dumbbells(), MDSettings.model_validate(SMALL), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.parts is None
    with open_run_file(tmp_path / "run.h5") as file:
        assert "dipole_parts" not in file["observables"]
    with pytest.raises(TrajectoryError, match=r"centres of the parts .* got no parts"):
        _ = run.centres_A
    assert Contributions(np.arange(100_000), 1, True).max_frames == PARTS_BYTES // 9_600_000


def test_replicas_bonded_in_different_ways_are_refused() -> None:
    other = dumbbells()
    other.positions[1] += 1.2 * (other.positions[1] - other.positions[0])
    settings = MDSettings.model_validate({**SMALL, "parts": "molecules"})
    with pytest.raises(StructureError, match="parts of replica 1: got bonds between other atoms"):
        Simulation(ToyPotential(), [dumbbells(), other], settings)


def test_a_run_begins_with_whole_molecules_and_its_dipole_has_no_offset(tmp_path: Path) -> None:
    """Molecules cut by the faces of the cell are made whole: P does not hold charges times cell vectors."""
    settings = MDSettings(steps=4, equilibration_steps=0, temperature_K=10.0, timestep_fs=0.1, seed=1)
    found = []
    for wrap in (False, True):
        atoms = dumbbells(4, 6.0)
        atoms.translate([2.0, 1.0, 3.0])
        if wrap:
            atoms.wrap()
        Simulation(ToyPotential(), atoms, settings, tmp_path / f"{wrap}.h5").run()
        run = read_run(tmp_path / f"{wrap}.h5")
        bonds = np.linalg.norm(run.positions_A[0, 0, 1::2] - run.positions_A[0, 0, 0::2], axis=-1)
        assert bonds.max() < 1.1
        found.append(np.asarray(run.dipole_eA)[0, 0])
    cell = dumbbells(4, 6.0).cell.array
    np.testing.assert_allclose(found[1], found[0], atol=1e-10)
    assert np.abs(found[0]).max() < 0.5 * np.abs(cell).max()
