"""``spectra-app run``: the whole chain from one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import interruptible, print_json, say
from spectra_app.cli.model_options import CalculatorOptions, takes_calculators
from spectra_app.config import (
    CalculatorSettings,
    HarmonicSettings,
    MDSettings,
    RecipeLabels,
    RunFileSettings,
    Settings,
    SpectraSettings,
)
from spectra_app.zoo import workflow_names


@takes_calculators
def run(
    calculator: CalculatorOptions,
    recipe: Annotated[
        Path | None, typer.Argument(help="YAML file, or the name of a shipped recipe (see --keys)", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help=f"{RunFileSettings.model_fields['model'].description} (model)"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder of all results (output)")] = None,
    device: options.MDDevice = None,
    steps: options.Steps = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace what is of other settings in the folder")
    ] = False,
    keys: Annotated[bool, typer.Option("--keys", help="print every key with its unit and default, and stop")] = False,
    max_minutes: options.MaxMinutes = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """The whole chain from one file.

    Labels and a training where it has sections for them, normal modes, molecular dynamics, spectra, Born charges and
    figures.
    After Ctrl-C, repeat the command to go on.
    SIGTERM, SIGUSR1 and --max-minutes stop it with exit code 75: submit again.
    """
    if keys or recipe is None:
        print(_keys())
        return
    named = {"output": output, "md.device": device, "md.steps": steps}
    words = [f"{key}={value}" for key, value in named.items() if value is not None]
    words = [*(overrides or ()), *words, *calculator.overrides(model)]
    from spectra_app.cli.harmonic_command import normal_modes_of
    from spectra_app.cli.md_command import simulate
    from spectra_app.jobs import run_recipe

    with interruptible(f"Repeat the command to go on: {options.continue_command()}"):
        done = run_recipe(
            recipe,
            overrides=words,
            say=say,
            overwrite=overwrite,
            dynamics=simulate,
            modes=normal_modes_of,
            max_minutes=max_minutes,
            trust=calculator.trust,
        )
    from spectra_app.plotting import render_summary, summary_json

    summary = done.summary
    if json:
        print_json(summary_json(summary))
        return
    from rich.console import Console

    Console().print(render_summary(summary))


def _keys() -> str:
    """Every key of a recipe with its description (which names the unit) and default."""
    sections: tuple[tuple[str, type[Settings]], ...] = (
        ("", RunFileSettings),
        ("calculator.", CalculatorSettings),
        ("labels.", RecipeLabels),
        ("md.", MDSettings),
        ("spectra.", SpectraSettings),
        ("harmonic.", HarmonicSettings),
    )
    lines = [
        f"Shipped recipes: {', '.join(workflow_names())}",
        "Keys of a recipe, for -s KEY=VALUE or the file itself:",
    ]
    for prefix, schema in sections:
        for name, field in schema.model_fields.items():
            if field.description:
                default = "needed" if field.is_required() else _shown(field.get_default(call_default_factory=True))
                lines.append(f"  {prefix + name:<32} {field.description}{options.choices(schema, name)}  [{default}]")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "none" if value in (None, {}) else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
