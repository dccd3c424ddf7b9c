"""The external field along a run: where it comes from, the work it does, and what a restart asks for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, Recorder, make_particles
from spectra_app.dynamics.field_work import field_energy, field_moments, field_pressure, field_weights, field_work
from spectra_app.dynamics.fields import (
    FieldSchedule,
    FunctionField,
    StaticField,
    TableField,
    check_same_field,
    make_field,
    read_field_table,
)
from spectra_app.dynamics.state import kinetic_energy
from spectra_app.errors import ConfigError, SimulationError
from spectra_app.structure.system import from_ase
from spectra_app.units import FORCE_TO_ACCELERATION
from tests.toy_potential import ToyPotential, ToyPrediction, dumbbells

SCALE = ToyPotential().scale


def pulse(time_fs: float) -> list[float]:
    """A pulse of 12 fs around 15 fs, along no axis."""
    envelope = math.exp(-(((time_fs - 15.0) / 6.0) ** 2)) * math.cos(0.5 * (time_fs - 15.0))
    return [0.6 * envelope, -0.3 * envelope, 0.9 * envelope]


class Polarizable(ToyPotential):
    """The toy with physical dipole and alpha in its energy, as ``Potential`` has them."""

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__()
        self.alpha = alpha

    def __call__(self, system, neighbors, forces=True, stress=False, field=None, polarizability=True, guess=None):  # type: ignore[no-untyped-def]
        plain: ToyPrediction = super().__call__(system, neighbors, forces, stress, None)
        with torch.enable_grad():
            strain = torch.zeros(system.n_structures, 3, 3, dtype=self.dtype, requires_grad=True)
            positions = system.positions.detach().requires_grad_(True)
            stretched = positions + torch.einsum("ax,axy->ay", positions, strain[system.batch])
            dipole, _ = self._dipole(stretched, system)
            bond = self._bond_vectors(stretched).view(system.n_structures, -1, 3)
            polarizability = self.alpha * torch.einsum("sbx,sby->sxy", bond, bond)
            eps_e = self.scale.eps_e
            energy = plain.energy * 0.0
            if field is not None:
                induced = torch.einsum("sx,sxy,sy->s", field.expand_as(dipole), polarizability, field.expand_as(dipole))
                energy = -math.sqrt(eps_e) * (dipole * field).sum(-1) - 0.5 * eps_e * induced
                gradient, tension = torch.autograd.grad(energy.sum(), [positions, strain])
        if field is not None:
            plain = plain._replace(energy=plain.energy + energy.detach(), forces=plain.forces - gradient)
            if stress:
                tension = 0.5 * (tension + tension.transpose(1, 2)) / system.volume[:, None, None]
                plain = plain._replace(stress=plain.stress + tension)
        return plain._replace(dipole=dipole.detach(), polarizability=polarizability.detach())


def dynamics_of(model, field=None, atoms: Atoms | None = None, replicas: int = 1, **settings):  # type: ignore[no-untyped-def]
    atoms = dumbbells() if atoms is None else atoms
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)
    return MolecularDynamics(model, particles, MDSettings.model_validate({"replicas": replicas, **settings}), field)


class Conserved:
    """Collects what the recorder records."""

    def __init__(self, dynamics: MolecularDynamics) -> None:
        self.conserved: list[np.ndarray] = []
        self.energy: list[np.ndarray] = []
        self.field: list[np.ndarray] = []
        settings = dynamics.settings
        at = None if dynamics.schedule is None else dynamics.schedule.at_recorded
        npt = settings.ensemble == "npt"
        recorder = Recorder(dynamics.particles, SCALE, self, settings.timestep_fs, 1, 10, True, npt, at)
        dynamics.run(recorder)
        recorder.flush()

    def append_observables(self, block) -> None:  # type: ignore[no-untyped-def]
        self.conserved.append(block.values["conserved"])
        self.energy.append(block.values["energy"])
        if "field" in block.values:
            self.field.append(block.values["field"])

    def append_trajectory(self, block) -> None:  # type: ignore[no-untyped-def]
        pass

    def spread(self) -> float:
        values = np.concatenate(self.conserved)
        return float((values - values[0]).std())


def weights_of(field) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return torch.from_numpy(field_weights(np.array(field)))


# --- work ---
def test_work_by_hand() -> None:
    # P = 4 e A and alpha = 12 e^2 A^2/eV along z. The field rises from 0.1 to 0.2 V/A, nothing moves:
    # U(F) = -4 F - 6 F^2 falls by 0.4 + 6 * 0.03 = 0.58 eV, all of it work of the field.
    dipole = torch.tensor([[0.0, 0.0, 4.0]], dtype=torch.float64)
    alpha = torch.diag(torch.tensor([0.0, 0.0, 12.0], dtype=torch.float64))[None]
    weak, middle, strong = (weights_of([0.0, 0.0, size]) for size in (0.1, 0.15, 0.2))
    before, after = (field_moments(dipole, alpha, weights) for weights in (weak, strong))
    assert field_energy(before).item() == pytest.approx(-0.4 - 0.06)
    assert field_work(before, after, middle).item() == pytest.approx(-0.58)
    # The dipole in the stronger field is 4 + 12 * 0.2 = 6.4 e A.
    assert field_pressure(after, torch.ones(1)).item() == pytest.approx(6.4 * 0.2 / 3.0)
    # The dipole turns up at a constant field: the force of the field does it, U + K keeps its value.
    turned = field_moments(dipole + 0.5, alpha, strong)
    assert field_work(after, turned, strong).item() == pytest.approx(0.0, abs=1e-14)
    # So does alpha when it grows: -12 F^2/2 more energy, all of it from forces.
    grown = field_moments(dipole, 2.0 * alpha, strong)
    assert field_energy(grown).item() == pytest.approx(-0.8 - 0.48)
    assert field_work(after, grown, strong).item() == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("field", ["static", "pulse"])
def test_conserved_energy_in_a_field_has_the_error_of_velocity_verlet(field: str) -> None:
    spreads = []
    for timestep in (0.4, 0.2):
        chosen = {"timestep_fs": timestep, "steps": int(36 / timestep), "equilibration_steps": 0, "ensemble": "nve"}
        if field == "static":
            dynamics = dynamics_of(Polarizable(), None, **chosen, field_V_per_A=(0.3, -0.2, 0.4))
        else:
            dynamics = dynamics_of(Polarizable(), pulse, **chosen)
        seen = Conserved(dynamics)
        spreads.append(seen.spread())
        energy = np.concatenate(seen.energy)
    assert spreads[0] / spreads[1] == pytest.approx(4.0, rel=0.25)
    assert spreads[1] < 1e-2 * energy.std()


def test_pulse_leaves_energy_behind_and_the_work_is_that_of_the_dipole() -> None:
    # dU/dt = -(P + alpha F).dF/dt, integrated by hand from what was recorded.
    chosen = {"timestep_fs": 0.1, "steps": 360, "equilibration_steps": 0, "ensemble": "nve", "temperature_K": 50.0}
    model = Polarizable()
    dynamics = dynamics_of(model, pulse, **chosen)
    state, prediction = dynamics.start()
    kinetic_and_potential, dipoles, fields = [], [], []
    for step in range(361):
        if step:
            state, prediction = dynamics._produce(state)
        field = np.array(pulse(step * 0.1))
        induced = model.scale.eps_e * prediction.polarizability[0].numpy() @ field
        dipoles.append(model.scale.eps_e**0.5 * prediction.dipole[0].numpy() + induced)
        fields.append(field)
        kinetic_and_potential.append(float(prediction.energy + kinetic_energy(state.velocities, dynamics.particles)))
    mean = 0.5 * (np.array(dipoles)[1:] + np.array(dipoles)[:-1])
    work = np.concatenate([[0.0], np.cumsum((-mean * np.diff(fields, axis=0)).sum(axis=1))])
    gained = np.array(kinetic_and_potential) - kinetic_and_potential[0]
    assert np.abs(gained).max() > 0.3
    assert gained[-1] > 0.01  # absorbed: the field is gone
    np.testing.assert_allclose(gained, work, atol=2e-3 * np.abs(gained).max())
    assert float(state.reservoir) == pytest.approx(work[-1], abs=2e-4)


@pytest.mark.parametrize(
    ("ensemble", "thermostat"), [("nve", "bussi"), ("nvt", "bussi"), ("nvt", "langevin"), ("npt", "bussi")]
)
def test_every_ensemble_balances_the_work_of_a_pulse(ensemble: str, thermostat: str) -> None:
    chosen = {"timestep_fs": 0.2, "steps": 180, "equilibration_steps": 10, "ensemble": ensemble, "replicas": 2}
    dynamics = dynamics_of(Polarizable(), pulse, **chosen, thermostat=thermostat, thermostat_time_fs=50.0)
    seen = Conserved(dynamics)
    energy = np.concatenate(seen.energy)
    assert energy.shape == (181, 2)
    assert seen.spread() < 0.02 * energy.std()
    np.testing.assert_allclose(np.concatenate(seen.field), [pulse(0.2 * n) for n in range(181)], atol=1e-15)


def test_pressure_that_drives_a_cell_knows_no_images() -> None:
    # The same structure with an ion in the next cell: the pressure at constant field differs, the driving one does not.
    model, field = Polarizable(), (0.3, -0.2, 0.4)
    dipole = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    volume = torch.tensor([500.0], dtype=torch.float64)
    pressures = []
    for shift in (0.0, 8.0):
        atoms = dumbbells()
        atoms.positions[:2, 0] += shift
        atoms.positions[2, 1] += shift and 8.8  # one atom of a bond: P jumps by a charge times a cell vector
        dynamics = dynamics_of(model, None, atoms, ensemble="npt", field_V_per_A=field)
        system = dynamics.particles.system
        charges = model._dipole(system.positions, system)[1]
        # Only the field's own part: the toy's bonds know no images.
        own = -torch.einsum("ax,a,x->", system.positions, charges, torch.tensor(field, dtype=torch.float64)) * 1.5**0.5
        moments = field_moments(
            1.5**0.5 * (charges[:, None] * system.positions).sum(0, keepdim=True),
            torch.zeros(1, 3, 3).double(),
            weights_of(field),
        )
        pressure = -own / (3.0 * system.volume)  # -dU/dV of U = -P.F with P growing like the cell
        pressures.append((float(pressure), float(pressure - field_pressure(moments, system.volume))))
    assert abs(pressures[0][0] - pressures[1][0]) > 1e-4
    assert pressures[0][1] == pytest.approx(pressures[1][1], abs=1e-12)
    moments = field_moments(dipole, torch.zeros(1, 3, 3), weights_of(field))
    assert field_pressure(moments, volume).item() == pytest.approx((0.3 - 0.4 - 0.4) / 1500.0)


def test_driven_bond_follows_the_analytic_solution() -> None:
    # mu x'' = -k x + q F0 sin(W t) from rest: x = (q F0/mu)/(w^2 - W^2) (sin W t - (W/w) sin w t).
    atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1.0]])
    strength, drive, timestep = 0.05, 0.35, 0.05
    model = ToyPotential(bond_k=30.0, repulsion=0.0)
    dynamics = dynamics_of(
        model, lambda time_fs: (0.0, 0.0, -strength * math.sin(drive * time_fs)), atoms,
        timestep_fs=timestep, ensemble="nve", equilibration_steps=0,
    )  # fmt: skip
    state, _ = dynamics.start()
    state = state._replace(velocities=torch.zeros_like(state.velocities))
    inverse_mass = FORCE_TO_ACCELERATION * float((1.0 / atoms.get_masses()).sum())
    omega = math.sqrt(30.0 * inverse_mass)
    amplitude = 0.4 * strength * inverse_mass / (omega**2 - drive**2)
    for step in range(1, 601):
        state, _ = dynamics._produce(state)
        time = step * timestep
        # The second atom carries -0.4 e: a field along -z stretches the bond.
        expected = amplitude * (math.sin(drive * time) - drive / omega * math.sin(omega * time))
        stretch = float(state.positions[1, 2] - state.positions[0, 2]) - 1.0
        assert stretch == pytest.approx(expected, abs=0.01 * abs(amplitude))


# --- where the field comes from ---
def test_constant_function_and_constant_table_are_the_static_field(tmp_path: Path) -> None:
    table = tmp_path / "constant.dat"
    table.write_text("0 0.1 -0.2 0.3\n1000 0.1 -0.2 0.3\n")
    chosen = {"steps": 30, "equilibration_steps": 10, "ensemble": "nve", "temperature_K": 400.0}
    runs = [
        Conserved(dynamics_of(Polarizable(), None, **chosen, field_V_per_A=(0.1, -0.2, 0.3))),
        Conserved(dynamics_of(Polarizable(), lambda time_fs: (0.1, -0.2, 0.3), **chosen)),
        Conserved(dynamics_of(Polarizable(), None, **chosen, field_table=table)),
    ]
    for other in runs[1:]:
        np.testing.assert_array_equal(np.concatenate(runs[0].energy), np.concatenate(other.energy))
        np.testing.assert_array_equal(np.concatenate(runs[0].conserved), np.concatenate(other.conserved))
    assert not np.array_equal(
        np.concatenate(runs[0].energy), np.concatenate(Conserved(dynamics_of(Polarizable(), **chosen)).energy)
    )


def test_time_zero_is_where_recording_begins() -> None:
    schedule = FieldSchedule(FunctionField(lambda time_fs: (time_fs + 7.0, 0.0, 0.0)), 0.5, lambda: 20)
    assert [schedule.at_step(step)[0] for step in (0, 19, 20, 21, 24)] == [7.0, 7.0, 7.0, 7.5, 9.0]
    assert schedule.at_recorded(4)[0] == 9.0


def test_table_is_linear_between_rows_and_zero_beyond_zero_rows(tmp_path: Path) -> None:
    path = tmp_path / "pulse.csv"
    path.write_text("# a triangle\ntime_fs,Fx,Fy,Fz\n10, 0, 0, 0\n20, 1.0, 0, -2.0  # top\n40; 0 0 0\n")
    table = read_field_table(path)
    np.testing.assert_allclose(table.at(15.0), [0.5, 0.0, -1.0])
    np.testing.assert_allclose(table.at(30.0), [0.5, 0.0, -1.0])
    assert not table.at(0.0).any()
    assert not table.at(500.0).any()
    table.check_range(500.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("5 1 0 0\n200 0 0 0\n", r"got first time 5 fs, with a field, wanted 0 fs, or a first row without"),
        ("0 0 0 0\n50 1 0 0\n", r"got last time 50 fs, with a field, wanted 100 fs, the end of the run"),
        ("0 0 0 0\n50 1 0\n", r"line 2: got '50 1 0', wanted four numbers: time in fs"),
        ("0 0 0 0\n50 1 0 nan\n", "line 2: got '50 1 0 nan', wanted four numbers"),
        ("t x y z\n0 0 0 0\nt x y z\n", "line 3: got 't x y z'"),
        ("0 0 0 0\n5 1 0 0\n5 0 0 0\n", "line 3: got 5 fs after 5 fs, wanted rising times"),
        ("0 0 0 0\n", "got 1 rows, wanted at least two"),
    ],
)
def test_bad_tables_are_refused_with_the_line(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "field.dat"
    path.write_text(rows)
    with pytest.raises(ConfigError, match=message):
        make_field(MDSettings(steps=200, timestep_fs=0.5, field_table=path))


def test_impossible_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got md\.field_V_per_A and a function of time, wanted one of them"):
        make_field(MDSettings(field_V_per_A=(0, 0, 1)), pulse)
    with pytest.raises(ConfigError, match="FileNotFoundError, wanted a readable text file"):
        make_field(MDSettings(field_table=tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match=r"field function .*<lambda> at 0 fs: got 0\.5, wanted three finite numbers"):
        make_field(MDSettings(), lambda time_fs: 0.5)
    charged = dumbbells()
    charged.info["charge"] = 1.0
    with pytest.raises(ConfigError, match="a structure of charge 1 e, which it would accelerate for ever"):
        dynamics_of(ToyPotential(), None, charged, field_V_per_A=(0, 0, 0.1))
    assert make_field(MDSettings()) is None


# --- restart ---
def test_restart_wants_the_same_field() -> None:
    static = StaticField((0.0, 0.0, 0.1)).identity(100.0)
    table = TableField(np.array([0.0, 1.0]), np.zeros((2, 3)))
    function = FunctionField(pulse).identity(100.0)
    check_same_field(None, None)
    check_same_field(StaticField((0.0, 0.0, 0.1)), static)
    check_same_field(FunctionField(pulse), function)
    check_same_field(table, table.identity(5.0))
    with pytest.raises(SimulationError, match=r"got none, wanted the function pulse .*cannot be stored.*give the same"):
        check_same_field(None, function)
    with pytest.raises(SimulationError, match="got a field, wanted no field as when the run began"):
        check_same_field(FunctionField(pulse), None)
    with pytest.raises(SimulationError, match="got other values, first at 50"):
        check_same_field(FunctionField(lambda t: pulse(t) if t < 50.0 else [9.0, 0, 0]), function)
    with pytest.raises(SimulationError, match="got other values, wanted the static field"):
        check_same_field(StaticField((0.0, 0.0, 0.2)), static)
    with pytest.raises(SimulationError, match="got other values, wanted the table field"):
        check_same_field(FunctionField(pulse), table.identity(5.0))
