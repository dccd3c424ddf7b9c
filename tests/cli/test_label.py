"""``spectra-app label``: one command from structures to a set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ase.io import write

from tests.labels.teachers import clusters


def test_label_writes_a_set_and_says_what_is_in_it(tmp_path: Path, cli: Callable) -> None:
    write(tmp_path / "a.xyz", clusters(3))
    words = ("label", tmp_path / "a.xyz", "--calculator", "ase:tests.labels.teachers:Faulty(fails=[1])")
    options = ("-o", tmp_path / "set.extxyz", "--rattle-A", "0.05", "--copies", "1", "--select", "5")
    outcome = cli(*words, *options)
    assert outcome.code == 0, outcome.err
    assert "5 structures" not in outcome.out
    assert "of 6 structures labelled" in outcome.out
    assert "Forces checked: energies change " in outcome.out
    assert "RuntimeError: SCF did not converge" in outcome.err
    assert (tmp_path / "set.extxyz.yaml").is_file()
    again = cli(*words, *options, "--json")
    assert json.loads(again.out)["new"] is False
    other = cli(*words, *options, "--seed", "4")
    assert other.code == 3
    assert "--overwrite" in other.err


def test_label_refuses_in_one_line(tmp_path: Path, cli: Callable) -> None:
    write(tmp_path / "a.xyz", clusters(1))
    outcome = cli("label", tmp_path / "a.xyz", "--calculator", "tblite")
    assert outcome.code == 4
    assert outcome.err.count("\n") == 1
    assert "model 'tblite'" in outcome.err
    outcome = cli("label", tmp_path / "a.xyz", "--calculator", "ase:ase.calculators.emt:EMT()", "--strain-percent", "2")
    assert outcome.code == 3
    assert "open structures only" in outcome.err
    outcome = cli("label", tmp_path / "a.xyz", "--calculator", "ase:ase.calculators.emt:EMT()", "--rattle-A", "-1")
    assert outcome.code == 2
    assert "rattle_A" in outcome.err


def test_options_of_the_other_way_are_refused(tmp_path: Path, cli: Callable) -> None:
    write(tmp_path / "a.xyz", clusters(1))
    words = ("label", tmp_path / "a.xyz", "--calculator", "ase:ase.calculators.emt:EMT()")
    for extra, message in (
        (("--rounds", "2"), "--rounds alone"),
        (("-m", "water"), "--model alone"),
        (("--active",), "no model"),
        (("--active", "-m", "water", "--md"), "--md with --active"),
        (("--active", "-m", "water"), "run file"),
    ):
        outcome = cli(*words, *extra)
        assert outcome.code in (2, 5), extra
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
