"""The line of harmonic atoms: where it is and how wide, by thermostat, beside constant energy and theory."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.physics
TAU_FS = 500.0


def test_langevin_widens_a_line_by_its_friction_and_no_other_thermostat_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    script = importlib.import_module("thermostats")
    position, friction_width = script.exact_line(TAU_FS)
    assert friction_width == pytest.approx(10.6, abs=0.05)
    found = {way: script.line(way, TAU_FS) for way in script.WAYS}
    for way, line in found.items():
        assert line.position_per_cm == pytest.approx(position, abs=0.5), way
    assert found["langevin"].width_per_cm == pytest.approx(friction_width, rel=0.1)
    for way in ("nve", "bussi", "nose-hoover"):
        assert abs(found[way].width_per_cm) < 0.04 * friction_width, way
