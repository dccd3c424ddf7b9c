"""The README's commands parse, its recipes validate, its links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

from spectra_app.cli.main import app
from spectra_app.config import TrainFile, parse_settings
from spectra_app.zoo import find_workflow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
LINES = [line.strip() for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line.strip()]
COMMANDS = [line for line in LINES if line.startswith("spectra-app ")]


def test_every_shell_line_is_tested() -> None:
    others = [line for line in LINES if line not in COMMANDS]
    assert all(line.startswith(("make ", "git clone ")) for line in others)
    assert len(COMMANDS) >= 12
    words = {shlex.split(line)[1] for line in COMMANDS}
    assert words == {command.name for command in app.registered_commands}


@pytest.mark.parametrize("line", COMMANDS)
def test_command_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is parsed by the real parser, options and types included; only its body is left out."""
    from typer.main import get_command

    command = get_command(app)
    name, *words = shlex.split(line, comments=True)[1:]
    child = command.commands[name]  # type: ignore[attr-defined]
    context = child.make_context(name, list(words))
    assert not context.args
    if name == "run":
        assert find_workflow(context.params["recipe"]).is_file()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    mentioned = set(
        re.findall(r"\bmake (demo|test|lint|format|clean)\b", README + (ROOT / "CONTRIBUTING.md").read_text())
    )
    assert {"demo", "test"} <= mentioned
    for target in mentioned:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    assert "run workflows/water.yaml" in makefile


def test_ci_is_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in script
    assert "make lint" in script


def test_training_recipe_is_valid() -> None:
    (text,) = [block for language, block in BLOCKS if language == "yaml"]
    assert parse_settings(TrainFile, yaml.safe_load(text)).training.eps_inf == 1.78


def test_python_uses_what_exists() -> None:
    import spectra_app

    (text,) = [block for language, block in BLOCKS if language == "python"]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert node.module == "spectra_app"
                assert alias.name in spectra_app.__all__


def test_links_and_figures_exist() -> None:
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text(), (ROOT / "CHANGELOG.md").read_text()):
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), target


def test_versions_are_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^ ]+", line) for line in lines)
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    assert "torch==2.13.0" in lines
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    assert needed
    for requirement in re.findall(r'"([A-Za-z0-9_.-]+)', needed.group(1)):
        assert requirement.lower() in pinned
