"""The uniform external field of a run: static, a table, or a function of time.

The time of a field is that of the run file: 0 where recording begins.  During equilibration the field keeps its value
at time 0, so that a run starts in equilibrium with it: a pulse that starts at zero meets an undisturbed system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from spectra_app.config import MDSettings
from spectra_app.errors import ConfigError, SimulationError

FieldFunction = Callable[[float], "Sequence[float] | np.ndarray | Tensor"]
"""time, fs -> field [xyz], V/A; the same number for the same time, always."""

PROBES = 1000  # times at which a function of a restart is compared with that of the start
TIME_SLACK_FS = 1e-6  # a table that ends at the last step may be short of it by round-off


class ExternalField(Protocol):
    """What a run asks of a field."""

    @property
    def varies(self) -> bool:
        """Whether it changes in time."""

    @property
    def description(self) -> dict[str, Any]:
        """What it is, in values that JSON can hold, for the metadata of a run."""

    def at(self, time_fs: float) -> np.ndarray:
        """Field [xyz], V/A, at a time of the run file, fs."""

    def identity(self, end_fs: float) -> dict[str, Any]:
        """Plain values by which a restart knows the field again; ``end_fs`` is the end of the run."""


@dataclass(frozen=True)
class StaticField:
    """A constant field.

    Attributes:
        value_V_per_A: [xyz], V/A.
    """

    value_V_per_A: tuple[float, float, float]
    varies = False

    @property
    def description(self) -> dict[str, Any]:
        """See ``ExternalField``."""
        return {"kind": "static", "value_V_per_A": list(self.value_V_per_A)}

    def at(self, time_fs: float) -> np.ndarray:
        """The same at any time."""
        return np.array(self.value_V_per_A)

    def identity(self, end_fs: float) -> dict[str, Any]:
        """See ``ExternalField``."""
        return {"kind": "static", "values": torch.tensor([self.value_V_per_A], dtype=torch.float64)}


@dataclass(frozen=True, eq=False)
class TableField:
    """A field given at some times, linear between them; zero before a first and after a last row of zeros.

    Attributes:
        times_fs: [row], fs, rising.
        values_V_per_A: [row, xyz], V/A.
        name: where it comes from, for messages.
    """

    times_fs: np.ndarray
    values_V_per_A: np.ndarray
    name: str = "table"
    varies = True

    @property
    def description(self) -> dict[str, Any]:
        """See ``ExternalField``."""
        rows = np.ascontiguousarray(np.concatenate([self.times_fs[:, None], self.values_V_per_A], axis=1))
        return {"kind": "table", "name": self.name, "sha256": hashlib.sha256(rows.tobytes()).hexdigest()}

    def at(self, time_fs: float) -> np.ndarray:
        """See ``ExternalField``; ``check_range`` has made sure that the rows suffice."""
        return np.array([np.interp(time_fs, self.times_fs, column) for column in self.values_V_per_A.T])

    def identity(self, end_fs: float) -> dict[str, Any]:
        """See ``ExternalField``."""
        rows = np.concatenate([self.times_fs[:, None], self.values_V_per_A], axis=1)
        return {"kind": "table", "values": torch.from_numpy(rows)}

    def check_range(self, end_fs: float) -> None:
        """Refuse a table that does not say what happens from 0 to the end of the run.

        Raises:
            ConfigError: it begins after 0 or ends before ``end_fs`` with a field that is not zero.
        """
        first, last = float(self.times_fs[0]), float(self.times_fs[-1])
        if first > TIME_SLACK_FS and self.values_V_per_A[0].any():
            raise ConfigError(
                f"field table {self.name}",
                got=f"first time {first:g} fs, with a field",
                wanted="0 fs, or a first row without field",
                todo="Time 0 is where recording begins",
            )
        if last < end_fs - TIME_SLACK_FS and self.values_V_per_A[-1].any():
            raise ConfigError(
                f"field table {self.name}",
                got=f"last time {last:g} fs, with a field",
                wanted=f"{end_fs:g} fs, the end of the run, or a last row without field",
            )


@dataclass(frozen=True)
class FunctionField:
    """A field as a function of time.

    Attributes:
        function: time, fs -> [xyz], V/A.
    """

    function: FieldFunction
    varies = True

    @property
    def description(self) -> dict[str, Any]:
        """See ``ExternalField``."""
        return {"kind": "function", "name": self.name}

    @property
    def name(self) -> str:
        """What the function is called."""
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def at(self, time_fs: float) -> np.ndarray:
        """See ``ExternalField``.

        Raises:
            ConfigError: the function gives something else than three finite numbers.
        """
        value = np.asarray(self.function(time_fs), dtype=np.float64)
        if value.shape != (3,) or not np.isfinite(value).all():
            raise ConfigError(
                f"field function {self.name} at {time_fs:g} fs",
                got=f"{value.tolist()}",
                wanted="three finite numbers, V/A",
            )
        return value

    def identity(self, end_fs: float) -> dict[str, Any]:
        """See ``ExternalField``; a function itself cannot be stored, its values at many times stand for it."""
        times = np.linspace(0.0, end_fs, PROBES)
        return {"kind": "function", "name": self.name, "values": torch.from_numpy(self._probe(times))}

    def _probe(self, times: np.ndarray) -> np.ndarray:
        return np.array([[time, *self.at(float(time))] for time in times])


def make_field(settings: MDSettings, function: FieldFunction | None = None) -> ExternalField | None:
    """The field of a run, checked.

    Args:
        settings: ``field_V_per_A`` or ``field_table``.
        function: time, fs -> [xyz], V/A.

    Raises:
        ConfigError: more than one of the three, a damaged table, or one too short for the run.
    """
    given = {
        "md.field_V_per_A": settings.field_V_per_A,
        "md.field_table": settings.field_table,
        "a function of time": function,
    }
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigError("external field", got=" and ".join(names), wanted="one of them", todo="Add them up in one")
    if function is not None:
        field = FunctionField(function)
        field.at(0.0)
        return field
    if settings.field_table is not None:
        table = read_field_table(settings.field_table)
        table.check_range(settings.steps * settings.timestep_fs)
        return table
    return None if settings.field_V_per_A is None else StaticField(settings.field_V_per_A)


def read_field_table(path: Path) -> TableField:
    """Read time, fs, and F_x, F_y, F_z, V/A, in four columns separated by commas or blanks.

    Text after ``#`` and one header line before the numbers are skipped.

    Raises:
        ConfigError: no such file, a row that is not four finite numbers, fewer than two rows, times that do not rise.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"field table {path}", got=type(error).__name__, wanted="a readable text file") from None
    rows: list[list[float]] = []
    header = False
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            if not rows and not header:
                header = True
                continue
            row = []
        if len(row) != 4 or not np.isfinite(row).all():
            raise ConfigError(
                f"field table {path}, line {number}",
                got=repr(line.strip()[:60]),
                wanted="four numbers: time in fs; F_x, F_y, F_z in V/A",
            )
        if rows and row[0] <= rows[-1][0]:
            raise ConfigError(
                f"field table {path}, line {number}",
                got=f"{row[0]:g} fs after {rows[-1][0]:g} fs",
                wanted="rising times",
            )
        rows.append(row)
    if len(rows) < 2:
        raise ConfigError(f"field table {path}", got=f"{len(rows)} rows", wanted="at least two")
    table = np.array(rows)
    return TableField(table[:, 0], table[:, 1:], str(path))


