"""Options of the command line, made from the settings' schema: one place for names, units, defaults and help."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from spectra_app.config import MDSettings, Of, Settings, SpectraSettings, apply_override, parse_settings, read_yaml
from spectra_app.errors import ConfigError

S = TypeVar("S", bound=Settings)


def _needed_type(schema: type[Settings], name: str) -> Any:
    """The type of a key, without the None that it may be."""
    annotation: Any = schema.model_fields[name].annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    others = [kind for kind in get_args(annotation) if kind is not type(None)]
    optional = type(None) in get_args(annotation)
    return others[0] if optional and len(others) == 1 else annotation


def choices(schema: type[Settings], name: str) -> str:
    """The words a key takes, as ": a, b or c"; nothing where it takes anything."""
    annotation = _needed_type(schema, name)
    words = [str(word) for word in get_args(annotation)] if get_origin(annotation) is Literal else []
    return f": {', '.join(words[:-1])} or {words[-1]}" if words else ""


def setting(schema: type[Settings], name: str) -> Any:
    """An option for one key of a schema: ``timestep_fs`` becomes ``--timestep-fs`` with the schema's own help."""
    field = schema.model_fields[name]
    default = field.default
    if isinstance(default, tuple):
        default = " ".join(map(str, default)) or None
    if isinstance(default, bool):
        default = "yes" if default else "no"
    shown = choices(schema, name) + ("" if default is None else f"  [default: {default}]")
    flags = next((mark.flags for mark in field.metadata if isinstance(mark, Of) and mark.flags), None)
    if flags is None:
        word = name.replace("_", "-")
        flags = (f"--{word}/--no-{word}",) if field.annotation is bool else (f"--{word}",)
    repeated = "; repeatable" if get_origin(field.annotation) is tuple else ""
    return typer.Option(*flags, help=f"{field.description}{repeated}{shown}", show_default=False)


def typed(schema: type[Settings], name: str) -> Any:
    """What the option of a key takes: its number or word, or None where it is not given."""
    annotation = _needed_type(schema, name)
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]] | None  # type: ignore[misc]
    if get_origin(annotation) in (Literal, UnionType):
        return str | None  # checked with everything else when the settings are made
    return annotation | None


def names_of(schema: type[Settings], kind: str) -> list[str]:
    """The keys of a schema that a command takes."""
    return [
        name
        for name, field in schema.model_fields.items()
        if all(kind in mark.kinds for mark in field.metadata if isinstance(mark, Of))
    ]


Command = Callable[..., None]


def takes_spectra_settings(kind: str) -> Callable[[Command], Command]:
    """Give a command an option for every setting of a spectrum, and ``-s``; it gets them as one ``settings``.

    Args:
        kind: name of the command.
    """
    names = names_of(SpectraSettings, kind)
    annotations = {name: Annotated[typed(SpectraSettings, name), setting(SpectraSettings, name)] for name in names}

    def make(options: dict[str, Any]) -> SpectraSettings:
        overrides = options.pop("overrides") or ()
        return settings_from_options(SpectraSettings, "spectra", options, overrides)

    return gathered("settings", {**annotations, "overrides": Overrides}, make)


def gathered(
    name: str, annotations: Mapping[str, Any], make: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """A decorator that replaces one parameter of a command by options, and gives it what is made of them.

    Args:
        name: of the parameter.
        annotations: of the options by their names; a bool is off and everything else None where not given.
        make: takes the options, gives the argument.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**options: Any) -> None:
            argument = make({option: options.pop(option) for option in annotations})
            command(**{name: argument}, **options)

        parameters: list[inspect.Parameter] = []
        for own in inspect.signature(command, eval_str=True).parameters.values():
            if own.name != name:
                parameters.append(own)
                continue
            parameters += [
                inspect.Parameter(
                    option, own.kind, default=False if get_args(typed)[0] is bool else None, annotation=typed
                )
                for option, typed in annotations.items()
            ]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


def given(schema: type[Settings], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the user gave and that are keys of the schema."""
    return {key: value for key, value in options.items() if key in schema.model_fields and value is not None}


def settings_from_options(
    schema: type[S], section: str, options: Mapping[str, Any], overrides: Sequence[str], config: Path | None = None
) -> S:
    """Settings from a YAML file, ``-s`` overrides and named options, the later winning.

    Args:
        schema: the class to fill.
        section: its name in a recipe; ``-s`` keys may carry it or not, and a file may be a recipe or the bare section.
        options: named options; None where not given.
        overrides: ``"key=value"`` or ``"section.key=value"``.
        config: YAML file.

    Raises:
        ConfigError: unknown key or bad value.
    """
    data: dict[str, Any] = {}
    if config is not None:
        data = read_section(config, section)
    for override in overrides:
        apply_override(data, override.strip().removeprefix(f"{section}."))
    data.update(given(schema, options))
    return parse_settings(schema, data, section)


def read_section(path: Path, section: str) -> dict[str, Any]:
    """One section of a recipe, or a file that is nothing but that section.

    Raises:
        ConfigError: no such file, or not ``key: value`` lines.
    """
    data = read_yaml(path)
    inner = data.get(section, data) if isinstance(data, dict) else data
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise ConfigError(f"configuration {path}", got=type(inner).__name__, wanted=f"a section '{section}'")
    return inner


def float_type(name: str) -> Literal["float32", "float64"]:
    """The name of a floating-point type, checked.

    Raises:
        ConfigError: another word.
    """
    if name == "float32":
        return "float32"
    if name == "float64":
        return "float64"
    raise ConfigError("--dtype", got=name, wanted="float32 or float64")


def words(text: str | None) -> list[str] | None:
    """Words between commas; None where nothing was given."""
    return None if text is None else [word.strip() for word in text.split(",")]


def refuse_for_run_file(source: Path, **given: Any) -> None:
    """Refuse options that say what a run file says itself.

    Args:
        source: the run file.
        given: options by the names of their parameters; None where not given.

    Raises:
        ConfigError: one of them was given.
    """
    for name, value in given.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} for {source}", got=value, wanted="nothing: a run file says it itself")


