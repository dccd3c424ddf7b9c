"""The level of theory in ``workflows/mapbi3_labels`` reaches CP2K, and every structure begins anew."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from ase.io import read

from spectra_app.zoo import find_model, workflows_folder


class Shell:
    """Answers as CP2K's shell does: energy 1 eV, forces of zero, a stress of one component."""

    version = 7.0
    isready = True

    def __init__(self, command: str, debug: bool) -> None:
        self.said: list[str] = []
        self.answers: list[str] = []

    def send(self, line: str) -> None:
        self.said.append(line)
        word = line.split()[0]
        if word == "LOAD":
            self.answers.append("7")
        elif word == "GET_E":
            self.answers.append("1.0")
        elif word == "GET_F":
            self.answers += ["144", *["0.0 0.0 0.0"] * 48]
        elif word == "GET_STRESS":
            self.answers.append("0.25 0 0 0 0 0 0 0 0")
        elif word == "SET_POS":
            self.answers.append("0.0")  # the largest change

    def recv(self) -> str:
        return self.answers.pop(0)

    def expect(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_level_of_theory_and_a_new_beginning(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(workflows_folder() / "mapbi3_labels"))
    monkeypatch.setattr("ase.calculators.cp2k.Cp2kShell", Shell)
    atoms = read(find_model("mapbi3") / "start.extxyz")
    atoms.calc = importlib.import_module("cp2k_mapbi3").calculator()
    shell = atoms.calc._shell
    assert atoms.get_potential_energy() == 1.0
    assert atoms.get_stress()[0] == -0.25  # CP2K's is positive under pressure, ASE's under tension
    text = " ".join(" ".join(shell.said).split())
    for words in (
        "CUTOFF [eV] 6.1225",
        "SCHEME MONKHORST-PACK 2 2 2",
        "TYPE DFTD3(BJ)",
        "&PBE",
        "EPS_SCF 1.0E-5",
        "MAX_SCF 60",
        "POTENTIAL GTH-PBE",
        "STRESS_TENSOR ANALYTICAL",
    ):
        assert words in text
    atoms.positions[0] += 0.1
    assert np.abs(atoms.get_forces()).max() == 0.0
    assert [line.split()[0] for line in shell.said].count("LOAD") == 2
    assert [line.split()[0] for line in shell.said].count("DESTROY") == 1
