"""A setting of spectra stands in one place and reaches function, recipe and command from there."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import typer
from pydantic import Field
from typer.main import get_command
from typer.testing import CliRunner

from spectra_app import infrared_spectrum, raman_spectrum, run_spectrum, series_spectrum, vdos
from spectra_app.cli import options
from spectra_app.cli.main import app, main
from spectra_app.cli.options import names_of
from spectra_app.config import Of, Settings, SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.readers.series import Request
from spectra_app.spectra import EstimatorSettings, dielectric_function
from tests.runs.synthetic import bands, write_run

COMMANDS = ("ir", "raman", "vdos", "dielectric", "parts", "sfg")
FIELDS = SpectraSettings.model_fields
pytestmark = pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")


def flags_of(command: str) -> dict[str, list[str]]:
    child = get_command(app).commands[command]  # type: ignore[attr-defined]
    return {parameter.name: [*parameter.opts, *parameter.secondary_opts] for parameter in child.params}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_an_option_of_the_commands_it_belongs_to(command: str) -> None:
    flags = flags_of(command)
    for name, field in FIELDS.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Of)]
        belongs = all(command in mark.kinds for mark in marks)
        assert (name in flags) == belongs, name
        expected = next((list(mark.flags) for mark in marks if mark.flags), [f"--{name.replace('_', '-')}"])
        if belongs:
            assert flags[name][: len(expected)] == expected  # a yes-or-no setting has a --no- too
    assert "--set" in flags["overrides"]


def test_marks_name_commands() -> None:
    marks = [mark for field in FIELDS.values() for mark in field.metadata if isinstance(mark, Of)]
    assert marks
    assert {kind for mark in marks for kind in mark.kinds} <= set(COMMANDS)


@pytest.mark.parametrize("function", [infrared_spectrum, raman_spectrum, vdos, dielectric_function, EstimatorSettings])
def test_functions_have_the_defaults_of_the_schema(function: Callable) -> None:
    for name, parameter in inspect.signature(function).parameters.items():
        if name in FIELDS and parameter.default is not inspect.Parameter.empty:
            assert parameter.default == FIELDS[name].default, name


def test_estimator_settings_are_settings() -> None:
    own = set(inspect.signature(EstimatorSettings).parameters)
    assert own - set(FIELDS) == {"workers"}
    assert own >= {"resolution_per_cm", "window", "method", "overlap"}


def test_keys_of_a_recipe_are_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--keys"])
    shown = capsys.readouterr().out
    for name in FIELDS:
        assert f"spectra.{name} " in shown


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("ir", "quantum_factor", "standard"),
        ("ir", "n_molecules", 2.0),
        ("ir", "volume_A3", 100.0),
        ("raman", "laser_nm", 785.0),
        ("raman", "prefactor", "none"),
        ("dielectric", "eps_inf", 2.5),
        ("dielectric", "temperature_K", 150.0),
        ("vdos", "window", "blackman"),
        ("vdos", "overlap", 0.25),
        ("ir", "zero_padding", 6),
        ("ir", "derivative", "direct"),
    ],
)
def test_a_setting_arrives_from_python_and_from_the_command(
    kind: Any, name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(tmp_path / "run.h5", 500)
    settings = SpectraSettings(resolution_per_cm=150.0)
    plain, spectrum = run_spectrum(path, kind, settings), run_spectrum(path, kind, settings, **{name: value})
    assert any(
        len(spectrum.columns()) != len(plain.columns())
        or not np.array_equal(spectrum.columns()[key].values, column.values)
        for key, column in plain.columns().items()
    )
    words = ["--resolution-per-cm", "150", f"--{name.replace('_', '-')}", str(value), "--json"]
    with pytest.raises(SystemExit) as stop:
        main([kind, str(path), *words, "-o", str(tmp_path / "out.csv")])
    assert not stop.value.code
    facts = json.loads(capsys.readouterr().out)
    if name in facts["parameters"]:
        assert facts["parameters"][name] == value
    heights = [peak["height"] for peak in facts["peaks"]]
    np.testing.assert_allclose(heights, [peak.height for peak in spectrum.peaks], rtol=1e-12)


@pytest.mark.parametrize("kind", ["ir", "raman", "vdos", "dielectric"])
@pytest.mark.parametrize(("thermostat", "integrator"), [("bussi", "verlet"), ("langevin", "baoab")])
def test_the_integrators_time_step_is_taken_off_runs_of_md(
    kind: Any, thermostat: str, integrator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = {"md": {"ensemble": "nvt", "thermostat": thermostat}}
    path = write_run(tmp_path / "run.h5", 500, configuration=configuration)
    parameters = run_spectrum(path, kind, resolution_per_cm=150.0).parameters
    assert (parameters["integration_timestep_fs"], parameters["integrator"]) == (0.5, integrator)
    assert "integrator" not in run_spectrum(path, kind, resolution_per_cm=150.0, correct_timestep=False).parameters
    for words, sentence in (([], "integration time step 0.5 fs"), (["--no-correct-timestep"], "its effect is left in")):
        with pytest.raises(SystemExit):
            main([kind, str(path), "--resolution-per-cm", "150", *words, "-o", str(tmp_path / "out.csv")])
        assert sentence in capsys.readouterr().out
    other = write_run(tmp_path / "record.h5", 500, created_by="record")
    assert "integrator" not in run_spectrum(other, kind, resolution_per_cm=150.0).parameters


def test_the_mean_of_the_dipole_is_a_setting(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5", 500)
    statics = {mean: run_spectrum(path, "dielectric", mean=mean).static.value for mean in ("zero", "pooled")}  # type: ignore[attr-defined]
    assert statics["zero"] > statics["pooled"]  # the square of the mean is left out or taken off


def test_series_of_other_codes_take_the_same_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dipole = 0.05 * bands(800, (3,))
    np.save(tmp_path / "dipole.npy", dipole)
    request = Request("dipole", unit="eA", timestep_fs=1.0)
    said: list[str] = []
    spectrum = series_spectrum(
        tmp_path / "dipole.npy", "ir", request=request, say=said.append, temperature_K=300, volume_A3=900.0, blocks=4
    )
    by_hand = infrared_spectrum(
        dipole, timestep_fs=1.0, temperature_K=300.0, volume_A3=900.0, settings=EstimatorSettings(blocks=4)
    )
    np.testing.assert_allclose(spectrum.alpha_n_per_cm, by_hand.alpha_n_per_cm, rtol=1e-12)  # type: ignore[attr-defined]
    assert said == [f"{tmp_path / 'dipole.npy'}: NumPy .npy"]
    words = ["--unit", "eA", "--timestep-fs", "1", "--temperature-K", "300", "--volume-A3", "900", "--blocks", "4"]
    with pytest.raises(SystemExit) as stop:
        main(["ir", str(tmp_path / "dipole.npy"), *words, "-o", str(tmp_path / "ir.csv"), "--json"])
    assert not stop.value.code
    peaks = json.loads(capsys.readouterr().out)["peaks"]
    np.testing.assert_allclose([peak["height"] for peak in peaks], [peak.height for peak in spectrum.peaks], rtol=1e-12)
    with pytest.raises(SeriesError, match="temperature_K or --temperature-K for"):
        series_spectrum(tmp_path / "dipole.npy", "ir", request=request)
    with pytest.raises(SeriesError, match="volume_A3 or --volume-A3 for"):
        series_spectrum(tmp_path / "dipole.npy", "dielectric", request=request, temperature_K=300)
    with pytest.raises(ConfigError, match="request for 'raman': got dipole"):
        series_spectrum(tmp_path / "dipole.npy", "raman", request=request)
    with pytest.raises(ConfigError, match="kind of spectrum: got 'vdos'"):
        series_spectrum(tmp_path / "dipole.npy", "vdos", request=request)  # type: ignore[arg-type]


def test_a_run_file_is_no_series_of_another_code(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="run_spectrum"):
        series_spectrum(write_run(tmp_path / "run.h5", 100, boundary="slab"), "ir", temperature_K=300)


def test_marked_settings_follow_their_marks() -> None:
    assert "laser_nm" in names_of(SpectraSettings, "raman")
    assert "laser_nm" not in names_of(SpectraSettings, "ir")
    assert "resolution_per_cm" in names_of(SpectraSettings, "ir")


class MadeUp(Settings):
    """What a schema may hold."""

    correct: bool = Field(True, description="take it off")
    mean: Literal["zero", "pooled"] | None = Field(None, description="mean of the dipole")
    axes: Annotated[tuple[str, ...], Of(("ir",), ("--axis", "-a"))] = Field((), description="axes")
    count: int | None = Field(None, ge=1, description="how many")


def test_a_new_setting_of_any_kind_becomes_an_option() -> None:
    fields = MadeUp.model_fields
    annotations = {name: Annotated[options.typed(MadeUp, name), options.setting(MadeUp, name)] for name in fields}
    seen: list[MadeUp] = []

    @options.gathered("settings", annotations, lambda given: options.settings_from_options(MadeUp, "made", given, ()))
    def command(settings: MadeUp) -> None:
        """Keep what is given."""
        seen.append(settings)

    made_up = typer.Typer(rich_markup_mode=None)  # as the application
    made_up.command()(command)
    for words in ([], ["--no-correct", "--mean", "pooled", "-a", "x", "--axis", "y", "--count", "3"]):
        assert CliRunner().invoke(made_up, words).exit_code == 0
    assert seen == [MadeUp(), MadeUp(correct=False, mean="pooled", axes=("x", "y"), count=3)]
    shown = " ".join(CliRunner().invoke(made_up, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "mean of the dipole: zero or pooled" in shown
    assert "axes; repeatable" in shown
    assert "take it off [default: yes]" in shown
    outcome = CliRunner().invoke(made_up, ["--count", "0"])
    assert isinstance(outcome.exception, ConfigError)
