"""Measures the range of environments that a model was trained on: ``potentials.training_range`` of its frames.

The edge, 1, is where the most unusual atom of one in a hundred frames lies.  It is taken from frames that were left
out of mean and covariance, and from the bulk of them: by a Gumbel distribution through the median and the ninth decile
of the frames' largest values, so that a few broken frames among the training data do not widen it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from spectra_app.config import TrainFile
from spectra_app.errors import DatasetError
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.training_range import Gaussian, TrainingRange, nearest_by_element
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, from_ase
from spectra_app.training.dataset import LabelledFrame, read_frames, split_data

FOLDS = 8  # parts of the frames, each measured by the others
MOST_ATOMS = 300_000  # more frames than hold them are thinned out evenly
BEYOND = 0.01  # share of ordinary frames whose most unusual atom lies beyond the edge
SHRINKAGE = 1e-3  # of the mean variance, added to every one; from 1e-6 to 1e-1 nothing in docs/extrapolation.md changes
NEAREST_FLOOR_A = 0.01  # smallest standard deviation of a nearest distance


T = TypeVar("T")


class Environments(NamedTuple):
    """What is known of the atoms of all frames, one after the other.

    Attributes:
        scalars: [atom, channel], of the backbone.
        nearest_A: [atom, element], distance to the nearest atom of an element, A.
        species: [atom], index of the element.
        frame: [atom], number of the frame.
    """

    scalars: np.ndarray
    nearest_A: np.ndarray
    species: np.ndarray
    frame: np.ndarray


def measure_training_range(
    model: Potential, structures: Sequence[tuple[System, Neighbors]], source: str = "training frames"
) -> TrainingRange:
    """The range of the environments in frames that a model was trained on.

    Args:
        model: with its final weights.
        structures: the frames, single structures in the model's dtype and on its device, with tables complete to its
            cutoff.
        source: the frames in words.

    Raises:
        DatasetError: no frames, or none with one of the model's elements.
    """
    if not structures:
        raise DatasetError("range of the training data", got="no frames", wanted="those the model was trained on")
    few = _thinned(structures, sum(len(system.positions) for system, _ in structures))
    return fit_range(environments(model, few), model.species, model.cutoff, source).to(model.device, model.dtype)


def measure_on_files(model: Potential, paths: Sequence[Path], recipe: TrainFile | None = None) -> TrainingRange:
    """As ``measure_training_range`` on the data that a model was trained on.

    Args:
        model: with its final weights.
        paths: all files of the data, in the order of the recipe.
        recipe: of the model; where its files have the names of ``paths``, the frames that it held out are left out.

    Raises:
        DatasetError: the data cannot be read, or have no atom of one of the model's elements.
        StructureError: an element that the model does not know.
    """
    settings = None if recipe is None else recipe.training
    frames = read_frames(paths, *(() if settings is None else (settings.keys,)))
    names = ", ".join(path.name for path in paths)
    source = f"all {len(frames)} frames of {names}"
    if settings is not None and [path.name for path in settings.data] == [path.name for path in paths]:
        chosen = split_data(len(frames), settings)[0]
        source = f"{len(chosen)} training frames of the {len(frames)} in {names}"
        frames = [frames[place] for place in chosen]
    few = _thinned(frames, sum(len(frame.atoms) for frame in frames))
    found = environments(model, _structures(model, few))
    return fit_range(found, model.species, model.cutoff, source).to(model.device, model.dtype)


def _structures(model: Potential, frames: Iterable[LabelledFrame]) -> Iterator[tuple[System, Neighbors]]:
    for frame in frames:
        charge = frame.atoms.info["charge"]
        system = from_ase(frame.atoms, charge=charge, dtype=model.dtype, device=model.device, name=frame.name)
        model.check_system(system, frame.name)
        yield system, build_neighbors(system, model.cutoff).to(dtype=model.dtype)


def environments(model: Potential, structures: Iterable[tuple[System, Neighbors]]) -> Environments:
    """Features and nearest distances of every atom; arguments as ``measure_training_range``."""
    parts: list[tuple[np.ndarray, ...]] = []
    for number, (system, neighbors) in enumerate(structures):
        species = model.species_index[system.numbers]
        with torch.no_grad():
            pair = PairGeometry(system, neighbors, model.cutoff)
            scalars = model.backbone(system, species, neighbors, pair).scalars
            nearest, _ = nearest_by_element(species, neighbors, pair.distance, model.cutoff, len(model.species))
        found = (scalars.float(), nearest.double(), species, torch.full_like(species, number))
        parts.append(tuple(tensor.cpu().numpy() for tensor in found))
    return Environments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fit_range(found: Environments, species: tuple[str, ...], cutoff: float, source: str) -> TrainingRange:
    """The range of environments that are measured already.

    Args:
        found: of all frames.
        species: symbols of the elements.
        cutoff: of the nearest distances, A.
        source: the frames in words.

    Raises:
        DatasetError: no frame has one of the elements.
    """
    missing = [symbol for index, symbol in enumerate(species) if not (found.species == index).any()]
    if missing:
        raise DatasetError(
            f"range of the training data, {source}",
            got=f"no atom of {', '.join(missing)}",
            wanted="frames with every element of the model",
        )
    of_element = [found.nearest_A[found.species == index] for index in range(len(species))]
    limits = np.stack([np.stack([some.min(axis=0), some.max(axis=0)], axis=-1) for some in of_element])
    spread = np.stack([np.maximum(some.std(axis=0), NEAREST_FLOOR_A) for some in of_element])
    features, unusual = _gaussian(found.scalars, found, len(species), 0.0)
    nearest, deviation = _gaussian(found.nearest_A, found, len(species), NEAREST_FLOOR_A**2)
    # Every element and both measures alike have their share of frames beyond 1: now all of them together.
    together = max(edge(_largest(np.maximum(unusual, deviation), found.frame)), 1e-6)
    return TrainingRange(
        features._replace(whiten=features.whiten / together),
        nearest._replace(whiten=nearest.whiten / together),
        _tensor(limits),
        _tensor(spread),
        cutoff,
        source,
    )


def edge(largest: np.ndarray) -> float:
    """The value that is exceeded in the share ``BEYOND`` of ordinary frames.

    Args:
        largest: [frame], the largest value in each, measured by the others.
    """
    median, decile = np.quantile(largest, [0.5, 0.9])
    return float(median + (decile - median) * (_gumbel(1.0 - BEYOND) - _gumbel(0.5)) / (_gumbel(0.9) - _gumbel(0.5)))


def _gumbel(share: float) -> float:
    """Quantile of the standard Gumbel distribution."""
    return -math.log(-math.log(share))


def _largest(values: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Largest of values [atom] in every frame that has one; ``frame`` [atom], ascending."""
    return np.maximum.reduceat(values, np.flatnonzero(np.diff(frame, prepend=-1)))


