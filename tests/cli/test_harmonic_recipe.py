"""Normal modes as a part of a recipe: alone, beside dynamics, kept; of molecules, crystals and calculators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk, molecule
from ase.io import write

from spectra_app import load_model, run_recipe
from spectra_app.config import HarmonicSettings, RunFileSettings, parse_settings
from spectra_app.errors import ConfigError, StructureError
from spectra_app.jobs.harmonic_files import describe_file
from spectra_app.jobs.harmonic_store import read_computed
from spectra_app.jobs.normal_modes import harmonic_limit
from spectra_app.plotting.polarized_figure import polarized_curves
from spectra_app.plotting.results import harmonic_curves
from tests.cli.conftest import water_box

SHORT = {
    "ensemble": "nve",
    "equilibration_steps": 5,
    "steps": 160,
    "temperature_K": 5,
    "trajectory_stride": 2,
    "device": "cpu",
    "engine": "eager",
}


def recipe_in(folder: Path, **content: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"output": str(folder / "results"), **content}))
    return path


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("no dynamics was asked for")


@pytest.fixture(scope="module")
def water_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harmonic")
    write(folder / "h2o.xyz", molecule("H2O"))
    # the structure lies beside the recipe, not in the working folder
    return recipe_in(folder, model="water", structure="h2o.xyz", tasks=["harmonic"])


def test_alone_it_needs_no_dynamics_and_is_what_python_gives(water_recipe: Path) -> None:
    done = run_recipe(water_recipe, dynamics=never)
    assert done.run is None
    assert done.harmonic is not None
    expected = harmonic_limit(load_model("water", dtype="float64"), molecule("H2O"))
    found = done.harmonic.modes.frequencies_per_cm
    # the file has eight digits
    np.testing.assert_allclose(found, expected.modes.frequencies_per_cm, rtol=1e-5)
    folder = water_recipe.parent / "results"
    written = {str(path.relative_to(folder)) for path in done.files}
    assert {"overview.png", "configuration.yaml", "harmonic/modes.csv", "harmonic/derivatives.h5"} <= written
    assert all(describe_file(path) != describe_file(Path("x")) for path in done.files if path.parent.name == "harmonic")
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["run"] is None
    assert facts["harmonic"]["n_modes"] == 3
    assert facts["harmonic"]["highest_per_cm"] == pytest.approx(found[2])
    page = (folder / "summary.txt").read_text()
    assert "3 of a molecule" in page
    assert "modes.csv" in page


def test_what_took_time_is_kept_whatever_else_changes(
    water_recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from spectra_app.harmonic import derivatives as module

    first = run_recipe(water_recipe, dynamics=never).harmonic
    assert first is not None
    calls = []
    real = module.derivatives
    monkeypatch.setattr(module, "derivatives", lambda *given, **named: calls.append(1) or real(*given, **named))
    told: list[str] = []
    again = run_recipe(
        water_recipe,
        overrides=["harmonic.masses={H: 2.014}", "harmonic.damping_per_cm=3", "spectra.laser_nm=488"],
        dynamics=never,
        say=told.append,
    ).harmonic
    assert again is not None
    assert not calls
    assert any("derivatives.h5 fits and is kept" in line for line in told)
    np.testing.assert_allclose(again.modes.frequencies_per_cm / first.modes.frequencies_per_cm, 0.73, atol=0.02)
    assert again.relaxation == first.relaxation
    assert again.settings["laser_nm"] == 488.0
    # Another way to the derivatives, another structure, or half a file: computed again.
    store = water_recipe.parent / "results" / "harmonic" / "derivatives.h5"
    run_recipe(water_recipe, overrides=["harmonic.relax=no"], dynamics=never)
    assert len(calls) == 1
    bent = molecule("H2O")
    bent.positions[1, 2] += 0.01
    write(tmp_path / "bent.xyz", bent)
    run_recipe(water_recipe, overrides=[f"structure={tmp_path / 'bent.xyz'}", "harmonic.relax=no"], dynamics=never)
    assert len(calls) == 2
    store.write_bytes(store.read_bytes()[:3000])
    assert read_computed(store, "any") is None


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")  # 160 steps are too few, and it says so
def test_beside_dynamics_with_the_settings_of_the_spectra(model_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "cell.xyz", water_box(1, 4.0), format="extxyz")
    recipe = recipe_in(
        tmp_path,
        model=str(model_folder),
        structure="cell.xyz",
        repeat=[2, 1, 1],
        md={**SHORT, "eps_inf": 1.6},
        spectra={"resolution_per_cm": 400.0, "blocks": 2, "laser_nm": 633.0, "geometries": ["z(xx)z"]},
        harmonic={"relax": "no"},
        tasks=["harmonic", "raman"],
    )
    done = run_recipe(recipe)
    assert done.run is not None
    assert done.harmonic is not None
    assert (len(done.run.numbers), len(done.harmonic.atoms)) == (6, 3)  # modes are those of one cell
    assert done.harmonic.settings["laser_nm"] == 633.0
    assert done.harmonic.settings["temperature_K"] == 5.0
    assert done.harmonic.raman_spectrum is not None
    assert list(done.harmonic.raman_spectrum.geometries) == ["z(xx)z"]
    assert done.harmonic.cell is not None
    assert done.harmonic.cell.eps_inf[1, 1] == 1.6
    # the figure has twice the lines of one cell beside the run of two
    lines = harmonic_curves(None, done.harmonic.raman_spectrum, 2.0)["raman"][0]
    np.testing.assert_allclose(lines.y, 2.0 * done.harmonic.raman_spectrum.vv)
    panels = polarized_curves("raman", done.spectra["raman"], done.harmonic.raman_spectrum, 2.0)
    assert [curve.label for curve in panels["z(xx)z"]] == ["dynamics", "normal modes"]
    np.testing.assert_allclose(panels["z(xx)z"][1].y, 2.0 * done.harmonic.raman_spectrum.geometries["z(xx)z"])
    assert (tmp_path / "results" / "raman_polarized.png").is_file()
    assert not (tmp_path / "results" / "ir_polarized.png").exists()  # no infrared spectrum was asked for
    assert done.summary.run is not None
    assert done.summary.harmonic is not None
    before = (tmp_path / "results" / "run.h5").stat().st_mtime_ns
    run_recipe(recipe)
    assert (tmp_path / "results" / "run.h5").stat().st_mtime_ns == before


def test_of_a_calculator(tmp_path: Path) -> None:
    write(tmp_path / "copper.xyz", bulk("Cu", cubic=True))
    settings = parse_settings(
        RunFileSettings,
        {
            "model": "ase:ase.calculators.emt:EMT()",
            "structure": str(tmp_path / "copper.xyz"),
            "output": str(tmp_path / "results"),
            "tasks": ["harmonic"],
        },
    )
    told: list[str] = []
    done = run_recipe(settings, dynamics=never, say=told.append)
    assert done.harmonic is not None
    assert len(done.harmonic.modes.frequencies_per_cm) == 9
    assert not (tmp_path / "results" / "overview.png").exists()  # neither dipole nor polarizability: nothing to draw
    assert any("no infrared intensities" in line for line in done.summary.warnings)
    run_recipe(settings, dynamics=never, say=told.append)
    assert any("fits and is kept" in line for line in told)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["spectra.geometries=[z(zz)z]"], ConfigError, "polarization geometry"),
        (["harmonic.relaxx=no"], ConfigError, "did you mean 'relax'"),
        (["harmonic.masses={C: 13.0}"], StructureError, "no such element"),
        (["model=ase:ase.calculators.emt:EMT()", "harmonic.supercell=[2,2,2]"], ConfigError, "second derivatives"),
        (["structure=nowhere.xyz"], StructureError, "no such file"),
    ],
)
def test_faults_are_named_before_anything_is_computed(
    water_recipe: Path, overrides: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=f"(?i){message}"):
        run_recipe(water_recipe, overrides=[*overrides, f"output={tmp_path / 'new'}"], dynamics=never)
    assert not list(tmp_path.rglob("*"))


def test_a_setting_is_written_once_for_modes_and_dynamics() -> None:
    given = {
        "md": {"temperature_K": 310, "eps_inf": 2.0},
        "spectra": {"prefactor": "none", "eps_inf": [2.1, 2.1, 2.2], "max_wavenumber_per_cm": 900, "laser_nm": 633},
        "harmonic": {"laser_nm": 1064},
    }
    found = parse_settings(RunFileSettings, given).harmonic_settings()
    assert (found.temperature_K, found.max_wavenumber_per_cm, found.laser_nm) == (310.0, 900.0, 1064.0)
    assert np.asarray(found.eps_inf).diagonal().tolist() == [2.1, 2.1, 2.2]
    assert found.prefactor == "stokes"  # none is no prefactor of lines
    assert parse_settings(RunFileSettings, {}).harmonic_settings() == HarmonicSettings()


def test_run_lists_its_keys(cli: Callable) -> None:
    outcome = cli("run", "--keys")
    assert "harmonic.relax" in outcome.out
    assert "harmonic (normal modes" in outcome.out
