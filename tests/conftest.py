"""What every test shares: threads, the tolerance table, toy structures."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numba: small tests lose time to threads
os.environ.setdefault("MPLBACKEND", "Agg")

from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Tolerance:
    """Relative and absolute tolerance of one dtype, for quantities of order one in internal units."""

    rtol: float
    atol: float


# One table for the whole suite. float32 carries 7 digits, of which sums over ~100 pairs cost two.
TOLERANCES = {
    "float64": Tolerance(rtol=1e-9, atol=1e-10),
    "float32": Tolerance(rtol=1e-4, atol=1e-5),
    "finite_difference": Tolerance(rtol=1e-5, atol=1e-7),  # central differences in float64, step 1e-4
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tolerances() -> dict[str, Tolerance]:
    """Tolerances by dtype name, and of a central finite difference."""
    return TOLERANCES


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for each test: order does not matter."""
    return np.random.default_rng(20260911)


@pytest.fixture
def device_cuda() -> torch.device:
    """The GPU, or the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def rotation() -> torch.Tensor:
    """A proper rotation by no special angle about no special axis [xyz, xyz]."""
    generator = torch.Generator().manual_seed(11)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.sign(torch.diagonal(r))
    return q * torch.sign(torch.linalg.det(q))
