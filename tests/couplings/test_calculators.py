"""Calculators named in words: what is parsed, what is called, what is refused, each in one line."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from spectra_app.couplings.calculator_provenance import fingerprint, notices, version_of
from spectra_app.couplings.calculator_spec import parse_calculator_spec
from spectra_app.couplings.calculators import calculator_from
from spectra_app.errors import ConfigError, ModelError
from spectra_app.pickles import runs_code

HERE = __name__  # this module, as a specification names it


class Keeping(Calculator):
    """Keeps the arguments that it was made of."""

    implemented_properties = ["energy"]  # noqa: RUF012 (declared as a plain list in ase)

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__()
        self.given, self.named = given, named


class Shop:
    """A class with a factory inside."""

    @staticmethod
    def make(sigma: float = 1.0) -> LennardJones:
        """A calculator."""
        return LennardJones(sigma=sigma)


def either(raw: bool = False) -> LennardJones | dict[str, float]:
    """As factories of MACE say it."""
    return {} if raw else LennardJones()


def undeclared(sigma: float) -> object:
    """A calculator, without saying so."""
    return LennardJones(sigma=sigma)


def wrong() -> dict[str, float]:
    """No calculator."""
    return {}


def failing(x: int) -> Calculator:
    """Fails."""
    raise ValueError(f"x is {x},\nand that is not all")


partly = functools.partial(LennardJones, sigma=2.0)
a_number = 3.0


class Executes:
    """What a stranger puts into a checkpoint."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("run",)


def test_the_factory_is_called_with_literals() -> None:
    spec = f"ase:{HERE}:Keeping(1, -2.5, 'a:b', [1, (2, None)], key={{'x': [True, 1e-3]}}, other=\"it's\")"
    made = calculator_from(spec)
    assert isinstance(made, Keeping)
    assert made.given == (1, -2.5, "a:b", [1, (2, None)])
    assert made.named == {"key": {"x": [True, 1e-3]}, "other": "it's"}


@pytest.mark.parametrize(
    ("words", "sigma"),
    [("Shop.make(sigma=3.0)", 3.0), ("Shop.make", 1.0), ("partly()", 2.0), ("undeclared(4.0)", 4.0)],
)
def test_classes_functions_and_names_inside_classes(words: str, sigma: float) -> None:
    made = calculator_from(f"ase:{HERE}:{words}")
    assert isinstance(made, LennardJones)
    assert made.parameters.sigma == sigma
    assert isinstance(calculator_from("ase:ase.calculators.emt:EMT"), EMT)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("emt", ConfigError, "got 'emt', wanted 'ase:module:factory"),
        ("ase:ase.calculators.emt", ConfigError, "wanted 'ase:module:factory"),
        ("ase:ase/calculators:EMT", ConfigError, "wanted 'ase:module:factory"),
        ("ase:ase.calculators.emt:EMT(", ConfigError, r"got 'EMT\(' \('\(' was never closed\)"),
        ("ase:ase.calculators.emt:EMT()()", ConfigError, r"got EMT\(\), wanted 'ase:module"),
        ("ase:ase.calculators.emt:[EMT][0]()", ConfigError, r"got \[EMT\]\[0\]"),
        ("ase:ase.calculators.lj:LennardJones(sigma=open('x'))", ConfigError, r"argument sigma: got open\('x'\)"),
        ("ase:ase.calculators.lj:LennardJones(__import__('os'))", ConfigError, r"argument: got __import__\('os'\)"),
        ("ase:ase.calculators.lj:LennardJones(sigma=1 + 1)", ConfigError, r"got 1 \+ 1, wanted a literal"),
        ("ase:ase.calculators.lj:LennardJones(*[1])", ConfigError, r"got \*\[1\], wanted a literal"),
        ("ase:ase.calculators.lj:LennardJones(**{'a': 1})", ConfigError, r"got \*\*, wanted arguments by name"),
        ("ase:no_such_package.ase:X()", ModelError, "pip install no_such_package .a module of your own"),
        ("ase:ase.calculators.etm:EMT()", ModelError, "no module ase.calculators.etm.*Did you mean emt"),
        ("ase:ase.calculators.emt:Emt()", ModelError, "no ase.calculators.emt.Emt.*Did you mean EMT"),
        ("ase:ase.calculators:emt()", ModelError, "a module, wanted a class or function"),
        (f"ase:{HERE}:a_number()", ModelError, "an object of float, wanted a class or function"),
        (f"ase:{HERE}:wrong()", ModelError, "got an object of dict, wanted a calculator of ASE"),
        (f"ase:{HERE}:failing(2)", ModelError, "got ValueError: x is 2,, wanted a calculator; its arguments: x"),
        (f"ase:{HERE}:Shop()", ModelError, "another class"),
        ("ase:os:system('mkdir run')", ModelError, "of Python's own library"),
        ("ase:builtins:exec('import os')", ModelError, "of Python's own library"),
        ("ase:ase.io.formats:functools.reduce(1, 2)", ModelError, "of Python's own library"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec: str, error: type[Exception], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says) as caught:
        calculator_from(spec)
    assert "\n" not in str(caught.value)


def test_a_module_of_pythons_own_library_is_not_even_imported() -> None:
    with pytest.raises(ModelError, match="module antigravity, of Python's own library"):
        calculator_from("ase:antigravity:fly()")  # which opens a browser when it is imported
    assert "antigravity" not in sys.modules


