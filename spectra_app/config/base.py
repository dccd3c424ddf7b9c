"""One typed schema for every setting: defaults, validation and documentation in one place.

A YAML file mirrors the classes below; unknown keys are refused with the nearest known name, and every key can be
overridden from the command line (``-s md.steps=20000``).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from spectra_app.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def keys_in_file(cls, section: Any) -> list[str]:
        """Keys that such a section of a file accepts, given what it holds."""
        return list(cls.model_fields)


S = TypeVar("S", bound=Settings)


def load_settings(schema: type[S], path: Path | str, overrides: Sequence[str] = ()) -> S:
    """Read a YAML file into its schema; relative paths in it stay relative to the working folder.

    Args:
        schema: the class the file mirrors.
        path: YAML file.
        overrides: ``"section.key=value"`` strings, values in YAML syntax.

    Raises:
        ConfigError: no such file, not YAML, unknown key, or a value out of range.
    """
    path = Path(path)
    data = read_yaml(path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"configuration {path}", got=type(data).__name__, wanted="key: value lines at the top level")
    for override in overrides:
        apply_override(data, override)
    return parse_settings(schema, data, str(path))


def read_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises:
        ConfigError: no such file, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration {path}", got="no such file", wanted="a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}", got=f"not YAML ({error})", wanted="key: value lines") from None


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one ``section.key=value`` in a nested mapping.

    Raises:
        ConfigError: the override is not of that form, or names a section that is a value.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError("override", got=repr(override), wanted="section.key=value", todo="Example: -s md.steps=20000")
    *sections, key = dotted.strip().split(".")
    node = data
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override}", got=f"'{section}' is a value", wanted="a section")
    try:
        node[key] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override}", got=repr(text), wanted="a YAML value") from None


def parse_settings(schema: type[S], data: dict[str, Any], source: str = "settings") -> S:
    """Validate a nested mapping; the first fault becomes one clear line.

    Raises:
        ConfigError: unknown key (with the nearest known name), wrong type, or value out of range.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        fault, where = _first_fault(error)
    name = ".".join(_as_in_file(where))
    if fault["type"] == "extra_forbidden":
        known = _known_keys(schema, where[:-1], data)
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        todo = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}"
        raise ConfigError(f"{source}: {name}", got="unknown key", todo=todo)
    if fault["type"] == "missing":
        raise ConfigError(f"{source}: {name}", got="nothing", wanted="a value", todo="The key has no default")
    message = fault["msg"].removeprefix("Value error, ")
    wanted = message[:1].lower() + message[1:]  # the rest may be names, in which capitals count
    found = fault["input"]
    if where[-1:] == ["backbone"] and isinstance(found, dict):
        found = found.get("name")
    raise ConfigError(f"{source}: {name}", got=repr(found), wanted=wanted)


def _first_fault(error: ValidationError) -> tuple[Any, list[str]]:
    """The first fault and its place, also inside a section whose class depends on a name in it (a backbone)."""
    fault = error.errors()[0]
    inner = fault.get("ctx", {}).get("error")
    where = [str(part) for part in fault["loc"]]
    if isinstance(inner, ValidationError):
        fault, rest = _first_fault(inner)
        where += rest
    return fault, where


def _as_in_file(where: Sequence[str]) -> list[str]:
    """Where a key stands in a file: those of the backbone beside the others of the model."""
    if "backbone" not in where[:-1]:
        return list(where)
    place = where.index("backbone")
    key = where[place + 1]
    return [*where[:place], "backbone" if key == "name" else key, *where[place + 2 :]]


def _known_keys(schema: type[Settings], where: Sequence[str], data: Any) -> list[str]:
    """Keys that the section at a dotted place accepts."""
    node: type[Settings] = schema
    sections: Any = None  # by name, of one kind
    for part in where:
        data = data.get(part) if isinstance(data, dict) else None
        if sections is not None:
            annotation, sections = sections, None
        else:
            annotation = node.model_fields[part].annotation if part in node.model_fields else None
        if get_origin(annotation) is dict:
            sections = get_args(annotation)[1]
            continue
        annotation = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)  # X | None
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            return []
        node = annotation
    return node.keys_in_file(data)
