"""What all commands print: progress with remaining time, tables, one-line errors, JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def say(text: str = "") -> None:
    """One line for a person, on stderr: stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line of warning on stderr."""
    say(f"spectra-app: warning: {' '.join(text.split())}")


def print_json(data: Any) -> None:
    """JSON on stdout; NaN and infinity become null, paths and arrays plain values."""
    print(to_json(data))


def to_json(data: Any) -> str:
    """JSON text of nested mappings, sequences, arrays, paths and numbers."""
    return json.dumps(_plain(data), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


@dataclass
class ProgressBar:
    """A bar with elapsed and remaining time; silent where stderr is no terminal, save for one line every tenth.

    Attributes:
        description: what is going on.
        rich: the drawn bar, or None where stderr is not a terminal.
    """

    description: str
    rich: RichProgress | None = None
    _task: TaskID | None = None
    _tenth: int = field(default=-1)

    def update(self, done: float, total: float, note: str = "", description: str | None = None) -> None:
        """Show how far the work is.

        Args:
            done: in any unit.
            total: in the same unit.
            note: shown at the end, e.g. ``"301 K  22 ms/step"``.
            description: replaces the description from now on.
        """
        self.description = description or self.description
        if self.rich is not None:
            if self._task is None:
                self._task = self.rich.add_task(self.description, total=total, note=note)
            self.rich.update(self._task, completed=done, total=total, note=note, description=self.description)
            return
        tenth = int(10 * done / total) if total else 10
        if tenth != self._tenth:
            self._tenth = tenth
            say(f"{self.description}: {min(100, round(100 * done / total)) if total else 100}%  {note}".rstrip())


@contextmanager
def progress_bar(description: str) -> Iterator[ProgressBar]:
    """A progress bar on stderr for the time of a block."""
    if not sys.stderr.isatty():
        yield ProgressBar(description)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        yield ProgressBar(description, bar)


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Ctrl-C inside the block ends the command with exit code 130 and one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nspectra-app: interrupted. {how_to_go_on}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def list_files(files: list[Path]) -> None:
    """Say where the results are."""
    for path in files:
        say(f"  {path}")
