"""Client of i-PI's socket protocol (https://docs.ipi-code.org/distributed.html), over TCP or a Unix socket.

Messages are twelve characters: the server asks STATUS and hears NEEDINIT, READY or HAVEDATA; sends INIT, POSDATA and
GETFORCE, and at the end EXIT.  Numbers are 4-byte integers and 8-byte floats in the byte order of the machine.  Where
the server announces ``batch_size`` in INIT, that many structures travel at once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spectra_app.couplings.driver import DriverAnswer
from spectra_app.errors import ConfigError, SimulationError, StoppedError
from spectra_app.interrupts import Interrupts

_HEADER = 12
_RETRY_S = 0.5  # between two attempts to connect
_LOOK_S = 1.0  # how long a silent server is listened to before signals are looked at
_UNIX_PREFIX = "/tmp/ipi_"  # where i-PI puts its Unix sockets unless told otherwise


class Answering(Protocol):
    """What answers: ``driver.Driver``."""

    def __call__(self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> list[DriverAnswer]:
        """Answers for structures."""


@dataclass(frozen=True)
class SocketAddress:
    """Where i-PI listens.

    Attributes:
        host: name of the machine, or of the Unix socket.
        port: TCP port; None: a Unix socket.
        prefix: path before the name of a Unix socket.
    """

    host: str
    port: int | None = None
    prefix: str = _UNIX_PREFIX

    @classmethod
    def parse(cls, text: str, prefix: str = _UNIX_PREFIX) -> SocketAddress:
        """``host:port``, or ``unix:name``.

        Raises:
            ConfigError: anything else.
        """
        host, colon, port = text.rpartition(":")
        if host == "unix" and port:
            return cls(port, None, prefix)
        if colon and host and port.isdigit() and int(port) < 65536:
            return cls(host, int(port))
        raise ConfigError("address of i-PI", got=f"'{text}'", wanted="HOST:PORT, or unix:NAME as <address> of ffsocket")

    def __str__(self) -> str:
        return f"unix socket {self.prefix}{self.host}" if self.port is None else f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """A connection; OSError where nobody listens."""
        if self.port is None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: str | tuple[str, int] = self.prefix + self.host
        else:
            link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            target = (self.host, self.port)
        try:
            link.connect(target)
        except BaseException:
            link.close()
            raise
        return link


class _Gone(Exception):  # noqa: N818 (an event, not an error)
    """The server closed the connection."""


@dataclass(frozen=True)
class DriveResult:
    """What ``drive`` did.

    Attributes:
        n_structures: structures evaluated.
        n_connections: how often it was connected.
        ms_per_structure: wall time per structure, waiting for the server left out, ms; NaN without any.
    """

    n_structures: int
    n_connections: int
    ms_per_structure: float


def drive(
    address: SocketAddress,
    answer: Answering,
    *,
    wait_s: float = 60.0,
    reconnect: bool = True,
    say: Callable[[str], None] | None = None,
    interrupts: Interrupts | None = None,
) -> DriveResult:
    """Serve an i-PI until it says EXIT.

    Args:
        address: of the server.
        answer: what computes.
        wait_s: how long a server is waited for, at the beginning and after it went away without EXIT, s.
        reconnect: wait for the server again where it went away without EXIT.
        say: told what happens.
        interrupts: looked at between messages.

    Raises:
        SimulationError: nobody listens, or the server went away and did not come back.
        StoppedError: a signal.
    """
    session = _Session(answer, interrupts)
    connections = 0
    while True:
        link = _wait_for(address, wait_s, interrupts, connections, session.n_structures)
        connections += 1
        if say is not None:
            say(f"connected to i-PI at {address}")
        with link:
            if session.serve(link):
                break
        lost = f"i-PI at {address} closed the connection after {session.n_structures} structures, without its EXIT"
        if not reconnect:
            raise SimulationError(lost, todo="See what i-PI says; with --reconnect it is waited for")
        if say is not None:
            say(f"{lost}; waiting for it for {wait_s:g} s")
    n, busy = session.n_structures, session.busy_s
    return DriveResult(n, connections, 1e3 * busy / n if n else float("nan"))


def _wait_for(
    address: SocketAddress, wait_s: float, interrupts: Interrupts | None, connections: int, n_structures: int
) -> socket.socket:
    end = time.monotonic() + wait_s
    while True:
        try:
            return address.connect()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        if time.monotonic() >= end:
            again = f" again, after {n_structures} structures" if connections else ""
            raise SimulationError(
                f"i-PI at {address}",
                got=f"{reason} for {wait_s:g} s",
                wanted=f"a server that listens{again}",
                todo="Start i-PI first, and compare address, port and mode with its <ffsocket>",
            )
        _stop_if_asked(interrupts, n_structures)
        time.sleep(_RETRY_S)


def _stop_if_asked(interrupts: Interrupts | None, n_structures: int) -> None:
    if interrupts is not None and interrupts.requested:
        raise StoppedError(
            f"driver stopped after {n_structures} structures ({interrupts.reason})",
            resubmit=interrupts.resubmit,
            todo="Start it again: i-PI sends the structure to the next driver",
        )


class _Session:
    """The protocol, and what is counted over all connections."""

    def __init__(self, answer: Answering, interrupts: Interrupts | None) -> None:
        self._answer, self._interrupts = answer, interrupts
        self.n_structures, self.busy_s = 0, 0.0

    def serve(self, link: socket.socket) -> bool:
        """Answer one connection; True where it ended with EXIT, False where it was closed."""
        link.settimeout(_LOOK_S)
        ready, batch = False, 1
        answers: list[DriverAnswer] = []
        try:
            while True:
                message = self._receive(link, _HEADER).decode("ascii", errors="replace").strip()
                if message == "STATUS":
                    self._send(link, "NEEDINIT" if not ready else "HAVEDATA" if answers else "READY")
                elif message == "INIT":
                    batch, ready = self._initialize(link), True
                elif message == "POSDATA":
                    answers = self._evaluate(*self._structures(link, batch))
                elif message == "GETFORCE":
                    self._send(link, "FORCEREADY", _packed(answers))
                    answers = []
                elif message == "EXIT":
                    return True
                else:
                    raise SimulationError("message of i-PI", got=repr(message), wanted="STATUS, INIT, POSDATA, ...")
        except (_Gone, ConnectionError):
            return False

    def _initialize(self, link: socket.socket) -> int:
        """Read INIT; the size of batches."""
        self._integer(link)  # which bead: any driver serves any
        words = self._receive(link, self._integer(link)).decode("utf-8", errors="replace").split(",")
        pairs = dict(word.split(":", 1) for word in words if ":" in word)
        found = next((value.strip() for name, value in pairs.items() if name.strip() == "batch_size"), "1")
        return int(found) if found.isdigit() and int(found) > 0 else 1

    def _structures(self, link: socket.socket, batch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Cells and positions of POSDATA; of a batch the number of atoms comes first."""
        if batch == 1:
            cells = [self._floats(link, 18)[:9].reshape(3, 3)]
            n_atoms = self._integer(link)
        else:
            n_atoms = self._integer(link)
            cells = list(self._floats(link, 18 * batch).reshape(batch, 2, 3, 3)[:, 0])
        return cells, list(self._floats(link, 3 * n_atoms * batch).reshape(batch, n_atoms, 3))

    def _evaluate(self, cells: list[np.ndarray], positions: list[np.ndarray]) -> list[DriverAnswer]:
        began = time.perf_counter()
        answers = self._answer(cells, positions)
        self.n_structures += len(answers)
        self.busy_s += time.perf_counter() - began
        return answers

    def _send(self, link: socket.socket, message: str, content: bytes = b"") -> None:
        link.settimeout(None)
        link.sendall(message.ljust(_HEADER).encode("ascii") + content)
        link.settimeout(_LOOK_S)

    def _receive(self, link: socket.socket, n_bytes: int) -> bytes:
        pieces, left = [], n_bytes
        while left:
            try:
                piece = link.recv(min(left, 2**20))
            except TimeoutError:
                _stop_if_asked(self._interrupts, self.n_structures)
                continue
            if not piece:
                raise _Gone
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _integer(self, link: socket.socket) -> int:
        return int(np.frombuffer(self._receive(link, 4), dtype=np.int32)[0])

    def _floats(self, link: socket.socket, count: int) -> np.ndarray:
        return np.frombuffer(self._receive(link, 8 * count), dtype=np.float64).copy()


def _packed(answers: list[DriverAnswer]) -> bytes:
    """Potentials, number of atoms, forces, virials, then each one's extras behind their length."""
    n_atoms = np.int32(len(answers[0].forces))
    numbers = [
        np.array([answer.potential_hartree for answer in answers], dtype=np.float64).tobytes(),
        n_atoms.tobytes(),
        np.stack([answer.forces for answer in answers]).astype(np.float64).tobytes(),
        np.stack([answer.virial_hartree for answer in answers]).astype(np.float64).tobytes(),
    ]
    texts = [answer.extras.encode("utf-8") for answer in answers]
    return b"".join([*numbers, *(part for text in texts for part in (np.int32(len(text)).tobytes(), text))])
