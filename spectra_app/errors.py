"""One exception tree, one form of message: what, got, wanted, next step -- on one line."""

from __future__ import annotations


class SpectraAppError(Exception):
    """Root of every error raised on purpose; the command line prints it as one line and exits with ``exit_code``.

    Args:
        what: The thing that is wrong, e.g. ``"md.timestep_fs"``.
        got: What was found.
        wanted: What would have been right.
        todo: What the user can do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, got: object = None, wanted: object = None, todo: str | None = None) -> None:
        details = [f"{word} {value}" for word, value in (("got", got), ("wanted", wanted)) if value is not None]
        message = what if not details else f"{what}: {', '.join(details)}"
        if todo:
            message = f"{message}. {todo}"
        super().__init__(" ".join(message.split()))


class StoppedError(SpectraAppError):
    """Work was stopped on request, after everything that is needed to go on was saved.

    The exit code is 130 after Ctrl-C, as in shells, and 75 (EX_TEMPFAIL of sysexits.h) where a queue or the allowed
    time ended it: submit the job again.
    """

    def __init__(self, what: str, *, resubmit: bool, todo: str | None = None) -> None:
        super().__init__(what, todo=todo)
        self.exit_code = 75 if resubmit else 130


class ConfigError(SpectraAppError):
    """A setting is unknown, missing or out of range."""

    exit_code = 2


class StructureError(SpectraAppError):
    """A structure cannot be treated: unknown element, overlapping atoms, cell too small, NaN."""

    exit_code = 3


class DatasetError(SpectraAppError):
    """Training or evaluation data is damaged, incomplete or in the wrong unit."""

    exit_code = 3


class ModelError(SpectraAppError):
    """A model file is missing, damaged, of an unknown version, or lacks what is asked of it."""

    exit_code = 4


class TrajectoryError(SpectraAppError):
    """A trajectory or run file is missing, truncated, or lacks what is asked of it."""

    exit_code = 5


class SeriesError(SpectraAppError):
    """A time series cannot become a spectrum: too short, uneven time step, branch jump, wrong unit."""

    exit_code = 6


class SimulationError(SpectraAppError):
    """Molecular dynamics went wrong: atoms flew apart, NaN energy, restart does not match."""

    exit_code = 7


class WorkerError(SpectraAppError):
    """A process that makes the steps of some replicas ended, or could not be started."""

    exit_code = 7


class ConvergenceError(SpectraAppError):
    """An iteration found no solution: polarization catastrophe, or too many steps."""

    exit_code = 8


class CalculatorError(ConvergenceError):
    """A calculator of another program failed at a structure, or gave no numbers."""


class MissingExtraError(SpectraAppError):
    """An optional package is needed and not installed."""

    exit_code = 9

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"optional package '{package}'",
            got="not installed",
            wanted=f"the extra '{extra}'",
            todo=f"Run: pip install 'spectra-app[{extra}]'",
        )
