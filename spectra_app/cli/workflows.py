"""``spectra-app workflows``: the shipped recipes and the workflow of a sweep, to copy and change."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli.console import list_files, say
from spectra_app.errors import ConfigError
from spectra_app.zoo import workflows_folder


def workflows(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="new folder to copy them to; without it they are listed")
    ] = None,
) -> None:
    """The shipped recipes and a sweep, to copy and change.

    Recipes are what spectra-app run takes; the sweep makes runs over systems, temperatures and seeds jobs of a laptop
    or a cluster (docs/cluster.md).
    """
    folder = workflows_folder()
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    if output is None:
        print("\n".join(str(folder / path) for path in files))
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}", got="something that is there", wanted="a new folder")
    shutil.copytree(folder, output, dirs_exist_ok=True)
    say("Files:")
    list_files([output / path for path in files])
