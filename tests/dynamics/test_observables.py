"""A new observable is one row of the table: it is recorded, stored, read back and continued like the others."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from spectra_app.config import MDSettings
from spectra_app.dynamics import Observable, observables
from spectra_app.dynamics.instant import Instant
from spectra_app.dynamics.observables import RunKind, stored_observables
from spectra_app.errors import SimulationError, StoppedError, TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import Run, read_run
from tests.toy_potential import ToyPotential, dumbbells

STEPS = 260  # more than two blocks


def quadrupole(instant: Instant) -> torch.Tensor:
    """Q = sum_i q_i r_i r_i [structure, xyz, xyz], e A^2."""
    positions = instant.positions
    return instant.sum_over_atoms(
        instant.prediction.fixed_charges[:, None, None] * positions[:, :, None] * positions[:, None, :]
    )


QUADRUPOLE = Observable("quadrupole", (3, 3), "e Angstrom+2", "9 numbers and a sum over atoms", quadrupole)


@pytest.fixture
def with_quadrupole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with one more row."""
    monkeypatch.setattr(observables, "OBSERVABLES", (*observables.OBSERVABLES, QUADRUPOLE))


def settings(**changes: object) -> MDSettings:
    chosen = {
        "timestep_fs": 0.5, "equilibration_steps": 10, "steps": STEPS, "replicas": 2, "record_stride": 1,
        "trajectory_stride": 1, "seed": 3, "dtype": "float64",
    }  # fmt: skip
    return MDSettings.model_validate({**chosen, **changes})


def expected(run: Run) -> np.ndarray:
    """Quadrupole [frame, replica, xyz, xyz] of the stored positions; the toy's charges are +0.4 and -0.4 e."""
    charges = 0.4 * np.array([1.0, -1.0] * 8)
    positions = np.asarray(run.positions_A)
    total = np.zeros((*positions.shape[:2], 3, 3))
    for charge, position in zip(charges, np.moveaxis(positions, 2, 0), strict=True):
        total += charge * position[..., :, None] * position[..., None, :]
    return total


class Interrupting(ToyPotential):
    """Sends the process Ctrl-C during one call of the model."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.call = call

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.n_calls + 1 == self.call:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(*args, **kwargs)


@pytest.mark.usefixtures("with_quadrupole")
@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_one_row_is_recorded_by_md_and_read_back(tmp_path: Path, ensemble: str) -> None:
    path = tmp_path / "run.h5"
    Simulation(ToyPotential(), dumbbells(), settings(ensemble=ensemble), path).run()
    run = read_run(path)
    found = run.observable("quadrupole")
    assert found.shape == (STEPS + 1, 2, 3, 3)
    np.testing.assert_allclose(found, expected(run), atol=1e-11)
    assert np.ptp(np.asarray(found), axis=0).min() > 1e-4  # it moves, in every component
    with h5py.File(path) as file:
        element = file["observables/quadrupole"]
        assert element["value"].attrs["unit"] == "e Angstrom+2"
        assert element["step"] == file["observables/dipole/step"]


@pytest.mark.usefixtures("with_quadrupole")
def test_new_row_changes_no_other_and_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts, without = (tmp_path / f"{name}.h5" for name in ("whole", "parts", "without"))
    Simulation(ToyPotential(), dumbbells(), settings(), whole).run()
    with pytest.raises(StoppedError):
        Simulation(Interrupting(148), dumbbells(), settings(), parts).run()
    assert 0 < len(read_run(parts).step) < STEPS
    Simulation(ToyPotential(), dumbbells(), settings(), parts).run(restart=True)
    first, second = read_run(whole), read_run(parts)
    assert first.observables.keys() == second.observables.keys()
    for name in first.observables:
        np.testing.assert_array_equal(second.observable(name), np.asarray(first.observable(name)), err_msg=name)
    monkeypatch.setattr(observables, "OBSERVABLES", observables.OBSERVABLES[:-1])
    Simulation(ToyPotential(), dumbbells(), settings(), without).run()
    third = read_run(without)
    assert set(first.observables) - set(third.observables) == {"quadrupole"}
    for name in third.observables:
        np.testing.assert_array_equal(third.observable(name), np.asarray(first.observable(name)), err_msg=name)
    with pytest.raises(TrajectoryError, match=r"observable quadrupole of .*got none of this name, wanted one of cons"):
        third.observable("quadrupole")


@pytest.mark.usefixtures("with_quadrupole")
def test_one_row_is_recorded_along_a_trajectory(tmp_path: Path) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(replicas=1, steps=40), tmp_path / "md.h5").run()
    during = read_run(tmp_path / "md.h5")
    record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "whole.h5", batch_size=7)
    whole = read_run(tmp_path / "whole.h5")
    np.testing.assert_allclose(whole.observable("quadrupole"), during.observable("quadrupole"), atol=1e-11)
    with pytest.raises(StoppedError):
        record_trajectory(tmp_path / "md.h5", Interrupting(3), tmp_path / "parts.h5", batch_size=7)
    record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "parts.h5", batch_size=7, restart=True)
    parts = read_run(tmp_path / "parts.h5")
    np.testing.assert_array_equal(parts.observable("quadrupole"), np.asarray(whole.observable("quadrupole")))


def test_a_run_without_the_row_is_not_continued_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    Simulation(ToyPotential(), dumbbells(), settings(steps=4), path).run()
    monkeypatch.setattr(observables, "OBSERVABLES", (*observables.OBSERVABLES, QUADRUPOLE))
    with pytest.raises(TrajectoryError, match=r"got no observables/quadrupole/value.*without --restart"):
        Simulation(ToyPotential(), dumbbells(), settings(steps=8), path).run(restart=True)
    assert len(read_run(path).step) == 5


@pytest.mark.usefixtures("with_quadrupole")
def test_nan_in_a_new_row_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(replicas=1, steps=4), tmp_path / "md.h5").run()
    broken = replace(QUADRUPOLE, formula=lambda instant: quadrupole(instant) * float("nan"))
    monkeypatch.setattr(observables, "OBSERVABLES", (*observables.OBSERVABLES[:-1], broken))
    with pytest.raises(SimulationError, match="recorded step 0: got NaN"):
        Simulation(ToyPotential(), dumbbells(), settings(steps=4), tmp_path / "a.h5").run()
    with pytest.raises(SimulationError, match=r"frames 0 to 4 of .*got NaN"):
        record_trajectory(tmp_path / "md.h5", ToyPotential(), tmp_path / "b.h5")


def test_table_says_which_run_has_what() -> None:
    nothing = dict.fromkeys(("polarizability", "variable_cell", "conserved", "field", "parts", "extrapolation"), False)
    names = [row.name for row in stored_observables(RunKind(**nothing))]
    assert names == ["dipole", "dipole_latent", "screening", "energy", "temperature"]
    brought = {
        "polarizability": {"polarizability"}, "variable_cell": {"volume"}, "conserved": {"conserved"},
        "field": {"field"}, "parts": {"dipole_parts"},
        "extrapolation": {"extrapolation", "extrapolation_atom", "extrapolation_distance"},
    }  # fmt: skip
    for trait, more in brought.items():
        assert {row.name for row in stored_observables(RunKind(**{**nothing, trait: True}))} - set(names) == more
    all_names = [row.name for row in observables.OBSERVABLES]
    assert len(set(all_names)) == len(all_names)
    for row in observables.OBSERVABLES:
        assert row.formula is not None or row.finish is not None
        assert row.cost
