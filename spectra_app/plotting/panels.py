"""Figures that are not spectra: Born charges, the history of a training, the course of a run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from spectra_app.born.report import BornReport
from spectra_app.errors import DatasetError
from spectra_app.plotting.curves import Array
from spectra_app.plotting.labels import LABEL_SIZE_PT
from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, REFERENCE_COLOUR, Width, house_style, new_figure


@dataclass(frozen=True, eq=False)
class TrainingHistory:
    """The numbers of ``history.csv``, one per epoch.

    Attributes:
        epoch: [epoch].
        train_loss: [epoch], dimensionless.
        valid_loss: [epoch], dimensionless.
        train_forces_rmse_meV_per_A: [epoch], meV/A.
        valid_forces_rmse_meV_per_A: [epoch], meV/A.
        learning_rate: [epoch].
    """

    epoch: Array
    train_loss: Array
    valid_loss: Array
    train_forces_rmse_meV_per_A: Array
    valid_forces_rmse_meV_per_A: Array
    learning_rate: Array


@dataclass(frozen=True, eq=False)
class RunTrace:
    """The course of a run.

    Attributes:
        time_ps: [frame], ps.
        temperature_K: [frame], K; mean over replicas.
        energy_meV_per_atom: [frame], meV/atom; conserved quantity (or potential energy) minus its first value.
        energy_label: what that energy is.
        target_K: K; thermostat's temperature, None without one.
    """

    time_ps: Array
    temperature_K: Array
    energy_meV_per_atom: Array
    energy_label: str = "conserved energy"
    target_K: float | None = None


def read_history(path: Path | str) -> TrainingHistory:
    """The history of a training from its CSV.

    Args:
        path: ``history.csv`` in the folder of a model.

    Raises:
        DatasetError: no such file, a column is missing, or no epoch is finished.
    """
    source = Path(path)
    try:
        with source.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except FileNotFoundError:
        raise DatasetError(f"training history {source}", got="no such file", wanted="history.csv of a model") from None
    names = list(TrainingHistory.__dataclass_fields__)
    if not rows:
        raise DatasetError(f"training history {source}", got="no finished epoch", wanted="at least one line")
    missing = [name for name in names if name not in rows[0]]
    if missing:
        raise DatasetError(f"training history {source}", got=f"no column {missing[0]}", wanted=", ".join(names))
    try:
        columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    except (TypeError, ValueError) as error:
        raise DatasetError(f"training history {source}", got=str(error), wanted="numbers in every line") from None
    return TrainingHistory(**columns)


def figure_training_history(history: TrainingHistory, width: Width = "one") -> Figure:
    """Losses, force errors and learning rate over the epochs, all on logarithmic scales; the best epoch is marked.

    Args:
        history: from :func:`read_history`.
        width: one or two columns of a journal.
    """
    with house_style():
        figure = new_figure(width, 4.2 if width == "one" else 4.6)
        loss, forces, rate = figure.subplots(3, 1, sharex=True, height_ratios=[2, 2, 1])
        style = {"marker": "o", "markersize": 2.5} if len(history.epoch) < 25 else {}
        for axes, train, valid in (
            (loss, history.train_loss, history.valid_loss),
            (forces, history.train_forces_rmse_meV_per_A, history.valid_forces_rmse_meV_per_A),
        ):
            axes.plot(history.epoch, train, color=PALETTE[5], linewidth=0.9, label="training", **style)
            axes.plot(history.epoch, valid, color=PALETTE[0], label="validation", **style)
            if (np.concatenate([train, valid]) > 0).all():
                axes.set_yscale("log")
        best = int(np.nanargmin(history.valid_loss))
        value = float(history.valid_forces_rmse_meV_per_A[best])
        for axes, level in ((loss, history.valid_loss[best]), (forces, value)):
            axes.plot(history.epoch[best], level, "o", color=PALETTE[1], markersize=4, zorder=5)
        text = f"best: {value:.1f} meV/Å at epoch {history.epoch[best]:.0f}"
        forces.text(0.98, 0.96, text, transform=forces.transAxes, ha="right", va="top", fontsize=7, color=PALETTE[1])
        if forces.get_yscale() == "log":
            forces.yaxis.set_major_formatter("{x:g}")
            forces.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.6)))
        rate.plot(history.epoch, history.learning_rate, color=MUTED_COLOUR, **style)
        if (history.learning_rate > 0).all():
            rate.set_yscale("log")
        loss.set_ylabel("Loss")
        forces.set_ylabel("Force RMSE (meV/Å)")
        rate.set(ylabel="Learning rate", xlabel="Epoch")
        rate.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss.legend(loc="upper right")
        figure.align_ylabels()
    return figure


def figure_born(report: BornReport, width: Width = "two") -> Figure:
    """Born charges: isotropic means and eigenvalues of every atom by element, and the reference where there is one.

    Args:
        report: from :func:`spectra_app.born.build_born_report`.
        width: one or two columns of a journal.
    """
    frames = 2 if report.comparison is None else 3
    with house_style():
        columns = frames if width == "two" else 1
        rows = 1 if width == "two" else frames
        figure = new_figure(width, 2.5 if width == "two" else 2.3 * frames)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        _draw_isotropic(axes[0], report)
        _draw_eigenvalues(axes[1], report)
        if report.comparison is not None:
            _draw_parity(axes[2], report)
    return figure


def draw_trace(temperature: Axes, energy: Axes, trace: RunTrace) -> None:
    """Temperature and energy over time.

    Args:
        temperature: axes of the temperature.
        energy: axes of the energy.
        trace: what to draw.
    """
    window = max(1, len(trace.time_ps) // 100)
    temperature.plot(trace.time_ps, trace.temperature_K, color=PALETTE[5], linewidth=0.5, alpha=0.8)
    if window > 1:
        smooth = np.convolve(trace.temperature_K, np.ones(window) / window, mode="valid")
        start = (window - 1) // 2
        temperature.plot(trace.time_ps[start : start + len(smooth)], smooth, color=PALETTE[0], linewidth=1.0)
    if trace.target_K is not None:
        temperature.axhline(trace.target_K, color=REFERENCE_COLOUR, linewidth=0.7, linestyle=(0, (4, 3)))
    mean = float(np.mean(trace.temperature_K))
    temperature.set(xlabel="Time (ps)", ylabel="Temperature (K)")
    temperature.set_title(f"Temperature: mean {mean:.1f} K")
    energy.plot(trace.time_ps, trace.energy_meV_per_atom, color=PALETTE[2], linewidth=0.8)
    energy.axhline(0.0, color=MUTED_COLOUR, linewidth=0.5)
    energy.set(xlabel="Time (ps)", ylabel="ΔE (meV/atom)")
    energy.set_title(trace.energy_label[:1].upper() + trace.energy_label[1:])
    for axes in (temperature, energy):
        axes.set_xlim(float(trace.time_ps[0]), float(trace.time_ps[-1]))


def _draw_isotropic(axes: Axes, report: BornReport) -> None:
    """One column of points per element, mean and standard deviation beside it, dashed its nominal charge."""
    for rank, element in enumerate(report.elements):
        values = report.isotropic_e[_atoms_of(report, element.symbol)]
        axes.plot(
            rank + _jitter(values), values, ".", color=PALETTE[rank % len(PALETTE)], markersize=3, alpha=0.5, mew=0
        )
        axes.errorbar(rank + 0.36, element.mean_e, element.std_e, fmt="o", color=REFERENCE_COLOUR, markersize=3, lw=1)
        axes.annotate(
            f"{element.mean_e:+.2f}",
            xy=(rank + 0.36, element.mean_e),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=LABEL_SIZE_PT,
        )
        nominal = None if report.nominal_e is None else report.nominal_e.get(element.symbol)
        if nominal is not None:
            axes.hlines(nominal, rank - 0.45, rank + 0.45, color=MUTED_COLOUR, linestyle=(0, (4, 3)), linewidth=0.8)
    _element_axis(axes, report, "tr(Z*)/3 (e)")
    axes.set_title("Isotropic charge")


def _draw_eigenvalues(axes: Axes, report: BornReport) -> None:
    """Three columns of points per element, one for each ascending eigenvalue of the symmetric part."""
    for rank, element in enumerate(report.elements):
        values = report.eigenvalues_e[_atoms_of(report, element.symbol)]
        for order in range(3):
            x = rank + 0.27 * (order - 1) + 0.45 * _jitter(values[:, order])
            axes.plot(x, values[:, order], ".", color=PALETTE[rank % len(PALETTE)], markersize=3, alpha=0.5, mew=0)
            mean = float(values[:, order].mean())
            ends = [rank + 0.27 * (order - 1) - 0.11, rank + 0.27 * (order - 1) + 0.11]
            axes.plot(ends, [mean, mean], color=REFERENCE_COLOUR, linewidth=1.2)
    _element_axis(axes, report, "Eigenvalues of Z* (e)")
    axes.set_title("Principal charges")


def _draw_parity(axes: Axes, report: BornReport) -> None:
    """All nine components against the reference."""
    assert report.reference_e is not None
    assert report.comparison is not None
    everything = np.concatenate([report.reference_e.ravel(), report.born_e.ravel()])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.05 * (high - low) or 0.1
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=MUTED_COLOUR, linewidth=0.7)
    for rank, element in enumerate(report.elements):
        chosen = _atoms_of(report, element.symbol)
        x, y = report.reference_e[chosen].ravel(), report.born_e[chosen].ravel()
        colour = PALETTE[rank % len(PALETTE)]
        axes.plot(
            x, y, ".", color=colour, markersize=3, alpha=0.5, mew=0, label=element.symbol, rasterized=len(x) > 5000
        )
    axes.set(xlim=ends, ylim=ends, xlabel="Reference Z* (e)", ylabel="Model Z* (e)")
    axes.set_aspect("equal", adjustable="box")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    total = report.comparison.total
    text = f"RMSE {total.rmse_e:.3f} e\nR² {total.r2:.4f}"
    axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=7)
    axes.legend(loc="upper left", markerscale=2.5, handletextpad=0.1)
    axes.set_title("Against reference")


def _element_axis(axes: Axes, report: BornReport, label: str) -> None:
    axes.set_xticks(range(len(report.elements)), [element.symbol for element in report.elements])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlim(-0.55, len(report.elements) + (0.15 if label.startswith("tr") else -0.45))
    axes.axhline(0.0, color=MUTED_COLOUR, linewidth=0.5, zorder=0)
    axes.set_ylabel(label)


def _atoms_of(report: BornReport, symbol: str) -> Array:
    return np.asarray(report.numbers == chemical_symbols.index(symbol))


def _jitter(values: Array) -> Array:
    """Sideways places that tell neighbours in a column apart: by rank modulo a prime, no random numbers."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(((ranks * 7) % 11 / 10.0 - 0.5) * 0.46) if len(values) > 1 else np.zeros(len(values))
