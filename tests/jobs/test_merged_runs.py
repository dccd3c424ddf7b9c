"""Spectra of several runs of one system: what is merged, with which weight, with which error, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from spectra_app import infrared_spectrum, raman_spectrum, read_run, run_recipe, run_spectrum, vdos
from spectra_app.errors import ConfigError, SeriesError, TrajectoryError
from spectra_app.jobs.policy import bound_dipole_of, contributions_of
from spectra_app.jobs.spectrum import KINDS
from spectra_app.potentials.folder import read_card
from spectra_app.runs import Run, join_runs
from spectra_app.runs.layout import write_born_charges
from spectra_app.spectra import EstimatorSettings, Spectrum, SpectrumWarning
from spectra_app.spectra.uncertainty import jackknife_error, stretch_of_groups, student_factor
from tests.cli.conftest import Outcome, write_tiny_model
from tests.cli.conftest import cli as cli
from tests.runs.synthetic import write_run

SETTINGS: dict[str, Any] = {"resolution_per_cm": 100.0}
ESTIMATOR = EstimatorSettings(resolution_per_cm=100.0)
pytestmark = pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")


def table(spectrum: Spectrum) -> dict[str, np.ndarray]:
    return {name: np.asarray(column.values) for name, column in spectrum.columns().items()}


def written(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray], tolerance: float = 1e-12) -> None:
    assert set(first) <= set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=tolerance, atol=1e-300, err_msg=name)


@pytest.fixture(scope="module")
def equal_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("equal")
    return [write_run(folder / f"{k}.h5", 900, n_replicas=1 + (k == 2), noise=k) for k in range(3)]


@pytest.fixture(scope="module")
def unequal_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("unequal")
    lengths = [2400, 700, 1300]
    return [write_run(folder / f"{k}.h5", n, n_replicas=1 + (k == 1), noise=k) for k, n in enumerate(lengths)]


def test_equal_runs_are_the_replicas_of_one(equal_runs: list[Path]) -> None:
    """The plain functions on arrays put side by side by hand say what the numbers must be."""
    runs = [read_run(path) for path in equal_runs]
    kelvin = np.concatenate([np.asarray(run.temperature_K) for run in runs], axis=1).mean()
    common = {"timestep_fs": 1.0, "integration_timestep_fs": 0.5, "settings": ESTIMATOR}
    dipole = np.concatenate([np.asarray(run.dipole_eA) for run in runs], axis=1)
    assert dipole.shape == (900, 4, 3)
    by_hand: dict[str, Spectrum] = {
        "ir": infrared_spectrum(dipole, temperature_K=kelvin, volume_A3=273.0, eps_inf=1.78, **common),
        "raman": raman_spectrum(
            np.concatenate([np.asarray(run.polarizability_e2A2_per_eV) for run in runs], axis=1),
            temperature_K=kelvin,
            **common,
        ),
        "vdos": vdos(
            np.concatenate([np.asarray(run.velocities_A_per_fs) for run in runs], axis=1),
            runs[0].masses_amu,
            symbols=list("OHHOHH"),
            degrees_of_freedom=15,
            **{**common, "timestep_fs": 2.0},
        ),
    }
    for kind, expected in by_hand.items():
        merged = run_spectrum(equal_runs, kind, **SETTINGS)  # type: ignore[arg-type]
        assert_same(table(merged), table(expected))
        assert merged.report.n_replicas == 4
        assert any(note.startswith("merged: 3 runs, 4 replicas in all") for note in merged.notes)
        assert not any(note.startswith("merged") for note in expected.notes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runs", ["equal_runs", "unequal_runs"])
def test_python_and_command_give_the_same_numbers(
    runs: str, kind: str, tmp_path: Path, cli: Callable[..., Outcome], request: pytest.FixtureRequest
) -> None:
    paths = request.getfixturevalue(runs)
    merged = run_spectrum(paths, kind, **SETTINGS)  # type: ignore[arg-type]
    outcome = cli(kind, *paths, "--resolution-per-cm", 100, "-o", tmp_path / "merged.h5")
    assert outcome.code == 0, outcome.err
    assert_same(table(merged), written(tmp_path / "merged.h5"))
    assert "merged: 3 runs, 4 replicas in all" in outcome.out
    assert_same(table(run_spectrum(join_runs([read_run(path) for path in paths]), kind, **SETTINGS)), table(merged))  # type: ignore[arg-type]


@pytest.mark.parametrize("runs", ["equal_runs", "unequal_runs"])
def test_a_recipe_merges_runs_instead_of_making_one(
    runs: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for drawing in ("save_figure", "add_table", "outputs.figure_of"):  # most of the time, no numbers
        monkeypatch.setattr(f"spectra_app.plotting.{drawing}", lambda *_, **__: ())
    write_tiny_model(tmp_path / "tiny", "puiu")
    model_hash = read_card(tmp_path / "tiny").hash
    paths = []
    for path in request.getfixturevalue(runs):
        paths.append(Path(shutil.copy(path, tmp_path / path.name)))
        set_metadata(paths[-1], model_hash=model_hash)
    recipe = {"model": str(tmp_path / "tiny"), "runs": [str(path) for path in paths], "tasks": list(KINDS)}
    recipe |= {"output": str(tmp_path / "out"), "spectra": SETTINGS}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = run_recipe(tmp_path / "recipe.yaml", dynamics=None)  # type: ignore[arg-type]
    for kind in KINDS:
        assert_same(table(result.spectra[kind]), table(run_spectrum(paths, kind, **SETTINGS)))
        assert_same(table(result.spectra[kind]), written(tmp_path / "out" / f"{kind}.h5"))
    page = (tmp_path / "out" / "summary.txt").read_text()
    longest = {"equal_runs": "0.899", "unequal_runs": "2.399"}[runs]
    assert re.search(rf"6 atoms, {longest} ps x 4 replicas at most, 3 runs merged", page)
    assert "merged: 3 runs, 4 replicas in all" in " ".join(page.split())
    assert not (tmp_path / "out" / "run.h5").exists()
    with pytest.raises(ConfigError, match=r"model of the recipe: got water, wanted 'tiny', that of .*0\.h5"):
        run_recipe(tmp_path / "recipe.yaml", overrides=["model=water"])


def test_every_segment_of_every_run_counts_the_same(unequal_runs: list[Path]) -> None:
    """A mean over runs by their segments, whatever their lengths; and for time origins the same."""
    given: dict[str, Any] = {"temperature_K": 300.0, "volume_A3": 273.0}
    single = {}
    for method in ("welch", "lag"):
        merged = run_spectrum(unequal_runs, "ir", method=method, **given, **SETTINGS)
        assert merged.report.duration_ps == pytest.approx(2.399 + 2 * 0.699 + 1.299)
        assert merged.report.warnings == ()
        single[method] = merged
    runs = [read_run(path) for path in unequal_runs]
    length = 962 // 2  # of a segment, by the history
    assert f"segments of {length} samples" in single["welch"].history[2]
    spectra, counts = [], []
    for run in runs:
        for replica in range(run.n_replicas):
            alone = infrared_spectrum(
                np.asarray(run.dipole_eA)[:, replica],
                timestep_fs=1.0,
                integration_timestep_fs=0.5,
                settings=ESTIMATOR,
                **given,
            )
            if f"of {length} samples" in alone.history[2]:
                spectra.append(alone.alpha_n_per_cm)
                counts.append(int(alone.history[2].split()[1]))
    # 700 frames alone have no two segments side by side, and a coarser resolution: the longer runs say enough.
    assert len(spectra) == 2
    both = run_spectrum([unequal_runs[0], unequal_runs[2]], "ir", **given, **SETTINGS)
    expected = np.average(spectra, axis=0, weights=counts)
    np.testing.assert_allclose(both.alpha_n_per_cm, expected, rtol=1e-10)  # type: ignore[attr-defined]


def test_a_run_shorter_than_a_segment_is_left_out_with_a_word(tmp_path: Path, equal_runs: list[Path]) -> None:
    short = write_run(tmp_path / "short.h5", 300, noise=9)
    with pytest.warns(SpectrumWarning, match=r"1 of 3 replicas are shorter than 0.481 ps, one segment: left out"):
        merged = run_spectrum([*equal_runs[:2], short], "ir", temperature_K=300.0, **SETTINGS)
    without = run_spectrum(equal_runs[:2], "ir", temperature_K=300.0, **SETTINGS)
    np.testing.assert_allclose(merged.alpha_n_per_cm, without.alpha_n_per_cm, rtol=1e-12)  # type: ignore[attr-defined]


def test_what_needs_equal_lengths_says_what_it_took(unequal_runs: list[Path]) -> None:
    cut = r"taken from 4 of 4 replicas cut to 700 frames \(55%\)"
    with pytest.warns(SpectrumWarning, match=rf"static dielectric constant is {cut}"):
        run_spectrum(unequal_runs, "dielectric", **SETTINGS)
    with pytest.warns(SpectrumWarning, match=rf"cepstral estimate is {cut}"):
        run_spectrum(unequal_runs, "ir", method="cepstral", **SETTINGS)


def test_errors_of_unequal_runs_are_those_of_the_mean() -> None:
    """One standard error over many repetitions against the true scatter; the formula of equal groups is far off."""
    rng, counts = np.random.default_rng(4), np.array([40, 20, 10, 5, 5])
    shares = counts / counts.sum()
    stretch = stretch_of_groups(shares)
    squares, plain = [], []
    for _ in range(4000):
        means = rng.normal(size=5) / np.sqrt(counts)
        total = shares @ means
        without = (total - shares * means) / (1.0 - shares)
        squares.append(jackknife_error(total + stretch * (without - total)) ** 2)
        plain.append(jackknife_error(without) ** 2)
    student = 1.1414**2  # of five groups, central 68%
    assert np.mean(squares) / student == pytest.approx(1.0 / counts.sum(), rel=0.04)
    assert np.mean(plain) / student > 1.15 / counts.sum()
    np.testing.assert_allclose(stretch_of_groups(np.full(6, 1 / 6)), 1.0)


def test_error_bars_come_from_runs(tmp_path: Path) -> None:
    """Runs that differ by more than their own noise have errors of that size; one by itself cannot know."""
    paths = [write_run(tmp_path / f"{k}.h5", 1300, noise=k, temperature_K=300.0) for k in range(6)]
    for path, scale in zip(paths, (0.5, 0.7, 0.9, 1.1, 1.3, 1.5), strict=True):
        with h5py.File(path, "r+") as file:
            file["observables/dipole/value"][...] *= scale
    merged = run_spectrum(paths, "ir", **SETTINGS)
    alone = run_spectrum(paths[3], "ir", **SETTINGS)
    assert merged.report.relative_error > alone.report.relative_error / 3.0
    top = int(np.argmax(merged.alpha_n_per_cm))  # type: ignore[attr-defined]
    each = [run_spectrum(path, "ir", temperature_K=300.0, **SETTINGS).alpha_n_per_cm[top] for path in paths]  # type: ignore[attr-defined]
    spread = student_factor(6) * np.std(each, ddof=1) / np.sqrt(6)
    error = merged.alpha_n_per_cm_error[top] * 300.0 / merged.parameters["temperature_K"]  # type: ignore[attr-defined]
    assert error == pytest.approx(spread, rel=0.02)


def test_born_charges_of_all_runs_make_the_sum_rule(tmp_path: Path, equal_runs: list[Path]) -> None:
    paths = [write_run(tmp_path / f"{k}.h5", 900, noise=k) for k in range(2)]
    charges = {"O": -1.0, "H": 0.5}
    for path, scale in zip(paths, (0.8, 1.2), strict=True):
        born = scale * np.array([charges[s] * np.eye(3) for s in "OHHOHH"])
        write_born_charges(path, np.array([0]), born[None])
    merged = run_spectrum(paths, "ir", **SETTINGS)
    (sentence,) = [line for line in merged.history if line.startswith("f-sum")]
    joined = join_runs([read_run(path) for path in paths])
    assert joined.born_e is not None
    assert joined.born_e.shape == (2, 6, 3, 3)
    for path, share in zip(paths, (0.64, 1.44), strict=True):
        alone = run_spectrum(path, "ir", **SETTINGS)
        (own,) = [line for line in alone.history if line.startswith("f-sum")]
        wanted = [float(line.split("demand ")[1].split()[0]) for line in (own, sentence)]
        assert wanted[0] / wanted[1] == pytest.approx(share / 1.04, rel=1e-3)


def test_cells_that_differ_within_noise_are_averaged_over_frames(tmp_path: Path) -> None:
    lengths, cells = (900, 1300), ((6.0, 6.5, 7.0), (6.0, 6.5, 7.05))
    paths = [write_run(tmp_path / f"{k}.h5", n, noise=k, cell_A=cells[k]) for k, n in enumerate(lengths)]
    volume = np.average([np.prod(cell) for cell in cells], weights=lengths)
    merged = run_spectrum(paths, "ir", **SETTINGS)
    assert merged.parameters["volume_A3"] == pytest.approx(volume, rel=1e-12)
    changing = [write_run(tmp_path / f"npt{k}.h5", n, npt=True, noise=k, n_replicas=2) for k, n in enumerate(lengths)]
    merged = run_spectrum(changing, "ir", **SETTINGS)
    with h5py.File(changing[0]) as first, h5py.File(changing[1]) as second:
        volumes = [file["observables/volume/value"][()].ravel() for file in (first, second)]
    assert merged.parameters["volume_A3"] == pytest.approx(np.concatenate(volumes).mean(), rel=1e-12)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "order": ({"numbers": (8, 1, 1, 1, 8, 1)}, r"atoms: got the same in another order, wanted H4O2"),
    "atoms": ({"numbers": (8, 1, 1, 8, 8, 1)}, r"atoms: got H3O3, wanted H4O2, as in a\.h5"),
    "cell": ({"cell_A": (6.0, 6.5, 8.0)}, r"volume: got 312 A\^3, wanted 273 A\^3 within 2%"),
    "shape": ({"cell_A": (6.5, 6.0, 7.0)}, r"cell: got vectors of 6\.5, 6, 7 A, wanted 6, 6\.5, 7 A"),
    "boundary": ({"boundary": "open"}, r"boundary: got open, wanted periodic"),
    "field": ({"field": True}, r"field: got up to 0\.02 V/A, wanted none"),
    "model": ({"model_hash": "abc", "model_name": "other"}, r"model: got other, wanted tiny"),
    "hash": ({"model_hash": "abc"}, r"model: got abc, wanted"),
    "eps_inf": ({"eps_inf": 2.0}, r"eps_inf: got 2\.0, wanted 1\.78"),
    "temperature": ({"temperature_setting": 400.0}, r"temperature, K: got 400\.0, wanted 310\.0"),
    "stride": ({"record_stride": 4}, r"record stride: got 4, wanted 2"),
    "time step": ({"timestep_fs": 0.25}, r"time step: got 0\.25 fs, wanted 0\.5 fs"),
    "ensemble": ({"ensemble": "nvt"}, r"ensemble: got nvt, wanted None"),
    "polarizability": ({"polarizability": False}, r"polarizability: got not recorded, wanted recorded"),
    "twice": ({"noise": 0}, r"got twice the same trajectory, wanted independent runs. Give every run its own --seed"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_runs_that_do_not_belong_together_are_refused_in_one_line(
    case: str, tmp_path: Path, cli: Callable[..., Outcome]
) -> None:
    options, message = OTHERS[case]
    options = {"noise": 1, **options}
    setting, length = options.pop("temperature_setting", 310.0), 64 if case == "twice" else 50
    first, other = write_run(tmp_path / "a.h5", 64), write_run(tmp_path / "b.h5", length, **options)
    if setting != 310.0:
        set_metadata(other, temperature_K=setting)
    with pytest.raises(TrajectoryError, match=rf"merging .*b\.h5 with .*a\.h5.*{message}"):
        run_spectrum([first, other], "ir")
    outcome = cli("ir", first, other, "-o", tmp_path / "ir.csv")
    assert outcome.code == 5
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "ir.csv").exists()


def set_metadata(path: Path, **values: object) -> None:
    with h5py.File(path, "r+") as file:
        group = file["parameters/spectra_app"]
        metadata = json.loads(group["metadata"].asstr()[()])
        del group["metadata"]
        group["metadata"] = json.dumps({**metadata, **values})


def test_files_of_other_programs_are_not_merged(tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    run = write_run(tmp_path / "a.h5", 64)
    (tmp_path / "dipole.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "traj.xyz").write_text("1\n\nO 0 0 0\n")
    for kind, other in (("ir", "dipole.csv"), ("vdos", "traj.xyz")):
        outcome = cli(kind, run, tmp_path / other, "-o", tmp_path / "out.csv")
        assert outcome.code == 6
        assert f"merging 2 files, {tmp_path / other}: got no run file" in outcome.err
    with pytest.raises(TrajectoryError, match=r"runs to be merged: got none"):
        run_spectrum([], "ir")


def test_a_bound_dipole_must_be_so_in_every_run(tmp_path: Path) -> None:
    waters = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0], [0, -2.8, 0], [0.76, -3.39, 0], [-0.76, -3.39, 0]])
    states = {"H": 1, "O": -2}

    def run_with(name: str, noise: int, positions: np.ndarray) -> Run:
        path = write_run(tmp_path / name, 40 + noise, noise=noise, oxidation_states=states)
        with h5py.File(path, "r+") as file:
            file["particles/all/position/value"][:] = positions
        return read_run(path)

    cut = waters.copy()
    cut[3] += [6.0, 0.0, 0.0]
    whole = [run_with("a.h5", 0, waters), run_with("b.h5", 1, waters)]
    assert set(bound_dipole_of(join_runs(whole))) == {"mobile_ions", "origin_eA"}
    assert set(bound_dipole_of(join_runs([*whole, run_with("c.h5", 2, cut)]))) == {"mobile_ions"}


def test_one_run_in_a_list_is_that_run(equal_runs: list[Path]) -> None:
    assert_same(
        table(run_spectrum([equal_runs[0]], "ir", **SETTINGS)), table(run_spectrum(equal_runs[0], "ir", **SETTINGS))
    )
    joined = join_runs([read_run(path) for path in equal_runs])
    with pytest.raises(SeriesError, match=r"contributions of the parts: got 3 runs, wanted one"):
        contributions_of(joined, "dipole")
