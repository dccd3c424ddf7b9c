"""Work that may be stopped and goes on later: its progress bar, and what the command says when it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from spectra_app.cli import options
from spectra_app.cli.console import ProgressBar, progress_bar, say
from spectra_app.errors import StoppedError

_SAID_BELOW = ". Continue with --restart"


@contextmanager
def stoppable_bar(description: str, *words: str) -> Iterator[ProgressBar]:
    """A progress bar for the time of a block; where its work is stopped, the command ends and says how to go on.

    Args:
        description: what is going on.
        words: that this process' command needs besides its own to go on; a recipe goes on by itself.

    Raises:
        Exit: stopped, with the exit code of ``StoppedError``.
    """
    with progress_bar(description) as bar:
        try:
            yield bar
        except StoppedError as stop:
            if bar.rich is not None:
                bar.rich.stop()
            extra = () if options.command_name() == "run" else words
            say(f"spectra-app: {str(stop).removesuffix(_SAID_BELOW)}")
            say(f"Continue with: {options.continue_command(*extra)}")
            raise typer.Exit(stop.exit_code) from None
