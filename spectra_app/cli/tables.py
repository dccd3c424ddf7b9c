"""What a spectrum command is given: a run file, or a series of another code with what its file leaves unsaid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from spectra_app.cli.console import say
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError

if TYPE_CHECKING:
    import numpy as np

    from spectra_app.series import Series

NOT_RUN_FILES = (".csv", ".txt", ".dat", ".tsv", ".npy", ".npz", ".out", ".polar")


CELL_WANTED = "3 lengths or 9 components, A, comma-separated"


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """The options that describe a series of another code, as typed.

    Attributes:
        format: a key of ``series.FORMATS``.
        unit: of dipoles or polarizabilities.
        timestep_fs: time between rows.
        columns: names or numbers of the components.
        key: array or dataset.
        unwrap: remove branch jumps.
        cell_A: three or nine numbers, comma-separated.
        volume_A3: of the cell.
    """

    format: str | None = None
    unit: str | None = None
    timestep_fs: float | None = None
    columns: str | None = None
    key: str | None = None
    unwrap: bool = False
    cell_A: str | None = None
    volume_A3: float | None = None


def is_run(source: Path) -> bool:
    """Whether a path is a run file; of one that does not exist the ending decides which error is the right one."""
    from spectra_app.series.run_file import is_run_file

    if source.is_file():
        return is_run_file(source) or (source.suffix == ".h5" and source.stat().st_size == 0)
    return source.suffix.lower() not in NOT_RUN_FILES


def open_input(
    source: Path, quantity: Literal["dipole", "polarizability"], given: InputOptions, settings: SpectraSettings
) -> Series | None:
    """The series of a file of another code, or of a long run file; None for a run file that fits into memory.

    Temperature, volume and eps_inf of the series are those of the options where given.

    Raises:
        SeriesError: see ``series.open_series``.
    """
    from spectra_app.series import Request, open_series
    from spectra_app.series.run_file import is_long_run, open_run

    if is_run(source):
        if not is_long_run(source):
            return None
        series = open_run(source, quantity)
    else:
        request = Request(
            quantity,
            given.format or "auto",
            given.unit,
            given.timestep_fs,
            given.columns,
            given.key,
            given.unwrap,
            None if given.cell_A is None else parse_numbers(given.cell_A, "--cell-A", CELL_WANTED),
        )
        series = open_series(source, request)
        for note in (f"{source}: {dict(_labels())[series.format]}", *series.notes):
            say(note)
    return dataclasses.replace(
        series,
        temperature_K=settings.temperature_K if settings.temperature_K is not None else series.temperature_K,
        volume_A3=given.volume_A3 if given.volume_A3 is not None else series.volume_A3,
        eps_inf=settings.eps_inf if settings.eps_inf is not None else series.eps_inf,
    )


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


def _labels() -> list[tuple[str, str]]:
    from spectra_app.series import FORMATS

    return list(FORMATS.items())
