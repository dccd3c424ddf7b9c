"""Entry point of ``spectra-app``: registers the commands, turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from spectra_app import __version__
from spectra_app.cli import (
    born_command,
    drive_command,
    evaluate,
    harmonic_command,
    label_command,
    lammps_command,
    md_command,
    models,
    parts_command,
    plot,
    record,
    run,
    sfg_command,
    spectrum_commands,
    train,
    workflows,
)
from spectra_app.cli.console import EXIT_INTERRUPTED, say, warn
from spectra_app.errors import SpectraAppError

EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h

app = typer.Typer(
    name="spectra-app",
    help="Infrared and Raman spectra, dielectric functions and Born charges from energies and forces alone.\n\n"
    "Start with: spectra-app run water",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for name, function in (
    ("run", run.run),
    ("train", train.train),
    ("evaluate", evaluate.evaluate),
    ("label", label_command.label),
    ("md", md_command.md),
    ("record", record.record),
    ("lammps", lammps_command.lammps),
    ("drive", drive_command.drive),
    ("ir", spectrum_commands.ir),
    ("raman", spectrum_commands.raman),
    ("vdos", spectrum_commands.vdos),
    ("dielectric", spectrum_commands.dielectric),
    ("parts", parts_command.parts),
    ("sfg", sfg_command.sfg),
    ("born", born_command.born),
    ("harmonic", harmonic_command.harmonic),
    ("plot", plot.plot),
    ("models", models.models),
    ("workflows", workflows.workflows),
):
    app.command(name)(function)


def _version(value: bool) -> None:
    if value:
        print(f"spectra-app {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print it and stop")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="show the traceback of an error (anywhere in the line)")
    ] = False,
) -> None:
    """Options of every command; ``--debug`` is read by ``main`` before."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: words after ``spectra-app``; None takes those of the process.

    Raises:
        SystemExit: always, with the exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    warnings.showwarning = _one_line_warning
    try:
        app([word for word in words if word != "--debug"], prog_name="spectra-app")
    except (SpectraAppError, OSError, MemoryError, KeyboardInterrupt, Exception) as error:
        if debug:
            traceback.print_exc()
        line, code = describe(error)
        say(f"spectra-app: {line}")
        sys.exit(code)


def describe(error: BaseException) -> tuple[str, int]:
    """One line and an exit code for whatever went wrong."""
    if isinstance(error, SpectraAppError):
        return f"error: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, OSError) and error.errno is not None:
        name = f" '{error.filename}'" if error.filename else ""
        advice = {
            errno.ENOSPC: ". Free some space and repeat the command",
            errno.EDQUOT: ". Free some space and repeat the command",
        }.get(error.errno, "")
        return f"error: {os.strerror(error.errno).lower()}{name}{advice}", 1
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "error: out of memory. Use fewer replicas, a smaller structure or batch, or another device", 1
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"internal error: {text[:300]}. Repeat with --debug for the traceback", EXIT_BUG


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Warnings without the source line that means nothing to a user."""
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | ResourceWarning):
        warn(str(message))


if __name__ == "__main__":
    main()
