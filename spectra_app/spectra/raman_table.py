"""What every Raman spectrum is as a table, whether of dynamics or of normal modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spectra_app.spectra.prefactors import RAMAN_UNITS
from spectra_app.spectra.result import Spectrum, column, error_description
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]

_BY_PREFACTOR = "by prefactor"
RAMAN_COLUMNS: dict[str, dict[str, str]] = {
    "total": column(_BY_PREFACTOR, "unpolarized detection, VV + VH"),
    "vv": column(_BY_PREFACTOR, "parallel, isotropic + 4/45 anisotropic"),
    "vh": column(_BY_PREFACTOR, "perpendicular, 1/15 anisotropic"),
    "isotropic": column(_BY_PREFACTOR, "isotropic, from the mean polarizability"),
    "anisotropic": column(_BY_PREFACTOR, "anisotropic, gamma^2 = 3/2 tr beta beta"),
    "depolarization": column("1", "depolarization ratio VH/VV"),
    "total_error": column(_BY_PREFACTOR, error_description("unpolarized spectrum")),
    "vv_error": column(_BY_PREFACTOR, error_description("parallel spectrum")),
    "vh_error": column(_BY_PREFACTOR, error_description("perpendicular spectrum")),
    "isotropic_error": column(_BY_PREFACTOR, error_description("isotropic spectrum")),
    "anisotropic_error": column(_BY_PREFACTOR, error_description("anisotropic spectrum")),
    "depolarization_error": column("1", error_description("depolarization ratio")),
}
"""Columns by the names of their fields: unit and description."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RamanTable(Spectrum):
    """A Raman spectrum of the whole cell or molecule, in the unit of the prefactor; arrays are [nu].

    Attributes:
        geometries: of an oriented crystal, by their Porto names.
        geometry_errors: their standard errors, where something was sampled.
    """

    geometries: Mapping[str, Array] = field(default_factory=dict)
    geometry_errors: Mapping[str, Array] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The unpolarized spectrum."""
        return "total"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "RAMAN SPECTRUM"

    def unit_of(self, name: str) -> str:
        """Unit of a column: that of the prefactor, or 1 for the ratio."""
        unit = super().unit_of(name)
        return RAMAN_UNITS[self.parameters["prefactor"]] if unit == _BY_PREFACTOR else unit  # type: ignore[index]

    def columns(self) -> dict[str, Column]:
        """Table, polarization geometries last, by their Porto names."""
        table = super().columns()
        for name, values in self.geometries.items():
            table[name] = Column(values, self.unit_of("total"), f"polarization geometry {name}")
            if name in self.geometry_errors:
                text = error_description(f"geometry {name}")
                table[f"{name}_error"] = Column(self.geometry_errors[name], self.unit_of("total"), text)
        return table
