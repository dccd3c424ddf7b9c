"""A batch of several temperatures, or of structures of any size: one evaluation, a run file for each system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from spectra_app.errors import ConfigError, SimulationError, StoppedError, StructureError
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run
from spectra_app.runs.restart_file import checkpoint_path
from tests.jobs.test_failures import Sick
from tests.jobs.test_simulation import Interrupting, assert_same_file, settings
from tests.toy_potential import ToyPotential, dumbbells

SHORT = {"replicas": 1, "steps": 130}


def molecule() -> Atoms:
    """Open boundaries."""
    atoms = dumbbells(2)
    atoms.pbc, atoms.cell = False, np.zeros((3, 3))
    return atoms


def structures() -> list[Atoms]:
    return [dumbbells(8), molecule(), dumbbells(5, seed=2), dumbbells(8, seed=3)]


@pytest.mark.parametrize("chosen", [{"thermostat": "langevin"}, {"parts": "molecules"}])
def test_structures_of_any_size_run_in_one_batch_as_they_do_alone(tmp_path: Path, chosen: dict[str, str]) -> None:
    together = Simulation(ToyPotential(), structures(), settings(**SHORT, **chosen), tmp_path / "runs")
    result = together.run()
    # The first and the last one are of one system: replicas of one file.
    names = ["run_0.h5", "run_1.h5", "run_2.h5"]
    assert [file.path for file in result.files] == [tmp_path / "runs" / name for name in names]
    assert [(file.n_atoms, file.n_replicas) for file in result.files] == [(16, 2), (4, 1), (10, 1)]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([*names, "run.h5.checkpoint"])
    for name, members in zip(names, ([0, 3], [1], [2]), strict=True):
        run = read_run(tmp_path / "runs" / name)
        assert run.complete
        for replica, member in enumerate(members):
            seed = run.metadata["seeds"][replica]
            alone = tmp_path / f"{member}.h5"
            Simulation(ToyPotential(), structures()[member], settings(**SHORT, **chosen, seed=seed), alone).run()
            one = read_run(alone)
            assert (one.boundary, one.numbers.tolist()) == (run.boundary, run.numbers.tolist())
            for observable in run.observables:
                values = np.asarray(run.observable(observable))[:, replica]
                np.testing.assert_allclose(values, one.observable(observable)[:, 0], rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(run.positions_A[:, replica], one.positions_A[:, 0], rtol=0, atol=1e-9)


def test_every_temperature_has_its_run_file(tmp_path: Path) -> None:
    chosen = settings(**{**SHORT, "replicas": 4}, temperature_K=[250, 350, 250, 350], ensemble="npt")
    result = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "water.h5").run()
    assert [file.path.name for file in result.files] == ["water_250K.h5", "water_350K.h5"]
    runs = [read_run(file.path) for file in result.files]
    assert [run.metadata["temperature_K"] for run in runs] == [250.0, 350.0]
    assert [run.n_replicas for run in runs] == [2, 2]
    assert [run.metadata["configuration"]["md"]["temperature_K"] for run in runs] == [[250, 350, 250, 350]] * 2
    assert len({seed for run in runs for seed in run.metadata["seeds"]}) == 4
    alone = settings(**SHORT, temperature_K=350, ensemble="npt", seed=runs[1].metadata["seeds"][0])
    Simulation(ToyPotential(), dumbbells(), alone, tmp_path / "alone.h5").run()
    one = read_run(tmp_path / "alone.h5")
    np.testing.assert_allclose(runs[1].dipole_eA[:, 0], one.dipole_eA[:, 0], rtol=1e-9, atol=1e-9)


def test_temperatures_alone_say_how_many_replicas_there_are(tmp_path: Path) -> None:
    made = Simulation(ToyPotential(), dumbbells(), settings(replicas=1, temperature_K="250,300,350"))
    assert made.particles.n_replicas == 3
    with pytest.raises(
        ConfigError, match=r"md.temperature_K: got 3 temperatures, wanted one, or one for each of the 4"
    ):
        Simulation(ToyPotential(), dumbbells(), settings(replicas=4, temperature_K=[250, 300, 350]))
    with pytest.raises(ConfigError, match="2 temperatures, wanted one, or one for each of the 4 replicas"):
        Simulation(ToyPotential(), structures(), settings(replicas=1, temperature_K=[250, 300]))
    with pytest.raises(StructureError, match="got 4, wanted one, or one for each of the 5 replicas"):
        Simulation(ToyPotential(), structures(), settings(replicas=5))


def test_a_restart_of_several_files_continues_bit_for_bit(tmp_path: Path) -> None:
    chosen = settings(**SHORT, temperature_K=[250, 300, 350, 300])
    Simulation(ToyPotential(), structures(), chosen, tmp_path / "whole").run()
    with pytest.raises(StoppedError, match=r"saved in .*run_0_250K.h5 to run_0_300K.h5"):
        Simulation(Interrupting(90), structures(), chosen, tmp_path / "parts").run()
    Simulation(ToyPotential(), structures(), chosen, tmp_path / "parts").run(restart=True)
    names = [f"run_{label}.h5" for label in ("0_250K", "1_300K", "2_350K", "0_300K")]
    for name in names:
        assert_same_file(tmp_path / "whole" / name, tmp_path / "parts" / name)
    with pytest.raises(SimulationError, match=r"other atoms|run files"):
        Simulation(ToyPotential(), structures()[::-1], chosen, tmp_path / "parts").run(restart=True)
    assert checkpoint_path(tmp_path / "parts" / "run.h5").is_file()


def test_a_system_that_goes_wrong_leaves_the_others_alone(tmp_path: Path) -> None:
    # Batch: atoms 0-31 of the two replicas of the first system, then the molecule's 4.
    class SickMolecule(Sick):
        def __init__(self) -> None:
            super().__init__(100, lambda found: found)

        def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            found = ToyPotential.__call__(self, *args, **kwargs)
            if self.n_calls != self.call:
                return found
            forces = found.forces.clone()
            forces[33] = 1e9
            return found._replace(forces=forces)

    result = Simulation(SickMolecule(), structures(), settings(**SHORT), tmp_path / "runs").run()
    assert [failure.replica for failure in result.failures] == [f"replica 0 of {tmp_path / 'runs' / 'run_1.h5'}"]
    complete = [read_run(file.path).complete for file in result.files]
    assert complete == [True, False, True]
    sick = read_run(result.files[1].path)
    assert len(sick.step) == 79
    assert np.isfinite(np.asarray(sick.dipole_eA)).all()