def command_name() -> str:
    """The command of this process: the first word that is no option."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def continue_command(*extra: str) -> str:
    """The command line of this process plus further words, to be shown to the user."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return shlex.join([*words, *(word for word in extra if word not in words)])


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="override any setting, e.g. -s md.steps=20000; repeatable"),
]
Json = Annotated[bool, typer.Option("--json", help="print the numbers as JSON on stdout")]
ModelName = Annotated[
    str, typer.Option("--model", "-m", help="name in the zoo, folder of a model, or 'ase:module:factory(arguments)'")
]
Device = Annotated[str, typer.Option("--device", help="torch device: auto, cpu, cuda, cuda:1; auto takes a GPU if any")]
Dtype = Annotated[str, typer.Option("--dtype", help="floating-point type of the network: float32 or float64")]
MaxMinutes = Annotated[
    float | None,
    typer.Option("--max-minutes", help="wall time, min, after which all is saved; exit code 75: submit again"),
]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="output file by its suffix (.csv .h5 .jdx .png .pdf .svg), repeatable; without a suffix: csv, h5, jdx, "
        "png and pdf of that name  [default: INPUT_COMMAND in all formats]",
        show_default=False,
    ),
]

# --- molecular dynamics ---------------------------------------------------------------------------------------------
Ensemble = Annotated[str | None, setting(MDSettings, "ensemble")]
Thermostat = Annotated[str | None, setting(MDSettings, "thermostat")]
TimestepFs = Annotated[float | None, setting(MDSettings, "timestep_fs")]
TemperatureK = Annotated[str | None, setting(MDSettings, "temperature_K")]
PressureGPa = Annotated[float | None, setting(MDSettings, "pressure_GPa")]
CellShape = Annotated[str | None, setting(MDSettings, "cell")]
CompressibilityPerGPa = Annotated[float | None, setting(MDSettings, "compressibility_per_GPa")]
ThermostatTimeFs = Annotated[float | None, setting(MDSettings, "thermostat_time_fs")]
BarostatTimeFs = Annotated[float | None, setting(MDSettings, "barostat_time_fs")]
Equilibration = Annotated[str | None, setting(MDSettings, "equilibration")]
EquilibrationSteps = Annotated[int | None, setting(MDSettings, "equilibration_steps")]
EquilibrationMaxSteps = Annotated[int | None, setting(MDSettings, "equilibration_max_steps")]
Steps = Annotated[int | None, setting(MDSettings, "steps")]
Replicas = Annotated[int | None, setting(MDSettings, "replicas")]
RecordStride = Annotated[int | None, setting(MDSettings, "record_stride")]
TrajectoryStride = Annotated[int | None, setting(MDSettings, "trajectory_stride")]
PartsLevel = Annotated[str | None, setting(MDSettings, "parts")]
SkinA = Annotated[float | None, setting(MDSettings, "skin_A")]
FieldVPerA = Annotated[
    tuple[float, float, float] | None,
    typer.Option("--field", metavar="X Y Z", help=str(MDSettings.model_fields["field_V_per_A"].description)),
]
FieldTable = Annotated[Path | None, setting(MDSettings, "field_table")]
Seed = Annotated[int | None, setting(MDSettings, "seed")]
Engine = Annotated[str | None, setting(MDSettings, "engine")]
Processes = Annotated[str | None, setting(MDSettings, "processes")]
MDDevice = Annotated[str | None, setting(MDSettings, "device")]
MDDtype = Annotated[str | None, setting(MDSettings, "dtype")]
EpsInf = Annotated[float | None, setting(MDSettings, "eps_inf")]

# --- series of other codes -------------------------------------------------------------------------------------------
TableTimestepFs = Annotated[
    float | None,
    typer.Option("--timestep-fs", help="time between rows, fs, where the file does not say it"),
]
TrajectoryTopology = Annotated[
    Path | None, typer.Option("--topology", help="file with the elements, for formats that carry none (XTC, DCD)")
]
TrajectoryTimestepFs = Annotated[
    float | None, typer.Option("--timestep-fs", help="time between frames, fs, where the file does not say it")
]
TrajectorySpecies = Annotated[
    str | None, typer.Option("--species", help="elements of LAMMPS types 1, 2, ...: comma-separated, e.g. O,H")
]
LammpsUnits = Annotated[
    str | None,
    typer.Option(
        "--lammps-units",
        help="units of a LAMMPS dump with velocities: metal (A/ps) or real (A/fs)  [default: what the file says]",
    ),
]
TableVolumeA3 = Annotated[
    float | None,
    typer.Option("--volume-A3", help="cell volume, A^3, where the file has none; without it: an isolated molecule"),
]
TableColumns = Annotated[
    str | None,
    typer.Option("--columns", help="columns of a text file: names of its header or numbers from 1, e.g. 2,3,4"),
]
TableKey = Annotated[str | None, typer.Option("--key", help="name of the array in an NPZ or HDF5 file")]
TableFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="auto, table, npy, npz, hdf5, gpumd, cp2k, lammps, ipi or travis  [default: auto, by content]",
        show_default=False,
    ),
]
TableUnwrap = Annotated[
    bool,
    typer.Option("--unwrap", help="remove jumps of the dipole by a polarization quantum (CP2K's file or --cell-A)"),
]
TableCell = Annotated[
    str | None, typer.Option("--cell-A", help="cell, A: 3 lengths or 9 components, e.g. 9.85,9.85,9.85")
]
