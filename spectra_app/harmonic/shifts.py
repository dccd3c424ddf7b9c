"""What dynamics does to every normal mode: frequency, width and temperature of its own line, as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass


@dataclass(frozen=True)
class ModeShift:
    """A mode, or a degenerate set of them, in dynamics; None where no line stands out of the noise.

    Attributes:
        first: number of the first mode of the set, from 1.
        last: of the last.
        representation: its name, or None.
        harmonic_per_cm: cm^-1.
        md_per_cm: top of its line in the dynamics, cm^-1.
        md_error_per_cm: standard error, cm^-1.
        width_per_cm: full width at half maximum, cm^-1; that of the window is taken off to first order: of lines that
            are narrower than the resolution a bound from above.
        width_error_per_cm: standard error, cm^-1.
        resolution_per_cm: of its spectrum, cm^-1: the wanted one, or the first coarser one that shows the line.
        temperature_K: twice the kinetic energy of a mode over kB, K: that of the run in equilibrium.
    """

    first: int
    last: int
    representation: str | None
    harmonic_per_cm: float
    md_per_cm: float | None
    md_error_per_cm: float | None
    width_per_cm: float | None
    width_error_per_cm: float | None
    resolution_per_cm: float
    temperature_K: float

    @property
    def shift_per_cm(self) -> float | None:
        """Dynamics less harmonic, cm^-1."""
        return None if self.md_per_cm is None else self.md_per_cm - self.harmonic_per_cm


@dataclass(frozen=True)
class ModeShifts:
    """All modes of a cell in the dynamics of a crystal.

    Attributes:
        rows: by rising harmonic frequency; imaginary modes are left out.
        temperature_K: of the run, K.
        n_cells: cells in the run.
        volume_ratio: volume of a cell in the run over that of the modes.
    """

    rows: tuple[ModeShift, ...]
    temperature_K: float
    n_cells: int
    volume_ratio: float

    @property
    def sentence(self) -> str:
        """What the shifts are, in one line."""
        known = [row.shift_per_cm for row in self.rows if row.shift_per_cm is not None]
        if not known:
            return f"of {len(self.rows)} lines none stands out of the noise: run for longer"
        change = 100.0 * (self.volume_ratio - 1.0)
        cell = "at the same volume" if abs(change) < 0.01 else f"with a volume {change:+.2f} % larger"
        return (
            f"{len(known)} of {len(self.rows)} lines at {self.temperature_K:.0f} K, {cell}: shifted by "
            f"{min(known):+.1f} to {max(known):+.1f} cm^-1, {sum(known) / len(known):+.1f} on average"
        )


def shifts_csv(shifts: ModeShifts) -> str:
    """One line per set of modes; ``#`` lines before say what it is."""
    stream = io.StringIO()
    stream.write(f"# Normal modes in dynamics of {shifts.n_cells} cells, lines of dQ/dt; {shifts.sentence}\n")
    stream.write("# widths: the resolution is taken off to first order, less is a bound from above\n")
    names = ["harmonic_per_cm", "md_per_cm", "md_error_per_cm", "shift_per_cm", "width_per_cm", "width_error_per_cm"]
    names += ["resolution_per_cm", "temperature_K"]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["first_mode", "last_mode", "representation", *names])
    for row in shifts.rows:
        numbers = [getattr(row, name) for name in names]
        cells = ["" if number is None else f"{number:.6g}" for number in numbers]
        writer.writerow([row.first, row.last, row.representation or "", *cells])
    return stream.getvalue()
