"""The workflow of a sweep, with the real snakemake: killed and started again, nothing is computed twice."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from ase.io import write

from spectra_app import run_spectrum
from spectra_app.cli.main import main
from spectra_app.config import SweepSettings, parse_settings
from spectra_app.errors import ConfigError
from spectra_app.zoo import workflows_folder
from tests.cli.conftest import water_box, write_tiny_model

WORKFLOWS = workflows_folder()
SWEEP: dict[str, Any] = {
    "systems": {"water": {"model": "tiny"}},
    "temperatures_K": [40, 62.5],
    "runs": 2,
    "output": "out",
    "md": {
        "ensemble": "nve",
        "equilibration_steps": 6,
        "steps": 64,
        "trajectory_stride": 1,
        "engine": "eager",
        "dtype": "float64",
        "seed": 5,
    },
    "spectra": {"resolution_per_cm": 900.0},
    "tasks": ["vdos"],
}
RUNS = [f"{kelvin}K/run_{run}" for kelvin in ("40", "62.5") for run in (1, 2)]
needs_snakemake = pytest.mark.skipif(
    subprocess.run([sys.executable, "-m", "snakemake", "--version"], capture_output=True, check=False).returncode != 0,
    reason="snakemake is not installed (extra 'cluster')",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "tiny", "puiu")
    write(tmp_path / "tiny" / "start.extxyz", water_box())
    return tmp_path


def command(folder: Path, profile: str, *words: str, **changes: Any) -> list[str]:
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, **changes}))
    where = ["-s", WORKFLOWS / "Snakefile", "--configfile", "sweep.yaml", "--profile", WORKFLOWS / "profiles" / profile]
    return [sys.executable, "-m", "snakemake", *map(str, where), *words]


def start(folder: Path, *words: str, profile: str = "local", **changes: Any) -> subprocess.Popen[str]:
    """A snakemake in a process group of its own."""
    repository = str(Path(__file__).parents[1])
    return subprocess.Popen(
        command(folder, profile, *words, **changes),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": repository, "SNAKEMAKE_PROFILE": ""},
    )


def finish(folder: Path, *words: str, profile: str = "local", **changes: Any) -> tuple[int, str]:
    with start(folder, *words, profile=profile, **changes) as process:
        out, _ = process.communicate(timeout=600)
    return process.returncode, out


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def process_of(run_file: str) -> int | None:
    """The process that writes a run file."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"md" in words and run_file.encode() in words and not words[0].endswith(b"sh"):
            return int(entry.name)
    return None


@needs_snakemake
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks processes up in /proc")
@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_killed_in_the_middle_nothing_is_computed_twice(folder: Path) -> None:
    out = folder / "out" / "water"

    def begun() -> list[str]:
        return [run for run in RUNS if (out / run / "run.h5.checkpoint").exists()]

    def finished() -> list[str]:
        return [run for run in RUNS if (out / run / "done").exists()]

    with start(folder, "--cores", "1") as snakemake:  # one run at a time
        (first,) = wait_for(begun, snakemake)
        os.kill(wait_for(lambda: process_of(f"out/water/{first}/run.h5"), snakemake), signal.SIGTERM)  # as queues do
        wait_for(lambda: finished() and set(begun()) - set(finished()) - {first}, snakemake)
        os.killpg(snakemake.pid, signal.SIGKILL)
    whole, interrupted = finished(), [run for run in begun() if run not in finished()]
    assert whole
    assert interrupted
    before = {run: identity(out / run / "run.h5") for run in whole}

    # The lock of the killed one is left behind, and says how to go on.
    code, said = finish(folder, "--cores", "2")
    assert code == 1
    assert "--unlock" in said
    assert finish(folder, "--unlock")[0] == 0
    code, said = finish(folder, "--cores", "2")
    assert code == 0, said
    assert said.count("\nrule md:") + said.count("\nlocalrule md:") == len(RUNS) - len(whole)
    for run in whole:
        assert identity(out / run / "run.h5") == before[run]
    for run in interrupted:
        assert "continued at step" in (out / run / "md.log").read_text()
    # Exit code 75 is no failure: snakemake submitted the run again by itself, and it went on where it had stopped.
    log = (out / first / "md.log").read_text()
    (stopped,) = re.findall(r"stopped at step (\d+) of 70 \(SIGTERM\), everything is saved", log)
    assert 0 < int(stopped) < 70
    assert f"continued at step {stopped}" in log
    steps = {run: h5py.File(out / run / "run.h5")["observables/dipole/step"][()] for run in RUNS}
    for run in RUNS:
        np.testing.assert_array_equal(steps[run], np.arange(65))
    # What is merged is what the command and Python merge.
    for kelvin in ("40", "62.5"):
        paths = [out / f"{kelvin}K" / f"run_{run}" / "run.h5" for run in (1, 2)]
        by_hand = run_spectrum(paths, "vdos", resolution_per_cm=900.0)
        with h5py.File(out / f"{kelvin}K" / "vdos.h5") as file:
            np.testing.assert_allclose(file["total"][()], by_hand.total, rtol=1e-12)  # type: ignore[attr-defined]
            np.testing.assert_allclose(file["total_error"][()], by_hand.total_error, rtol=1e-12)  # type: ignore[attr-defined]
        assert "merged: 2 runs" in (out / f"{kelvin}K" / "vdos.txt").read_text()
        assert by_hand.temperature_K == pytest.approx(float(kelvin), rel=0.5)  # type: ignore[attr-defined]
    assert (out / "vdos_temperatures.png").stat().st_size > 10_000
    assert "Nothing to be done" in finish(folder, "--cores", "2")[1]


