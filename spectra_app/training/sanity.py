"""Recognises units that do not fit together, before hours are spent on training.

Two questions, neither of which needs a model:

1. Are the positions in A?  The distances to nearest neighbours over covalent radii tell it (``distances``).
2. Do energies and forces belong together?  A pair potential (Gaussians in the distance for every pair of elements) is
   fitted to the forces by linear least squares; along its own energies the true energies must rise with slope 1.  A
   slope of 27.2 or 1/27.2 is an energy in another unit than the forces', 0.529 or 1.89 a force per bohr.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from spectra_app.errors import DatasetError
from spectra_app.structure.distances import LARGEST_RATIO, LEAST_RATIO, median_ratio, nearest_neighbors
from spectra_app.structure.neighbors import neighbor_pairs
from spectra_app.training.dataset import LabelledFrame, fit_reference_energies, species_of
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV, RYDBERG_TO_EV

_MOST_FRAMES = 40  # a look at the data, not a fit of it
_CUTOFF_A = 4.0
_N_BASIS = 12
_SMALL_FACTOR = 2.0  # such as that of bohr and A, which the error of the pair potential may look like
_SURE_CORRELATION = (
    0.93  # 21 frames of methanol: 0.87 and a slope of 1.61; dipeptides: 0.95 and 1.32, water 0.996, 1.12
)
_LEAST_CORRELATION = 0.6  # below: the pair potential says nothing about these energies
_SLOPES = {
    HARTREE_TO_EV: "energies in eV with forces in Hartree/A, or energies 27.2 times too large",
    1.0 / HARTREE_TO_EV: "energies in Hartree with forces in eV/A",
    RYDBERG_TO_EV: "energies 13.6 times too large for the forces",
    1.0 / RYDBERG_TO_EV: "energies in Ry with forces in eV/A",
    1.0 / (HARTREE_TO_EV / BOHR_TO_ANGSTROM): "forces in eV/A with energies in Hartree, scaled by 0.529 too",
    HARTREE_TO_EV / BOHR_TO_ANGSTROM: "energies in eV with forces in Hartree/bohr scaled wrongly (51.4)",
    BOHR_TO_ANGSTROM / HARTREE_TO_EV: "energies in Hartree with forces in eV/A and positions in bohr",
    BOHR_TO_ANGSTROM * HARTREE_TO_EV: "a mixture of Hartree and bohr (14.4)",
    BOHR_TO_ANGSTROM: "forces 1.89 times too large: another length unit than the positions'",
    1.0 / BOHR_TO_ANGSTROM: "forces per bohr with positions in A",
    23.0605: "energies in kcal/mol with forces in eV/A",
    1.0 / 23.0605: "energies in eV with forces in kcal/mol/A",
    96.4853: "energies in kJ/mol with forces in eV/A",
    1.0 / 96.4853: "energies in eV with forces in kJ/mol/A",
}


def check_units(frames: Sequence[LabelledFrame]) -> None:
    """Refuse data whose lengths, energies and forces do not belong to one unit system.

    Args:
        frames: labelled structures, converted as the configuration says.

    Raises:
        DatasetError: names the quantity, the ratio found and the likely unit.
    """
    sample = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).astype(int))]
    ratio = nearest_distance_ratio(sample)
    if not LEAST_RATIO < ratio < LARGEST_RATIO:
        raise DatasetError(
            "positions in the data",
            got=f"nearest neighbours at {ratio:.2f} times the sum of covalent radii",
            wanted="about 1 for positions in A",
            todo="bohr read as A gives 1.9: set training.keys.length_unit"
            if ratio > 1
            else "Positions may be in nm or scaled",
        )
    slope, correlation = energy_force_slope(sample)
    if correlation < _LEAST_CORRELATION:
        return
    known = [1.0, *_SLOPES]
    nearest = min(known, key=lambda value: abs(np.log(slope / value)))
    # Between 1 and 1.89 the pair potential's own error decides; it stays below 35% where it correlates well.
    if abs(np.log(nearest)) < np.log(_SMALL_FACTOR) and correlation < _SURE_CORRELATION:
        return
    if nearest != 1.0 and abs(np.log(slope)) > np.log(1.45):
        raise DatasetError(
            "energies and forces in the data",
            got=f"energy changes {slope:.3g} times those of the forces",
            wanted="1 (energy = - integral of the forces)",
            todo=f"Likely {_SLOPES[nearest]}; set training.keys.energy_unit or length_unit, or repair the data",
        )


def nearest_distance_ratio(frames: Sequence[LabelledFrame]) -> float:
    """Median over atoms of (distance to the nearest neighbour) / (sum of the two covalent radii)."""
    ratios = []
    for frame in frames[:10]:
        cell = frame.atoms.cell.array if frame.atoms.pbc.all() else None
        ratios.append(nearest_neighbors(frame.atoms.positions, frame.atoms.numbers, cell).ratio)
    median = median_ratio(np.concatenate(ratios))
    return 1.0 if median is None else median


def energy_force_slope(frames: Sequence[LabelledFrame]) -> tuple[float, float]:
    """Slope and correlation of the true energies against those of a pair potential fitted to the forces.

    Energies are compared per composition (reference energies removed); with fewer than 4 frames nothing can be said
    and the correlation is 0.
    """
    if len(frames) < 4:
        return 1.0, 0.0
    species = species_of(frames)
    designs = [_pair_design(frame, species) for frame in frames]
    forces = np.concatenate([frame.forces.reshape(-1) for frame in frames])
    gradient = np.concatenate([design[1] for design in designs])
    normal = gradient.T @ gradient
    ridge = 1e-8 * np.trace(normal) / len(normal) * np.eye(len(normal))
    coefficients = np.linalg.solve(normal + ridge, gradient.T @ forces)
    fitted = np.array([design[0] @ coefficients for design in designs])
    counts = np.array([[f.atoms.get_chemical_symbols().count(s) for s in species] for f in frames], dtype=float)
    true = np.array([f.energy for f in frames])
    true = true - counts @ fit_reference_energies(frames, species)
    fitted = fitted - counts @ fit_reference_energies(frames, species, fitted)
    scatter = float(np.sqrt((true @ true) * (fitted @ fitted)))
    # Too few frames for the number of compositions leave nothing but rounding.
    if scatter < 1e-10 or len(frames) <= np.linalg.matrix_rank(counts) + 2:
        return 1.0, 0.0
    correlation = float(true @ fitted) / scatter
    # The ratio of the widths, not the regression slope: both series carry noise.
    return float(np.sqrt((true @ true) / (fitted @ fitted))), correlation


def _pair_design(frame: LabelledFrame, species: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Energy [basis] and force [3 atoms, basis] of every basis function of the pair potential."""
    kinds = {pair: n for n, pair in enumerate(combinations_with_replacement(range(len(species)), 2))}
    lookup = np.zeros((len(species), len(species)), dtype=int)
    for (a, b), n in kinds.items():
        lookup[a, b] = lookup[b, a] = n
    index = np.array([species.index(s) for s in frame.atoms.get_chemical_symbols()])
    cell = frame.atoms.cell.array if frame.atoms.pbc.all() else None
    i, j, shift = neighbor_pairs(frame.atoms.positions, cell, _CUTOFF_A)
    vectors = frame.atoms.positions[j] - frame.atoms.positions[i] + (0.0 if cell is None else shift @ cell)
    r = np.linalg.norm(vectors, axis=1)
    # Centres crowd at short distance, where bonds are stiff.
    centers = 0.6 + (_CUTOFF_A - 0.6) * np.linspace(0.0, 1.0, _N_BASIS) ** 1.6
    widths = np.gradient(centers)
    x = (r[:, None] - centers) / widths
    cut, slope = 0.5 * (1 + np.cos(np.pi * r / _CUTOFF_A)), -0.5 * np.pi / _CUTOFF_A * np.sin(np.pi * r / _CUTOFF_A)
    value = np.exp(-0.5 * x * x)
    derivative = value * (slope[:, None] - cut[:, None] * x / widths)
    value = value * cut[:, None]
    n_basis = len(kinds) * _N_BASIS
    columns = lookup[index[i], index[j]][:, None] * _N_BASIS + np.arange(_N_BASIS)
    energy = np.bincount(columns.reshape(-1), weights=0.5 * value.reshape(-1), minlength=n_basis)
    force = np.zeros((len(index), 3, n_basis))
    unit = vectors / r[:, None]
    for x_axis in range(3):
        np.add.at(force[:, x_axis, :], (i[:, None], columns), derivative * unit[:, x_axis, None])
    return energy, force.reshape(-1, n_basis)
