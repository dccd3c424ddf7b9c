from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.io.trajectory import Trajectory
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.melchionna import MelchionnaNPT
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

from spectra_app import read_run, run_spectrum
from spectra_app.couplings.ase_md import AseRecorder
from spectra_app.errors import ConfigError, TrajectoryError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.potentials.calculator import SpectraCalculator
from tests.couplings.conftest import N_STEPS, TIMESTEP_FS, OwnRun
from tests.toy_potential import ToyPotential, dumbbells

DT = TIMESTEP_FS * units.fs
KB = units.kB


def start(own: OwnRun) -> Atoms:
    atoms = own.atoms.copy()
    atoms.calc = SpectraCalculator(ToyPotential())
    return atoms


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")  # a run of 96 fs
def test_velocity_verlet_of_ase_repeats_our_own_run(own_run: OwnRun, tmp_path: Path) -> None:
    atoms = start(own_run)
    dynamics = VelocityVerlet(atoms, timestep=DT)
    with (
        AseRecorder(dynamics, tmp_path / "run.h5") as recorder,
        Trajectory(tmp_path / "run.traj", "w", atoms) as trajectory,
    ):
        dynamics.attach(trajectory, interval=1)
        dynamics.run(N_STEPS // 2)
        recorder()  # called once more
        dynamics.run(N_STEPS - N_STEPS // 2)
    assert recorder.n_frames == N_STEPS + 1
    run = read_run(tmp_path / "run.h5")
    # Units of ASE (CODATA 2014) differ from ours in the eighth digit, velocities were stored in single precision.
    np.testing.assert_allclose(run.dipole_eA[:, 0], own_run.dipole_eA, atol=5e-5)
    np.testing.assert_allclose(run.polarizability_e2A2_per_eV[:, 0], own_run.polarizability, atol=5e-5)
    np.testing.assert_allclose(run.temperature_K[:, 0], own_run.temperature_K, rtol=1e-4)
    assert np.ptp(run.dipole_eA[:, 0], axis=0).min() > 1e-2
    spectra = [run_spectrum(path, "ir", resolution_per_cm=3000) for path in (tmp_path / "run.h5", own_run.path)]
    top = spectra[1].alpha_n_per_cm.max()
    np.testing.assert_allclose(spectra[0].alpha_n_per_cm, spectra[1].alpha_n_per_cm, atol=1e-3 * top)
    # The trajectory that ASE wrote gives the same once more.
    record_trajectory(tmp_path / "run.traj", ToyPotential(), tmp_path / "again.h5", timestep_fs=TIMESTEP_FS)
    again = read_run(tmp_path / "again.h5")
    np.testing.assert_allclose(again.dipole_eA[:, 0], run.dipole_eA[:, 0], atol=1e-9)


def test_energy_is_conserved_and_dipole_moment_is_that_of_the_model(own_run: OwnRun) -> None:
    atoms = start(own_run)
    energies = []
    dynamics = VelocityVerlet(atoms, timestep=DT)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=1)
    dynamics.run(N_STEPS)
    kinetic = np.ptp(own_run.temperature_K) * 1.5 * len(atoms) * KB
    assert np.ptp(energies) < 0.03 * kinetic
    charges = 0.4 * (1.0 - 2.0 * (np.arange(16) % 2))
    np.testing.assert_allclose(atoms.get_dipole_moment(), 1.5**0.5 * charges @ atoms.positions, rtol=1e-10)


def test_every_dynamics_of_ase_runs(own_run: OwnRun) -> None:
    rng = np.random.default_rng(0)
    bath = {"timestep": DT, "temperature_K": 400.0}
    pressure = {"pressure_au": 0.0, "taup": 300 * units.fs, "compressibility_au": 0.02}
    for make in (
        lambda atoms: Langevin(atoms, friction=0.01 / units.fs, fixcm=False, rng=rng, **bath),
        lambda atoms: LangevinBAOAB(atoms, T_tau=100 * units.fs, rng=rng, **bath),
        lambda atoms: Bussi(atoms, taut=100 * units.fs, rng=rng, **bath),
        lambda atoms: NoseHooverChainNVT(atoms, tdamp=100 * units.fs, **bath),
        lambda atoms: NPTBerendsen(atoms, taut=100 * units.fs, **bath, **pressure),
        lambda atoms: MelchionnaNPT(
            atoms, externalstress=0.0, ttime=50 * units.fs, pfactor=0.01 * (200 * units.fs) ** 2, **bath
        ),
    ):
        atoms = start(own_run)
        volume = atoms.get_volume()
        dynamics = make(atoms)
        dynamics.run(5)
        name = type(dynamics).__name__
        assert 100.0 < atoms.get_temperature() < 900.0, name
        assert (atoms.get_volume() != volume) == ("NPT" in name), name


def test_cell_that_changes_is_recorded_as_record_does(own_run: OwnRun, tmp_path: Path) -> None:
    atoms = start(own_run)
    bath = {"timestep": DT, "temperature_K": 400.0, "taut": 100 * units.fs, "taup": 20 * units.fs}
    dynamics = NPTBerendsen(atoms, pressure_au=0.0, compressibility_au=2.0, **bath)
    with AseRecorder(dynamics, tmp_path / "run.h5"), Trajectory(tmp_path / "run.traj", "w", atoms) as trajectory:
        dynamics.attach(trajectory, interval=1)
        dynamics.run(20)
    record_trajectory(tmp_path / "run.traj", ToyPotential(), tmp_path / "again.h5", timestep_fs=TIMESTEP_FS)
    run, again = read_run(tmp_path / "run.h5"), read_run(tmp_path / "again.h5")
    assert np.ptp(run.volume_A3[:, 0]) > 0.3
    np.testing.assert_allclose(run.dipole_eA[:], again.dipole_eA[:], atol=1e-9)
    np.testing.assert_allclose(run.volume_A3[:], again.volume_A3[:], rtol=1e-12)


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
def test_optimizers_relax_atoms_and_cell(optimizer: type) -> None:
    atoms = dumbbells(box=6.5)
    atoms.rattle(0.03, seed=2)
    atoms.calc = SpectraCalculator(ToyPotential())
    before = atoms.get_potential_energy()
    assert np.abs(atoms.get_stress()).max() > 1e-3
    assert optimizer(FrechetCellFilter(atoms), logfile=None).run(fmax=5e-3, steps=400)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 5e-3
    assert np.abs(atoms.get_stress() * atoms.get_volume()).max() < 16 * 5.5e-3  # fmax of the filter is per atom
    assert atoms.get_potential_energy() < before


def test_recorder_refuses_what_it_cannot_record(own_run: OwnRun, tmp_path: Path) -> None:
    atoms = start(own_run)
    with pytest.raises(ConfigError, match=r"got BFGS, wanted a dynamics of ase.md"):
        AseRecorder(BFGS(atoms, logfile=None), tmp_path / "run.h5")
    atoms.calc = SpectraCalculator(ToyPotential(), field_V_per_A=(0.0, 0.0, 0.1))
    dynamics = VelocityVerlet(atoms, timestep=DT)
    with pytest.raises(ConfigError, match="got an external field"):
        AseRecorder(dynamics, tmp_path / "run.h5")
    atoms.calc = None
    with pytest.raises(ConfigError, match="got calculator NoneType, wanted atoms with a calculator of ours"):
        AseRecorder(dynamics, tmp_path / "run.h5")
    (tmp_path / "run.h5").touch()
    with pytest.raises(TrajectoryError, match="got an existing file"):
        AseRecorder(VelocityVerlet(start(own_run), timestep=DT), tmp_path / "run.h5")
