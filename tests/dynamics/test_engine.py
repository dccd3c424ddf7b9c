"""Engines: chosen by measurement, kept by a restart, refused where a model lacks them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings, ModelSettings
from spectra_app.dynamics.engine import choose_engine
from spectra_app.errors import ConfigError
from spectra_app.jobs.simulation import Simulation
from spectra_app.potentials import Potential
from spectra_app.runs.reader import read_run
from spectra_app.structure.system import System, from_ase
from tests.random_weights import with_known_material, with_random_weights
from tests.toy_potential import ToyPotential

WATERS = Atoms(
    "OH2OH2",
    [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0], [0, -2.8, 0.1], [0.76, -3.39, 0.1], [-0.76, -3.39, 0.1]],
    cell=[7.0, 7.5, 7.2],
    pbc=True,
)


def model() -> Potential:
    torch.manual_seed(3)
    settings = ModelSettings(variant="puipiu", channels=8, n_radial=4, cutoff_A=3.5, response="self-consistent")
    return with_known_material(with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.8), 0.3)).double()


@dataclass(frozen=True)
class _Energy:
    energy: torch.Tensor


SECONDS = {"eager": 0.02, "compiled": 0.005, "other": 0.03}


class Clocked(ToyPotential):
    """Engines that take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = tuple(SECONDS)
        self.asked: list[str] = []

    def __call__(self, system: System, *_: object, **__: object) -> _Energy:  # type: ignore[override]
        self.asked.append(self.engine)
        time.sleep(SECONDS[self.engine])
        return _Energy(torch.zeros(1))


def test_auto_takes_the_fastest_and_nothing_is_tried_for_a_short_run() -> None:
    clocked, system = Clocked(), from_ase(WATERS)
    assert choose_engine("auto", clocked, system, 100).name == "eager"
    assert clocked.asked == []
    assert choose_engine("auto", clocked, system, 10_000).name == "compiled"
    assert clocked.engine == "compiled"
    assert set(clocked.asked) == set(SECONDS)
    assert choose_engine("other", clocked, system, 100).name == "other"
    with pytest.raises(ConfigError, match=r"md.engine: got compiled, which model 'toy' does not have on cpu, wanted"):
        choose_engine("compiled", ToyPotential(), system, 100)


def run(output: Path, **settings: object) -> Path:
    md = {"equilibration_steps": 5, "steps": 30, "trajectory_stride": 1, "temperature_K": 50.0, **settings}
    restart = bool(md.pop("restart", False))
    Simulation(model(), WATERS, MDSettings.model_validate(md), output).run(restart=restart)
    return output


def test_eager_and_compiled_runs_agree_and_say_what_they_are(tmp_path: Path) -> None:
    runs = [read_run(run(tmp_path / f"{engine}.h5", engine=engine)) for engine in ("eager", "compiled")]
    assert [one.metadata["engine"] for one in runs] == ["eager", "compiled"]
    for name in ("energy", "dipole", "polarizability"):
        first, second = (np.asarray(one.observables[name]) for one in runs)
        assert second == pytest.approx(first, abs=1e-4 * np.abs(first).max())  # the tolerance of either sum


def test_a_restart_keeps_the_engine_bit_for_bit(tmp_path: Path) -> None:
    whole = read_run(run(tmp_path / "whole.h5", engine="compiled"))
    run(tmp_path / "parts.h5", engine="compiled", steps=12)
    parts = read_run(run(tmp_path / "parts.h5", restart=True))  # auto
    assert parts.metadata["engine"] == "compiled"
    assert np.array_equal(np.asarray(parts.observables["dipole"]), np.asarray(whole.observables["dipole"]))
    assert np.array_equal(np.asarray(parts.observables["energy"]), np.asarray(whole.observables["energy"]))
