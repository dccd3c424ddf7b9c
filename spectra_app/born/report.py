"""The Born charge report: what is worth knowing about a set of tensors, as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectra_app.born.export import write_text
from spectra_app.born.sites import Site, born_by_site
from spectra_app.born.symmetry import CrystalSymmetry, average_over_symmetry
from spectra_app.born.tensors import (
    Array,
    BornComparison,
    ElementStatistics,
    IntArray,
    antisymmetric_norm,
    check_born,
    compare_born,
    element_statistics,
    isotropic_means,
    sum_rule_violation,
    symmetric_eigenvalues,
)
from spectra_app.errors import DatasetError

COMPONENTS = tuple(a + b for a in "xyz" for b in "xyz")
CONVENTION = "Z_ab = dP_a/dr_b: first index field (polarization), second displacement"


@dataclass(frozen=True, eq=False)
class BornReport:
    """Born charges of one structure and all that is derived from them.

    Attributes:
        source: what made the charges, e.g. the name of a model.
        numbers: [atom], atomic numbers.
        positions_A: [atom, xyz], A.
        cell_A: [vector, xyz], A; None for an isolated molecule.
        total_charge_e: e.
        born_e: [atom, field, displacement], e.
        isotropic_e: [atom], e; tr(Z*)/3.
        eigenvalues_e: [atom, 3], e; ascending, of the symmetric part.
        antisymmetric_e: [atom], e; Frobenius norm of the antisymmetric part.
        elements: statistics per element.
        sum_rule_e: [field, displacement], e; sum_i Z*_i - Q 1.
        eps_inf: high-frequency dielectric constant the charges were scaled with; None where not known.
        symmetrized_e: [atom, field, displacement], e; average over the space group, None if not asked for.
        symmetry: the space group behind it.
        reference_e: [atom, field, displacement], e; None without reference labels.
        comparison: errors against the reference.
        sites: by crystallographic site, where there is a space group.
        nominal_e: oxidation states by element; None where they are not known.
        spread_e: [atom], e; standard deviation of the isotropic charge over the frames of an average; None of one
            structure.
        n_frames: frames that the charges are the mean of.
    """

    source: str
    numbers: IntArray
    positions_A: Array
    cell_A: Array | None
    total_charge_e: float
    born_e: Array
    isotropic_e: Array
    eigenvalues_e: Array
    antisymmetric_e: Array
    elements: tuple[ElementStatistics, ...]
    sum_rule_e: Array
    eps_inf: float | None
    symmetrized_e: Array | None
    symmetry: CrystalSymmetry | None
    reference_e: Array | None
    comparison: BornComparison | None
    sites: tuple[Site, ...] = ()
    nominal_e: Mapping[str, float] | None = None
    spread_e: Array | None = None
    n_frames: int = 1

    @property
    def sum_rule_max_e(self) -> float:
        """e; largest component of the violation of the acoustic sum rule."""
        return float(np.abs(self.sum_rule_e).max())


def build_born_report(
    born: ArrayLike,
    numbers: ArrayLike,
    positions_A: ArrayLike,
    cell_A: ArrayLike | None = None,
    total_charge_e: float = 0.0,
    *,
    reference: ArrayLike | None = None,
    symmetry: CrystalSymmetry | None = None,
    eps_inf: float | None = None,
    source: str = "",
    nominal_e: Mapping[str, float] | None = None,
    spread_e: ArrayLike | None = None,
    n_frames: int = 1,
) -> BornReport:
    """Everything derived from one set of Born charges.

    Args:
        born: [atom, field, displacement], e; physical (screened) charges.
        numbers: [atom], atomic numbers.
        positions_A: [atom, xyz], A.
        cell_A: [vector, xyz], A; None for an isolated molecule.
        total_charge_e: e; the sum that the acoustic sum rule demands.
        reference: [atom, field, displacement] or [atom, 9], e; labels to compare with.
        symmetry: space group from :func:`spectra_app.born.symmetry.find_symmetry`; the report then carries averages.
        eps_inf: dimensionless; recorded with the result.
        source: what made the charges.
        nominal_e: oxidation states by element.
        spread_e: [atom], e; of the isotropic charges, where ``born`` is a mean over frames.
        n_frames: how many.

    Raises:
        DatasetError: shapes do not fit together, or NaN.
    """
    species = np.asarray(numbers, dtype=np.int64)
    tensors = check_born(born, len(species))
    positions = np.asarray(positions_A, dtype=np.float64)
    if positions.shape != (len(species), 3):
        raise DatasetError("positions", got=f"shape {positions.shape}", wanted=f"({len(species)}, 3)")
    theirs = None if reference is None else check_born(reference, len(species), "reference Born charges")
    return BornReport(
        source=source,
        numbers=species,
        positions_A=positions,
        cell_A=None if cell_A is None else np.asarray(cell_A, dtype=np.float64),
        total_charge_e=total_charge_e,
        born_e=tensors,
        isotropic_e=isotropic_means(tensors),
        eigenvalues_e=symmetric_eigenvalues(tensors),
        antisymmetric_e=antisymmetric_norm(tensors),
        elements=element_statistics(tensors, species),
        sum_rule_e=sum_rule_violation(tensors, total_charge_e),
        eps_inf=eps_inf,
        symmetrized_e=None if symmetry is None else average_over_symmetry(tensors, symmetry),
        symmetry=symmetry,
        reference_e=theirs,
        comparison=None if theirs is None else compare_born(tensors, theirs, species),
        sites=() if symmetry is None else born_by_site(tensors, species, symmetry, nominal_e, theirs),
        nominal_e=nominal_e,
        spread_e=None if spread_e is None else np.asarray(spread_e, dtype=np.float64),
        n_frames=n_frames,
    )


def render_born_report(report: BornReport, max_atoms: int = 12) -> RenderableType:
    """The report as rich tables: elements, atoms, sum rule, comparison.

    Args:
        report: the report.
        max_atoms: atoms listed one by one; the CSV holds all of them.
    """
    parts: list[RenderableType] = [Text(_headline(report), style="bold"), _element_table(report)]
    parts.append(_atom_table(report, max_atoms))
    if len(report.numbers) > max_atoms:
        parts.append(Text(f"... and {len(report.numbers) - max_atoms} more atoms: see the CSV", style="dim"))
    parts.append(Text(_sum_rule_line(report)))
    if report.symmetry is not None and report.symmetrized_e is not None:
        change = float(np.abs(report.symmetrized_e - report.born_e).max())
        parts.append(
            Text(
                f"Space group {report.symmetry.spacegroup}, {len(report.symmetry.independent)} independent atoms; "
                f"averaging changes no component by more than {change:.4f} e"
            )
        )
    if report.sites:
        parts.append(_site_table(report.sites))
        if any(site.strongly_anomalous for site in report.sites):
            parts.append(
                Text("* an eigenvalue differs from the nominal charge by more than a fifth of it", style="dim")
            )
    if report.comparison is not None:
        parts += [_comparison_table(report.comparison), Text(_worst_line(report.comparison, report.numbers))]
    return Group(*parts)


def format_born_report(report: BornReport, max_atoms: int = 12, width: int = 100) -> str:
    """The report as plain text (no colour), e.g. for a file.

    Args:
        report: the report.
        max_atoms: atoms listed one by one.
        width: characters per line.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(render_born_report(report, max_atoms))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def born_csv(report: BornReport) -> str:
    """One line per atom with every number; '#' metadata lines, units in the header."""
    stream = io.StringIO()
    for line in (f"Born effective charges, {_headline(report)}", CONVENTION, _sum_rule_line(report)):
        stream.write(f"# {line}\n")
    columns = ["atom", "element", "x_A", "y_A", "z_A", *(f"Z_{name}_e" for name in COMPONENTS)]
    columns += ["isotropic_e", "eigenvalue_1_e", "eigenvalue_2_e", "eigenvalue_3_e", "antisymmetric_norm_e"]
    blocks = [report.positions_A, report.born_e.reshape(-1, 9), report.isotropic_e[:, None], report.eigenvalues_e]
    blocks.append(report.antisymmetric_e[:, None])
    if report.spread_e is not None:
        columns.append("isotropic_std_over_frames_e")
        blocks.append(report.spread_e[:, None])
    for name, tensors in (("symmetrized", report.symmetrized_e), ("reference", report.reference_e)):
        if tensors is not None:
            columns += [f"{name}_Z_{component}_e" for component in COMPONENTS]
            blocks.append(tensors.reshape(-1, 9))
    values = np.concatenate(blocks, axis=1)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for index, (number, row) in enumerate(zip(report.numbers, values, strict=True)):
        writer.writerow([index, chemical_symbols[int(number)], *(f"{value:.8g}" for value in row)])
    return stream.getvalue()


