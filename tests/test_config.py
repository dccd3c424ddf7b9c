"""The schema of all settings: overrides, refusals, and the shipped recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from spectra_app.config import (
    DataKeys,
    LossSettings,
    MDSettings,
    ModelSettings,
    RunFileSettings,
    Settings,
    SpectraSettings,
    TrainFile,
    TrainingSettings,
    apply_override,
    load_settings,
    parse_settings,
)
from spectra_app.errors import ConfigError

ROOT = Path(__file__).parents[1]
SCHEMAS = [
    ModelSettings,
    DataKeys,
    LossSettings,
    TrainingSettings,
    TrainFile,
    MDSettings,
    SpectraSettings,
    RunFileSettings,
]
UNIT_SUFFIXES = ("_A", "_fs", "_K", "_GPa", "_per_cm", "_nm", "_V_per_A", "_minutes")


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_kept_and_values_converted(tmp_path: Path) -> None:
    settings = load_settings(RunFileSettings, write(tmp_path, "md: {steps: 7, temperature_K: 250}\ntasks: [ir]\n"))
    assert settings.md.steps == 7
    assert settings.md.temperature_K == 250.0
    assert settings.md.timestep_fs == MDSettings().timestep_fs
    assert settings.tasks == ("ir",)


def test_override_wins_over_the_file_and_makes_sections(tmp_path: Path) -> None:
    path = write(tmp_path, "md: {steps: 7}\n")
    settings = load_settings(
        RunFileSettings, path, ["md.steps=9", "spectra.laser_nm=785", "md.field_V_per_A=[0, 0, 0.01]"]
    )
    assert settings.md.steps == 9
    assert settings.spectra.laser_nm == 785.0
    assert settings.md.field_V_per_A == (0.0, 0.0, 0.01)


def test_empty_file_gives_all_defaults(tmp_path: Path) -> None:
    assert load_settings(RunFileSettings, write(tmp_path, "# nothing\n")) == RunFileSettings()


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("md: {step: 7}", (), r"md\.step: got unknown key\. Did you mean 'steps'\?"),
        ("modell: water", (), r"modell: got unknown key\. Did you mean 'model'\?"),
        ("md: {zzzzzz: 7}", (), r"md\.zzzzzz: got unknown key\. Known keys: ensemble, thermostat"),
        ("md: {steps: -3}", (), r"md\.steps: got -3, wanted input should be greater than or equal to 1"),
        ("md: {ensemble: nvx}", (), r"md\.ensemble: got 'nvx', wanted input should be 'nve', 'nvt' or 'npt'"),
        ("- a\n- b", (), r"got list, wanted key: value lines at the top level"),
        ("md: [", (), r"got not YAML"),
        ("md: {}", ("md.steps",), r"override: got 'md\.steps', wanted section\.key=value"),
        ("md: {}", ("=3",), r"override: got '=3'"),
        ("model: water", ("model.name=x",), r"got 'model' is a value, wanted a section"),
        ("md: {}", ("md.steps=[",), r"wanted a YAML value"),
        ("md: {}", ("md.stepz=3",), r"md\.stepz: got unknown key\. Did you mean 'steps'\?"),
    ],
)
def test_bad_settings_are_refused_in_one_line(
    tmp_path: Path, text: str, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(RunFileSettings, write(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)


def test_missing_file_and_missing_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got no such file, wanted a YAML file"):
        load_settings(RunFileSettings, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"training\.data: got nothing, wanted a value"):
        parse_settings(TrainFile, {"training": {}})


def test_override_without_a_file_builds_the_tree() -> None:
    data: dict[str, object] = {}
    apply_override(data, "training.loss.forces=[1, 2]")
    assert data == {"training": {"loss": {"forces": [1, 2]}}}


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MDSettings().steps = 3


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_described_and_names_its_unit(schema: type[Settings]) -> None:
    for name, field in schema.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        if nested:
            continue
        assert field.description, f"{schema.__name__}.{name} has no description"
        for suffix in UNIT_SUFFIXES:
            if name.endswith(suffix) and suffix not in ("_minutes",):
                unit = suffix[1:].replace("_per_cm", "cm^-1").replace("per_cm", "cm^-1").replace("V_per_A", "V/A")
                assert unit in field.description or suffix == "_K", f"{schema.__name__}.{name} does not say its unit"


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    settings = load_settings(RunFileSettings, path)
    assert settings.output.parts[0] == "results"  # what .gitignore keeps out of the repository


def test_recipes_of_shipped_models_are_valid() -> None:
    for path in sorted((ROOT / "models").glob("*/training.yaml")):
        assert load_settings(TrainFile, path).training.data


def test_names_in_an_error_keep_their_capitals() -> None:
    with pytest.raises(ConfigError, match=r"input should be 'sr', .*'puQipiu'"):
        parse_settings(ModelSettings, {"variant": "puqipiu"})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("temperature_K", "300,hot", "a positive number, or several between commas"),
        ("temperature_K", -5, "a positive number"),
        ("temperature_K", [300, 0], "positive numbers"),
        ("processes", "x", "a whole number from 1, or auto"),
        ("processes", 0, "a whole number from 1, or auto"),
    ],
)
def test_numbers_that_may_be_several_or_auto_are_checked(key: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"md: {key}: got .*, wanted {wanted}"):
        parse_settings(MDSettings, {key: value}, "md")


def test_temperatures_and_counts_as_the_command_line_has_them() -> None:
    made = parse_settings(MDSettings, {"temperature_K": "280, 300", "processes": "2"}, "md")
    assert (made.temperature_K, made.n_replicas, made.processes) == ((280.0, 300.0), 2, 2)
    assert parse_settings(MDSettings, {"temperature_K": "300"}, "md").temperature_K == 300.0
