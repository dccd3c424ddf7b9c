"""A uniform field in energy, forces, stress, Born charges and polarizability: all of them from one U(F).

    U(F) = U - P.F - (1/2) F.alpha.F,  P = A P_latent, alpha = A alpha_latent A

The axes A are numbers of the material, turned for a slab: they are held where the derivative is taken.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, make_particles
from spectra_app.dynamics.state import kinetic_energy
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System
from tests.potentials.test_cells import RESPONSIVE, TRICLINIC, potential_of, predict, slab, structure

FIELD = torch.tensor([[0.21, -0.34, 0.15]], dtype=torch.float64)
STEP = 1e-4
VARIANTS = [(v, "one-shot") for v in RESPONSIVE] + [("puiu", "self-consistent"), ("puQipiu", "self-consistent")]
FORMS = pytest.mark.parametrize(("variant", "response"), VARIANTS, ids=lambda value: str(value))
CELLS = {"open": lambda: structure(None), "triclinic": lambda: structure(TRICLINIC), "slab": slab}


def physical(potential, system: System):
    """Prediction without field, and its physical dipole [xyz] and polarizability [xyz, xyz], scaled by hand."""
    plain = predict(potential, system)
    root = 1.8**0.5 / potential.scale.screening**0.5 if bool(system.periodic[0]) else 1.0
    axes = root * torch.eye(3, dtype=torch.float64)
    if system.slab is not None:
        normal = system.cell[0, 2] / system.cell[0, 2].norm()
        axes = axes + (1.0 / root - root) * torch.outer(normal, normal)
    return plain, axes @ plain.dipole[0], axes @ plain.polarizability[0] @ axes


def energy_at(potential, system: System, field: torch.Tensor = FIELD) -> float:
    """U(F) from the prediction without field."""
    plain, dipole, alpha = physical(potential, system)
    return float(plain.energy[0] - dipole @ field[0] - 0.5 * field[0] @ alpha @ field[0])


@FORMS
@pytest.mark.parametrize("cell", CELLS)
def test_forces_in_a_field_are_the_negative_gradient(variant: str, response: str, cell: str) -> None:
    potential, system = potential_of(variant, response), CELLS[cell]()
    result = predict(potential, system, field=FIELD)
    assert result.energy.item() == pytest.approx(energy_at(potential, system), abs=1e-9)
    for atom, axis in ((0, 0), (4, 2), (2, 1)):
        energies = []
        for step in (STEP, -STEP):
            positions = system.positions.clone()
            positions[atom, axis] += step
            energies.append(energy_at(potential, system._replace(positions=positions)))
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert result.forces[atom, axis].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)


@FORMS
def test_stress_in_a_field_is_the_strain_derivative_at_constant_field(variant: str, response: str) -> None:
    potential, system = potential_of(variant, response), structure(TRICLINIC)
    result = predict(potential, system, field=FIELD, stress=True)
    volume = float(system.volume[0])
    without = predict(potential, system, stress=True).stress[0]
    assert float((result.stress[0] - without).abs().max()) > 1e-4
    for a in range(3):
        for b in range(a, 3):
            energies = []
            for size in (STEP, -STEP):
                strain = torch.eye(3, dtype=torch.float64)
                strain[a, b] += size / 2
                strain[b, a] += size / 2
                moved = system._replace(positions=system.positions @ strain, cell=system.cell @ strain)
                energies.append(energy_at(potential, moved))
            slope = (energies[0] - energies[1]) / (2 * STEP)
            assert result.stress[0, a, b].item() == pytest.approx(slope / volume, rel=1e-5, abs=1e-8)


@FORMS
@pytest.mark.parametrize("cell", CELLS)
def test_the_field_derivatives_are_dipole_polarizability_and_born_charges(
    variant: str, response: str, cell: str
) -> None:
    potential, system = potential_of(variant, response), CELLS[cell]()
    plain, dipole, alpha = physical(potential, system)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff)).numpy()
    size = 0.02
    for a in range(3):
        ahead, behind = (
            predict(potential, system, field=sign * size * torch.eye(3, dtype=torch.float64)[a : a + 1])
            for sign in (1.0, -1.0)
        )
        slope = (ahead.energy - behind.energy).item() / (2 * size)
        assert -slope == pytest.approx(dipole[a].item(), rel=1e-6, abs=1e-8)
        curvature = (ahead.energy + behind.energy - 2 * plain.energy).item() / size**2
        assert -curvature == pytest.approx(alpha[a, a].item(), rel=1e-5, abs=2e-6)
        # dF_b/dF_a = Z*_ab: first index field, second displacement.
        pushed = (ahead.forces - behind.forces).numpy() / (2 * size)
        assert pushed == pytest.approx(born[:, a, :], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("variant", ["pu", "puiu"])
def test_dynamics_of_a_real_potential_balances_a_pulse(variant: str) -> None:
    # A molecule in open space: U + K at the end has gained what -(P + alpha F).dF/dt says, to second order in the step.
    potential = potential_of(variant)
    atoms = Atoms("OHHOHH", structure(None).positions.numpy())
    spreads = []
    for timestep in (0.2, 0.1):

        def pulse(time_fs: float) -> np.ndarray:
            return np.array([0.3, -0.2, 0.4]) * np.exp(-(((time_fs - 3.0) / 1.2) ** 2))

        system = structure(None)
        particles = make_particles(system, torch.from_numpy(atoms.get_masses()))
        chosen = MDSettings(timestep_fs=timestep, steps=int(6 / timestep), equilibration_steps=0, ensemble="nve")
        dynamics = MolecularDynamics(potential, particles, chosen, pulse)
        state, _ = dynamics.start()
        totals, conserved = [], []
        for _ in range(int(6 / timestep)):
            state, _ = dynamics._produce(state)
            totals.append(float(state.energy + kinetic_energy(state.velocities, particles)))
            conserved.append(totals[-1] - float(state.reservoir))
        spreads.append(np.ptp(conserved))
        assert np.ptp(totals) > 10 * np.ptp(conserved)
    assert spreads[0] / spreads[1] == pytest.approx(4.0, rel=0.4)
