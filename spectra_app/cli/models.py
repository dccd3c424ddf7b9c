"""``spectra-app models``: the zoo and its cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from spectra_app.cli.console import print_json
from spectra_app.cli.options import Json
from spectra_app.zoo import MODEL_FILE, find_model, model_names, models_folder


def models(
    name: Annotated[
        str | None, typer.Argument(help="name in the zoo, or folder of a model; none lists them all")
    ] = None,
    json: Json = False,
) -> None:
    """The shipped models and their cards."""
    if name is not None:
        folder = find_model(name)
        facts = _facts(folder.name, folder)
        if json:
            print_json(facts)
            return
        card = folder / "README.md"
        print(card.read_text(encoding="utf-8").rstrip() if card.is_file() else yaml.safe_dump(facts, sort_keys=False))
        print(f"\nFolder: {folder}")
        return
    cards = [_facts(each, models_folder() / each) for each in model_names()]
    if json:
        print_json(cards)
        return
    for facts in cards:
        species = " ".join(facts.get("species") or [])
        print(f"{facts['name']:<16} {species:<16} {facts.get('data') or ''}".rstrip())
    if not cards:
        print(f"no models in {models_folder()}")


def _facts(name: str, folder: Path) -> dict[str, Any]:
    """What ``model.yaml`` says."""
    data = yaml.safe_load((folder / MODEL_FILE).read_text(encoding="utf-8"))
    known = data.items() if isinstance(data, dict) else ()
    return {"name": name, "folder": str(folder), **{key: value for key, value in known if key != "name"}}
