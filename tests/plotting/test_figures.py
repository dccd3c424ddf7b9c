"""Figures: units on the axes, labels that do not overlap, files that are whole."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from spectra_app.born import build_born_report
from spectra_app.errors import ConfigError, DatasetError, SpectraAppError
from spectra_app.plotting import (
    WATER_BANDS,
    Curve,
    PeakMark,
    PlotSettings,
    RunTrace,
    TrainingHistory,
    figure_born,
    figure_dielectric,
    figure_ir,
    figure_overlay,
    figure_overview,
    figure_raman,
    figure_training_history,
    figure_vdos,
    make_curve,
    read_history,
    save_figure,
)
from spectra_app.plotting.labels import spread_positions

X = np.arange(0.0, 4000.0, 5.0)


def spectrum(label: str = "model", *, crowded: bool = False, unit: str = "cm^-1") -> Curve:
    centres = (
        [100.0, 140.0, 180.0, 1600.0, 1640.0, 1660.0, 3300.0, 3400.0] if crowded else [190.0, 690.0, 1640.0, 3400.0]
    )
    y = sum(1000.0 * (1 + i) * np.exp(-0.5 * ((X - c) / 60) ** 2) for i, c in enumerate(centres))
    peaks = [PeakMark(c, float(np.interp(c, X, y)), 5.0) for c in centres]
    return make_curve(X, y, label, unit=unit, quantity="absorption coefficient", error=0.05 * y, peaks=peaks)


def texts(figure: Figure, kind: str) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_gid() == kind]


def assert_labels_apart(axes: Axes) -> None:
    """No two labels of the axes overlap, and none crosses a curve or leaves the figure."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    labels = [text for text in axes.texts if text.get_gid() in ("peak-label", "band-label", "curve-label")]
    # Text.get_window_extent of an annotation includes its leader; the text alone is what must not overlap.
    boxes = [Text.get_window_extent(text, renderer) for text in labels]
    legend = axes.get_legend()
    if legend is not None:
        boxes.append(legend.get_window_extent(renderer))
    for (i, first), (j, second) in combinations(enumerate(boxes), 2):
        assert not first.shrunk(0.98, 0.98).overlaps(second), f"label {i} overlaps label {j}"
    for text, box in zip(labels, boxes, strict=False):
        assert figure.bbox.padded(1.0).contains(box.x0, box.y0), text.get_text()
        assert figure.bbox.padded(1.0).contains(box.x1, box.y1), text.get_text()
        if text.get_gid() != "peak-label":
            continue
        for line in axes.lines:
            if line.get_gid() == "leader" or len(line.get_xdata()) < 10:
                continue
            points = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
            inside = (
                (points[:, 0] > box.x0) & (points[:, 0] < box.x1) & (points[:, 1] > box.y0) & (points[:, 1] < box.y1)
            )
            assert not inside.any(), f"label {text.get_text()} on a curve"


@pytest.mark.parametrize(
    ("width", "reverse", "crowded", "offset"),
    [
        ("one", False, False, False),
        ("one", False, True, False),
        ("one", True, True, True),
        ("two", True, True, False),
        ("two", False, True, True),
    ],
)
def test_no_label_overlaps(*, width: str, reverse: bool, crowded: bool, offset: bool) -> None:
    curves = [spectrum("first", crowded=crowded), spectrum("second")]
    bands = {} if offset else WATER_BANDS
    settings = PlotSettings(width=width, reverse=reverse, offset=offset, bands=bands, label_errors=crowded)  # type: ignore[arg-type]
    figure = figure_ir(curves, settings)
    assert len(texts(figure, "peak-label")) == sum(len(curve.peaks) for curve in curves)
    assert len(texts(figure, "band-label")) == len(bands)
    assert_labels_apart(figure.axes[0])
    left, right = figure.axes[0].get_xlim()
    assert (left > right) == reverse


def test_spread_keeps_distance_and_moves_as_little_as_possible() -> None:
    assert spread_positions(np.array([10.0, 50.0]), np.array([4.0, 4.0]), 0, 100).tolist() == [10.0, 50.0]
    # two labels wanted at one place share the way; a third far off stays
    assert spread_positions(np.array([20.0, 20.0, 80.0]), np.full(3, 10.0), 0, 100) == pytest.approx([15.0, 25.0, 80.0])
    # pushed off the edges
    assert spread_positions(np.array([0.0, 1.0]), np.full(2, 10.0), 0, 100) == pytest.approx([5.0, 15.0])
    assert spread_positions(np.array([99.0, 100.0]), np.full(2, 10.0), 0, 100) == pytest.approx([85.0, 95.0])
    assert spread_positions(np.zeros(0), np.zeros(0), 0, 100).size == 0


