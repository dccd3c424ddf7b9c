"""``spectra-app label``: labels for training from any calculator of ASE."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, warn
from spectra_app.cli.stopping import stoppable_bar
from spectra_app.config import ActiveSettings, LabelSettings, Settings
from spectra_app.errors import ConfigError

if TYPE_CHECKING:
    from spectra_app.jobs.label_job import LabelProgress, LabelResult

MOST_FAILED = 3  # named one by one
SAMPLING = frozenset(
    [
        "rattle_A",
        "strain_percent",
        "copies",
        "md",
        "sampler",
        "temperature_K",
        "timestep_fs",
        "steps",
        "stride",
        "originals",
        "clusters",
        "cluster_molecules",
        "cluster_gap_A",
        "cluster_ions",
        "waves",
        "wave_amplitude_A",
        "select",
    ]
)


def _options(schema: type[Settings]) -> dict[str, Any]:
    """An option for every key."""
    return {name: Annotated[options.typed(schema, name), options.setting(schema, name)] for name in schema.model_fields}


def _settings(given: dict[str, Any]) -> LabelSettings:
    return options.settings_from_options(LabelSettings, "label", given, ())


def _rounds(given: dict[str, Any]) -> ActiveSettings:
    return options.settings_from_options(ActiveSettings, "label", given, ())


@options.gathered("settings", _options(LabelSettings), _settings)
@options.gathered("rounds", _options(ActiveSettings), _rounds)
def label(
    structures: Annotated[
        list[Path],
        typer.Argument(
            help="structure files in any format of ASE, all frames (FILE@INDEX takes some, FILE@0:10:2); run files "
            "with --active"
        ),
    ],
    calculator: Annotated[
        str,
        typer.Option(
            "--calculator", help="'ase:module:factory(arguments)', e.g. 'ase:tblite.ase:TBLite(method=\"GFN2-xTB\")'"
        ),
    ],
    settings: LabelSettings,
    rounds: ActiveSettings,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="extended XYZ; how it was made is said in OUTPUT.yaml beside it; with --active: folder of the rounds  "
            "[default: labels.extxyz; active]",
        ),
    ] = None,
    active: Annotated[
        bool,
        typer.Option("--active", help="label the frames of runs that a model knows least, and train it on them"),
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="with --active: name in the zoo, or folder of a model")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="with --active: what the model was trained on  [default: as its recipe says]"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="KEY=VALUE", help="with --active: training.KEY=VALUE or md.KEY=VALUE; repeatable"
        ),
    ] = None,
    trust_checkpoint: Annotated[
        bool, typer.Option("--trust-checkpoint", help="load files that run code when they are loaded (pickles)")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing set, and begin anew")] = False,
    max_minutes: options.MaxMinutes = None,
    json: options.Json = False,
) -> None:
    """Energies, forces and stress for training, from any calculator of ASE.

    Structures as they are, and copies with noise or strain, frames of dynamics, the most different of all these.
    With --active: rounds of picking frames of runs that a model knows least, labelling, training, dynamics.
    Ctrl-C keeps every finished frame; the same command goes on from there.
    """
    check_options(active, settings, rounds, model, data, overrides)
    if active:
        from spectra_app.cli.label_active import label_actively

        assert model is not None
        chosen = (structures, model, calculator, output or Path("active"), rounds, settings)
        label_actively(*chosen, data or [], overrides or [], trust_checkpoint, overwrite, max_minutes, json)
        return
    from spectra_app.jobs.labelling import label_structures

    with stoppable_bar("labelling") as bar:

        def show(progress: LabelProgress) -> None:
            bar.update(progress.done, progress.total, progress.note, progress.phase)

        result = label_structures(
            structures,
            calculator,
            output or Path("labels.extxyz"),
            settings,
            trust=trust_checkpoint,
            overwrite=overwrite,
            progress=show,
            max_minutes=max_minutes,
        )
    if json:
        print_json(asdict(result))
    else:
        print("\n".join(describe(result)))
    for origin, reason in result.failed[:MOST_FAILED]:
        warn(f"no label of {origin}: {reason}")
    if len(result.failed) > MOST_FAILED:
        warn(f"{len(result.failed) - MOST_FAILED} more frames without label: {result.path}.yaml names them")
    for sentence in result.warnings:
        warn(sentence)
    list_files([result.path, Path(f"{result.path}.yaml")])


def check_options(
    active: bool,
    settings: LabelSettings,
    rounds: ActiveSettings,
    model: str | None,
    data: list[Path] | None,
    overrides: list[str] | None,
) -> None:
    """Refuse options that belong to the other way of choosing frames.

    Raises:
        ConfigError: names the first one.
    """
    if active:
        wrong = sorted(SAMPLING & settings.model_fields_set)
        if wrong:
            got = f"--{wrong[0].replace('_', '-')} with --active"
            raise ConfigError("label", got=got, wanted="frames of runs as they are")
        if model is None:
            raise ConfigError("label --active", got="no model", wanted="the one that made the runs", todo="Give -m")
        return
    given = [f"--{name.replace('_', '-')}" for name in sorted(rounds.model_fields_set)]
    given += [flag for flag, value in (("--model", model), ("--data", data), ("--set", overrides)) if value]
    if given:
        raise ConfigError("label", got=f"{given[0]} alone", wanted="run files", todo="Give --active and run files")


def describe(result: LabelResult) -> list[str]:
    """A set in a few lines for a person."""
    if not result.new:
        return [f"{result.path} is complete already: {result.n_frames} frames"]
    facts, check = result.facts, result.force_check
    torque = facts["net_torque_meV_per_atom"]
    lines = [
        f"{result.n_frames} frames of {result.n_candidates} structures labelled, {len(result.failed)} without label",
        f"Largest force {facts['largest_force_eV_per_A']:.3g} eV/A; net force "
        f"{facts['net_force_meV_per_A_per_atom']:.2g} meV/A per atom"
        + ("" if torque is None else f", net torque {torque:.2g} meV per atom")
        + f"; stress of {facts['frames_with_stress']} frames",
    ]
    return lines if check is None else [*lines, f"Forces checked: {check.sentence}"]
