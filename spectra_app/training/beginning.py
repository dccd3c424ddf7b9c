"""What a training begins with: random weights, those of a model of ours, or those of another library's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spectra_app.config import BackboneSettings, ModelSettings, PaiNNSettings, TrainFile
from spectra_app.errors import ConfigError, DatasetError
from spectra_app.potentials.checkpoints import OpenedCheckpoint, agreed_settings, begun_from, open_checkpoint
from spectra_app.potentials.folder import load_model, read_card
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import neighbor_pairs
from spectra_app.training.chemistry import resolve_oxidation_states, resolve_smearing
from spectra_app.training.dataset import LabelledFrame, Sample, fit_reference_energies

SHORT_RANGE: tuple[str, ...] = ("backbone.", "energy_head.")  # first parts of the names of its weights
_COUNTED = 20  # frames whose neighbours are counted
_CALIBRATED = 4  # frames on which a backbone looks before it is trained


@dataclass(frozen=True)
class Beginning:
    """What is known before the first weight is made.

    Attributes:
        settings: with an architecture without ``auto``.
        species: chemical symbols.
        opened: model of another library, or None.
    """

    settings: TrainFile
    species: tuple[str, ...]
    opened: OpenedCheckpoint | None


def settle(
    settings: TrainFile, frames: Sequence[LabelledFrame], species: tuple[str, ...], trust_checkpoint: bool = False
) -> Beginning:
    """Open ``training.init_from`` and replace what the architecture leaves to the data by numbers.

    Args:
        settings: of the file.
        frames: all labelled structures, those held out included.
        species: chemical symbols in them.
        trust_checkpoint: open a file of another library that runs code.

    Raises:
        ConfigError: the file contradicts the checkpoint; see ``checkpoints.open_checkpoint``.
        ModelError: the checkpoint cannot be opened.
        DatasetError: oxidation states that do not fit.
    """
    training, model = settings.training, settings.model
    opened = None
    if training.init_from is not None:
        path = training.init_from
        opened = open_checkpoint(model.backbone.name, path, species, training.init_head, trust_checkpoint)
        agreed = agreed_settings(model.backbone, opened.backbone, path)
        model = model.model_copy(update={"backbone": agreed})
    if training.short_range_share == 0.0 and training.start is None and opened is None:
        raise ConfigError(
            "training.short_range_rate",
            got="0, with random weights",
            wanted="a trained short-range part to keep",
            todo="Name a model under training.start or training.init_from",
        )
    model = resolve_smearing(resolve_oxidation_states(model, frames, species), species)
    known = None if training.start is None else read_card(training.start).settings.backbone
    model = keep_soft_length(resolve_neighbors(model, frames, known), known)
    return Beginning(settings.model_copy(update={"model": model}), species, opened)


def keep_soft_length(settings: ModelSettings, known: BackboneSettings | None) -> ModelSettings:
    """The settings with ``soft_length`` of the model that the training begins with, where the file does not set it.

    Models of earlier formats have another one than a file of today by default.
    """
    ours = settings.backbone
    if not isinstance(known, PaiNNSettings) or "soft_length" in ours.model_fields_set:
        return settings
    if not isinstance(ours, PaiNNSettings):
        return settings
    return settings.model_copy(update={"backbone": ours.model_copy(update={"soft_length": known.soft_length})})


def resolve_neighbors(
    settings: ModelSettings, frames: Sequence[LabelledFrame], known: BackboneSettings | None = None
) -> ModelSettings:
    """The settings with ``avg_num_neighbors`` as a number, where the backbone has such a key.

    Args:
        settings: architecture; ``auto`` becomes the mean over atoms of some of the frames.
        frames: labelled structures.
        known: of the model that the training begins with: its number is kept.
    """
    if getattr(settings.backbone, "avg_num_neighbors", None) != "auto":
        return settings
    if known is not None and hasattr(known, "avg_num_neighbors"):
        number = known.avg_num_neighbors
        return settings.model_copy(
            update={"backbone": settings.backbone.model_copy(update={"avg_num_neighbors": number})}
        )
    n_pairs, n_atoms = 0, 0
    for frame in frames[:: max(1, len(frames) // _COUNTED)]:
        atoms = frame.atoms
        cell = atoms.cell.array if atoms.pbc.any() else None
        n_pairs += len(neighbor_pairs(atoms.positions, cell, settings.backbone.cutoff_A)[0])
        n_atoms += len(atoms)
    mean = round(max(1.0, n_pairs / n_atoms), 3)
    return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"avg_num_neighbors": mean})})


def initial_model(beginning: Beginning, frames: Sequence[LabelledFrame]) -> Potential:
    """The potential that is trained, with fitted reference energies; its energy unit is the RMS force times 1 A.

    With ``training.start`` or ``training.init_from`` it has weights, reference energies and energy unit of that model.

    Args:
        beginning: see ``settle``.
        frames: to be trained on.

    Raises:
        DatasetError: all forces are zero.
        ConfigError: ``training.start`` is of other elements or of another architecture.
    """
    settings, species = beginning.settings, beginning.species
    eps_inf, opened = settings.training.eps_inf, beginning.opened
    if settings.training.start is not None:
        return _begun_model(settings, species, settings.training.start)
    if opened is not None:
        return begun_from(opened, settings.model, species, eps_inf)
    reference = fit_reference_energies(frames, species)
    rms_force = float(np.sqrt(np.mean(np.concatenate([f.forces.reshape(-1) for f in frames]) ** 2)))
    if rms_force == 0.0:
        raise DatasetError("training data", got="all forces are zero", wanted="structures away from equilibrium")
    return Potential(settings.model, species, torch.as_tensor(reference), rms_force, eps_inf)


_GROWS = ("alpha", "bonds", "pairs")  # what is new begins at zero: the same model
_OF_NO_WEIGHTS = ("bond_weight", "ewald_tolerance", "response_tolerance")


def _begun_model(settings: TrainFile, species: tuple[str, ...], start: str) -> Potential:
    """A trained potential to go on with.

    Raises:
        ConfigError: it is of other elements or of another architecture.
    """
    begun = load_model(start)
    if begun.species != tuple(species):
        raise ConfigError("training.start", got=f"a model of {', '.join(begun.species)}", wanted=", ".join(species))
    theirs, ours = begun.settings.model_dump(), settings.model.model_dump()
    free = (*_OF_NO_WEIGHTS, *settings.model.backbone.keys_beside_checkpoint)
    for key, value in ours.items():
        if theirs.get(key) != value and key not in free and (key, theirs.get(key), value) != _GROWS:
            raise ConfigError(
                f"training.start, model.{key}", got=f"{theirs.get(key)} in {start}", wanted=f"{value}, as in the file"
            )
    reference, unit = begun.reference_energies, float(begun.energy_scale)
    model = Potential(settings.model, species, reference, unit, settings.training.eps_inf)
    model.load_state_dict(model.state_dict() | begun.state_dict())
    return model


def calibrate(model: Potential, samples: Sequence[Sample]) -> None:
    """Let the backbone see a few structures (``Backbone.calibrate``)."""
    few = samples[:: max(1, len(samples) // _CALIBRATED)][:_CALIBRATED]
    seen = [(sample.system, model.species_index[sample.system.numbers], sample.neighbors) for sample in few]
    model.backbone.calibrate(seen)


def center_initial_energy(model: Potential, frames: Sequence[LabelledFrame], sets: Sequence[list[Sample]]) -> None:
    """Move the untrained network's mean energy into the reference energies: no step is spent on a constant.

    Args:
        model: its reference energies are changed in place.
        frames: to be trained on.
        sets: samples of them, then others; their energies are changed in place.
    """
    few = list(range(0, len(frames), max(1, len(frames) // 8)))
    residual = np.zeros(len(few))
    for row, place in enumerate(few):
        sample = sets[0][place]
        with torch.no_grad():
            energy = model.evaluate(sample.system, sample.neighbors, model.k_vectors(sample.system)).energy
        residual[row] = float(sample.energy - energy)
    shift = fit_reference_energies([frames[i] for i in few], model.species, residual)
    model.reference_energies += torch.as_tensor(shift, device=model.reference_energies.device)
    per_species = torch.as_tensor(shift, device=model.device)
    for samples in sets:
        for place, sample in enumerate(samples):
            moved = per_species[model.species_index[sample.system.numbers]].sum().to(sample.energy.dtype)
            samples[place] = sample._replace(energy=sample.energy - moved)