def check_same_field(field: ExternalField | None, then: dict[str, Any] | None) -> None:
    """Refuse a restart with another field than the one with which the run began.

    Args:
        field: of this call.
        then: ``identity`` at the start, from the checkpoint; None without field.

    Raises:
        SimulationError: another field, or a function that was not given again.
    """
    if then is None or field is None:
        if then is None and field is None:
            return
        was = "no field" if then is None else _described(then)
        todo = None
        if then is not None and then["kind"] == "function":
            todo = "A function cannot be stored in a file: give the same one again, Simulation(..., field=...)"
        got = "none" if field is None else "a field"
        raise SimulationError("restart, external field", got=got, wanted=f"{was} as when the run began", todo=todo)
    stored: Tensor = then["values"]
    if isinstance(field, FunctionField) and then["kind"] == "function":
        now = torch.from_numpy(field._probe(stored[:, 0].numpy()))
    else:
        now = field.identity(0.0)["values"]
    if now.shape == stored.shape and torch.equal(now, stored):
        return
    got = "other values"
    if now.shape == stored.shape and isinstance(field, FunctionField):
        row = int((now != stored).any(dim=1).to(torch.int64).argmax())
        got = f"other values, first at {float(stored[row, 0]):g} fs"
    raise SimulationError("restart, external field", got=got, wanted=f"{_described(then)} with which the run began")


def _described(identity: dict[str, Any]) -> str:
    return f"the function {identity['name']}" if identity["kind"] == "function" else f"the {identity['kind']} field"


class FieldSchedule:
    """A field along the steps of a run, equilibration included.

    Args:
        field: the field.
        timestep_fs: h, fs.
        equilibration_steps: gives the steps before time 0, at most, as far as it is known.
    """

    def __init__(self, field: ExternalField, timestep_fs: float, equilibration_steps: Callable[[], int]) -> None:
        self.field = field
        self._timestep_fs = timestep_fs
        self._equilibration_steps = equilibration_steps

    def at_step(self, step: int) -> np.ndarray:
        """Field [xyz], V/A, at a step counted from the very start."""
        return self.at_recorded(max(step - self._equilibration_steps(), 0))

    def at_recorded(self, step: int) -> np.ndarray:
        """Field [xyz], V/A, at a step counted from where recording began."""
        return self.field.at(step * self._timestep_fs)
