"""A cell that changes: the recorded dipole is the accumulated current, whatever images the atoms are written in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, ObservableBlock, Recorder, TrajectoryBlock
from spectra_app.dynamics.changing_cell import StrainPart
from spectra_app.dynamics.state import make_particles
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.spectra import infrared_spectrum
from spectra_app.structure.system import concatenate, from_ase
from tests.toy_potential import ToyPotential, dumbbells

TRICLINIC = np.array([[9.0, 0.3, -0.2], [1.1, 8.0, 0.4], [-0.7, 0.9, 10.0]])


class Memory:
    """A writer that keeps blocks."""

    def __init__(self) -> None:
        self.observables: list[ObservableBlock] = []

    def append_observables(self, block: ObservableBlock) -> None:
        self.observables.append(block)

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        pass

    def column(self, name: str) -> np.ndarray:
        return np.concatenate([block.values[name] for block in self.observables])


def moving(rng: np.random.Generator, frames: int = 40, atoms: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neutral charges [atom], fractional coordinates [frame, atom, 3], and cells [frame, 3, 3] of any shape."""
    charges = rng.normal(size=atoms)
    charges -= charges.mean()
    fractional = rng.uniform(size=(atoms, 3)) + 0.01 * rng.normal(size=(frames, atoms, 3)).cumsum(axis=0)
    cells = TRICLINIC + 0.02 * rng.normal(size=(frames, 3, 3)).cumsum(axis=0)
    return charges, fractional, cells


