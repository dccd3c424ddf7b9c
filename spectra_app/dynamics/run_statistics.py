"""Running sums of a run: temperature and drift of the conserved energy without keeping a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Running sums over the recorded frames of a replica; ``drift`` is the slope of the conserved energy.

    Times and energies are counted from the first frame, which keeps the sums of squares accurate.
    """

    n: int = 0
    origin_eV: float = 0.0
    time: float = 0.0
    time_squared: float = 0.0
    energy: float = 0.0
    time_energy: float = 0.0
    temperature: float = 0.0

    def add(self, time_fs: np.ndarray, conserved_eV: np.ndarray, temperature_K: np.ndarray) -> Statistics:
        """Sums with further frames: times [frame], energies and temperatures [frame]."""
        if len(time_fs) == 0:
            return self
        origin = self.origin_eV if self.n else float(conserved_eV[0])
        shifted = conserved_eV - origin
        return Statistics(
            self.n + len(time_fs),
            origin,
            self.time + float(time_fs.sum()),
            self.time_squared + float((time_fs * time_fs).sum()),
            self.energy + float(shifted.sum()),
            self.time_energy + float((time_fs * shifted).sum()),
            self.temperature + float(temperature_K.sum()),
        )

    @property
    def drift_eV_per_fs(self) -> float:  # noqa: N802
        """Least-squares slope of the conserved energy, eV/fs; NaN for fewer than two frames."""
        spread = self.n * self.time_squared - self.time**2
        return (self.n * self.time_energy - self.time * self.energy) / spread if spread > 0.0 else float("nan")

    @property
    def temperature_K(self) -> float:  # noqa: N802
        """Mean temperature, K."""
        return self.temperature / self.n if self.n else float("nan")
