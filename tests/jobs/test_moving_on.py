"""A run that goes on elsewhere: on another device, with another engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run
from spectra_app.runs.restart_file import load_checkpoint, save_checkpoint
from tests.dynamics.test_engine import run as run_of_a_model
from tests.jobs.test_simulation import assert_same_file, settings
from tests.toy_potential import ToyPotential, dumbbells


def as_if_from_a_gpu(output: Path) -> None:
    """Give a checkpoint the random numbers of another kind of device."""
    content = load_checkpoint(output, "md")
    content["state"]["streams"] = [torch.zeros(16, dtype=torch.uint8)] * 2
    content["state"]["streams_device"] = "cuda"
    content["made_by"] = [(0, "eager", 1, "cuda", False)]
    save_checkpoint(output, content)


def test_a_run_without_random_numbers_goes_on_as_ever(tmp_path: Path) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(ensemble="nve"), tmp_path / "whole.h5").run()
    output = tmp_path / "moved.h5"
    Simulation(ToyPotential(), dumbbells(), settings(ensemble="nve", steps=100), output).run()
    as_if_from_a_gpu(output)
    result = Simulation(ToyPotential(), dumbbells(), settings(ensemble="nve"), output).run(restart=True)
    assert_same_file(tmp_path / "whole.h5", output)
    assert [(one.from_step, one.device, one.reseeded) for one in result.made_by] == [
        (0, "cuda", False),
        (120, "cpu", True),
    ]
    assert [one["device"] for one in read_run(output).metadata["made_by"]] == ["cuda", "cpu"]
    again = Simulation(ToyPotential(), dumbbells(), settings(ensemble="nve", steps=240), output).run(restart=True)
    assert again.made_by == result.made_by  # nothing has changed since


@pytest.mark.parametrize("thermostat", ["bussi", "langevin"])
def test_random_numbers_begin_anew_from_seed_and_step(tmp_path: Path, thermostat: str) -> None:
    runs = []
    for name in ("a.h5", "b.h5"):
        chosen = settings(thermostat=thermostat, steps=100)
        Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / name).run()
        as_if_from_a_gpu(tmp_path / name)
        Simulation(ToyPotential(), dumbbells(), settings(thermostat=thermostat), tmp_path / name).run(restart=True)
        runs.append(tmp_path / name)
    assert_same_file(*runs)
    Simulation(ToyPotential(), dumbbells(), settings(thermostat=thermostat), tmp_path / "whole.h5").run()
    moved, whole = (read_run(path).positions_A for path in (runs[0], tmp_path / "whole.h5"))
    np.testing.assert_array_equal(moved[:34], whole[:34])
    assert float(np.abs(moved[-1] - whole[-1]).max()) > 1e-3
    # Replicas do not get the same numbers.
    assert float(np.abs((moved[-1, 0] - moved[33, 0]) - (moved[-1, 1] - moved[33, 1])).max()) > 1e-3


def test_another_engine_goes_on_to_the_rounding_of_the_model(tmp_path: Path) -> None:
    whole = read_run(run_of_a_model(tmp_path / "whole.h5", engine="eager"))
    run_of_a_model(tmp_path / "moved.h5", engine="eager", steps=12)
    moved = read_run(run_of_a_model(tmp_path / "moved.h5", engine="compiled", restart=True))
    assert [(one["from_step"], one["engine"]) for one in moved.metadata["made_by"]] == [(0, "eager"), (17, "compiled")]
    for name in ("energy", "dipole", "polarizability"):
        first, second = np.asarray(whole.observable(name)), np.asarray(moved.observable(name))
        np.testing.assert_array_equal(first[:13], second[:13])
        assert second == pytest.approx(first, abs=1e-4 * np.abs(first).max())  # the tolerance of either sum
