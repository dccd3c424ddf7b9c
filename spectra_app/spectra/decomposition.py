"""A spectrum taken apart: by element or kind of molecule, within and between molecules, and by distance.

A series that is a sum of parts, ``x(t) = sum_i x_i(t)``, has the density ``S = sum_ij S_ij`` of all pairs.  Parts of S
are sums over sets of pairs, and every family of sets below adds up to S exactly, cross-correlations included::

    kinds       sum_{i in a, j in b} S_ij    for each pair of kinds a-b (both orders together); n_kinds^2 transforms
    molecules   intra: i and j in one molecule; inter: in two
    distances   self: i = j; then by the distance of i and j in the middle of each Welch segment

All are taken from the amplitudes of one segment at a time, so the memory is some 60 bytes per part and sample of a
segment.  Welch's estimator only: it is the one in which a part of the sum is a sum over segments.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import windows
from spectra_app.spectra.density import SpectralDensity, density_from_sums
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, make_plan
from spectra_app.spectra.samples import read_samples, time_means

Array = NDArray[np.float64]

TOTAL = "total"


@dataclass(frozen=True, eq=False)
class Partition:
    """How the parts of a series are grouped.

    Attributes:
        kinds: [part] name of the kind of every part: its element, or the type of its molecule.
        molecules: [part] number of the molecule a part belongs to; None: no such family.
        positions_A: [frame, part, xyz] or [frame, replica, part, xyz] A, frames as in the series; None: no distances.
        cell_A: [vector, xyz] A; None: no images.
        edges_A: rising distances that divide the pairs, A; the last bin is open.
    """

    kinds: tuple[str, ...]
    molecules: NDArray[np.int64] | None = None
    positions_A: Any = None
    cell_A: Array | None = None
    edges_A: tuple[float, ...] = ()

    @property
    def kind_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of kinds in the order of the family ``kinds``."""
        return tuple(itertools.combinations_with_replacement(dict.fromkeys(self.kinds), 2))

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Family -> names of its parts, each family adding up to the total."""
        families = {"kinds": tuple(f"{a}-{b}" for a, b in self.kind_pairs)}
        if self.molecules is not None:
            families["molecules"] = ("intra", "inter")
        if self.positions_A is not None:
            marks = ["0", *(f"{edge:g}" for edge in self.edges_A)]
            bins = [f"{low} to {high} A" for low, high in itertools.pairwise(marks)]
            families["distances"] = ("self", *bins, f"beyond {marks[-1]} A")
        return families


def make_partition(
    n_parts: int,
    kinds: Sequence[str],
    molecules: ArrayLike | None = None,
    positions_A: Any = None,
    cell_A: ArrayLike | None = None,
    edges_A: Sequence[float] = (),
    shape: tuple[int, ...] = (),
) -> Partition:
    """A checked partition; arguments as the attributes of :class:`Partition`.

    Args:
        n_parts: parts of the series.
        kinds: [part] names.
        molecules: [part] numbers.
        positions_A: [frame, (replica,) part, xyz] A.
        cell_A: [vector, xyz] A.
        edges_A: A.
        shape: (frames, replicas) that the positions must have.

    Raises:
        SeriesError: wrong numbers of names, molecules, frames or parts.
        ConfigError: edges that do not rise from above zero, or none with positions.
    """
    if len(kinds) != n_parts:
        raise SeriesError("kinds", got=f"{len(kinds)} names", wanted=f"one per part, {n_parts}")
    number = None if molecules is None else np.unique(np.asarray(molecules), return_inverse=True)[1].astype(np.int64)
    if number is not None and number.shape != (n_parts,):
        raise SeriesError("molecules", got=f"shape {number.shape}", wanted=f"one per part, ({n_parts},)")
    if positions_A is not None:
        from spectra_app.spectra.guards import as_replicas

        positions_A = as_replicas(positions_A, "positions", (n_parts, 3))
        if tuple(positions_A.shape[:2]) != shape:
            raise SeriesError("frames and replicas of positions", got=tuple(positions_A.shape[:2]), wanted=shape)
        edges = np.asarray(edges_A, dtype=np.float64)
        if not len(edges) or edges[0] <= 0.0 or np.any(np.diff(edges) <= 0.0):
            raise ConfigError("distance edges", got=list(edges_A), wanted="rising distances above 0, in A")
    cell = None if cell_A is None else np.asarray(cell_A, dtype=np.float64)
    if cell is not None and (cell.shape != (3, 3) or abs(float(np.linalg.det(cell))) < 1e-9):
        raise SeriesError("cell_A", got=f"shape {cell.shape}", wanted="three vectors [vector, xyz] that span a volume")
    return Partition(tuple(kinds), number, positions_A, cell, tuple(float(edge) for edge in edges_A))


def partitioned_density(
    series: EstimatorInput,
    components: NDArray[np.float64],
    mixing: Array,
    partition: Partition,
    settings: EstimatorSettings,
) -> tuple[tuple[str, ...], SpectralDensity]:
    """Names and densities [name, nu] of the total and of every part.

    Args:
        series: values [frame, replica, part, ...]; mixing is not read from it.
        components: [component] weight of the density of each component.
        mixing: [component, stored] linear map from what is stored of a part to its components.
        partition: groups of parts.
        settings: of the estimator.

    Raises:
        ConfigError: an estimator other than Welch's.
        SeriesError: too few frames.
    """
    if settings.method != "welch":
        raise ConfigError("spectra.method", got=settings.method, wanted="welch", todo="Parts are sums over segments")
    plan = make_plan(series, settings)
    names = (TOTAL, *itertools.chain.from_iterable(partition.families.values()))
    differenced = series.derivative and settings.derivative == "difference"
    mean = time_means(series, differenced)
    taper = windows.segment_window(settings.window, plan.length)
    taper /= math.sqrt(float(np.sum(taper**2)))
    size = fft.next_fast_len(2 * plan.length, real=True)
    sums = np.zeros((len(plan.groups), len(names), plan.length))
    counts = np.array([sum(len(starts) for _, starts in group) for group in plan.groups], dtype=np.float64)
    for g, group in enumerate(plan.groups):
        power = np.zeros((len(names), size // 2 + 1))
        for replica, starts in group:
            for start in starts:
                stop = start + plan.length
                block = read_samples(series, start, stop, replica, slice(0, series.n_components), differenced, mean)
                parts = block.reshape(len(partition.kinds), -1, plan.length)  # [part, stored, sample]
                bins = _bins(partition, int(start + stop) // 2, replica)
                for weight, row in zip(components, mixing, strict=True):
                    piece = np.einsum("s,pst->pt", row, parts) * taper
                    amplitude = fft.rfft(piece, size, workers=settings.threads)
                    power += weight * segment_power(amplitude, partition, bins)
        sums[g] = fft.irfft(power, size)[:, : plan.length]
    return names, density_from_sums(series, sums, counts[:, None, None], settings, plan)


def segment_power(amplitude: NDArray[np.complex128], partition: Partition, bins: NDArray[np.int16] | None) -> Array:
    """Power [name, nu] of the total and of every part, from the amplitudes [part, nu] of one segment."""
    total = amplitude.sum(axis=0)
    rows = [_square(total)]
    kinds = tuple(dict.fromkeys(partition.kinds))
    of_kind = np.array([[kind == other for other in partition.kinds] for kind in kinds], dtype=np.float64)
    by_kind = of_kind @ amplitude
    for a, b in itertools.combinations_with_replacement(range(len(kinds)), 2):
        cross = (np.conj(by_kind[a]) * by_kind[b]).real
        rows.append(cross if a == b else 2.0 * cross)
    if partition.molecules is not None:
        order = np.argsort(partition.molecules, kind="stable")
        first = np.flatnonzero(np.diff(partition.molecules[order], prepend=-1))
        within = _square(np.add.reduceat(amplitude[order], first, axis=0)).sum(axis=0)
        rows += [within, rows[0] - within]
    if bins is not None:
        from spectra_app.spectra.pairs import pair_power_by_bin

        rows.append(_square(amplitude).sum(axis=0))
        real, imag = np.ascontiguousarray(amplitude.real), np.ascontiguousarray(amplitude.imag)
        rows += list(pair_power_by_bin(real, imag, bins, len(partition.edges_A) + 1))
    return np.stack(rows)


def segment_power_reference(
    amplitude: NDArray[np.complex128], partition: Partition, bins: NDArray[np.int16] | None
) -> Array:
    """The same, every pair sorted into its sets one by one: slow, the reference of the tests."""
    names: dict[str, int] = {
        name: k for k, name in enumerate((TOTAL, *itertools.chain.from_iterable(partition.families.values())))
    }
    out = np.zeros((len(names), amplitude.shape[1]))
    for i, j in itertools.product(range(len(amplitude)), repeat=2):
        power = (np.conj(amplitude[i]) * amplitude[j]).real
        a, b = partition.kinds[i], partition.kinds[j]
        sets = [TOTAL, f"{a}-{b}" if f"{a}-{b}" in names else f"{b}-{a}"]
        if partition.molecules is not None:
            sets.append("intra" if partition.molecules[i] == partition.molecules[j] else "inter")
        if bins is not None:
            sets.append("self" if i == j else partition.families["distances"][1 + int(bins[i, j])])
        for name in sets:
            out[names[name]] += power
    return out


def _square(amplitude: NDArray[np.complex128]) -> Array:
    return np.asarray(amplitude.real**2 + amplitude.imag**2)


def _bins(partition: Partition, frame: int, replica: int) -> NDArray[np.int16] | None:
    """Bins of all pairs at a frame."""
    if partition.positions_A is None:
        return None
    from spectra_app.spectra.pairs import distance_bins

    positions = np.ascontiguousarray(partition.positions_A[frame : frame + 1, replica][0], dtype=np.float64)
    periodic = partition.cell_A is not None
    cell = np.ascontiguousarray(partition.cell_A) if partition.cell_A is not None else np.eye(3)
    return distance_bins(positions, cell, np.linalg.inv(cell), periodic, np.array(partition.edges_A))
