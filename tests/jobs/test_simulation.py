"""Restart, interruption, kills and damage: nothing half-written looks whole, and a continued run is the same run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import Progress
from spectra_app.errors import ConfigError, SimulationError, StoppedError, StructureError, TrajectoryError
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run
from spectra_app.runs.restart_file import checkpoint_path, load_checkpoint, save_checkpoint
from tests.toy_potential import ToyPotential, dumbbells

REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "timestep_fs": 0.5, "equilibration_steps": 20, "steps": 231, "thermostat_time_fs": 50.0, "replicas": 2,
    "record_stride": 1, "trajectory_stride": 3, "seed": 3, "dtype": "float64",
}  # fmt: skip


def settings(**changes: object) -> MDSettings:
    return MDSettings.model_validate({**SMALL, **changes})


class Interrupting(ToyPotential):
    """Sends the process Ctrl-C (or SIGTERM) during one call of the model."""

    def __init__(self, call: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.call, self.number = call, number

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.n_calls + 1 == self.call:
            os.kill(os.getpid(), self.number)
        return super().__call__(*args, **kwargs)


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Everything in a file that is not a time of this computer or a configuration text."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not name.endswith(("ms_per_step", "metadata")):
                found[name] = item[()]

        file.visititems(visit)
    return found


def assert_same_file(first: Path, second: Path) -> None:
    a, b = datasets(first), datasets(second)
    assert a.keys() == b.keys()
    assert any(name.endswith("velocity/value") for name in a)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "stop", "cell"),
    [
        ("nve", "bussi", 138, "isotropic"),
        ("nvt", "bussi", 138, "isotropic"),
        ("nvt", "langevin", 138, "isotropic"),
        ("nvt", "nose-hoover", 138, "isotropic"),
        ("npt", "bussi", 138, "isotropic"),
        ("npt", "nose-hoover", 138, "full"),
        ("npt", "bussi", 138, "anisotropic"),
        ("nve", "langevin", 14, "isotropic"),  # in the equilibration
    ],
)
def test_restart_continues_bit_for_bit(tmp_path: Path, ensemble: str, thermostat: str, stop: int, cell: str) -> None:
    chosen = settings(ensemble=ensemble, thermostat=thermostat, cell=cell)
    whole = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "whole.h5").run()
    assert whole.restarted_at_step is None
    with pytest.raises(StoppedError, match=rf"step {stop - 1} of 251.*Continue with --restart"):
        Simulation(Interrupting(stop), dumbbells(), chosen, tmp_path / "parts.h5").run()
    if stop > 21:
        partial = read_run(tmp_path / "parts.h5")
        assert not partial.complete
        assert len(partial.step) == stop - 1 - 20 + 1
    result = Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "parts.h5").run(restart=True)
    assert result.restarted_at_step == stop - 1
    assert_same_file(tmp_path / "whole.h5", tmp_path / "parts.h5")
    # Sums over blocks that begin elsewhere: equal to round-off only.
    assert result.temperature_K == pytest.approx(whole.temperature_K, rel=1e-12)
    drift = whole.energy_drift_meV_per_atom_per_ps
    assert result.energy_drift_meV_per_atom_per_ps == pytest.approx(drift, rel=1e-6)
    assert read_run(tmp_path / "parts.h5").complete


def pulse(time_fs: float) -> np.ndarray:
    """A pulse around 60 fs whose tails reach from 30 to 90 fs."""
    return np.array([0.5, -0.2, 0.3]) * np.exp(-(((time_fs - 60.0) / 12.0) ** 2))


@pytest.mark.parametrize("source", ["function", "table"])
def test_restart_in_the_middle_of_a_pulse_continues_bit_for_bit(tmp_path: Path, source: str) -> None:
    chosen, field = settings(ensemble="nve"), pulse
    if source == "table":
        times = np.arange(0.0, 121.0, 4.0)
        rows = np.array([[time, *pulse(time)] for time in times])
        rows[-1, 1:] = 0.0
        np.savetxt(tmp_path / "pulse.dat", rows)
        chosen, field = settings(ensemble="nve", field_table=tmp_path / "pulse.dat"), None
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "whole.h5", field=field).run()
    with pytest.raises(StoppedError):  # at 64.5 fs
        Simulation(Interrupting(151), dumbbells(), chosen, tmp_path / "parts.h5", field=field).run()
    if source == "function":
        with pytest.raises(SimulationError, match=r"wanted the function pulse .*cannot be stored.*Simulation\("):
            Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "parts.h5").run(restart=True)
        with pytest.raises(SimulationError, match="got other values, first at 0 fs, wanted the function pulse"):
            Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "parts.h5", field=lambda t: 2 * pulse(t)).run(
                restart=True
            )
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "parts.h5", field=field).run(restart=True)
    assert_same_file(tmp_path / "whole.h5", tmp_path / "parts.h5")
    run = read_run(tmp_path / "parts.h5")
    expected = [pulse(0.5 * n) for n in range(232)]
    np.testing.assert_allclose(run.field_V_per_A, expected, atol=1e-15 if source == "function" else 0.03)
    assert run.metadata["field"]["kind"] == source


def test_table_with_other_rows_is_refused_and_another_name_is_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("0,0,0,0\n10,0,0,1\n20,0,0,0\n")
    second.write_text(first.read_text())
    output = tmp_path / "run.h5"
    Simulation(ToyPotential(), dumbbells(), settings(steps=20, field_table=first), output).run()
    Simulation(ToyPotential(), dumbbells(), settings(steps=30, field_table=second), output).run(restart=True)
    second.write_text("0,0,0,0\n10,0,0,1.5\n20,0,0,0\n")
    with pytest.raises(SimulationError, match="restart, external field: got other values, wanted the table field"):
        Simulation(ToyPotential(), dumbbells(), settings(steps=40, field_table=second), output).run(restart=True)


def test_checkpoint_of_an_earlier_version_still_continues(tmp_path: Path) -> None:
    # Before fields could change in time a checkpoint held neither the field nor what it acts on.
    output, chosen = tmp_path / "run.h5", settings(steps=20)
    Simulation(ToyPotential(), dumbbells(), settings(steps=10), output).run()
    content = load_checkpoint(output, "md")
    del content["field"], content["state"]["moments"], content["settings"]["field_table"]
    save_checkpoint(output, content)
    Simulation(ToyPotential(), dumbbells(), chosen, output).run(restart=True)
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "whole.h5").run()
    assert_same_file(tmp_path / "whole.h5", output)


def test_run_without_field_has_none_and_its_file_looks_as_ever(tmp_path: Path) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(steps=5), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.field_V_per_A is None
    assert not run.slab
    with h5py.File(tmp_path / "run.h5") as file:
        assert "field" not in file["observables"]
        assert list(file["particles/replica_0/box"].attrs["boundary"]) == ["periodic"] * 3
    Simulation(ToyPotential(), dumbbells(), settings(steps=5, field_V_per_A=(0, 0, 0.1)), tmp_path / "on.h5").run()
    np.testing.assert_array_equal(read_run(tmp_path / "on.h5").field_V_per_A, np.tile([0, 0, 0.1], (6, 1)))


def slab(vacuum: float = 30.0) -> Atoms:
    """Bonds in a layer, open along the second cell vector."""
    atoms = dumbbells()
    atoms.pbc = [True, False, True]
    atoms.cell[1, 1] += vacuum
    return atoms


def test_slab_is_recorded_as_one_and_keeps_its_cell(tmp_path: Path) -> None:
    Simulation(ToyPotential(), slab(), settings(steps=60), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.slab
    assert run.pbc == (True, True, False)
    assert not run.periodic
    assert run.volume_A3 is None
    np.testing.assert_allclose(run.cell_A, [[0, 0, 7.6], [8.0, 0, 0], [0, 38.8, 0]], atol=1e-12)
    with h5py.File(tmp_path / "run.h5") as file:
        assert list(file["particles/replica_0/box"].attrs["boundary"]) == ["periodic", "periodic", "none"]


def test_slab_loses_no_atom_into_its_image(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="npt for a slab, whose vacuum would collapse"):
        Simulation(ToyPotential(), slab(), settings(ensemble="npt"))

    dynamics = Simulation(ToyPotential(), slab(), settings(replicas=1)).dynamics
    system = dynamics.particles.system
    gone = system.positions.clone()
    gone[3, 1] += 32.0
    with pytest.raises(StructureError, match=r"vacuum of the slab: got .* left of a cell 38\.8 A.*An atom has left"):
        dynamics.force_field(gone, system.cell, gone, system.cell, 0)


def test_stopped_by_every_signal_and_by_the_clock(tmp_path: Path) -> None:
    chosen = settings(thermostat="langevin")
    before = signal.getsignal(signal.SIGINT)
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "whole.h5").run()
    output = tmp_path / "parts.h5"
    for number, code in ((signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGUSR1, 75)):
        with pytest.raises(StoppedError, match=r"Ctrl-C|SIGTERM|SIGUSR1") as stop:
            Simulation(Interrupting(60, number), dumbbells(), chosen, output).run(restart=output.exists())
        assert stop.value.exit_code == code
    with pytest.raises(StoppedError, match=r"the 1e-06 minutes are over") as stop:
        Simulation(ToyPotential(), dumbbells(), chosen, output).run(restart=True, max_minutes=1e-6)
    assert stop.value.exit_code == 75
    with pytest.raises(ConfigError, match="max_minutes: got 0"):
        Simulation(ToyPotential(), dumbbells(), chosen, output).run(restart=True, max_minutes=0.0)
    Simulation(ToyPotential(), dumbbells(), chosen, output).run(restart=True)
    assert_same_file(tmp_path / "whole.h5", output)
    assert signal.getsignal(signal.SIGINT) is before  # which a shell in the background has set to nothing


def test_finished_run_can_be_extended(tmp_path: Path) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(), tmp_path / "whole.h5").run()
    output = tmp_path / "parts.h5"
    Simulation(ToyPotential(), dumbbells(), settings(steps=100), output).run()
    assert read_run(output).complete
    Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert_same_file(tmp_path / "whole.h5", output)
    again = Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert again.n_frames == 232
    assert again.ms_per_step > 0.0
    with pytest.raises(SimulationError, match="at least 231, done already"):
        Simulation(ToyPotential(), dumbbells(), settings(steps=50), output).run(restart=True)


def test_run_file_says_what_was_run(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "run.h5"
    seen: list[Progress] = []
    atoms = dumbbells()
    atoms.set_masses([2.014 if symbol == "H" else 17.0 for symbol in atoms.symbols])
    result = Simulation(ToyPotential(), atoms, settings(record_stride=2), output, seen.append).run()
    run = read_run(output)
    assert run.dipole_eA.shape == run.dipole_latent_eA.shape == (116, 2, 3)
    assert run.polarizability_e2A2_per_eV is not None
    assert run.polarizability_e2A2_per_eV.shape == (116, 2, 3, 3)
    assert run.positions_A.shape == (78, 2, 16, 3)
    np.testing.assert_array_equal(run.step, np.arange(0, 232, 2))
    np.testing.assert_allclose(run.time_fs, run.step * 0.5)
    np.testing.assert_array_equal(run.masses_amu, atoms.get_masses())
    np.testing.assert_allclose(run.cell_A, atoms.cell.array)
    assert run.volume_A3 == pytest.approx(atoms.get_volume())
    assert run.metadata["model_hash"] == "toyhash"
    assert run.metadata["eps_inf"] == 1.5
    assert run.metadata["temperature_K"] == 300.0
    assert run.metadata["configuration"]["md"]["seed"] == 3
    assert run.metadata["versions"]["torch"] == torch.__version__
    assert run.metadata["ms_per_step"] == result.ms_per_step > 0
    assert result.n_frames == 116
    assert result.temperature_K == pytest.approx(run.temperature_K.mean(), rel=1e-12)
    slope = np.polyfit(run.time_fs, run.conserved_eV.mean(axis=1), 1)[0]
    assert result.energy_drift_meV_per_atom_per_ps == pytest.approx(slope * 1e6 / 16, rel=1e-6)
    assert [p.phase for p in seen] == ["recording"] * 6
    assert seen[-1].step == seen[-1].total_steps == 251
    # The velocities are those of the positions: central differences agree.
    finite = (run.positions_A[2:] - run.positions_A[:-2]) / (6 * 0.5)
    assert np.corrcoef(finite.ravel(), run.velocities_A_per_fs[1:-1].ravel())[0, 1] > 0.9


def test_file_of_one_replica_is_h5md_that_others_read(tmp_path: Path) -> None:
    from MDAnalysis.coordinates.H5MD import H5MDReader

    Simulation(ToyPotential(), dumbbells(), settings(replicas=1), tmp_path / "run.h5md").run()
    run = read_run(tmp_path / "run.h5md")
    with H5MDReader(str(tmp_path / "run.h5md")) as reader:
        assert reader.n_frames == 78
        moment = reader[10]
        np.testing.assert_allclose(moment.positions, run.positions_A[10, 0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(moment.velocities, run.velocities_A_per_fs[10, 0] * 1e3, rtol=1e-4, atol=1e-4)
        assert moment.time == pytest.approx(30 * 0.5e-3)
        np.testing.assert_allclose(moment.dimensions[:3], [8.0, 8.8, 7.6], rtol=1e-6)


def test_variable_cell_is_recorded(tmp_path: Path) -> None:
    chosen = settings(ensemble="npt", pressure_GPa=3.0, barostat_time_fs=50.0)
    Simulation(ToyPotential(), dumbbells(), chosen, tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert run.volume_A3.shape == (232, 2)
    assert run.cell_A.shape == (78, 2, 3, 3)
    np.testing.assert_allclose(np.linalg.det(run.cell_A), run.volume_A3[::3], rtol=1e-12)


def test_existing_output_is_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    output.write_text("precious")
    with pytest.raises(TrajectoryError, match=r"an existing file\. Continue it with --restart, replace"):
        Simulation(ToyPotential(), dumbbells(), settings(), output).run()
    assert output.read_text() == "precious"
    Simulation(ToyPotential(), dumbbells(), settings(steps=5), output).run(overwrite=True)
    assert len(read_run(output).step) == 6


def test_restart_of_another_run_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    Simulation(ToyPotential(), dumbbells(), settings(steps=10), output).run()
    with pytest.raises(SimulationError, match=r"restart, md\.timestep_fs: got 0\.25, wanted 0\.5"):
        Simulation(ToyPotential(), dumbbells(), settings(timestep_fs=0.25), output).run(restart=True)
    with pytest.raises(SimulationError, match="other atoms"):
        Simulation(ToyPotential(), dumbbells(4), settings(), output).run(restart=True)
    checkpoint_path(output).write_bytes(b"PK half a checkpoint")
    with pytest.raises(TrajectoryError, match="a damaged file"):
        Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    checkpoint_path(output).unlink()
    with pytest.raises(TrajectoryError, match=r"no such file, wanted the checkpoint"):
        Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match="no such file"):
        read_run(tmp_path / "none.h5")
    output = tmp_path / "run.h5"
    Simulation(ToyPotential(), dumbbells(), settings(steps=10), output).run()
    whole = output.read_bytes()
    for length in (0, 100, len(whole) // 2):
        output.write_bytes(whole[:length])
        with pytest.raises(TrajectoryError, match="damaged") as error:
            read_run(output)
        assert "\n" not in str(error.value)
    with h5py.File(tmp_path / "other.h5", "w", libver="latest") as file:
        file["x"] = 1
    with pytest.raises(TrajectoryError, match="another program"):
        read_run(tmp_path / "other.h5")


def test_unknown_element_is_refused(tmp_path: Path) -> None:
    atoms = dumbbells()
    atoms.symbols[3] = "Xe"
    with pytest.raises(StructureError, match="element Xe"):
        Simulation(ToyPotential(), atoms, settings(), tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_failure_keeps_what_was_good(tmp_path: Path) -> None:
    model = ToyPotential()
    model.fail_at = 200
    kept = r"near step 200.*\(1\d\d recorded frames up to there are in .*run.h5\)"
    with pytest.raises(SimulationError, match=kept):
        Simulation(model, dumbbells(), settings(), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    assert not run.complete
    assert 100 < len(run.step) < 200
    last = 200 - settings().equilibration_steps
    assert last - 3 <= int(run.step[-1]) <= last
    assert np.isfinite(run.dipole_eA).all()
    assert np.isfinite(np.asarray(run.temperature_K)).all()
    assert int(run.trajectory_step[-1]) <= int(run.step[-1])


def test_every_replica_may_have_its_own_start(tmp_path: Path) -> None:
    starts = [dumbbells(seed=1), dumbbells(seed=2)]
    Simulation(ToyPotential(), starts, settings(equilibration_steps=0, steps=3), tmp_path / "run.h5").run()
    run = read_run(tmp_path / "run.h5")
    for replica in range(2):
        np.testing.assert_array_equal(run.positions_A[0, replica], starts[replica].positions)
    with pytest.raises(StructureError, match="2, wanted one, or one for each of the 3 replicas"):
        Simulation(ToyPotential(), starts, settings(replicas=3), tmp_path / "no.h5")


CHILD = """
    import sys, time
    sys.path.insert(0, {repository!r})
    from tests.toy_potential import ToyPotential, dumbbells
    from spectra_app.config import MDSettings
    from spectra_app.jobs.simulation import Simulation
    from spectra_app.dynamics import recorder
    from spectra_app.runs import writer
    recorder.BLOCK_FRAMES, writer.FLUSH_SECONDS = 20, 0.02
    class Slow(ToyPotential):
        def __call__(self, *args, **kwargs):
            time.sleep({sleep})
            return super().__call__(*args, **kwargs)
    settings = MDSettings.model_validate({settings!r})
    Simulation(Slow(), dumbbells(), settings, {output!r}, checkpoint_s=0.1).run()