def test_axes_carry_units_and_peaks_their_numbers() -> None:
    figure = figure_ir([spectrum()], PlotSettings(label_errors=True))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "Wavenumber (cm$^{-1}$)"
    assert axes.get_ylabel() == "Absorption coefficient (cm$^{-1}$)"
    assert texts(figure, "peak-label")[2] == "1640 ± 5"
    assert len(axes.collections) == 1  # the error band


def test_range_crops_curves_peaks_and_bands() -> None:
    figure = figure_ir([spectrum()], PlotSettings(range_per_cm=(1000, 2000), bands=WATER_BANDS))
    assert texts(figure, "peak-label") == ["1640"]
    assert texts(figure, "band-label") == ["bend\n1644"]
    assert figure.axes[0].get_xlim() == (1000, 2000)


def test_rise_towards_zero_does_not_flatten_the_bands() -> None:
    curve = spectrum()
    spike = make_curve(curve.x, curve.y + np.where(curve.x < 10, 1e6, 0.0), unit="cm^-1", quantity="absorption")
    assert figure_ir([spike]).axes[0].get_ylim()[1] < 1e4
    assert figure_ir([spike], PlotSettings(scale_from_per_cm=0.0)).axes[0].get_ylim()[1] > 1e6


def test_gaps_and_unknown_errors_are_drawn_around() -> None:
    whole = spectrum()
    y = np.where((X > 600) & (X < 900), np.nan, whole.y)
    curve = make_curve(X, y, "gap", error=np.full_like(X, np.nan), peaks=[*whole.peaks, PeakMark(700.0, 5.0, np.nan)])
    figure = figure_ir([curve], PlotSettings(label_errors=True))
    assert texts(figure, "peak-label") == ["190 ± 5", "690 ± 5", "700", "1640 ± 5", "3400 ± 5"]
    assert_labels_apart(figure.axes[0])
    figure_overlay([curve, curve], PlotSettings(offset=True))


def test_references_are_black_dashed_and_fitted_to_the_axis() -> None:
    reference = make_curve(
        X, np.exp(-(((X - 1640) / 50) ** 2)), "experiment", unit="L", quantity="molar", is_reference=True
    )
    figure = figure_overlay([spectrum(), reference])
    line = figure.axes[0].lines[1]
    assert line.get_label() == "experiment (scaled)"
    assert line.get_linestyle() == "--"
    assert max(line.get_ydata()) == pytest.approx(4000.0, rel=0.01)


def test_offset_curves_do_not_touch() -> None:
    figure = figure_overlay([spectrum("a"), spectrum("b"), spectrum("c")], PlotSettings(offset=True))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 10]
    tops = [max(line.get_ydata()) for line in lines]
    bottoms = [min(line.get_ydata()) for line in lines]
    assert bottoms[0] > tops[1]
    assert bottoms[1] > tops[2]
    assert texts(figure, "curve-label") == ["a", "b", "c"]
    assert "offset" in figure.axes[0].get_ylabel()


def test_normalised_curves_reach_one() -> None:
    figure = figure_overlay([spectrum("a"), spectrum("b", unit="km/mol")], PlotSettings(normalised=True))
    assert [max(line.get_ydata()) for line in figure.axes[0].lines[:2]] == pytest.approx([1.0, 1.0])
    assert figure.axes[0].get_ylabel() == "Absorption coefficient (normalised)"


def test_raman_ratio_is_drawn_only_where_there_is_intensity() -> None:
    intensity = make_curve(X, np.exp(-(((X - 3400) / 100) ** 2)), "VV", quantity="Raman intensity")
    ratio = make_curve(X, np.full_like(X, 0.3), error=np.full_like(X, 0.05))
    figure = figure_raman([intensity], ratio)
    drawn = np.asarray(figure.axes[1].lines[0].get_ydata())
    assert np.isnan(drawn[X < 3000]).all()
    assert np.nanmax(drawn) == pytest.approx(0.3)
    assert figure.axes[1].get_ylabel() == "VH / VV"


def test_density_of_states_and_dielectric_function() -> None:
    total = make_curve(X, 2 * np.ones_like(X), "total", unit="cm", quantity="density of states")
    part = make_curve(X, np.ones_like(X), "O", unit="cm", quantity="density of states")
    vdos = figure_vdos([total, part])
    assert [text.get_text() for text in vdos.axes[0].get_legend().get_texts()] == ["total", "O"]
    real, imaginary = make_curve(X, 1.78 - 1e-4 * X), make_curve(X, np.exp(-X / 500))
    figure = figure_dielectric([real], [imaginary], eps_inf=1.78)
    assert "varepsilon'$" in figure.axes[0].get_ylabel()
    assert any("1.78" in text.get_text() for text in figure.axes[0].texts)


