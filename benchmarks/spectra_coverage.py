"""Do the errors of bands cover? Processes with a known spectrum, many runs, every estimator.

    python benchmarks/spectra_coverage.py [--runs 100] [--samples 10000] [--methods welch,lag,cepstral] [--blocks 5]

Damped oscillators driven by noise and sampled at 1 fs (second-order autoregressive processes, closed spectrum; the same
as in tests/spectra/test_coverage.py): 600, 1600 and 3300 cm^-1, 80, 40 and 150 cm^-1 wide, three axes.  For each
quantity of a band:

    cover    share of the runs whose value is within one standard error of the truth (68% is the aim)
    noise    the same about the value that the window would give without noise
    error    mean square error stated over variance of the values, its root: 1 is right
    bias     mean deviation from the truth in standard deviations, of which the window explains
    window   so much

The standard deviation of a share of n bands is 0.47 / sqrt(n).
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import signal

from spectra_app import units
from spectra_app.spectra import EstimatorSettings
from spectra_app.spectra.density import SpectralDensity
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.peaks import Peak, find_peaks
from spectra_app.spectra.plan import EstimatorInput
from spectra_app.spectra.uncertainty import resampling_error
from spectra_app.spectra.windows import lag_window, segment_window

LINES = ((600.0, 80.0, 1.0), (1600.0, 40.0, 0.5), (3300.0, 150.0, 2.0))
"""Wavenumber, full width, strength of the noise."""
NAMES = ("position_per_cm", "height", "width_per_cm", "integral")
NEAR_PER_CM = 120.0


def denominator(wavenumber: float, width: float) -> np.ndarray:
    radius = np.exp(-np.pi * units.SPEED_OF_LIGHT_CM_PER_FS * width)
    return np.array([1.0, -2.0 * radius * np.cos(2.0 * np.pi * units.SPEED_OF_LIGHT_CM_PER_FS * wavenumber), radius**2])


def oscillators(n: int, seed: int) -> np.ndarray:
    """[frame, 1, xyz]."""
    rng = np.random.default_rng(seed)
    return sum(
        signal.lfilter([1.0], denominator(nu, width), s * rng.normal(size=(n + 3000, 3)), axis=0)[3000:, None]
        for nu, width, s in LINES
    )


def density(omega: np.ndarray, differences: bool = False) -> np.ndarray:
    """Exact density of the rate, sum over three axes: omega^2 times that of the samples, or of their differences."""
    z = np.exp(-1j * omega)
    parts = [s**2 / np.abs(np.polyval(denominator(nu, width)[::-1], z)) ** 2 for nu, width, s in LINES]
    return 3.0 * (4.0 * np.sin(0.5 * omega) ** 2 if differences else omega**2) * sum(parts)


def through_window(found: SpectralDensity, settings: EstimatorSettings) -> np.ndarray:
    """Density [nu] that the estimator gives on average."""
    if settings.method == "cepstral":
        return density(found.omega_per_fs)
    n, length = 2**17, found.plan.length
    exact = np.fft.irfft(density(2.0 * np.pi * np.arange(n // 2 + 1) / n, differences=True), n)[:length]
    if settings.method == "lag":
        taper = lag_window(settings.window, length)
    else:
        window = segment_window(settings.window, length)
        taper = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * length)) ** 2)[:length] / np.sum(window**2)
    size = 2 * (len(found.omega_per_fs) - 1)
    smooth = 2.0 * np.fft.rfft(exact * taper, size).real - exact[0]
    return smooth * np.sinc(found.omega_per_fs / (2.0 * np.pi)) ** -2


def nearest(peaks: tuple[Peak, ...], position: float) -> Peak | None:
    near = [p for p in peaks if abs(p.position_per_cm - position) < NEAR_PER_CM]
    return max(near, key=lambda p: p.height) if near else None


def values_of(peak: Peak, nu: np.ndarray, spectrum: np.ndarray, bounds: Peak) -> list[float]:
    """Position, height, width, and the integral of a spectrum between the valleys of another band."""
    inside = (nu >= bounds.from_per_cm) & (nu <= bounds.to_per_cm)
    return [peak.position_per_cm, peak.height, peak.width_per_cm, float(np.trapezoid(spectrum[inside], nu[inside]))]


def measure(settings: EstimatorSettings, n_samples: int, runs: int) -> np.ndarray:
    """[band, quantity, (value, error, truth, smooth)] of all bands of all runs; integrals relative to the truth."""
    rows = []
    for seed in range(runs):
        series = EstimatorInput(oscillators(n_samples, seed), 1.0, derivative=True)
        found = spectral_density(series, np.ones((1, 3)), settings)
        resamples = [channel[0] for channel in found.resamples()]
        error, nu = resampling_error(resamples, found.resampling), found.wavenumber_per_cm
        exact, smooth = density(found.omega_per_fs), through_window(found, settings)
        resolution = found.plan.resolution_per_cm
        none = np.zeros_like(nu)
        sharp = found.sharpened()
        sharpened = None if sharp is None else (sharp.total[0], [channel[0] for channel in sharp.resamples()])
        peaks = find_peaks(nu, found.total[0], error, resamples, resolution, found.resampling, sharpened)
        truths, smooths = (find_peaks(nu, spectrum, none, [], resolution) for spectrum in (exact, smooth))
        for band, (position, *_) in enumerate(LINES):
            peak, truth, through = (nearest(p, position) for p in (peaks, truths, smooths))
            if peak is None or truth is None or through is None:
                continue
            a, b = values_of(truth, nu, exact, peak), values_of(through, nu, smooth, peak)
            for name, x, y in zip(NAMES, a, b, strict=True):
                error_name = name.replace("_per_cm", "_error_per_cm") if "_per_cm" in name else f"{name}_error"
                # Every run has valleys of its own: integrals are compared as deviations.
                value, origin = getattr(peak, name), x if name == "integral" else 0.0
                rows.append(
                    (band, NAMES.index(name), value - origin, getattr(peak, error_name), x - origin, y - origin)
                )
    return np.array(rows)


def report(rows: np.ndarray, label: str, by_band: bool) -> None:
    for quantity, name in enumerate(NAMES):
        for band in [None, *range(len(LINES))] if by_band else [None]:
            chosen = rows[(rows[:, 1] == quantity) & (True if band is None else rows[:, 0] == band)]
            _, _, value, error, truth, smooth = chosen.T
            cover, noise = np.mean(np.abs(value - truth) < error), np.mean(np.abs(value - smooth) < error)
            line = f"{label:<22}{name if band is None else f'  {LINES[band][0]:.0f}':<18}{len(value):>6}"
            line += f"{100 * cover:>8.0f}{100 * noise:>8.0f}"
            if band is not None:
                spread = np.std(value)
                line += f"{np.sqrt(np.mean(error**2)) / spread:>8.2f}{np.mean(value - truth) / spread:>8.2f}"
                line += f"{np.mean(smooth - truth) / spread:>8.2f}"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--samples", default="10000")
    parser.add_argument("--methods", default="welch,lag,cepstral")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--resolution", type=float, default=20.0)
    parser.add_argument("--bands", action="store_true", help="every band by itself too")
    options = parser.parse_args()
    print(f"{'':<22}{'':<18}{'bands':>6}{'cover':>8}{'noise':>8}{'error':>8}{'bias':>8}{'window':>8}")
    for samples in options.samples.split(","):
        for method in options.methods.split(","):
            settings = EstimatorSettings(
                options.resolution, method=method, blocks=options.blocks, workers=1, max_wavenumber_per_cm=None
            )
            rows = measure(settings, int(samples), options.runs)
            report(rows, f"{method} {samples}", options.bands)


if __name__ == "__main__":
    main()