def _gaussian(values: np.ndarray, found: Environments, n_elements: int, floor: float) -> tuple[Gaussian, np.ndarray]:
    """Mean and whitening of every element, of length 1 at its edge; and the lengths [atom], each measured by others.

    Args:
        values: [atom, column].
        found: which element and which frame they are of.
        n_elements: of the model.
        floor: variance that is added to that of every column, besides a share of the mean one.
    """
    whole = float(values.var(axis=0, dtype=np.float64).mean())
    fold = found.frame % FOLDS
    means, whitens, lengths = [], [], np.empty(len(values))
    for element in range(n_elements):
        here = found.species == element
        mine, of_fold, frame = values[here].astype(np.float64), fold[here], found.frame[here]
        whole_sums = _moments(mine, mine[0])
        length = np.empty(len(mine))
        for part in range(FOLDS):
            left_out = of_fold == part
            # An element of one fold only has nobody else to be measured by.
            others = _moments(mine[~left_out], mine[0]) if left_out.sum() < len(mine) - 1 else whole_sums
            mean, whiten = _whitening(others, floor, whole)
            length[left_out] = np.linalg.norm((mine[left_out] - mine[0] - mean) @ whiten, axis=1)
        own = max(edge(_largest(length, frame)), 1e-6)
        mean, whiten = _whitening(whole_sums, floor, whole)
        means.append(mine[0] + mean)
        whitens.append(whiten / own)
        lengths[here] = length / own
    return Gaussian(_tensor(np.stack(means)), _tensor(np.stack(whitens))), lengths


def _moments(values: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of values [atom, column] counted from an origin, and of their products."""
    shifted = values - origin
    return shifted.mean(axis=0), shifted.T @ shifted / len(values)


def _whitening(moments: tuple[np.ndarray, np.ndarray], floor: float, whole: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean [column] and whitening [column, whitened]; ``whole`` is the variance of all elements together."""
    mean, second = moments
    covariance = second - np.outer(mean, mean)
    added = SHRINKAGE * (float(np.trace(covariance)) / len(mean) + SHRINKAGE * whole) + floor + 1e-30
    lower = np.linalg.cholesky(covariance + added * np.eye(len(mean)))
    return mean, np.linalg.inv(lower).T


def _thinned(frames: Sequence[T], n_atoms: int) -> Sequence[T]:
    """Frames evenly chosen of those that hold ``n_atoms`` together."""
    return frames[:: -(-n_atoms // MOST_ATOMS)]


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
