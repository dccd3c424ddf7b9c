"""Parts of a spectrum add up to it, and are the sums over pairs that they say they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import EstimatorSettings, infrared_parts, infrared_spectrum, raman_parts, raman_spectrum
from spectra_app.spectra.decomposition import Partition, segment_power, segment_power_reference
from spectra_app.spectra.pairs import (
    distance_bins,
    distance_bins_reference,
    pair_power_by_bin,
    pair_power_by_bin_reference,
)

CELL = np.array([[9.0, 0.0, 0.0], [4.0, 8.0, 0.0], [-3.0, 2.5, 7.0]])
KINDS = ["O", "H", "H", "O", "H", "H", "Na"]
MOLECULES = [4, 4, 4, 9, 9, 9, 2]
SETTINGS = EstimatorSettings(resolution_per_cm=150.0, max_wavenumber_per_cm=None)


def contributions(n=900, replicas=2, tail=(3,), seed=0):
    """[frame, replica, 7 parts, ...]: correlated stochastic modes, smooth enough to have no jump."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n + 300, replicas, len(KINDS), *tail))
    noise += rng.normal(size=(n + 300, replicas, 1, *tail))  # what all parts have in common
    return signal.lfilter([1.0], [1.0, -1.7, 0.95], noise, axis=0)[300:] / 50.0


def positions(n=900, replicas=2, seed=1):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-10.0, 20.0, size=(len(KINDS), 3))
    return start + 0.02 * rng.normal(size=(n, replicas, len(KINDS), 3)).cumsum(axis=0)


EVERYTHING = {"kinds": KINDS, "molecules": MOLECULES, "cell_A": CELL, "distance_edges_A": (2.5, 3.5, 5.0)}


def check_sums(parts):
    assert set(parts.families) == {"kinds", "molecules", "distances"}
    scale = np.abs(parts.total).max()
    for names in parts.families.values():
        np.testing.assert_allclose(sum(parts.parts[name] for name in names), parts.total, atol=1e-12 * scale)
    np.testing.assert_allclose(sum(parts.shares().values()), parts.total, atol=1e-12 * scale)
    assert set(parts.shares()) == {"O", "H", "Na"}


def test_infrared_parts_add_up_to_the_spectrum_of_the_sum():
    x = contributions()
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "volume_A3": 504.0, "settings": SETTINGS}
    parts = infrared_parts(x, positions_A=positions(), **EVERYTHING, **common)
    check_sums(parts)
    whole = infrared_spectrum(x.sum(axis=2), **common)
    np.testing.assert_allclose(parts.total, whole.alpha_n_per_cm, rtol=1e-10, atol=1e-12 * parts.total.max())
    np.testing.assert_allclose(parts.total_error, whole.alpha_n_per_cm_error, rtol=1e-6, atol=1e-9)
    # One kind alone is the spectrum of that kind alone.
    oxygen = infrared_spectrum(x[:, :, [0, 3]].sum(axis=2), **common)
    np.testing.assert_allclose(parts.parts["O-O"], oxygen.alpha_n_per_cm, rtol=1e-9, atol=1e-12 * parts.total.max())
    assert np.abs(parts.parts["O-H"]).max() > 0.01 * parts.total.max()  # cross terms are there
    columns = parts.columns()
    assert columns["intra"].unit == "cm^-1"
    assert np.all(columns["2.5 to 3.5 A_error"].values >= 0.0)


@pytest.mark.parametrize("intensity", ["total", "vv", "vh", "isotropic", "anisotropic"])
def test_raman_parts_add_up_to_the_spectrum_of_the_sum(intensity):
    alpha = contributions(tail=(3, 3), seed=4)
    alpha = alpha + np.swapaxes(alpha, -1, -2)
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": SETTINGS, "prefactor": "reduced"}
    parts = raman_parts(alpha, intensity=intensity, positions_A=positions(), **EVERYTHING, **common)
    check_sums(parts)
    whole = getattr(raman_spectrum(alpha.sum(axis=2), **common), intensity)
    np.testing.assert_allclose(parts.total, whole, rtol=1e-9, atol=1e-12 * whole.max())


