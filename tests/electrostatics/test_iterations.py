"""A fixed number of iterations of self-consistent response, and the equation in its packed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics.interaction import prepare_interaction
from spectra_app.electrostatics.iterations import Iterations
from spectra_app.electrostatics.packed import packed_equation
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import Relaxed, _Equation, relax
from spectra_app.structure.loops import only_torch
from spectra_app.structure.neighbors import build_neighbors, pair_vectors
from spectra_app.structure.system import concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT
from tests.electrostatics.test_self_consistent import prepare, random_case
from tests.potentials.test_potential import TRICLINIC

TOLERANCE = 1e-9


def relaxed(cell: np.ndarray | None, form: str, iterations: Iterations | None) -> Relaxed:
    system, multipoles, susceptibility = random_case(cell, form)
    with only_torch():
        return relax(system, prepare(system), susceptibility, multipoles, TOLERANCE, True, None, iterations)


@pytest.mark.parametrize("form", ["pu", "u", "qu"])
@pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])
def test_enough_iterations_give_what_the_tolerance_gives_and_too_few_say_so(cell: np.ndarray | None, form: str) -> None:
    wanted, found = relaxed(cell, form, None), relaxed(cell, form, Iterations(40, 30))
    assert found.excess is not None
    assert (found.excess <= 1.0).all()
    for name in ("energy", "moments", "polarizability_by_atom", "solution"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-12, atol=1e-12)
    few = relaxed(cell, form, Iterations(2, 1)).excess
    assert few is not None
    assert few[0] > 1.0
    assert torch.isfinite(few).all()
    more = [relaxed(cell, form, Iterations(n, 1)).excess for n in (2, 4, 6)]
    sizes = [float(excess[0]) for excess in more if excess is not None]
    assert sizes[0] > 10.0 * sizes[1] > 100.0 * sizes[2]


def test_no_solution_is_an_infinite_excess() -> None:
    """Silberstein's catastrophe: two polarizable atoms too near to each other."""
    system = make_system(np.array([[0.0, 0, 0], [0, 0, 1.3]]), [1, 1])
    neighbors = build_neighbors(system, 1.0)
    alpha = torch.full((2,), 1.5 / COULOMB_CONSTANT, dtype=torch.float64)
    susceptibility = Susceptibility(alpha, None, neighbors, pair_vectors(system, neighbors, 1.0))
    multipoles = random_case(None, "u")[1]
    few = type(multipoles)(torch.tensor([0.5, -0.5], dtype=torch.float64), None, None)
    found = relax(
        system, prepare_interaction(system, None, 0.2, 1), susceptibility, few, 1e-8, False, None, Iterations(6, 0)
    )
    assert found.excess is not None
    assert torch.isinf(found.excess[0])


@pytest.mark.parametrize("stretch", [1.0, 1.1], ids=["same cells", "other cells"])
def test_the_packed_equation_is_the_equation(stretch: float) -> None:
    first, _, one = random_case(TRICLINIC, "pu")
    second, _, other = random_case(TRICLINIC * stretch, "pu", seed=1)
    system = concatenate([first, second])
    neighbors = build_neighbors(system, 3.0)
    vectors = pair_vectors(system, neighbors, 3.0)
    squared = (vectors * vectors).sum(-1)
    kappa = torch.where(neighbors.mask, 0.01 * torch.exp(-squared / 3.0), 0.0)
    assert one.alpha is not None
    assert other.alpha is not None
    susceptibility = Susceptibility(torch.cat([one.alpha, other.alpha]), kappa, neighbors, vectors)
    interaction = prepare(system)
    equation = _Equation(system, interaction, susceptibility, TOLERANCE)
    packed = packed_equation(system, interaction, susceptibility)
    assert packed is not None
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(len(kappa), 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    answer, found = equation.answer(a), packed.answer(a)
    assert found.dipoles is not None
    assert answer.charges is not None
    torch.testing.assert_close(-found.dipoles[..., 0], answer.charges, rtol=0, atol=1e-13)
    torch.testing.assert_close(found.dipoles[..., 1:], answer.dipoles, rtol=0, atol=1e-13)
    torch.testing.assert_close(packed.act(found), equation.act(answer), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(packed.inner(found, b), equation.inner(answer, b), rtol=1e-12, atol=1e-12)


def test_what_has_no_packed_form_keeps_the_other() -> None:
    system, _, susceptibility = random_case(TRICLINIC, "pu")
    interaction = prepare(system)
    assert packed_equation(system, interaction, susceptibility) is not None
    assert packed_equation(system, interaction, susceptibility._replace(kappa=None)) is None
    assert packed_equation(system, prepare(random_case(None, "pu")[0]), susceptibility) is None
    strained = system._replace(cell=system.cell.clone().requires_grad_(True))
    assert packed_equation(strained, prepare(strained), susceptibility) is None