def born_json(report: BornReport) -> dict[str, Any]:
    """The report as JSON-ready values; units are in the names, a number that is not defined is null."""
    return {
        "convention": CONVENTION,
        "source": report.source,
        "eps_inf": report.eps_inf,
        "n_atoms": len(report.numbers),
        "total_charge_e": report.total_charge_e,
        "elements": [asdict(element) for element in report.elements],
        "sum_rule_violation_e": report.sum_rule_e.tolist(),
        "sum_rule_violation_max_e": report.sum_rule_max_e,
        "spacegroup": None if report.symmetry is None else report.symmetry.spacegroup,
        "independent_atoms": None if report.symmetry is None else report.symmetry.independent.tolist(),
        "n_frames": report.n_frames,
        "sites": [{**asdict(site), "anomalous_e": site.anomalous_e} for site in report.sites],
        "cell_A": None if report.cell_A is None else report.cell_A.tolist(),
        "atoms": [
            {
                "atom": i,
                "element": chemical_symbols[int(number)],
                "position_A": report.positions_A[i].tolist(),
                "born_e": report.born_e[i].tolist(),
                "symmetrized_e": None if report.symmetrized_e is None else report.symmetrized_e[i].tolist(),
                "reference_e": None if report.reference_e is None else report.reference_e[i].tolist(),
                "isotropic_e": float(report.isotropic_e[i]),
                "isotropic_std_over_frames_e": None if report.spread_e is None else float(report.spread_e[i]),
                "eigenvalues_e": report.eigenvalues_e[i].tolist(),
                "antisymmetric_norm_e": float(report.antisymmetric_e[i]),
            }
            for i, number in enumerate(report.numbers)
        ],
        "comparison": None if report.comparison is None else _nan_to_none(asdict(report.comparison)),
        "r2_definition": "1 - sum (Z - Z_ref)^2 / sum (Z_ref - mean Z_ref)^2 over tensor components",
    }


