"""``spectra-app drive``: our potential as a client of i-PI."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import print_json, say
from spectra_app.errors import ConfigError


def drive(
    structure: Annotated[
        Path | None,
        typer.Argument(help="structure that i-PI starts from (FILE@INDEX for one frame): elements and periodicity"),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="name in the zoo, or folder of a model")] = "",
    address: Annotated[
        str, typer.Option("--address", "-a", help="HOST:PORT, or unix:NAME, as in <ffsocket> of i-PI")
    ] = "localhost:31415",
    extras: Annotated[
        str, typer.Option("--extras", help="what is sent besides energy, forces and virial: dipole, polarizability")
    ] = "dipole,polarizability",
    wait_s: Annotated[
        float, typer.Option("--wait-s", help="how long a server is waited for, at first and when it went away, s")
    ] = 60.0,
    reconnect: Annotated[
        bool, typer.Option("--reconnect/--no-reconnect", help="wait again for a server that went away without EXIT")
    ] = True,
    sockets_prefix: Annotated[
        str, typer.Option("--sockets-prefix", help="path before the name of a Unix socket")
    ] = "/tmp/ipi_",
    charge: Annotated[float | None, typer.Option("--charge", help="total charge, e  [default: of the file]")] = None,
    eps_inf: options.EpsInf = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, eager or compiled")] = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    max_minutes: options.MaxMinutes = None,
    pes_path: Annotated[
        bool, typer.Option("--pes-path", help="print the file for <pes_path> of a direct driver, and end")
    ] = False,
    json: options.Json = False,
) -> None:
    """Compute for i-PI: energy, forces, virial, and dipole and polarizability as extras.

    Start i-PI, then this; several of them share the beads. It ends with i-PI. The files of extras go to ir and raman.
    """
    if pes_path:
        from importlib.util import find_spec

        found = find_spec("spectra_app.couplings.ipi_pes")
        assert found is not None
        print(found.origin)
        return
    if structure is None or not model:
        what, wanted = ("structure", "the file that i-PI starts from") if structure is None else ("--model", "a name")
        raise ConfigError(what, got="none", wanted=wanted, todo="Run: spectra-app drive start.xyz -m water")
    from spectra_app.couplings import ipi_socket
    from spectra_app.couplings.driver import Driver
    from spectra_app.interrupts import Interrupts
    from spectra_app.jobs.structures import read_structure
    from spectra_app.potentials.folder import load_model

    place = ipi_socket.SocketAddress.parse(address, sockets_prefix)
    atoms = read_structure(structure)
    potential = load_model(model, device=device, dtype=options.float_type(dtype), eps_inf=eps_inf)
    driver = Driver(potential, atoms, [word for word in options.words(extras) or [] if word], charge, engine)
    with Interrupts(max_minutes) as interrupts:
        result = ipi_socket.drive(place, driver, wait_s=wait_s, reconnect=reconnect, say=say, interrupts=interrupts)
    if json:
        print_json(asdict(result))
    else:
        print(
            f"i-PI has ended: {result.n_structures} structures of {driver.n_atoms} atoms, "
            f"{result.ms_per_structure:.3g} ms each on {potential.device} ({potential.engine})"
        )
