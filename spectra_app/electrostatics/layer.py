"""A layer in a periodic cell with much vacuum along one vector: summed in a shorter cell, which has fewer vectors.

What the height of the cell changes is known exactly (``slab``) up to the lateral waves of the images, which decay as
exp(-G z): the sum in the shorter cell, whose third vector is perpendicular to the other two, and the difference of the
corrections to either height.  A tilt of the third vector does not matter: beyond the lateral waves images are planes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.structure.system import System


def layer_interaction(
    system: System, k: KVectors, sigma: float | Smearing, share: float, axis: int, open_normal: bool
) -> SlabInteraction:
    """The interaction of layers as in their own, tall cells.

    Args:
        system: the structures, each layer in one piece.
        k: reciprocal vectors of the tall cells.
        sigma: smearing, A, of all atoms or by classes.
        share: height of the short cell in units of the tall one.
        axis: cell vector along which the vacuum is.
        open_normal: the structures are slabs: their normal is not periodic at all.
    """
    short, short_k, tall = shortened(system, k, share, axis)
    return SlabInteraction(short, ReciprocalInteraction(short, short_k, sigma), sigma, None if open_normal else tall)


def shortened(system: System, k: KVectors, share: float, axis: int) -> tuple[System, KVectors, Tensor]:
    """Layers in short cells, whose third vector is perpendicular to the other two; heights of the tall ones, A.

    Args:
        system: the structures, each layer in one piece.
        k: reciprocal vectors of the tall cells.
        share: height of the short cell in units of the tall one.
        axis: cell vector along which the vacuum is.

    Returns:
        the structures, their reciprocal vectors, and heights [structure].
    """
    lateral = ((axis + 1) % 3, (axis + 2) % 3)
    first, second = (system.cell[:, place] for place in lateral)
    normal = torch.linalg.cross(first, second)
    normal = normal / normal.norm(dim=1, keepdim=True)
    tall = (system.cell[:, axis] * normal).sum(-1).abs()
    short = system._replace(
        cell=torch.stack([first, second, (share * tall)[:, None] * normal], dim=1),
        slab=torch.ones_like(system.periodic),
    )
    return short, k.of(_short_cells(k.cells, share, axis), k.cutoff), tall


def _short_cells(cells: np.ndarray, share: float, axis: int) -> np.ndarray:
    """The short cells on the host."""
    first, second = cells[:, (axis + 1) % 3], cells[:, (axis + 2) % 3]
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = np.abs((cells[:, axis] * normal).sum(-1, keepdims=True))
    return np.stack([first, second, share * height * normal], axis=1)
