"""What docs/couplings.md prints is what the programs and the command line take."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spectra_app.cli.main import app
from spectra_app.couplings.lammps_input import cut_input

TEXT = (Path(__file__).parents[2] / "docs" / "couplings.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("spectra-app ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_parses(line: str) -> None:
    from typer.main import get_command

    name, *words = shlex.split(line)[1:]
    context = get_command(app).commands[name].make_context(name, list(words))  # type: ignore[attr-defined]
    assert not context.args


def test_inputs_are_well_formed() -> None:
    (text,) = [block for language, block in BLOCKS if language == "lammps"]
    assert cut_input(text, "in.water").fix_id == "spectra"
    inputs = [ElementTree.fromstring(block) for language, block in BLOCKS if language == "xml"]
    assert [root.tag for root in inputs] == ["simulation", "ffdirect"]
    names = {element.attrib["extra_type"] for element in inputs[0].iter("trajectory")}
    assert names == {"dipole", "polarizability"}


def test_python_uses_what_exists() -> None:
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) == 2
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spectra_app"):
            module = "torch_sim" if "torchsim" in str(node.module) else "numpy"
            pytest.importorskip(module, reason="needs the extra torchsim")
            for alias in node.names:
                assert hasattr(importlib.import_module(str(node.module)), alias.name)
