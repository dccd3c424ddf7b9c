"""A spectrum beside a reference: overlap, shifts, and what has no partner."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.spectra import compare_spectra

NU = np.arange(2.0, 4000.0, 2.0)


def bands(x, *lines):
    """Sum of Gaussians (position, standard deviation, height)."""
    return sum(h * np.exp(-0.5 * ((x - p) / s) ** 2) for p, s, h in lines)


def test_a_spectrum_compared_with_itself_overlaps_fully():
    y = bands(NU, (700.0, 60.0, 1.0), (3400.0, 100.0, 3.0))
    found = compare_spectra(NU, y, NU, 7.0 * y, resolution_per_cm=1e-3)
    assert found.overlap == pytest.approx(1.0, abs=1e-12)
    assert [band.shift_per_cm for band in found.bands] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert not found.only_computed_per_cm
    assert math.isnan(found.overlap_error)


def test_overlap_and_shift_of_known_gaussians():
    mine = bands(NU, (1500.0, 50.0, 2.0))
    x = np.sort(np.random.default_rng(0).uniform(0.0, 4000.0, 6000))[::-1]  # uneven and falling
    found = compare_spectra(NU, mine, x, bands(x, (1530.0, 50.0, 0.1)), resolution_per_cm=1e-3)
    # int of two equal Gaussians a distance d apart: exp(-d^2 / (4 s^2)).
    assert found.overlap == pytest.approx(np.exp(-(30.0**2) / (4.0 * 50.0**2)), abs=2e-4)
    (band,) = found.bands
    assert band.shift_per_cm == pytest.approx(-30.0, abs=0.3)
    assert band.width_per_cm == pytest.approx(117.7, rel=0.01)


def test_the_reference_is_taken_at_the_resolution_of_the_spectrum():
    line = bands(NU, (1500.0, 5.0, 1.0))
    found = compare_spectra(NU, bands(NU, (1500.0, 20.6, 1.0)), NU, line, resolution_per_cm=47.1)
    # sqrt(5^2 + (47.1/2.355)^2) = 20.6: smeared, the line is the computed one.
    assert found.overlap == pytest.approx(1.0, abs=1e-3)
    assert found.bands[0].reference_width_per_cm == pytest.approx(2.3548 * 20.6, rel=0.01)


def test_bands_without_a_partner_are_named():
    mine = bands(NU, (600.0, 40.0, 1.0), (1650.0, 40.0, 1.0), (3000.0, 40.0, 1.0))
    theirs = bands(NU, (610.0, 40.0, 1.0), (1900.0, 40.0, 1.0), (3020.0, 40.0, 1.0), (2400.0, 30.0, 0.5))
    found = compare_spectra(NU, mine, NU, theirs)
    assert [round(band.shift_per_cm) for band in found.bands] == [-10, -20]
    assert found.only_computed_per_cm == pytest.approx([1650.0], abs=1.0)
    assert found.only_reference_per_cm == pytest.approx([1900.0, 2400.0], abs=1.0)
    text = "\n".join(found.lines())
    assert "only in the reference: 1900, 2400" in text
    assert "-10" in text


def test_error_of_the_overlap_is_that_of_repeated_noise():
    truth = bands(NU, (700.0, 80.0, 1.0), (1650.0, 60.0, 0.7), (3400.0, 120.0, 2.0))
    other = bands(NU, (760.0, 80.0, 1.0), (1650.0, 60.0, 0.4), (3300.0, 120.0, 2.0))
    rng = np.random.default_rng(1)
    sigma = 0.1 * truth + 0.02
    kernel = np.exp(-0.5 * (np.arange(-40, 41) / (20.0 / 2.0 / 2.3548)) ** 2)
    overlaps, predicted = [], []
    for _ in range(150):
        noise = np.convolve(rng.normal(size=len(NU) + 80), kernel, mode="valid")
        noise /= np.sqrt(np.sum(kernel**2))
        found = compare_spectra(NU, truth + sigma * noise, NU, other, errors=sigma, resolution_per_cm=20.0)
        overlaps.append(found.overlap)
        predicted.append(found.overlap_error)
    assert np.mean(predicted) == pytest.approx(np.std(overlaps), rel=0.35)


def test_spectra_without_a_common_range_are_refused():
    with pytest.raises(SeriesError, match="reference far: got 9000 to 9100 cm"):
        compare_spectra(NU, np.ones_like(NU), [9000.0, 9100.0], [1.0, 1.0], label="far")
    with pytest.raises(SeriesError, match="one that is zero"):
        compare_spectra(NU, np.ones_like(NU), NU, np.zeros_like(NU))
