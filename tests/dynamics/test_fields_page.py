"""The example of docs/fields.md runs as it is printed, with a toy in place of water."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from spectra_app import read_run
from spectra_app.units import BOLTZMANN
from tests.dynamics.test_fields import Polarizable
from tests.toy_potential import dumbbells

DOCS = Path(__file__).parents[2] / "docs" / "fields.md"


def test_response_to_a_pulse_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "def pulse" in block)
    small = {
        'load_model("water"), read("models/water/start.extxyz")': "toy, atoms",
        "steps=4000, timestep_fs=0.5, equilibration_steps=4000, replicas=8": "steps=800, timestep_fs=1.0, "
        "equilibration_steps=4, replicas=2, dtype='float64', temperature_K=20.0",
        "from ase.io import read\n": "",
    }
    for old, new in small.items():
        assert old in example
        example = example.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"toy": Polarizable(True), "atoms": dumbbells()}
    exec(compile(example, str(DOCS), "exec"), names)
    dipole, field, absorbed = np.asarray(names["dipole"]), np.asarray(names["field"]), float(str(names["absorbed"]))
    assert dipole[0] == 0.0  # both runs start from one point
    assert not field[700:].any()
    assert np.abs(dipole).max() > 1e-3
    # What the pulse has left behind is the mean gain of U + K of the two runs, less the error of the integrator.
    gains = []
    for name in ("plus.h5", "minus.h5"):
        run = read_run(name)
        total = run.energy_eV + 0.5 * (3 * len(run.numbers) - 3) * BOLTZMANN * run.temperature_K
        work = total - run.conserved_eV
        gains.append((work[-1] - work[0]).mean())
    assert absorbed == pytest.approx(np.mean(gains), rel=5e-3)
