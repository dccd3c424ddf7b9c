"""Memory and time of ``spectra-app ir``, ``raman`` and ``vdos`` on long series.

    python benchmarks/spectra_streaming.py [--frames 10000000] [--kinds npy,text,run] [--folder /tmp]
    python benchmarks/spectra_streaming.py --frames 1000000 --kinds run --quantities vdos

Each command runs in a process of its own; its peak memory is VmHWM of /proc (``ru_maxrss`` of a child begins with the
memory of its parent).  The series is
white noise filtered to bands of water's kind; a text file and a run file are written first, and removed afterwards.
Free disk space: 3 GB for ten million frames.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from scipy import signal

from spectra_app.dynamics.observables import named_observables
from spectra_app.runs.layout import RunHeader, create_run_file

BLOCK = 200_000
TIMESTEP_FS = 0.5


def blocks(n_frames: int, n_components: int) -> Iterator[np.ndarray]:
    """Damped modes at 400, 1650 and 3400 cm^-1 driven by noise, [frame, component], block by block."""
    rng = np.random.default_rng(0)
    filters = []
    for wavenumber in (400.0, 1650.0, 3400.0):
        angle, radius = 2.0 * np.pi * 2.99792458e-5 * wavenumber * TIMESTEP_FS, 0.995
        filters.append(([1.0 - radius], [1.0, -2.0 * radius * np.cos(angle), radius**2]))
    state = [np.zeros((2, n_components)) for _ in filters]
    for start in range(0, n_frames, BLOCK):
        noise = rng.normal(size=(min(BLOCK, n_frames - start), n_components))
        total = np.zeros_like(noise)
        for i, (b, a) in enumerate(filters):
            part, state[i] = signal.lfilter(b, a, noise, axis=0, zi=state[i])
            total += part
        yield total


def tensors(rows: np.ndarray) -> np.ndarray:
    """[frame, xyz, xyz] symmetric from [frame, 6]."""
    return rows[:, [[0, 3, 5], [3, 1, 4], [5, 4, 2]]]


def write_npy(path: Path, n_frames: int, quantity: str) -> None:
    tail = (3,) if quantity == "ir" else (3, 3)
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (n_frames, *tail)}
        np.lib.format.write_array_header_1_0(file, header)
        for rows in blocks(n_frames, 3 if quantity == "ir" else 6):
            (rows if quantity == "ir" else tensors(rows)).tofile(file)


def write_text(path: Path, n_frames: int, quantity: str) -> None:
    """GPUMD's dipole.out or polarizability.out."""
    step = 0
    with path.open("w") as file:
        for rows in blocks(n_frames, 3 if quantity == "ir" else 6):
            steps = np.arange(step + 1, step + len(rows) + 1)
            form = "%d" + " %.7g" * rows.shape[1]
            file.writelines(form % (s, *row) + "\n" for s, row in zip(steps.tolist(), rows.tolist(), strict=True))
            step += len(rows)


def new_run(path: Path, numbers: np.ndarray, observables: tuple[str, ...], velocities: bool) -> h5py.File:
    """An empty run file of a cell of water, 0.5 fs between frames."""
    header = RunHeader(
        numbers=numbers,
        masses_amu=np.where(numbers == 8, 15.999, 1.008),
        periodic=True,
        n_replicas=1,
        timestep_fs=TIMESTEP_FS,
        observables=named_observables("dipole", "dipole_latent", "screening", "energy", "temperature", *observables),
        positions=velocities,
        velocities=velocities,
        metadata={
            "created_by": "md",
            "timestep_fs": TIMESTEP_FS,
            "integrator": {"name": "velocity-verlet", "timestep_fs": TIMESTEP_FS},
            "cell_A": np.diag([12.42] * 3).tolist(),
            "eps_inf": 1.78,
            "temperature_K": 300.0,
        },
    )
    return create_run_file(path, header)


def extend(file: h5py.File, name: str, rows: np.ndarray) -> None:
    """Append frames to a dataset."""
    dataset = file[name]
    start = len(dataset)
    dataset.resize(start + len(rows), axis=0)
    dataset[start:] = rows


def write_run(path: Path, n_frames: int, quantity: str) -> None:
    """A run file with the series; the other observables are there and empty of information."""
    name = "dipole" if quantity == "ir" else "polarizability"
    with new_run(path, np.array([8, 1, 1]), ("polarizability",) if quantity != "ir" else (), False) as file:
        for rows in blocks(n_frames, 3 if quantity == "ir" else 6):
            extend(file, f"observables/{name}/value", (rows if quantity == "ir" else tensors(rows))[:, None])
        finish(file, n_frames)


def finish(file: h5py.File, n_frames: int) -> None:
    """Times, 300 K, and zeros for all that is not there yet."""
    for name, element in file["observables"].items():
        if len(element["value"]) == 0:
            element["value"].resize(n_frames, axis=0)  # chunks that were never written cost no space
            if name == "temperature":
                element["value"][:] = 300.0
    extend(file, "observables/dipole/step", np.arange(n_frames))
    extend(file, "observables/dipole/time", TIMESTEP_FS * np.arange(n_frames))
    file["parameters/spectra_app/complete"][()] = 1


def write_velocities(path: Path, n_frames: int) -> None:
    """A run file with the velocities of 64 water molecules, float32 as a run stores them."""
    with new_run(path, np.tile([8, 1, 1], 64), (), True) as file:
        pattern = 0.1 * next(blocks(20_000, 576)).reshape(-1, 192, 3).astype(np.float32)
        for start in range(0, n_frames, len(pattern)):  # the same 10 ps: drawing 576 million numbers takes longer
            extend(file, "particles/all/velocity/value", pattern[: n_frames - start])
        for name in ("position/value", "box/edges/value"):
            file[f"particles/all/{name}"].resize(n_frames, axis=0)
        extend(file, "particles/all/position/step", np.arange(n_frames))
        extend(file, "particles/all/position/time", TIMESTEP_FS * np.arange(n_frames))
        finish(file, n_frames)


def measure(words: list[str]) -> tuple[float, float, str]:
    """Wall time (s), peak memory (MB) and last line of a ``spectra-app`` command."""
    code = (
        "import sys\nfrom spectra_app.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print('PEAK', peak.split()[1])\nsys.exit(code)\n"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = done.stdout.strip().splitlines()
    return wall, int(lines[-1].split()[1]) / 1024, lines[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--kinds", default="npy,text,run")
    parser.add_argument("--quantities", default="ir,raman")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    writers = {"npy": write_npy, "text": write_text, "run": write_run}
    names = {"npy": "long.npy", "text": "{}.out", "run": "long.h5"}
    print(f"{options.frames} frames\n{'input':<8}{'command':<8}{'file MB':>9}{'time s':>9}{'peak MB':>9}")
    for kind in options.kinds.split(","):
        for quantity in options.quantities.split(","):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                path = Path(folder) / names[kind].format("dipole" if quantity == "ir" else "polarizability")
                if quantity == "vdos":
                    write_velocities(path, options.frames)
                else:
                    writers[kind](path, options.frames, quantity)
                words = [quantity, str(path), "-o", str(Path(folder) / "out.csv")]
                if kind != "run":
                    unit = "eA" if quantity == "ir" else "e2A2/eV"
                    words += ["--unit", unit, "--timestep-fs", str(TIMESTEP_FS), "--temperature-K", "300"]
                wall, peak, _ = measure(words)
                size = path.stat().st_size / 1e6
                print(f"{kind:<8}{quantity:<8}{size:9.0f}{wall:9.1f}{peak:9.0f}", flush=True)


if __name__ == "__main__":
    main()