def current_dipole(charges: np.ndarray, fractional: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """P - C [frame, xyz] from what a recorder knows."""
    moments = np.einsum("a,fav,fvx->fx", charges, fractional, cells)
    return moments - StrainPart().extend(moments[:, None], cells[:, None])[:, 0]


def test_step_is_the_difference_of_fractional_coordinates_in_the_middle_cell(rng: np.random.Generator) -> None:
    charges, fractional, cells = moving(rng)
    expected = [
        charges @ (fractional[f + 1] - fractional[f]) @ (0.5 * (cells[f] + cells[f + 1])) for f in range(len(cells) - 1)
    ]
    np.testing.assert_allclose(np.diff(current_dipole(charges, fractional, cells), axis=0), expected, atol=1e-12)


def test_images_and_origin_change_nothing(rng: np.random.Generator) -> None:
    charges, fractional, cells = moving(rng)
    here = current_dipole(charges, fractional, cells)
    images = rng.integers(-3, 4, size=(6, 3))
    there = current_dipole(charges, fractional + images, cells)
    shifted = current_dipole(charges, fractional + np.array([0.3, -0.2, 0.7]), cells)
    np.testing.assert_allclose(np.diff(there, axis=0), np.diff(here, axis=0), atol=1e-11)
    np.testing.assert_allclose(np.diff(shifted, axis=0), np.diff(here, axis=0), atol=1e-11)
    # P itself does depend on them: it is no test without.
    plain = np.einsum("a,fav,fvx->fx", charges, fractional + images, cells)
    assert np.abs(np.diff(plain - here, axis=0)).max() > 0.1


def test_charged_cell_depends_on_a_cartesian_shift_as_stated(rng: np.random.Generator) -> None:
    charges, fractional, cells = moving(rng)
    charges = charges + 0.5
    shift = np.array([1.0, -2.0, 0.5])
    inverse = np.linalg.inv(cells)
    here = np.diff(current_dipole(charges, fractional, cells), axis=0)
    there = np.diff(
        current_dipole(charges, fractional + np.einsum("x,fxv->fv", shift, inverse)[:, None], cells), axis=0
    )
    middle = 0.5 * (cells[1:] + cells[:-1])
    expected = np.einsum("x,fxv,fvy->fy", 3.0 * shift, inverse[1:] - inverse[:-1], middle)
    np.testing.assert_allclose(there - here, expected, atol=1e-12)
    carried = current_dipole(charges, fractional + np.array([0.3, -0.2, 0.7]), cells)
    np.testing.assert_allclose(np.diff(carried, axis=0), here, atol=1e-11)


def test_atoms_that_only_scale_with_the_cell_make_no_current(rng: np.random.Generator) -> None:
    charges, fractional, cells = moving(rng)
    still = np.broadcast_to(fractional[0], fractional.shape)
    np.testing.assert_allclose(np.diff(current_dipole(charges, still, cells), axis=0), 0.0, atol=1e-12)


def test_fixed_cell_changes_no_bit(rng: np.random.Generator) -> None:
    moments = rng.normal(size=(30, 2, 4, 3))
    cells = np.broadcast_to(TRICLINIC, (30, 2, 3, 3))
    np.testing.assert_array_equal(StrainPart().extend(moments, cells), 0.0)


def test_blocks_may_begin_anywhere(rng: np.random.Generator) -> None:
    moments, cells = rng.normal(size=(57, 2, 5, 3)), TRICLINIC + 0.1 * rng.normal(size=(57, 2, 3, 3))
    whole, pieces, part = StrainPart().extend(moments, cells), [], StrainPart()
    for start, stop in ((0, 1), (1, 20), (20, 57)):
        pieces.append(part.extend(moments[start:stop], cells[start:stop]))
        part = StrainPart.from_tensors(part.tensors)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


SCALE = PhysicalScale(1.3, 0.0, 1.0)


class Ions(ToyPotential):
    """Soft ions; the toy's bonds, which know no images, and what hangs on them are left out."""

    def __init__(self) -> None:
        super().__init__(bonds=False, repulsion=0.05)


def run(structures: list[Atoms], cell: str, steps: int = 120) -> Memory:
    """Observables of two replicas of ions in a soft cell, contributions of atoms too."""
    system = concatenate([from_ase(atoms) for atoms in structures])
    particles = make_particles(system, torch.from_numpy(structures[0].get_masses()), 2)
    settings = MDSettings(
        ensemble="npt",
        steps=steps,
        equilibration_steps=0,
        replicas=2,
        barostat_time_fs=50.0,
        pressure_GPa=1.0,
        cell=cell,
    )
    memory = Memory()
    recorder = Recorder(
        particles,
        SCALE,
        memory,
        1.0,
        2,
        50,
        True,
        variable_cell=True,
        atom_part=np.arange(particles.n_atoms),
    )
    MolecularDynamics(Ions(), particles, settings).run(recorder)
    recorder.flush()
    return memory


def far_away(atoms: Atoms) -> Atoms:
    """The same crystal with several atoms written two cells away."""
    moved = atoms.copy()
    images = np.zeros((len(atoms), 3))
    images[[1, 3, 4, 9]] = [[2, 0, 0], [2, -1, 0], [0, 2, 2], [-2, 0, 1]]
    moved.positions += images @ atoms.cell.array
    return moved


SHAPES = pytest.mark.parametrize("cell", ["isotropic", "anisotropic", "full"])


@SHAPES
@pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")  # 0.1 ps
def test_npt_dipole_and_spectrum_do_not_depend_on_images(cell: str) -> None:
    here, there = (run([place(dumbbells()), place(dumbbells(seed=1))], cell) for place in (Atoms.copy, far_away))
    np.testing.assert_allclose(here.column("volume"), there.column("volume"), rtol=1e-11)
    assert np.ptp(here.column("volume")) > 2.0
    first, second = here.column("dipole"), there.column("dipole")
    np.testing.assert_allclose(np.diff(second, axis=0), np.diff(first, axis=0), atol=1e-10)
    latent = there.column("dipole_latent") - here.column("dipole_latent")
    assert np.ptp(latent, axis=0).max() > 0.01  # what was recorded before
    spectra = [
        infrared_spectrum(dipole, timestep_fs=2.0, temperature_K=300.0, volume_A3=700.0, eps_inf=1.5)
        for dipole in (first, second)
    ]
    reference = spectra[0].alpha_n_per_cm
    np.testing.assert_allclose(spectra[1].alpha_n_per_cm, reference, atol=1e-8 * reference.max())


@SHAPES
def test_contributions_of_atoms_still_add_up(cell: str) -> None:
    memory = run([far_away(dumbbells()), far_away(dumbbells(seed=1))], cell)
    parts = memory.column("dipole_parts")
    np.testing.assert_allclose(parts.sum(axis=2), memory.column("dipole"), atol=1e-11)


@SHAPES
def test_contributions_do_not_depend_on_images_either(cell: str) -> None:
    here, there = (run([place(dumbbells()), place(dumbbells(seed=1))], cell) for place in (Atoms.copy, far_away))
    first, second = here.column("dipole_parts"), there.column("dipole_parts")
    np.testing.assert_allclose(np.diff(second, axis=0), np.diff(first, axis=0), atol=1e-10)


def test_fixed_cell_records_what_it_did() -> None:
    atoms = dumbbells()
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()))
    found = []
    for variable in (False, True):
        memory = Memory()
        recorder = Recorder(
            particles, SCALE, memory, 1.0, 1, 50, True, variable_cell=variable, atom_part=np.arange(particles.n_atoms)
        )
        MolecularDynamics(ToyPotential(), particles, MDSettings(steps=20, equilibration_steps=0)).run(recorder)
        recorder.flush()
        found.append(memory)
    np.testing.assert_array_equal(found[1].column("dipole"), found[0].column("dipole"))
    np.testing.assert_array_equal(found[1].column("dipole_parts"), found[0].column("dipole_parts"))
