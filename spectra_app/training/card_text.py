"""The card of a trained model: a README.md in its folder that says what it is, what it learned, how wrong it is."""

from __future__ import annotations

import math
import re

from spectra_app.config import ModelSettings, TrainFile
from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.potentials.card import ModelCard
from spectra_app.training.evidence import ChargeEvidence
from spectra_app.training.interpretation import Interpretation, LongRangeShare, Spread

MEANING = "## What the latent quantities mean"

_QUANTITIES = (
    ("energy_rmse_meV_per_atom", "energy per atom, one shift per composition", "meV"),
    ("forces_rmse_meV_per_A", "force component", "meV/A"),
    ("stress_rmse_GPa", "stress component", "GPa"),
)

_ROWS = (
    ("charge_e", "permanent charge", "e"),
    ("dipole_eA", "permanent dipole, length", "e A"),
    ("alpha_e2A2_per_eV", "alpha, isotropic", "e^2 A^2/eV"),
    ("alpha_A3", "alpha, isotropic", "A^3"),
    ("alpha_anisotropy_e2A2_per_eV", "alpha, anisotropy", "e^2 A^2/eV"),
    ("kappa_e2_per_eV", "kappa, charge per volt", "e^2/eV"),
    ("induced_charge_e", "induced charge", "e"),
    ("induced_dipole_eA", "induced dipole, length", "e A"),
)
_OWN_SCREENING = 0.02  # a model's screening that differs from 1 + chi by more is that of a one-shot response
_SIGNED = ("charge_e", "induced_charge_e")


def card_text(
    card: ModelCard,
    settings: TrainFile,
    interpretation: Interpretation | None,
    best_epoch: int,
    evidence: ChargeEvidence | None = None,
) -> str:
    """Markdown text of a model card.

    Args:
        card: the model's card, errors on held-out frames included.
        settings: the recipe.
        interpretation: what the latent quantities are; None for a short-range model.
        best_epoch: epoch whose weights were kept.
        evidence: whether the data determine the charges; None where that was not measured.
    """
    model, training = settings.model, settings.training
    prefix = "test" if any(name.startswith("test_") for name in card.errors) else "validation"
    n_frames = int(card.errors.get(f"{prefix}_n_structures", 0))
    response = f", {model.response} response" if parse_variant(model.variant).responds else ""
    lines = [
        f"# Model {card.name}",
        "",
        f"Elements {', '.join(card.species)}; variant `{model.variant}`{response}; "
        f"{_charges_words(model.oxidation_states)}; {_backbone_words(model)}; smearing {_widths_words(model)}.",
        "",
        "## Data",
        "",
        card.data or "Not described (`training.description`).",
        "",
        f"Licence of the data: {card.licence or 'not given (`training.licence`)'}. "
        "Learned from energies and forces"
        + (" and stress" if f"{prefix}_stress_rmse_GPa" in card.errors and max(training.loss.stress) > 0 else "")
        + "; no dipole, "
        "polarizability or Born charge was used.",
        "",
        f"## Errors on {n_frames} frames held out ({prefix})",
        "",
        "| quantity | RMSE | unit |",
        "|---|---|---|",
    ]
    lines += [
        f"| {words} | {card.errors[f'{prefix}_{name}']:.3g} | {unit} |"
        for name, words, unit in _QUANTITIES
        if f"{prefix}_{name}" in card.errors
    ]
    if prefix == "validation":
        lines += ["", "These frames chose the epoch that was kept: expect slightly larger errors on new ones."]
    if evidence is not None:
        lines += ["", "## Do the data determine the charges?", ""]
        lines.append(f"{'' if evidence.learned else 'Warning: '}{evidence.sentence}.")
    lines += ["", MEANING, ""]
    if interpretation is not None:
        lines += interpretation_lines(interpretation)
    else:
        lines.append("A short-range model: no charges, no spectra but the density of states.")
    lines += ["", f"Made {card.created}; weights of epoch {best_epoch}; recipe in `training.yaml`.", ""]
    return "\n".join(lines)


def renew_meaning(text: str, interpretation: Interpretation) -> str:
    """A card with its section on the latent quantities replaced, or appended where it has none.

    Args:
        text: Markdown of the card.
        interpretation: the new report.
    """
    section = "\n".join([MEANING, "", *interpretation_lines(interpretation), ""])
    old = re.compile(rf"^{re.escape(MEANING)}$.*?(?=^## |^Made |\Z)", flags=re.MULTILINE | re.DOTALL)
    if old.search(text):
        return old.sub(lambda _: section + "\n", text, count=1).rstrip("\n") + "\n"
    return text.rstrip("\n") + "\n\n" + section


def _backbone_words(model: ModelSettings) -> str:
    """Architecture and reach of the network."""
    backbone = model.backbone
    words = f"backbone {backbone.name}, {backbone.in_words()}, cutoff {backbone.cutoff_A:g} A"
    heads = model.heads.cutoff_A
    return words if heads in (None, backbone.cutoff_A) else f"{words}, of pairs {heads:g} A"


