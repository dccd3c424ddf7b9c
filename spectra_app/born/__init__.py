"""Born effective charge tensors: pure functions, report, export for other programs; arrays in, no torch."""

from __future__ import annotations

from spectra_app.born.charges import born_charges
from spectra_app.born.export import format_espresso, format_phonopy_born, format_plain, format_vasp, write_text
from spectra_app.born.report import (
    BornReport,
    born_csv,
    born_json,
    build_born_report,
    format_born_report,
    render_born_report,
    write_born_csv,
    write_born_json,
)
from spectra_app.born.sites import Site, born_by_site
from spectra_app.born.symmetry import CrystalSymmetry, average_over_symmetry, average_tensor, find_symmetry
from spectra_app.born.tensors import (
    BornComparison,
    ElementError,
    ElementStatistics,
    antisymmetric_norm,
    check_born,
    compare_born,
    element_statistics,
    enforce_sum_rule,
    isotropic_means,
    sum_rule_violation,
    symmetric_eigenvalues,
)

__all__ = [
    "BornComparison",
    "BornReport",
    "CrystalSymmetry",
    "ElementError",
    "ElementStatistics",
    "Site",
    "antisymmetric_norm",
    "average_over_symmetry",
    "average_tensor",
    "born_by_site",
    "born_charges",
    "born_csv",
    "born_json",
    "build_born_report",
    "check_born",
    "compare_born",
    "element_statistics",
    "enforce_sum_rule",
    "find_symmetry",
    "format_born_report",
    "format_espresso",
    "format_phonopy_born",
    "format_plain",
    "format_vasp",
    "isotropic_means",
    "render_born_report",
    "sum_rule_violation",
    "symmetric_eigenvalues",
    "write_born_csv",
    "write_born_json",
    "write_text",
]
