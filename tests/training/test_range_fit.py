"""The range of the training data: its edge, what moves it and what does not, and that training writes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.io import write

from spectra_app import extrapolation, load_model
from spectra_app.config import ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import DatasetError
from spectra_app.potentials.training_range import Gaussian
from spectra_app.training.range_fit import Environments, _thinned, edge, fit_range, measure_on_files
from spectra_app.training.trainer import train
from tests.training.data import water_like_frames, write_frames

N_FRAMES, N_ATOMS = 400, 12


def invented(rng: np.random.Generator, n_frames: int = N_FRAMES) -> Environments:
    """Frames of atoms of two elements with correlated features."""
    species = np.tile(np.array([0, 0, 0, 1]), n_frames * N_ATOMS // 4)
    mix = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0] * [1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
    scalars = rng.normal(size=(len(species), 6)) @ mix.T + 100.0 * species[:, None]
    nearest = 1.0 + species[:, None] + 0.1 * rng.normal(size=(len(species), 2))
    return Environments(scalars, nearest, species, np.repeat(np.arange(n_frames), N_ATOMS))


def values(known, found: Environments) -> np.ndarray:
    """[frame], largest value of both measures."""
    species = torch.from_numpy(found.species)
    parts = [
        Gaussian(mean.double(), whiten.double()).length(torch.from_numpy(of), species)
        for mean, whiten, of in (
            (known.feature_mean, known.feature_whiten, found.scalars),
            (known.nearest_mean, known.nearest_whiten, found.nearest_A),
        )
    ]
    return torch.maximum(*parts).numpy().reshape(-1, N_ATOMS).max(axis=1)


def test_one_in_a_hundred_ordinary_frames_is_beyond_the_edge(rng) -> None:
    known = fit_range(invented(rng), ("H", "O"), 3.0, "invented")
    fresh = values(known, invented(rng, 4000))
    assert 0.003 < (fresh > 1.0).mean() < 0.025
    assert np.median(fresh) > 0.6


def test_the_features_measure_is_the_mahalanobis_distance(rng) -> None:
    found = invented(rng)
    known = fit_range(found, ("H", "O"), 3.0, "invented")
    species = torch.from_numpy(found.species)
    length = Gaussian(known.feature_mean.double(), known.feature_whiten.double()).length(
        torch.from_numpy(found.scalars), species
    )
    for element in (0, 1):
        mine = found.scalars[found.species == element]
        shift = mine - mine.mean(axis=0)
        expected = np.sqrt(np.einsum("ac,cd,ad->a", shift, np.linalg.inv(np.cov(shift.T)), shift))
        ratio = length.numpy()[found.species == element] / expected
        assert ratio.std() / ratio.mean() < 0.03  # the small share of the mean variance that is added


def test_a_few_broken_frames_do_not_widen_it(rng) -> None:
    found = invented(rng)
    ordinary = invented(rng, 1000)
    before = np.median(values(fit_range(found, ("H", "O"), 3.0, ""), ordinary))
    broken = found.scalars.copy()
    broken[found.frame < 3] *= 6.0  # three of 400 frames
    after = np.median(values(fit_range(found._replace(scalars=broken), ("H", "O"), 3.0, ""), ordinary))
    assert after > 0.6 * before


def test_the_edge_is_the_quantile_of_gumbel_variables() -> None:
    drawn = np.random.default_rng(3).gumbel(2.0, 0.5, size=200_000)
    assert edge(drawn) == pytest.approx(2.0 - 0.5 * np.log(-np.log(0.99)), abs=0.02)
    assert edge(np.array([1.3])) == 1.3


def test_few_atoms_and_missing_elements(rng) -> None:
    tiny = Environments(rng.normal(size=(3, 6)), np.ones((3, 2)), np.array([0, 0, 1]), np.zeros(3, dtype=int))
    known = fit_range(tiny, ("H", "O"), 3.0, "one frame")
    assert all(torch.isfinite(tensor).all() for tensor in known.tensors().values())
    with pytest.raises(DatasetError, match="no atom of Na"):
        fit_range(tiny, ("H", "O", "Na"), 3.0, "one frame")
    assert len(_thinned(range(100), 700_000)) == 34


def test_training_writes_it_and_data_files_give_it_again(tmp_path) -> None:
    frames = water_like_frames(20)
    data = write_frames(tmp_path / "train.xyz", frames)
    settings = TrainFile(
        model=ModelSettings(channels=12, n_radial=5, cutoff_A=3.5, variant="puiu"),
        training=TrainingSettings(
            data=(data,), epochs=1, batch_size=4, dtype="float64", validation_fraction=0.2, output=tmp_path / "model"
        ),
    )
    train(settings)
    model = load_model(tmp_path / "model", dtype="float64")
    assert model.training_range.source == "16 training frames"
    again = measure_on_files(model, [data], settings)
    assert again.source == "16 training frames of the 20 in train.xyz"
    for name, tensor in model.training_range.tensors().items():
        assert torch.allclose(tensor, again.tensors()[name], rtol=1e-4, atol=1e-5), name
    write(tmp_path / "other.xyz", frames)
    assert measure_on_files(model, [tmp_path / "other.xyz"], settings).source == "all 20 frames of other.xyz"
    assert not extrapolation(model, frames[3]).largest > 3.0
    torn = frames[3].copy()
    torn.positions[1] = torn.positions[0] + 1.8 * (torn.positions[1] - torn.positions[0])
    assert extrapolation(model, torn).atom in (0, 1)
    assert extrapolation(model, torn).outside
