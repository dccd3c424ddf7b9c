"""Benchmarks are run by hand; what they import and call must not vanish meanwhile."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from spectra_app import load_model, run_spectrum
from spectra_app.config import TrainFile, load_settings, parse_settings
from spectra_app.jobs.spectrum import Kind
from spectra_app.potentials.backbones import BACKBONES

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS[0].parent))
    return importlib.import_module


@pytest.mark.parametrize("name", [script.stem for script in SCRIPTS if script.stem != "pages"])
def test_a_benchmark_finds_what_it_imports(name: str, benchmark_script: Callable[[str], ModuleType]) -> None:
    assert callable(benchmark_script(name).main)


def test_the_report_of_a_gpu_has_all_its_parts_and_keeps_what_it_has(
    benchmark_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    report, stages = benchmark_script("gpu_report"), benchmark_script("gpu_stages")
    assert report.LIMITS_S.keys() == stages.STAGES.keys()
    assert sum(report.LIMITS_S.values()) < 9.0 * 60.0 - 15.0
    found = {
        "machine": {"device": "none"},
        "quick": False,
        "stages": {
            "one": {"status": "done", "seconds": 1.0, "results": {"a": {"ms": 2.0}, "b": {"ms": 3.0, "MB": 1.5}}},
            "two": {"status": "failed", "seconds": 0.5, "results": {"error": "first line\nlast line"}},
        },
    }
    report.write(found, tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| a | 2 |  |" in page
    assert "| b | 3 | 1.5 |" in page
    assert "last line" in page


def test_born_charges_of_pairs_are_the_same_in_a_larger_cell_and_those_of_a_wave_are_not(
    benchmark_script: Callable[[str], ModuleType],
) -> None:
    script = benchmark_script("born_finite_size")
    small, large = script.measure("quartz", load_model("quartz", dtype="float64"), script.quartz(), (1, 2))
    assert small.pair_sum_rule_e < 1e-12
    assert large.pair_change_e < 1e-12
    assert large.error_rms_e < 0.5 * small.error_rms_e  # falls as the square of the length


@pytest.mark.parametrize("kind", ["ir", "raman", "vdos"])
def test_runs_of_the_streaming_benchmark_have_spectra(
    kind: Kind, benchmark_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    script = benchmark_script("spectra_streaming")
    path = tmp_path / "long.h5"
    if kind == "vdos":
        script.write_velocities(path, 2000)
    else:
        script.write_run(path, 20_000, kind)
    assert run_spectrum(path, kind, resolution_per_cm=100.0).wavenumber_per_cm[-1] > 3400.0


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The driver of the systems."""
    monkeypatch.syspath_prepend(str(SCRIPTS[0].parent))
    monkeypatch.syspath_prepend(str(SCRIPTS[0].parent / "systems"))
    return importlib.import_module("run")


