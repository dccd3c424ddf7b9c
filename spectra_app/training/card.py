"""The card of a trained model: a README.md in its folder that says what it is, what it learned, how wrong it is."""

from __future__ import annotations

from collections.abc import Mapping

from spectra_app.config import TrainFile
from spectra_app.potentials.records import ModelCard

_QUANTITIES = (
    ("energy_rmse_meV_per_atom", "energy per atom, one shift per composition", "meV"),
    ("forces_rmse_meV_per_A", "force component", "meV/A"),
    ("stress_rmse_GPa", "stress component", "GPa"),
)


def card_text(
    card: ModelCard, settings: TrainFile, born_means_e: Mapping[str, float], sign_known: bool, best_epoch: int
) -> str:
    """Markdown text of a model card.

    Args:
        card: the model's card, errors on held-out frames included.
        settings: the recipe.
        born_means_e: isotropic mean Born charge of each element, e; empty for a short-range model.
        sign_known: whether the sign of the latent multipoles could be determined.
        best_epoch: epoch whose weights were kept.
    """
    model, training = settings.model, settings.training
    prefix = "test" if any(name.startswith("test_") for name in card.errors) else "validation"
    n_frames = int(card.errors.get(f"{prefix}_n_structures", 0))
    lines = [
        f"# Model {card.name}",
        "",
        f"Elements {', '.join(card.species)}; variant `{model.variant}`; backbone {model.backbone}, "
        f"{model.layers} layers, "
        f"{model.channels} channels, rank {model.rank}, cutoff {model.cutoff_A:g} A; smearing {model.sigma_A:g} A.",
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
    lines += ["", "## What the latent charges mean", ""]
    if born_means_e:
        means = ", ".join(f"{symbol} {value:+.3f} e" for symbol, value in born_means_e.items())
        sign = "Sign fixed so that the more electropositive element is positive (Pauling)."
        unknown = "The sign is undetermined: the mean Born charges vanish."
        scale = (
            f"eps_inf = {card.eps_inf:g}" if card.eps_inf is not None else "no eps_inf given: latent values, unscaled"
        )
        lines.append(
            f"Mean isotropic Born charges on validation frames: {means} ({scale}). {sign if sign_known else unknown}"
        )
    else:
        lines.append("A short-range model: no charges, no spectra but the density of states.")
    lines += ["", f"Made {card.created}; weights of epoch {best_epoch}; recipe in `training.yaml`.", ""]
    return "\n".join(lines)