def test_a_package_that_a_module_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_another.py").write_text("import mace_of_nowhere\n")
    (tmp_path / "broken_at_import.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"no module 'mace_of_nowhere', which needs_another needs.*pip install"):
        calculator_from("ase:needs_another:X()")
    with pytest.raises(ModelError, match="RuntimeError: no licence while importing broken_at_import"):
        calculator_from("ase:broken_at_import:X()")


def test_a_recipe_names_only_calculators() -> None:
    assert isinstance(calculator_from("ase:ase.calculators.emt:EMT()", own=False), EMT)
    for words in ("Shop.make()", "either()"):
        assert isinstance(calculator_from(f"ase:{HERE}:{words}", own=False), LennardJones)
    for words, says in [
        (
            "undeclared(1.0)",
            "of a recipe: got function undeclared, wanted a class of calculators of ASE, or a",
        ),
        ("Keeping(command='rm -rf .')", "keyword command, wanted a calculator that runs no commands"),
    ]:
        with pytest.raises(ConfigError, match=f"{says}.*name it yourself on the command line"):
            calculator_from(f"ase:{HERE}:{words}", own=False)
    with pytest.raises(ConfigError, match="Dftb, which runs a program"):
        calculator_from("ase:ase.calculators.dftb:Dftb()", own=False)


def write_files(folder: Path) -> dict[str, Path]:
    """Files whose loading runs code, under names that do not tell."""
    import gzip
    import tarfile
    import zipfile

    paths = {name: folder / f"{name}.dat" for name in ("torch", "pickle", "text", "gzip", "tar", "script", "library")}
    torch.save({"model": Executes()}, paths["torch"])
    paths["pickle"].write_bytes(pickle.dumps(Executes()))
    paths["text"].write_bytes(pickle.dumps(Executes(), protocol=0))
    with gzip.open(paths["gzip"], "wb") as stream:
        stream.write(pickle.dumps(Executes()))
    with tarfile.open(paths["tar"], "w") as archive:
        archive.add(paths["pickle"], "pickle")
    with zipfile.ZipFile(paths["script"], "w") as bundle:
        bundle.writestr("model/code/__torch__.py", "")
        bundle.writestr("model/constants.pkl", pickle.dumps(()))
    paths["library"].write_bytes(b"\x7fELF" + bytes(60))
    return paths


def test_files_that_run_code_are_told_from_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as MACE sets it for the whole process
    bad = write_files(tmp_path)
    assert [name for name, path in bad.items() if runs_code(path) is None] == []
    harmless = {
        "weights.model": lambda path: torch.save({"w": torch.ones(3), "n": [1, "a"]}, path),
        "old.pt": lambda path: torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False),
        "table.pkl": lambda path: path.write_text("2\nwater\nO 0 0 0\n"),
        "arrays.npz": lambda path: np.savez(path, a=np.ones(2)),
        "input.yaml": lambda path: path.write_text("(a: 1)\nI am text.\n"),
        "empty": lambda path: path.write_bytes(b""),
    }
    for name, write in harmless.items():
        write(tmp_path / name)
        assert runs_code(tmp_path / name) is None, name
    assert runs_code(tmp_path / "nothing here") is None
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    assert runs_code(tmp_path / "folder") is None
    bad["torch"].rename(tmp_path / "folder" / "deep" / "model.ckpt")
    assert str(runs_code(tmp_path / "folder")).startswith("model.ckpt: a pickle of Python objects")
    assert not (tmp_path / "run").exists(), "looking at a file has run it"


@pytest.mark.parametrize("words", ["'{}'", "paths=['{}']", "options={{'deep': ('{}',)}}", "'{}*'"])
def test_pickles_need_trust_wherever_they_are_named(words: str, tmp_path: Path) -> None:
    path = tmp_path / "mace.model"
    path.write_bytes(pickle.dumps(Executes()))
    spec = f"ase:{HERE}:Keeping({words.format(str(path).removesuffix('l') if '*' in words else path)})"
    with pytest.raises(ConfigError, match=r"mace.model: got a pickle of Python objects.*Give --trust-checkpoint"):
        calculator_from(spec)
    assert isinstance(calculator_from(spec, trust=True), Keeping)
    assert any("--trust-checkpoint allows" in line for line in notices(parse_calculator_spec(spec)))
    with pytest.raises(ConfigError, match="a file from the network"):
        calculator_from(f"ase:{HERE}:Keeping(model='https://example.org/mace.model')")


def test_provenance_follows_words_versions_and_files(tmp_path: Path) -> None:
    path = tmp_path / "table.dat"
    path.write_text("1")
    spec = parse_calculator_spec(f"ase:{HERE}:Keeping('{path}')")
    assert spec.files == (path,)
    before = fingerprint(spec)
    assert fingerprint(spec) == before
    path.write_text("2")
    assert fingerprint(spec) != before
    emt = parse_calculator_spec("ase:ase.calculators.emt:EMT")
    import ase

    assert version_of(emt) == ase.__version__
    assert notices(emt) == [f"imported ase.calculators.emt (ase {ase.__version__}) for ase:ase.calculators.emt:EMT"]
    assert version_of(parse_calculator_spec("ase:no_such_package:X")) is None
    downloads = notices(parse_calculator_spec("ase:mace.calculators:mace_mp('small')"))
    assert downloads[-1].startswith("mace_mp downloads its model")


def test_the_calculator_computes() -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    atoms.calc = calculator_from("ase:ase.calculators.emt:EMT()")
    other = atoms.copy()
    other.calc = EMT()
    assert atoms.get_potential_energy() == other.get_potential_energy()
