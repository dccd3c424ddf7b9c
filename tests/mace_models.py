"""Models of mace-torch itself, small, with random weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

NEEDS_MACE = [
    pytest.mark.mace,
    pytest.mark.skipif(find_spec("mace") is None, reason="needs mace-torch: run make test-mace"),
]
"""Marks of tests: ``pytestmark = NEEDS_MACE``."""
NEEDS_CUEQUIVARIANCE = [
    *NEEDS_MACE,
    pytest.mark.skipif(
        find_spec("cuequivariance_torch") is None, reason="needs cuequivariance-torch: run make test-mace"
    ),
]
SCALE, SHIFT = (1.7, 0.8), (-0.3, 0.4)  # of one or two heads


def library() -> tuple[Any, Any]:
    """``mace.modules`` and ``e3nn.o3``."""
    from spectra_app.potentials.backbones.mace_library import mace_modules

    modules = mace_modules()
    from e3nn import o3

    return modules, o3


def mace_model(
    elements: str = "H C O",
    hidden: str = "8x0e + 8x1o",
    heads: tuple[str, ...] = ("Default",),
    scaled: bool = True,
    dtype: torch.dtype = torch.float64,
    interaction: str = "RealAgnosticResidualInteractionBlock",
    first: str = "RealAgnosticResidualInteractionBlock",
    readout: str = "NonLinearReadoutBlock",
    edges: str | None = None,
    seed: int = 3,
    **changes: Any,
) -> Any:
    """A model of the library, made by its own constructor.

    Args:
        elements: symbols; energies of atoms are 1, 2, ... eV.
        hidden: features.
        heads: names.
        scaled: of the class ``ScaleShiftMACE``; else ``MACE``.
        dtype: of its weights.
        interaction: class of the layers after the first.
        first: class of the first layer.
        readout: class of the last readout.
        edges: features that are sent; None: all.
        seed: of the weights.
        **changes: other arguments of the constructor.
    """
    from spectra_app.potentials.backbones.mace_library import quiet

    modules, o3 = library()
    numbers = [atomic_numbers[symbol] for symbol in elements.split()]
    references = np.arange(1.0, len(numbers) * len(heads) + 1).reshape(len(heads), -1)
    arguments: dict[str, Any] = {
        "r_max": 3.5,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": modules.interaction_classes[interaction],
        "interaction_cls_first": modules.interaction_classes[first],
        "num_interactions": 2,
        "num_elements": len(numbers),
        "hidden_irreps": o3.Irreps(hidden),
        "MLP_irreps": o3.Irreps("6x0e"),
        "atomic_energies": references if len(heads) > 1 else references[0],
        "avg_num_neighbors": 7.3,
        "atomic_numbers": numbers,
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [16, 16],
        "heads": list(heads),
        "readout_cls": modules.readout_classes[readout],
        "use_reduced_cg": False,
        "edge_irreps": None if edges is None else o3.Irreps(edges),
        **changes,
    }
    if scaled:
        one = len(heads) == 1
        arguments["atomic_inter_scale"] = SCALE[0] if one else list(SCALE)
        arguments["atomic_inter_shift"] = SHIFT[0] if one else list(SHIFT)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    try:
        with quiet():
            return (modules.ScaleShiftMACE if scaled else modules.MACE)(**arguments)
    finally:
        torch.set_default_dtype(before)


def save_mace(model: Any, path: Path) -> Path:
    """As ``mace_run_train`` does it."""
    torch.save(model, path)
    return path