def write_born_csv(report: BornReport, path: Path | str) -> Path:
    """Write :func:`born_csv` atomically."""
    return write_text(path, born_csv(report))


def write_born_json(report: BornReport, path: Path | str) -> Path:
    """Write :func:`born_json` atomically."""
    return write_text(path, json.dumps(born_json(report), indent=1, allow_nan=False))


def _headline(report: BornReport) -> str:
    counts = " ".join(f"{element.symbol}{element.count}" for element in report.elements)
    source = f" from {report.source}" if report.source else ""
    screening = "" if report.eps_inf is None else f", eps_inf {report.eps_inf:.4g}"
    if report.n_frames > 1:
        screening += f", mean over {report.n_frames} frames"
    return f"{len(report.numbers)} atoms ({counts}){source}{screening}"


def _sum_rule_line(report: BornReport) -> str:
    total = "sum Z*" if report.total_charge_e == 0.0 else f"sum Z* - ({report.total_charge_e:+g} e) 1"
    return (
        f"Acoustic sum rule: |{total}| at most {report.sum_rule_max_e:.2e} e "
        f"({report.sum_rule_max_e / len(report.numbers):.1e} e per atom)"
    )


def _element_table(report: BornReport) -> Table:
    table = Table(title="Isotropic Born charge tr(Z*)/3 per element, e", title_justify="left")
    table.add_column("element")
    for name in ("atoms", "mean", "std", "min", "max", "eigenvalues (mean)", "|antisym.|"):
        table.add_column(name, justify="right")
    for element in report.elements:
        table.add_row(
            element.symbol,
            str(element.count),
            f"{element.mean_e:+.4f}",
            f"{element.std_e:.4f}",
            f"{element.min_e:+.4f}",
            f"{element.max_e:+.4f}",
            "  ".join(f"{value:+.3f}" for value in element.eigenvalues_e),
            f"{element.antisymmetric_e:.4f}",
        )
    return table


