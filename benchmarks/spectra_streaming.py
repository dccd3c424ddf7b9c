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
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from scipy import signal

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


def write_run(path: Path, n_frames: int, quantity: str) -> None:
    """What a recorded run file holds of the series (other observables as in a real one)."""
    with h5py.File(path, "w", libver="latest") as file:
        parameters = file.create_group("parameters/spectra_app")
        metadata = {"cell_A": np.diag([12.42] * 3).tolist(), "eps_inf": 1.78, "temperature_K": 300.0}
        parameters["metadata"] = json.dumps(metadata)
        time_fs = TIMESTEP_FS * np.arange(n_frames)
        clock = file.create_group("observables/temperature")
        clock.create_dataset("value", data=np.full((n_frames, 1), 300.0), chunks=(1024, 1))
        clock.create_dataset("time", data=time_fs, chunks=(1024,))
        tails = {"dipole": (1, 3), "polarizability": (1, 3, 3)}
        for name, tail in tails.items():
            group = file.create_group(f"observables/{name}")
            group["time"] = clock["time"]
            wanted = name == ("dipole" if quantity == "ir" else "polarizability")
            dataset = group.create_dataset("value", (n_frames, *tail), chunks=(1024, *tail), dtype=np.float64)
            start = 0
            for rows in blocks(n_frames, 3 if quantity == "ir" else 6) if wanted else ():
                values = rows[:, None] if quantity == "ir" else tensors(rows)[:, None]
                dataset[start : start + len(rows)] = values
                start += len(rows)


def write_velocities(path: Path, n_frames: int) -> None:
    """A run file with the velocities of 64 water molecules, float32 as a run stores them."""
    with h5py.File(path, "w", libver="latest") as file:
        file["parameters/spectra_app/metadata"] = "{}"
        file.create_dataset("observables/dipole/value", (n_frames, 1, 3), chunks=(1024, 1, 3), dtype=np.float64)
        group = file.create_group("particles/all")
        group["species"], group["mass"] = np.tile([8, 1, 1], 64), np.tile([15.999, 1.008, 1.008], 64)
        velocity = group.create_group("velocity")
        velocity["step"], velocity["time"] = np.arange(n_frames), TIMESTEP_FS * np.arange(n_frames)
        dataset = velocity.create_dataset("value", (n_frames, 192, 3), chunks=(111, 192, 3), dtype=np.float32)
        start, pattern = 0, 0.1 * next(blocks(20_000, 576)).reshape(-1, 192, 3).astype(np.float32)
        while start < n_frames:  # the same 10 ps over and over: drawing 576 million numbers takes longer than reading
            rows = pattern[: n_frames - start]
            dataset[start : start + len(rows)] = rows
            start += len(rows)


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
