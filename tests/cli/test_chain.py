"""md, run, record, born and the spectra of a run, on a tiny untrained model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from ase.io import read, write

from spectra_app.runs import read_run

SHORT = ["--equilibration-steps", "5", "--steps", "160", "--temperature-K", "5", "--trajectory-stride", "2"]


@pytest.fixture(scope="module")
def recipe(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    md = {"ensemble": "nve", "equilibration_steps": 5, "steps": 160, "temperature_K": 5, "trajectory_stride": 2}
    content = {
        "model": str(model_folder),
        "output": str(folder / "results"),
        "md": {**md, "timestep_fs": 0.5, "device": "cpu"},
        "spectra": {"resolution_per_cm": 400.0, "blocks": 2},
        "tasks": ["ir", "raman", "vdos", "dielectric", "born"],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")  # 160 steps are too few, and it says so
def test_run_makes_everything_and_keeps_it(recipe: Path, cli: Callable) -> None:
    folder = recipe.parent / "results"
    outcome = cli("run", recipe)
    assert outcome.code == 0, outcome.err
    expected = {"run.h5", "configuration.yaml", "summary.txt", "summary.json", "born.csv", "born.json", "born.txt"}
    expected |= {
        f"{kind}{end}" for kind in ("ir", "raman", "vdos", "dielectric") for end in (".csv", ".h5", ".jdx", ".png")
    }
    assert expected <= {path.name for path in folder.iterdir()}
    for name in expected:
        assert name in outcome.out
        assert (folder / name).stat().st_size > 0
    assert (folder / "ir.png").read_bytes().startswith(b"\x89PNG")
    assert "resolution" in outcome.out
    assert "Nyquist" in outcome.out
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["run"]["n_atoms"] == 24
    assert facts["run"]["ms_per_step"] > 0
    assert facts["born"]["sum_rule_max_e"] < 1e-5
    assert facts["model"]["eps_inf"] == 1.78
    assert [spectrum["name"] for spectrum in facts["spectra"]] == ["ir", "raman", "vdos", "dielectric"]
    # Velocities of every second step: pi over 1 fs as the integrator of 0.5 fs shows it is (2/0.5 fs) sin(pi/4).
    true = 4.0 * np.sin(np.pi / 4.0) / (2.0 * np.pi * 2.99792458e-5)
    assert facts["spectra"][2]["nyquist_per_cm"] == pytest.approx(true, rel=1e-3)
    assert facts["spectra"][0]["nyquist_per_cm"] == pytest.approx(0.9 * true * np.sqrt(2.0), rel=0.02)  # cut at 0.9
    # Once more: the run file is kept, spectra of other settings come from it.
    before = (folder / "run.h5").stat().st_mtime_ns
    outcome = cli("run", recipe, "-s", "tasks=[ir]", "-s", "spectra.resolution_per_cm=500", "--json")
    assert outcome.code == 0, outcome.err
    assert "complete and kept" in outcome.err
    assert (folder / "run.h5").stat().st_mtime_ns == before
    assert [spectrum["name"] for spectrum in json.loads(outcome.out)["spectra"]] == ["ir"]
    # Other dynamics in the same folder is refused, then done when asked for.
    outcome = cli("run", recipe, "--steps", "200")
    assert outcome.code == 5
    assert "md.steps: 160 -> 200" in outcome.err
    assert "--overwrite" in outcome.err
    outcome = cli("run", recipe, "--steps", "170", "--overwrite", "-s", "tasks=[vdos]")
    assert outcome.code == 0, outcome.err
    assert len(read_run(folder / "run.h5").step) == 171


@pytest.fixture(scope="module")
def run_file(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from spectra_app.cli.main import main

    path = tmp_path_factory.mktemp("md") / "run.h5"
    words = [
        "md",
        str(model_folder / "start.extxyz"),
        "-m",
        str(model_folder),
        "-o",
        str(path),
        "--device",
        "cpu",
        *SHORT,
    ]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert not stop.value.code
    return path


def test_md_prints_the_cost_of_a_step_as_json(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    config = tmp_path / "md.yaml"
    config.write_text("md: {steps: 999, temperature_K: 77, seed: 5}\n")
    words = ["md", model_folder / "start.extxyz", "-m", model_folder, "-o", tmp_path / "r.h5", "--json", "-c", config]
    outcome = cli(
        *words, "--equilibration-steps", 0, "-s", "md.steps=888", "-s", "replicas=2", "--steps", 40, "--repeat", 2, 1, 1
    )
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["ms_per_step"] > 0
    assert facts["n_steps"] == 40
    assert facts["n_replicas"] == 2
    assert facts["n_atoms"] == 48
    settings = read_run(tmp_path / "r.h5").metadata["configuration"]["md"]
    assert (settings["steps"], settings["temperature_K"], settings["seed"]) == (40, 77.0, 5)
    outcome = cli(*words, "--steps", 40)
    assert outcome.code == 5
    assert "r.h5" in outcome.err


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
@pytest.mark.parametrize("kind", ["ir", "raman", "vdos", "dielectric"])
def test_spectra_of_a_run_file(kind: str, run_file: Path, tmp_path: Path, cli: Callable) -> None:
    outcome = cli(
        kind, run_file, "-o", tmp_path / "a.csv", "-o", tmp_path / "b.png", "--resolution-per-cm", 500, "--json"
    )
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["files"] == [str(tmp_path / "a.csv"), str(tmp_path / "b.png")]
    assert facts["parameters"]["resolution_per_cm"] == 500.0
    if kind != "vdos":
        mean = float(read_run(run_file).temperature_K.mean())
        assert facts["parameters"]["temperature_K"] == pytest.approx(mean)
    figure = tmp_path / "c.svg"
    outcome = cli("plot", tmp_path / "a.csv", "-o", figure, "-l", "mine", "--from-per-cm", 100, "--to-per-cm", 4000)
    assert outcome.code == 0, outcome.err
    assert "<svg" in figure.read_text()


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_tables_give_the_spectrum_of_the_run(run_file: Path, tmp_path: Path, cli: Callable) -> None:
    run = read_run(run_file)
    table = np.column_stack([run.time_fs, run.dipole_eA[:, 0] / 0.20819433])
    np.savetxt(tmp_path / "dipole.csv", table, header="time_fs,x,y,z", delimiter=",", comments="", fmt="%.15g")
    np.save(tmp_path / "alpha.npy", run.polarizability_e2A2_per_eV)
    kelvin = float(run.temperature_K.mean())
    common = ["--temperature-K", kelvin, "--resolution-per-cm", 500]
    for kind, words in {
        "ir": ["dipole.csv", "--unit", "D", "--volume-A3", run.volume_A3, "--eps-inf", 1.78],
        "dielectric": ["dipole.csv", "--unit", "D", "--volume-A3", run.volume_A3, "--eps-inf", 1.78],
        "raman": ["alpha.npy", "--unit", "e2A2/eV", "--timestep-fs", 0.5],
    }.items():
        table_file, run_output = tmp_path / f"{kind}_table.csv", tmp_path / f"{kind}_run.csv"
        outcome = cli(kind, tmp_path / words[0], *words[1:], *common, "-o", table_file)
        assert outcome.code == 0, outcome.err
        # A table does not tell how its run was integrated.
        assert cli(kind, run_file, *common, "--no-correct-timestep", "-o", run_output).code == 0
        one, other = (np.genfromtxt(p, delimiter=",", skip_header=_header_lines(p)) for p in (table_file, run_output))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7 * np.nanmax(np.abs(other)))


def _header_lines(path: Path) -> int:
    lines = path.read_text().splitlines()
    return sum(1 for line in lines if line.startswith("#")) + 1


def test_record_reproduces_the_dipoles_of_the_run(
    run_file: Path, model_folder: Path, tmp_path: Path, cli: Callable
) -> None:
    run = read_run(run_file)
    atoms = read(model_folder / "start.extxyz")
    frames = []
    for positions in run.positions_A[:10, 0]:
        frame = atoms.copy()
        frame.positions = positions
        frames.append(frame)
    write(tmp_path / "t.extxyz", frames)
    words = ["record", tmp_path / "t.extxyz", "-m", model_folder, "-o", tmp_path / "r.h5", "--device", "cpu", "--json"]
    outcome = cli(*words, "--timestep-fs", 1.0, "--temperature-K", 5)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["n_frames"] == 10
    again = read_run(tmp_path / "r.h5")
    np.testing.assert_allclose(again.dipole_latent_eA[:, 0], run.dipole_latent_eA[:20:2, 0], atol=2e-4)
    outcome = cli(*words, "--timestep-fs", 1.0)
    assert outcome.code == 5
    assert "r.h5" in outcome.err


def test_born_report_and_files(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    structure = model_folder / "start.extxyz"
    names = [tmp_path / name for name in ("b.csv", "b.json", "b.txt", "BORN")]
    words = [word for name in names for word in ("-o", name)]
    outcome = cli("born", structure, "-m", model_folder, *words, "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["n_atoms"] == 24
    assert facts["sum_rule_violation_max_e"] < 1e-10
    assert all(name.stat().st_size > 0 for name in names)
    # Labels of the structure itself become a comparison.
    atoms = read(structure)
    atoms.arrays["born_charges"] = np.tile(np.eye(3).ravel(), (24, 1))
    write(tmp_path / "labelled.extxyz", atoms)
    outcome = cli("born", tmp_path / "labelled.extxyz", "-m", model_folder, "--device", "cpu")
    assert outcome.code == 0
    assert "RMSE" in outcome.out
    outcome = cli("born", structure, "-m", model_folder, "--reference", structure)
    assert outcome.code == 3
    assert "no array 'born_charges'" in outcome.err
    outcome = cli("born", structure, "-m", model_folder, "-o", tmp_path / "b.xlsx")
    assert outcome.code == 2


def test_wrong_kind_of_input_is_named(run_file: Path, tmp_path: Path, cli: Callable) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(run_file.read_bytes()[:5000])
    outcome = cli("ir", cut)
    assert outcome.code == 5
    assert len(outcome.err.splitlines()) == 1
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert cli("ir", tmp_path / "other.h5").code == 6  # a table of other codes, without dipoles in it
    assert cli("ir", run_file, "-o", tmp_path / "a.xlsx.csv", "--temperature-K", -5).code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("name", "code", "reason"), [("SIGINT", 130, "Ctrl-C"), ("SIGUSR1", 75, "SIGUSR1")])
def test_interrupted_recipe_goes_on_where_it_stopped(
    name: str, code: int, reason: str, recipe: Path, tmp_path: Path
) -> None:
    words = ["run", str(recipe), "-o", str(tmp_path / "out"), "-s", "tasks=[vdos]", "--steps", "600"]
    words += ["-s", "md.timestep_fs=0.02"]  # the untrained model is no stable one
    command = [sys.executable, "-m", "spectra_app.cli.main", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    run_file = tmp_path / "out" / "run.h5.checkpoint"
    deadline = time.monotonic() + 240
    while not run_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert reason in error.replace("\n", ""), error
    assert "Continue with: " in error
    assert "Traceback" not in error
    done = len(read_run(tmp_path / "out" / "run.h5").step)
    assert 0 < done < 601
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert "continuing" in finished.stderr
    assert len(read_run(tmp_path / "out" / "run.h5").step) == 601


def test_md_of_several_structures_and_temperatures(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    from ase.io import read, write

    start = read(model_folder / "start.extxyz")
    write(tmp_path / "two.extxyz", [start, start[:6]])
    words = ["md", tmp_path / "two.extxyz@:", "-m", model_folder, "-o", tmp_path / "runs", "--device", "cpu"]
    outcome = cli(*words, *SHORT, "--steps", 20, "--temperature-K", "5,10", "--processes", 1)
    assert outcome.code == 0, outcome.err
    for name, n_atoms in (("run_0_5K.h5", 24), ("run_1_10K.h5", 6)):
        assert f"{tmp_path / 'runs' / name}: {n_atoms} atoms, 1 replica" in outcome.out
        assert len(read_run(tmp_path / "runs" / name).step) == 21
    outcome = cli(*words, *SHORT, "--steps", 24, "--temperature-K", "5,10", "--restart", "--json")
    facts = json.loads(outcome.out)
    assert [file["n_atoms"] for file in facts["files"]] == [24, 6]
    assert facts["failures"] == []
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {model_folder}\nmd: {{temperature_K: [280, 300]}}\noutput: {tmp_path / 'out'}\n")
    outcome = cli("run", recipe)
    assert outcome.code == 2
    assert "md.temperature_K of a recipe: got 2 temperatures, wanted one" in outcome.err


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_a_recipe_with_another_eps_inf_keeps_its_run(recipe: Path, tmp_path: Path, cli: Callable) -> None:
    words = ("run", recipe, "-s", f"output={tmp_path}", "-s", "md.eps_inf=2.0", "-s", "tasks=[vdos]")
    assert cli(*words).code == 0
    again = cli(*words)
    assert again.code == 0, again.err
    assert "complete and kept" in again.err