def _site_table(sites: tuple[Site, ...]) -> Table:
    table = Table(title="By crystallographic site, e", title_justify="left", padding=(0, 0, 0, 1), pad_edge=False)
    compared = any(site.rmse_e is not None for site in sites)
    for name in ("site", "symmetry", "mean", "nominal", "anomalous", "eigenvalues"):
        table.add_column(name, justify="left" if name in ("site", "symmetry") else "right", no_wrap=True)
    if compared:
        table.add_column("RMSE", justify="right")
        table.add_column("worst", justify="right")
    for site in sites:
        mark = " *" if site.strongly_anomalous else ""
        cells = [
            f"{site.symbol} {site.wyckoff}",
            site.site_symmetry,
            f"{site.isotropic_e:+.3f}",
            "" if site.nominal_e is None else f"{site.nominal_e:+g}",
            "" if site.anomalous_e is None else f"{site.anomalous_e:+.3f}{mark}",
            " ".join(f"{value:+.2f}" for value in site.eigenvalues_e),
        ]
        if compared:
            cells += ["" if site.rmse_e is None else f"{site.rmse_e:.4f}", str(site.worst_atom)]
        table.add_row(*cells)
    return table


def _atom_table(report: BornReport, max_atoms: int) -> Table:
    tensors = report.born_e if report.symmetrized_e is None else report.symmetrized_e
    title = "Z* per atom, e" if report.symmetrized_e is None else "Z* per atom, e (averaged over the space group)"
    title = f"{title}; first index field, second displacement"
    # No lines: twelve columns fit the 80 characters of a terminal or a log.
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1), pad_edge=False, box=None)
    table.add_column("atom", justify="right", no_wrap=True)
    table.add_column("el", no_wrap=True)
    for name in (*COMPONENTS, "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    for i in range(min(max_atoms, len(report.numbers))):
        symbol = chemical_symbols[int(report.numbers[i])]
        values = (*tensors[i].ravel(), report.isotropic_e[i])
        table.add_row(str(i), symbol, *(f"{value:+.3f}" for value in values))
    return table


def _comparison_table(comparison: BornComparison) -> Table:
    table = Table(title="Against the reference", title_justify="left")
    table.add_column("components")
    for name in ("atoms", "RMSE, e", "MAE, e", "R2", "slope"):
        table.add_column(name, justify="right")
    named = [("all", comparison.total), ("diagonal", comparison.diagonal), ("off-diagonal", comparison.off_diagonal)]
    for name, error in [*named, *((element.symbol, element) for element in comparison.elements)]:
        numbers = (f"{value:.4f}" for value in (error.rmse_e, error.mae_e, error.r2, error.slope))
        table.add_row(name, str(error.count), *numbers)
    return table


def _worst_line(comparison: BornComparison, numbers: IntArray) -> str:
    symbol = chemical_symbols[int(numbers[comparison.largest_atom])]
    return (
        f"Largest deviation: {comparison.largest_e:+.4f} e in {comparison.largest_component} of atom "
        f"{comparison.largest_atom} ({symbol}). R2 = 1 - residual/variance of the reference components."
    )


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
