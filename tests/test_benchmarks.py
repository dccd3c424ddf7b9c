"""Benchmarks are run by hand; what they import and call must not vanish meanwhile."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from spectra_app import load_model, run_spectrum
from spectra_app.jobs.spectrum import Kind

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS[0].parent))
    return importlib.import_module


@pytest.mark.parametrize("name", [script.stem for script in SCRIPTS])
def test_a_benchmark_finds_what_it_imports(name: str, benchmark_script: Callable[[str], ModuleType]) -> None:
    assert callable(benchmark_script(name).main)


def test_the_report_of_a_gpu_has_all_its_parts_and_keeps_what_it_has(
    benchmark_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    report, stages = benchmark_script("gpu_report"), benchmark_script("gpu_stages")
    assert report.LIMITS_S.keys() == stages.STAGES.keys()
    assert sum(report.LIMITS_S.values()) < 9.0 * 60.0 - 15.0
    found = {
        "machine": {"device": "none"},
        "quick": False,
        "stages": {
            "one": {"status": "done", "seconds": 1.0, "results": {"a": {"ms": 2.0}, "b": {"ms": 3.0, "MB": 1.5}}},
            "two": {"status": "failed", "seconds": 0.5, "results": {"error": "first line\nlast line"}},
        },
    }
    report.write(found, tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| a | 2 |  |" in page
    assert "| b | 3 | 1.5 |" in page
    assert "last line" in page


def test_born_charges_of_pairs_are_the_same_in_a_larger_cell_and_those_of_a_wave_are_not(
    benchmark_script: Callable[[str], ModuleType],
) -> None:
    script = benchmark_script("born_finite_size")
    small, large = script.measure("quartz", load_model("quartz", dtype="float64"), script.quartz(), (1, 2))
    assert small.pair_sum_rule_e < 1e-12
    assert large.pair_change_e < 1e-12
    assert large.error_rms_e < 0.5 * small.error_rms_e  # falls as the square of the length


@pytest.mark.parametrize("kind", ["ir", "raman", "vdos"])
def test_runs_of_the_streaming_benchmark_have_spectra(
    kind: Kind, benchmark_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    script = benchmark_script("spectra_streaming")
    path = tmp_path / "long.h5"
    if kind == "vdos":
        script.write_velocities(path, 2000)
    else:
        script.write_run(path, 20_000, kind)
    assert run_spectrum(path, kind, resolution_per_cm=100.0).wavenumber_per_cm[-1] > 3400.0