@needs_snakemake
def test_normal_modes_of_every_system_without_any_run(folder: Path) -> None:
    write(folder / "cell.xyz", water_box(1, 4.0), format="extxyz")
    changes: dict[str, Any] = {
        "systems": {"water": {"model": "tiny", "structure": "cell.xyz"}},
        "tasks": ["harmonic"],
        "harmonic": {"relax": "no", "geometries": ["z(xx)z"]},
        "spectra": {"laser_nm": 633.0},
    }
    code, said = finish(folder, **changes)
    assert code == 0, said
    made = folder / "out" / "water" / "harmonic"
    settings = json.loads((made / "harmonic.json").read_text())["settings"]
    assert (settings["laser_nm"], settings["relax"], settings["geometries"]) == (633.0, "no", ["z(xx)z"])
    assert (made / "raman.csv").is_file()
    assert [path.name for path in (folder / "out" / "water").iterdir()] == ["harmonic"]
    assert "Nothing to be done" in finish(folder, **changes)[1]


def test_only_the_profile_says_how_often_a_run_is_submitted() -> None:
    """Retries of the rule itself would hold inside a job of a cluster too, where the time is over."""
    (rule,) = re.findall(r"^rule md:\n(.*?)^rule ", (WORKFLOWS / "Snakefile").read_text(), re.MULTILINE | re.DOTALL)
    assert "shell:" in rule
    assert not re.search(r"^ *retries:", rule, flags=re.MULTILINE)


@needs_snakemake
def test_slurm_profile_lists_jobs_with_their_resources(folder: Path) -> None:
    code, said = finish(folder, "--dry-run", profile="slurm")
    assert code == 0, said
    assert re.search(r"^md +4$", said, flags=re.MULTILINE)
    assert re.search(r"^spectrum +2$", said, flags=re.MULTILINE)
    blocks = [block for block in said.split("\n[") if "rule md:" in block]
    assert len(blocks) == 4
    assert all("threads: 4" in block and "runtime=240" in block and "mem_mb=4000" in block for block in blocks)
    code, said = finish(folder, "--dry-run", "--set-resources", "md:gpu=1", "md:cpus_per_gpu=8", profile="slurm")
    assert (code, said.count("gpu=1,"), said.count("cpus_per_gpu=8")) == (0, 4, 4)