def test_recipes_of_all_systems_fit_every_architecture_and_rung(
    systems: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = sorted(path.stem for path in systems.HERE.glob("*.yaml"))
    assert names
    arguments = ["run.py", *names, "--output", str(tmp_path), "--minutes", "3", "--backbones", ",".join(BACKBONES)]
    monkeypatch.setattr("sys.argv", arguments)
    options = systems.read_options()
    for name in names:
        recipe = load_settings(systems.SystemRecipe, systems.HERE / f"{name}.yaml")
        found = systems.cells(options, name, recipe)
        assert len(found) == 3 * len(BACKBONES)
        for cell in found:
            settings = systems.settings_of(cell, recipe, options)
            assert settings.model.backbone.name == cell.backbone
            assert settings.model.variant == cell.variant
            assert settings.training.max_minutes == 3.0


def test_rows_of_a_table_are_means_over_seeds_in_the_order_of_the_ladder(
    systems: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, tables = importlib.import_module("system_cells"), importlib.import_module("system_tables")
    monkeypatch.setattr(cells, "MEASURED", tmp_path / "measured")
    recipe = load_settings(systems.SystemRecipe, systems.HERE / "water.yaml")
    for variant, seed, error in (("puQipiu", 0, 20.0), ("sr", 0, 50.0), ("sr", 1, 60.0)):
        folder = tmp_path / systems.Cell("water", "painn", variant, "4min", seed).folder
        folder.mkdir()
        numbers = {"forces_rmse_meV_per_A": error, "parameters": 1234, "train_frames": 32, "test_frames": 4}
        (folder / "metrics.json").write_text(json.dumps(numbers))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- water -->\nold\n<!-- end of water -->\nafter\n")
    text = tables.table(tmp_path, "water", recipe)
    rows = [line for line in text.splitlines() if line.startswith("| painn")]
    assert rows == ["| painn | `sr` | 1,234 | 55.0 +- 7.1 |", "| painn | `puQipiu` | 1,234 | 20.0 |"]
    assert "Frames: 32 trained on, 4 held out. Budget: 4 CPU minutes" in text
    assert "seeds 0, 1 of the weights" in text
    cells.publish(tmp_path, "water")
    assert [path.name for path in (tmp_path / "measured").iterdir()] == ["water.json"]
    cells.publish(tmp_path / "elsewhere", "water")  # takes nothing away
    assert tables.table(tmp_path / "elsewhere", "water", recipe) == text
    importlib.import_module("pages").renew_section(page, "water", text)
    assert page.read_text() == f"before\n<!-- water -->\n{text}\n<!-- end of water -->\nafter\n"
    tables.draw(tmp_path, "water", recipe, tmp_path / "water.png")
    assert (tmp_path / "water.png").stat().st_size > 5000


def test_published_trainings_are_made_again_only_to_be_compared(
    systems: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def train(settings: TrainFile, _recipe: object, folder: Path, _data: Path) -> None:
        assert settings.training.max_minutes == load_settings(systems.SystemRecipe, systems.HERE / "water.yaml").minutes
        assert settings.training.seed_of_split == 0
        made.append(folder.name)
        (folder / "metrics.json").write_text(json.dumps({"forces_rmse_meV_per_A": 12345.0}))

    monkeypatch.setattr(systems, "run", train)
    data = tmp_path / "water_rpbe_d3" / "train.extxyz"
    data.parent.mkdir()
    data.touch()
    arguments = ["run.py", "water", "--data", str(tmp_path), "--output", str(tmp_path), "--variants", "sr,puQipiu"]
    monkeypatch.setattr("sys.argv", arguments)
    systems.main()
    assert not made
    monkeypatch.setattr("sys.argv", [*arguments, "--quick"])
    systems.main()
    names = [systems.Cell("water", "painn", variant, "4min", 0).folder for variant in ("sr", "puQipiu")]
    assert made == names
    text = capsys.readouterr().out
    known = importlib.import_module("system_cells").published("water")
    assert f"{12345.0:12.4g} {known[names[0]]['forces_rmse_meV_per_A']:12.4g}" in text
    assert not systems.claim(tmp_path / names[0])


def test_the_minimum_of_a_path_is_that_of_the_curve_through_energies_and_slopes(
    benchmark_script: Callable[[str], ModuleType],
) -> None:
    script = benchmark_script("nacl_profile")
    cluster = Atoms("Na9Cl8", positions=np.random.default_rng(0).uniform(0.0, 12.0, (17, 3)))
    frames = script.frames_to_label(cluster, cluster[:16])
    first, steps = frames[0], np.array(script.STEPS_A)
    direction = script.outwards(first)
    assert np.linalg.norm(direction) == pytest.approx(1.0)
    profile = script.Profile(frames[: len(steps)], steps, direction, first)
    energies = 3.0 * (steps - 0.13) ** 2 - 2.0 * (steps - 0.13) ** 3 - 500.0
    forces = []
    for x in steps:
        force = np.zeros((17, 3))
        force[script.MOVED] = -(6.0 * (x - 0.13) - 6.0 * (x - 0.13) ** 2) * direction
        forces.append(force)
    assert script.lowest(profile, energies, forces) == pytest.approx(0.13, abs=1e-8)
    moved = frames[1].positions[script.MOVED] - first.positions[script.MOVED]
    assert moved @ direction == pytest.approx(steps[1])


def test_a_newton_step_gains_what_a_quadratic_form_has_above_its_minimum(
    benchmark_script: Callable[[str], ModuleType],
) -> None:
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    curvatures = np.array([0.0, 0.0, 0.5, 1.0, 2.0, 4.0])  # two rigid motions
    matrix = turn @ np.diag(curvatures) @ turn.T
    away = turn @ rng.normal(size=6)
    gain = benchmark_script("nacl_profile").newton_gain(-(matrix @ away).reshape(2, 3), matrix)
    assert gain == pytest.approx(0.5 * away @ matrix @ away)


def test_oxidation_states_are_those_of_charges_that_move(
    systems: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["run.py", "mapbi3", "--variants", "sr,uiqiu,puiu", "--output", str(tmp_path)])
    options = systems.read_options()
    recipe = load_settings(systems.SystemRecipe, systems.HERE / "mapbi3.yaml")
    models = [systems.settings_of(cell, recipe, options).model for cell in systems.cells(options, "mapbi3", recipe)]
    assert [model.oxidation_states for model in models[:2]] == ["auto", "auto"]
    assert models[2].oxidation_states["Pb"] == 2


def test_a_frame_that_the_labels_have_twice_is_trained_on_once(systems: ModuleType, tmp_path: Path) -> None:
    frames = [molecule("H2O") for _ in range(3)]
    frames[2].positions[0] += 0.01
    for number, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=float(number), forces=np.zeros((3, 3)))
    write(tmp_path / "labels.extxyz", frames)
    settings = parse_settings(TrainFile, {"training": {"data": [tmp_path / "labels.extxyz"], "seed": 3}}, "test")
    once = systems.without_copies(settings, tmp_path)
    assert [atoms.get_potential_energy() for atoms in read(once.training.data[0], ":")] == [0.0, 2.0]
    assert once.training.seed == 3
    assert systems.without_copies(once, tmp_path) is once
