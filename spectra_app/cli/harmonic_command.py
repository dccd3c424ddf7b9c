"""``spectra-app harmonic``: normal modes of a relaxed structure, their infrared and Raman spectra, what follows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, progress_bar, say
from spectra_app.cli.describe import say_extrapolation
from spectra_app.cli.model_options import CalculatorOptions, takes_calculators
from spectra_app.config import HarmonicSettings
from spectra_app.errors import ConfigError

if TYPE_CHECKING:
    from spectra_app.jobs.harmonic_job import HarmonicResult

_BY_HAND = ("masses", "directions", "supercell")
_PLAIN = [name for name in HarmonicSettings.model_fields if name not in _BY_HAND]


def _make(given: dict[str, Any]) -> HarmonicSettings:
    """Settings of the options that were given."""
    overrides = given.pop("overrides") or ()
    masses, directions = given.pop("mass") or (), given.pop("direction") or ()
    if given.get("supercell") is None:
        given.pop("supercell", None)
    if masses:
        given["masses"] = dict(_mass(text) for text in masses)
    if directions:
        given["directions"] = [_direction(text) for text in directions]
    return options.settings_from_options(HarmonicSettings, "harmonic", given, overrides)


def _mass(text: str) -> tuple[str, float]:
    key, _, number = text.partition("=")
    try:
        return key.strip(), float(number)
    except ValueError:
        raise ConfigError("--mass", got=repr(text), wanted="ELEMENT=AMU or PLACE=AMU, e.g. H=2.014") from None


def _direction(text: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not any(numbers):
        raise ConfigError("--direction", got=repr(text), wanted="three numbers, e.g. '1 0 0'")
    return numbers


@options.gathered(
    "settings",
    {
        **{
            name: Annotated[options.typed(HarmonicSettings, name), options.setting(HarmonicSettings, name)]
            for name in _PLAIN
        },
        "mass": Annotated[
            list[str] | None,
            typer.Option("--mass", help="mass of an element or of one atom (place from 0), e.g. H=2.014; repeatable"),
        ],
        "direction": Annotated[
            list[str] | None,
            typer.Option(
                "--direction", help="waves for longitudinal modes, e.g. '1 0 0'; repeatable  [default: x, y, z]"
            ),
        ],
        "supercell": Annotated[
            tuple[int, int, int] | None,
            typer.Option(
                "--supercell", metavar="A B C", help=str(HarmonicSettings.model_fields["supercell"].description)
            ),
        ],
        "overrides": options.Overrides,
    },
    _make,
)
@takes_calculators
def harmonic(
    structure: Annotated[Path, typer.Argument(help="structure in any format of ASE (FILE@INDEX for one frame)")],
    model: options.ModelName,
    settings: HarmonicSettings,
    calculator: CalculatorOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of all files")] = Path("harmonic"),
    device: options.Device = "auto",
    dtype: options.Dtype = "float64",
    json: options.Json = False,
) -> None:
    """Normal modes with infrared and Raman intensities.

    Relaxes, differentiates the model exactly, and gives frequencies, intensities, of a crystal the dielectric function
    and longitudinal modes, thermochemistry, spectra, and files in which viewers move the modes.
    """
    from rich.console import Console

    from spectra_app.harmonic.mode_tables import limit_json, render_limit
    from spectra_app.jobs.structures import read_structure

    done = normal_modes_of(
        calculator.choice(model),
        read_structure(structure),
        settings,
        output,
        device=device,
        dtype=options.float_type(dtype),
        say=say,
    )
    if json:
        print_json(limit_json(done.limit, settings.geometries))
    else:
        Console().print(render_limit(done.limit))
    say_extrapolation(done.extrapolation, model)
    say("Files:")
    list_files(list(done.files))


def normal_modes_of(*arguments: Any, **options_of_job: Any) -> HarmonicResult:
    """As ``jobs.harmonic_job.normal_modes_of``, with a progress bar."""
    from spectra_app.jobs import harmonic_job

    with progress_bar("harmonic") as bar:
        return harmonic_job.normal_modes_of(
            *arguments,
            progress=lambda stage, done, of: bar.update(done, of, description=stage),
            **options_of_job,
        )