def test_overview_has_every_panel_and_its_labels_apart() -> None:
    time = np.linspace(0, 5, 500)
    trace = RunTrace(time, 300 + np.sin(time), 1e-3 * time, target_K=300.0)
    total = make_curve(X, np.ones_like(X), "total", unit="cm", quantity="density of states")
    figure = figure_overview(
        infrared=[spectrum()], raman=[spectrum("VV")], vdos=[total], trace=trace, bands=WATER_BANDS, title="Water"
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["Infrared", "Raman", "Vibrational density of states"]
    assert titles[3].startswith("Temperature: mean 300")
    assert sorted(texts(figure, "band-label"))[0] == "H-bond stretch\n183"
    for axes in figure.axes[:3]:
        assert_labels_apart(axes)
    with pytest.raises(DatasetError, match="nothing to draw"):
        figure_overview()


def test_born_figure_shows_each_atom_and_the_reference() -> None:
    born = np.random.default_rng(6).normal(size=(12, 3, 3))
    numbers = np.array([8] * 4 + [1] * 8)
    assert len(figure_born(build_born_report(born, numbers, np.zeros((12, 3)))).axes) == 2
    figure = figure_born(build_born_report(born, numbers, np.zeros((12, 3)), reference=born + 0.1))
    isotropic, _, parity = figure.axes
    assert isotropic.get_ylabel() == "tr(Z*)/3 (e)"
    assert [label.get_text() for label in isotropic.get_xticklabels()] == ["H", "O"]
    assert sum(len(line.get_xdata()) for line in parity.lines[1:]) == 108
    assert any("RMSE 0.100 e" in text.get_text() for text in parity.texts)


HISTORY = """epoch,seconds,learning_rate,train_loss,train_forces_rmse_meV_per_A,valid_loss,\
valid_energy_rmse_meV_per_atom,valid_forces_rmse_meV_per_A
1,10,0.005,1.0,200,1.2,5,210
2,20,0.003,0.5,100,0.4,3,95.5
3,30,0.001,0.3,80,0.6,4,110
"""


def test_training_history_is_read_and_its_best_epoch_named(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    history = read_history(path)
    assert isinstance(history, TrainingHistory)
    figure = figure_training_history(history)
    assert [axes.get_ylabel() for axes in figure.axes] == ["Loss", "Force RMSE (meV/Å)", "Learning rate"]
    assert any("95.5 meV/Å at epoch 2" in text.get_text() for text in figure.axes[1].texts)


@pytest.mark.parametrize(
    ("text", "message"), [("", "no finished epoch"), ("epoch\n1\n", "no column"), (HISTORY + "4,40,0.1\n", "numbers")]
)
def test_damaged_history_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_history(path)


def test_files_are_written_whole_and_again_the_same(tmp_path: Path) -> None:
    figure = figure_ir([spectrum()])
    written = save_figure(figure, tmp_path / "new" / "ir.png", dpi=80, formats=("pdf", "svg"))
    assert [path.suffix for path in written] == [".png", ".pdf", ".svg"]
    first = [path.read_bytes() for path in written]
    assert first[0].startswith(b"\x89PNG")
    assert first[1].startswith(b"%PDF")
    assert b"Wavenumber" in first[2]
    save_figure(figure_ir([spectrum()]), tmp_path / "new" / "ir.png", dpi=80, formats=("pdf", "svg"))
    assert [path.read_bytes() for path in written] == first
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["ir.pdf", "ir.png", "ir.svg"]


def test_sizes_fit_the_columns_of_a_journal() -> None:
    assert figure_ir([spectrum()]).get_figwidth() == pytest.approx(3.4)
    assert figure_ir([spectrum()], PlotSettings(width="two")).get_figwidth() == pytest.approx(7.0)


def test_settings_of_matplotlib_are_left_as_they_were() -> None:
    before = dict(mpl.rcParams)
    figure_ir([spectrum()])
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in __import__("sys").modules or not mpl.pyplot.get_fignums()


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no curve"):
        figure_ir([])
    with pytest.raises(ConfigError, match="low < high"):
        PlotSettings(range_per_cm=(2000, 1000))
    with pytest.raises(ConfigError, match="'one' or 'two'"):
        figure_ir([spectrum()], PlotSettings(width="three"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="png, pdf, svg"):
        save_figure(figure_ir([spectrum()]), tmp_path / "figure.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(SpectraAppError, match="writing"):
        save_figure(figure_ir([spectrum()]), tmp_path / "file" / "figure.png")
