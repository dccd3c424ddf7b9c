"""``spectra-app born`` of a structure and along a run: files by suffix, sites, thermal means, wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from ase.spacegroup import crystal

from tests.cli.conftest import water_box


@pytest.fixture(scope="module")
def quartz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quartz") / "quartz.extxyz"
    places = [(0.4697, 0.0, 2.0 / 3.0), (0.4135, 0.2669, 0.1191 + 2.0 / 3.0)]
    atoms = crystal(("Si", "O"), places, spacegroup=154, cellpar=(4.9853, 4.9853, 5.4785, 90, 90, 120))
    write(path, atoms)
    return path


def test_a_crystal_by_site_in_every_format(quartz: Path, tmp_path: Path, cli: Callable) -> None:
    names = ("b.csv", "b.json", "b.txt", "b.vasp", "b.qe", "b.png", "BORN")
    words = [word for name in names for word in ("-o", tmp_path / name)]
    found = cli("born", quartz, "-m", "quartz", "--symmetrize", *words)
    assert found.code == 0, found.err
    assert "Si 3a" in found.out
    assert "O 6c" in found.out
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    report = json.loads((tmp_path / "b.json").read_text())
    silicon, oxygen = report["sites"]
    assert (silicon["nominal_e"], oxygen["nominal_e"]) == (4, -2)
    assert silicon["anomalous_e"] == pytest.approx(silicon["isotropic_e"] - 4.0)
    assert "ion    9" in (tmp_path / "b.vasp").read_text()


def test_a_run_gives_thermal_means(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    write(tmp_path / "start.extxyz", water_box())
    run = tmp_path / "run.h5"
    options = ("--steps", 12, "--trajectory-stride", 3, "--equilibration-steps", 0, "--engine", "eager")
    assert cli("md", tmp_path / "start.extxyz", "-m", model_folder, "-o", run, *options).code == 0
    found = cli("born", run, "-m", model_folder, "--frames", 3, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["n_frames"] == 3
    spreads = [atom["isotropic_std_over_frames_e"] for atom in report["atoms"]]
    assert np.max(spreads) > 0.0
    assert report["sum_rule_violation_max_e"] < 1e-6
    refused = cli("born", run, "-m", model_folder, "--symmetrize")
    assert refused.code == 3
    assert "got a mean over frames, wanted one structure" in refused.err


def test_an_unknown_suffix_names_the_known_ones(quartz: Path, tmp_path: Path, cli: Callable) -> None:
    found = cli("born", quartz, "-m", "quartz", "-o", tmp_path / "b.doc")
    assert found.code == 2
    assert ".vasp" in found.err
