"""``--parts`` of md and record, and ``spectra-app parts``."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from spectra_app.runs import read_run
from spectra_app.spectra import EstimatorSettings, SpectrumParts

RESOLUTION = ("--resolution-per-cm", 1000)
SHORT = ("--ensemble", "nve", "--steps", 130, "--timestep-fs", 1, "--equilibration-steps", 5, "--temperature-K", 100)


def columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of one of our tables, by name without unit."""
    rows = list(csv.reader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    values = np.array(rows[1:], dtype=float).T
    return {name.split(" [")[0]: column for name, column in zip(rows[0], values, strict=True)}


@pytest.fixture(scope="module")
def run(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of eight waters with their contributions, by the command itself."""
    from spectra_app.cli.main import main

    path = tmp_path_factory.mktemp("parts") / "run.h5"
    words = ["md", model_folder / "start.extxyz", "-m", model_folder, "-o", path, *SHORT, "--parts", "molecules"]
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in [*words, "--trajectory-stride", 1]])
    assert stop.value.code == 0
    return path


def test_infrared_parts_add_up_to_the_infrared_spectrum(run: Path, tmp_path: Path, cli: Callable) -> None:
    outputs = ["-o", tmp_path / "parts.csv", "-o", tmp_path / "parts.h5", "-o", tmp_path / "parts.png"]
    outcome = cli("parts", run, "--distances", "3.0,4.0", *RESOLUTION, *outputs)
    assert outcome.code == 0, outcome.err
    assert "molecules: intra " in outcome.out
    assert "distances: self " in outcome.out
    assert cli("ir", run, *RESOLUTION, "-o", tmp_path / "ir.csv").code == 0
    parts, whole = columns(tmp_path / "parts.csv"), columns(tmp_path / "ir.csv")
    top = whole["alpha_n_per_cm"].max()
    families = (("H2O-H2O",), ("intra", "inter"), ("self", "0 to 3 A", "3 to 4 A", "beyond 4 A"))
    for names in families:
        np.testing.assert_allclose(sum(parts[name] for name in names), parts["total"], atol=1e-6 * top)
    np.testing.assert_allclose(parts["total"], whole["alpha_n_per_cm"], atol=1e-4 * top)
    np.testing.assert_allclose(parts["self"], parts["intra"], atol=1e-6 * top)
    assert np.abs(parts["inter"]).max() > 0.01 * top
    assert (tmp_path / "parts.png").read_bytes().startswith(b"\x89PNG")
    with h5py.File(tmp_path / "parts.h5") as file:
        assert file["0 to 3 A"].attrs["unit"] == "cm^-1"


def test_raman_parts_add_up_to_the_raman_spectrum(run: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["--spectrum", "raman", "--intensity", "vv", "--prefactor", "reduced", *RESOLUTION]
    outcome = cli("parts", run, *words, "-o", tmp_path / "parts.csv", "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["families"] == {"kinds": ["H2O-H2O"], "molecules": ["intra", "inter"]}
    assert facts["fractions"]["intra"] + facts["fractions"]["inter"] == pytest.approx(1.0)
    assert cli("raman", run, "--prefactor", "reduced", *RESOLUTION, "-o", tmp_path / "raman.csv").code == 0
    parts, whole = columns(tmp_path / "parts.csv"), columns(tmp_path / "raman.csv")["vv"]
    np.testing.assert_allclose(parts["intra"] + parts["inter"], whole, atol=1e-3 * whole.max())


def test_atoms_of_an_existing_trajectory(run: Path, model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    path = tmp_path / "atoms.h5"
    outcome = cli("record", run, "-m", model_folder, "-o", path, "--parts", "atoms")
    assert outcome.code == 0, outcome.err
    outcome = cli(
        "parts", path, "--temperature-K", 100, *RESOLUTION, "-o", tmp_path / "a.csv", "-o", tmp_path / "a.svg"
    )
    assert outcome.code == 0, outcome.err
    parts = columns(tmp_path / "a.csv")
    top = parts["total"].max()
    np.testing.assert_allclose(parts["O-O"] + parts["O-H"] + parts["H-H"], parts["total"], atol=1e-6 * top)
    # What is within a molecule does not depend on how finely the run was recorded.
    assert cli("parts", run, "--temperature-K", 100, *RESOLUTION, "-o", tmp_path / "m.csv").code == 0
    np.testing.assert_allclose(parts["intra"], columns(tmp_path / "m.csv")["intra"], atol=1e-3 * top)


def test_the_example_of_the_docs_runs_as_printed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "spectra.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "read_run" in block)
    settings = EstimatorSettings(resolution_per_cm=1000.0)
    names: dict[str, object] = {"settings": settings}
    monkeypatch.chdir(run.parent)
    exec(compile(example.replace("timestep_fs=0.5", "timestep_fs=1.0, settings=settings"), "docs", "exec"), names)
    parts = names["parts"]
    assert isinstance(parts, SpectrumParts)
    np.testing.assert_allclose(parts.shares()["H2O"], parts.total)


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_a_table_of_any_code_gives_the_same(run: Path, tmp_path: Path, cli: Callable, ending: str) -> None:
    content = read_run(run)
    assert content.parts is not None
    arrays = {
        "dipoles_eA": np.asarray(content.parts.dipole_eA)[:, 0],
        "positions_A": np.asarray(content.centres_A)[:, 0],
        "molecules": np.arange(8),
        "cell_A": content.cell_A,
    }
    path = tmp_path / f"table.{ending}"
    if ending == "npz":
        np.savez(path, **arrays, kinds=np.array(content.parts.kinds))
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
            file["kinds"] = list(content.parts.kinds)
    common = ("--distances", "3,4", "--temperature-K", 100, *RESOLUTION)
    outcome = cli("parts", path, "--timestep-fs", 1, *common, "-o", tmp_path / "table.csv")
    assert outcome.code == 0, outcome.err
    assert cli("parts", run, *common, "--no-correct-timestep", "-o", tmp_path / "run.csv").code == 0
    first, second = columns(tmp_path / "table.csv"), columns(tmp_path / "run.csv")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6, atol=1e-7 * first["total"].max())


def test_bad_input_is_one_line(run: Path, model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    def refused(code: int, text: str, *words: object) -> None:
        outcome = cli(*words)
        assert outcome.code == code
        assert text in outcome.err
        assert outcome.err.strip().count("\n") == 0

    plain = tmp_path / "plain.h5"
    start = ("md", model_folder / "start.extxyz", "-m", model_folder, "-o")
    assert cli(*start, plain, "--steps", 40, "--equilibration-steps", 0).code == 0
    refused(6, "got none, wanted a run recorded with --parts molecules", "parts", plain)
    refused(6, f"spectra-app record {plain} -m MODEL -o parts.h5 --parts molecules", "parts", plain)
    refused(2, "distance edges: got [4.0, 3.0], wanted rising distances", "parts", run, "--distances", "4,3")
    refused(2, "--distances: got near, wanted rising distances, A", "parts", run, "--distances", "near")
    refused(2, "spectra.method: got lag, wanted welch", "parts", run, "-s", "method=lag")
    refused(2, "spectra.quantum_factor: got harmonic", "parts", run, "-s", "quantum_factor=harmonic")
    refused(2, "md: parts: got 'molecule', wanted", *start, tmp_path / "x.h5", "--parts", "molecule")
    bare = tmp_path / "bare.h5"
    assert cli("record", run, "-m", model_folder, "-o", bare, "--parts", "molecules", "--no-positions").code == 0
    refused(6, "got none, wanted stored positions", "parts", bare, "--distances", "3")
    np.savez(tmp_path / "t.npz", kinds=["a"])
    refused(6, "got kinds, wanted an NPZ or HDF5 file with dipoles_eA", "parts", tmp_path / "t.npz")
    np.savez(tmp_path / "u.npz", dipoles_eA=np.zeros((50, 2, 3)))
    refused(6, "Say --timestep-fs 0.5", "parts", tmp_path / "u.npz", "--temperature-K", 300)
