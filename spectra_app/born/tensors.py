"""Pure functions on Born effective charge tensors: means, eigenvalues, sum rule, comparison with a reference.

A set of Born charges is an array ``born[atom, field, displacement]`` in e, Z*_{i,ab} = dP_a/dr_{i,b}: the FIRST index
is the direction of the polarization (or of the field: Z*_{i,ab} = dF_{i,b}/dE_a), the SECOND that of the displacement.
phonopy, VASP and Quantum ESPRESSO write the same order; a transposed tensor has the same trace and eigenvalues of the
symmetric part, so nothing but this convention protects the antisymmetric part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import DatasetError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ElementStatistics:
    """Isotropic Born charges of the atoms of one element.

    Attributes:
        symbol: chemical symbol.
        count: number of atoms.
        mean_e: e; mean of the isotropic charge tr(Z*)/3 over the atoms.
        std_e: e; standard deviation over the atoms (population: a description of this structure, not an estimate).
        min_e: e; smallest isotropic charge.
        max_e: e; largest isotropic charge.
        eigenvalues_e: [3], e; mean of the ascending eigenvalues of the symmetric part.
        antisymmetric_e: e; mean Frobenius norm of the antisymmetric part.
    """

    symbol: str
    count: int
    mean_e: float
    std_e: float
    min_e: float
    max_e: float
    eigenvalues_e: tuple[float, float, float]
    antisymmetric_e: float


@dataclass(frozen=True)
class ElementError:
    """Deviation from the reference over tensor components of the atoms of one element (``symbol`` "all": all atoms).

    Attributes:
        symbol: chemical symbol, or "all".
        count: number of atoms.
        rmse_e: e; root mean square deviation of the components.
        mae_e: e; mean absolute deviation.
        r2: 1 - sum (Z - Z_ref)^2 / sum (Z_ref - mean Z_ref)^2; NaN where the reference does not vary.
        slope: of ours over the reference's, by least squares; NaN likewise.
    """

    symbol: str
    count: int
    rmse_e: float
    mae_e: float
    r2: float
    slope: float = float("nan")


@dataclass(frozen=True)
class BornComparison:
    """Born charges against a reference.

    Attributes:
        total: errors over all atoms.
        diagonal: errors of the diagonal components only.
        off_diagonal: errors of the off-diagonal components only.
        elements: errors per element, in the order of atomic numbers.
        largest_e: e; the largest deviation of one component, with its sign (ours minus reference).
        largest_atom: index of the atom where it is.
        largest_component: "xy": first letter field, second displacement.
    """

    total: ElementError
    diagonal: ElementError
    off_diagonal: ElementError
    elements: tuple[ElementError, ...]
    largest_e: float
    largest_atom: int
    largest_component: str


def check_born(born: ArrayLike, n_atoms: int | None = None, name: str = "Born charges") -> Array:
    """The tensors as float64 [atom, field, displacement], checked once at the border.

    Args:
        born: [atom, field, displacement] or [atom, 9] (row-major), e.
        n_atoms: number of atoms they must belong to; None: any.
        name: how they are called in the error.

    Raises:
        DatasetError: another shape, another number of atoms, or NaN.
    """
    tensors = np.asarray(born, dtype=np.float64)
    if tensors.ndim == 2 and tensors.shape[1] == 9:
        tensors = tensors.reshape(-1, 3, 3)
    if tensors.ndim != 3 or tensors.shape[1:] != (3, 3) or tensors.shape[0] == 0:
        raise DatasetError(name, got=f"shape {tensors.shape}", wanted="[atom, field, displacement], i.e. (N, 3, 3)")
    if n_atoms is not None and tensors.shape[0] != n_atoms:
        raise DatasetError(name, got=f"{tensors.shape[0]} tensors", wanted=f"one for each of the {n_atoms} atoms")
    if not np.isfinite(tensors).all():
        atom = int(np.argwhere(~np.isfinite(tensors))[0, 0])
        raise DatasetError(f"{name} of atom {atom}", got="NaN or infinity", wanted="finite numbers in e")
    return tensors


def isotropic_means(born: Array) -> Array:
    """Isotropic charges tr(Z*_i)/3.

    Args:
        born: [atom, field, displacement], e.

    Returns:
        [atom], e.
    """
    return np.asarray(np.trace(born, axis1=1, axis2=2) / 3.0)


def symmetric_eigenvalues(born: Array) -> Array:
    """Ascending eigenvalues of the symmetric part (Z* + Z*^T)/2.

    Args:
        born: [atom, field, displacement], e.

    Returns:
        [atom, 3], e.
    """
    return np.asarray(np.linalg.eigvalsh(0.5 * (born + np.swapaxes(born, 1, 2))), dtype=np.float64)


def antisymmetric_norm(born: Array) -> Array:
    """Frobenius norm of the antisymmetric part (Z* - Z*^T)/2.

    Args:
        born: [atom, field, displacement], e.

    Returns:
        [atom], e.
    """
    difference = born - np.swapaxes(born, 1, 2)
    return np.asarray(0.5 * np.sqrt((difference**2).sum(axis=(1, 2))))


def element_statistics(born: Array, numbers: IntArray) -> tuple[ElementStatistics, ...]:
    """Means and spreads per element, in the order of atomic numbers.

    Args:
        born: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.
    """
    isotropic, eigenvalues, antisymmetric = isotropic_means(born), symmetric_eigenvalues(born), antisymmetric_norm(born)
    statistics = []
    for number in np.unique(numbers):
        chosen = numbers == number
        values = isotropic[chosen]
        low, middle, high = (float(value) for value in eigenvalues[chosen].mean(axis=0))
        statistics.append(
            ElementStatistics(
                symbol=chemical_symbols[int(number)],
                count=int(chosen.sum()),
                mean_e=float(values.mean()),
                std_e=float(values.std()),
                min_e=float(values.min()),
                max_e=float(values.max()),
                eigenvalues_e=(low, middle, high),
                antisymmetric_e=float(antisymmetric[chosen].mean()),
            )
        )
    return tuple(statistics)


def sum_rule_violation(born: Array, total_charge: float = 0.0) -> Array:
    """Violation of the acoustic sum rule, sum_i Z*_i - Q 1 (Pick, Cohen, Martin 1970, doi:10.1103/PhysRevB.1.910).

    Args:
        born: [atom, field, displacement], e.
        total_charge: e; charge Q of the structure.

    Returns:
        [field, displacement], e.
    """
    return np.asarray(born.sum(axis=0) - total_charge * np.eye(3))


def enforce_sum_rule(born: Array, total_charge: float = 0.0) -> Array:
    """A copy that obeys the acoustic sum rule exactly: every atom gives up an equal share of the violation.

    Args:
        born: [atom, field, displacement], e.
        total_charge: e; charge of the structure.

    Returns:
        [atom, field, displacement], e.
    """
    return np.asarray(born - sum_rule_violation(born, total_charge) / born.shape[0])


def compare_born(born: ArrayLike, reference: ArrayLike, numbers: ArrayLike) -> BornComparison:
    """Errors of Born charges against a reference, over components, per element, and the worst one.

    R2 is the coefficient of determination, 1 - sum (Z - Z_ref)^2 / sum (Z_ref - mean Z_ref)^2, not the square of a
    correlation: a wrong scale or sign lowers it.

    Args:
        born: [atom, field, displacement], e.
        reference: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.

    Raises:
        DatasetError: shapes differ, or NaN.
    """
    species = np.asarray(numbers, dtype=np.int64)
    ours = check_born(born, len(species))
    theirs = check_born(reference, len(species), "reference Born charges")
    diagonal = np.eye(3, dtype=bool)
    elements = tuple(
        _errors(chemical_symbols[int(number)], ours[chosen], theirs[chosen], int(chosen.sum()))
        for number, chosen in ((number, species == number) for number in np.unique(species))
    )
    difference = ours - theirs
    atom, field, displacement = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    return BornComparison(
        total=_errors("all", ours, theirs, len(species)),
        diagonal=_errors("all", ours[:, diagonal], theirs[:, diagonal], len(species)),
        off_diagonal=_errors("all", ours[:, ~diagonal], theirs[:, ~diagonal], len(species)),
        elements=elements,
        largest_e=float(difference[atom, field, displacement]),
        largest_atom=int(atom),
        largest_component="xyz"[int(field)] + "xyz"[int(displacement)],
    )


def _errors(symbol: str, ours: NDArray[Any], theirs: NDArray[Any], count: int) -> ElementError:
    difference = ours - theirs
    spread = float(((theirs - theirs.mean()) ** 2).sum())
    residual = float((difference**2).sum())
    return ElementError(
        symbol=symbol,
        count=count,
        rmse_e=float(np.sqrt(np.mean(difference**2))),
        mae_e=float(np.abs(difference).mean()),
        r2=1.0 - residual / spread if spread > 1e-20 else float("nan"),
        slope=regression_slope(ours, theirs),
    )


def regression_slope(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Slope of ours over theirs by least squares, over all components; NaN where theirs do not vary."""
    gap = theirs - theirs.mean()
    spread = float((gap**2).sum())
    return float((gap * (ours - ours.mean())).sum() / spread) if spread > 1e-20 else float("nan")
