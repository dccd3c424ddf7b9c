"""Run files with any numbers in them, written as the simulation writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from spectra_app.dynamics.observables import named_observables
from spectra_app.runs.layout import RunHeader, create_run_file, replica_names


def bands(n_frames: int, shape: tuple[int, ...], seed: int = 0, timestep_fs: float = 1.0) -> np.ndarray:
    """Damped modes at 700 and 1700 cm^-1 driven by noise [frame, *shape]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((n_frames, *shape))
    for wavenumber in (700.0, 1700.0):
        angle, radius = 2.0 * np.pi * 2.99792458e-5 * wavenumber * timestep_fs, 0.97
        noise = rng.normal(size=(n_frames + 200, *shape))
        total += lfilter([1.0], [1.0, -2.0 * radius * np.cos(angle), radius**2], noise, axis=0)[200:]
    return total


def write_run(
    path: Path,
    n_frames: int,
    *,
    n_replicas: int = 1,
    boundary: str = "periodic",
    npt: bool = False,
    field: bool = False,
    velocities: bool = True,
    polarizability: bool = True,
    temperature_K: float = 300.0,
    noise: int = 0,
    numbers: Sequence[int] = (8, 1, 1, 8, 1, 1),
    cell_A: Sequence[float] = (6.0, 6.5, 7.0),
    **metadata: object,
) -> Path:
    """A run of two water-like molecules, 1 fs between frames, configurations every second one; ``noise`` is a seed."""
    numbers, masses = np.asarray(numbers), np.where(np.asarray(numbers) == 8, 16.0, 1.0)
    cell = np.diag([*cell_A[:2], 30.0 if boundary == "slab" else cell_A[2]])
    names = ["dipole", "dipole_latent", "screening", "energy", "temperature"]
    names += ["polarizability"] * polarizability + ["volume"] * npt + ["field"] * field
    header = RunHeader(
        numbers=numbers,
        masses_amu=masses,
        periodic=boundary != "open",
        n_replicas=n_replicas,
        timestep_fs=0.5,
        observables=named_observables(*names),
        positions=True,
        velocities=velocities,
        metadata={
            "created_by": "md",
            "configuration": {"md": {}},
            "model_name": "tiny",
            "model_hash": "",
            "eps_inf": 1.78,
            "temperature_K": 310.0,
            "timestep_fs": 0.5,
            "record_stride": 2,
            "cell_A": None if boundary == "open" else cell.tolist(),
            **metadata,
        },
        slab=boundary == "slab",
    )
    swell = 1.0 + 0.02 * np.sin(np.arange(n_frames) / 50.0)[:, None] * np.ones(n_replicas)  # of the volume
    dipole = 0.05 * bands(n_frames, (n_replicas, 3), 10 * noise)
    alpha = bands(n_frames, (n_replicas, 3, 3), 10 * noise + 1)
    rng = np.random.default_rng(10 * noise + 2)
    values = {
        "dipole": dipole,
        "dipole_latent": dipole / 1.3,
        "polarizability": np.eye(3) + 0.003 * (alpha + alpha.swapaxes(-1, -2)),
        "screening": np.full((n_frames, n_replicas), 1.69),
        "energy": rng.normal(size=(n_frames, n_replicas)),
        "temperature": temperature_K + 20.0 * rng.normal(size=(n_frames, n_replicas)),
        "volume": abs(np.linalg.det(cell)) * swell,
        "field": np.tile([0.0, 0.0, 0.02], (n_frames, 1)),
    }
    step = 2 * np.arange(n_frames)
    file = create_run_file(path, header)
    for name in names:
        extend(file[f"observables/{name}/value"], values[name])
    extend(file["observables/dipole/step"], step)
    extend(file["observables/dipole/time"], 0.5 * step)
    for replica, group in enumerate(replica_names(n_replicas)):
        particles = file[f"particles/{group}"]
        n_stored = len(step[::2])
        extend(particles["position/value"], np.zeros((n_stored, len(numbers), 3)))
        if velocities:
            extend(
                particles["velocity/value"], 0.01 * bands(n_stored, (len(numbers), 3), 10 * noise + 3 + replica, 2.0)
            )
        if boundary != "open":
            edges = cell * np.cbrt(swell[::2, replica])[:, None, None] if npt else np.tile(cell, (n_stored, 1, 1))
            extend(particles["box/edges/value"], edges)
        if replica == 0:
            extend(particles["position/step"], step[::2])
            extend(particles["position/time"], 0.5 * step[::2])
    file["parameters/spectra_app/complete"][()] = 1
    file.close()
    return path


def extend(dataset, values):  # type: ignore[no-untyped-def]
    """Append frames."""
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values
