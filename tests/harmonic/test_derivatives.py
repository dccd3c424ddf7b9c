"""Exact second derivatives, Born charges and Raman tensors are those of central differences; blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_app.harmonic import derivatives as module
from spectra_app.harmonic.derivatives import derivatives
from tests.potentials.test_potential import TRICLINIC, make_potential, structure

ARRAYS = ("forces_eV_per_A", "hessian_eV_per_A2", "born_e", "polarizability_e2A2_per_eV", "raman_e2A_per_eV")


@pytest.mark.parametrize("cell", [TRICLINIC, None], ids=["crystal", "molecule"])
@pytest.mark.parametrize("response", ["one-shot", "self-consistent"])
def test_exact_derivatives_are_those_of_differences(cell: np.ndarray | None, response: str) -> None:
    model, system = make_potential("puQipiu", response=response), structure(cell)
    exact = derivatives(model, system)
    by_differences = derivatives(
        model, system, "differences", step_A=3e-5
    )  # random weights bend more than trained ones
    for name in ARRAYS:
        found, wanted = getattr(by_differences, name), getattr(exact, name)
        assert np.abs(wanted).max() > 1e-3, name
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max(), name
    assert by_differences.energy_eV == pytest.approx(exact.energy_eV, abs=1e-9)
    assert exact.asymmetry < 1e-7
    assert (model.engine, model.settings.response_tolerance) == ("eager", 1e-5)


def test_columns_in_blocks_are_those_of_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, system = make_potential("puiu"), structure()
    together, seen = derivatives(model, system), []
    monkeypatch.setattr(module, "_ATOMS_AT_ONCE", 30)
    apart = derivatives(model, system, progress=lambda done, of: seen.append((done, of)))
    np.testing.assert_allclose(apart.hessian_eV_per_A2, together.hessian_eV_per_A2, atol=1e-10)
    assert seen == [(5, 18), (10, 18), (15, 18), (18, 18)]


def test_a_model_without_electrostatics_has_a_hessian_only() -> None:
    found = derivatives(make_potential("sr"), structure())
    assert found.born_e is None
    assert found.raman_e2A_per_eV is None
    assert np.abs(found.hessian_eV_per_A2).max() > 1e-3
