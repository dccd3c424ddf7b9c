"""A whole job: sampled, selected, labelled over processes, killed, gone on with, read by training unchanged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write

from spectra_app.config import LabelSettings
from spectra_app.errors import ConfigError, DatasetError, ModelError, StoppedError
from spectra_app.jobs.label_job import LabelProgress
from spectra_app.jobs.labelling import label_structures
from spectra_app.training.dataset import read_frames
from tests.labels.teachers import Charged, Faulty, clusters

ROOT = Path(__file__).parents[2]
FAULTY = "ase:tests.labels.teachers:Faulty"


def test_training_reads_the_set_as_it_is(tmp_path):
    mixed = [bulk("Cu", cubic=True), molecule("CH3OH")]
    mixed[1].info["charge"] = 0
    settings = LabelSettings(rattle_A=0.1, copies=2)
    result = label_structures(mixed, EMT(), tmp_path / "set.extxyz", settings)
    assert (result.n_frames, result.n_candidates, result.failed) == (6, 6, ())
    frames = read_frames([result.path])
    assert [frame.stress is not None for frame in frames] == [True, False, True, True, False, False]
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.calc = EMT()
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-5)
        if frame.stress is not None:
            np.testing.assert_allclose(frame.stress, atoms.get_stress(voigt=False), atol=1e-7)
    written = read(result.path, ":")
    assert [atoms.info.get("charge") for atoms in written] == [None, 0.0, None, None, 0.0, 0.0]
    assert written[2].info["origin"] == "structure 0; rattle 0.1 A, copy 0"
    facts = yaml.safe_load((tmp_path / "set.extxyz.yaml").read_text())
    assert facts["frames"] == {"labelled": 6, "failed": 0, "candidates": 6}
    assert facts["units"]["forces"] == "eV/A"
    assert facts["plan"]["by"] == {"calculator": "ase.calculators.emt.EMT"}
    assert not list(tmp_path.glob("*.parts"))
    again = label_structures(mixed, EMT(), tmp_path / "set.extxyz", settings)
    assert (again.new, again.n_frames) == (False, 6)
    with pytest.raises(DatasetError, match="an existing file, made otherwise"):
        label_structures(mixed, EMT(), tmp_path / "set.extxyz", settings.model_copy(update={"seed": 1}))


def test_dynamics_and_selection(tmp_path):
    settings = LabelSettings(md=True, temperature_K="300,600", steps=20, stride=5, originals=False, select=6)
    seen: list[LabelProgress] = []
    result = label_structures([molecule("H2O")], Charged(), tmp_path / "md.extxyz", settings, progress=seen.append)
    assert (result.n_frames, result.n_candidates) == (6, 8)
    assert {one.phase for one in seen} == {"sampling", "checking", "labelling"}
    frames = read(result.path, ":")
    assert all("dynamics" in atoms.info["origin"] for atoms in frames)
    assert any("600 K" in atoms.info["origin"] for atoms in frames)
    assert not any(atoms.has("momenta") for atoms in frames)


def test_dynamics_goes_on_where_it_was_cut_off(tmp_path):
    settings = LabelSettings(md=True, steps=40, stride=5, originals=False, timestep_fs=0.25)
    whole = label_structures([molecule("H2O")], Charged(), tmp_path / "whole.extxyz", settings)

    class CutError(Exception):
        pass

    def cut(progress: LabelProgress) -> None:
        if progress.phase == "sampling" and progress.done == 3:
            raise CutError

    with pytest.raises(CutError):
        label_structures([molecule("H2O")], Charged(), tmp_path / "cut.extxyz", settings, progress=cut)
    assert len(list((tmp_path / "cut.extxyz.parts" / "dynamics").glob("*.traj"))) == 3
    label_structures([molecule("H2O")], Charged(), tmp_path / "cut.extxyz", settings)
    assert (tmp_path / "cut.extxyz").read_bytes() == whole.path.read_bytes()


def test_frames_that_fail_are_named_and_left_out_and_a_dead_process_is_replaced(tmp_path):
    write(tmp_path / "a.xyz", clusters(9))
    settings = LabelSettings(processes=2, check_forces=False, max_failed=0.5, timeout_minutes=2.0 / 60.0)
    spec = f"{FAULTY}(fails=[1], dies=[4], nan=[6], hangs=[7])"
    result = label_structures(tmp_path / "a.xyz", spec, tmp_path / "set.extxyz", settings)
    assert result.n_frames == 5
    reasons = dict(result.failed)
    assert reasons["a.xyz, frame 1"] == "RuntimeError: SCF did not converge"
    assert "its process died (exit code 9; a last word)" in reasons["a.xyz, frame 4"]
    assert "not finite" in reasons["a.xyz, frame 6"]
    assert "no result after" in reasons["a.xyz, frame 7"]
    heights = [round(atoms.positions[0, 2]) for atoms in read(result.path, ":")]
    assert heights == [0, 2, 3, 5, 8]  # in the order of the file, whoever was first


def test_when_too_many_fail_the_job_stops_and_goes_on_when_repaired(tmp_path):
    frames = clusters(8)
    with pytest.raises(DatasetError, match=r"got 3 of 8 frames failed.*wanted at most 20% that fail"):
        label_structures(frames, Faulty(fails=[2, 3, 5]), tmp_path / "set.extxyz")
    assert not (tmp_path / "set.extxyz").exists()
    assert len(list((tmp_path / "set.extxyz.parts" / "labels").iterdir())) == 3
    repaired = Faulty()
    result = label_structures(frames, repaired, tmp_path / "set.extxyz")
    assert result.n_frames == 8
    assert repaired.n_calls == 5  # those that there were not, and no second check of the forces
    with pytest.raises(DatasetError, match="no frame that can be used"):
        label_structures(frames[:1], Faulty(), tmp_path / "b.extxyz", LabelSettings(max_force_eV_per_A=1e-3))


def test_begun_jobs_are_not_mixed(tmp_path):
    with pytest.raises(DatasetError):
        label_structures(clusters(8), Faulty(fails=[2, 3, 5]), tmp_path / "set.extxyz")
    with pytest.raises(DatasetError, match=r"begun already.*--overwrite"):
        label_structures(clusters(3, seed=1), Faulty(), tmp_path / "set.extxyz")
    assert label_structures(clusters(3, seed=1), Faulty(), tmp_path / "set.extxyz", overwrite=True).n_frames == 3


def test_a_job_that_computed_nothing_stands_in_no_ones_way(tmp_path):
    with pytest.raises(DatasetError):
        label_structures(clusters(3), Faulty(fails=[0, 1, 2]), tmp_path / "set.extxyz")
    assert label_structures(clusters(3, seed=1), Faulty(), tmp_path / "set.extxyz").n_frames == 3


def test_wrong_words_are_refused_before_anything_is_computed(tmp_path):
    frames = clusters(1)
    with pytest.raises(ModelError, match="no module 'nowhere'"):
        label_structures(frames, "ase:nowhere:Calculator()", tmp_path / "set.extxyz")
    with pytest.raises(ConfigError, match="a literal"):
        label_structures(frames, "ase:ase.calculators.emt:EMT(open)", tmp_path / "set.extxyz")
    with pytest.raises(ModelError, match="model 'nosuch'"):
        label_structures(frames, "nosuch", tmp_path / "set.extxyz")
    with pytest.raises(ConfigError, match="wanted dynamics to sample"):
        label_structures(frames, Faulty(), tmp_path / "set.extxyz", LabelSettings(sampler="water"))
    with pytest.raises(DatasetError, match="forces are in Hartree/bohr"):
        label_structures(frames, Faulty(forces_times=1 / 51.422), tmp_path / "wrong.extxyz")
    with pytest.raises(ValueError, match="no frame would be kept"):
        LabelSettings(md=True, steps=10, stride=50)


def test_a_full_disk_is_one_line_and_what_was_made_is_kept(tmp_path, monkeypatch):
    from spectra_app.labels import book

    frames, made = clusters(4), []
    original = book.atomic_path

    def full(path, *arguments):
        if "labels" in str(path) and len(made) == 2:
            raise OSError(28, "No space left on device", str(path))
        made.append(path) if "labels" in str(path.parent.name) else None
        return original(path, *arguments)

    monkeypatch.setattr(book, "atomic_path", full)
    with pytest.raises(OSError, match="No space"):
        label_structures(frames, Faulty(), tmp_path / "set.extxyz")
    monkeypatch.setattr(book, "atomic_path", original)
    calculator = Faulty()
    assert label_structures(frames, calculator, tmp_path / "set.extxyz").n_frames == 4
    assert calculator.n_calls == 2


def test_a_killed_job_goes_on(tmp_path):
    write(tmp_path / "a.xyz", clusters(8))
    spec = f"{FAULTY}(slow_s=0.2)"
    code = (
        "from spectra_app.config import LabelSettings\n"
        "from spectra_app.jobs.labelling import label_structures\n"
        f"label_structures('a.xyz', {spec!r}, 'set.xyz', LabelSettings(check_forces=False))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    labels = tmp_path / "set.xyz.parts" / "labels"
    for _ in range(1200):
        if labels.is_dir() and len(list(labels.glob("0*.json"))) >= 2:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "set.xyz").exists()
    before = {path.name: path.stat().st_mtime_ns for path in labels.glob("0*.json")}
    assert 2 <= len(before) < 8
    seen: list[int] = []

    def watch(progress: LabelProgress) -> None:
        seen.append(progress.done)
        if len(seen) == 1:
            now = {path.name: path.stat().st_mtime_ns for path in labels.glob("0*.json")}
            assert {name: now[name] for name in before} == before  # none is made again

    settings = LabelSettings(check_forces=False)
    assert label_structures(tmp_path / "a.xyz", spec, tmp_path / "set.xyz", settings, progress=watch).n_frames == 8
    assert len(before) < seen[0] <= 8


def test_a_signal_keeps_everything(tmp_path):
    def press(progress: LabelProgress) -> None:
        if progress.phase == "labelling" and progress.done == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match=r"SIGTERM\), everything that was computed is kept") as stop:
        label_structures(clusters(5), Faulty(), tmp_path / "set.extxyz", progress=press)
    assert stop.value.exit_code == 75
    calculator = Faulty()
    assert label_structures(clusters(5), calculator, tmp_path / "set.extxyz").n_frames == 5
    assert calculator.n_calls == 3


def test_the_time_that_is_allowed_ends_a_job(tmp_path):
    with pytest.raises(StoppedError) as stop:
        label_structures(clusters(3), Faulty(slow_s=0.1), tmp_path / "set.extxyz", max_minutes=1e-6)
    assert stop.value.exit_code == 75
    assert json.loads((tmp_path / "set.extxyz.parts" / "plan.json").read_text())
    assert label_structures(clusters(3), Faulty(), tmp_path / "set.extxyz").n_frames == 3
