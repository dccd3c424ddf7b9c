"""What a time series must be before it becomes a spectrum; each fault is refused or warned of in one sentence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import SeriesError
from spectra_app.joined import equal_parts
from spectra_app.spectra.stream import OneReplica

Checks = Literal["error", "warn", "off"]

_CHUNK_NUMBERS = 2**18
"""Numbers looked at together (2 MB): a series longer than memory passes piece by piece."""
_JUMP_SIGMAS = 8.0
"""An increment this many robust standard deviations long is no thermal motion: a Gaussian shows one in 1e15."""
_JUMP_ALONE = 0.5
"""The increments around a jump are smaller than this share of it; those of a fast real motion are not."""
_JUMP_SURROUNDINGS = 3
_JUMP_FRAMES = 2
"""A jump fills one increment, a wrapped atom that comes back at once two; a fast but real motion fills more."""
_JUMP_MARGIN = _JUMP_FRAMES + _JUMP_SURROUNDINGS + 2
"""Frames that neighbouring pieces share, so that a jump at an edge is seen with its surroundings."""
_EVEN_STEP = 1e-3
"""Largest relative unevenness of the time step (file formats round times)."""
_STILL_FRAMES = 32
"""A series that stands still in fewer frames is too short in the first place."""
_HIGHEST_VIBRATION_PER_CM = 5000.0
"""No vibration lies higher (H2: 4401 cm^-1)."""


class SpectrumWarning(UserWarning):
    """Something about a spectrum looks wrong; the same sentence stands in ``spectrum.report.warnings``."""


def emit(sentences: tuple[str, ...]) -> None:
    """Send every sentence as a ``SpectrumWarning``."""
    for sentence in sentences:
        warnings.warn(sentence, SpectrumWarning, stacklevel=4)


def timestep_from_times(time_fs: ArrayLike) -> float:
    """Time step [fs] of uniformly spaced times.

    Args:
        time_fs: [frame] fs.

    Raises:
        SeriesError: fewer than two times, NaN, times that do not rise, or an uneven step (with the frame number).
    """
    times = np.asarray(time_fs, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise SeriesError("time", got=f"shape {times.shape}", wanted="at least two times in fs")
    steps = np.diff(times)
    step = float(np.median(steps))
    if not np.all(np.isfinite(times)):
        frame = int(np.argmin(np.isfinite(times)))
        raise SeriesError(f"time of frame {frame}", got=times[frame], wanted="times in fs")
    # Single-precision or rounded times are uneven by the last digit; compare with the straight line they should form.
    uneven = np.abs(steps - step) > _EVEN_STEP * abs(step) + 4.0 * np.finfo(np.float32).eps * np.abs(times[1:])
    if step <= 0.0 or bool(np.any(uneven)):
        frame = int(np.argmax(uneven)) + 1 if np.any(uneven) else 1
        raise SeriesError(
            f"time step before frame {frame}",
            got=f"{steps[frame - 1]:.6g} fs",
            wanted=f"{step:.6g} fs as elsewhere" if step > 0 else "rising times",
            todo="Remove doubled frames and join runs only where they continue at the same stride",
        )
    return float((times[-1] - times[0]) / (len(times) - 1))


def check_positive(name: str, value: float | None, unit: str) -> float:
    """A finite, positive number.

    Raises:
        SeriesError: it is missing, not finite, or not positive.
    """
    if value is None or not math.isfinite(value) or value <= 0.0:
        got = "nothing" if value is None else repr(value)
        raise SeriesError(name, got=got, wanted=f"a positive number of {unit}")
    return float(value)


def refuse_slab(values: Any, volume_A3: Any) -> None:
    """Refuse the dipole of a slab without a volume: its spectrum is not that of a molecule.

    Args:
        values: the series; one of a run file knows the boundaries of its system.
        volume_A3: what it refers to, or None.

    Raises:
        SeriesError: no volume.
    """
    if volume_A3 is None and getattr(values, "boundary", None) == "slab":
        raise SeriesError(
            "volume_A3",
            got="none, with the dipole of a slab",
            wanted="area times thickness of the slab, A^3",
            todo="Give volume_A3; without it the spectrum would be that of a molecule",
        )


def as_replicas(values: Any, name: str, tail: tuple[int, ...]) -> Any:
    """The series as [frame, replica, tail...]; one without a replica axis gets one.

    Args:
        values: [frame, tail...] or [frame, replica, tail...]; arrays and HDF5 datasets stay where they are.
        name: name for the message.
        tail: sizes of the last axes; -1 for any.

    Raises:
        SeriesError: another shape.
    """
    if not hasattr(values, "shape"):
        values = np.asarray(values)
    shape = tuple(values.shape)
    fits = len(shape) >= len(tail) and all(
        want in (-1, have) for want, have in zip(tail, shape[len(shape) - len(tail) :], strict=True)
    )
    if fits and len(shape) == len(tail) + 2:
        return values
    if fits and len(shape) == len(tail) + 1:
        return values[:, None] if isinstance(values, np.ndarray) else OneReplica(values)
    axes = ", ".join("atom" if size < 0 else str(size) for size in tail)
    raise SeriesError(f"shape of {name}", got=shape, wanted=f"[frame, {axes}] or [frame, replica, {axes}]")


def check_series(values: Any, name: str, checks: Checks, *, continuous: bool, drift: bool = True) -> tuple[str, ...]:
    """Look for NaN, a series that stands still, branch jumps and drift.

    A branch jump (P wrapped by a lattice vector times a charge, an atom wrapped into the cell) is an increment of more
    than 8 robust standard deviations (1.4826 median absolute deviations of the increments) that fills at most two
    frames and stands alone: the three increments before and after it are less than half as long.  A real motion sampled
    well enough for a spectrum spreads over more.

    Args:
        values: [frame, replica, component...].
        name: name for the messages.
        checks: ``error`` refuses NaN and jumps, ``warn`` warns of jumps, ``off`` looks for NaN only.
        continuous: the series itself is recorded (look for jumps and drift), not its time derivative.
        drift: look for drift too.

    Returns:
        Sentences to be warned of.

    Raises:
        SeriesError: NaN, or a jump when checks are ``error``; the frame number is named; the same value in every frame.
    """
    parts = equal_parts(values)
    names = [name] if len(parts) == 1 else [f"{name} of run {number}" for number in range(1, len(parts) + 1)]
    still = [_still(part, its_name) for part, its_name in zip(parts, names, strict=True)]
    sentences = _standing(np.concatenate(still), name, len(values))
    if checks == "off" or not continuous:
        return tuple(sentences)
    owners = [(part, replica) for part in parts for replica in range(part.shape[1])]
    for number, (part, replica) in enumerate(owners):
        if len(part) < 8:
            continue
        jumps, thin = _scan(part, replica)
        for component, jump in enumerate(jumps):
            where = f"{name}, component {component}" + (f", replica {number}" if len(owners) > 1 else "")
            sentences += _continuity(thin[:, component] if drift else None, jump, where, checks)
    return tuple(sentences)


def _still(values: Any, name: str) -> NDArray[np.bool_]:
    """Whether each replica [replica] has the same value in all frames.

    Raises:
        SeriesError: NaN; the frame number is named.
    """
    still = np.ones(values.shape[1], dtype=bool)
    first_frame = np.asarray(values[:1])
    for start in range(0, len(values), chunk := max(1, _CHUNK_NUMBERS // math.prod(values.shape[1:]))):
        block = np.asarray(values[start : start + chunk])
        # One sum is several times cheaper than isfinite with its temporary, and NaN or inf survive it.
        if not np.isfinite(np.sum(block, dtype=np.float64)):
            frame = start + int(np.argmin(np.isfinite(block.reshape(len(block), -1)).all(axis=1)))
            raise SeriesError(f"{name} in frame {frame}", got="NaN or infinity", wanted="finite numbers")
        if still.any():
            still[still] = np.all(block[:, still] == first_frame[:, still], axis=(0, *range(2, block.ndim)))
    return still


def _standing(still: NDArray[np.bool_], name: str, n_frames: int) -> list[str]:
    """Refuse a series of which no replica [replica] moves; a sentence about single ones.

    Raises:
        SeriesError: nothing moves in enough frames for a spectrum.
    """
    if n_frames < _STILL_FRAMES or not still.any():
        return []  # too few frames are refused as such
    if still.all():
        raise SeriesError(
            name,
            got=f"the same value in all {n_frames} frames",
            wanted="a series that changes in time",
            todo="Its spectrum would be zero everywhere: is it really recorded, and does the model predict it?",
        )
    which = ", ".join(map(str, np.flatnonzero(still)[:8].tolist()))
    return [f"{name} does not change in replica {which} of {len(still)}: the spectrum is too weak by their share."]


def check_tensor_parts(values: Any) -> tuple[str, ...]:
    """Sentences about an isotropic or anisotropic part of a polarizability that stands still, to rounding.

    Args:
        values: [frame, replica, xyz, xyz], the polarizability or its rate.
    """
    kind = np.dtype(values.dtype)
    tolerance = 8.0 * float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
    moves = {"isotropic": False, "anisotropic": False}
    for block, change in _changes(values):
        trace = np.trace(change, axis1=-2, axis2=-1)[..., None, None] / 3.0
        limit = tolerance * float(np.max(np.abs(block), initial=0.0))
        moves["isotropic"] |= bool(np.any(np.abs(trace) > limit))
        traceless = change - trace * np.eye(3)
        symmetric = 0.5 * (traceless + np.swapaxes(traceless, -1, -2))
        moves["anisotropic"] |= bool(np.any(np.abs(symmetric) > limit))
        if all(moves.values()):
            break
    return tuple(
        f"The {part} part of the polarizability does not change in time: the {part} spectrum is zero."
        for part, moving in moves.items()
        if not moving
    )


def _changes(values: Any) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Frames of a series, a piece at a time, and what changed since the first one of the same replica."""
    for part in equal_parts(values):
        first = np.asarray(part[:1], dtype=np.float64)
        step = max(1, _CHUNK_NUMBERS // math.prod(part.shape[1:]))
        for start in range(0, len(part), step):
            block = np.asarray(part[start : start + step], dtype=np.float64)
            yield block, block - first


def _scan(values: Any, replica: int) -> tuple[list[tuple[int, float, float] | None], NDArray[np.float64]]:
    """The largest jump of every component of one replica, and the series thinned to some 4000 frames."""
    n_frames, n_components = values.shape[0], math.prod(values.shape[2:])
    step = max(8 * _JUMP_MARGIN, _CHUNK_NUMBERS // n_components)
    thinning = max(1, n_frames // 4096)
    usual = _usual_steps(values, replica)
    jumps: list[tuple[int, float, float] | None] = [None] * n_components
    thin: list[NDArray[np.float64]] = []
    for start in range(0, n_frames, step):
        first, stop = max(0, start - _JUMP_MARGIN), min(n_frames, start + step + _JUMP_MARGIN)
        # Components first: differences and maxima along contiguous rows are four times faster.
        block = np.ascontiguousarray(values[first:stop, replica].reshape(stop - first, -1).T, dtype=np.float64)
        thin.append(block[:, (-first) % thinning :: thinning].T.copy())  # a view would keep the whole block
        steps = np.diff(block)
        longest = np.maximum(steps.max(axis=1, initial=0.0), -steps.min(axis=1, initial=0.0))
        for component in np.flatnonzero(longest > _JUMP_SIGMAS * usual):
            found, known = find_jump(block[component], float(usual[component])), jumps[component]
            # One in the shared margin is seen with all its surroundings in the neighbouring piece.
            if found is None or not start - 1 <= first + found[0] < start + step:
                continue
            if known is None or found[2] > known[2]:
                jumps[component] = (first + found[0], found[1], found[2])
    return jumps, np.concatenate(thin)


def _usual_steps(values: Any, replica: int) -> NDArray[np.float64]:
    """Robust standard deviation [component] of the increments of one replica, from up to 64 stretches of it.

    16,000 increments give it to 1%, and medians of more would cost as much as the spectrum.
    """
    n_frames, n_components = values.shape[0], math.prod(values.shape[2:])
    sampled = min(max(_CHUNK_NUMBERS // n_components, 4096), 2**14)
    starts, length = [0], n_frames
    if n_frames > sampled:
        length = sampled // 64
        starts = np.linspace(0, n_frames - length, 64).astype(int).tolist()
    pieces = [np.asarray(values[s : s + length, replica], dtype=np.float64).reshape(length, -1) for s in starts]
    steps = np.concatenate([np.diff(piece, axis=0) for piece in pieces])
    return np.array([_usual_step(column) for column in steps.T])


def _usual_step(steps: NDArray[np.float64]) -> float:
    """Robust standard deviation of increments [frame]: 1.4826 median absolute deviations."""
    usual = 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
    size = np.abs(steps)
    if usual == 0.0 and np.any(size > 0.0):
        # Rounded text mostly stands still; its last digit is no jump.
        usual = 1.4826 * float(np.median(size[size > 0.0]))
    return usual


def _continuity(
    thin: NDArray[np.float64] | None, jump: tuple[int, float, float] | None, where: str, checks: Checks
) -> list[str]:
    """Jumps (refused or warned) and, where asked for, drift (warned) of one component [every so many frames]."""
    if jump is not None:
        error = SeriesError(
            f"{where} jumps between frames {jump[0]} and {jump[0] + 1}",
            got=f"a step of {jump[1]:.4g}, {jump[2]:.0f} times the usual one",
            wanted="a continuous series",
            todo="Unwrap the positions (or remove the polarization branch jump) before computing the spectrum",
        )
        if checks == "error":
            raise error
        return [str(error)]
    if thin is None:
        return []
    return [f"{where} drifts: a straight line explains more than 95% of it; low wavenumbers are affected."] * (
        _drifts(thin)
    )


def find_jump(series: NDArray[np.float64], usual: float | None = None) -> tuple[int, float, float] | None:
    """The largest branch jump of a series [frame]: frame before it, its size, and its ratio to the usual increment.

    Args:
        series: [frame] one component, any unit.
        usual: robust standard deviation of its increments; None takes it from the series itself.
    """
    steps = np.diff(series)
    size = np.abs(steps)
    usual = max(_usual_step(steps) if usual is None else usual, 1e-12 * float(np.max(np.abs(series))))
    long = np.flatnonzero(size > _JUMP_SIGMAS * usual)
    if not long.size:
        return None
    runs = np.split(long, np.flatnonzero(np.diff(long) > 1) + 1)
    jumps = [int(run[np.argmax(size[run])]) for run in runs if len(run) <= _JUMP_FRAMES and _stands_alone(size, run)]
    if not jumps:
        return None
    worst = max(jumps, key=lambda k: float(size[k]))
    return worst, float(steps[worst]), float(size[worst]) / usual


def _stands_alone(size: NDArray[np.float64], run: NDArray[np.int64]) -> bool:
    """Are the increments around a run of long ones much shorter?"""
    around = np.concatenate(
        [size[max(0, run[0] - _JUMP_SURROUNDINGS) : run[0]], size[run[-1] + 1 :][:_JUMP_SURROUNDINGS]]
    )
    return bool(np.max(around, initial=0.0) < _JUMP_ALONE * np.max(size[run]))


def _drifts(thin: NDArray[np.float64]) -> bool:
    """Does a straight line explain more than 95% of the variance of a thinned series?"""
    if np.ptp(thin) == 0.0:
        return False
    return bool(np.corrcoef(np.arange(len(thin)), thin)[0, 1] ** 2 > 0.95)


def check_spectrum(
    wavenumber_per_cm: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[tuple[str, ...], float]:
    """Look at a spectrum up to Nyquist: wrong time unit, aliasing.

    Args:
        wavenumber_per_cm: [nu] from zero to Nyquist.
        values: [nu] intensity, any unit.

    Returns:
        Sentences to be warned of, and the wavenumber [cm^-1] below which 99% of the intensity lies.
    """
    nyquist = float(wavenumber_per_cm[-1])
    cumulative = np.cumsum(np.clip(values, 0.0, None))
    if not cumulative[-1] > 0.0:
        return (), 0.0
    cumulative = cumulative / cumulative[-1]
    highest = float(wavenumber_per_cm[int(np.searchsorted(cumulative, 0.99))])
    sentences = []
    peak = float(wavenumber_per_cm[int(np.argmax(values))])
    if peak > _HIGHEST_VIBRATION_PER_CM:
        sentences.append(
            f"The highest peak lies at {peak:.0f} cm^-1, beyond every vibration: is the time step really in fs?"
        )
    near_nyquist = 1.0 - float(np.interp(0.9 * nyquist, wavenumber_per_cm, cumulative))
    if near_nyquist > 0.02:
        sentences.append(
            f"{100 * near_nyquist:.0f}% of the intensity lies in the last tenth below Nyquist ({nyquist:.0f} cm^-1): "
            "motions faster than the time step resolves, or noise of the input, are folded into the spectrum."
        )
    return tuple(sentences), highest
