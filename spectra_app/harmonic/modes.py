"""Normal modes of a Hessian: rigid motions taken out first, imaginary ones kept and named.

    D = M^(-1/2) H M^(-1/2),   D e_m = omega_m^2 e_m,   dr_i = e_mi/sqrt(m_i) Q_m

Translations (and, of a molecule, rotations) are no vibrations whatever the Hessian says of them: D is diagonalised in
the space orthogonal to them, and what it says of them is kept as a measure of its error.  Equations: docs/theory.md,
"Normal modes".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from spectra_app import units
from spectra_app.errors import StructureError

Array = NDArray[np.float64]
Kind = Literal["crystal", "slab", "molecule"]

DEGENERATE_PER_CM = 0.5
_LINEAR = 1e-4  # smallest over largest moment of inertia below which a molecule is linear
_AXES = (1.0, 2.0, 3.5)  # weights that choose the modes of a degenerate set: those that move along x, y, z
_GOLDEN = 0.6180339887  # multiples of it, without their whole parts, are weights without any symmetry


@dataclass(frozen=True, eq=False)
class NormalModes:
    """Vibrations at one configuration, by rising frequency.

    Attributes:
        frequencies_per_cm: [mode], cm^-1; negative: imaginary, -sqrt(-omega^2), the structure is no minimum.
        eigenvectors: [mode, atom, xyz], orthonormal, of the mass-weighted Hessian.
        masses_amu: [atom], amu.
        rigid_per_cm: [rigid motion], cm^-1, what the Hessian says of translations and rotations; 0 if it were exact.
    """

    frequencies_per_cm: Array
    eigenvectors: Array
    masses_amu: Array
    rigid_per_cm: Array

    @cached_property
    def displacements(self) -> Array:
        """[mode, atom, xyz], d r/d Q, amu^(-1/2): of Q in A amu^(1/2) in A."""
        return np.asarray(self.eigenvectors / np.sqrt(self.masses_amu)[None, :, None])

    @cached_property
    def reduced_masses_amu(self) -> Array:
        """[mode], amu, of displacements that are normalized: 1/sum_i |e_i|^2/m_i."""
        return np.asarray(1.0 / (self.displacements**2).sum(axis=(1, 2)))

    @property
    def imaginary(self) -> NDArray[np.int64]:
        """Places of the imaginary modes."""
        return np.flatnonzero(self.frequencies_per_cm < 0.0).astype(np.int64)

    def groups(self, tolerance_per_cm: float = DEGENERATE_PER_CM) -> list[NDArray[np.int64]]:
        """Places of modes that are degenerate within a tolerance, cm^-1."""
        return alike(self.frequencies_per_cm, tolerance_per_cm)


def normal_modes(hessian_eV_per_A2: Array, masses_amu: Array, positions_A: Array, kind: Kind) -> NormalModes:
    """Normal modes.

    Args:
        hessian_eV_per_A2: [3 atom, 3 atom], eV/A^2, symmetric.
        masses_amu: [atom], amu.
        positions_A: [atom, xyz], A, of one whole molecule; read for rotations only.
        kind: ``molecule``: translations and rotations are taken out; else translations.

    Raises:
        StructureError: masses that are not positive.
    """
    masses = np.asarray(masses_amu, dtype=float)
    if not (masses > 0.0).all():
        raise StructureError("masses", got=f"{masses.min():g} amu", wanted="positive numbers")
    root = np.repeat(np.sqrt(masses), 3)
    dynamical = hessian_eV_per_A2 / root[:, None] / root
    rigid = rigid_motions(masses, positions_A, rotations=kind == "molecule")
    rest = null_space(rigid.T) if len(rigid) > rigid.shape[1] else np.zeros((len(rigid), 0))
    squared, inside = np.linalg.eigh(rest.T @ dynamical @ rest)
    vectors = _oriented(wavenumbers(squared), (rest @ inside).T)
    of_rigid = wavenumbers(np.linalg.eigvalsh(rigid.T @ dynamical @ rigid))
    return NormalModes(wavenumbers(squared), vectors.reshape(len(squared), len(masses), 3), masses, of_rigid)


def rigid_motions(masses_amu: Array, positions_A: Array, rotations: bool) -> Array:
    """Orthonormal mass-weighted translations, and rotations where they are asked for [3 atom, motion].

    An atom has no rotation, a linear molecule two.
    """
    root = np.sqrt(masses_amu)
    motions = [np.outer(root, axis).reshape(-1) for axis in np.eye(3)]
    if rotations:
        arms = positions_A - masses_amu @ positions_A / masses_amu.sum()
        for axis in _inertia(masses_amu, positions_A)[1]:
            motions.append((root[:, None] * np.cross(axis, arms)).reshape(-1))
    basis, _ = np.linalg.qr(np.stack(motions, axis=1))
    return np.asarray(basis)


def moments_of_inertia(masses_amu: Array, positions_A: Array) -> Array:
    """Moments of inertia, amu A^2, rising: three, of a linear molecule two, of an atom none."""
    return _inertia(masses_amu, positions_A)[0]


def _inertia(masses_amu: Array, positions_A: Array) -> tuple[Array, Array]:
    """Moments that are not zero [axis], amu A^2, and their axes [axis, xyz]."""
    arms = positions_A - masses_amu @ positions_A / masses_amu.sum()
    tensor = (masses_amu[:, None, None] * (_square(arms)[:, None, None] * np.eye(3) - _outer(arms))).sum(0)
    moments, axes = np.linalg.eigh(tensor)
    seen = moments > max(_LINEAR * moments[-1], 1e-6)
    return np.asarray(moments[seen]), np.asarray(axes.T[seen])


def wavenumbers(squared: Array) -> Array:
    """Wavenumbers, cm^-1, of eigenvalues omega^2 [eV/A^2/amu]; negative ones of negative eigenvalues."""
    omega = np.sqrt(np.abs(squared) * units.FORCE_TO_ACCELERATION)  # rad/fs
    return np.asarray(np.sign(squared) * units.angular_frequency_to_wavenumber(1.0) * omega)


def _oriented(frequencies: Array, vectors: Array) -> Array:
    """The same eigenvectors [mode, 3 atom], degenerate ones along the axes, the largest component positive.

    Any rotation of a degenerate set is as good; this choice is the same on every machine.
    """
    size = vectors.shape[1]
    along_axes, generic = np.tile(_AXES, size // 3), np.modf(_GOLDEN * np.arange(1, size + 1))[0]
    out = vectors.copy()
    for places in alike(frequencies, DEGENERATE_PER_CM):
        weighed, out[places] = _turned(out[places], along_axes)
        for still in alike(weighed, 1e-3):  # the axes tell them not apart
            _, out[places[still]] = _turned(out[places[still]], generic)
    largest = np.abs(np.round(out, 6)).argmax(axis=1)
    return np.asarray(out * np.sign(out[np.arange(len(out)), largest])[:, None])


def alike(rising: Array, tolerance: float) -> list[NDArray[np.int64]]:
    """Places of values that differ by less than a tolerance from the next."""
    return list(np.split(np.arange(len(rising)), np.flatnonzero(np.diff(rising) > tolerance) + 1))


def _turned(vectors: Array, weights: Array) -> tuple[Array, Array]:
    """Orthonormal vectors [vector, component] turned among themselves to extremes of weighed squares, and these."""
    extremes, turn = np.linalg.eigh((vectors * weights) @ vectors.T)
    return extremes, np.asarray(turn.T @ vectors)


def _square(vectors: Array) -> Array:
    return np.asarray((vectors * vectors).sum(axis=1))


def _outer(vectors: Array) -> Array:
    return np.asarray(vectors[:, :, None] * vectors[:, None, :])
