"""The socket client against a server that follows the protocol of i-PI, without i-PI."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from spectra_app.couplings.driver import Driver
from spectra_app.couplings.ipi_socket import DriveResult, SocketAddress, drive
from spectra_app.errors import ConfigError, SimulationError, StoppedError, StructureError
from spectra_app.interrupts import Interrupts
from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV
from tests.toy_potential import ToyPotential, dumbbells


class Server:
    """One listening i-PI; ``sessions`` are run one after the other, each with a new connection."""

    def __init__(self, *sessions: Callable[[Server], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = SocketAddress("127.0.0.1", self._listener.getsockname()[1])
        self.link = socket.socket()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(sessions,), daemon=True)
        self._thread.start()

    def _run(self, sessions: tuple[Callable[[Server], None], ...]) -> None:
        try:
            for session in sessions:
                self.link, _ = self._listener.accept()
                self.link.settimeout(20.0)
                session(self)
                self.link.close()
        except BaseException as error:
            self.error = error
        finally:
            self.link.close()  # a client that waits shall hear of it
            self._listener.close()

    def finish(self) -> None:
        self._thread.join(20.0)
        if self.error is not None:
            raise self.error

    def send(self, message: str, content: bytes = b"") -> None:
        self.link.sendall(message.ljust(12).encode() + content)

    def receive(self, n_bytes: int) -> bytes:
        found = b""
        while len(found) < n_bytes:
            piece = self.link.recv(n_bytes - len(found))
            assert piece, "the client went away"
            found += piece
        return found

    def expect(self, message: str) -> None:
        assert self.receive(12).decode().strip() == message

    def begin(self, parameters: str = "pes:water") -> None:
        self.send("STATUS")
        self.expect("NEEDINIT")
        self.send("INIT", struct.pack("=ii", 0, len(parameters)) + parameters.encode())
        self.send("STATUS")
        self.expect("READY")

    def forces(
        self, n_atoms: int, batch: int = 1
    ) -> list[tuple[float, np.ndarray, np.ndarray, dict[str, list[float]]]]:
        self.send("STATUS")
        self.expect("HAVEDATA")
        self.send("GETFORCE")
        self.expect("FORCEREADY")
        energies = np.frombuffer(self.receive(8 * batch))
        assert struct.unpack("=i", self.receive(4)) == (n_atoms,)
        forces = np.frombuffer(self.receive(24 * n_atoms * batch)).reshape(batch, n_atoms, 3)
        virials = np.frombuffer(self.receive(72 * batch)).reshape(batch, 3, 3)
        extras = [json.loads(self.receive(*struct.unpack("=i", self.receive(4)))) for _ in range(batch)]
        return list(zip(energies, forces, virials, extras, strict=True))


ATOMS = dumbbells()
ATOMS.set_cell([[8.0, 0.0, 0.0], [0.6, 8.8, 0.0], [-0.4, 0.9, 7.6]])


def geometry(shift: float = 0.0, cell: np.ndarray | None = None) -> tuple[bytes, bytes]:
    """Cell with its inverse (columns are vectors), and positions, bohr."""
    h = (ATOMS.cell.array if cell is None else cell).T / BOHR_TO_ANGSTROM
    return h.tobytes() + np.linalg.inv(h).tobytes(), ((ATOMS.positions + shift) / BOHR_TO_ANGSTROM).tobytes()


def posdata(shift: float = 0.0) -> bytes:
    h, positions = geometry(shift)
    return h + struct.pack("=i", len(ATOMS)) + positions


def driver() -> Driver:
    return Driver(ToyPotential(), ATOMS, engine="eager")


def check_answer(answer: tuple[float, np.ndarray, np.ndarray, dict[str, list[float]]]) -> None:
    atoms = ATOMS.copy()
    atoms.calc = SpectraCalculator(ToyPotential())
    energy, forces, virial, extras = answer
    assert energy * HARTREE_TO_EV == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(forces * HARTREE_TO_EV / BOHR_TO_ANGSTROM, atoms.get_forces(), atol=1e-11)
    stress = -virial * HARTREE_TO_EV / atoms.get_volume()
    np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-12)
    np.testing.assert_allclose(np.array(extras["dipole"]) * BOHR_TO_ANGSTROM, atoms.get_dipole_moment(), rtol=1e-10)
    in_bohr3 = np.array(extras["polarizability"]).reshape(3, 3)
    volume = in_bohr3 * BOHR_TO_ANGSTROM**3  # a0^3 -> A^3 = k_e e^2 A^2/eV
    np.testing.assert_allclose(volume, 14.3996454687 * atoms.calc.results["polarizability"], rtol=1e-8)


def test_energy_forces_virial_and_extras_arrive_in_atomic_units() -> None:
    def session(server: Server) -> None:
        server.begin()
        for _ in range(2):
            server.send("POSDATA", posdata())
            check_answer(server.forces(16)[0])
        server.send("EXIT")

    server = Server(session)
    said: list[str] = []
    result = drive(server.address, driver(), say=said.append, wait_s=0.0)
    server.finish()
    assert (result.n_structures, result.n_connections) == (2, 1)
    assert result.ms_per_structure > 0.0
    assert said == [f"connected to i-PI at {server.address}"]


def test_beads_of_a_batch_are_one_call_of_the_model() -> None:
    model = ToyPotential()

    def session(server: Server) -> None:
        server.begin("verbosity:high, batch_size:3")
        cells, positions = zip(*(geometry(shift) for shift in (0.0, 0.3, 1.7)), strict=True)
        server.send("POSDATA", struct.pack("=i", 16) + b"".join(cells) + b"".join(positions))
        answers = server.forces(16, batch=3)
        check_answer(answers[0])
        assert answers[1][0] == pytest.approx(answers[0][0], rel=1e-9)  # translations change nothing
        server.send("EXIT")

    server = Server(session)
    result = drive(server.address, Driver(model, ATOMS, engine="eager"), reconnect=False)
    server.finish()
    assert result.n_structures == 3
    assert model.n_calls == 1


def test_unix_socket_in_pieces(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "ipi_water"))
    listener.listen()

    def serve() -> None:
        link, _ = listener.accept()
        message = b"STATUS".ljust(12)
        link.sendall(message[:5])
        link.sendall(message[5:])
        assert link.recv(12) == b"NEEDINIT".ljust(12)
        link.sendall(b"EXIT".ljust(12))
        link.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    result = drive(SocketAddress.parse("unix:water", prefix=str(tmp_path / "ipi_")), driver())
    thread.join()
    listener.close()
    assert result == DriveResult(0, 1, pytest.approx(float("nan"), nan_ok=True))


def test_server_that_goes_away_is_waited_for_and_served_again() -> None:
    def cut(server: Server) -> None:
        server.begin()
        server.send("POSDATA", posdata())
        server.forces(16)
        server.send("POSDATA", posdata()[:100])  # and then the machine is switched off

    def again(server: Server) -> None:
        server.begin()
        server.send("POSDATA", posdata())
        check_answer(server.forces(16)[0])
        server.send("EXIT")

    server = Server(cut, again)
    said: list[str] = []
    result = drive(server.address, driver(), wait_s=5.0, say=said.append)
    server.finish()
    assert (result.n_structures, result.n_connections) == (2, 2)
    assert "closed the connection after 1 structures, without its EXIT; waiting for it for 5 s" in said[1]


def test_server_that_stays_away_is_one_line() -> None:
    def cut(server: Server) -> None:
        server.begin()

    server = Server(cut)
    with pytest.raises(SimulationError, match=r"closed the connection after 0 structures, without its EXIT. See what"):
        drive(server.address, driver(), reconnect=False)
    server.finish()
    with pytest.raises(
        SimulationError, match=r"i-PI at 127.0.0.1:\d+: got connection refused for 0 s, wanted a server"
    ):
        drive(server.address, driver(), wait_s=0.0)
    with pytest.raises(SimulationError, match="i-PI at unix socket /tmp/ipi_nowhere: got no such file or directory"):
        drive(SocketAddress("nowhere"), driver(), wait_s=0.0)


def test_wrong_messages_and_structures_are_one_line() -> None:
    def gibberish(server: Server) -> None:
        server.send("HELLO")

    server = Server(gibberish)
    with pytest.raises(SimulationError, match="message of i-PI: got 'HELLO', wanted STATUS"):
        drive(server.address, driver())
    server.finish()

    def fewer(server: Server) -> None:
        server.begin()
        server.send("POSDATA", geometry()[0] + struct.pack("=i", 3) + bytes(72))

    server = Server(fewer)
    with pytest.raises(StructureError, match="atoms sent by i-PI: got 3, wanted 16, as in the structure"):
        drive(server.address, driver())
    server.finish()


@pytest.fixture
def silent() -> Iterator[Server]:
    release = threading.Event()

    def session(server: Server) -> None:
        server.begin()
        release.wait(20.0)

    server = Server(session)
    yield server
    release.set()
    server.finish()


def test_time_that_is_over_stops_a_driver_that_waits(silent: Server) -> None:
    with Interrupts(0.02) as interrupts, pytest.raises(StoppedError, match="driver stopped after 0 structures") as stop:
        drive(silent.address, driver(), interrupts=interrupts)
    assert stop.value.exit_code == 75


def test_open_structures_have_no_virial_whatever_cell_is_sent() -> None:
    water = molecule("H2O")
    water = water[[0, 1]]
    answer = Driver(ToyPotential(), water, engine="eager")([np.eye(3) * 200.0], [water.positions / BOHR_TO_ANGSTROM])[0]
    assert np.abs(answer.forces).max() > 0.0
    np.testing.assert_array_equal(answer.virial_hartree, 0.0)


def test_extras_may_be_left_out_and_are_checked() -> None:
    cell, positions = [ATOMS.cell.array.T / BOHR_TO_ANGSTROM], [ATOMS.positions / BOHR_TO_ANGSTROM]
    assert Driver(ToyPotential(), ATOMS, [], engine="eager")(cell, positions)[0].extras == ""
    found = json.loads(Driver(ToyPotential(), ATOMS, ["dipole"], engine="eager")(cell, positions)[0].extras)
    assert list(found) == ["dipole"]
    with pytest.raises(ConfigError, match="extras: got energy, wanted some of dipole, polarizability"):
        Driver(ToyPotential(), ATOMS, ["energy"])
    nitrogen = ATOMS.copy()
    nitrogen.numbers[0] = 7
    with pytest.raises(StructureError, match="element N"):
        Driver(ToyPotential(), nitrogen)


@pytest.mark.parametrize("text", ["water", "unix:", ":31415", "host:port", "host:99999"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted HOST:PORT, or unix:NAME"):
        SocketAddress.parse(text)
    assert SocketAddress.parse("localhost:31415") == SocketAddress("localhost", 31415)


def test_command_needs_a_structure_and_a_model_and_says_where_the_direct_driver_is(
    cli: Callable[..., object], tiny_model: Path
) -> None:
    assert "structure: got none, wanted the file that i-PI starts from" in cli("drive").err
    start = tiny_model / "start.extxyz"
    assert "--model: got none" in cli("drive", start).err
    absent = cli("drive", start, "-m", tiny_model, "--address", "unix:nobody-is-here", "--wait-s", "0")
    assert absent.code == 7
    assert "unix socket /tmp/ipi_nobody-is-here: got no such file or directory for 0 s" in absent.err
    assert cli("drive", "--pes-path").out.strip().endswith("spectra_app/couplings/ipi_pes.py")
