"""Commands that are stopped say how to go on: with a word more where they need one, as they are where they do not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from ase import Atoms
from ase.io import write

from spectra_app.cli.stopping import stoppable_bar
from spectra_app.errors import StoppedError
from tests.cli.conftest import Outcome


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("md start.xyz -m water", "spectra-app md start.xyz -m water --restart"),
        ("md start.xyz -m water --restart", "spectra-app md start.xyz -m water --restart"),
        ("run water", "spectra-app run water"),  # a recipe goes on by itself
    ],
)
@pytest.mark.parametrize(("resubmit", "code"), [(True, 75), (False, 130)])
def test_what_was_stopped_says_how_to_go_on(
    words: str,
    wanted: str,
    resubmit: bool,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/spectra-app", *words.split()])

    def work() -> None:
        with stoppable_bar("equilibration", "--restart") as bar:
            bar.update(1, 10)
            raise StoppedError("stopped (Ctrl-C), all is saved", resubmit=resubmit, todo="Continue with --restart")

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == code
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["equilibration: 10%", "spectra-app: stopped (Ctrl-C), all is saved", f"Continue with: {wanted}"]


def test_labels_go_on_with_the_same_command(
    tmp_path: Path, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command knows no --restart."""
    write(tmp_path / "a.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]))
    words = [
        "label",
        str(tmp_path / "a.xyz"),
        "--calculator",
        "ase:ase.calculators.emt:EMT()",
        "-o",
        str(tmp_path / "b.extxyz"),
    ]
    monkeypatch.setattr(sys, "argv", ["spectra-app", *words])
    outcome = cli(*words, "--max-minutes", "1e-9")
    assert outcome.code == 75
    assert outcome.err.splitlines()[-1].startswith("Continue with: spectra-app label ")
    assert "--restart" not in outcome.err
