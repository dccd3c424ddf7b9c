"""Pure functions on Born tensors against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spectra_app.born import (
    antisymmetric_norm,
    check_born,
    compare_born,
    element_statistics,
    enforce_sum_rule,
    isotropic_means,
    sum_rule_violation,
    symmetric_eigenvalues,
)
from spectra_app.errors import DatasetError

NINE = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]])  # nine different entries, not symmetric


def test_isotropic_mean_is_a_third_of_the_trace() -> None:
    assert isotropic_means(np.stack([NINE, -2 * NINE])) == pytest.approx([16 / 3, -32 / 3])


def test_eigenvalues_of_the_symmetric_part() -> None:
    # diag(1, 2, 3) turned by a general rotation, plus an antisymmetric part that must not matter
    turn = Rotation.from_euler("zyx", [0.3, 1.1, -0.7]).as_matrix()
    twist = np.array([[0.0, 4.0, -2.0], [-4.0, 0.0, 1.0], [2.0, -1.0, 0.0]])
    born = (turn @ np.diag([3.0, -1.0, 2.0]) @ turn.T + twist)[None]
    assert symmetric_eigenvalues(born)[0] == pytest.approx([-1.0, 2.0, 3.0])
    assert antisymmetric_norm(born)[0] == pytest.approx(np.sqrt(2 * (16 + 4 + 1)))


def test_antisymmetric_norm_by_hand() -> None:
    # halves of the differences: (2-4)/2, (3-7)/2, (6-8)/2 = -1, -2, -1, each twice
    assert antisymmetric_norm(NINE[None])[0] == pytest.approx(np.sqrt(2 * (1 + 4 + 1)))


def test_element_statistics() -> None:
    born = np.stack([np.eye(3) * value for value in (-0.8, -1.2, 0.5, 0.4)])
    born[0, 0, 1] = 0.3  # off-diagonal: no effect on the mean
    hydrogen, oxygen = element_statistics(born, np.array([8, 8, 1, 1]))
    assert (hydrogen.symbol, oxygen.symbol, oxygen.count) == ("H", "O", 2)
    assert oxygen.mean_e == pytest.approx(-1.0)
    assert oxygen.std_e == pytest.approx(0.2)
    assert (oxygen.min_e, oxygen.max_e) == pytest.approx((-1.2, -0.8))
    assert hydrogen.mean_e == pytest.approx(0.45)
    # eigenvalues of [[-.8, .15], [.15, -.8]] are -.95 and -.65
    assert oxygen.eigenvalues_e == pytest.approx([(-0.95 - 1.2) / 2, -1.0, (-0.65 - 1.2) / 2])


def test_sum_rule_violation_keeps_the_index_order() -> None:
    born = np.stack([NINE, -np.eye(3)])
    violation = sum_rule_violation(born, total_charge=-1.0)
    assert violation == pytest.approx(NINE - np.eye(3) + np.eye(3))
    assert violation[0, 2] == pytest.approx(3.0)


@pytest.mark.parametrize("charge", [0.0, 1.0, -2.0])
def test_enforced_copy_obeys_the_sum_rule_and_changes_all_atoms_alike(charge: float) -> None:
    born = np.random.default_rng(1).normal(size=(7, 3, 3))
    fixed = enforce_sum_rule(born, charge)
    assert fixed.sum(axis=0) == pytest.approx(charge * np.eye(3), abs=1e-12)
    assert np.ptp(fixed - born, axis=0) == pytest.approx(np.zeros((3, 3)), abs=1e-12)
    assert born.sum() == pytest.approx(np.random.default_rng(1).normal(size=(7, 3, 3)).sum())  # input untouched


def test_comparison_by_hand() -> None:
    reference = np.zeros((2, 3, 3))
    reference[0] = np.diag([3.0, 3.0, 3.0])
    born = reference.copy()
    born[1, 2, 0] -= 0.6  # field z, displacement x
    comparison = compare_born(born, reference, [22, 8])
    assert comparison.largest_e == pytest.approx(-0.6)
    assert (comparison.largest_atom, comparison.largest_component) == (1, "zx")
    assert comparison.total.rmse_e == pytest.approx(np.sqrt(0.36 / 18))
    # variance: 3 entries of 3, 15 of 0, mean 0.5 -> 3 * 6.25 + 15 * 0.25 = 22.5
    assert comparison.total.r2 == pytest.approx(1 - 0.36 / 22.5)
    assert comparison.diagonal.rmse_e == 0.0
    assert comparison.off_diagonal.rmse_e == pytest.approx(np.sqrt(0.36 / 12))
    oxygen, titanium = comparison.elements
    assert (oxygen.symbol, titanium.symbol) == ("O", "Ti")
    assert titanium.rmse_e == 0.0
    assert np.isnan(oxygen.r2)  # the reference of oxygen does not vary: R2 has no meaning


def test_r2_sees_a_wrong_scale_that_a_correlation_would_not() -> None:
    reference = np.random.default_rng(2).normal(size=(4, 3, 3))
    assert compare_born(-reference, reference, [1, 1, 8, 8]).total.r2 < 0
    assert compare_born(reference, reference, [1, 1, 8, 8]).total.r2 == 1.0


def test_a_transposed_tensor_is_an_error() -> None:
    born = np.stack([NINE, -NINE])
    assert compare_born(np.swapaxes(born, 1, 2), born, [1, 8]).total.rmse_e > 1.0


@pytest.mark.parametrize(
    ("born", "message"),
    [
        (np.zeros((3, 3)), "shape"),
        (np.zeros((4, 3, 3)), "4 tensors, wanted one for each of the 2 atoms"),
        (np.full((2, 3, 3), np.nan), "of atom 0: got NaN"),
    ],
)
def test_bad_tensors_are_named(born: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_born(born, 2)


def test_nine_columns_are_row_major() -> None:
    assert check_born(NINE.reshape(1, 9))[0] == pytest.approx(NINE)