"""


def child(output: Path, chosen: dict[str, object], sleep: float) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(repository=str(REPOSITORY), sleep=sleep, settings=chosen, output=str(output))
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_readable_while_growing_and_restartable_after_kill(tmp_path: Path) -> None:
    chosen = {**SMALL, "steps": 300, "thermostat": "langevin"}
    output = tmp_path / "killed.h5"
    lengths: list[int] = []
    with child(output, chosen, 0.001) as process:
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline and len(set(lengths)) < 4:
            time.sleep(0.05)
            assert process.poll() is None, process.stderr.read()
            if output.exists() and checkpoint_path(output).exists():
                try:
                    run = read_run(output)
                except TrajectoryError:
                    continue  # no recorded frame yet
                assert np.isfinite(run.dipole_eA).all()
                assert (run.positions_A != 0.0).any(axis=(1, 2, 3)).all()  # none yet, or whole frames
                assert not run.complete
                lengths.append(len(run.step))
        process.send_signal(signal.SIGKILL)
    assert len(set(lengths)) >= 4
    assert lengths == sorted(lengths)
    assert len(read_run(output).step) >= lengths[-1]
    Simulation(ToyPotential(), dumbbells(), MDSettings.model_validate(chosen), output).run(restart=True)
    Simulation(ToyPotential(), dumbbells(), MDSettings.model_validate(chosen), tmp_path / "whole.h5").run()
    assert_same_file(tmp_path / "whole.h5", output)


def test_full_disk_is_one_line_and_restartable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, space = tmp_path / "run.h5", [10**10]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=space[0]))

    def fill(progress: Progress) -> None:
        if progress.step >= 150:
            space[0] = 1000

    with pytest.raises(TrajectoryError, match=r"writing .*run.h5: got no space left on the disk\. Free some space"):
        Simulation(ToyPotential(), dumbbells(), settings(), output, fill).run()
    assert len(read_run(output).step) == 100
    space[0] = 10**10
    Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert read_run(output).complete


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"ensemble": "npt"}, "velocity-verlet"),
        ({"ensemble": "nve", "thermostat": "langevin"}, "velocity-verlet"),  # langevin only equilibrates
        ({"ensemble": "nvt", "thermostat": "langevin"}, "langevin-baoab"),
    ],
)
def test_run_file_says_how_it_was_integrated(tmp_path: Path, chosen: dict[str, str], name: str) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(steps=4, record_stride=2, **chosen), tmp_path / "run.h5").run()
    assert read_run(tmp_path / "run.h5").metadata["integrator"] == {"name": name, "timestep_fs": 0.5}


def small(atoms: Atoms, factor: float) -> Atoms:
    """A structure whose lengths are too small."""
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return changed


def test_lengths_in_another_unit_are_refused_before_the_first_step() -> None:
    with pytest.raises(StructureError, match=r"structure 0, atoms .* A apart.* 0\.5\d times .*convert positions"):
        Simulation(ToyPotential(), small(dumbbells(), 0.529177), settings(replicas=1))
    with pytest.raises(StructureError, match=r"structure 1, atoms"):
        Simulation(ToyPotential(), [dumbbells(), small(dumbbells(), 0.529177)], settings(replicas=2))


class Failing(ToyPotential):
    """Its energy and forces become NaN at one call."""

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        found = super().__call__(*args, **kwargs)
        if self.n_calls < 12:
            return found
        return found._replace(energy=found.energy * float("nan"), forces=found.forces * float("nan"))


def test_energy_that_becomes_nan_names_step_and_closest_atoms() -> None:
    chosen = settings(ensemble="nve", replicas=2, equilibration_steps=0)
    with pytest.raises(SimulationError, match=r"near step 12 .*closest atoms \d+ \(.\) and .* A apart, replica"):
        Simulation(Failing(), dumbbells(), chosen).run()