def _widths_words(model: ModelSettings) -> str:
    wider = model.element_sigma_A if isinstance(model.element_sigma_A, dict) else {}
    several = "".join(f", {symbol} {width:g} A" for symbol, width in wider.items())
    return f"{model.sigma_A:g} A{several}"


def _charges_words(states: dict[str, int] | str) -> str:
    if isinstance(states, dict):
        return "charges of ions fixed by oxidation states " + ", ".join(f"{s} {n:+d}" for s, n in states.items())
    return (
        "charges of elements learned (what an atom carries through a cell is no integer, and the excess charge of an "
        "ion is spread over its structure)"
    )


def interpretation_lines(report: Interpretation) -> list[str]:
    """The report as Markdown lines, columns aligned so that it also reads in a terminal.

    Args:
        report: the report.
    """
    rows = [("element", "quantity", "latent", "physical", "unit")]
    for element in report.elements:
        name = f"{element.symbol} ({element.n_atoms})"
        for key, words, unit in _ROWS:
            latent, physical = getattr(element.latent, key), getattr(element.physical, key)
            if latent is not None:
                sign = "+" if key in _SIGNED else ""
                rows.append((name, words, _show(latent, sign), _show(physical, sign), unit))
                name = ""
        rows.append((name, "Born charge, tr(Z*)/3", "", _show(element.born_e, "+"), "e"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    table = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    table.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return [
        f"Mean and standard deviation over the atoms of {report.source or f'{report.n_frames} structures'}.",
        "",
        *table,
        "",
        f"- Scale: {_scale_sentence(report)}",
        f"- Long-range part: {_share_sentence(report.long_range)}",
        f"- Charge balance: {_balance_sentence(report)}",
        f"- Sign: {report.sign}",
        *(f"- Warning: {warning}" for warning in report.warnings),
    ]


def _scale_sentence(report: Interpretation) -> str:
    if not report.periodic:
        return "isolated structures, eps_e = 1: latent values are physical."
    if report.eps_inf is None:
        return "no eps_inf given, eps_e = 1: the physical values are the latent ones, unscaled."
    if report.screening is None:
        return f"eps_inf = {report.eps_inf:g} was given; the model's own screening could not be measured."
    if abs(report.screening - 1.0 - report.chi.mean) > _OWN_SCREENING * report.screening:
        return (
            f"eps_inf = {report.eps_inf:g} was given; the model screens slow fields {report.screening:.3f} times "
            f"(1 + chi = {1.0 + report.chi.mean:.3f}); eps_e = {report.eps_e.mean:.3f}: charges and dipoles are "
            f"multiplied by {math.sqrt(report.eps_e.mean):.3f}, responses by eps_e."
        )
    root, whole, induced = math.sqrt(report.eps_e.mean), report.eps_inf - 1.0, report.eps_inf - report.eps_e.mean
    return (
        f"eps_inf = {report.eps_inf:g} was given, 1 + chi = {1.0 + report.chi.mean:.3f} is what the model learned; "
        f"eps_e = eps_inf/(1 + chi) = {report.eps_e.mean:.3f}: charges and dipoles are multiplied by sqrt(eps_e) = "
        f"{root:.3f}, responses by eps_e. Of the electronic susceptibility eps_inf - 1 = {whole:.2f} the response "
        f"makes {induced:.2f}"
        + ("; the rest is a uniform background." if induced < whole else ", and no uniform background is left.")
    )


def _share_sentence(share: LongRangeShare) -> str:
    permanent, response = _show(share.permanent_meV_per_atom), _show(share.response_meV_per_atom)
    return (
        f"force components of {share.forces_rms_meV_per_A:.0f} meV/A (rms), of the long-range part alone "
        f"{share.long_range_forces_rms_meV_per_A:.1f} (permanent multipoles "
        f"{share.permanent_forces_rms_meV_per_A:.1f}, their response {share.response_forces_rms_meV_per_A:.1f}); "
        f"energies {permanent} (permanent) and {response} (response) meV/atom."
    )


def _balance_sentence(report: Interpretation) -> str:
    excess = _show(report.excess_charge_e, "+")
    how = "exactly" if excess == "0" else f"up to {excess} e"
    return (
        f"the charges of a structure sum to its total charge {how}; "
        f"largest violation of the acoustic sum rule {report.sum_rule_e:.1e} e."
    )


def _show(value: Spread, sign: str = "") -> str:
    """Three figures of the larger of mean and spread; ``sign`` "+" also shows that of positive means."""
    size = max(abs(value.mean), value.std)
    if size < 1e-6:
        return "0"
    decimals = min(6, max(0, 2 - math.floor(math.log10(size))))
    if value.std == 0.0:
        return f"{value.mean:{sign}.{decimals}f}"
    return f"{value.mean:{sign}.{decimals}f} +- {value.std:.{decimals}f}"
