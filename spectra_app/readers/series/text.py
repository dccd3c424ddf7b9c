"""Numbers in text: the head of a file, and its rows block by block with the line number of whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError

HEAD_LINES = 400
"""Lines looked at before the first row of numbers; CP2K and i-PI write up to about fifty."""
BLOCK_LINES = 2**16
"""Rows parsed together: 5 MB of text at 80 characters a row; larger blocks are no faster (2.9 us a row of three)."""

_SEPARATORS = str.maketrans(",;\t", "   ")
Clean = Callable[[str], str]


@dataclass(frozen=True)
class Head:
    """Beginning of a text file.

    Attributes:
        path: the file.
        lines: up to ``HEAD_LINES`` lines, without line ends.
        n_before: number of lines before the first row of numbers.
        width: numbers in that row; 0 where there is none.
        sample: the first rows of numbers [row, column], at most 16.
    """

    path: Path
    lines: tuple[str, ...]
    n_before: int
    width: int
    sample: NDArray[np.float64]

    @property
    def before(self) -> tuple[str, ...]:
        """Lines before the numbers."""
        return self.lines[: self.n_before]

    @property
    def comments(self) -> tuple[str, ...]:
        """Lines of these that begin with #, without it."""
        return tuple(line.lstrip().lstrip("#").strip() for line in self.before if line.lstrip().startswith("#"))

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)


def words_of(line: str) -> list[str]:
    """Words between commas, semicolons, tabs and spaces."""
    return line.translate(_SEPARATORS).split()


def numbers_of(line: str) -> list[float] | None:
    """The numbers of a line that holds nothing else."""
    words = words_of(line)
    try:
        # float() would take the underscores of Python's number literals.
        return [float(word) for word in words] if words and "_" not in line else None
    except ValueError:
        return None


def read_head(path: Path, clean: Clean | None = None) -> Head:
    """Look at the beginning of a text file.

    Args:
        path: the file.
        clean: applied to every line before it is looked at for numbers.

    Raises:
        SeriesError: no such file.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = tuple(line.rstrip("\r\n") for line in islice(file, HEAD_LINES))
    except OSError as error:
        raise SeriesError(f"table {path}", got=error.strerror, wanted="a file with a time series") from None
    tidy = [clean(line) if clean else line for line in lines]
    rows: list[list[float]] = []
    first = len(lines)
    for index, line in enumerate(tidy):
        numbers = None if line.lstrip().startswith("#") else numbers_of(line)
        if numbers is None:
            if rows:
                break
            continue
        if rows and len(numbers) != len(rows[0]):
            break
        first = min(first, index)
        rows.append(numbers)
        if len(rows) == 16:
            break
    return Head(path, lines, first, len(rows[0]) if rows else 0, np.array(rows))


def read_rows(head: Head, clean: Clean | None = None) -> Iterator[NDArray[np.float64]]:
    """Rows of numbers [row, column], block by block; lines that begin with # are passed over.

    Raises:
        SeriesError: a line that is not ``head.width`` numbers; names the line.
    """
    with head.path.open(encoding="utf-8", errors="replace") as file:
        for _ in islice(file, head.n_before):
            pass
        done = head.n_before
        while lines := list(islice(file, BLOCK_LINES)):
            rows = [line for line in lines if (bare := line.lstrip()) and bare[0] != "#"]
            if rows:
                yield _parse(head, rows, lines, done, clean)
            done += len(lines)


def _parse(
    head: Head, rows: list[str], lines: Sequence[str], lines_before: int, clean: Clean | None
) -> NDArray[np.float64]:
    if clean is not None:
        rows = [clean(row) for row in rows]
    if any(mark in rows[0] for mark in ",;"):
        rows = [row.translate(_SEPARATORS) for row in rows]
    try:
        block = np.loadtxt(rows, dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        block = np.empty((0, 0))
    if block.shape != (len(rows), head.width):
        _blame(head, lines, lines_before, clean)
    return block


def _blame(head: Head, lines: Sequence[str], lines_before: int, clean: Clean | None) -> None:
    """Name the line that is not ``head.width`` numbers."""
    for number, line in enumerate(lines, start=lines_before + 1):
        bare = (clean(line) if clean else line).strip()
        if not bare or bare.startswith("#"):
            continue
        found = numbers_of(bare)
        if found is not None and len(found) == head.width:
            continue
        got = line.strip()[:60] if found is None else f"{len(found)} columns"
        last = not line.endswith("\n")
        raise SeriesError(
            f"{head.path}, line {number}",
            got=got,
            wanted="numbers" if found is None else f"{head.width}",
            todo="The file may be truncated" if last else None,
        )
    raise SeriesError(f"{head.path}, lines {lines_before + 1} and after", got="no table", wanted="rows of numbers")


def tensor_component(name: str) -> str | None:
    """xx, xy, ... where a column's name says which component of a tensor it is."""
    bare = re.split(r"[\[(/]", name)[0].strip().rstrip("_").lower()  # without a unit in brackets or behind a slash
    found = re.search(r"[xyz]{2}$", re.sub(r"[^a-z]+$|_?(a3|au|e2.*)$", "", bare))
    return found.group() if found else None
