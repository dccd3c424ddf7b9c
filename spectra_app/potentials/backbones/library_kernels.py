"""Fast tensor products for the layers of other libraries, each from a package of its own: which, and is it there."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from spectra_app.errors import ConfigError

PACKAGES = {
    "openequivariance": (("openequivariance",), "openequivariance"),
    "cuequivariance": (
        ("cuequivariance_torch", "cuequivariance_ops_torch"),
        "cuequivariance-torch cuequivariance-ops-torch-cu12 (or -cu13, as your CUDA is)",
    ),
}
"""Value of ``model.kernels`` -> modules that it needs on a GPU, and what to install for them."""


def kernels_run_on(device: torch.device) -> bool:
    """Whether kernels are used on a device; elsewhere products are those of e3nn, whatever the setting is."""
    return device.type == "cuda"


def require_kernels(kernels: str, on_gpu: bool = True) -> None:
    """Refuse kernels whose package is missing.

    Args:
        kernels: value of ``model.kernels``, other than ``e3nn``.
        on_gpu: compiled ones, too; without them cuequivariance multiplies as slowly as anybody, which only tests want.

    Raises:
        ConfigError: see above.
    """
    modules, install = PACKAGES[kernels]
    missing = [name for name in (modules if on_gpu else modules[:1]) if find_spec(name) is None]
    if missing:
        raise ConfigError(
            "model.kernels",
            got=f"{kernels}, whose {' and '.join(missing)} is not installed",
            wanted="its package, or kernels: e3nn",
            todo=f"Run: pip install {install}",
        )
