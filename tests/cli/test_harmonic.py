"""``spectra-app harmonic``: files, JSON, options by hand, wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write


@pytest.fixture
def water(tmp_path: Path) -> Path:
    path = tmp_path / "water.xyz"
    write(path, molecule("H2O"))
    return path


def test_a_molecule_in_one_command(water: Path, tmp_path: Path, cli: Callable) -> None:
    found = cli(
        "harmonic", water, "-m", "water", "-o", tmp_path / "out", "--mass", "H=2.014", "--damping-per-cm", "5", "--json"
    )
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert len(report["modes"]["wavenumber_per_cm"]) == 3
    assert report["modes"]["wavenumber_per_cm"][2] < 3000.0  # heavy water
    assert report["settings"]["damping_per_cm"] == 5.0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "derivatives.h5",
        "harmonic.json",
        "harmonic.pdf",
        "harmonic.png",
        "harmonic.txt",
        "ir.csv",
        "ir.jdx",
        "modes.csv",
        "modes.molden",
        "modes.xyz",
        "raman.csv",
        "raman.jdx",
        "relaxed.extxyz",
    }
    assert "extrapolation" in found.err
    drawn = cli("plot", tmp_path / "out" / "ir.csv", "-o", tmp_path / "again.png")
    assert drawn.code == 0, drawn.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mass", "H"), "--mass: got 'H', wanted ELEMENT=AMU"),
        (("--direction", "1 0"), "--direction: got '1 0', wanted three numbers"),
        (("--relax", "all"), "harmonic: relax: got 'all'"),
        (("-g", "z(zz)z"), "polarization geometry: got 'z(zz)z'"),
    ],
)
def test_wrong_options_are_one_line(
    water: Path, tmp_path: Path, cli: Callable, options: tuple[str, ...], message: str
) -> None:
    found = cli("harmonic", water, "-m", "water", "-o", tmp_path / "out", *options)
    assert found.code != 0
    assert message in " ".join(found.err.split())
    assert "Traceback" not in found.err
