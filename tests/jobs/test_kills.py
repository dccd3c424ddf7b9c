"""Runs that are killed at any moment, and disks that are really full."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

import pytest

from spectra_app.errors import TrajectoryError
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run, writer
from spectra_app.runs.restart_file import checkpoint_path, load_checkpoint
from tests.jobs.test_simulation import REPOSITORY, assert_same_file, settings
from tests.toy_potential import ToyPotential, dumbbells

KILLS = 8


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("kills")


SCRIPT = """
    import sys, time
    from pathlib import Path
    sys.path[:0] = [{repository!r}, {repository!r} + "/benchmarks"]
    import kills
    from spectra_app.config import MDSettings
    from spectra_app.dynamics import recorder
    from spectra_app.jobs.simulation import Simulation
    from tests.toy_potential import ToyPotential, dumbbells
    recorder.BLOCK_FRAMES = 20
    class Slow(ToyPotential):
        def __call__(self, *args, **kwargs):
            time.sleep(0.001)
            return super().__call__(*args, **kwargs)
    def attempt(output):
        settings = MDSettings.model_validate({settings!r})
        Simulation(Slow(), dumbbells(), settings, output, checkpoint_s=0.02).run(restart=True)
    folder = Path({folder!r})
    kills.in_a_process_of_its_own(attempt, folder / "whole.h5")
    print("kills", kills.killed_until_done(attempt, folder / "parts.h5", {longest_s}, seed=3))
"""


def test_killed_at_random_moments_it_is_the_same_run(tmp_path: Path, kills: ModuleType) -> None:
    # In a process without threads: forks of it are sound.
    chosen = {"equilibration_steps": 20, "steps": 250, "replicas": 2, "thermostat": "langevin", "dtype": "float64"}
    code = textwrap.dedent(SCRIPT).format(
        repository=str(REPOSITORY), settings=chosen, folder=str(tmp_path), longest_s=0.3
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= KILLS, done.stdout
    assert kills.differences(tmp_path / "whole.h5", tmp_path / "parts.h5") == []
    assert_same_file(tmp_path / "whole.h5", tmp_path / "parts.h5")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".h5") == ["parts.h5", "whole.h5"]


def test_what_compares_run_files_sees_a_difference(tmp_path: Path, kills: ModuleType) -> None:
    for name, seed in (("a.h5", 1), ("b.h5", 2)):
        Simulation(ToyPotential(), dumbbells(), settings(steps=20, seed=seed), tmp_path / name).run()
    assert "observables/energy/value" in kills.differences(tmp_path / "a.h5", tmp_path / "b.h5")
    assert kills.differences(tmp_path / "a.h5", tmp_path / "a.h5") == []


class Filling(ToyPotential):
    """The disk is full from one call on: files cannot grow."""

    def __init__(self, call: int, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
        super().__init__()
        self.call, self.monkeypatch, self.what = call, monkeypatch, what

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.n_calls == self.call:

            def full(*args: object, **kwargs: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            if self.what == "run file":
                self.monkeypatch.setattr(writer, "_append", full)
            else:
                self.monkeypatch.setattr(os, "fsync", full)  # of the checkpoint
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("what", ["run file", "checkpoint"])
def test_a_disk_that_fills_between_two_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    Simulation(ToyPotential(), dumbbells(), settings(), tmp_path / "whole.h5").run()
    output = tmp_path / "run.h5"
    with monkeypatch.context() as disk:
        with pytest.raises(
            TrajectoryError, match=r"writing .*: got no space left on the disk\. Free some space"
        ) as stop:
            Simulation(Filling(150, disk, what), dumbbells(), settings(), output, checkpoint_s=0.05).run()
        assert stop.value.exit_code == 5
        assert "\n" not in str(stop.value)
    run = read_run(output)
    assert not run.complete
    assert load_checkpoint(output, "md")["state"]["step"] < 251  # the last one that was whole
    Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert_same_file(tmp_path / "whole.h5", output)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_always_full_is_one_line(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    temporary = checkpoint_path(output).with_name(checkpoint_path(output).name + ".partial")
    temporary.symlink_to("/dev/full")
    began = time.monotonic()
    with pytest.raises(TrajectoryError, match="no space left on the disk"):
        Simulation(ToyPotential(), dumbbells(), settings(), output).run()
    assert time.monotonic() - began < 30.0
    assert not checkpoint_path(output).exists()
    temporary.unlink()
    Simulation(ToyPotential(), dumbbells(), settings(), output).run(restart=True)
    assert read_run(output).complete
