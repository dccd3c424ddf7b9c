"""What a spectrum command is given: a run file, or a series of another code with what its file leaves unsaid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from spectra_app.cli import options
from spectra_app.errors import ConfigError, SeriesError

if TYPE_CHECKING:
    import numpy as np

    from spectra_app.readers.series import Request

NOT_RUN_FILES = (".csv", ".txt", ".dat", ".tsv", ".npy", ".npz", ".out", ".polar")
CELL_WANTED = "3 lengths or 9 components, A, comma-separated"
_UNITS = {
    "dipole": "eA, D (debye), au (e bohr)",
    "polarizability": "e2A2/eV, A3, au (bohr^3), epm2/V",
}


@dataclass(frozen=True)
class TableOptions:
    """The options that describe a series of another code, as typed.

    Attributes:
        quantity: dipole or polarizability.
        timestep_fs: time between rows.
        unit: of dipoles or polarizabilities.
        columns: names or numbers of the components.
        key: array or dataset.
        format: a key of ``series.FORMATS``.
        cell_A: three or nine numbers, comma-separated.
        unwrap: remove branch jumps.
    """

    quantity: Literal["dipole", "polarizability"]
    timestep_fs: float | None = None
    unit: str | None = None
    columns: str | None = None
    key: str | None = None
    format: str | None = None
    cell_A: str | None = None
    unwrap: bool = False

    def request(self) -> Request:
        """What is asked of the file.

        Raises:
            ConfigError: a cell that is none, an unknown format, or branches of a polarizability.
        """
        from spectra_app.readers.series import Request

        cell = None if self.cell_A is None else parse_numbers(self.cell_A, "--cell-A", CELL_WANTED)
        form = self.format or "auto"
        return Request(self.quantity, form, self.unit, self.timestep_fs, self.columns, self.key, self.unwrap, cell)


def takes_table(quantity: Literal["dipole", "polarizability"]) -> Callable[[options.Command], options.Command]:
    """Give a command the options of a series of another code; it gets them as one ``table``.

    Args:
        quantity: what the command takes.
    """
    unit = typer.Option("--unit", help=f"unit, where the file does not say it: {_UNITS[quantity]}")
    annotations: dict[str, Any] = {
        "timestep_fs": options.TableTimestepFs,
        "unit": Annotated[str | None, unit],
        "columns": options.TableColumns,
        "key": options.TableKey,
        "format": options.TableFormat,
    }
    if quantity == "dipole":
        annotations |= {"cell_A": options.TableCell, "unwrap": options.TableUnwrap}
    return options.gathered("table", annotations, lambda given: TableOptions(quantity, **given))


def is_run(source: Path) -> bool:
    """Whether a path is a run file; of one that does not exist the ending decides which error is the right one."""
    from spectra_app.runs import is_run_file

    if source.is_file():
        return is_run_file(source) or (source.suffix == ".h5" and source.stat().st_size == 0)
    return source.suffix.lower() not in NOT_RUN_FILES


def read_arrays(path: Path, names: Sequence[str], wanted: str) -> dict[str, np.ndarray]:
    """The arrays of an NPZ or HDF5 file that have one of the given names.

    Args:
        path: the file.
        names: of arrays to look for.
        wanted: what the file should hold, for the message.

    Raises:
        SeriesError: no such file, or not of this kind.
    """
    import h5py
    import numpy as np

    if not path.is_file():
        raise SeriesError(f"file {path}", got="no such file", wanted=wanted)
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            with h5py.File(path) as file:
                return {name: np.asarray(file[name]) for name in names if name in file}
        with cast("Any", np.load(path, allow_pickle=False)) as content:
            return {name: content[name] for name in names if name in content.files}
    except (OSError, ValueError, EOFError, AttributeError):  # numpy's own words speak of pickles
        raise SeriesError(f"file {path}", got="something else, or a damaged file", wanted=wanted) from None


def parse_numbers(text: str, option: str, wanted: str) -> tuple[float, ...]:
    """Comma-separated numbers of an option.

    Raises:
        ConfigError: anything else.
    """
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ConfigError(option, got=text, wanted=wanted) from None


def needed(value: float | None, option: str, source: Path, example: str) -> float:
    """A number that neither the file nor the options may leave out.

    Raises:
        SeriesError: nobody told it.
    """
    if value is None:
        raise SeriesError(f"{option} for {source}", got="none", wanted="a number", todo=f"Say {option} {example}")
    return value
