from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.readers.series import Request, open_series, recognition
from spectra_app.readers.series import ipi_extras as module
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV

RNG = np.random.default_rng(8)
DIPOLES = RNG.normal(size=(2, 25, 3))
TENSORS = RNG.normal(size=(2, 25, 3, 3))


def write_beads(
    folder: Path, quantity: str, values: np.ndarray, rows: int = 1, first: int = 0, stride: int = 2
) -> Path:
    """Files of beads as i-PI writes them; ``rows`` lines per frame."""
    for bead, series in enumerate(values):
        with (folder / f"simulation.{quantity}_{bead}").open("w") as file:
            for frame, value in enumerate(series):
                file.write(f" #EXTRAS({quantity})# Step:  {first + stride * frame:10d} \n")
                for row in np.asarray(value).reshape(rows, -1):
                    file.write(" ".join(f"{number:16.8e}" for number in row) + "\n")
    return folder / f"simulation.{quantity}_0"


def test_dipoles_of_beads_are_averaged_and_in_atomic_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_FRAMES", 4)  # blocks that end within a frame
    path = write_beads(tmp_path, "dipole", DIPOLES)
    assert recognition.find_format(path) == "ipi"
    series = open_series(path, Request("dipole", timestep_fs=0.5))
    np.testing.assert_allclose(series.values, DIPOLES.mean(axis=0) * BOHR_TO_ANGSTROM, atol=1e-7)
    assert series.timestep_fs == 0.5
    assert any("mean over 2 beads" in note for note in series.notes)
    assert any("atomic units are taken" in note for note in series.notes)
    debye = open_series(path, Request("dipole", timestep_fs=0.5, unit="eA"))
    np.testing.assert_allclose(debye.values, DIPOLES.mean(axis=0), atol=1e-7)
    assert not any("atomic" in note for note in debye.notes)


@pytest.mark.parametrize("rows", [1, 3])
def test_polarizabilities_may_be_one_row_or_three(tmp_path: Path, rows: int) -> None:
    path = write_beads(tmp_path, "polarizability", TENSORS, rows)
    series = open_series(path, Request("polarizability", timestep_fs=1.0))
    unit = BOHR_TO_ANGSTROM**2 / HARTREE_TO_EV
    np.testing.assert_allclose(series.values, TENSORS.mean(axis=0) * unit, rtol=1e-7, atol=1e-8)


def test_one_bead_is_read_alone(tmp_path: Path) -> None:
    series = open_series(write_beads(tmp_path, "dipole", DIPOLES[:1]), Request("dipole", timestep_fs=0.5))
    np.testing.assert_allclose(series.values, DIPOLES[0] * BOHR_TO_ANGSTROM, atol=1e-7)
    assert not any("beads" in note for note in series.notes)
    (tmp_path / "alone").write_text((tmp_path / "simulation.dipole_0").read_text())
    assert len(open_series(tmp_path / "alone", Request("dipole", timestep_fs=0.5)).values) == 25


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    path = write_beads(tmp_path, "dipole", DIPOLES)
    request = Request("dipole", timestep_fs=0.5)
    with pytest.raises(SeriesError, match="got extra_type 'dipole', wanted extra_type='polarizability'"):
        open_series(path, Request("polarizability", timestep_fs=0.5))
    with pytest.raises(SeriesError, match=r"got bead 1 of 2, wanted simulation.dipole_0: the mean"):
        open_series(path.with_name("simulation.dipole_1"), request)
    with pytest.raises(SeriesError, match=r"time step of .* wanted the time between rows"):
        open_series(path, Request("dipole"))
    other = path.with_name("simulation.dipole_1")
    whole = other.read_text()
    other.write_text("".join(whole.splitlines(keepends=True)[:-2]))
    with pytest.raises(SeriesError, match="got other steps in one than in the other"):
        open_series(path, request)
    other.write_text(whole.rstrip("\n").rsplit(" ", 1)[0] + "\n")
    with pytest.raises(SeriesError, match=r"simulation.dipole_1 of i-PI, step 48: got 2 numbers, wanted 3"):
        open_series(path, request)
    other.write_text(whole.replace("e+00", "e+oo", 1))
    with pytest.raises(SeriesError, match=r"simulation.dipole_1 of i-PI: got '.*', wanted numbers"):
        open_series(path, request)
    other.write_text(whole)
    other.rename(other.with_name("simulation.dipole_2"))
    with pytest.raises(SeriesError, match=r"got no simulation.dipole_1, wanted the files of all beads"):
        open_series(path, request)
    path.write_text(' #EXTRAS(raw)# Step:  0 \n{"dipole": [1, 2, 3]}\n 1 2 3\n')
    path.with_name("simulation.dipole_2").unlink()
    with pytest.raises(SeriesError, match="got extra_type 'raw', wanted extra_type='dipole' in <trajectory>"):
        open_series(path, request)


def test_doubled_steps_of_a_restart_are_named(tmp_path: Path) -> None:
    path = write_beads(tmp_path, "dipole", DIPOLES[:1])
    text = path.read_text()
    path.write_text(text + text)
    with pytest.raises(SeriesError, match="time step before frame 25: got -48 steps, wanted 2 steps"):
        open_series(path, Request("dipole", timestep_fs=0.5))
