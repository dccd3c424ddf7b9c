"""Spectra of the same series by spectra-app, calorine and TRAVIS: difference, time, memory.

    python benchmarks/spectra_peers.py --calorine-python /tmp/calorine-venv/bin/python [--frames 400000]

calorine lives in an environment of its own (``python -m venv DIR && DIR/bin/pip install calorine``), TRAVIS is the
Debian package ``travis``; a peer that is not there is left out.  Series: noise through damped modes at 500, 1600 and
3300 cm^-1, 1 fs, dipole [frame, xyz] in e A, symmetric polarizability in e^2 A^2/eV, velocities in A/fs.

Definitions, and the factor by which each peer's number is multiplied before it is compared (docs/peers.md):

calorine (lag window exp(-t^2/2 sigma^2) up to 3 sigma: window gaussian, method lag; omega^2 S: derivative direct)
    get_dielectric_function, column mu: eps''_xx, yy, zz; their mean is our eps_imag                    factor 1
    get_raman_spectrum: density of tr alpha/3, one fs instead of one s                                 1e15 omega^2
    and of tr beta beta, where ours is the density of 3/2 tr dbeta/dt dbeta/dt                         1.5e15 omega^2
TRAVIS (lag window cos^2, which is Hann's half; central differences, corrected)
    ir: K km/mol per cm^-1                                                                             1/T
    -ramanfrompola: differential cross-section at one laser line and temperature, 1e-40 m^2 per cm^-1   1e-6
        (1e-30 cm^2 = 1e-34 m^2): iso, aniso, parallel, perpendicular, unpolarized each for each
    power: mass-weighted, of central differences of positions; ours of the velocities that these are    see _power

Reported difference: largest |peer - ours| over 100 to 4,000 cm^-1 divided by the largest value of ours.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import signal

from spectra_app import units
from spectra_app.spectra import EstimatorSettings, infrared_spectrum, raman_spectrum, vdos
from spectra_app.spectra.infrared import InfraredSpectrum
from spectra_app.spectra.raman import RamanSpectrum
from spectra_app.spectra.windows import WindowName, kernel_width, length_for_resolution

TIMESTEP_FS, TEMPERATURE_K, VOLUME_A3, LASER_PER_CM = 1.0, 300.0, 2000.0, 20000
LAGS = 2001
TRAVIS_FRAMES = 20_000
FROM_PER_CM, TO_PER_CM = 100.0, 4000.0

CALORINE = """
import json, sys, time
import numpy as np, pandas as pd
from calorine.tools import get_dielectric_function, get_ir_spectrum, get_raman_spectrum
data, sigma, window, repeats = np.load(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
mu = pd.DataFrame(data["dipole"], columns=["mu_x", "mu_y", "mu_z"])
pol = pd.DataFrame(data["tensor"], columns=["xx", "yy", "zz", "xy", "yz", "xz"])
common = dict(dt=1e-3 * TIMESTEP, t_sigma=sigma, window_size=window)
jobs = {
    "eps": lambda: get_dielectric_function(mu, VOLUME, KELVIN, "mu", return_real_part=False, **common),
    "ir": lambda: get_ir_spectrum(mu, VOLUME, KELVIN, "mu", **common),
    "raman": lambda: get_raman_spectrum(pol, **common),
}
out, times = {}, {}
for name, job in jobs.items():
    wall, cpu = [], []
    for _ in range(repeats):
        a, b = time.perf_counter(), time.process_time()
        frame = job()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - b)
    times[name] = [min(wall), min(cpu)]
    out.update({f"{name}:{column}": frame[column].to_numpy() for column in frame.columns})
import tracemalloc
peaks = {}
for name in ("ir", "raman"):
    tracemalloc.start()
    jobs[name]()
    peaks[name] = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
np.savez(sys.argv[1] + ".out.npz", **out)
print(json.dumps({"times": times, "peaks": peaks}))
"""


def bands(n_frames: int, n_components: int, seed: int) -> np.ndarray:
    """Noise through three damped modes [frame, component]."""
    rng = np.random.default_rng(seed)
    out = np.zeros((n_frames, n_components))
    for wavenumber in (500.0, 1600.0, 3300.0):
        angle, radius = 2.0 * np.pi * units.SPEED_OF_LIGHT_CM_PER_FS * wavenumber * TIMESTEP_FS, 0.99
        noise = rng.normal(size=(n_frames + 2000, n_components))
        out += signal.lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], noise, axis=0)[2000:]
    return out


def tensors(six: np.ndarray) -> np.ndarray:
    """[frame, xyz, xyz] from xx yy zz xy yz xz."""
    return np.ascontiguousarray(six[:, [[0, 3, 5], [3, 1, 4], [5, 4, 2]]])


def settings_for(window: WindowName, derivative: Literal["difference", "direct"]) -> EstimatorSettings:
    """Estimator with ``LAGS`` lags."""
    width = kernel_width(window, "lag")
    resolution = width / (units.SPEED_OF_LIGHT_CM_PER_FS * TIMESTEP_FS * (LAGS - 0.5))
    assert length_for_resolution(resolution, TIMESTEP_FS, window, "lag") == LAGS
    return EstimatorSettings(
        resolution_per_cm=resolution, window=window, method="lag", derivative=derivative, zero_padding=8, workers=1
    )


def best(job: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall and processor time of a call, s."""
    wall, cpu = [], []
    for _ in range(repeats):
        a, b = time.perf_counter(), time.process_time()
        job()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - b)
    return min(wall), min(cpu)


