"""The house rules that a machine can check: direction of imports, size of modules, what an import costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spectra_app"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Floors of the house: a room may use the rooms on lower floors, and itself.
FLOORS = [
    ("errors", "units"),
    ("config", "zoo", "files", "interrupts", "memory", "arrays", "pickles"),
    ("joined",),
    ("structure",),
    ("electrostatics",),
    ("potentials",),
    ("training", "dynamics"),
    ("runs",),
    ("readers",),
    ("couplings",),
    ("spectra", "born", "labels"),
    ("harmonic",),
    ("plotting",),
    ("jobs",),
    ("cli",),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = ("arrays", "joined", "spectra", "born", "readers", "runs", "jobs")
# Those that run a model or keep its state: imported where they are called.
WITH_TORCH = {
    "jobs/annotate.py",
    "jobs/batch.py",
    "jobs/born_samples.py",
    "jobs/run_header.py",
    "jobs/spreading.py",
    "jobs/simulation.py",
    "readers/trajectories/dispatch.py",
    "readers/trajectories/frames.py",
    "readers/trajectories/text_formats.py",
    "readers/trajectories/virtual_sites.py",
    "readers/trajectories/cp2k_xyz.py",
    "readers/trajectories/topology.py",
    "runs/partition.py",
    "runs/provenance.py",
    "runs/restart_file.py",
    "runs/writer.py",
}
MAX_LINES = 400  # 100-300 is the rule; a hard stop
MAX_BODY_LINES = 75  # "under about 60" of style.md, and some mercy


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Absolute names of imported modules; without ``everywhere`` only those that run when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
        if not everywhere and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not everywhere and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            stack.extend(node.orelse)
            continue
        stack.extend(ast.iter_child_nodes(node))
    return found


def rooms_used(path: Path) -> set[str]:
    names = (name.split(".") for name in imports(path))
    return {parts[1] for parts in names if parts[0] == "spectra_app" and len(parts) > 1 and parts[1] in FLOOR}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the facade names every room, lazily
    assert room in FLOOR, f"{room} has no floor in FLOORS"
    upward = {other for other in rooms_used(path) if other != room and FLOOR[other] >= FLOOR[room]}
    # The dataclasses and errors of the two neighbours on one floor may not mix either, so ">=" and not ">".
    assert not upward, f"{room} may not import {sorted(upward)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert path.stem not in {"utils", "util", "helpers", "misc"}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef) or not node.end_lineno:
            continue
        compiled = any("njit" in ast.unparse(d) for d in node.decorator_list)
        if compiled:
            continue  # a numba kernel is one loop nest: a call inside costs more than a long page
        first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
        length = node.end_lineno - first.lineno + 1
        assert length <= MAX_BODY_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if room_of(p) in WITHOUT_TORCH and str(p.relative_to(PACKAGE)) not in WITH_TORCH],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_spectra_and_born_need_no_torch(path: Path) -> None:
    at_import = imports(path, everywhere=False)
    assert not {name for name in at_import if name.split(".")[0] == "torch"}


@pytest.mark.parametrize("room", ["", ".spectra", ".born", ".runs", ".jobs", ".cli.main"])
def test_import_brings_no_torch_and_starts_nothing(room: str) -> None:
    module = f"spectra_app{room}"
    code = (
        f"import sys, threading, logging, {module}\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert threading.active_count() == 1\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_facade_is_exactly_the_promised_names() -> None:
    facade = importlib.import_module("spectra_app")
    assert set(facade.__all__) == {
        "__version__",
        "AsePotential",
        "Simulation",
        "born_charges",
        "extrapolation",
        "harmonic_limit",
        "infrared_spectrum",
        "label_structures",
        "load_model",
        "raman_spectrum",
        "read_run",
        "run_recipe",
        "run_spectrum",
        "series_spectrum",
        "vdos",
    }
    for name in facade.__all__:
        value = getattr(facade, name)
        if name != "__version__":
            assert callable(value)
            assert value.__doc__
    assert set(facade.__all__) <= set(dir(facade))
    with pytest.raises(AttributeError, match="no attribute 'infrared'"):
        facade.infrared  # noqa: B018


def test_import_reader_sees_what_it_should(tmp_path: Path) -> None:
    # The tests above are as good as this reader: show that it finds each form of import.
    path = PACKAGE / "spectra" / "imaginary.py"
    source = tmp_path / "imaginary.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nimport numpy as np\nfrom ..potentials import load_model\n"
        "from spectra_app import cli\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import h5py\n"
    )

    class Elsewhere(type(path)):  # type: ignore[misc]
        def read_text(self, *args: object, **kwargs: object) -> str:
            return source.read_text()

    elsewhere = Elsewhere(path)
    assert {"torch", "h5py", "spectra_app.potentials", "spectra_app.cli", "numpy"} <= imports(elsewhere)
    at_import = imports(elsewhere, everywhere=False)
    assert "torch" not in at_import
    assert "h5py" not in at_import
    assert "numpy" in at_import
    assert rooms_used(elsewhere) == {"potentials", "cli"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("everywhere", [False, True], ids=["when imported", "ever"])
def test_no_module_needs_itself(everywhere: bool) -> None:
    # "ever": also what is imported in a function, or for its type alone.
    names = {module_name(path) for path in MODULES}
    needs = {}
    for path in MODULES:
        if everywhere and path.parent == PACKAGE and path.stem == "__init__":
            continue  # the facade names every room, lazily
        found = imports(path, everywhere) & names
        # "from room import module" needs the module; the room itself is being imported anyway.
        needs[module_name(path)] = {
            name for name in found if not any(other.startswith(f"{name}.") for other in found)
        } - {"spectra_app"}
    visited: dict[str, str] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert visited.get(name) != "open", " -> ".join((*way, name))
        if name in visited:
            return
        visited[name] = "open"
        for other in sorted(needs.get(name, ())):
            visit(other, (*way, name))
        visited[name] = "done"

    for name in sorted(needs):
        visit(name, ())


def test_one_name_means_one_thing() -> None:
    modules: dict[str, list[str]] = {}
    classes: dict[str, list[str]] = {}
    for path in MODULES:
        place = str(path.relative_to(PACKAGE))
        if path.stem != "__init__":
            modules.setdefault(path.stem, []).append(place)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(place)
    twice = {name: places for name, places in {**modules, **classes}.items() if len(places) > 1}
    assert not twice
