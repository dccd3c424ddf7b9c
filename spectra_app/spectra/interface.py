"""One face of a slab: weighted rates of dipole and polarizability, so that the two faces do not cancel.

A slab has two faces whose second-order responses are equal and opposite.  Every molecule is therefore weighted by
where it is along the normal z: with ``u(x) = sin^2(pi x / (2 width))``, 0 at the centre and 1 from ``width`` on,

    upper   w = u(z - z0) above the centre, 0 below: the face that looks along +z alone
    lower   the mirror image, with the dipoles turned round so that it too looks along +z
    both    dipole: w = +u above, -u below; polarizability: |w|.  Turning the lower half by inversion changes the
            sign of a dipole and not that of a polarizability: the faces add up, and the noise falls by sqrt(2)

(Morita and Hynes, J. Phys. Chem. B 106, 673 (2002), doi 10.1021/jp0133438, switch in the same way.)  The weights act on
the rates of the molecules, taken first as forward differences: the derivative of a weight would count a molecule that
crosses the window as a current.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import guards

Array = NDArray[np.float64]
Faces = Literal["upper", "lower", "both"]

_PIECE_NUMBERS = 2**20


@dataclass(frozen=True, eq=False)
class InterfaceSeries:
    """Rates of one face (or of both, added up), at the middle of every step.

    Attributes:
        dipole_rate_eA_per_fs: [step, replica, xyz] e A/fs.
        polarizability_rate: [step, replica, xyz, xyz] e^2 A^2/eV/fs.
        faces: number of faces in them.
    """

    dipole_rate_eA_per_fs: Array
    polarizability_rate: Array
    faces: int


def face_weights(height_A: ArrayLike, width_A: float, faces: Faces = "both") -> tuple[Array, Array]:
    """Weights of dipoles and of polarizabilities, [...] each.

    Args:
        height_A: [...] z of the molecules above the centre of the slab, A.
        width_A: distance from the centre over which the weight rises to 1, A.
        faces: upper, lower or both (module docstring).

    Raises:
        ConfigError: unknown faces, or a width that is not positive.
    """
    if faces not in ("upper", "lower", "both"):
        raise ConfigError("faces", got=repr(faces), wanted="upper, lower or both")
    if not width_A > 0.0:
        raise ConfigError("width_A", got=width_A, wanted="a positive number of A")
    height = np.asarray(height_A, dtype=np.float64)
    rise = np.sin(0.5 * np.pi * np.clip(np.abs(height) / width_A, 0.0, 1.0)) ** 2
    even = rise if faces == "both" else np.where((height > 0.0) == (faces == "upper"), rise, 0.0)
    return np.sign(height) * even, even


def interface_series(
    dipoles_eA: Any,
    polarizabilities_e2A2_per_eV: Any,
    z_A: Any,
    *,
    timestep_fs: float,
    centre_A: ArrayLike | None = None,
    width_A: float = 3.0,
    faces: Faces = "both",
) -> InterfaceSeries:
    """Weighted sums of the rates of the molecules.

    Args:
        dipoles_eA: [frame, part, xyz] or [frame, replica, part, xyz], e A, of molecules or atoms.
        polarizabilities_e2A2_per_eV: [frame, (replica,) part, xyz, xyz], e^2 A^2/eV, of the same.
        z_A: [frame, (replica,) part] A, along the normal of the slab, unwrapped (the slab must not cross the border).
        timestep_fs: time between frames.
        centre_A: z of the centre of the slab, a number or [frame, replica]; None takes the mean of ``z_A`` per frame.
        width_A: distance from the centre over which the weight rises to 1; anything inside the bulk.
        faces: upper, lower or both.

    Raises:
        SeriesError: shapes that do not belong together, or a slab that crosses the border of its cell.
        ConfigError: unknown faces or width.
    """
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    mu = guards.as_replicas(dipoles_eA, "dipoles", (-1, 3))
    alpha = guards.as_replicas(polarizabilities_e2A2_per_eV, "polarizabilities", (-1, 3, 3))
    z = guards.as_replicas(z_A, "z_A", (-1,))
    head = tuple(mu.shape[:3])
    for name, other in (("polarizabilities", alpha), ("z_A", z)):
        if tuple(other.shape[:3]) != head:
            raise SeriesError(f"frames, replicas, parts of {name}", got=tuple(other.shape[:3]), wanted=head)
    n_frames, n_replicas, n_parts = head
    centre = None if centre_A is None else np.broadcast_to(np.asarray(centre_A, float), (n_frames, n_replicas))
    current = np.empty((n_frames - 1, n_replicas, 3))
    change = np.empty((n_frames - 1, n_replicas, 3, 3))
    step = max(1, _PIECE_NUMBERS // (9 * n_parts * n_replicas))
    for start in range(0, n_frames - 1, step):
        stop = min(start + step, n_frames - 1)
        height = np.asarray(z[start : stop + 1], dtype=np.float64)
        middle = height.mean(axis=-1) if centre is None else centre[start : stop + 1]
        _check_whole(height, start)
        height = height - middle[..., None]
        odd, even = face_weights(0.5 * (height[1:] + height[:-1]), width_A, faces)
        rate = np.diff(np.asarray(mu[start : stop + 1], dtype=np.float64), axis=0) / timestep_fs
        current[start:stop] = np.einsum("trp,trpa->tra", odd, rate)
        rates = np.diff(np.asarray(alpha[start : stop + 1], dtype=np.float64), axis=0) / timestep_fs
        change[start:stop] = np.einsum("trp,trpab->trab", even, rates)
    return InterfaceSeries(current, change, 2 if faces == "both" else 1)


def _check_whole(height: Array, start: int) -> None:
    """Refuse molecules that hop along the normal between frames: the slab crosses the border of its cell."""
    if len(height) < 2:
        return
    hop = np.abs(np.diff(height, axis=0))
    thickness = float(np.ptp(height[0]))
    if thickness > 0.0 and float(hop.max()) > 0.5 * thickness:
        frame = start + int(np.argmax(hop.reshape(len(hop), -1).max(axis=1)))
        raise SeriesError(
            f"z_A between frames {frame} and {frame + 1}",
            got=f"a molecule that moves by {hop.max():.3g} A",
            wanted="a slab that does not cross the border of its cell",
            todo="Unwrap z, or shift the slab to the middle of the cell",
        )
