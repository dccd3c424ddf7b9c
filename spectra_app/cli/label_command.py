"""``spectra-app label``: labels for training from any calculator of ASE."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, progress_bar, warn
from spectra_app.cli.md_command import say_stopped
from spectra_app.config import LabelSettings
from spectra_app.errors import StoppedError

if TYPE_CHECKING:
    from spectra_app.jobs.label_job import LabelProgress, LabelResult

MOST_FAILED = 3  # named one by one


def _label_options() -> dict[str, Any]:
    return {
        name: Annotated[options.typed(LabelSettings, name), options.setting(LabelSettings, name)]
        for name in LabelSettings.model_fields
    }


def _settings(given: dict[str, Any]) -> LabelSettings:
    return options.settings_from_options(LabelSettings, "label", given, ())


@options.gathered("settings", _label_options(), _settings)
def label(
    structures: Annotated[
        list[Path],
        typer.Argument(help="structure files in any format of ASE, all frames (FILE@INDEX takes some, FILE@0:10:2)"),
    ],
    calculator: Annotated[
        str,
        typer.Option(
            "--calculator", help="'ase:module:factory(arguments)', e.g. 'ase:tblite.ase:TBLite(method=\"GFN2-xTB\")'"
        ),
    ],
    settings: LabelSettings,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="extended XYZ; how it was made is said in OUTPUT.yaml beside it")
    ] = Path("labels.extxyz"),
    trust_checkpoint: Annotated[
        bool, typer.Option("--trust-checkpoint", help="load files that run code when they are loaded (pickles)")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing set, and begin anew")] = False,
    max_minutes: options.MaxMinutes = None,
    json: options.Json = False,
) -> None:
    """Energies, forces and stress for training, from any calculator of ASE.

    Structures as they are, and copies with noise or strain, frames of dynamics, the most different of all these.
    Ctrl-C keeps every finished frame; the same command goes on from there.
    """
    from spectra_app.jobs.labelling import label_structures

    with progress_bar("labelling") as bar:

        def show(progress: LabelProgress) -> None:
            bar.update(progress.done, progress.total, progress.note, progress.phase)

        try:
            result = label_structures(
                structures,
                calculator,
                output,
                settings,
                trust=trust_checkpoint,
                overwrite=overwrite,
                progress=show,
                max_minutes=max_minutes,
            )
        except StoppedError as stop:
            raise say_stopped(bar, stop) from None
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
