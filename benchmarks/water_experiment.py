"""Infrared and Raman spectrum of liquid water from finished runs, beside the measured ones: figure and tables.

    spectra-app md models/water/start.extxyz -m water -o run1.h5 --seed 1 --steps 100000 --record-stride 2 ...
    python benchmarks/water_experiment.py run1.h5 [run2.h5 ...] [--data ../shared/data/experiment]
        [--figure docs/water_experiment.png] [--page docs/water_experiment.md]

Independent runs of the same model are replicas: one spectrum, one error.  Measured: n and k of liquid water at 25 C
(Bertie and Lan 1996, DOI 10.1366/0003702963905385) give alpha n; the depolarized low-frequency spectrum at 300 K
(Castner et al., J. Chem. Phys. 102, 653, 1995) is a response Im chi without an absolute scale.  Says so and stops where
these files are missing.  With --model also what Born charges demand of the O-H stretch (docs/theory.md, "f-sum rule"),
in frames of the runs and in those of --frames: structure and charges alone, without dynamics, time step or window.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pages import renew_section
from scipy.integrate import trapezoid
from water_nve import radial_distribution

from spectra_app import infrared_spectrum, load_model, raman_spectrum, read_run
from spectra_app.arrays import Frames
from spectra_app.config import SpectraSettings
from spectra_app.plotting.style import PALETTE, REFERENCE_COLOUR, house_style, new_figure, save_figure
from spectra_app.potentials import Potential
from spectra_app.runs import Run
from spectra_app.spectra import f_sum
from spectra_app.spectra.infrared import InfraredSpectrum
from spectra_app.spectra.peaks import Peak
from spectra_app.spectra.raman import RamanSpectrum
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase

Array = NDArray[np.float64]
Curve = tuple[Array, Array]

WINDOWS = {
    "H-bond stretch": (120.0, 300.0),
    "libration": (350.0, 1200.0),
    "bend": (1500.0, 1800.0),
    "OH stretch": (2900.0, 3950.0),
}
"""Ranges, cm^-1, in which a band is looked for and integrated."""
N_BLOCKS = 8
FRAMES_EVERY = 16  # of --frames


def main() -> None:
    """Compute, compare, draw, print."""
    options = read_options()
    files = ("water_imaginary-refractive-index.csv", "water_real-refractive-index.csv", "water_raman_castner_300K.dat")
    if not all((options.data / name).is_file() for name in files):
        raise SystemExit(f"skipped: no measured spectra at {options.data} (give --data)")
    measured = measured_alpha_n(options.data / files[0], options.data / files[1])
    kerr = np.genfromtxt(options.data / files[2])
    runs = [without_beginning(read_run(path), options.from_ps) for path in options.runs]
    infrared, raman = spectra_of(runs, options.resolution_per_cm)
    parts = [conditions(runs), "", infrared_table(runs, infrared, measured), "", raman_table(raman)]
    if options.model is not None:
        parts += ["", stretch_table(options.model, runs, options.frames)]
    text = "\n".join(parts)
    print(text)
    if options.figure is not None:
        draw(infrared, raman, measured, kerr, options.figure)
    if options.page is not None:
        renew_section(options.page, "tables", text)


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run files of one model with one set of strides")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "experiment")
    parser.add_argument("--resolution-per-cm", type=float, default=20.0)
    parser.add_argument("--from-ps", type=float, default=0.0, help="leave out what was recorded before, ps")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    parser.add_argument("--model", help="of the runs: adds the f-sum of the O-H stretch")
    parser.add_argument("--frames", type=Path, help="configurations beside those of the runs, e.g. of the training")
    return parser.parse_args()


def measured_alpha_n(extinction_csv: Path, index_csv: Path) -> Curve:
    """Wavenumber [point], cm^-1, and 4 pi nu k n [point], cm^-1, of n and k on the same grid."""
    nu, k = np.genfromtxt(extinction_csv, delimiter=",", skip_header=1).T
    other, n = np.genfromtxt(index_csv, delimiter=",", skip_header=1).T
    return nu, 4.0 * np.pi * nu * k * np.interp(nu, other, n)


def recorded(run: Run, name: str) -> Frames:
    """A series of a run that not every run has."""
    series: Frames | None = getattr(run, name)
    if series is None:
        raise SystemExit(f"{run.path}: no {name} in this run; record it with spectra-app md")
    return series


def without_beginning(run: Run, from_ps: float) -> Run:
    """The run from a time on."""
    kept, stored = run.time_fs >= 1e3 * from_ps, run.trajectory_time_fs >= 1e3 * from_ps
    return dataclasses.replace(
        run,
        step=run.step[kept],
        time_fs=run.time_fs[kept],
        dipole_eA=run.dipole_eA[kept],
        polarizability_e2A2_per_eV=recorded(run, "polarizability_e2A2_per_eV")[kept],
        temperature_K=run.temperature_K[kept],
        conserved_eV=recorded(run, "conserved_eV")[kept],
        trajectory_step=run.trajectory_step[stored],
        trajectory_time_fs=run.trajectory_time_fs[stored],
        stored_positions_A=run.positions_A[stored],
    )


def spectra_of(runs: list[Run], resolution_per_cm: float) -> tuple[InfraredSpectrum, RamanSpectrum]:
    """Infrared and reduced Raman spectrum of all runs as replicas of one, cut to the shortest."""
    n_frames = min(len(run.step) for run in runs)
    dipole = np.concatenate([run.dipole_eA[:n_frames] for run in runs], axis=1)
    alpha = np.concatenate([recorded(run, "polarizability_e2A2_per_eV")[:n_frames] for run in runs], axis=1)
    common: dict[str, Any] = {
        "timestep_fs": runs[0].metadata["timestep_fs"] * runs[0].metadata["record_stride"],
        "temperature_K": float(np.mean([run.temperature_K.mean() for run in runs])),
        "settings": SpectraSettings(resolution_per_cm=resolution_per_cm),
    }
    first = runs[0]
    infrared = infrared_spectrum(dipole, volume_A3=first.volume_A3, eps_inf=first.metadata["eps_inf"], **common)
    return infrared, raman_spectrum(alpha, prefactor="reduced", **common)


def conditions(runs: list[Run]) -> str:
    """What was run, in one sentence."""
    first = runs[0]
    step = first.metadata["timestep_fs"]
    pieces = ", ".join(f"{(run.step[-1] - run.step[0]) * step / 1e3:.1f}" for run in runs)
    kelvin = np.concatenate([run.temperature_K.ravel() for run in runs])
    drift = [
        np.polyfit(run.time_fs / 1e3, recorded(run, "conserved_eV").mean(1), 1)[0] / len(run.numbers) * 1e3
        for run in runs
    ]
    curves = [radial_distribution(run, 8) for run in runs]
    distance, g = curves[0][0], np.mean([curve[1] for curve in curves], axis=0)
    top = int(np.argmax(g[distance < 3.5]))
    return (
        f"{len(runs)} independent runs, {pieces} ps used, {len(first.numbers) // 3} H2O, {step:g} fs steps, dipole and "
        f"polarizability every {step * first.metadata['record_stride']:g} fs, mean temperature {kelvin.mean():.1f} K, "
        f"drift of the conserved energy {', '.join(f'{value:+.3f}' for value in drift)} meV/atom/ps; first "
        f"maximum of g_OO at {distance[top]:.2f} A, height {g[top]:.2f} (measured at 295 K: 2.80 A, 2.57); "
        f"model {first.metadata['model_name']} {first.metadata['model_hash']}."
    )


def infrared_table(runs: list[Run], infrared: InfraredSpectrum, measured: Curve) -> str:
    """Markdown: bands of alpha n, computed and measured."""
    assert infrared.alpha_n_per_cm is not None
    blocks = block_integrals(runs)
    lines = [
        "| infrared band | computed, cm^-1 | measured | difference | area of alpha n, 10^3 cm^-2 | measured | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (low, high) in WINDOWS.items():
        peak, integral = strongest(infrared.peaks, low, high), blocks[name]
        x, y = measured
        inside = (x >= low) & (x <= high)
        top, area = float(x[inside][np.argmax(y[inside])]), float(trapezoid(y[inside], x[inside]))
        mean, error = float(np.mean(integral)), float(np.std(integral, ddof=1) / np.sqrt(len(integral)))
        place = "no maximum" if peak is None else f"{peak.position_per_cm:.0f} ± {peak.position_error_per_cm:.0f}"
        shift = "" if peak is None else f"{peak.position_per_cm - top:+.0f}"
        lines.append(
            f"| {name} ({low:.0f}-{high:.0f}) | {place} | {top:.0f} | {shift} | {mean / 1e3:.0f} ± {error / 1e3:.0f} | "
            f"{area / 1e3:.0f} | {mean / area:.2f} ± {error / area:.2f} |"
        )
    return "\n".join(lines)


def block_integrals(runs: list[Run]) -> dict[str, list[float]]:
    """Areas of alpha n in every window, one number per block of all runs, cm^-2."""
    found: dict[str, list[float]] = {name: [] for name in WINDOWS}
    per_run = max(2, N_BLOCKS // len(runs))
    for run in runs:
        length = len(run.step) // per_run
        for block in range(per_run):
            part = slice(block * length, (block + 1) * length)
            spectrum = infrared_spectrum(
                run.dipole_eA[part],
                timestep_fs=run.metadata["timestep_fs"] * run.metadata["record_stride"],
                temperature_K=float(np.mean(run.temperature_K)),
                volume_A3=run.volume_A3,
            )
            nu, alpha_n = spectrum.wavenumber_per_cm, spectrum.alpha_n_per_cm
            assert alpha_n is not None
            for name, (low, high) in WINDOWS.items():
                inside = (nu >= low) & (nu <= high)
                found[name].append(float(trapezoid(alpha_n[inside], nu[inside])))
    return found


def strongest(peaks: tuple[Peak, ...], low: float, high: float) -> Peak | None:
    """The highest of the peaks in a range."""
    inside = [peak for peak in peaks if low <= peak.position_per_cm <= high]
    return max(inside, key=lambda peak: peak.height) if inside else None


def raman_table(raman: RamanSpectrum) -> str:
    """Markdown: bands of the unpolarized Raman spectrum and what is known of them."""
    lines = ["| Raman band, cm^-1 | width, cm^-1 | depolarization ratio at the top |", "|---|---|---|"]
    for peak in raman.peaks:
        at = int(np.argmin(np.abs(raman.wavenumber_per_cm - peak.position_per_cm)))
        ratio, error = raman.depolarization[at], raman.depolarization_error[at]
        lines.append(
            f"| {peak.position_per_cm:.0f} ± {peak.position_error_per_cm:.0f} | {peak.width_per_cm:.0f} ± "
            f"{peak.width_error_per_cm:.0f} | {ratio:.2f} ± {error:.2f} |"
        )
    return "\n".join(lines)


def stretch_table(name: str, runs: list[Run], frames: Path | None) -> str:
    """Markdown: f-sum of the O-H stretches of the runs and of other frames, as an area of alpha n."""
    potential = load_model(name, dtype="float64")
    sources = {"frames of the runs": [atoms for run in runs for atoms in some_frames(run)]}
    if frames is not None:
        sources[f"frames of {frames.parent.name}"] = list(ase.io.iread(frames, f"::{FRAMES_EVERY}"))
    lines = ["| f-sum of the O-H stretch | frames | mean O-H, A | area of alpha n, 10^3 cm^-2 |", "|---|---|---|---|"]
    for title, structures in sources.items():
        found = [stretch_sum(potential, atoms) for atoms in structures]
        areas, lengths = np.array(found).T
        error = areas.std(ddof=1) / np.sqrt(len(areas))
        lines.append(
            f"| {title} | {len(areas)} | {lengths.mean():.4f} | {areas.mean() / 1e3:.0f} ± {error / 1e3:.0f} |"
        )
    return "\n".join(lines)


def some_frames(run: Run) -> list[Atoms]:
    """Eight configurations of a run, evenly spaced."""
    places = np.linspace(0, len(run.positions_A) - 1, 8).astype(int)
    return [Atoms(run.numbers, run.positions_A[place, 0], cell=run.cell_A, pbc=True) for place in places]


def stretch_sum(potential: Potential, atoms: Atoms) -> tuple[float, float]:
    """The integral of alpha n over wavenumber, cm^-2, of the current along the O-H bonds; their mean length, A.

    The f-sum rule with charges Z M^-1/2 projected, molecule by molecule, on the space of its two mass-weighted
    stretches.
    """
    system = from_ase(atoms)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff)).numpy()
    masses, oxygens, hydrogens = atoms.get_masses(), np.flatnonzero(atoms.numbers == 8), atoms.numbers == 1
    along, lengths = np.zeros_like(born), []
    for oxygen in oxygens:
        vectors = atoms.get_distances(oxygen, np.flatnonzero(hydrogens), mic=True, vector=True)
        nearest = np.argsort(np.linalg.norm(vectors, axis=1))[:2]
        members = [oxygen, *np.flatnonzero(hydrogens)[nearest]]
        root = np.repeat(np.sqrt(masses[members]), 3)
        rows = np.zeros((2, 9))
        for row, place in enumerate(nearest):
            lengths.append(float(np.linalg.norm(vectors[place])))
            direction = vectors[place] / lengths[-1]
            rows[row, :3], rows[row, 3 * row + 3 : 3 * row + 6] = -direction, direction
        space = np.linalg.qr((rows / root).T)[0]
        charges = np.concatenate(born[members], axis=1) / root  # [field, atom * displacement]
        along[members] = ((charges @ space @ space.T) * root).reshape(3, 3, 3).transpose(1, 0, 2)
    return f_sum(along, masses, atoms.get_volume()).value, float(np.mean(lengths))


def draw(
    infrared: InfraredSpectrum,
    raman: RamanSpectrum,
    measured: Curve,
    kerr: Array,
    path: Path,
) -> None:
    """Three panels: infrared, Raman VV and VH, depolarized low-frequency response."""
    with house_style():
        figure = new_figure("two", 6.6)
        top, middle, bottom = figure.subplots(3, 1)
        nu, alpha_n, alpha_n_error = infrared.wavenumber_per_cm, infrared.alpha_n_per_cm, infrared.alpha_n_per_cm_error
        assert alpha_n is not None
        assert alpha_n_error is not None
        band(top, nu, alpha_n, alpha_n_error, PALETTE[0], "computed")
        top.plot(*measured, color=REFERENCE_COLOUR, lw=1.0, label="measured, Bertie and Lan 1996")
        top.set(xlim=(0, 4200), ylim=(0, None), ylabel=r"infrared $\alpha n$ (cm$^{-1}$)")
        band(middle, raman.wavenumber_per_cm, raman.vv, raman.vv_error, PALETTE[0], "computed, VV")
        band(middle, raman.wavenumber_per_cm, raman.vh, raman.vh_error, PALETTE[1], "computed, VH")
        middle.set(xlim=(0, 4200), ylim=(0, None), xlabel="wavenumber (cm$^{-1}$)")
        middle.set(ylabel="reduced Raman activity\n(A$^4$ amu$^{-1}$ cm)")
        x = raman.wavenumber_per_cm
        response, error = raman.anisotropic / x, raman.anisotropic_error / x
        inside = (x >= 100.0) & (x <= 300.0)
        factor = np.interp(x[inside], *kerr.T).mean() / response[inside].mean()
        band(bottom, x, factor * response, factor * error, PALETTE[0], "computed, scaled to 100-300 cm$^{-1}$")
        bottom.plot(*kerr.T, color=REFERENCE_COLOUR, lw=1.0, label="measured, Castner et al. 1995")
        shown = (x >= 20.0) & (x <= 1200.0)  # next to zero the division by x makes a spike of nothing
        highest = max(factor * (response + error)[shown].max(), kerr[:, 1].max())
        bottom.set(xlim=(0, 1200), ylim=(0, 1.1 * highest), xlabel="wavenumber (cm$^{-1}$)", yticks=[])
        bottom.set(ylabel=r"depolarized Im $\chi$ (arb. units)")
        for axes in (top, middle, bottom):
            axes.legend(frameon=False)
        save_figure(figure, path)


def band(axes: Axes, x: Array, y: Array, error: Array, colour: str, label: str) -> None:
    """A curve and one standard error on either side."""
    axes.plot(x, y, color=colour, lw=1.0, label=label)
    axes.fill_between(x, y - error, y + error, color=colour, alpha=0.25, lw=0)


if __name__ == "__main__":
    main()
