"""``spectra-app models``: the zoo and its cards."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, say
from spectra_app.errors import ConfigError
from spectra_app.zoo import (
    CARD_FILE,
    INTERPRETATION_FILE,
    MODEL_FILE,
    RANGE_FILE,
    find_model,
    model_names,
    models_folder,
)


def models(
    name: Annotated[
        str | None, typer.Argument(help="name in the zoo, or folder of a model; none lists them all")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option("--frames", help="structures to take the report on charges, dipoles and alpha on, afresh"),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="with --frames: put the report into the card and the folder of the model")
    ] = False,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(
            "--trained-on",
            metavar="FILE",
            help="data that the model was trained on, to tell extrapolation by from now on; repeatable",
        ),
    ] = None,
    eps_inf: options.EpsInf = None,
    json: options.Json = False,
) -> None:
    """The shipped models and their cards.

    A card says what the latent charges, dipoles and polarizabilities of the model are, per element.
    """
    if trained_on:
        _add_training_range(name, trained_on)
        if frames is None:
            return
    if frames is not None:
        _report_afresh(name, frames, save, eps_inf, json)
        return
    if save or eps_inf is not None:
        raise ConfigError("models", got="--save or --eps-inf alone", wanted="structures", todo="Give --frames FILE")
    if name is not None:
        _show_card(find_model(name), json)
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


def _show_card(folder: Path, json: bool) -> None:
    """The card of one model, or all that is known of it as JSON."""
    facts = _facts(folder.name, folder)
    if json:
        print_json(facts)
        return
    card = folder / CARD_FILE
    print(card.read_text(encoding="utf-8").rstrip() if card.is_file() else yaml.safe_dump(facts, sort_keys=False))
    print(f"\nFolder: {folder}")
    if (folder / RANGE_FILE).is_file():
        say("Extrapolation: told in every run (docs/extrapolation.md)")
    else:
        say(f"Extrapolation: unknown; spectra-app models {folder.name} --trained-on FILE makes it known")
    if "interpretation" not in facts and facts.get("architecture", {}).get("variant") != "sr":
        say(f"No report on the latent quantities yet: spectra-app models {folder.name} --frames FILE makes one")


def _add_training_range(name: str | None, paths: list[Path]) -> None:
    """Measure the range of the training data and put it into the folder of the model.

    Raises:
        ConfigError: no name of a model.
    """
    from spectra_app.config import TrainFile, parse_settings
    from spectra_app.potentials.folder import WEIGHTS_FILE, load_model
    from spectra_app.potentials.range_file import save_training_range
    from spectra_app.training.publish import RECIPE_FILE
    from spectra_app.training.range_fit import measure_on_files

    if name is None:
        raise ConfigError("models --trained-on", got="no model", wanted="the name or folder of one")
    folder = find_model(name)
    recipe = folder / RECIPE_FILE
    settings = None
    if recipe.is_file():
        settings = parse_settings(TrainFile, yaml.safe_load(recipe.read_text(encoding="utf-8")), str(recipe))
    say(f"measuring the environments in {', '.join(map(str, paths))} ...")
    known = measure_on_files(load_model(folder, training_range=False), paths, settings)
    path = save_training_range(known, folder / WEIGHTS_FILE)
    say(f"Extrapolation is told from {known.source} from now on; runs that were begun without go on without.")
    list_files([path])


def _report_afresh(name: str | None, frames: Path, save: bool, eps_inf: float | None, json: bool) -> None:
    """Measure the report on given structures, print it, and keep it where asked to.

    Raises:
        ConfigError: no name of a model.
    """
    from spectra_app.potentials.folder import load_model, read_card, save_scale
    from spectra_app.potentials.scale import PhysicalScale
    from spectra_app.training.card_text import interpretation_lines, renew_meaning
    from spectra_app.training.interpretation import interpretation_json
    from spectra_app.training.survey import interpret_file

    if name is None:
        raise ConfigError("models --frames", got="no model", wanted="the name or folder of one")
    folder = find_model(name)
    model = load_model(folder, dtype="float64", eps_inf=eps_inf)
    report = interpret_file(model, frames)
    print(interpretation_json(report) if json else "\n".join(interpretation_lines(report)))
    if not save:
        return
    from spectra_app.born import write_text

    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# Model {folder.name}\n"
    files = [write_text(folder / INTERPRETATION_FILE, interpretation_json(report))]
    scale = model.scale
    if not scale.known and report.periodic:
        scale = PhysicalScale(report.eps_inf, report.chi.mean, report.screening)
    if scale != read_card(folder).scale:
        save_scale(folder, scale)
        files.append(folder / MODEL_FILE)
        say("The physical scale of the model is another one now: runs made before cannot be continued with it.")
    files.append(write_text(card, renew_meaning(text, report)))
    say("Files:")
    list_files(files)


def _facts(name: str, folder: Path) -> dict[str, Any]:
    """What ``model.yaml`` says, and the report on the latent quantities where there is one."""
    data = yaml.safe_load((folder / MODEL_FILE).read_text(encoding="utf-8"))
    known = data.items() if isinstance(data, dict) else ()
    facts = {"name": name, "folder": str(folder), **{key: value for key, value in known if key != "name"}}
    report = folder / INTERPRETATION_FILE
    if report.is_file():
        facts["interpretation"] = loads(report.read_text(encoding="utf-8"))
    return facts
