"""The words that name a calculator of ASE: ``'ase:module.path:factory(arguments, key=value)'``; nothing is imported."""

from __future__ import annotations

import ast
import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectra_app.errors import ConfigError

PREFIX = "ase:"
FORM = "'ase:module:factory(arguments, key=value)'"


@dataclass(frozen=True)
class CalculatorSpec:
    """What a specification says.

    Attributes:
        text: as it was given.
        module: dotted name of the module.
        factory: name of the class or function in it, dotted where it stands inside a class.
        arguments: by position, literals.
        keywords: by name, literals.
    """

    text: str
    module: str
    factory: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files and folders that arguments name, patterns of names included, and that exist."""
        found: dict[Path, None] = {}
        for word in strings_in([*self.arguments, *self.keywords.values()]):
            for name in [word, *(sorted(glob.glob(word)) if glob.has_magic(word) else [])]:
                try:
                    path = Path(name).expanduser()
                    if name and (path.is_file() or path.is_dir()):
                        found[path] = None
                except (OSError, ValueError, RuntimeError):  # no name of a file
                    continue
        return tuple(found)

    @property
    def top(self) -> str:
        """Name of the package."""
        return self.module.split(".")[0]


def is_calculator_spec(name: object) -> bool:
    """Whether a model's name is that of a calculator: begins with ``ase:``."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse_calculator_spec(text: str) -> CalculatorSpec:
    """The parts of ``'ase:module.path:factory(arguments, key=value)'``; nothing is imported.

    Args:
        text: the specification.

    Raises:
        ConfigError: not of this form, or an argument that is no literal.
    """
    module, colon, call = text.removeprefix(PREFIX).partition(":")
    if not text.startswith(PREFIX) or not colon or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError("calculator", got=f"'{text}'", wanted=FORM)
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"calculator '{text}'", got=f"'{call}' ({reason})", wanted=FORM) from None
    if not isinstance(node, ast.Call):
        return CalculatorSpec(text, module, _dotted(node, text))
    arguments = tuple(_literal(argument, None, text) for argument in node.args)
    keywords = {str(word.arg): _literal(word.value, word.arg or "**", text) for word in node.keywords}
    if None in [word.arg for word in node.keywords]:
        raise ConfigError(f"calculator '{text}'", got="**", wanted="arguments by name, key=value")
    return CalculatorSpec(text, module, _dotted(node.func, text), arguments, keywords)


def _literal(node: ast.expr, name: str | None, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        where = "argument" if name is None else f"argument {name}"
        raise ConfigError(
            f"calculator '{text}', {where}",
            got=ast.unparse(node),
            wanted="a literal: a number, a string in quotes, True, False, None, or a list or dictionary of them",
        ) from None


def _dotted(node: ast.expr, text: str) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, text)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ConfigError(f"calculator '{text}'", got=ast.unparse(node), wanted=FORM)


def strings_in(values: Any) -> Iterator[str]:
    """All strings in nested literals."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from strings_in(key)
            yield from strings_in(value)
    elif isinstance(values, list | tuple | set):
        for value in values:
            yield from strings_in(value)
