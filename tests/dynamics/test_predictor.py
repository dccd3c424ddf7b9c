"""Warm starts of self-consistent response along a run: they save iterations and change nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings, ModelSettings
from spectra_app.dynamics import predictor
from spectra_app.dynamics.molecular_dynamics import MolecularDynamics
from spectra_app.dynamics.predictor import NO_HISTORY, predict, predictor_weights
from spectra_app.dynamics.state import MDState, make_particles, state_from_dict, state_to_dict
from spectra_app.electrostatics import self_consistent
from spectra_app.potentials import Potential
from spectra_app.structure.system import from_ase
from tests.random_weights import with_known_material, with_random_weights


def test_weights_are_those_of_kolafa() -> None:
    assert predictor_weights(2) == pytest.approx([2.0, -1.0])
    assert predictor_weights(3) == pytest.approx([2.5, -2.0, 0.5])
    assert predictor_weights(4) == pytest.approx([2.8, -2.8, 1.2, -0.2])
    assert predictor_weights(5) == pytest.approx([3.0, -24 / 7, 27 / 14, -4 / 7, 1 / 14])


def test_a_straight_line_is_continued_and_far_apart_the_last_value_stands() -> None:
    history = torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    assert float(predict(history, 0.5)) == pytest.approx(4.0)
    assert float(predict(history, 5.0)) == 3.0


def dynamics(ensemble: str = "nve", record_stride: int = 2) -> MolecularDynamics:
    torch.manual_seed(3)
    settings = ModelSettings(
        variant="puipiu", channels=8, n_radial=4, cutoff_A=3.5, response="self-consistent", ewald_tolerance=1e-4
    )
    potential = with_known_material(with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.8), 1.2)).double()
    positions = np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    waters = Atoms("OH2" * 4, np.concatenate([positions + shift for shift in 3.2 * np.eye(3)] + [positions]))
    waters.cell, waters.pbc = [6.6, 6.6, 6.6], True
    particles = make_particles(from_ase(waters), torch.from_numpy(waters.get_masses()))
    md = MDSettings.model_validate(
        {"ensemble": ensemble, "record_stride": record_stride, "equilibration_steps": 2, "steps": 100}
    )
    return MolecularDynamics(potential, particles, md)


def steps(md: MolecularDynamics, n: int, state: MDState | None = None) -> MDState:
    if state is None:
        state, _ = md.start()
    for _ in range(n):
        state, _ = md._produce(state)
    return state


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sources of every application of the interaction."""
    counted: list[int] = []
    plain = self_consistent._Equation.act

    def counting(self, induced):  # type: ignore[no-untyped-def]
        result = plain(self, induced)
        counted.append(result.shape[1])
        return result

    monkeypatch.setattr(self_consistent._Equation, "act", counting)
    return counted


@pytest.mark.parametrize("ensemble", ["nve", "npt"])
def test_a_run_with_warm_starts_is_the_same_run_for_fewer_iterations(
    ensemble: str, acts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, n_warm = steps(dynamics(ensemble), 20), sum(acts)
    acts.clear()
    monkeypatch.setattr(predictor.History, "guess", lambda *_: None)
    cold, n_cold = steps(dynamics(ensemble), 20), sum(acts)
    assert n_warm < 0.75 * n_cold
    assert warm.positions.numpy() == pytest.approx(cold.positions.numpy(), abs=1e-6)
    assert warm.forces.numpy() == pytest.approx(cold.forces.numpy(), abs=1e-4)


def test_dipole_and_polarizability_have_errors_of_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after few iterations, they are nearer to the solution than what they are made of."""
    md = dynamics()
    state = steps(md, 4)
    model, system = md.force_field.model, md.particles.system._replace(positions=state.positions)
    neighbors = md.force_field._neighbors
    exact = model(system, neighbors)
    model.settings = model.settings.model_copy(update={"response_tolerance": 1e-2})
    rough = model(system, neighbors)
    error = float((rough.solution - exact.solution).abs().max() / exact.solution.abs().max())
    assert error > 1e-4
    for name in ("dipole", "polarizability"):
        found, wanted = getattr(rough, name), getattr(exact, name)
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.1 * error


def test_a_restart_has_the_history_and_goes_on_bit_for_bit() -> None:
    md = dynamics()
    middle = steps(md, 7)
    assert middle.fields is not None
    assert middle.answers is not None
    assert (middle.fields.shape[0], middle.answers.shape[2]) == (4, 3)
    restored = state_from_dict(state_to_dict(middle), torch.device("cpu"))
    through, again = steps(md, 6, middle), steps(dynamics(), 6, restored)
    assert torch.equal(through.positions, again.positions)
    assert torch.equal(through.forces, again.forces)


def test_what_is_not_iterated_has_no_history() -> None:
    assert NO_HISTORY.after(None) is NO_HISTORY
    assert NO_HISTORY.guess(True, 0.5, 0.5) is None
