"""Dipoles that are followed along a run: branches, paths of Born charges, cells that change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spectra_app.dynamics.changing_cell import StrainPart
from spectra_app.dynamics.followed_dipole import UNCLEAR, DipoleRule, FollowedDipole, follow
from spectra_app.dynamics.instant import Instant
from spectra_app.errors import SimulationError
from tests.springs_calculator import Springs, pairs

N_FRAMES, N_REPLICAS = 40, 2


class Prediction:
    """What the rules read of one."""

    def __init__(self, born: np.ndarray) -> None:
        self.born_charges = torch.from_numpy(born)


def motion(step_A: float = 0.05, strain: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Positions [frame, replica, atom, xyz] that wander, and cells [frame, replica, vector, xyz], A."""
    rng = np.random.default_rng(3)
    atoms = pairs(4, 7.0)
    wander = step_A * rng.normal(size=(N_FRAMES, N_REPLICAS, len(atoms), 3)).cumsum(axis=0)
    stretch = np.eye(3) + strain * rng.normal(size=(N_FRAMES, N_REPLICAS, 3, 3)).cumsum(axis=0)
    cells = atoms.cell.array @ stretch
    return (atoms.positions @ stretch + wander), cells


def followed(
    rule: DipoleRule, calculator: Springs, positions: np.ndarray, cells: np.ndarray, blocks: list[int]
) -> np.ndarray:
    """The dipole [frame, replica, xyz], e A, in blocks, each continued by another object as after a restart."""
    out, start, carry = [], 0, None
    for size in [*blocks, len(positions) - sum(blocks)]:
        here: FollowedDipole | None = follow(rule, positions.shape[1])
        assert here is not None
        here.restore(carry)
        part = slice(start, start + size)
        raw: dict[str, Any] = {"cell": cells[part], "dipole_latent": np.zeros((size, positions.shape[1], 3))}
        for frame, (place, cell) in enumerate(zip(positions[part], cells[part], strict=True)):
            values = [calculator.values(one, box) for one, box in zip(place, cell, strict=True)]
            born = np.concatenate([value["born_charges"] for value in values])
            branch = [value["polarization"] * np.linalg.det(box) for value, box in zip(values, cell, strict=True)]
            raw["dipole_latent"][frame] = branch
            tensors = torch.from_numpy(place.reshape(-1, 3)), torch.from_numpy(cell)
            here.add(Instant(Prediction(born), tensors[0], None, tensors[1], torch.zeros(len(cell))))  # type: ignore[arg-type]
        out.append(here.take(raw))
        carry = here.carry()
        start += size
    return np.concatenate(out)


@pytest.mark.parametrize("rule", ["modulo", "path"])
def test_blocks_and_restarts_change_no_bit(rule: DipoleRule) -> None:
    positions, cells = motion(strain=0.003)
    calculator = Springs(second=0.02)
    at_once = followed(rule, calculator, positions, cells, [])
    np.testing.assert_array_equal(followed(rule, calculator, positions, cells, [1, 7, 20]), at_once)


@pytest.mark.parametrize("rule", ["modulo", "path"])
def test_the_dipole_of_fixed_charges_in_a_fixed_cell(rule: DipoleRule) -> None:
    # The dipole wanders over more than a quantum of 7 e A.
    positions, cells = motion(step_A=0.15)
    exact = np.einsum("i,frix->frx", 2.0 * np.tile([1.0, -1.0], 4), positions)
    found = followed(rule, Springs(charge_e=2.0), positions, cells, [11])
    assert np.ptp(exact, axis=0).max() > 7.0
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=1e-11)


def test_a_branch_is_what_it_is_modulo_quanta() -> None:
    positions, cells = motion(step_A=0.15)
    calculator = Springs(charge_e=2.0, second=0.05)
    exact = np.array([[calculator.values(one, None)["dipole"] for one in frame] for frame in positions])
    folded = np.array(
        [[calculator.values(one, box)["polarization"] for one, box in zip(frame, cell, strict=True)]
         for frame, cell in zip(positions, cells, strict=True)]
    ) * np.linalg.det(cells)[..., None]  # fmt: skip
    assert np.abs(np.diff(folded, axis=0)).max() > 5.0, "the calculator never jumps"
    found = followed("modulo", calculator, positions, cells, [])
    np.testing.assert_array_equal(found[0], folded[0])
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=1e-11)


@pytest.mark.parametrize("rule", ["modulo", "path"])
def test_in_a_changing_cell_it_is_the_current_in_the_frame_of_the_cell(rule: DipoleRule) -> None:
    # The same numbers as for charges of our own models, whose strain part is taken out (changing_cell).
    positions, cells = motion(strain=0.004)
    charges = 0.8 * np.tile([1.0, -1.0], 4)
    plain = np.einsum("i,frix->frx", charges, positions)
    exact = plain - StrainPart().extend(plain, cells)
    found = followed(rule, Springs(charge_e=0.8), positions, cells, [13])
    assert np.abs((plain - plain[0]) - (exact - exact[0])).max() > 0.03
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=1e-11)


def test_the_path_is_exact_to_second_order_and_converges_to_the_third() -> None:
    # M of the springs is of third order in the positions: the error of a path falls with the square of the step.
    calculator = Springs(second=0.2)
    first, last = pairs(3).positions, pairs(3, seed=1).positions

    def error(n_steps: int) -> float:
        way = np.linspace(0.0, 1.0, n_steps + 1)[:, None, None, None]
        positions = first + way * (last - first)
        found = followed("path", calculator, positions, np.zeros((n_steps + 1, 1, 3, 3)) + np.eye(3), [])
        ends = [calculator.values(positions[k, 0], None)["dipole"] for k in (0, -1)]
        return float(np.abs(found[-1, 0] - found[0, 0] - (ends[1] - ends[0])).max())

    coarse, fine = error(8), error(32)
    assert coarse > 1e-3
    assert fine == pytest.approx(coarse / 16.0, rel=0.02)


def test_a_change_of_half_a_quantum_is_refused() -> None:
    cell = np.eye(3)[None, None].repeat(2, 0) * 5.0
    rule = follow("modulo", 1)
    assert rule is not None
    dipoles = np.zeros((2, 1, 3))
    dipoles[1, 0, 1] = 5.0 * (UNCLEAR + 0.05)
    with pytest.raises(SimulationError, match=r"a change by 0.45 quanta.*Record more often"):
        rule.take({"dipole_latent": dipoles, "cell": cell})
    dipoles[1, 0, 1] = np.nan  # a replica that has ended
    assert np.isnan(rule.take({"dipole_latent": dipoles, "cell": cell})[1, 0, 1])