def peak_memory(job: Callable[[], object]) -> int:
    """Largest memory that a call allocates, bytes."""
    tracemalloc.start()
    job()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def difference(x: np.ndarray, y: np.ndarray, peer_x: np.ndarray, peer_y: np.ndarray) -> float:
    """Largest deviation of a peer's spectrum from ours, relative to our highest value."""
    inside = (peer_x > FROM_PER_CM) & (peer_x < TO_PER_CM)
    ours = np.interp(peer_x[inside], x, y)  # our grid is several times finer than the lines are wide
    return float(np.max(np.abs(peer_y[inside] - ours)) / np.max(ours))


def show(name: str, value: float, ours: object = "", peer: object = "", ratio: object = "") -> None:
    print(f"{name:<44}{value:>12.2e}{ours!s:>14}{peer!s:>14}{ratio!s:>9}", flush=True)


def compare_calorine(python: str, frames: int, repeats: int) -> None:
    """Dielectric function and Raman spectrum, with times and memory."""
    dipole, six = bands(frames, 3, 1), bands(frames, 6, 2)
    alpha, settings = tensors(six), settings_for("gaussian", "direct")
    sigma_ps, window_ps = 1e-3 * TIMESTEP_FS * (2 * LAGS - 1) / 6.0, 1e-3 * TIMESTEP_FS * (LAGS + 0.5)
    script = (
        CALORINE.replace("TIMESTEP", str(TIMESTEP_FS))
        .replace("VOLUME", str(VOLUME_A3))
        .replace("KELVIN", str(TEMPERATURE_K))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "series.npz")
        np.savez(path, dipole=dipole, tensor=six)
        words = [python, "-W", "ignore", "-c", script, path, str(sigma_ps), str(window_ps), str(repeats)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        told = json.loads(done.stdout)
        theirs = dict(np.load(path + ".out.npz"))
    common: dict[str, Any] = {"timestep_fs": TIMESTEP_FS, "temperature_K": TEMPERATURE_K, "settings": settings}

    def infrared() -> InfraredSpectrum:
        return infrared_spectrum(dipole, volume_A3=VOLUME_A3, **common)

    def raman() -> RamanSpectrum:
        return raman_spectrum(alpha, prefactor="none", **common)

    ir, ra = infrared(), raman()
    times = {"ir": best(infrared, repeats), "raman": best(raman, repeats)}
    peaks = {"ir": peak_memory(infrared), "raman": peak_memory(raman)}
    x = theirs["eps:wavenumber_invcm"]
    eps = sum(theirs[f"eps:epsilon_imag_{c}"] for c in ("xx", "yy", "zz")) / 3.0
    cpu = {name: (times[name][1], told["times"][name][1]) for name in times}
    wall = {name: (times[name][0], told["times"][name][0]) for name in times}
    assert ir.eps_imag is not None  # there is a volume
    show("calorine get_dielectric_function, eps''", difference(ir.wavenumber_per_cm, ir.eps_imag, x, eps))
    x = theirs["raman:wavenumber_invcm"]
    omega = 2.0 * math.pi * units.SPEED_OF_LIGHT_CM_PER_FS * x
    to_volume = units.COULOMB_CONSTANT**2 * 1e15 * omega**2
    for name, factor, values in (("isotropic", 1.0, ra.isotropic), ("anisotropic", 1.5, ra.anisotropic)):
        peer = factor * to_volume * theirs[f"raman:raman_{name}"]
        show(f"calorine get_raman_spectrum, {name}", difference(ra.wavenumber_per_cm, values, x, peer))
    print(f"\n{frames} frames, one thread{'ours':>34}{'calorine':>14}{'ratio':>9}")
    for what, table in (("processor time, s", cpu), ("wall time, s", wall)):
        for name, (mine, other) in table.items():
            print(f"{name + ', ' + what:<56}{mine:14.3f}{other:14.3f}{other / mine:9.1f}")
        if what.startswith("proc"):
            tensor = told["times"]["eps"][1]
            mine = cpu["ir"][0]
            print(f"{'get_dielectric_function, ' + what:<56}{mine:14.3f}{tensor:14.3f}{tensor / mine:9.1f}")
    for name, size in (("ir", dipole.nbytes), ("raman", alpha.nbytes)):
        mine, other = (1.0 + p / size for p in (peaks[name], told["peaks"][name]))
        print(f"{name + ', input and working memory per input':<56}{mine:14.2f}{other:14.2f}")


def travis(program: str, folder: Path, words: list[str], answers: str) -> None:
    """Run TRAVIS with scripted answers; further questions take their defaults."""
    done = subprocess.run(
        [program, "-nocolor", *words],
        input=answers + "\n" * 40,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    if "*** The End ***" not in done.stdout:
        raise SystemExit(done.stdout[-2000:])


def compare_travis(program: str) -> None:
    """Raman, infrared and power spectrum."""
    frames, settings = TRAVIS_FRAMES, settings_for("hann", "difference")
    common: dict[str, Any] = {"timestep_fs": TIMESTEP_FS, "temperature_K": TEMPERATURE_K, "settings": settings}
    depth, limit = LAGS - 1, 5000
    dipole, alpha = bands(frames, 3, 3), tensors(bands(frames, 6, 4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savetxt(folder / "pol.txt", alpha.reshape(frames, 9) * 1e4, fmt="%.10g")  # e pm^2/V
        answers = f"1\n1\n0\n1.0\n{TIMESTEP_FS}\n{depth}\n1\n{3 * depth}\n{limit}\ny\nn\nn\nn\n{LASER_PER_CM}\n"
        answers += f"{TEMPERATURE_K:g}\ny\n{TEMPERATURE_K:g}\nn\n"
        travis(program, folder, ["-ramanfrompola", "pol.txt"], answers)
        ra = raman_spectrum(alpha, laser_nm=1e7 / LASER_PER_CM, **common)
        parts = {"iso": "isotropic", "aniso": "anisotropic", "para": "vv", "ortho": "vh", "unpol": "total"}
        for theirs, ours in parts.items():
            x, y, _ = np.loadtxt(folder / f"spectrum_raman_{theirs}_import.csv", delimiter=";").T
            show(f"TRAVIS -ramanfrompola, {ours}", difference(ra.wavenumber_per_cm, getattr(ra, ours), x, 1e-6 * y))
        np.savetxt(folder / "dip.txt", dipole / units.DEBYE_TO_E_ANGSTROM, fmt="%.10g")
        (folder / "still.xyz").write_text("2\n\nH 0.0 0.0 0.0\nF 0.0 0.0 0.9\n" * frames)
        start = "n\ny\n1200\n\n\n"  # no advanced mode, cubic cell of 12 A, the molecule as recognised
        spectrum = f"{depth}\n{limit}\nn\nn\nn\n1\n{frames}\n1\n"
        answers = f"{start}ir\n\n{TIMESTEP_FS}\n\ny\n2\ndip.txt\n\n{spectrum}"
        travis(program, folder, ["-p", "still.xyz"], answers)
        x, y, _ = np.loadtxt(folder / "ir_spectrum_FH.csv", delimiter=";").T
        ir = infrared_spectrum(dipole, **common)
        assert ir.intensity_km_per_mol is not None  # there is no volume
        value = difference(ir.wavenumber_per_cm, ir.intensity_km_per_mol, x, y / TEMPERATURE_K)
        show("TRAVIS ir, km/mol per cm^-1", value)
        show("TRAVIS power, mass-weighted", _power(program, folder, start, settings))


def _power(program: str, folder: Path, start: str, settings: EstimatorSettings) -> float:
    """Power spectrum of a shaking HF; both scaled to their integral, as TRAVIS's is in kelvin and ours in modes."""
    shake = 0.02 * bands(TRAVIS_FRAMES, 6, 5).reshape(-1, 2, 3)
    places = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9]]) + shake
    with (folder / "shaking.xyz").open("w") as file:
        for h, f in places:
            file.write("2\n\nH {:.8f} {:.8f} {:.8f}\nF {:.8f} {:.8f} {:.8f}\n".format(*h, *f))
    answers = f"{start}power\n\n{TIMESTEP_FS}\ny\n{LAGS - 1}\ny\n5000\nn\nn\n1\n{TRAVIS_FRAMES}\n1\n"
    travis(program, folder, ["-p", "shaking.xyz"], answers)
    path = next(folder.glob("power_spectrum*.csv"))
    x, y = np.loadtxt(path, delimiter=";", usecols=(0, 1)).T
    velocities = (places[2:] - places[:-2]) / (2.0 * TIMESTEP_FS)
    masses = np.array([1.00798, 18.9984])
    ours = vdos(velocities, masses, timestep_fs=TIMESTEP_FS, symbols=["H", "F"], settings=settings)
    grid, values = ours.wavenumber_per_cm, ours.total
    inside = (x > FROM_PER_CM) & (x < TO_PER_CM)
    scale = np.trapezoid(np.interp(x[inside], grid, values), x[inside]) / np.trapezoid(y[inside], x[inside])
    return difference(grid, values, x, scale * y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calorine-python", default="/tmp/calorine-venv/bin/python")
    parser.add_argument("--travis", default="travis")
    parser.add_argument("--frames", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("calorine", "travis"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'same input, same definition':<44}{'difference':>12}")
    if options.only != "calorine":
        compare_travis(options.travis)
    if options.only != "travis":
        if not Path(options.calorine_python).exists():
            sys.exit(f"no calorine: {options.calorine_python}")
        compare_calorine(options.calorine_python, options.frames, options.repeats)


if __name__ == "__main__":
    main()
