"""Runs that go outside the training data of their model: recorded, summarised, warned of, restarted."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from spectra_app import Simulation, extrapolation, load_model, read_run, run_spectrum
from spectra_app.config import MDSettings
from spectra_app.dynamics.outside import range_facts
from spectra_app.errors import SimulationError
from spectra_app.jobs.annotate import record_trajectory
from spectra_app.jobs.extrapolation import combined, report_of_structure, run_extrapolation
from spectra_app.runs import join_runs
from spectra_app.runs.layout import RANGE_KEY
from spectra_app.spectra import SpectrumWarning
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import concatenate, from_ase
from spectra_app.zoo import RANGE_FILE, find_model
from tests.runs.synthetic import write_run


@pytest.fixture(scope="module")
def quartz():
    return load_model("quartz")


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return read(find_model("quartz") / "start.extxyz")


def settings(**changes) -> MDSettings:
    chosen = {"ensemble": "nve", "equilibration_steps": 0, "steps": 4, "trajectory_stride": 2, "engine": "eager"}
    return MDSettings(**{**chosen, **changes})


def torn(atoms: Atoms, factor: float = 1.4) -> Atoms:
    """A crystal with a silicon atom pulled away from one of its neighbours."""
    atoms = atoms.copy()
    silicon, oxygen = (np.flatnonzero(atoms.numbers == z) for z in (14, 8))
    neighbor = int(oxygen[atoms.get_distances(silicon[0], oxygen, mic=True).argmin()])
    length = atoms.get_distance(silicon[0], neighbor, mic=True)
    atoms.set_distance(silicon[0], neighbor, factor * length, fix=0, mic=True)
    return atoms


@pytest.fixture(scope="module")
def run_file(quartz, crystal, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    result = Simulation(quartz, crystal, settings(), path).run()
    assert result.extrapolation == run_extrapolation(read_run(path))
    return path


def test_a_run_records_what_its_configurations_give(quartz, crystal, run_file) -> None:
    run = read_run(run_file)
    recorded = np.asarray(run.observable("extrapolation"))
    assert recorded.shape == (5, 1)
    for place, step in enumerate(run.trajectory_step):
        frame = Atoms(crystal.numbers, run.positions_A[place, 0], cell=crystal.cell, pbc=True)
        report = extrapolation(quartz, frame)
        assert recorded[step, 0] == pytest.approx(report.largest, rel=1e-3)
        assert int(run.observable("extrapolation_atom")[step, 0]) == report.atom
    atom, other, distance = np.asarray(run.observable("extrapolation_distance"))[0, 0]
    assert crystal.get_distance(int(atom), int(other), mic=True) == pytest.approx(distance, abs=1e-4)
    facts = run.metadata[RANGE_KEY]
    assert facts == range_facts(quartz)
    assert facts["nearest_A"]["Si-O"][0] == pytest.approx(1.41, abs=0.01)


def test_formulas_take_replicas_apart(quartz, crystal) -> None:
    from spectra_app.dynamics.instant import Instant
    from spectra_app.dynamics.outside import extrapolation as largest
    from spectra_app.dynamics.outside import extrapolation_atom, extrapolation_distance

    frames = [crystal, torn(crystal)]
    both = concatenate([from_ase(one, dtype=quartz.dtype) for one in frames])
    prediction = quartz(both, build_neighbors(both, quartz.cutoff).to(dtype=quartz.dtype), forces=False)
    instant = Instant(prediction, both.positions, None, both.cell, both.cell[:, 0, 0])
    alone = [extrapolation(quartz, one) for one in frames]
    assert largest(instant).tolist() == pytest.approx([report.largest for report in alone], rel=1e-3)
    assert extrapolation_atom(instant).tolist() == [report.atom for report in alone]
    distance = extrapolation_distance(instant)[1].tolist()
    assert distance == pytest.approx([alone[1].distance.atom, alone[1].distance.other, alone[1].distance.distance_A])


def test_a_recorded_trajectory_names_its_worst_frame(quartz, crystal, tmp_path) -> None:
    frames = [crystal, crystal, torn(crystal), crystal]
    write(tmp_path / "traj.extxyz", frames)
    result = record_trajectory(tmp_path / "traj.extxyz", quartz, tmp_path / "run.h5", timestep_fs=2.0)
    found, alone = result.extrapolation, extrapolation(quartz, frames[2])
    assert found.outside
    assert (found.frame, found.n_frames, found.share, found.time_fs) == (2, 4, 0.25, 4.0)
    assert (found.atom, found.symbol) == (alone.atom, alone.symbol)
    assert found.largest == pytest.approx(alone.largest, rel=1e-3)
    assert "at 4 fs" in found.sentence
    assert found.distance.sentence == alone.distance.sentence
    assert found.distance.sentence in found.sentence


def test_reports_of_several_structures_are_one(quartz, crystal) -> None:
    reports = [extrapolation(quartz, one) for one in (crystal, torn(crystal), crystal)]
    assert combined([]) is None
    assert combined(reports[:1]) == reports[0]
    whole = combined(reports)
    assert (whole.largest, whole.frame, whole.n_frames) == (reports[1].largest, 1, 3)
    assert whole.share == pytest.approx(1 / 3)
    assert whole.by_atom is None
    assert "at frame 1, extrapolation" in whole.sentence
    assert not combined(reports[::2]).outside


def test_a_restart_goes_on_as_the_run_began(crystal, tmp_path) -> None:
    folder = tmp_path / "quartz"
    shutil.copytree(find_model("quartz"), folder)
    known, bare = load_model(folder), load_model(folder, training_range=False)
    for name, model in (("with", known), ("without", bare)):
        Simulation(model, crystal, settings(steps=2), tmp_path / f"{name}.h5").run()
    result = Simulation(known, crystal, settings(), tmp_path / "without.h5").run(restart=True)
    assert result.extrapolation is None
    assert "extrapolation" not in read_run(tmp_path / "without.h5").observables
    Simulation(known, crystal, settings(), tmp_path / "with.h5").run(restart=True)
    assert len(read_run(tmp_path / "with.h5").observable("extrapolation")) == 5
    with pytest.raises(SimulationError, match=r"range of the training data: got none.*begin a new run"):
        Simulation(bare, crystal, settings(steps=6), tmp_path / "with.h5").run(restart=True)
    known.training_range.digest = "another"
    with pytest.raises(SimulationError, match="range of the training data: got another one"):
        Simulation(known, crystal, settings(steps=6), tmp_path / "with.h5").run(restart=True)
    assert (folder / RANGE_FILE).is_file()


def run_outside(path: Path, values: np.ndarray) -> Path:
    """A run file of invented numbers, with extrapolation [frame, replica]."""
    facts = {"cutoff_A": 3.5, "species": ["H", "O"], "nearest_A": {"H-H": [1.3, 1.8], "H-O": [0.9, 1.14]}}
    write_run(path, len(values), n_replicas=values.shape[1], **{RANGE_KEY: facts})
    import h5py

    with h5py.File(path, "r+") as file:
        group = file["observables"]
        for name, of in (
            ("extrapolation", values),
            ("extrapolation_atom", np.full(values.shape, 4.0)),
            ("extrapolation_distance", np.tile([4.0, 3.0, 1.31], (*values.shape, 1))),
        ):
            element = group.create_group(name)
            element.create_dataset("value", data=of)
            element["step"], element["time"] = group["dipole/step"], group["dipole/time"]
    return path


def test_spectra_say_it_and_warn_where_it_is_far(tmp_path) -> None:
    rng = np.random.default_rng(4)
    inside = rng.uniform(0.3, 0.9, size=(3000, 2))
    inside[10, 1] = 1.2
    fine = run_outside(tmp_path / "fine.h5", inside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectrum = run_spectrum(fine, "vdos")
    sentence = "extrapolation at most 1.20 (1: edge of the training data), 0.017% of frames beyond 1"
    assert sentence in spectrum.notes
    far = inside.copy()
    far[700, 1] = 2.5
    with pytest.warns(
        SpectrumWarning, match=r"outside the training data: H 4 at 700 fs, replica 1, extrapolation 2\.50"
    ):
        spectrum = run_spectrum(run_outside(tmp_path / "far.h5", far), "vdos")
    assert any("H 4 - nearest O 3: 1.31 A (0.90 to 1.14 A in training)" in text for text in spectrum.report.warnings)
    often = inside.copy()
    often[::8] = 1.1
    report = run_extrapolation(read_run(run_outside(tmp_path / "often.h5", often)))
    assert report.outside
    assert report.share == pytest.approx(0.125, abs=1e-3)


def test_joined_runs_and_runs_of_earlier_versions(tmp_path) -> None:
    values = np.full((200, 1), 0.5)
    values[50] = np.nan  # where a replica has gone wrong
    one, other = (run_outside(tmp_path / f"{k}.h5", values + 0.4 * k) for k in (0, 1))
    both = join_runs([read_run(one), read_run(write_run(tmp_path / "old.h5", 200, noise=1))])
    assert run_extrapolation(both) is None
    report = combined([run_extrapolation(read_run(path)) for path in (one, other)])
    assert report.n_frames == 398
    assert report.largest == pytest.approx(0.9)


def test_report_of_a_prediction_is_that_of_the_structure(quartz, crystal) -> None:
    system = from_ase(crystal, dtype=quartz.dtype)
    found = quartz(system, build_neighbors(system, quartz.cutoff).to(dtype=quartz.dtype), forces=False).extrapolation
    assert report_of_structure(found, crystal.numbers, quartz) == extrapolation(quartz, crystal)


def test_replicas_of_different_size_each_know_their_atoms(quartz, crystal, tmp_path) -> None:
    large = torn(crystal.repeat((1, 1, 2)))
    result = Simulation(quartz, [crystal, large], settings(steps=1, replicas=2), tmp_path / "run.h5").run()
    assert len(result.files) == 2
    alone = extrapolation(quartz, large)
    reports = [run_extrapolation(read_run(file.path)) for file in result.files]
    assert reports[0].largest == pytest.approx(extrapolation(quartz, crystal).largest, abs=0.05)
    second = np.asarray(read_run(result.files[1].path).observable("extrapolation_distance"))[0, 0]
    assert second[:2].tolist() == [alone.distance.atom, alone.distance.other]
    assert result.extrapolation.largest == max(report.largest for report in reports) > 1.5


def test_processes_record_what_one_does(quartz, crystal, tmp_path) -> None:
    runs = {}
    for processes in (1, 2):
        path = tmp_path / f"{processes}.h5"
        Simulation(quartz, crystal, settings(steps=2, replicas=2, processes=processes), path).run()
        runs[processes] = np.asarray(read_run(path).observable("extrapolation"))
    assert runs[2].shape == (3, 2)
    np.testing.assert_allclose(runs[1], runs[2], atol=1e-6)  # threads, and so the order of sums, may differ
