"""What docs/calculators.md prints is what the command line and the package take."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from spectra_app.cli.main import app
from spectra_app.config import CalculatorSettings, RunFileSettings
from spectra_app.couplings.calculator_source import RESPONSES
from spectra_app.couplings.calculator_spec import is_calculator_spec, parse_calculator_spec

TEXT = (Path(__file__).parents[2] / "docs" / "calculators.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_specifications_parse(line: str) -> None:
    from typer.main import get_command

    program, name, *words = shlex.split(line)
    assert program == "spectra-app"
    context = get_command(app).commands[name].make_context(name, list(words))  # type: ignore[attr-defined]
    assert not context.args
    for key in ("model", "response"):
        if is_calculator_spec(context.params.get(key)):
            parse_calculator_spec(context.params[key])


def test_python_uses_what_exists() -> None:
    (block,) = [block for language, block in BLOCKS if language == "python"]
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spectra_app"):
            for alias in node.names:
                assert hasattr(importlib.import_module(str(node.module)), alias.name)


def test_every_result_and_key_is_explained() -> None:
    for name in (*RESPONSES, *CalculatorSettings.model_fields):
        assert f"`{name}`" in TEXT or f"{name}:" in TEXT, name
    assert {"model", "response", "calculator"} <= set(RunFileSettings.model_fields)
