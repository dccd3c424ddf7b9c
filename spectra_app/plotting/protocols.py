"""What plotting asks of the objects of other rooms, so that it depends on none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from spectra_app.arrays import Frames
from spectra_app.plotting.curves import Array


class PeakLike(Protocol):
    """What a peak of a spectrum must have."""

    @property
    def position_per_cm(self) -> float:
        """cm^-1."""

    @property
    def position_error_per_cm(self) -> float:
        """cm^-1."""

    @property
    def height(self) -> float:
        """In the unit of the spectrum."""


class SpectrumLike(Protocol):
    """What a spectrum must have to be drawn (``spectra_app.spectra.result.Spectrum`` has it)."""

    @property
    def title(self) -> str:
        """What it is."""

    @property
    def main(self) -> str:
        """Name of the main column, the one with the peaks."""

    @property
    def peaks(self) -> Sequence[PeakLike]:
        """Bands of the main column."""

    def columns(self) -> Mapping[str, tuple[Array, str, str]]:
        """{name: (values [nu], unit, description)}, wavenumber first."""


class PartsLike(SpectrumLike, Protocol):
    """What a spectrum in parts must have (``spectra_app.spectra.parts.SpectrumParts``)."""

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """{family: names of the columns that add up to the main one}."""


class LengthLike(Protocol):
    """What the report of a spectrum must have (``spectra_app.spectra.uncertainty.LengthReport``)."""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""

    @property
    def duration_ps(self) -> float:
        """Ps."""

    @property
    def resolution_per_cm(self) -> float:
        """cm^-1."""

    @property
    def nyquist_per_cm(self) -> float:
        """cm^-1."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences."""

    @property
    def verdict(self) -> Any:
        """An enumeration whose value is the verdict in words."""


class FullPeakLike(PeakLike, Protocol):
    """A peak with all that the summary states."""

    @property
    def height_error(self) -> float:
        """In the unit of the spectrum."""

    @property
    def width_per_cm(self) -> float:
        """cm^-1."""


class ReportedSpectrum(SpectrumLike, Protocol):
    """A spectrum that knows how far it can be trusted."""

    @property
    def report(self) -> LengthLike:
        """Length verdict."""

    @property
    def peaks(self) -> Sequence[FullPeakLike]:
        """Bands of the main column."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know besides the report."""


class CardLike(Protocol):
    """What a model card must have (``spectra_app.potentials.ModelCard``)."""

    @property
    def name(self) -> str:
        """Name in the zoo."""

    @property
    def variant(self) -> str:
        """Electrostatic variant."""

    @property
    def hash(self) -> str:
        """Hash of the weights."""

    @property
    def data(self) -> str:
        """Training data in words."""

    @property
    def errors(self) -> Mapping[str, float]:
        """Measured errors, units in the names."""


class RunLike(Protocol):
    """What a run must have (``spectra_app.runs.Run``)."""

    @property
    def time_fs(self) -> Frames:
        """[frame], fs."""

    @property
    def temperature_K(self) -> Frames:  # noqa: N802
        """[frame, replica], K."""

    @property
    def energy_eV(self) -> Frames:  # noqa: N802
        """[frame, replica], eV."""

    @property
    def conserved_eV(self) -> Frames | None:  # noqa: N802
        """[frame, replica], eV."""

    @property
    def numbers(self) -> np.ndarray:
        """[atom]."""

    @property
    def masses_amu(self) -> np.ndarray:
        """[atom], amu."""

    @property
    def volume_A3(self) -> Frames | float | None:  # noqa: N802
        """A^3."""

    @property
    def joined(self) -> Sequence[Any]:
        """The runs that it was merged of; none."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Settings and versions."""
