"""From trained weights to a model folder: sign, errors on held-out frames, range of the training data, card, recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Sequence

import yaml

from spectra_app.config import TrainFile
from spectra_app.errors import DatasetError
from spectra_app.potentials.folder import save_model, write_atomically
from spectra_app.potentials.potential import Potential
from spectra_app.training.card_text import card_text
from spectra_app.training.dataset import LabelledFrame, Sample
from spectra_app.training.evaluation import evaluate_structures
from spectra_app.training.evidence import (
    MOST_STEPS,
    STEPS_SHARE,
    ChargeEvidence,
    evidence_json,
    measure_evidence,
)
from spectra_app.training.interpretation import Interpretation, interpretation_json
from spectra_app.training.range_fit import measure_training_range
from spectra_app.training.sign import MOST_SAMPLES, fix_sign
from spectra_app.training.survey import interpret
from spectra_app.zoo import CARD_FILE, EVIDENCE_FILE, INTERPRETATION_FILE

RECIPE_FILE = "training.yaml"


def publish(
    model: Potential,
    settings: TrainFile,
    train_samples: Sequence[Sample],
    samples: Sequence[Sample],
    valid_frames: Sequence[LabelledFrame],
    test_frames: Sequence[LabelledFrame],
    best_epoch: int,
    n_steps: int = 0,
) -> ChargeEvidence | None:
    """Fix the sign of the latent multipoles, measure the errors and write the folder ``settings.training.output``.

    Args:
        model: trained weights; sign and card are changed in place.
        settings: the recipe.
        train_samples: single structures that the weights were trained on: environments beyond theirs are extrapolation.
        samples: single structures on which sign and meaning of the latent quantities are judged.
        valid_frames: frames that chose the weights.
        test_frames: frames that nothing was chosen on; may be empty.
        best_epoch: epoch of the weights.
        n_steps: that the training took.

    Returns:
        whether the data determine the charges; None where that was not measured.
    """
    training = settings.training
    fix_sign(model, samples)
    model.card = dataclasses.replace(
        model.card,
        name=training.output.name,
        created=datetime.date.today().isoformat(),
        errors=held_out_errors(model, valid_frames, test_frames),
        data=training.description,
        licence=training.licence,
        scale=model.scale,
    )
    known = [(sample.system, sample.neighbors) for sample in train_samples]
    with contextlib.suppress(DatasetError):  # an element in held-out frames only: extrapolation stays unknown
        model.training_range = measure_training_range(model, known, f"{len(known)} training frames")
    save_model(model, training.output)
    recipe = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(training.output / RECIPE_FILE, recipe.encode())
    interpretation = _interpretation(model, samples)
    if interpretation is not None:
        write_atomically(training.output / INTERPRETATION_FILE, interpretation_json(interpretation).encode())
    evidence = _evidence(model, train_samples, samples, n_steps) if training.check_charges else None
    if evidence is not None:
        write_atomically(training.output / EVIDENCE_FILE, evidence_json(evidence).encode())
    else:
        (training.output / EVIDENCE_FILE).unlink(missing_ok=True)  # of weights that were here before
    text = card_text(model.card, settings, interpretation, best_epoch, evidence)
    write_atomically(training.output / CARD_FILE, text.encode())
    return evidence


def _evidence(
    model: Potential, known: Sequence[Sample], held_out: Sequence[Sample], n_steps: int
) -> ChargeEvidence | None:
    """Whether the network could do without its charges."""
    learn, test = ([(sample.system, sample.neighbors) for sample in some] for some in (known, held_out))
    labels = [sample.forces for sample in held_out]
    return measure_evidence(model, learn, test, labels, min(MOST_STEPS, round(STEPS_SHARE * n_steps)))


def _interpretation(model: Potential, samples: Sequence[Sample]) -> Interpretation | None:
    """Report on the first samples; None for a short-range model."""
    if not model.variant.electrostatic:
        return None
    structures = [(sample.system, sample.neighbors) for sample in samples[:MOST_SAMPLES]]
    return interpret(model, structures, f"{len(structures)} validation frames")


def held_out_errors(
    model: Potential, valid_frames: Sequence[LabelledFrame], test_frames: Sequence[LabelledFrame]
) -> dict[str, float]:
    """Metrics of ``evaluate`` on the test frames, or on the validation frames where none were held out.

    The names say which: ``test_forces_rmse_meV_per_A`` or ``validation_forces_rmse_meV_per_A``, and so on.
    """
    prefix, frames = ("test", test_frames) if test_frames else ("validation", valid_frames)
    structures = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.info["energy"] = frame.energy
        atoms.arrays["forces"] = frame.forces
        if frame.stress is not None:
            atoms.info["stress"] = frame.stress
        structures.append(atoms)
    metrics = evaluate_structures(model, structures)
    return {f"{prefix}_{name}": round(float(value), 6) for name, value in metrics.items()}
