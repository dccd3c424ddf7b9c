"""The Born charge report: table, CSV and JSON say what was computed, with units."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from spectra_app.born import BornReport, build_born_report, format_born_report, write_born_csv, write_born_json
from spectra_app.errors import DatasetError

NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])


def water_report(*, with_reference: bool = True) -> BornReport:
    born = np.random.default_rng(5).normal(scale=0.2, size=(3, 3, 3))
    born += np.array([-0.6, 0.3, 0.3])[:, None, None] * np.eye(3)
    return build_born_report(
        born, NUMBERS, POSITIONS, reference=born + 0.01 if with_reference else None, eps_inf=1.78, source="toy model"
    )


def test_text_says_what_matters() -> None:
    text = format_born_report(water_report())
    assert "3 atoms (H2 O1) from toy model, eps_inf 1.78" in text
    for piece in ("Acoustic sum rule", "RMSE, e", "off-diagonal", "0.0100"):
        assert piece in text
    assert "first index field, second displacement" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_narrow_terminal_shows_every_number() -> None:
    wide, narrow = (format_born_report(water_report(), width=width) for width in (200, 80))
    number = r"[+-]\d+\.\d{3}\b"
    assert re.findall(number, narrow) == re.findall(number, wide)
    assert re.search(r"^ *0 O +[+-]", narrow, flags=re.MULTILINE)
    assert "…" not in narrow.split("Z* per atom")[1]


def test_long_lists_are_cut_and_said_so() -> None:
    many = build_born_report(np.zeros((40, 3, 3)), np.full(40, 8), np.zeros((40, 3)))
    assert "and 28 more atoms" in format_born_report(many)


def test_csv_reads_back(tmp_path: Path) -> None:
    report = water_report()
    path = write_born_csv(report, tmp_path / "born.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [row["element"] for row in rows] == ["O", "H", "H"]
    tensor = [[float(rows[1][f"Z_{a}{b}_e"]) for b in "xyz"] for a in "xyz"]
    assert tensor == pytest.approx(report.born_e[1], rel=1e-6)
    assert float(rows[2]["x_A"]) == pytest.approx(-0.76)
    assert float(rows[0]["reference_Z_zx_e"]) == pytest.approx(report.born_e[0, 2, 0] + 0.01, rel=1e-6)


def test_json_has_units_in_its_names_and_no_nan(tmp_path: Path) -> None:
    report = water_report()
    data = json.loads(write_born_json(report, tmp_path / "born.json").read_text())
    assert data["sum_rule_violation_max_e"] == pytest.approx(report.sum_rule_max_e)
    assert np.array(data["atoms"][0]["born_e"]) == pytest.approx(report.born_e[0])
    assert data["comparison"]["total"]["rmse_e"] == pytest.approx(0.01)
    flat = build_born_report(np.zeros((3, 3, 3)), NUMBERS, POSITIONS, reference=np.zeros((3, 3, 3)))
    constant = json.loads(write_born_json(flat, tmp_path / "flat.json").read_text())
    assert constant["comparison"]["total"]["r2"] is None


def test_no_reference_no_comparison() -> None:
    assert water_report(with_reference=False).comparison is None


def test_charged_molecule_obeys_its_own_sum_rule() -> None:
    born = np.stack([np.eye(3) * 0.5, np.eye(3) * 0.25, np.eye(3) * 0.25])
    assert build_born_report(born, NUMBERS, POSITIONS, total_charge_e=1.0).sum_rule_max_e == pytest.approx(0.0)
    assert build_born_report(born, NUMBERS, POSITIONS).sum_rule_max_e == pytest.approx(1.0)


def test_positions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DatasetError, match="positions"):
        build_born_report(np.zeros((3, 3, 3)), NUMBERS, POSITIONS[:2])
