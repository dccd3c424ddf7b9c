"""EstimatorInput longer than memory: the same numbers from chunks, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.spectra import (
    EstimatorSettings,
    StoredSeries,
    dielectric_function,
    guards,
    infrared_spectrum,
    plan,
    raman_spectrum,
    samples,
    static_dielectric_constant,
    stream,
    vdos,
)
from spectra_app.spectra.stream import JoinedSeries, OneReplica


def modes(n, seed=0, tail=(3,)):
    """A sum of stochastic modes [frame, ...], smooth enough to have no jump."""
    rng = np.random.default_rng(seed)
    t = np.arange(n).reshape(n, *[1] * len(tail))
    out = np.zeros((n, *tail))
    for wavenumber in (300.0, 900.0, 1650.0, 3000.0):
        omega = 2.0 * np.pi * 2.99792458e-5 * wavenumber
        out += rng.uniform(0.2, 1.0, tail) * np.cos(omega * t + rng.uniform(0, 6.28, tail) + 0.002 * t**0.9) / omega
    return out


def in_chunks(values, sizes):
    """The series in pieces of odd sizes, over and over."""
    start, k = 0, 0
    while start < len(values):
        size = sizes[k % len(sizes)]
        yield values[start : start + size]
        start, k = start + size, k + 1


@pytest.mark.parametrize("sizes", [(1,), (7, 1, 0, 131), (997,), (10**6,)])
@pytest.mark.parametrize("method", ["welch", "lag"])
def test_odd_chunks_give_the_numbers_of_the_whole(sizes, method):
    x = modes(3001)
    settings = EstimatorSettings(resolution_per_cm=60.0, method=method)
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "volume_A3": 500.0, "eps_inf": 1.8}
    with StoredSeries.from_chunks(in_chunks(x, sizes)) as stored:
        assert stored.shape == (3001, 3)
        chunked = infrared_spectrum(stored, settings=settings, **common)
        tensor = dielectric_function(stored, settings=settings, **common)
        static = static_dielectric_constant(
            stored, **{k: v for k, v in common.items() if k != "timestep_fs"}, checks="off"
        )
    whole = infrared_spectrum(x, settings=settings, **common)
    np.testing.assert_array_equal(chunked.alpha_n_per_cm, whole.alpha_n_per_cm)
    np.testing.assert_array_equal(chunked.eps_real_error, whole.eps_real_error)
    np.testing.assert_array_equal(tensor.eps_imag, dielectric_function(x, settings=settings, **common).eps_imag)
    squares = x.T @ x / len(x) / (8.617333262e-5 * 300.0 * 500.0 * 5.526349406e-3)  # the mean is zero
    np.testing.assert_allclose(static.tensor - 1.8 * np.eye(3), squares, rtol=1e-6, atol=1e-9)


def test_polarizabilities_with_replicas_stream_too():
    alpha = np.stack([modes(2000, seed, (3, 3)) for seed in range(2)], axis=1)
    stored = StoredSeries.from_chunks(in_chunks(alpha, (311,)), dtype=np.float32)
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": EstimatorSettings(60.0), "prefactor": "reduced"}
    np.testing.assert_allclose(
        raman_spectrum(stored, **common).vv, raman_spectrum(alpha, **common).vv, rtol=1e-3, atol=1e-9
    )


def test_slices_are_those_of_an_array():
    x = modes(500, tail=(2, 3))
    stored = StoredSeries.from_chunks(in_chunks(x, (13,)))
    for key in (slice(None), slice(10, 20), slice(3, 400, 7), 5, -1, (slice(4, 9), 1), (slice(None), 0, slice(1, 3))):
        np.testing.assert_array_equal(stored[key], x[key])
    assert stored[20:10].shape == (0, 2, 3)
    np.testing.assert_array_equal(np.asarray(stored), x)
    one = OneReplica(StoredSeries.from_chunks([x]))
    np.testing.assert_array_equal(one[3:8, 0], x[3:8])
    np.testing.assert_array_equal(one[3:8], x[3:8, None])
    np.testing.assert_array_equal(one[:, 0, 1], x[:, 1])
    joined = JoinedSeries(x, x[..., None] * np.ones(2))
    np.testing.assert_array_equal(joined[5:9, 1], np.concatenate([x[5:9, 1], np.repeat(x[5:9, 1], 2, axis=-1)], -1))
    assert joined[5:9].shape == (4, 2, 9)
    with pytest.raises(SeriesError, match="frames and replicas"):
        JoinedSeries(x, x[:-1])


def test_a_long_stride_goes_on_across_the_pieces_of_a_read(monkeypatch):
    x = modes(1000)
    stored = StoredSeries.from_chunks([x])
    monkeypatch.setattr("spectra_app.arrays._READ_BYTES", 24 * 50)
    for step in (1, 3, 7, 60):
        np.testing.assert_array_equal(stored[2::step], x[2::step])


def test_no_frames_or_other_shapes_are_refused():
    with pytest.raises(SeriesError, match="got no frame"):
        StoredSeries.from_chunks([])
    with pytest.raises(SeriesError, match=r"shape of chunk 1: got \(4, 2\)"):
        StoredSeries.from_chunks([np.zeros((5, 3)), np.zeros((4, 2))])


@pytest.mark.parametrize("frame", [0, 63, 64, 65, 200, 1998])
def test_a_jump_at_the_edge_of_a_piece_is_found_with_its_frame(frame, monkeypatch):
    monkeypatch.setattr(guards, "_CHUNK_NUMBERS", 3 * 64)
    x = modes(2000)
    x[frame + 1 :, 1] += 12.4
    with pytest.raises(SeriesError, match=f"component 1 jumps between frames {frame} and {frame + 1}:"):
        guards.check_series(x[:, None], "dipole", "error", continuous=True)
    assert guards.check_series(modes(2000)[:, None], "dipole", "error", continuous=True) == ()


def test_the_largest_of_several_jumps_is_named(monkeypatch):
    monkeypatch.setattr(guards, "_CHUNK_NUMBERS", 3 * 64)
    x = modes(2000)
    x[300:, 0] += 9.0
    x[1500:, 0] -= 30.0
    with pytest.raises(SeriesError, match="component 0 jumps between frames 1499 and 1500: got a step of -"):
        guards.check_series(x[:, None], "dipole", "error", continuous=True)


def test_two_million_frames_take_little_memory():
    # The whole series is 48 MB, twice that with one copy; here nothing holds more than a few pieces of it.
    code = (
        "import resource, numpy as np\n"
        "from spectra_app.spectra import EstimatorSettings, StoredSeries, infrared_spectrum\n"
        "def chunks():\n"
        "    for k in range(200):\n"
        "        t = np.arange(k * 10000, (k + 1) * 10000)[:, None]\n"
        "        yield np.cos(0.3 * t + np.arange(3)) + 1e-3 * np.random.default_rng(k).normal(size=(10000, 3))\n"
        "x = np.zeros((3000, 3)) + np.cos(0.3 * np.arange(3000))[:, None]\n"
        "common = dict(timestep_fs=1.0, temperature_K=300.0, volume_A3=100.0, eps_inf=1.8)\n"
        "infrared_spectrum(x, settings=EstimatorSettings(20.0, workers=1), checks='off', **common)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "s = StoredSeries.from_chunks(chunks())\n"
        "infrared_spectrum(s, settings=EstimatorSettings(20.0, workers=1), checks='warn', **common)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150.0  # MB on top of the imports; does not grow with the length


@pytest.mark.parametrize("method", ["welch", "lag", "cepstral"])
def test_vdos_read_in_small_blocks_equals_the_one_in_memory(method, monkeypatch):
    """Blocks of a few atoms, pieces of a few frames, batches of a row: every loop goes round more than once."""
    rng = np.random.default_rng(5)
    x = modes(1501, 1, (2, 5, 3)) + 1e-3 * rng.normal(size=(1501, 2, 5, 3))
    settings = EstimatorSettings(resolution_per_cm=80.0, method=method, max_wavenumber_per_cm=None)
    options = {"timestep_fs": 1.0, "symbols": ["O", "H", "H", "O", "X"], "settings": settings}
    masses = [16.0, 1.0, 2.0, 18.0, 3.0]
    whole = vdos(x, masses, **options)
    with StoredSeries.from_chunks(in_chunks(x, (97, 200))) as stored:
        streamed = vdos(stored, masses, **options)
        monkeypatch.setattr(samples, "_BLOCK_BYTES", 8 * 1600 * 4)
        monkeypatch.setattr(samples, "BATCH_BYTES", 1000)
        monkeypatch.setattr(plan, "_PIECE_BYTES", 8 * 15 * 37)
        small = vdos(stored, masses, **options)
    for name in ("H", "O", "X"):
        np.testing.assert_array_equal(streamed.elements[name], whole.elements[name])
        np.testing.assert_allclose(small.elements[name], whole.elements[name], rtol=1e-11, atol=1e-16)
        scale = 1e-9 * np.max(whole.element_errors[name])
        np.testing.assert_allclose(small.element_errors[name], whole.element_errors[name], rtol=1e-9, atol=scale)


@pytest.mark.parametrize("stored", [False, True])
def test_dielectric_function_of_rates_is_that_of_the_dipoles(stored, monkeypatch):
    """Overdamped relaxation and modes; the dipole itself, far from zero, is never shown to the second."""
    t = np.arange(6000.0)[:, None, None]
    rng = np.random.default_rng(2)
    dipole, rate = np.full((6000, 2, 3), 40.0), np.zeros((6000, 2, 3))
    for wavenumber, strength in ((30.0, 3.0), (55.0, 2.0), (400.0, 0.5), (1650.0, 0.1)):
        omega, phase = 2.0 * np.pi * 2.99792458e-5 * wavenumber, rng.uniform(0, 6.28, (2, 3))
        dipole += strength * np.sin(omega * t + phase)
        rate += strength * omega * np.cos(omega * t + phase)
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "volume_A3": 500.0, "eps_inf": 1.8}
    wanted = dielectric_function(dipole, mean="replica", **common)
    if stored:
        monkeypatch.setattr(stream, "_IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(stream, "_READ_BYTES", 48 * 701)
    found = dielectric_function(rate, quantity="current", **common)
    assert found.static.value == pytest.approx(wanted.static.value, rel=1e-3)
    assert found.static.error == pytest.approx(wanted.static.error, rel=1e-2)
    np.testing.assert_allclose(found.mean_imag, wanted.mean_imag, atol=0.01 * wanted.mean_imag.max())
