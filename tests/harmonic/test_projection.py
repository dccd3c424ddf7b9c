"""Velocities along normal modes, and the lines of the modes in dynamics of the crystal."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from spectra_app import run_recipe
from spectra_app.errors import StructureError
from spectra_app.harmonic.modes import normal_modes
from spectra_app.harmonic.projection import cells_of, mode_velocities
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN
from tests.harmonic.springs import TRIANGLE, hessian


def test_a_mode_that_moves_alone_is_seen_alone(rng: np.random.Generator) -> None:
    matrix, masses = hessian(TRIANGLE, [(0, 1), (1, 2), (2, 0)], 20.0), np.array([16.0, 1.0, 2.0])
    modes = normal_modes(matrix, masses, TRIANGLE, "molecule")
    rates = rng.normal(size=(5, 1, len(modes.frequencies_per_cm)))  # dQ/dt of one cell
    one = np.einsum("frm,mix->frix", rates, modes.displacements)
    np.testing.assert_allclose(mode_velocities(one, modes), rates, atol=1e-12)
    # Two cells in step are one amplitude larger by sqrt(2); in opposite step they are at the zone boundary.
    np.testing.assert_allclose(
        mode_velocities(np.concatenate([one, one], axis=2), modes, 2), np.sqrt(2.0) * rates, atol=1e-12
    )
    np.testing.assert_allclose(mode_velocities(np.concatenate([one, -one], axis=2), modes, 2), 0.0, atol=1e-12)
    chosen = np.array([2, 0])
    np.testing.assert_allclose(mode_velocities(one, modes, 1, chosen), rates[..., chosen], atol=1e-12)


class Copper(EMT):
    """EMT with charges that dynamics can record."""

    implemented_properties = (*EMT.implemented_properties, "born_effective_charges")

    def calculate(self, *given: object, **named: object) -> None:
        super().calculate(*given, **named)
        self.results["born_effective_charges"] = np.zeros((len(self.atoms), 3, 3))


def triclinic() -> Atoms:
    cell = [[4.0, 0.1, 0.0], [0.9, 3.5, -0.2], [0.3, -0.5, 5.0]]
    return Atoms("NaClO", scaled_positions=[[0.0, 0.1, 0.2], [0.5, 0.4, 0.45], [0.2, 0.8, 0.9]], cell=cell, pbc=True)


def test_repetitions_of_a_cell_are_recognised(rng: np.random.Generator) -> None:
    one = triclinic()
    large = one.repeat((2, 1, 3))
    moved = large.positions + rng.normal(scale=0.2, size=large.positions.shape) + [0.7, 0.0, 2.0]
    moved[3] += large.cell.array[1]  # wrapped elsewhere
    stretched = large.cell.array @ np.diag([1.01, 1.0, 0.99])
    assert cells_of(one, large.numbers, moved, large.cell.array) == 6
    assert cells_of(one, large.numbers, moved @ np.diag([1.01, 1.0, 0.99]), stretched) == 6
    order = rng.permutation(6)
    shuffled = large.positions.reshape(6, 3, 3)[order].reshape(-1, 3)
    for numbers, positions, cell, message in (
        (large.numbers[:-3], moved[:-3], large.cell.array, "got 15 atoms, wanted 3 x 2 x 1 x 3"),
        (large.numbers, moved, 1.1 * large.cell.array, "cells 10.0 % apart"),
        (large.numbers, shuffled, large.cell.array, "from their places"),
    ):
        with pytest.raises(StructureError, match=message):
            cells_of(one, numbers, positions, cell)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_cold_copper_has_its_harmonic_lines(tmp_path: Path) -> None:
    write(tmp_path / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    md = {
        "ensemble": "nve",
        "timestep_fs": 8.0,
        "temperature_K": 2.0,
        "equilibration_steps": 100,
        "steps": 1200,
        "record_stride": 1200,
        "trajectory_stride": 2,
        "seed": 4,
    }
    recipe = {
        "model": "ase:tests.harmonic.test_projection:Copper()",
        "structure": "copper.xyz",
        "repeat": [1, 1, 2],
        "output": str(tmp_path / "results"),
        "md": md,
        "spectra": {"resolution_per_cm": 10.0, "max_wavenumber_per_cm": 400.0},
        "tasks": ["harmonic", "vdos"],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["model=ase:tests.harmonic.test_projection:Copper()"]
    done = run_recipe(tmp_path / "recipe.yaml", overrides=words)
    assert done.harmonic is not None
    assert done.shifts is not None
    assert done.shifts.n_cells == 2
    harmonic = done.harmonic.modes.frequencies_per_cm
    assert sum(row.last - row.first + 1 for row in done.shifts.rows) == len(harmonic) == 9
    for row in done.shifts.rows:
        # without the correction of 8 fs the highest line would be 1.7 off
        assert row.shift_per_cm == pytest.approx(0.0, abs=0.1)
        assert row.width_per_cm is not None
        assert row.width_per_cm < 10.0  # no more than the resolution
    # Kinetic energy of what both cells do alike: a sum over modes, or over sums of velocities.
    assert done.run is not None
    velocities = np.asarray(done.run.velocities_A_per_fs)[:, 0]
    alike = velocities.reshape(len(velocities), 2, 4, 3).sum(axis=1) / np.sqrt(2.0)
    kinetic = done.run.masses_amu[0] * (alike**2).sum(axis=(1, 2)).mean() * AMU_A2_PER_FS2_TO_EV / BOLTZMANN
    shares = [row.temperature_K * (row.last - row.first + 1) for row in done.shifts.rows]
    assert sum(shares) == pytest.approx(kinetic, rel=0.02)
    lines = [line for line in (tmp_path / "results" / "shifts.csv").read_text().splitlines() if line[0] != "#"]
    table = list(csv.DictReader(lines))
    assert [float(row["harmonic_per_cm"]) for row in table] == pytest.approx(
        [row.harmonic_per_cm for row in done.shifts.rows], rel=1e-5
    )
    assert "Normal modes in the dynamics" in (tmp_path / "results" / "summary.txt").read_text()
    # Isotopes of the modes alone: another crystal than that of the run.
    told: list[str] = []
    heavy = run_recipe(tmp_path / "recipe.yaml", overrides=[*words, "harmonic.masses={Cu: 65.0}"], say=told.append)
    assert heavy.shifts is None
    assert any("masses of other isotopes" in line for line in told)