def test_intra_is_the_sum_of_the_spectra_of_the_molecules():
    x = contributions()
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "volume_A3": 504.0, "settings": SETTINGS}
    parts = infrared_parts(x, kinds=KINDS, molecules=MOLECULES, **common)
    members = [np.flatnonzero(np.array(MOLECULES) == m) for m in (2, 4, 9)]
    alone = sum(infrared_spectrum(x[:, :, m].sum(axis=2), checks="off", **common).alpha_n_per_cm for m in members)
    np.testing.assert_allclose(parts.parts["intra"], alone, rtol=1e-9, atol=1e-12 * parts.total.max())


def test_uncorrelated_molecules_have_no_intermolecular_part():
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(20000, 2, 3))
    x = signal.lfilter([1.0], [1.0, -1.7, 0.95], noise, axis=0)[300:] / 50.0
    parts = infrared_parts(
        x, kinds=["a", "b"], molecules=[0, 1], timestep_fs=1.0, temperature_K=300.0, settings=SETTINGS
    )
    inter, error = parts.parts["inter"], parts.part_errors["inter"]
    inner = parts.total > 0.05 * parts.total.max()
    assert np.mean(np.abs(inter[inner]) < 2.5 * error[inner]) > 0.9
    assert np.abs(inter[inner]).max() < 0.5 * parts.total.max()


def test_fast_segment_power_equals_the_reference():
    rng = np.random.default_rng(2)
    amplitude = rng.normal(size=(7, 11)) + 1j * rng.normal(size=(7, 11))
    place = rng.uniform(-10, 20, size=(7, 3))
    partition = Partition(tuple(KINDS), np.array(MOLECULES), place[None, None], CELL, (2.5, 3.5))
    bins = distance_bins_reference(place, CELL, np.array([2.5, 3.5]))
    fast = segment_power(amplitude, partition, bins)
    slow = segment_power_reference(amplitude, partition, bins)
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-12)


def test_fast_pair_kernel_equals_the_reference_across_blocks():
    rng = np.random.default_rng(3)
    amplitude = rng.normal(size=(9, 600)) + 1j * rng.normal(size=(9, 600))
    bins = np.triu(rng.integers(0, 4, size=(9, 9)), 1)
    bins = (bins + bins.T).astype(np.int16)
    fast = pair_power_by_bin(amplitude.real.copy(), amplitude.imag.copy(), bins, 4)
    np.testing.assert_allclose(fast, pair_power_by_bin_reference(amplitude, bins, 4), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("periodic", [True, False])
def test_fast_bins_equal_the_reference_in_a_triclinic_cell(periodic):
    place = np.random.default_rng(4).uniform(-15.0, 25.0, size=(40, 3))
    edges = np.array([2.0, 3.0, 4.5, 6.0])
    cell = CELL if periodic else np.eye(3)
    fast = distance_bins(place, cell, np.linalg.inv(cell), periodic, edges)
    slow = distance_bins_reference(place, CELL if periodic else None, edges)
    np.testing.assert_array_equal(fast, slow)
    assert len(np.unique(fast)) >= 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kinds": ["O"]}, SeriesError, "kinds: got 1 names, wanted one per part, 7"),
        ({"molecules": [1, 2]}, SeriesError, "molecules: got shape"),
        ({"positions_A": np.zeros((5, 7, 3)), "distance_edges_A": (3.0,)}, SeriesError, "frames and replicas"),
        ({"positions_A": positions(), "distance_edges_A": (3.0, 2.0)}, ConfigError, "distance edges: got"),
        ({"settings": EstimatorSettings(method="lag")}, ConfigError, "spectra.method: got lag, wanted welch"),
        ({"cell_A": np.zeros((3, 3))}, SeriesError, "cell_A"),
        ({"quantity": "force"}, ConfigError, "quantity"),
    ],
)
def test_wrong_groups_are_refused(change, error, message):
    arguments = {"kinds": KINDS, "timestep_fs": 1.0, "temperature_K": 300.0, "settings": SETTINGS, **change}
    with pytest.raises(error, match=message):
        infrared_parts(contributions(), **arguments)
