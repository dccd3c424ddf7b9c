"""Calculators of ASE named in words: ``'ase:module.path:factory(arguments, key=value)'``.

The words are parsed, never evaluated: a module, a name in it, and literals.  So a recipe of a stranger runs the import
and the constructor that it names, and nothing else; ``calculator_from`` says what it refuses of these.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
import typing
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spectra_app.couplings.calculator_provenance import PACKAGES
from spectra_app.couplings.calculator_spec import CalculatorSpec, parse_calculator_spec, strings_in
from spectra_app.errors import ConfigError, ModelError
from spectra_app.pickles import runs_code

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_RUNS_COMMANDS = ("FileIOCalculator", "GenericFileIOCalculator", "BaseGenericFileIOCalculator", "SocketIOCalculator")
_COMMANDS = frozenset({"command", "profile", "lmpcmds", "post_changebox_cmds", "asecommand", "unix_command"})


def calculator_from(spec: str | CalculatorSpec, trust: bool = False, own: bool = True) -> BaseCalculator:
    """Make the calculator that a specification names.

    What it promises: arguments are literals of Python (numbers, strings, booleans, None, nested lists, tuples,
    dictionaries and sets of them) and never evaluated; one import, one ``getattr`` for each name and one call are made,
    of a class or a function; nothing is imported without ``trust`` where an argument names a file or folder whose
    loading would run code (``pickles.runs_code``: checkpoints of MACE are pickles) or an address of the network; what
    comes back is a calculator of ASE; a failure is one line.  ``'ase:module:factory'`` calls the factory without
    arguments.

    Args:
        spec: ``'ase:module.path:factory(arguments, key=value)'``.
        trust: load pickled checkpoints too.
        own: the specification is the user's own words.  One of a file that may be a stranger's (``own=False``) names a
            class of calculators, or a function that says that it returns one, and none that runs commands of the shell.

    Raises:
        ConfigError: another form, an argument that is no literal, a file that needs ``trust``, or what ``own`` forbids.
        ModelError: a module that cannot be imported, a name that it has not, a constructor that fails, or a result that
            is no calculator.
    """
    parsed = spec if isinstance(spec, CalculatorSpec) else parse_calculator_spec(spec)
    if not trust:
        _check_files(parsed)
    with _loading(parsed.top == "mace"):
        factory = _factory(parsed, _module(parsed))
        if not own:
            _check_strange(parsed, factory)
        try:
            made = factory(*parsed.arguments, **parsed.keywords)
        except Exception as error:  # of the constructor: any
            raise ModelError(f"{parsed.text}", got=_told(error), wanted=f"a calculator{_signature(factory)}") from None
    if not _is_calculator(type(made)):
        raise ModelError(
            f"{parsed.text}",
            got=f"an object of {type(made).__name__}",
            wanted="a calculator of ASE (with calculate and get_property)",
        )
    return typing.cast("BaseCalculator", made)


@contextlib.contextmanager
def _loading(mace: bool) -> Iterator[None]:
    """For the time of an import and a construction, whose words go to stderr: stdout belongs to results.

    MACE lets every ``torch.load`` of a process run code from its import on; here that ends with the construction.
    """
    before = os.environ.get(_UNSAFE)
    if mace:
        os.environ[_UNSAFE] = "1"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.filterwarnings("ignore", message=f".*{_UNSAFE}")
            yield
    finally:
        if before is None:
            os.environ.pop(_UNSAFE, None)
        else:
            os.environ[_UNSAFE] = before


def _check_files(spec: CalculatorSpec) -> None:
    """Refuse files that run code.

    Raises:
        ConfigError: an argument names one.
    """
    for word in strings_in([*spec.arguments, *spec.keywords.values()]):
        if word.split("://")[0].lower() in ("http", "https", "ftp", "s3", "hf") and "://" in word:
            raise ConfigError(
                f"calculator '{spec.text}'",
                got=f"a file from the network, {word}",
                wanted="a file of which you know what loading it runs",
                todo="Fetch it yourself and look where it comes from, or give --trust-checkpoint",
            )
    for path in spec.files:
        reason = runs_code(path)
        if reason is not None:
            raise ConfigError(
                f"{path}",
                got=f"{reason}, and loading it runs whatever its maker put in",
                wanted="a file that you trust",
                todo="Give --trust-checkpoint (in Python trust=True) if you know where it comes from",
            )


def _check_strange(spec: CalculatorSpec, factory: Callable[..., Any]) -> None:
    """Refuse what a recipe of a stranger may not call.

    Raises:
        ConfigError: neither a class of calculators nor a function that says it returns one, or one that runs commands.
    """
    todo = "If you have looked at it, name it yourself on the command line, with --model or --response"
    what = f"calculator '{spec.text}' of a recipe"
    returned = [factory] if inspect.isclass(factory) else _returned(factory)
    kinds = [kind for kind in returned if inspect.isclass(kind) and _is_calculator(kind)]
    if not kinds:
        wanted = "a class of calculators of ASE, or a function declared to return one"
        raise ConfigError(what, got=f"{type(factory).__name__} {spec.factory}", wanted=wanted, todo=todo)
    names = {base.__name__ for kind in kinds for base in kind.__mro__}
    commands = _COMMANDS & set(spec.keywords)
    if names & set(_RUNS_COMMANDS) or commands:
        got = f"keyword {sorted(commands)[0]}" if commands else f"{kinds[0].__name__}, which runs a program"
        raise ConfigError(what, got=got, wanted="a calculator that runs no commands of the shell", todo=todo)


def _returned(factory: Callable[..., Any]) -> list[Any]:
    """What a function says that it returns; one of several where it is a union, as of ``mace_mp``."""
    try:
        told = typing.get_type_hints(factory).get("return")
    except Exception:  # names of annotations that only a type checker knows
        return []
    return [told, *typing.get_args(told)]


def _module(spec: CalculatorSpec) -> ModuleType:
    """Import the module.

    Raises:
        ModelError: it cannot be, or it is one of Python's own library, some of which act when they are imported.
    """
    if spec.top in sys.stdlib_module_names:
        raise _of_python(spec, f"module {spec.module}")
    try:
        return importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        missing = error.name or spec.module
        own = spec.module == missing or spec.module.startswith(f"{missing}.")
        if own and "." in missing:
            raise _unknown(spec, f"module {missing}", missing.rsplit(".", 1)[-1], _submodules(missing)) from None
        package, mine = missing.split(".")[0], " (a module of your own: put its folder on PYTHONPATH)"
        raise ModelError(
            f"calculator '{spec.text}'",
            got=f"no module '{missing}'" + ("" if own else f", which {spec.module} needs"),
            wanted=f"the package '{package}' in this environment",
            todo=f"Run: pip install {PACKAGES.get(package, package)}{mine if own else ''}",
        ) from None
    except Exception as error:  # a module may do anything when it is imported
        raise ModelError(
            f"calculator '{spec.text}'",
            got=f"{_told(error)} while importing {spec.module}",
            wanted="a module that imports",
        ) from None


def _submodules(missing: str) -> list[str]:
    parent = sys.modules.get(missing.rsplit(".", 1)[0])
    return [found.name for found in pkgutil.iter_modules(getattr(parent, "__path__", []))]


def _factory(spec: CalculatorSpec, module: ModuleType) -> Callable[..., Any]:
    """The class or function.

    Raises:
        ModelError: a name that is not there, or of something else, or of a function of Python's own library.
    """
    found: Any = module
    way = spec.module
    for name in spec.factory.split("."):
        try:
            found, way = getattr(found, name), f"{way}.{name}"
        except AttributeError:
            known = [known for known in dir(found) if not known.startswith("_")]
            raise _unknown(spec, f"{way}.{name}", name, known) from None
    if not (inspect.isclass(found) or inspect.isroutine(found) or isinstance(found, functools.partial)):
        kind = "a module" if isinstance(found, ModuleType) else f"an object of {type(found).__name__}"
        raise ModelError(f"calculator '{spec.text}'", got=f"{way}, {kind}", wanted="a class or function")
    code = found.func if isinstance(found, functools.partial) else found
    home = (getattr(code, "__module__", None) or spec.module).split(".")[0]
    if inspect.isclass(found) and not _is_calculator(found):
        raise ModelError(
            f"calculator '{spec.text}'", got=f"{way}, another class", wanted="a class of calculators of ASE"
        )
    if home in sys.stdlib_module_names:  # reached through another module
        raise _of_python(spec, way)
    return typing.cast("Callable[..., Any]", found)


def _of_python(spec: CalculatorSpec, what: str) -> ModelError:
    return ModelError(
        f"calculator '{spec.text}'", got=f"{what}, of Python's own library", wanted="a factory of calculators of ASE"
    )


def _unknown(spec: CalculatorSpec, what: str, name: str, known: list[str]) -> ModelError:
    lower = {candidate.lower(): candidate for candidate in known}
    near = [lower[word] for word in difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(sorted(known)[:8])}"
    return ModelError(f"calculator '{spec.text}'", got=f"no {what}", wanted="a name that is there", todo=hint)


def _is_calculator(kind: type) -> bool:
    """Whether objects of a class are calculators: of ASE's base class, or with what ``Atoms`` asks of one."""
    from ase.calculators.calculator import BaseCalculator

    return issubclass(kind, BaseCalculator) or all(
        callable(getattr(kind, name, None)) for name in ("calculate", "get_property", "get_potential_energy")
    )


def _signature(factory: Callable[..., Any]) -> str:
    """The arguments of a factory, to be shown; nothing where there are very many."""
    try:
        text = ", ".join(name for name in inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return ""
    return f"; its arguments: {text}" if 0 < len(text) <= 200 else ""


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
