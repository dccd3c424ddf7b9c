"""What the report on latent quantities says: against the potential's own results, by hand, and on models made blind."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from spectra_app.config import ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import ModelError
from spectra_app.potentials import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system
from spectra_app.training.card_text import MEANING, card_text, interpretation_lines, renew_meaning
from spectra_app.training.dataset import make_samples, read_frames
from spectra_app.training.interpretation import find_warnings, interpretation_json
from spectra_app.training.screening import measure_scale
from spectra_app.training.sign import charge_order, fix_sign
from spectra_app.training.survey import interpret
from spectra_app.units import EPSILON_0
from tests.random_weights import with_random_weights
from tests.training.data import water_like_frames, write_frames

CELL = np.array([[6.0, 0.0, 0.0], [1.3, 5.5, 0.0], [0.7, -1.1, 5.8]])
NUMBERS = [8, 1, 1, 8, 1, 1]
K_E = 14.3996454784  # eV A e^-2


def potential(variant: str, **settings) -> Potential:
    torch.manual_seed(5)
    small = {"channels": 8, "n_radial": 4, "cutoff_A": 3.5}
    chosen = {**small, "response": "one-shot", "ewald_tolerance": 1e-6, **settings}
    return with_random_weights(
        Potential(ModelSettings(variant=variant, **chosen), ("H", "C", "O"), eps_inf=1.8).double(), 1.5
    )


def structures(model: Potential, cell: np.ndarray | None = CELL, n: int = 2):
    grid = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]]) * 0.48 + 0.05
    shakes = (np.random.default_rng(seed).uniform(-0.09, 0.09, size=(6, 3)) for seed in range(n))
    systems = [make_system((grid + shake) @ CELL, NUMBERS, cell) for shake in shakes]
    return [(system, build_neighbors(system, model.cutoff)) for system in systems]


@pytest.fixture(scope="module")
def puiu():
    model = potential("puiu")
    frames = structures(model)
    model.scale = measure_scale(model, frames)
    return model, frames, interpret(model, frames, "two frames")


def test_latent_means_are_those_of_the_predictions(puiu):
    model, frames, report = puiu
    predictions = [model(*frame) for frame in frames]
    assert [(e.symbol, e.n_atoms) for e in report.elements] == [("H", 8), ("O", 4)]  # and no carbon
    for element, number in zip(report.elements, (1, 8), strict=True):
        here = np.array(NUMBERS) == number
        charges = np.concatenate([p.charges.numpy()[here] for p in predictions])
        assert element.latent.charge_e.mean == pytest.approx(charges.mean())
        assert element.latent.charge_e.std == pytest.approx(charges.std())
        alpha = np.concatenate([p.atomic_polarizabilities.numpy()[here] for p in predictions])
        assert element.latent.alpha_e2A2_per_eV.mean == pytest.approx(np.trace(alpha, axis1=1, axis2=2).mean() / 3)
        assert element.latent.alpha_A3.mean == pytest.approx(K_E * element.latent.alpha_e2A2_per_eV.mean)
        first, second, third = np.linalg.eigvalsh(alpha).T
        gamma = np.sqrt(((first - second) ** 2 + (second - third) ** 2 + (third - first) ** 2) / 2)
        assert element.latent.alpha_anisotropy_e2A2_per_eV.mean == pytest.approx(gamma.mean())
        born = np.concatenate([model.born_charges(*frame).numpy()[here] for frame in frames])
        assert element.born_e.mean == pytest.approx(np.trace(born, axis1=1, axis2=2).mean() / 3)


def test_physical_values_are_scaled_with_the_screening_of_the_material(puiu):
    model, frames, report = puiu
    predictions = [model(*frame) for frame in frames]
    chi = [float(p.polarizability[0].trace()) / (3 * EPSILON_0 * abs(np.linalg.det(CELL))) for p in predictions]
    assert report.chi.mean == pytest.approx(np.mean(chi))
    assert report.chi.std == pytest.approx(np.std(chi))
    assert report.screening == pytest.approx(model.scale.screening)
    assert (report.eps_e.mean, report.eps_e.std) == (pytest.approx(1.8 / report.screening), 0.0)
    eps = np.full(len(frames), 1.8 / report.screening)
    oxygen = np.array(NUMBERS) == 8
    scaled = np.concatenate([np.sqrt(e) * p.charges.numpy()[oxygen] for e, p in zip(eps, predictions, strict=True)])
    assert report.elements[1].physical.charge_e.mean == pytest.approx(scaled.mean())
    alpha = [
        e * np.trace(p.atomic_polarizabilities.numpy()[oxygen], axis1=1, axis2=2) / 3
        for e, p in zip(eps, predictions, strict=True)
    ]
    assert report.elements[1].physical.alpha_e2A2_per_eV.mean == pytest.approx(np.mean(alpha))
    induced = report.elements[1]
    ratio = induced.physical.induced_dipole_eA.mean / induced.latent.induced_dipole_eA.mean
    assert ratio == pytest.approx(math.sqrt(eps.mean()), rel=1e-2)


def test_open_structures_are_not_scaled():
    model = potential("puiu")
    report = interpret(model, structures(model, None))
    assert (report.eps_e.mean, report.chi.mean, report.periodic) == (1.0, 0.0, False)
    assert report.elements[0].physical == report.elements[0].latent


def test_parts_of_energy_and_forces_are_those_of_models_without_them():
    """A model whose polarizability is set to zero has the permanent part alone, whatever the code that splits."""
    model = potential("puiu", alpha="scalar", alpha_positive=False)
    model.latent_head.alpha_isotropic.weight.mul_(0.1)  # every alpha stays near the first one, which is positive
    frames = structures(model, n=1)
    blind = copy.deepcopy(model)
    blind.latent_head.alpha_isotropic.weight.zero_()
    blind.latent_head.alpha_isotropic.bias.fill_(-1.0)  # alpha = initial (1 + raw)
    whole, permanent = (m(*frames[0]) for m in (model, blind))
    share, empty = interpret(model, frames).long_range, interpret(blind, frames)
    difference = whole.forces - permanent.forces
    assert share.response_forces_rms_meV_per_A == pytest.approx(1e3 * float(difference.pow(2).mean().sqrt()))
    assert share.response_meV_per_atom.mean == pytest.approx(1e3 * float(whole.energy - permanent.energy) / 6)
    assert share.forces_rms_meV_per_A == pytest.approx(1e3 * float(whole.forces.pow(2).mean().sqrt()))
    assert share.response_meV_per_atom.mean < 0  # a one-shot response of positive alpha lowers the energy
    assert empty.long_range.response_forces_rms_meV_per_A == pytest.approx(0.0, abs=1e-9)
    assert empty.long_range.permanent_meV_per_atom.mean == pytest.approx(share.permanent_meV_per_atom.mean)
    assert sum("alpha of" in warning and "at zero" in warning for warning in empty.warnings) == 2


def test_independent_charges_do_not_balance_and_the_report_says_so():
    model = potential("uiqiu")
    frames = structures(model)
    report = interpret(model, frames)
    excess = [float(model(*frame).charges.sum()) for frame in frames]
    assert report.excess_charge_e.mean == pytest.approx(np.mean(excess))
    assert abs(report.excess_charge_e.mean) > 1e-3
    assert report.sum_rule_e > 1e-3
    assert report.elements[0].latent.induced_charge_e is not None


def test_equilibrated_charges_balance_and_the_report_says_what_their_polarization_lacks():
    model = potential("ueqiu")
    report = interpret(model, structures(model))
    assert abs(report.excess_charge_e.mean) < 1e-12
    warnings = find_warnings(dataclasses.replace(report, sum_rule_e=1.0))
    assert any("charge that flows between distant atoms" in warning for warning in warnings)
    assert not any("do not conserve charge" in warning for warning in warnings)


def test_pair_response_is_the_slope_of_charge_against_potential():
    model = potential("puip")
    frames = structures(model)
    report = interpret(model, frames)
    assert report.excess_charge_e.mean == pytest.approx(0.0, abs=1e-12)
    assert report.sum_rule_e < 1e-12
    system, neighbors = frames[0]
    kappa = model.evaluate(system, neighbors, model.k_vectors(system)).latents.kappa
    hydrogen = np.array(NUMBERS) == 1
    first = [float(kappa[i][neighbors.mask[i]].sum()) for i in range(6) if hydrogen[i]]
    only = interpret(model, frames[:1]).elements[0].latent.kappa_e2_per_eV
    assert only.mean == pytest.approx(np.mean(first))
    model.latent_head.kappa_scale *= 1e7  # near its bound, which is not near for random weights
    kept = interpret(model, frames[:1]).elements[0].kept_kappa
    sums = {}
    for bounded in (True, False):
        model.latent_head.bounded = bounded
        found = model.evaluate(system, neighbors, model.k_vectors(system)).latents.kappa
        sums[bounded] = found.sum(1)[torch.as_tensor(hydrogen)]
    assert kept == pytest.approx(float((sums[True] / sums[False]).mean()), rel=1e-6)
    assert kept < 0.98
    assert all(element.latent.alpha_A3 is None for element in report.elements)


def test_vanishing_charges_are_called_undetermined():
    model = potential("p")
    for parameter in (model.latent_head.element_charges, *model.latent_head.pair_nodes.parameters()):
        parameter.mul_(1e-6)
    report = interpret(model, structures(model))
    assert not report.sign_known
    assert "undetermined, the mean Born charges vanish" in report.sign
    text = "\n".join(report.warnings)
    assert "this data does not determine charges" in text
    assert "the long-range part makes 0.0 % of the forces" in text
    share = report.long_range
    assert share.forces_rms_meV_per_A > 1.0
    assert share.permanent_forces_rms_meV_per_A < 1e-3
    assert share.long_range_forces_rms_meV_per_A < 1e-3


def test_large_open_molecules_in_the_conserving_family_are_warned_of():
    report = interpret(potential("p"), structures(potential("p")))

    def warned(**changes):
        return any("train variant uiu" in w for w in find_warnings(dataclasses.replace(report, **changes)))

    large = tuple(dataclasses.replace(e, n_atoms=30 * report.n_frames) for e in report.elements)
    assert warned(periodic=False, elements=large)
    assert not warned(periodic=True, elements=large)
    assert not warned(periodic=False, elements=large, variant="uiu")
    assert not warned(periodic=False)


@pytest.mark.parametrize("learned", [1.5, 1.84, 2.2])  # eps_inf is 1.8
def test_the_learned_eps_inf_stands_beside_the_given_one(puiu, learned):
    _, _, report = puiu
    same = {
        "chi": dataclasses.replace(report.chi, mean=learned - 1.0),
        "eps_e": dataclasses.replace(report.eps_e, mean=1.8 / learned),
        "screening": learned,
    }
    report = dataclasses.replace(report, **same)
    scale = next(line for line in interpretation_lines(report) if line.startswith("- Scale"))
    assert f"eps_inf = 1.8 was given, 1 + chi = {learned:.3f} is what the model learned" in scale
    assert ("the rest is a uniform background" in scale) == (learned < 1.8)
    assert any("polarizability is larger" in warning for warning in find_warnings(report)) == (learned > 2)


def test_an_element_at_its_bound_is_named(puiu):
    _, _, report = puiu
    oxygen = report.elements[1]
    assert oxygen.alpha_bound == pytest.approx(3.38 / K_E, rel=2e-3)  # 3.4 A^3 at a smearing of 1 A

    def warned(share: float) -> bool:
        alpha = dataclasses.replace(oxygen.latent.alpha_e2A2_per_eV, mean=share * oxygen.alpha_bound)
        full = dataclasses.replace(oxygen, latent=dataclasses.replace(oxygen.latent, alpha_e2A2_per_eV=alpha))
        changed = dataclasses.replace(report, elements=(report.elements[0], full))
        return any("alpha of O stands at" in w and "model.element_sigma_A" in w for w in find_warnings(changed))

    assert warned(0.9)
    assert not warned(0.6)


def test_an_element_whose_kappa_stands_at_its_bound_is_named(puiu):
    _, _, report = puiu
    oxygen = report.elements[1]
    assert oxygen.kept_kappa is None  # this variant induces no charges

    def warned(kept: float | None) -> bool:
        changed = dataclasses.replace(
            report, elements=(report.elements[0], dataclasses.replace(oxygen, kept_kappa=kept))
        )
        return any(
            "kappa of O stands at its bound: 15 % is left" in w and "model.element_sigma_A: {O: ...}" in w
            for w in find_warnings(changed)
        )

    assert warned(0.15)
    assert not warned(0.25)
    assert not warned(None)


def test_order_of_charges_by_hand():
    # Pauling: H 2.20, O 3.44; mean 2.82; (0.5 (-0.62) - 1.0 (+0.62))/2
    assert charge_order({"H": 0.5, "O": -1.0}) == pytest.approx(-0.465)
    assert charge_order({"H": -0.5, "O": 1.0}) == pytest.approx(0.465)
    assert charge_order({"H": 1e-4, "O": -1e-4}) is None
    assert charge_order({"Si": 0.3}) is None


def test_the_sign_sentence_says_which_elements_and_how_many_frames(puiu):
    model, frames, report = puiu
    words = "the more electropositive elements are positive"
    if words not in report.sign:
        model.sign.neg_()
        report = interpret(model, frames)
    assert words in report.sign
    means = [element.born_e.mean for element in report.elements]
    assert f"H {means[0]:+.3f} e (2.20), O {means[1]:+.3f} e (3.44); 2 of 2 structures" in report.sign
    model.sign.neg_()
    wrong = interpret(model, frames)
    model.sign.neg_()
    assert "OPPOSITE" in wrong.sign
    assert any("wrong sign" in warning for warning in wrong.warnings)
    assert wrong.elements[1].latent.charge_e.mean == pytest.approx(-report.elements[1].latent.charge_e.mean)
    assert wrong.elements[1].latent.dipole_eA == report.elements[1].latent.dipole_eA


def test_labelled_total_charges_keep_the_sign(tmp_path):
    frames = water_like_frames(2)
    for atoms in frames:
        atoms.info["charge"] = 1.0
    path = write_frames(tmp_path / "ions.xyz", frames)
    model = Potential(ModelSettings(variant="pu", channels=8, cutoff_A=3.0), ("H", "O")).double()
    samples = make_samples(read_frames([path]), model.cutoff, model.species, np.zeros(2), torch.float64, "cpu")
    assert float(samples[0].system.charge) == 1.0
    model.latent_head.element_charges.data.copy_(torch.tensor([-3.0, 3.0]))  # would be turned if it were neutral
    assert fix_sign(model, samples)
    assert float(model.sign) == 1.0
    report = interpret(model, [(s.system, s.neighbors) for s in samples])
    assert report.sign_known
    assert report.sign.startswith("fixed by the total charge")
    assert report.sum_rule_e < 1e-12


def test_no_report_on_a_short_range_model(tmp_path):
    model = potential("sr")
    with pytest.raises(ModelError, match="a short-range model"):
        interpret(model, structures(model))
    settings = TrainFile(model=model.settings, training=TrainingSettings(data=(tmp_path / "none.xyz",)))
    assert "A short-range model: no charges" in card_text(model.card, settings, None, 1)


def test_card_and_json_hold_the_report(puiu):
    model, _, report = puiu
    settings = TrainFile(model=model.settings, training=TrainingSettings(data=("none.xyz",)))
    text = card_text(model.card, settings, report, 1)
    assert MEANING in text
    lines = interpretation_lines(report)
    assert all(line in text for line in lines)
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1  # aligned, also for a terminal
    assert sum("Born charge" in line for line in table) == 2
    data = json.loads(interpretation_json(report))
    assert data["elements"][1]["latent"]["alpha_A3"]["mean"] == report.elements[1].latent.alpha_A3.mean
    assert data["elements"][1]["latent"]["kappa_e2_per_eV"] is None
    assert data["sign"] == report.sign


def test_a_card_is_renewed_in_its_place(puiu):
    _, _, report = puiu
    old = f"# Model x\n\n## Data\n\nsome\n\n{MEANING}\n\nold words\n\n## Limits\n\nmany\n\nMade 2026.\n"
    new = renew_meaning(old, report)
    assert "old words" not in new
    assert new.startswith("# Model x\n\n## Data\n\nsome\n\n" + MEANING)
    assert new.endswith("\n\n## Limits\n\nmany\n\nMade 2026.\n")
    assert renew_meaning(new, report) == new
    appended = renew_meaning("# Model x\n", report)
    assert appended.startswith("# Model x\n\n" + MEANING)
    assert renew_meaning(appended, report) == appended
