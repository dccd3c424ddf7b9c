"""Signals and the end of the allowed time, as a flag that long loops look at between two steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from spectra_app.errors import ConfigError

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGUSR1 into a flag; a second one acts as usual.

    Signals reach the main thread only; elsewhere the time alone counts.  Queues send SIGTERM, or SIGUSR1 where they are
    asked to (``sbatch --signal=USR1@120``), some time before they kill.

    Args:
        max_minutes: wall time after which to stop, min; None: no end.

    Attributes:
        reason: what came, in words; None so far.
        resubmit: whether the job is to be submitted again: a queue or the time ended it, not a person.

    Raises:
        ConfigError: ``max_minutes`` not positive.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        if max_minutes is not None and not max_minutes > 0.0:
            raise ConfigError("max_minutes", got=max_minutes, wanted="a positive number of minutes")
        self._minutes = max_minutes
        self._end = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
        self._previous: dict[int, Any] = {}
        self.reason: str | None = None
        self.resubmit = False

    @property
    def requested(self) -> bool:
        """Whether to save and stop now."""
        if self.reason is None and self._end is not None and time.monotonic() >= self._end:
            self.reason, self.resubmit = f"the {self._minutes:g} minutes are over", True
        return self.reason is not None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._flag) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _flag(self, number: int, frame: FrameType | None) -> None:
        self.resubmit = number != signal.SIGINT
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
