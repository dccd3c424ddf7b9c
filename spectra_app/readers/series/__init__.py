"""Dipole and polarizability series of other codes: known by their content, read in bounded memory, in our units."""

from __future__ import annotations

from spectra_app.arrays import SlicedSeries
from spectra_app.readers.series.recognition import open_series
from spectra_app.readers.series.request import FORMATS, Request, Series

__all__ = ["FORMATS", "Request", "Series", "SlicedSeries", "open_series"]
