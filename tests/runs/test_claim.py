"""One process writes a run file at a time; a kill at any moment leaves something that --restart can go on from."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spectra_app.config import MDSettings
from spectra_app.errors import TrajectoryError
from spectra_app.jobs.simulation import Simulation
from spectra_app.runs import read_run
from spectra_app.runs.claim import Claim
from spectra_app.runs.opening import is_empty_run
from spectra_app.runs.restart_file import checkpoint_path, is_begun
from tests.runs.synthetic import write_run
from tests.toy_potential import ToyPotential, dumbbells

HOLD = "import sys, time; from pathlib import Path; from spectra_app.runs.claim import Claim\n" + (
    "c = Claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
)
SETTINGS = MDSettings(timestep_fs=0.5, equilibration_steps=2, steps=12, engine="eager", dtype="float64", seed=1)


def simulation(output: Path, **changes: object) -> Simulation:
    return Simulation(ToyPotential(), dumbbells(), SETTINGS.model_copy(update=changes), output)


def test_a_claim_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        refusal = r"run file .*run\.h5: got another process that is writing it, wanted to be alone\. Wait until it ends"
        with pytest.raises(TrajectoryError, match=refusal):
            Claim(output)
        with pytest.raises(TrajectoryError, match=refusal):
            simulation(output).run(restart=True)
        other.send_signal(signal.SIGKILL)
    assert output.with_name("run.h5.lock").exists()
    Claim(output).release()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_being_written_is_neither_continued_nor_replaced(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    simulation(output).run()
    claim, before = Claim(output), output.stat()
    for options in ({"restart": True}, {"overwrite": True}):
        with pytest.raises(TrajectoryError, match="another process that is writing it"):
            simulation(output).run(**options)
    assert output.stat().st_ino == before.st_ino
    claim.release()
    result = simulation(output).run(restart=True)
    assert (result.n_frames, result.restarted_at_step) == (13, 14)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.h5", "run.h5.checkpoint"]


def test_a_kill_before_the_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    write_run(output, 0)
    assert is_empty_run(output)
    assert not is_begun(output)
    with pytest.raises(TrajectoryError, match="an existing file"):
        simulation(output).run()
    assert simulation(output).run(restart=True).restarted_at_step is None
    assert read_run(output).complete
    # Frames without a checkpoint are no beginning to be thrown away.
    checkpoint_path(output).unlink()
    with pytest.raises(TrajectoryError, match=r"checkpoint .*got no such file"):
        simulation(output).run(restart=True)
    # Nor is anything else that is called so.
    other = write_run(tmp_path / "other.h5", 3)
    assert is_begun(other)
    other.write_text("mine")
    assert is_begun(other)
    with pytest.raises(TrajectoryError):
        simulation(other).run(restart=True)
    assert other.read_text() == "mine"
