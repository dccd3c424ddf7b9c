"""The file with the range of the training data, beside the weights of a model that it was measured with.

Neither predictions nor the model's hash depend on it: a model may be given one, or another, at any time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from spectra_app.errors import ModelError
from spectra_app.files import atomic_path
from spectra_app.potentials.training_range import Gaussian, TrainingRange
from spectra_app.zoo import RANGE_FILE

RANGE_VERSION = 1


def save_training_range(known: TrainingRange, weights: Path) -> Path:
    """Put the range of the training data beside the weights that it was measured with; its digest is set.

    Args:
        known: the range.
        weights: file of the weights.

    Raises:
        ModelError: the folder cannot be written, or the disk is full.
    """
    facts = {
        "version": str(RANGE_VERSION),
        "weights": _digest(weights),
        "cutoff_A": repr(known.cutoff),
        "source": known.source,
    }
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in known.tensors().items()}
    path = weights.with_name(RANGE_FILE)
    with atomic_path(path, ModelError) as temporary:
        temporary.write_bytes(save(tensors, facts))
    known.digest = _digest(path)
    return path


def read_training_range(weights: Path) -> TrainingRange | None:
    """The range of the training data of a model; None where there is none beside its weights.

    Args:
        weights: file of the weights.

    Raises:
        ModelError: it cannot be read, or belongs to other weights.
    """
    path = weights.with_name(RANGE_FILE)
    if not path.is_file():
        return None
    again = f"Make it anew: spectra-app models {weights.parent.name} --trained-on DATA; or remove it"
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            t = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        version, of_weights = int(facts["version"]), facts["weights"]
        features = Gaussian(t["feature_mean"], t["feature_whiten"])
        nearest = Gaussian(t["nearest_mean"], t["nearest_whiten"])
        limits, spread, cutoff = t["limits_A"], t["spread_A"], float(facts["cutoff_A"])
        found = TrainingRange(features, nearest, limits, spread, cutoff, facts["source"], _digest(path))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}", got=f"unreadable ({error!r})", wanted="a range of training data", todo=again
        ) from None
    if version != RANGE_VERSION:
        raise ModelError(f"{path}", got=f"version {version}", wanted=f"version {RANGE_VERSION}", todo=again)
    if of_weights != _digest(weights):
        raise ModelError(f"{path}", got="the range of other weights", wanted=f"that of {weights.name}", todo=again)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
