"""The figure of a spectrum in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from spectra_app.plotting import figure_parts, parts_curves, read_curve, save_figure
from spectra_app.spectra import EstimatorSettings, SpectrumParts, infrared_parts


@pytest.fixture(scope="module")
def spectrum() -> SpectrumParts:
    noise = np.random.default_rng(0).normal(size=(3000, 2, 9, 3))
    contributions = signal.lfilter([1.0], [1.0, -1.7, 0.95], noise, axis=0)[300:] / 50.0
    return infrared_parts(
        contributions,
        kinds=["a", "b", "c", "d"] + ["a"] * 5,
        molecules=[0, 0, 1, 1, 2, 2, 3, 3, 3],
        timestep_fs=1.0,
        temperature_K=300.0,
        volume_A3=500.0,
        settings=EstimatorSettings(resolution_per_cm=150.0),
    )


def test_every_family_has_its_frame_with_the_total_in_front(spectrum: SpectrumParts, tmp_path: Path) -> None:
    total, families = parts_curves(spectrum)
    assert [len(curves) for curves in families.values()] == [6, 2]  # the six strongest of ten pairs of kinds
    kept = {curve.label for curve in families["kinds"]}
    dropped = set(spectrum.families["kinds"]) - kept
    weakest = min(np.abs(spectrum.parts[name]).max() for name in kept)
    assert weakest >= max(np.abs(spectrum.parts[name]).max() for name in dropped)
    figure = figure_parts(total, families)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == ["by kinds", "by molecules"]
    for axes, curves in zip(figure.axes, families.values(), strict=True):
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        assert [line.get_label() for line in lines] == ["total", *(curve.label for curve in curves)]
        np.testing.assert_array_equal(lines[0].get_ydata(), spectrum.total)
        assert "cm" in axes.get_ylabel()
        assert axes.get_ylabel().startswith("Infrared absorption")
    assert save_figure(figure, tmp_path / "f.png")[0].stat().st_size > 5000


def test_a_family_that_is_the_whole_is_left_out_unless_alone(spectrum: SpectrumParts) -> None:
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": EstimatorSettings(resolution_per_cm=150.0)}
    noise = signal.lfilter([1.0], [1.0, -1.7, 0.95], np.random.default_rng(1).normal(size=(2000, 2, 3)), axis=0) / 50.0
    alone = infrared_parts(noise, kinds=["a", "a"], **common)
    assert list(parts_curves(alone)[1]) == ["kinds"]
    both = infrared_parts(noise, kinds=["a", "a"], molecules=[0, 1], **common)
    assert list(parts_curves(both)[1]) == ["molecules"]
    assert both.fractions()["intra"] + both.fractions()["inter"] == pytest.approx(1.0)


def test_a_column_of_the_table_is_a_curve(spectrum: SpectrumParts, tmp_path: Path) -> None:
    curve = read_curve(spectrum.write_csv(tmp_path / "p.csv"), "inter")
    assert (curve.quantity, curve.unit) == ("infrared absorption", "cm^-1")
    np.testing.assert_allclose(curve.y, spectrum.parts["inter"], rtol=1e-6, atol=1e-6)
    assert curve.error is not None
