"""Look of every figure: palette, sizes for one and two columns, and saving without half-written files.

Figures are ``matplotlib.figure.Figure`` objects on the Agg canvas; pyplot, which keeps every figure alive and may want
a display, is never imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spectra_app.errors import ConfigError
from spectra_app.files import atomic_path

Width = Literal["one", "two"]

COLUMN_WIDTH_INCH: dict[str, float] = {"one": 3.4, "two": 7.0}
"""Widths of one and two columns of a journal (about 86 and 178 mm, APS and ACS)."""

# Okabe and Ito's set (https://jfly.uni-koeln.de/color/), safe for the common colour-vision deficiencies and distinct in
# grey; its yellow is left out (too faint on white), black is kept for references.
PALETTE: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REFERENCE_COLOUR = "#222222"
MUTED_COLOUR = "#666666"

FORMATS: tuple[str, ...] = ("png", "pdf", "svg")

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 5),
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.visible": True,
    "legend.fontsize": 7.0,
    "legend.frameon": True,  # white behind the text, so that lines of known bands do not cross it
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.2,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3, and text stays text
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """The house's matplotlib settings inside a ``with`` block; the caller's settings return at its end."""
    available = _installed_fonts()
    settings = dict(_SETTINGS)
    settings["font.sans-serif"] = [name for name in _SETTINGS["font.sans-serif"] if name in available]
    with mpl.rc_context(cast("Any", settings)):  # its stub wants literal keys
        yield


def new_figure(width: Width = "one", height_inch: float | None = None) -> Figure:
    """An empty figure of fixed size on the Agg canvas.

    Args:
        width: one or two columns of a journal.
        height_inch: inch; None takes 0.72 of the width of one column, 0.45 of two.

    Raises:
        ConfigError: another word for the width.
    """
    if width not in COLUMN_WIDTH_INCH:
        raise ConfigError("figure width", got=repr(width), wanted="'one' or 'two' (columns)")
    inch = COLUMN_WIDTH_INCH[width]
    height = height_inch if height_inch is not None else inch * (0.72 if width == "one" else 0.45)
    figure = Figure(figsize=(inch, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path | str, dpi: int = 300, formats: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Save a figure, atomically, as PNG, PDF or SVG by the ending of its name.

    Args:
        figure: the figure.
        path: where to; the ending gives the format.
        dpi: dots per inch of a PNG.
        formats: further endings to write beside it, e.g. ``("pdf",)``.

    Returns:
        The files written.

    Raises:
        ConfigError: an ending that is not one of png, pdf, svg.
        SpectraAppError: the folder cannot be written, or the disk is full.
    """
    first = Path(path)
    written = []
    for ending in dict.fromkeys((first.suffix.lstrip(".").lower(), *formats)):
        if ending not in FORMATS:
            raise ConfigError(f"figure {first.name}", got=f"ending '{ending}'", wanted="one of png, pdf, svg")
        target = first.with_suffix(f".{ending}")
        # No date in the file: the same numbers give the same bytes.
        metadata = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[ending]
        with house_style(), mpl.rc_context({"svg.hashsalt": "spectra-app"}), atomic_path(target) as temporary:
            figure.savefig(temporary, format=ending, dpi=dpi, metadata=metadata)
        written.append(target)
    return tuple(written)


def _installed_fonts() -> frozenset[str]:
    from matplotlib.font_manager import fontManager  # here: 0.1 s of import that only drawing needs

    return frozenset(font.name for font in fontManager.ttflist)
