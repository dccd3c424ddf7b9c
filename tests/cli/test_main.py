"""Help, near misses, one-line errors, exit codes, import time."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spectra_app import __version__
from spectra_app.cli import models as models_command
from spectra_app.cli.console import EXIT_INTERRUPTED, to_json
from spectra_app.cli.main import EXIT_BUG, app, describe
from spectra_app.config import MDSettings, SpectraSettings
from spectra_app.errors import SeriesError

COMMANDS = [
    "run",
    "train",
    "evaluate",
    "label",
    "md",
    "record",
    "lammps",
    "drive",
    "ir",
    "raman",
    "vdos",
    "dielectric",
    "parts",
    "sfg",
    "born",
    "harmonic",
    "plot",
    "models",
    "workflows",
]


def test_commands_are_the_promised_ones() -> None:
    assert [command.name for command in app.registered_commands] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command: str, cli: Callable) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert "Usage: spectra-app " + command in outcome.out
    assert "None takes" not in outcome.out.split("Options:")[0]


def test_options_show_units_and_defaults_of_the_schema(cli: Callable) -> None:
    text = " ".join(cli("md", "--help").out.split())
    for name in ("timestep_fs", "temperature_K", "steps", "record_stride", "thermostat_time_fs"):
        field = MDSettings.model_fields[name]
        assert f"--{name.replace('_', '-')}" in text
        assert f"{field.description} [default: {field.default}]" in text
    assert "ensemble of the recorded part: nve, nvt or npt [default: nvt]" in text
    text = " ".join(cli("raman", "--help").out.split())
    assert f"wavelength of the Raman laser, nm [default: {SpectraSettings().laser_nm}]" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["irr"], 2, "No such command 'irr'. Did you mean 'ir'?"),
        (["md", "x.xyz", "-m", "water", "--step", "3"], 2, "--steps"),
        (["ir", "run.h5", "--temprature-K", "300"], 2, "--temperature-K"),
        (["ir"], 2, "Missing argument"),
        (["ir", "nothing.h5"], 5, "spectra-app: error: run file nothing.h5: got no such file"),
        (["ir", "nothing.csv"], 6, "spectra-app: error: table nothing.csv: got no such file"),
        (["md", "nothing.xyz", "-m", "water"], 3, "spectra-app: error: structure nothing.xyz: got no such file"),
        (["md", "x.xyz", "-m", "water", "-s", "md.stepz=3"], 2, "got unknown key. Did you mean 'steps'?"),
        (["md", "x.xyz", "-m", "water", "--steps", "0"], 2, "steps: got 0, wanted"),
        (["run", "watre"], 2, "Did you mean 'water'?"),
        (["run", "water", "-s", "md.step=3"], 2, "md.step: got unknown key. Did you mean 'steps'?"),
        (["train", "nothing.yaml"], 2, "configuration nothing.yaml: got no such file"),
        (["evaluate", "nothing.xyz", "-m", "water"], 3, "data file nothing.xyz: got no such file"),
        (["plot", "nothing.csv"], 3, "spectrum nothing.csv: got no such file"),
        (["models", "watre"], 4, "model 'watre': got no such model"),
    ],
)
def test_bad_calls_give_one_line_and_a_code(
    words: list[str], code: int, message: str, cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli(*words)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    if "spectra-app: error" in outcome.err:
        assert len(outcome.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [0, 2])
def test_debug_shows_the_traceback(place: int, cli: Callable) -> None:
    words = ["ir", "nothing.h5"]
    words.insert(place, "--debug")
    outcome = cli(*words)
    assert outcome.code == 5
    assert "Traceback (most recent call last)" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("spectra-app: error: run file nothing.h5")


def test_errors_that_are_not_ours_become_one_line() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "run.h5")
    assert describe(full) == ("error: no space left on device 'run.h5'. Free some space and repeat the command", 1)
    assert describe(PermissionError(errno.EACCES, "x", "a.csv")) == ("error: permission denied 'a.csv'", 1)
    assert describe(torch.OutOfMemoryError("CUDA"))[0].startswith("error: out of memory")
    assert describe(KeyboardInterrupt()) == ("interrupted", EXIT_INTERRUPTED)
    assert describe(SeriesError("a", got=1)) == ("error: a: got 1", 6)
    line, code = describe(ZeroDivisionError("x\ny"))
    assert code == EXIT_BUG
    assert line == "internal error: ZeroDivisionError: x y. Repeat with --debug for the traceback"


def test_a_bug_ends_with_its_own_code(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        raise RuntimeError("boom")

    monkeypatch.setattr(models_command, "model_names", broken)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        outcome = cli("models")
    assert outcome.code == EXIT_BUG
    assert outcome.err.splitlines() == [
        "spectra-app: warning: two lines",
        "spectra-app: internal error: RuntimeError: boom. Repeat with --debug for the traceback",
    ]


def test_version(cli: Callable) -> None:
    assert cli("--version").out == f"spectra-app {__version__}\n"


def test_json_has_no_nan_and_no_foreign_types() -> None:
    text = to_json(
        {"a": float("nan"), "b": torch.tensor([1, 2]), "c": Path("x"), "d": (1.5, None, True), "e": {"f": "g"}}
    )
    assert '"a": null' in text
    assert text.replace("\n", "").replace(" ", "") == '{"a":null,"b":[1,2],"c":"x","d":[1.5,null,true],"e":{"f":"g"}}'


def test_help_is_fast_and_brings_no_torch() -> None:
    code = "import sys\nfrom spectra_app.cli.main import main\ntry:\n    main(['md', '--help'])\nfinally:\n    bad = "
    code += "{'torch', 'ase', 'scipy', 'matplotlib'} & set(sys.modules)\n    assert not bad, bad"
    before = _cpu_seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _cpu_seconds_of_children() - before < 1.0  # processor time: another process may have the core


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
