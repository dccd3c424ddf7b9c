"""Runs of the real i-PI: path integrals over a socket, and the direct driver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from spectra_app import load_model
from spectra_app.couplings.driver import Driver
from spectra_app.couplings.ipi_socket import DriveResult, SocketAddress, drive
from spectra_app.errors import MissingExtraError
from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.readers.series import Request, open_series
from tests.toy_potential import ToyPotential, dumbbells

needs_ipi = pytest.mark.skipif(find_spec("ipi") is None, reason="needs the extra ipi")

BEADS = 2
STEPS = 4
INPUT = """
<simulation verbosity='low' safe_stride='1000'>
  <output prefix='sim'>
    <properties stride='1' filename='out'> [ step, potential{{electronvolt}}, virial_md{{megapascal}} ] </properties>
    <trajectory filename='pos' stride='1' format='ase'> positions{{ase}} </trajectory>
    <trajectory filename='dip' stride='1' extra_type='dipole'> extras </trajectory>
    <trajectory filename='pol' stride='1' extra_type='polarizability'> extras </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>31415</seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> start.extxyz </file>
      <velocities mode='thermal' units='kelvin'> {kelvin} </velocities>
    </initialize>
    <forces> <force forcefield='spectra'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.25 </timestep>
        <thermostat mode='pile_g'> <tau units='femtosecond'> 50 </tau> <pile_lambda> 0.5 </pile_lambda> </thermostat>
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> {kelvin} </temperature> </ensemble>
  </system>
</simulation>
"""


def start_ipi(
    folder: Path, atoms: Atoms, forcefield: str, kelvin: float = 300.0, beads: int = BEADS
) -> subprocess.Popen:
    write(folder / "start.extxyz", atoms)
    text = INPUT.format(steps=STEPS, beads=beads, forcefield=forcefield, kelvin=kelvin)
    (folder / "input.xml").write_text(text)
    program = [sys.executable, str(Path(sys.executable).with_name("i-pi")), "input.xml"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(program, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)


def finish(process: subprocess.Popen, folder: Path) -> np.ndarray:
    """Columns of the property file, after i-PI ended well."""
    assert process.wait(60) == 0, (folder / "log").read_text()[-2000:]
    return np.loadtxt(folder / "sim.out", ndmin=2)


@needs_ipi
@pytest.mark.parametrize("batch", [1, BEADS])
def test_path_integral_run_over_a_socket(tmp_path: Path, batch: int) -> None:
    atoms, name = dumbbells(), f"spectra-app-test-{os.getpid()}-{batch}"
    size = f"<batch_size> {batch} </batch_size>" if batch > 1 else ""
    forcefield = f"""<ffsocket name='spectra' mode='unix' pbc='false'>
      <address> {name} </address> <latency> 1e-3 </latency> {size} </ffsocket>"""
    process = start_ipi(tmp_path, atoms, forcefield)
    model, results = ToyPotential(), []
    address = SocketAddress.parse(f"unix:{name}")

    def serve() -> None:
        results.append(drive(address, Driver(model, atoms, engine="eager"), wait_s=60.0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    rows = finish(process, tmp_path)
    thread.join(10.0)
    assert isinstance(results[0], DriveResult)
    assert results[0].n_structures == BEADS * (STEPS + 1)
    assert model.n_calls == BEADS * (STEPS + 1) // batch
    beads = [read(tmp_path / f"sim.pos_{bead}.extxyz", index=":") for bead in range(BEADS)]
    energies, dipoles, alphas = (np.zeros((BEADS, STEPS + 1, *shape)) for shape in ((), (3,), (3, 3)))
    calc = SpectraCalculator(ToyPotential())
    for bead, frames in enumerate(beads):
        for step, frame in enumerate(frames):
            frame.set_cell(atoms.cell)
            frame.pbc = True
            frame.calc = calc
            energies[bead, step] = frame.get_potential_energy()
            dipoles[bead, step] = frame.get_dipole_moment()
            alphas[bead, step] = calc.results["polarizability"]
    np.testing.assert_allclose(rows[:, 1], energies.mean(axis=0), atol=1e-5)
    series = open_series(tmp_path / "sim.dip_0", Request("dipole", timestep_fs=0.25))
    np.testing.assert_allclose(series.values, dipoles.mean(axis=0), atol=1e-5)
    assert np.abs(dipoles[0] - dipoles[1])[1:].max() > 1e-3  # the beads are not the same
    tensors = open_series(tmp_path / "sim.pol_0", Request("polarizability", timestep_fs=0.25))
    np.testing.assert_allclose(tensors.values, alphas.mean(axis=0), atol=1e-5)


@needs_ipi
def test_direct_driver_computes_inside_i_pi(tmp_path: Path, tiny_model: Path) -> None:
    atoms = read(tiny_model / "start.extxyz")
    path = find_spec("spectra_app.couplings.ipi_pes").origin  # type: ignore[union-attr]
    forcefield = f"""<ffdirect name='spectra' pbc='false'>
      <pes> custom </pes> <pes_path> {path} </pes_path> <batch_size> {BEADS} </batch_size>
      <parameters> {{template: start.extxyz, model: {tiny_model}, dtype: float64, engine: eager}} </parameters>
    </ffdirect>"""
    rows = finish(start_ipi(tmp_path, atoms, forcefield, kelvin=50.0), tmp_path)
    atoms.calc = load_model(tiny_model, dtype="float64").calculator()
    assert rows[0, 1] == pytest.approx(atoms.get_potential_energy(), rel=5e-7)  # i-PI's constants have seven digits
    stress = atoms.get_stress(voigt=False) * 160.2176634e3  # MPa
    virial = rows[0, 2:8] / BEADS  # i-PI sums over beads here, and divides by the volume
    expected = [-stress[ab] for ab in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(virial, expected, rtol=1e-4, atol=1e-3)
    series = open_series(tmp_path / "sim.dip_0", Request("dipole", timestep_fs=0.25))
    np.testing.assert_allclose(series.values[0], atoms.get_dipole_moment(), atol=1e-6)


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setitem(sys.modules, "ipi.pes.dummy", None)
    monkeypatch.delitem(sys.modules, "spectra_app.couplings.ipi_pes", raising=False)
    with pytest.raises(MissingExtraError, match=r"Run: pip install 'spectra-app\[ipi\]'"):
        importlib.import_module("spectra_app.couplings.ipi_pes")
