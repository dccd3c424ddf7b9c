"""Work spread over processes, each with a calculator, a core and a folder of its own; or done in this process.

A process that dies (a program that crashes takes its Python with it) costs the frame that it had: it is counted as
failed, and another process takes its place.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path

from spectra_app import errors
from spectra_app.errors import ModelError, WorkerError
from spectra_app.labels.sources import Given, Source
from spectra_app.labels.tasks import Event, Work, perform

WORKER = "spectra_app.labels.labeller"
LOG_FILE = "output.log"  # what the calculator of a process prints
_LOOK_S = 0.2  # between two looks at signals and the clock
_PATIENCE_S = 3.0  # with a process that is asked to end
_TOO_OFTEN = 3  # processes that die in a row without a result

Stop = Callable[[], None]
"""Called between events; raises where the work is to be stopped."""


class Alone:
    """Works in this process, with a calculator that is given.

    Args:
        source: of the calculator.
    """

    def __init__(self, source: Given) -> None:
        self._calculator = source.make()

    def follow(self, work: Sequence[Work], stop: Stop, timeout_s: float | None = None) -> Iterator[Event]:
        """As ``Crew.follow``; nothing is given up after a time."""
        for number, piece in enumerate(work):
            stop()
            yield from perform(number, piece, self._calculator)

    def close(self) -> None:
        """Nothing to be ended."""


@dataclass
class _Hand:
    """One process."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    folder: Path
    number: int | None = None  # of the piece that it has
    began: float | None = None  # None: its calculator is still being made

    @property
    def seconds(self) -> float:
        """Since it began with its piece, s."""
        return 0.0 if self.began is None else time.monotonic() - self.began


class Crew:
    """Processes that work; they start when there is work for them.

    Args:
        source: of the calculators.
        n_processes: at most.
        folder: in which every process gets a folder of its own.
    """

    def __init__(self, source: Source, n_processes: int, folder: Path) -> None:
        self._source, self._n, self._folder = source, n_processes, folder
        self._hands: list[_Hand] = []

    def close(self) -> None:
        """End all processes, and what they started."""
        for hand in self._hands:
            _end(hand)
        self._hands = []

    def follow(self, work: Sequence[Work], stop: Stop, timeout_s: float | None = None) -> Iterator[Event]:
        """Events of pieces of work, in the order in which they happen.

        Args:
            work: the pieces.
            stop: looked at between events.
            timeout_s: after which a piece is given up, s.

        Raises:
            ModelError: no calculator can be made.
            WorkerError: processes die again and again without a result.
        """
        waiting, dead_in_a_row = list(range(len(work)))[::-1], 0
        while len(self._hands) < min(self._n, len(work)):
            self._hands.append(self._start(len(self._hands)))
        while waiting or any(hand.number is not None for hand in self._hands):
            for hand in self._hands:
                if hand.number is None and waiting:
                    hand.number, hand.began = waiting.pop(), None
                    with contextlib.suppress(OSError):  # a dead process is noticed below
                        hand.pipe.send_bytes(pickle.dumps((hand.number, work[hand.number])))
            stop()
            busy = [hand for hand in self._hands if hand.number is not None]
            ready = connection.wait([hand.pipe for hand in busy], _LOOK_S)
            for hand in busy:
                if hand.pipe not in ready:
                    if timeout_s is not None and hand.seconds > timeout_s:
                        yield self._replace(hand, f"no result after {timeout_s / 60.0:.3g} minutes")
                    continue
                try:
                    event: Event = pickle.loads(hand.pipe.recv_bytes())
                except (EOFError, OSError):
                    dead_in_a_row += 1
                    event = self._replace(hand, f"its process died ({_cause(hand)})")
                    if dead_in_a_row > _TOO_OFTEN * len(self._hands):
                        raise WorkerError(
                            "processes that label",
                            got=f"{dead_in_a_row} that died in a row, the last one: {event.content}",
                            wanted="results",
                            todo="Fewer --processes, if memory ran out; try the calculator on one frame in Python",
                        ) from None
                    yield event
                    continue
                if event.kind == "unable":
                    kind, text = event.content
                    raise getattr(errors, kind, ModelError)(text)
                if event.kind == "begun":
                    hand.began = time.monotonic()
                    continue
                dead_in_a_row = 0
                if event.kind != "result":
                    hand.number = None
                yield event

    def _replace(self, hand: _Hand, reason: str) -> Event:
        """Another process for one that is dead or hangs."""
        assert hand.number is not None
        event = Event(hand.number, "failed", reason, hand.seconds)
        _end(hand, patience_s=0.5)
        place = self._hands.index(hand)
        self._hands[place] = self._start(place)
        return event

    def _start(self, place: int) -> _Hand:
        ours, theirs = connection.Pipe()
        folder = self._folder / f"process_{place}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = [os.path.abspath(path or os.curdir) for path in sys.path]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        with (folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; and what it starts is ended with it
            )
        theirs.close()
        hand = _Hand(process, ours, folder)
        with contextlib.suppress(OSError):
            ours.send_bytes(pickle.dumps((self._source, str(folder.resolve()))))
        return hand


def _cause(hand: _Hand) -> str:
    """Why a process ended, with the last line that it printed."""
    try:
        code: int | None = hand.process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        code = None
    if code is not None and code < 0:
        try:
            cause = signal.Signals(-code).name
        except ValueError:
            cause = f"signal {-code}"
        cause += ", out of memory?" if -code == signal.SIGKILL else ""
    else:
        cause = f"exit code {code}"
    with contextlib.suppress(OSError):
        lines = (hand.folder / LOG_FILE).read_bytes()[-2000:].decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last:
            cause += f"; {last[:120]}"
    return cause


def _end(hand: _Hand, patience_s: float = _PATIENCE_S) -> None:
    """End a process and all that it started."""
    hand.pipe.close()
    if hand.number is not None:  # an idle one ends by itself, when nobody listens any more
        _signal(hand, signal.SIGTERM)
    try:
        hand.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        _signal(hand, signal.SIGKILL)
        hand.process.wait()


def _signal(hand: _Hand, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(hand.process.pid, number)