@needs_snakemake
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": {"water": {"model": "watre"}}}, "model 'watre': got no such model"),
        (
            {"systems": {"water": {"model": "tiny", "structure": "x.xyz"}}},
            "structure x.xyz of system 'water': got no such file",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_job(folder: Path, changes: dict[str, Any], message: str) -> None:
    code, said = finish(folder, "--cores", "1", **changes)
    assert code == 1
    assert message in said
    assert not (folder / "out").exists()


@needs_snakemake
def test_a_fault_is_not_tried_again_and_the_limit_of_submissions_holds(folder: Path) -> None:
    changes = {"runs": 1, "temperatures_K": [40]}
    run = folder / "out" / "water" / "40K" / "run_1"
    code, said = finish(folder, "--cores", "1", "--retries", "1", **changes, max_minutes=1e-9)
    assert code == 1
    log = (run / "md.log").read_text()
    assert re.findall(r"stopped at step (\d+) of 70 \(the 1e-09 minutes are over\)", log) == ["0", "1"]
    assert "stopped at step 1 of 70 (the 1e-09 minutes are over), everything is saved" in said
    # A fault: other settings than the run began with.
    code, said = finish(folder, "--cores", "1", "--retries", "1", **changes, md={**SWEEP["md"], "timestep_fs": 0.25})
    assert code == 1
    assert said.count("md.timestep_fs: got 0.25, wanted 0.5 as when the run began") >= 1
    assert (run / "md.log").read_text().count("md.timestep_fs: got 0.25") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": 2}, r"sweep: run: got unknown key\. Did you mean 'runs'\?"),
        ({"systems": {"a": {"modle": "water"}}}, r"systems\.a\.modle: got unknown key\. Did you mean 'model'\?"),
        ({"systems": {"a": {"md": {"step": 3}}}}, r"systems\.a\.md\.step: got unknown key\. Did you mean 'steps'\?"),
        ({"systems": {"../a": {}}}, r"systems\.\.\./a"),
        ({"systems": {}}, r"systems: got \{\}"),
        ({"temperatures_K": [300, 300.0]}, r"every temperature once"),
        ({"md": {"temperature_K": 300}}, r"temperatures in temperatures_K only"),
    ],
)
def test_a_sweep_is_checked_before_anything_is_computed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_settings(SweepSettings, {**SWEEP, **changes}, "sweep")


def test_options_of_a_run() -> None:
    systems = {"water": {"model": "tiny"}, "brine": {"model": "tiny", "repeat": [2, 1, 1], "md": {"eps_inf": 1.8}}}
    sweep = parse_settings(SweepSettings, {**SWEEP, "systems": systems}, "sweep")
    words = sweep.md_options("brine", 3)
    assert words[:4] == ["--repeat", "2", "1", "1"]
    given = dict(word.split("=", 1) for word in words[5::2])
    assert (given["seed"], given["eps_inf"], given["ensemble"], given["steps"]) == ("8", "1.8", '"nve"', "64")
    assert "timestep_fs" not in given  # what is not said is the default of md
    assert "eps_inf" not in " ".join(sweep.md_options("water", 0))
    assert sweep.spectra_options() == ["-s", "resolution_per_cm=900.0"]


def test_the_example_is_a_sweep() -> None:
    sweep = parse_settings(SweepSettings, yaml.safe_load((WORKFLOWS / "cluster" / "config.yaml").read_text()), "sweep")
    assert len(sweep.temperatures_K) == 3
    for profile in ("local", "slurm"):
        settings = yaml.safe_load((WORKFLOWS / "profiles" / profile / "config.yaml").read_text())
        assert settings["rerun-incomplete"]
        assert settings["keep-going"]
        assert settings["retries"] > 1


def test_commands_of_the_page_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder: the workflow is copied, and every line of the page is understood."""
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    assert {line[0] for line in lines} == {"pip", "spectra-app", "snakemake"}
    monkeypatch.chdir(tmp_path)
    copies = [line[1:] for line in lines if line[:2] == ["spectra-app", "workflows"]]
    for expected in (0, 2):  # a second copy over the first is refused
        with pytest.raises(SystemExit) as stop:
            main(copies[0])
        assert (stop.value.code or 0) == expected
    assert "got something that is there, wanted a new folder" in capsys.readouterr().err
    for path in WORKFLOWS.rglob("*"):
        assert not path.is_file() or (Path("workflows") / path.relative_to(WORKFLOWS)).read_bytes() == path.read_bytes()
    with pytest.raises(SystemExit):
        main(["workflows"])
    assert str(WORKFLOWS / "Snakefile") in capsys.readouterr().out
    snakes = [line[1:] for line in lines if line[0] == "snakemake"]
    for profile in ("local", "slurm"):
        for line in (line for line in snakes if f"workflows/profiles/{profile}" in line):
            assert Path(line[line.index("-s") + 1]).is_file()
            assert Path(line[line.index("--configfile") + 1]).is_file()
            assert Path(line[line.index("--profile") + 1]).is_dir()
            assert set(line[6:]) <= {"--dry-run", "--unlock"}


@needs_snakemake
def test_the_copied_workflow_begins(tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "workflows")
    words = ["--configfile", "workflows/cluster/config.yaml", "--profile", "workflows/profiles/local", "--dry-run"]
    call = [sys.executable, "-m", "snakemake", "-s", "workflows/Snakefile", *words]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^md +12$", done.stdout + done.stderr, flags=re.MULTILINE)
